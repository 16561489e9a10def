"""Informers against an API server in memory: what the cache holds, which changes are told, what errors do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.watch import Backoff, Cache, Informer, Key
from tests.unit.kube.fake_api import FakeApi

ROOT = "/apis/x/v1/things"
A, B = (f"/apis/x/v1/namespaces/n/things/{name}" for name in "ab")
Changes = list[tuple[Key, Any, Any]]


def document(name: str, version: int, colour: str = "red") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version)}, "spec": {"colour": colour}}


def colour(document: Any) -> str | None:
    found: str = document["spec"]["colour"]
    return None if found == "none" else found


def cache() -> tuple[Cache[str], Changes]:
    changes: Changes = []
    return Cache(colour, lambda *change: changes.append(change)), changes


# ---------------------------------------------------------------- the cache


def test_a_change_is_told_with_what_was_before() -> None:
    kept, changes = cache()
    kept.put(document("a", 1))
    kept.put(document("a", 2, "blue"))
    kept.drop(document("a", 3, "blue"))
    a = ("n", "a")
    assert changes == [(a, None, "red"), (a, "red", "blue"), (a, "blue", None)]
    assert len(kept) == 0


def test_a_change_of_what_is_not_kept_is_none_but_moves_the_version() -> None:
    kept, changes = cache()
    kept.put(document("a", 1))
    kept.put(document("a", 7))
    assert len(changes) == 1
    assert kept.version(("n", "a")) == "7"


@pytest.mark.parametrize("late", [document("a", 4, "green"), document("a", 5, "red")])
def test_what_is_older_than_what_is_known_is_passed_over(late: dict[str, Any]) -> None:
    kept, changes = cache()
    kept.put(document("a", 5))
    kept.put(late)
    kept.drop(document("a", 4))
    assert kept.get(("n", "a")) == "red"
    assert len(changes) == 1


def test_an_object_that_is_kept_no_longer_is_gone() -> None:
    kept, changes = cache()
    kept.put(document("a", 1))
    kept.put(document("a", 2, "none"))
    assert changes[-1] == (("n", "a"), "red", None)
    assert ("n", "a") not in kept


def test_a_list_takes_out_what_it_lacks_but_not_what_was_learnt_after_it() -> None:
    kept, _ = cache()
    for name, version in (("a", 1), ("b", 2), ("c", 9)):
        kept.put(document(name, version))
    kept.drop_others({("n", "a")}, 5)
    assert sorted(name for (_, name), _ in kept.items()) == ["a", "c"]


def test_what_a_write_returned_is_known_at_once_but_brings_nothing_back_that_is_gone() -> None:
    """A write that lets an object go is answered with it, maybe after the watch has told that it is gone."""
    kept, changes = cache()
    kept.heard = 4
    kept.learn(document("a", 5))
    assert kept.get(("n", "a")) == "red"
    kept.learn(document("a", 6, "blue"))
    kept.drop(document("a", 7, "blue"))
    kept.heard = 7
    kept.learn(document("a", 7, "blue"))
    assert ("n", "a") not in kept
    assert len(changes) == 3
    kept.learn(document("a", 8))  # another one of that name
    assert ("n", "a") in kept


def test_what_an_own_write_returned_is_known_before_the_watch_tells() -> None:
    kept, changes = cache()
    kept.heard = 5
    kept.learn(document("a", 6))
    kept.put(document("a", 6))
    assert [(old, new) for _, old, new in changes] == [(None, "red")]


def test_what_an_own_write_returned_does_not_bring_back_what_is_gone() -> None:
    kept, _ = cache()
    kept.put(document("a", 1))
    kept.drop(document("a", 8))
    kept.heard = 8
    kept.learn(document("a", 7))  # the answer to a write, overtaken by the watch
    assert ("n", "a") not in kept


def test_pauses_grow_to_a_limit_and_begin_anew() -> None:
    backoff = Backoff()
    pauses = [backoff.next() for _ in range(20)]
    assert pauses[0] <= 0.25
    assert all(15 <= pause <= 30 for pause in pauses[-5:])
    backoff.reset()
    assert backoff.next() <= 0.25


# ---------------------------------------------------------------- the informer


class Pauses:
    """In the place of a clock: remembers what was waited for, and waits for nothing."""

    def __init__(self, told: asyncio.Event) -> None:
        self.seconds: list[float] = []
        self._told = told

    async def __call__(self, seconds: float) -> None:
        """Let others run."""
        self.seconds.append(seconds)
        self._told.set()
        await asyncio.sleep(0)


class Running:
    """An informer at work, and what it told."""

    def __init__(self, api: FakeApi, **options: Any) -> None:
        self.api = api
        self.changes: Changes = []
        self.told = api.heard
        self.pauses = Pauses(self.told)
        self.lives = 0
        self.cache: Cache[str] = Cache(colour, self._changed)
        self.informer = Informer(api, ROOT, self.cache, pause=self.pauses, on_live=self._live, **options)

    def _changed(self, *change: Any) -> None:
        self.changes.append(change)
        self.told.set()

    def _live(self) -> None:
        self.lives += 1
        self.told.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; whatever happens is a reason to look again."""
        async with asyncio.timeout(5):
            while not holds():
                self.told.clear()
                await self.told.wait()


@contextlib.asynccontextmanager
async def running(api: FakeApi, **options: Any) -> AsyncIterator[Running]:
    found = Running(api, **options)
    task = asyncio.create_task(found.informer.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), task.exception()


def thing(colour: str = "red") -> dict[str, Any]:
    return {"spec": {"colour": colour}}


def test_lists_in_pages_then_follows() -> None:
    async def run() -> None:
        api = FakeApi()
        api.page = 2
        for name in "abcde":
            api.put(f"/apis/x/v1/namespaces/n/things/{name}", thing())
        async with running(api) as found:
            await found.informer.live.wait()
            assert len(found.cache) == 5
            assert [method for method, _ in api.requests] == ["GET"] * 4
            api.put(A, thing("blue"))
            api.remove(B)
            await found.until(lambda: len(found.changes) == 7)
            assert found.cache.get(("n", "a")) == "blue"
            assert ("n", "b") not in found.cache
            assert found.pauses.seconds == []

    asyncio.run(run())


def test_a_watch_that_the_server_ends_goes_on_where_it_was() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(A, thing())
        async with running(api) as found:
            await found.informer.live.wait()
            api.put(A, thing("blue"))
            await found.until(lambda: len(found.changes) == 2)
            api.break_watches()
            api.put(A, thing("green"))
            await found.until(lambda: found.cache.get(("n", "a")) == "green")
            assert found.lives == 1
            assert api.watches == 2
            lists = [path for method, path in api.requests if method == "GET"]
            assert len(lists) == 3  # one list, two watches

    asyncio.run(run())


def test_a_bookmark_moves_the_version_and_nothing_else() -> None:
    async def run() -> None:
        api = FakeApi()
        async with running(api) as found:
            await found.informer.live.wait()
            api.send({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}})
            api.break_watches()
            await found.until(lambda: api.watches == 2)
            assert found.informer._version == "77"
            assert found.changes == []

    asyncio.run(run())


@pytest.mark.parametrize("how", ["status", "event"])
def test_410_lists_again_without_a_pause(how: str) -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(A, thing())
        api.put(B, thing())
        async with running(api) as found:
            await found.informer.live.wait()
            if how == "event":
                api.send({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
            else:
                api.send({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "2"}}})
            del api.objects[B]  # without an event: only a list can tell
            api.break_watches(gone=how == "status")
            await found.until(lambda: len(found.cache) == 1)
            assert sum(found.pauses.seconds) <= 0.25, "no more than keeps all from coming back at the same moment"
            await found.until(lambda: api.watches == 2)

    asyncio.run(run())


def test_410_after_an_outage_lists_again_without_a_further_pause() -> None:
    """An API server that comes back has no memory of versions before; that is no failure of its own."""

    async def run() -> None:
        api = FakeApi()
        api.put(A, thing())
        async with running(api) as found:
            await found.informer.live.wait()
            api.refuse = lambda method, _path: ApiError("no answer") if method == "WATCH" else None
            api.break_watches()
            await found.until(lambda: len(found.pauses.seconds) > 4)
            api.put(B, thing())
            answers = iter([ApiError("too old", status=410)])
            api.refuse = lambda method, _path: next(answers, None) if method == "WATCH" else None
            paused = len(found.pauses.seconds)
            await found.until(found.informer.live.is_set)
            assert len(found.pauses.seconds) == paused
            assert len(found.cache) == 2

    asyncio.run(run())


def test_410_again_and_again_is_an_error() -> None:
    async def run() -> None:
        api = FakeApi()
        api.refuse = lambda method, _path: ApiError("too old", status=410) if method == "WATCH" else None
        async with running(api) as found:
            await found.until(lambda: len(found.pauses.seconds) > 3)

    asyncio.run(run())


@pytest.mark.parametrize("error", [ApiError("no answer"), ApiError("busy", status=429), ApiError("oops", status=500)])
def test_an_error_waits_longer_each_time_and_resumes_without_a_list(error: ApiError) -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(A, thing())
        async with running(api) as found:
            await found.informer.live.wait()
            api.refuse = lambda method, _path: error if method == "WATCH" else None
            before = len(api.requests)
            api.break_watches()
            await found.until(lambda: len(found.pauses.seconds) > 4)
            assert not found.informer.live.is_set()
            assert found.informer.trouble == str(error)
            assert found.pauses.seconds[4] > found.pauses.seconds[0]
            api.refuse = lambda _method, _path: None
            await found.until(found.informer.live.is_set)
            assert found.informer.trouble == ""
            assert found.lives == 2
            api.put(A, thing("blue"))
            await found.until(lambda: found.cache.get(("n", "a")) == "blue")
            assert api.counts["GET", 200] == 1, "one list, at the start"
            assert before < len(api.requests)

    asyncio.run(run())


def test_watches_that_end_at_once_do_not_spin() -> None:
    async def run() -> None:
        api = FakeApi()
        async with running(api) as found:
            await found.informer.live.wait()
            for _ in range(3):
                watches = api.watches
                api.break_watches()
                await found.until(lambda watches=watches: api.watches > watches)  # type: ignore[misc]
            assert len(found.pauses.seconds) == 3

    asyncio.run(run())


def test_a_kind_that_the_cluster_does_not_know_has_no_objects_if_it_is_optional() -> None:
    async def run() -> None:
        api = FakeApi()
        api.refuse = lambda _method, _path: ApiError("the server could not find the requested resource", status=404)
        async with running(api, optional=True) as found:
            async with asyncio.timeout(5):
                await found.informer.synced.wait()
            assert not found.informer.live.is_set()
            api.refuse = lambda _method, _path: None
            api.put(A, thing())
            await found.until(lambda: len(found.cache) == 1)

    asyncio.run(run())


def test_an_error_in_the_first_list_is_not_a_sight_of_nothing() -> None:
    async def run() -> None:
        api = FakeApi()
        api.refuse = lambda _method, _path: ApiError("forbidden", status=403)
        async with running(api) as found:
            await found.until(lambda: len(found.pauses.seconds) > 2)
            assert not found.informer.synced.is_set()

    asyncio.run(run())


def test_watches_that_end_together_do_not_come_back_together() -> None:
    async def run() -> None:
        api = FakeApi()
        async with contextlib.AsyncExitStack() as stack:
            several = [await stack.enter_async_context(running(api)) for _ in range(20)]
            for found in several:
                await found.informer.live.wait()
            api.put(A, thing())
            await several[0].until(lambda: all(len(found.cache) for found in several))
            api.break_watches()
            await several[0].until(lambda: all(found.pauses.seconds for found in several))
            pauses = [found.pauses.seconds[0] for found in several]
            assert max(pauses) - min(pauses) > 0.05
            assert max(pauses) <= 0.25

    asyncio.run(run())
