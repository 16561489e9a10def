"""An API server in memory, for the requests that k8slan makes: the fake at the seam to Kubernetes.

It has the rules that matter: versions and conflicts, finalizers that hold a deletion, server-side apply that knows what
each field manager owns, JSON patches with tests, pages, watches with bookmarks and 410 Gone. It checks no schema.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from k8slan_cli.kube import kinds
from k8slan_cli.kube.client import APPLY, JSON_PATCH, MERGE, ApiError

Document = dict[str, Any]
_LIST_KEYS = {"nodes": "name", "degradedNodes": "name", "conditions": "type", "webhooks": "name"}
_SETS = {"finalizers"}
_COLLECTIONS = {"things", *(kind.plural for kind in vars(kinds).values() if isinstance(kind, kinds.Kind))}
CREATED = "2026-01-01T00:00:00Z"


class FakeApi:
    """Objects by path. ``refuse`` may be set to answer a request with an error instead: (method, path) → ApiError."""

    def __init__(self) -> None:
        self.objects: dict[str, Document] = {}
        self.counts: Counter[tuple[str, int]] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.refuse: Callable[[str, str], ApiError | None] = lambda _method, _path: None
        self.page = 0
        """Objects in a page, 0: all."""
        self._versions = itertools.count(1)
        self._version = 0
        self._log: list[tuple[int, str, str, Document]] = []
        self._oldest = 0
        self._applied: dict[tuple[str, str, str], Document] = {}
        self._watchers: list[tuple[str, Mapping[str, str], asyncio.Queue[Document | None]]] = []
        self.watches = 0
        self.heard = asyncio.Event()
        """Set by every request and by every watch that has begun."""

    # ------------------------------------------------------------ what a test does

    def put(self, path: str, document: Mapping[str, Any]) -> Document:
        """Make an object what a document says, as if somebody had written it; returns it."""
        found = self.objects.get(path)
        new = copy.deepcopy(dict(document))
        metadata = new.setdefault("metadata", {})
        parts = path.split("/")
        metadata.setdefault("name", parts[-1])
        if "namespaces" in parts:
            metadata.setdefault("namespace", parts[parts.index("namespaces") + 1])
        old = found["metadata"] if found else {}
        metadata["uid"] = metadata.get("uid") or old.get("uid") or f"uid-{next(self._versions)}"
        metadata.setdefault("creationTimestamp", old.get("creationTimestamp", CREATED))
        changed = not found or found.get("spec") != new.get("spec")
        metadata["generation"] = old.get("generation", 0) + changed
        return self._store(path, new)

    def remove(self, path: str) -> None:
        """Delete an object, or mark it as deleted if finalizers hold it."""
        found = self.objects[path]
        if found["metadata"].get("finalizers"):
            new = copy.deepcopy(found)
            new["metadata"].setdefault("deletionTimestamp", CREATED)
            self._store(path, new)
        else:
            self._drop(path)

    def break_watches(self, *, gone: bool = False) -> None:
        """End all watches as the server's timeout would; with ``gone``, none can go on from where it was."""
        for *_, queue in self._watchers:
            queue.put_nowait(None)
        if gone:
            self._oldest = self._version + 1
            self._version = next(self._versions) + self._version + 1
            self._versions = itertools.count(self._version + 1)

    def send(self, event: Document, path: str = "") -> None:
        """Send an event as it is to the watches of a path, or to all."""
        for watched, _, queue in self._watchers:
            if path in ("", watched):
                queue.put_nowait(event)

    async def delivered(self) -> None:
        """Wait until every event so far has been taken in."""
        await asyncio.gather(*(queue.join() for *_, queue in self._watchers))

    def writes(self) -> list[tuple[str, str]]:
        """The requests so far that were not reads."""
        return [request for request in self.requests if request[0] != "GET"]

    # ------------------------------------------------------------ the store

    def _store(self, path: str, document: Document) -> Document:
        document.setdefault("metadata", {})["resourceVersion"] = str(self._next())
        event = "MODIFIED" if path in self.objects else "ADDED"
        self.objects[path] = document
        self._tell(event, path, document)
        if "deletionTimestamp" in document["metadata"] and not document["metadata"].get("finalizers"):
            self._drop(path)
        return copy.deepcopy(document)

    def _drop(self, path: str) -> None:
        document = copy.deepcopy(self.objects.pop(path))
        document["metadata"]["resourceVersion"] = str(self._next())
        self._tell("DELETED", path, document)

    def _next(self) -> int:
        self._version = next(self._versions)
        return self._version

    def _tell(self, event: str, path: str, document: Document) -> None:
        self._log.append((self._version, event, path, copy.deepcopy(document)))
        for prefix, query, queue in self._watchers:
            if _within(path, prefix) and _selected(document, query):
                queue.put_nowait({"type": event, "object": copy.deepcopy(document)})

    # ------------------------------------------------------------ what a client does

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "",
        seconds: float = 0,  # noqa: ARG002 - as the client's
    ) -> Document:
        """Answer a request."""
        await asyncio.sleep(0)
        self.requests.append((method, path))
        self.heard.set()
        try:
            if error := self.refuse(method, path):
                raise error
            answer = self._answer(method, path, dict(query or {}), copy.deepcopy(body), content_type)
        except ApiError as error:
            self.counts[method, error.status] += 1
            raise
        self.counts[method, 200] += 1
        return copy.deepcopy(answer)

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any, content_type: str) -> Document:
        if method == "GET" and path.rpartition("/")[2] in _COLLECTIONS:
            return self._list(path, query)
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise ApiError(f"{path} exists", status=409)
            return self.put(path, body)
        path, part = (path.removesuffix("/status"), "status") if path.endswith("/status") else (path, "")
        found = self.objects.get(path)
        if method == "PATCH" and content_type == APPLY:
            return self._apply(path, part, query["fieldManager"], body)
        if found is None:
            raise ApiError(f"{path} not found", status=404)
        if method == "GET":
            return found
        wanted = (body or {}).get("metadata", {}).get("resourceVersion") if isinstance(body, dict) else None
        if method == "DELETE":
            conditions = (body or {}).get("preconditions") or {}
            wanted = conditions.get("resourceVersion")
            if conditions.get("uid") not in (None, found["metadata"]["uid"]):
                raise ApiError(f"{path} is another by now", status=409)
        if wanted and wanted != found["metadata"]["resourceVersion"]:
            raise ApiError(f"{path} has been modified", status=409)
        if method == "DELETE":
            self.remove(path)
            return {"kind": "Status"}
        new = copy.deepcopy(found)
        if method == "PUT":
            new = {**body, "metadata": {**found["metadata"], **body["metadata"]}}
        elif content_type == JSON_PATCH:
            _json_patch(new, body)
        elif content_type == MERGE:
            _merge(new, body)
        return self._write(path, found, new)

    def _write(self, path: str, found: Document, new: Document) -> Document:
        if _content(found) == _content(new):
            return found  # as the real one: nothing changes, no new version
        if new.get("spec") != found.get("spec"):
            new["metadata"]["generation"] = found["metadata"]["generation"] + 1
        return self._store(path, new)

    def _apply(self, path: str, part: str, manager: str, body: Document) -> Document:
        found = self.objects.get(path)
        uid = body["metadata"].get("uid")
        if found is None:
            if part:
                raise ApiError(f"{path} not found", status=404)
            if uid:
                raise ApiError(f"{path}: uid mismatch", status=409)
            self._applied[path, part, manager] = {k: v for k, v in body.items() if k not in ("apiVersion", "kind")}
            return self.put(path, body)
        if uid and uid != found["metadata"]["uid"]:
            raise ApiError(f"{path}: uid is immutable", status=422)
        version = found["metadata"]["resourceVersion"]
        if body["metadata"].pop("resourceVersion", version) != version:
            raise ApiError(f"{path} has been modified", status=409)
        wanted = {key: value for key, value in body.items() if key not in ("apiVersion", "kind")}
        added = set(wanted.get("metadata", {}).get("finalizers", ())) - set(found["metadata"].get("finalizers", ()))
        if added and "deletionTimestamp" in found["metadata"]:
            raise ApiError("no new finalizers can be added if the object is being deleted", status=422)
        if part:
            wanted = {part: wanted.get(part, {})}
        new = copy.deepcopy(found)
        _take_back(new, self._applied.get((path, part, manager), {}), wanted)
        _put_in(new, wanted)
        self._applied[path, part, manager] = wanted
        return self._write(path, found, new)

    def _list(self, path: str, query: dict[str, str]) -> Document:
        names = sorted(key for key in self.objects if _within(key, path) and _selected(self.objects[key], query))
        start = int(query.get("continue", "0"))
        end = start + self.page if self.page else len(names)
        metadata: Document = {"resourceVersion": str(self._version)}
        if end < len(names):
            metadata["continue"] = str(end)
        return {"metadata": metadata, "items": [self.objects[name] for name in names[start:end]]}

    @contextlib.asynccontextmanager
    async def watch(
        self,
        path: str,
        query: Mapping[str, str],
        seconds: float,  # noqa: ARG002 - as the client's
    ) -> AsyncIterator[AsyncIterator[Document]]:
        """Answer a watch."""
        await asyncio.sleep(0)
        self.requests.append(("GET", path))
        self.heard.set()
        if error := self.refuse("WATCH", path):
            raise error
        since = int(query["resourceVersion"])
        if since < self._oldest:
            raise ApiError("too old resource version", status=410)
        queue: asyncio.Queue[Document | None] = asyncio.Queue()
        for version, event, key, document in self._log:
            if version > since and _within(key, path) and _selected(document, query):
                queue.put_nowait({"type": event, "object": copy.deepcopy(document)})
        entry = (path, query, queue)
        self._watchers.append(entry)
        self.watches += 1
        self.heard.set()
        try:
            yield _until_none(queue)
        finally:
            self._watchers.remove(entry)


async def _until_none(queue: asyncio.Queue[Document | None]) -> AsyncIterator[Document]:
    while (event := await queue.get()) is not None:
        yield event
        queue.task_done()


def _within(path: str, prefix: str) -> bool:
    """Whether an object's path is in a collection: of a namespace, or of all of them."""
    folder, _, _ = path.rpartition("/")
    if folder == prefix:
        return True
    parts = folder.split("/")
    if "namespaces" not in parts:
        return False
    at = parts.index("namespaces")
    return "/".join(parts[:at] + parts[at + 2 :]) == prefix


def _selected(document: Document, query: Mapping[str, str]) -> bool:
    lacking = [part[1:] for part in query.get("labelSelector", "").split(",") if part.startswith("!")]
    if any(label in document["metadata"].get("labels", {}) for label in lacking):
        return False
    equal = [part.partition("=") for part in query.get("labelSelector", "").split(",") if "=" in part]
    if any(document["metadata"].get("labels", {}).get(label) != value for label, _, value in equal):
        return False
    wanted = query.get("fieldSelector", "")
    return not wanted.startswith("metadata.name=") or document["metadata"]["name"] == wanted.partition("=")[2]


def _content(document: Document) -> Document:
    metadata = {k: v for k, v in document.get("metadata", {}).items() if k not in ("resourceVersion", "generation")}
    return {**document, "metadata": metadata}


def _merge(target: Document, patch: Document) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            child = target.setdefault(key, {})
            _merge(child, value)
            if not child:
                del target[key]
        else:
            target[key] = value


def _json_patch(target: Document, patch: list[Document]) -> None:
    for step in patch:
        *way, last = step["path"].strip("/").split("/")
        place: Any = target
        try:
            for name in way:
                place = place[int(name)] if isinstance(place, list) else place[name]
            at: Any = int(last) if isinstance(place, list) else last
            if step["op"] == "test" and place[at] != step["value"]:
                raise KeyError(last)
            if step["op"] == "remove":
                del place[at]
        except (KeyError, IndexError):
            raise ApiError("the server rejected our request due to an error in our request", status=422) from None


def _take_back(target: Document, before: Document, after: Document) -> None:
    """Take away what a manager applied before and does not apply now."""
    for key, value in before.items():
        if key not in target:
            continue
        new = after.get(key)
        if key in _SETS:
            target[key] = [item for item in target[key] if item not in value or item in (new or ())]
        elif key in _LIST_KEYS:
            name = _LIST_KEYS[key]
            gone = {item[name] for item in value} - {item[name] for item in new or ()}
            target[key] = [item for item in target[key] if item[name] not in gone]
        elif isinstance(value, dict):
            _take_back(target[key], value, new or {})
        elif new is None:
            del target[key]
        if target[key] in ([], {}) if key in target else False:
            del target[key]


def _put_in(target: Document, wanted: Document) -> None:
    for key, value in wanted.items():
        if key in _SETS:
            target[key] = [*target.get(key, []), *(item for item in value if item not in target.get(key, []))]
        elif key in _LIST_KEYS:
            name = _LIST_KEYS[key]
            there = target.setdefault(key, [])
            for item in value:
                found = next((other for other in there if other[name] == item[name]), None)
                if found is None:
                    there.append(copy.deepcopy(item))
                else:
                    _put_in(found, item)
        elif isinstance(value, dict):
            _put_in(target.setdefault(key, {}), value)
        else:
            target[key] = value
