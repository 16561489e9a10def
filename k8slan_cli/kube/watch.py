"""Informers: what the API server has of a kind, kept here, and word of every change.

::

    LIST (pages) ──► Cache ◄── WATCH (events, bookmarks) ──► WATCH again from the last version ──► …
      ▲                                                         │ 410 Gone: too old
      └─────────────────────────────────────────────────────────┘

``Cache`` is the part without I/O: documents in, changes out. It keeps of a document only what ``keep`` makes of it,
and a change that ``keep`` does not show is none. ``Informer`` feeds it. While all is well nothing here waits for a
timer; after an error it tries again, later each time. Nothing may enter that knows what the objects are for.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import Document

log = logging.getLogger(__name__)

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace ("" where there is none) and name."""

PAGE = 500
_WATCH_SECONDS = (300, 400)
"""How long the server lets a watch last; not the same for all, so that they do not all come back together."""
_GRACE_SECONDS = 20.0
"""A watch that is silent for so much longer than the server should let it last is dead."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0
_LONGEST_DEAF = 10.0
"""The longest pause of an informer: for so long changes may go unheard once the API server is back."""
_SHORT_SECONDS = 1.0
"""A watch that ends sooner, and without an event, is as good as an error."""


class Api(Protocol):
    """What an informer needs of a client: the seam for fakes."""

    async def call(self, method: str, path: str, *, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Send a request and return the answer, or raise ApiError."""

    def watch(
        self, path: str, query: Mapping[str, str], seconds: float
    ) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        """Begin a watch, or raise ApiError."""


def key_of(document: Document) -> Key:
    """Which object a document is of."""
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Cache(Generic[T]):
    """The objects of a kind by namespace and name, each reduced to what ``keep`` makes of it; None is not kept.

    ``changed`` is called with key, value before and value after (None: absent) whenever they differ. Versions order
    what is known: what is older is passed over. So a document that an own write returned can be learnt at once, and
    neither do events that come late take it back, nor does it bring back what the watch knows to be gone.
    """

    def __init__(
        self,
        keep: Callable[[Document], T | None],
        changed: Callable[[Key, T | None, T | None], None] = lambda _key, _old, _new: None,
    ) -> None:
        self._keep = keep
        self._changed = changed
        self._found: dict[Key, tuple[int, T]] = {}
        self.heard = 0
        """The version up to which all that happened to any object has been taken in."""

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, key: Key) -> bool:
        return key in self._found

    def get(self, key: Key) -> T | None:
        """The value of an object, or None."""
        found = self._found.get(key)
        return found[1] if found else None

    def version(self, key: Key) -> str:
        """The resourceVersion that an object's value is of, "" if there is none."""
        found = self._found.get(key)
        return str(found[0]) if found else ""

    def items(self) -> Iterator[tuple[Key, T]]:
        """All objects."""
        return ((key, value) for key, (_, value) in self._found.items())

    def values(self) -> list[T]:
        """All objects at one moment; may be called from any thread."""
        return [value for _, value in list(self._found.values())]

    def put(self, document: Document) -> None:
        """Take in an object's document."""
        key, version = key_of(document), int(document["metadata"]["resourceVersion"])
        found = self._found.get(key)
        if found and found[0] > version:
            return
        value = self._keep(document)
        if value is None:
            self.forget(key)
            return
        if found and found[1] == value:
            self._found[key] = (version, found[1])
            return
        self._found[key] = (version, value)
        self._changed(key, found[1] if found else None, value)

    def learn(self, document: Document) -> None:
        """Take in what an own write returned, unless the object is known to have gone since."""
        if key_of(document) in self._found or int(document["metadata"]["resourceVersion"]) > self.heard:
            self.put(document)

    def drop(self, document: Document) -> None:
        """Take in that an object has been deleted; its document is of that moment."""
        key, version = key_of(document), int(document["metadata"]["resourceVersion"])
        found = self._found.get(key)
        if found and found[0] <= version:
            self.forget(key)

    def drop_others(self, keys: set[Key], version: int) -> None:
        """Take in that at ``version`` there were ``keys`` and no other objects."""
        gone = [key for key, (known, _) in self._found.items() if key not in keys and known <= version]
        for key in gone:
            self.forget(key)

    def forget(self, key: Key) -> None:
        """Take in that an object is not there."""
        if found := self._found.pop(key, None):
            self._changed(key, found[1], None)


@dataclass(slots=True)
class Backoff:
    """Pauses between attempts: longer after each failure, spread so that many do not try at the same moment."""

    failures: int = 0
    limit: float = _LONGEST_PAUSE

    def next(self) -> float:
        """The pause after one more failure, in seconds."""
        longest = min(self.limit, _FIRST_PAUSE * (1 << min(self.failures, 10)))
        self.failures += 1
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Begin anew: it worked."""
        self.failures = 0


class Informer(Generic[T]):
    """Keeps a ``Cache`` in step with the API server.

    ``synced`` is set once all objects have been seen, and ``on_synced`` called then and whenever all have been seen
    again. ``live`` is set while the watch is up, that is, while what the cache has is how things are; ``on_live`` is
    called whenever it has come up (again). ``trouble`` has the last error's words while there is one; ``on_trouble``
    is told of it, instead of the log, and ends ``run`` if it raises. Where ``optional``, a kind that the cluster does
    not know has no objects.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        cache: Cache[T],
        *,
        select: Mapping[str, str] | None = None,
        optional: bool = False,
        on_synced: Callable[[], None] = lambda: None,
        on_live: Callable[[], None] = lambda: None,
        on_trouble: Callable[[ApiError], None] | None = None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """``select`` has the query's ``fieldSelector`` or ``labelSelector``."""
        self.cache = cache
        self.synced = asyncio.Event()
        self.live = asyncio.Event()
        self.trouble = ""
        self._api = api
        self._path = path
        self._select = dict(select or {})
        self._optional = optional
        self._on_synced = on_synced
        self._on_live = on_live
        self._on_trouble = on_trouble or self._log_trouble
        self._pause = pause
        self._version = ""
        self._backoff = Backoff(limit=_LONGEST_DEAF)
        self._too_old = False

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except ApiError as error:
                self.live.clear()
                await self._recover(error)

    async def _recover(self, error: ApiError) -> None:
        if error.status == 410:
            # Too old to go on from: that is no failure, unless it comes again at once.
            self._version = ""
            if not self._too_old:
                self._too_old = True
                return
        elif error.status == 404 and self._optional and not self._version:
            self.cache.drop_others(set(), 1 << 64)
            self._seen_all()
        if self.trouble != str(error):
            self.trouble = str(error)
            self._on_trouble(error)
        await self._pause(self._backoff.next())

    def _log_trouble(self, error: ApiError) -> None:
        log.warning("%s: %s; trying again", self._path, error)

    def _seen_all(self) -> None:
        self.synced.set()
        self._on_synced()

    async def _list(self) -> None:
        query = {**self._select, "limit": str(PAGE)}
        seen: set[Key] = set()
        while True:
            page = await self._api.call("GET", self._path, query=query)
            for document in page["items"]:
                seen.add(key_of(document))
                self.cache.put(document)
            if not (more := page["metadata"].get("continue")):
                break
            query["continue"] = more
        self._version = page["metadata"]["resourceVersion"]
        self.cache.drop_others(seen, int(self._version))
        self.cache.heard = int(self._version)
        self._seen_all()

    async def _watch(self) -> None:
        lasts = random.randint(*_WATCH_SECONDS)  # noqa: S311 - not a secret
        query = {
            **self._select,
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(lasts),
        }
        began, heard = time.monotonic(), False
        async with self._api.watch(self._path, query, lasts + _GRACE_SECONDS) as events:
            self._up()
            async for event in events:
                heard = True
                self._take_in(event["type"], event["object"])
                self._too_old = False
                self._backoff.reset()
        if not heard and time.monotonic() - began < _SHORT_SECONDS:
            raise ApiError("the watch ended as soon as it began")
        # An API server that ends does so to all watches at once: they need not all come back at once.
        await self._pause(random.uniform(0, _FIRST_PAUSE))  # noqa: S311 - not a secret

    def _up(self) -> None:
        if self.trouble:
            log.info("%s: is heard again", self._path)
            self.trouble = ""
        if not self.live.is_set():
            self.live.set()
            self._on_live()

    def _take_in(self, kind: str, document: Document) -> None:
        if kind == "ERROR":
            raise ApiError(str(document.get("message", "")), status=int(document.get("code", 0)))
        if kind == "DELETED":
            self.cache.drop(document)
        elif kind != "BOOKMARK":
            self.cache.put(document)
        self._version = document["metadata"]["resourceVersion"]
        self.cache.heard = int(self._version)
