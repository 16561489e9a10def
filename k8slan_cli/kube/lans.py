"""LAN objects in the API: reading them, watching them, and the writes that are about them.

Each part of a LAN has one writer: the user its spec, the controller its status and its finalizer. Agents only read
LANs; those of version 0.1.0 wrote an entry of ``status.nodes`` and a finalizer each. Server-side apply keeps them
apart, so that none of these writes has to be repeated because somebody else wrote at the same time. An object's uid
goes with every apply: a LAN that has gone meanwhile is not made anew by it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.kube import status as lan_status
from k8slan_cli.kube.client import JSON_PATCH, MERGE, ApiError, Client, apply
from k8slan_cli.kube.kinds import LANS, Document
from k8slan_cli.kube.status import LanStatus
from k8slan_cli.kube.watch import CROWD_SPREAD, Api, Cache, Informer, Key
from k8slan_cli.lan import codec
from k8slan_cli.lan.model import API_VERSION, GROUP, KIND, PROTECTION, Lan, LanRef, NodeStatus, Snapshot
from k8slan_cli.lan.names import Forms

FORCE = f"{GROUP}/force-delete"
"""An annotation, "true": the LAN is to be deleted even while pods use it."""
CONTROLLER = "k8slan-controller"
"""The field manager of the controller's writes."""
_ATTEMPTS = 8
_MAX_MANAGER = 128


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True, kw_only=True)
class LanObject:
    """What the controller knows of a LAN object.

    ``lan`` is None if the object breaks rules: ``problems`` says which, ``broken`` is what remains of it among other
    LANs. ``entries`` are ``status.nodes``, ``status`` is the rest of it. Without a ``uid`` there is no such object.
    """

    ref: LanRef
    uid: str = ""
    generation: int = 0
    deleting: bool = False
    forced: bool = False
    finalizers: tuple[str, ...] = ()
    entries: tuple[NodeStatus, ...] = ()
    status: LanStatus = field(default_factory=LanStatus)
    lan: Lan | None = None
    broken: Lan | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def claimant(self) -> Lan | None:
        """Return the LAN, or what remains of it."""
        return self.lan or self.broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """An object that breaks rules: all its problems, and what remains of it among other LANs."""

    problems: tuple[Problem, ...]
    remains: Lan


def read(document: Document) -> Lan | Broken:
    """The LAN of an object, or what is wrong with it."""
    try:
        return codec.decode(document, strict=False)
    except Invalid as error:
        return Broken(problems=error.problems, remains=codec.remains(document))


def read_object(document: Document, forms: Forms = Forms.SHORT) -> LanObject:
    """All that the controller wants to know of an object, whose NADs have names of these ``forms``."""
    metadata, status = document["metadata"], document.get("status")
    found = read(document)
    return LanObject(
        ref=LanRef(namespace=metadata["namespace"], name=metadata["name"]),
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        deleting="deletionTimestamp" in metadata,
        forced=(metadata.get("annotations") or {}).get(FORCE) == "true",
        finalizers=tuple(metadata.get("finalizers") or ()),
        entries=tuple(node for node in codec.nodes(status) if node.name),
        status=lan_status.decode(status),
        lan=replace(found, forms=forms) if isinstance(found, Lan) else None,
        broken=replace(found.remains, forms=forms) if isinstance(found, Broken) else None,
        problems=found.problems if isinstance(found, Broken) else (),
    )


# ---------------------------------------------------------------- watching, for an agent


class ApiSource:
    """All LANs of a cluster, watched: a source of LANs for an agent.

    With the API server away, ``next`` waits until it is back; it never fails for that.
    """

    def __init__(self, api: Api) -> None:
        self._wake = asyncio.Event()
        self._changed: set[Key] = set()
        self.cache: Cache[Lan | Broken] = Cache(read, self._note)
        self.informer = Informer(api, LANS.path(), self.cache, spread=CROWD_SPREAD, from_cache=True)
        self._task: asyncio.Task[None] | None = None

    def _note(self, key: Key, _old: object, _new: object) -> None:
        self._changed.add(key)
        self._wake.set()

    async def next(self) -> Snapshot:
        """Return all that there is the first time, then wait for changes and return those."""
        first = self._task is None
        if self._task is None:
            self._task = asyncio.create_task(self.informer.run(), name="LANs")
            self._task.add_done_callback(self._ended)
            await self.informer.synced.wait()
        else:
            await self._wake.wait()
        if self._task.done():
            await self._task
        self._wake.clear()
        changed, self._changed = self._changed, set()
        return self._snapshot(changed, whole=first)

    def _snapshot(self, keys: Collection[Key], *, whole: bool) -> Snapshot:
        lans: dict[LanRef, tuple[Lan, str]] = {}
        broken: dict[str, tuple[Problem, ...]] = {}
        remains: dict[LanRef, Lan] = {}
        gone: set[LanRef] = set()
        for namespace, name in keys:
            ref, found = LanRef(namespace=namespace, name=name), self.cache.get((namespace, name))
            if isinstance(found, Lan):
                lans[ref] = (found, str(ref))
                continue
            gone.add(ref)
            if found:
                broken[str(ref)] = found.problems
                remains[ref] = found.remains
        return Snapshot(lans=lans, broken=broken, remains=remains, gone=None if whole else frozenset(gone))

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self._wake.set()
        self.informer.synced.set()

    async def close(self) -> None:
        """Stop watching."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})


# ---------------------------------------------------------------- writing


def manager(node: str) -> str:
    """The field manager of a node's agent: 128 bytes at the most, and still another for each node."""
    plain = f"k8slan-agent-{node}"
    if len(plain) <= _MAX_MANAGER:
        return plain
    return f"{plain[: _MAX_MANAGER - 17]}-{hashlib.sha256(node.encode()).hexdigest()[:16]}"


async def write_status(client: Client, ref: LanRef, uid: str, status: LanStatus) -> Document:
    """Write the controller's part of a LAN's status; returns the LAN as it is now.

    Raises:
        ApiError: it could not be done.

    """
    return await _apply(client, ref, uid, CONTROLLER, {"status": lan_status.encode(status)}, "status")


async def write_nodes(client: Client, ref: LanRef, uid: str, entries: Sequence[NodeStatus]) -> Document:
    """Make ``entries`` what the controller says in ``status.nodes``; return the LAN as it is now.

    Raises:
        ApiError: it could not be done.

    """
    # What is empty is written too: it takes the place of what the node's agent of 0.1.0 once said.
    empty = {"state": "", "device": "", "vtep": "", "mtu": 0, "message": ""}
    status = {"nodes": [empty | codec.encode_node(entry) for entry in entries]}
    return await _apply(client, ref, uid, f"{CONTROLLER}-nodes", {"status": status}, "status")


async def add_protection(client: Client, ref: LanRef, uid: str) -> Document:
    """Put the controller's finalizer on a LAN; returns the LAN as it is now.

    Raises:
        ApiError: it could not be done; a LAN that is being deleted takes no finalizer.

    """
    return await _apply(client, ref, uid, CONTROLLER, {"metadata": {"finalizers": [PROTECTION]}})


async def remove_finalizers(client: Client, ref: LanRef, uid: str, unwanted: frozenset[str]) -> Document | None:
    """Remove finalizers from a LAN, whichever manager owns them; returns the LAN as it is now, None if it is gone.

    Raises:
        ApiError: it could not be done.

    """
    return await strip(client, LANS.path(ref.namespace, ref.name), uid, "metadata", "finalizers", "", unwanted)


async def remove_nodes(client: Client, ref: LanRef, uid: str, unwanted: frozenset[str]) -> Document | None:
    """Take nodes out of a LAN's ``status.nodes``; returns the LAN as it is now, None if it is gone.

    Raises:
        ApiError: it could not be done.

    """
    path = LANS.path(ref.namespace, ref.name, "status")
    return await strip(client, path, uid, "status", "nodes", "name", unwanted)


async def _apply(
    client: Client, ref: LanRef, uid: str, by: str, wanted: Mapping[str, Any], part: str = ""
) -> dict[str, Any]:
    metadata = {"name": ref.name, "namespace": ref.namespace, "uid": uid, **wanted.get("metadata", {})}
    document = {"apiVersion": API_VERSION, "kind": KIND, **wanted, "metadata": metadata}
    return await apply(client, LANS.path(ref.namespace, ref.name, part), document, by)


async def remove_links(client: Client, ref: LanRef, uid: str, version: str, names: Iterable[str]) -> Document:
    """Take entries out of ``spec.links`` of the version of a LAN that was looked at; return it as it is then.

    Raises:
        ApiError: it could not be done.

    """
    body = {
        "metadata": {"uid": uid, "resourceVersion": version},
        "spec": {"links": dict.fromkeys(names)},
    }
    path = LANS.path(ref.namespace, ref.name)
    return await client.call("PATCH", path, body=body, content_type=MERGE)


async def strip(
    client: Client, path: str, uid: str, section: str, name: str, key: str, unwanted: frozenset[str]
) -> Document | None:
    """Take items out of the list ``section.name`` of the object of a uid, each known by itself or by its ``key``.

    A patch names positions, and tests that what is there is what it means: if it is not, somebody else was quicker.
    Of an object that is gone nothing is taken, nor of one that has been made anew: what returns is None.
    """
    identify: Callable[[Any], str] = (lambda item: str(item.get(key))) if key else str
    for attempt in range(_ATTEMPTS):
        try:
            document = await client.call("GET", path)
            if document["metadata"]["uid"] != uid:
                return None
            items = (document.get(section) or {}).get(name) or []
            places = [i for i, item in enumerate(items) if identify(item) in unwanted]
            if not places:
                return document
            patch = [{"op": "test", "path": "/metadata/uid", "value": uid}]
            for i in reversed(places):
                item = f"/{section}/{name}/{i}"
                patch.append({"op": "test", "path": f"{item}/{key}" if key else item, "value": identify(items[i])})
                patch.append({"op": "remove", "path": item})
            return await client.call("PATCH", path, body=patch, content_type=JSON_PATCH)
        except ApiError as error:
            if error.status == 404:
                return None
            if error.status not in (409, 422) or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")
