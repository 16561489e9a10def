"""VTEPs in the API: one node's writes, and what its agent reads of the others'.

The API server sorts watches by namespace, so an agent watches the namespaces in whose LANs its node takes part, and
gets nothing of any other. All writes to a VTEP are one server-side apply of the whole; its uid goes with every one but
the first, so that a VTEP that somebody has deleted is made anew knowingly and not by accident.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from k8slan_cli.kube.client import ApiError, Client, apply
from k8slan_cli.kube.kinds import PODS, VMIS, VTEPS, Document
from k8slan_cli.kube.lans import manager
from k8slan_cli.kube.watch import CROWD_SPREAD, FROM_CACHE, Api, Cache, Informer, Key
from k8slan_cli.lan import names
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import PodRef, VmRef, Vtep, VtepPort
from k8slan_cli.lan.vtep_codec import NODE_LABEL, decode, encode, selector
from k8slan_cli.plan.pods import decode_pod

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
"""How long the first ADD of a LAN waits for the LAN's VTEPs."""
_GRACE_SECONDS = 60.0
"""How long a namespace is watched on after the last attachment: pods are replaced by others within that."""
Changes = Collection[tuple[Vtep | None, Vtep | None]]


# ---------------------------------------------------------------- writing


class VtepWriter:
    """Writes the VTEPs of one node. Every call raises ApiError if it could not be done."""

    def __init__(self, client: Client, node: str) -> None:
        self._client = client
        self._node = node
        self._manager = manager(node)

    async def own(self) -> list[Vtep]:
        """Return all VTEPs of this node, as the API server's memory has them."""
        select = f"{NODE_LABEL}={names.label_value(self._node)}"
        found = await _list(self._client, VTEPS.path(), {"labelSelector": select, "resourceVersion": FROM_CACHE})
        return [vtep for vtep in map(decode, found) if vtep and vtep.node == self._node]

    async def read(self, lan: LanRef) -> Vtep | None:
        """Return this node's VTEP of a LAN, None if there is none."""
        try:
            return decode(await self._client.call("GET", self._path(lan)))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def write(self, vtep: Vtep, before: Vtep | None) -> Vtep:
        """Make a VTEP what is given, where there was ``before``; returns it as it is now.

        While the node is called lost, nothing but the very version that is known is replaced: claims begin anew when
        the controller takes that back, and must not be written off after it.
        """
        document = encode(vtep)
        if before:
            document["metadata"]["uid"] = before.uid
            if before.lost:
                document["metadata"]["resourceVersion"] = str(before.version)
        path = self._path(vtep.lan)
        written = decode(await apply(self._client, path, document, self._manager))
        if written is None:
            raise ApiError(f"{path} is not what was written")
        return written

    async def delete(self, vtep: Vtep) -> None:
        """Delete a VTEP; nothing happens if it is gone already."""
        body = {"preconditions": {"uid": vtep.uid}}
        try:
            await self._client.call("DELETE", self._path(vtep.lan), body=body)
        except ApiError as error:
            if error.status != 404:
                raise

    async def vm_of(self, pod: PodRef) -> VmRef | None:
        """Return the VM that a pod runs; None for other pods, and for one that is gone."""
        try:
            found = decode_pod(await self._client.call("GET", PODS.path(pod.namespace, pod.name)))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        if pod.uid not in ("", found.uid) or not found.vm:
            return None
        return VmRef(name=found.vm, uid=found.vmi)

    async def migrates(self, pod: PodRef, port: VtepPort) -> bool:
        """Return whether KubeVirt says that the VM of a port elsewhere is on its way into a pod.

        Pods' labels could be anybody's words. What KubeVirt itself writes is the VMI's status: while a VM migrates,
        both of its pods are active. Without an answer it is not so.
        """
        if port.vm is None or port.pod is None or pod.namespace != port.pod.namespace:
            return False
        try:
            vmi = await self._client.call("GET", VMIS.path(pod.namespace, port.vm.name))
        except ApiError as error:
            log.warning("whether VM %s/%s migrates to %s is not known: %s", pod.namespace, port.vm.name, pod, error)
            return False
        active = (vmi.get("status") or {}).get("activePods") or {}
        return vmi["metadata"]["uid"] == port.vm.uid and pod.uid in active and port.pod.uid in active

    def _path(self, lan: LanRef) -> str:
        return VTEPS.path(lan.namespace, names.vtep(lan.name, self._node))


async def _list(api: Api, path: str, query: Mapping[str, str]) -> list[Document]:
    found: list[Document] = (await api.call("GET", path, query=query))["items"]
    return found


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class _Watched:
    """A namespace that is watched, and the LANs of it that are just being asked for."""

    informer: Informer[Vtep]
    task: asyncio.Task[None]
    looks: dict[LanRef, asyncio.Task[None]] = field(default_factory=dict)

    def cancel(self) -> list[asyncio.Task[None]]:
        """End all that goes on; returns what is still to end."""
        tasks = [self.task, *self.looks.values()]
        for task in tasks:
            task.cancel()
        return tasks


class VtepWatch:
    """The VTEPs of the namespaces that are followed, by LAN (agent/vteps.py says what an agent makes of it).

    Changes that come together, as in a list, are told together.
    """

    def __init__(self, api: Api, pause: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self.on_change: Callable[[LanRef, Changes], None] = lambda _lan, _changes: None
        self._api = api
        self._pause = pause
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watched: dict[str, _Watched] = {}
        self._stops: dict[str, asyncio.TimerHandle] = {}
        self._by_lan: dict[LanRef, dict[str, Vtep]] = {}
        self._followed: frozenset[LanRef] = frozenset()
        self._looked: set[LanRef] = set()
        self._news: dict[LanRef, list[tuple[Vtep | None, Vtep | None]]] = {}

    def of(self, lan: LanRef) -> Collection[Vtep]:
        """Return all VTEPs of a LAN that are known."""
        return self._by_lan.get(lan, {}).values()

    def known(self, lan: LanRef) -> bool:
        """Return whether these are all: its namespace has been seen whole, or the LAN has been looked at."""
        watched = self._watched.get(lan.namespace)
        return lan in self._looked or (watched is not None and watched.informer.synced.is_set())

    def follow(self, lans: Collection[LanRef]) -> None:
        """Watch the VTEPs of these LANs; those of other namespaces are let go of after a while."""
        self._followed = frozenset(lans)
        namespaces = {lan.namespace for lan in lans}
        for name in namespaces:
            if stop := self._stops.pop(name, None):
                stop.cancel()
            if name not in self._watched:
                self._watched[name] = self._watch(name)
        loop = asyncio.get_running_loop()
        for name in self._watched.keys() - self._stops.keys() - namespaces:
            self._stops[name] = loop.call_later(_GRACE_SECONDS, self._stop, name)

    def _watch(self, namespace: str) -> _Watched:
        cache = Cache(decode, self._changed)
        informer = Informer(
            self._api,
            VTEPS.path(namespace),
            cache,
            on_synced=lambda: self._synced(namespace),
            spread=CROWD_SPREAD,
            from_cache=True,
            pause=self._pause,
        )
        task = asyncio.create_task(informer.run(), name=f"VTEPs in {namespace}")
        task.add_done_callback(self._ended)
        return _Watched(informer, task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self._failed.done():
            self._failed.set_exception(error)

    def _stop(self, namespace: str) -> None:
        del self._stops[namespace]
        self._watched.pop(namespace).cancel()
        for lan in [lan for lan in self._by_lan if lan.namespace == namespace]:
            del self._by_lan[lan]
        self._looked = {lan for lan in self._looked if lan.namespace != namespace}

    async def look(self, lan: LanRef) -> None:
        """Ask once for the VTEPs of a LAN, which is followed from now on; do without if there is no answer soon."""
        watched = self._watched.get(lan.namespace)
        if watched is None or self.known(lan):
            return
        task = watched.looks.get(lan)
        if task is None:
            task = watched.looks[lan] = asyncio.create_task(self._look(lan, watched), name=f"VTEPs of LAN {lan}")
        await asyncio.wait({task}, timeout=_LOOK_SECONDS)

    async def _look(self, lan: LanRef, watched: _Watched) -> None:
        query = {"labelSelector": selector(lan), "resourceVersion": FROM_CACHE}
        try:
            found = await _list(self._api, VTEPS.path(lan.namespace), query)
        except ApiError as error:
            log.info("the VTEPs of LAN %s have to wait for the API server: %s", lan, error)
        else:
            for document in found:
                watched.informer.cache.learn(document)
            self._looked.add(lan)
            self._tell_later(lan)
            self._tell()
        finally:
            del watched.looks[lan]

    async def run(self) -> None:
        """Wait until cancelled; an error that no informer may have ends it."""
        await self._failed

    async def close(self) -> None:
        """Stop watching."""
        for stop in self._stops.values():
            stop.cancel()
        tasks = [task for watched in self._watched.values() for task in watched.cancel()]
        if tasks:
            await asyncio.wait(tasks)

    # ------------------------------------------------------------ what comes in

    def _changed(self, _key: Key, old: Vtep | None, new: Vtep | None) -> None:
        vtep = new or old
        if vtep is None:
            return
        of_lan = self._by_lan.setdefault(vtep.lan, {})
        if new:
            of_lan[new.node] = new
        elif not (of_lan.pop(vtep.node, None) and of_lan):
            del self._by_lan[vtep.lan]
        self._tell_later(vtep.lan, (old, new))

    def _synced(self, namespace: str) -> None:
        """Tell that the LANs of a namespace are known now, also those that have no VTEP."""
        for lan in self._followed:
            if lan.namespace == namespace:
                self._tell_later(lan)

    def _tell_later(self, lan: LanRef, *changes: tuple[Vtep | None, Vtep | None]) -> None:
        if not self._news:
            asyncio.get_running_loop().call_soon(self._tell)
        self._news.setdefault(lan, []).extend(changes)

    def _tell(self) -> None:
        news, self._news = self._news, {}
        for lan, changes in news.items():
            self.on_change(lan, changes)
