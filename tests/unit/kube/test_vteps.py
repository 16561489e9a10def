"""VTEPs in the API: what an agent writes, and which it hears of while it takes part in their LANs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from k8slan_cli.kube import vteps
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import PODS, VMIS, VTEPS
from k8slan_cli.kube.vteps import VtepWatch, VtepWriter
from k8slan_cli.kube.watch import CROWD_SPREAD, Backoff
from k8slan_cli.lan import names, vtep_codec
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import PodRef, VmRef, Vtep, VtepPort
from tests.unit.kube import fake_time
from tests.unit.kube.fake_api import FakeApi

BLUE, RED, FAR = (LanRef(namespace=space, name=name) for space, name in (("lab", "blue"), ("lab", "red"), ("z", "far")))
PORT = VtepPort(name="ap", interface="eth1", kind="veth", spoke="a", mac="02:00:00:00:00:01")


def vtep(lan: LanRef, node: str, *ports: VtepPort) -> Vtep:
    return Vtep(lan=lan, node=node, address=ip_address("10.0.0.1"), mtu=1446, ports=ports)


def path(lan: LanRef, node: str) -> str:
    return VTEPS.path(lan.namespace, names.vtep(lan.name, node))


def put(api: FakeApi, value: Vtep) -> None:
    api.put(path(value.lan, value.node), vtep_codec.encode(value))


class Told:
    """What a watch has told."""

    def __init__(self, watch: VtepWatch) -> None:
        self.changes: list[tuple[LanRef, list[tuple[str, str]]]] = []
        self._watch = watch
        self._news = asyncio.Event()
        watch.on_change = self

    def __call__(self, lan: LanRef, changes: Any) -> None:
        """Keep what is told."""
        nodes = [(old.node if old else "", new.node if new else "") for old, new in changes]
        self.changes.append((lan, nodes))
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what is told until a condition holds."""
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def nodes(self, lan: LanRef) -> list[str]:
        """The nodes whose VTEPs of a LAN are known."""
        return sorted(found.node for found in self._watch.of(lan))


@asynccontextmanager
async def watching(api: Any) -> AsyncIterator[tuple[VtepWatch, Told]]:
    watch = VtepWatch(api, pause=lambda _seconds: asyncio.sleep(0))
    try:
        yield watch, Told(watch)
    finally:
        await watch.close()


def run(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(play())


# ---------------------------------------------------------------- writing


def test_a_vtep_is_one_apply_and_its_finalizer_goes_with_its_ports() -> None:
    async def play() -> None:
        api = FakeApi()
        writer = VtepWriter(api, "n1")  # type: ignore[arg-type]
        first = await writer.write(vtep(BLUE, "n1", PORT), None)
        assert api.writes() == [("PATCH", path(BLUE, "n1"))]
        assert api.objects[path(BLUE, "n1")]["metadata"]["finalizers"] == [vtep_codec.HELD]
        api.remove(path(BLUE, "n1"))  # somebody deletes it: it stays as long as it has ports
        found = await writer.read(BLUE)
        assert found is not None
        assert found.deleting
        await writer.write(vtep(BLUE, "n1"), first)
        assert await writer.read(BLUE) is None
        with pytest.raises(ApiError) as caught:
            await writer.write(vtep(BLUE, "n1", PORT), first)
        assert caught.value.status == 409, "it is not made anew by accident"
        await writer.delete(first)

    run(play)


def test_of_a_nodes_own_vteps_those_of_other_nodes_are_none() -> None:
    async def play() -> None:
        api = FakeApi()
        for node in ("n1", "n2", "n" * 100):
            put(api, vtep(BLUE, node))
        assert [found.node for found in await VtepWriter(api, "n1").own()] == ["n1"]  # type: ignore[arg-type]
        assert [found.node for found in await VtepWriter(api, "n" * 100).own()] == ["n" * 100]  # type: ignore[arg-type]

    run(play)


@pytest.mark.parametrize(
    ("labels", "uid", "vm"),
    [
        ({"vm.kubevirt.io/name": "fw", "kubevirt.io/created-by": "vmi-1"}, "", VmRef(name="fw", uid="vmi-1")),
        ({"vm.kubevirt.io/name": "fw", "kubevirt.io/created-by": "vmi-1"}, "another", None),
        ({"app": "web"}, "", None),
    ],
)
def test_a_pod_tells_which_vm_it_runs(labels: dict[str, str], uid: str, vm: VmRef | None) -> None:
    async def play() -> None:
        api = FakeApi()
        pod = PodRef(namespace="lab", name="launcher", uid=uid)
        assert await VtepWriter(api, "n1").vm_of(pod) is None  # type: ignore[arg-type]
        api.put(PODS.path("lab", "launcher"), {"metadata": {"labels": labels}})
        assert await VtepWriter(api, "n1").vm_of(pod) == vm  # type: ignore[arg-type]

    run(play)


@pytest.mark.parametrize(
    ("uid", "active", "migrates"),
    [
        ("vmi", {"old": "n1", "new": "n2"}, True),
        ("vmi", {"old": "n1"}, False),
        ("vmi", {"new": "n2"}, False),
        ("vmi", None, False),
        ("another", {"old": "n1", "new": "n2"}, False),
    ],
)
def test_a_vm_migrates_if_kubevirt_says_that_both_its_pods_are_active(
    uid: str, active: dict[str, str] | None, migrates: bool
) -> None:
    async def play() -> None:
        api = FakeApi()
        old = replace(PORT, pod=PodRef(namespace="lab", name="l1", uid="old"), vm=VmRef(name="fw", uid="vmi"))
        new = PodRef(namespace="lab", name="l2", uid="new")
        writer = VtepWriter(api, "n2")  # type: ignore[arg-type]
        assert not await writer.migrates(new, old), "without a VMI"
        document: dict[str, Any] = {"metadata": {"uid": uid}}
        api.put(VMIS.path("lab", "fw"), document | ({"status": {"activePods": active}} if active else {}))
        assert await writer.migrates(new, old) == migrates
        assert not await writer.migrates(replace(new, namespace="z"), old)
        assert not await writer.migrates(new, replace(old, vm=None))

    run(play)


# ---------------------------------------------------------------- reading


def test_only_namespaces_are_watched_in_which_the_node_takes_part() -> None:
    async def play() -> None:
        api = FakeApi()
        for value in (vtep(BLUE, "n1"), vtep(BLUE, "n2", PORT), vtep(RED, "n2"), vtep(FAR, "n3")):
            put(api, value)
        async with watching(api) as (watch, told):
            watch.follow([BLUE])
            assert not watch.known(BLUE)
            await told.until(lambda: watch.known(BLUE))
            assert told.nodes(BLUE) == ["n1", "n2"]
            assert not watch.known(FAR)
            put(api, vtep(FAR, "n4"))
            put(api, vtep(BLUE, "n3", PORT))
            await told.until(lambda: told.nodes(BLUE) == ["n1", "n2", "n3"])
            assert told.nodes(FAR) == []
            assert {asked for _, asked in api.requests} == {VTEPS.path("lab")}

    run(play)


def test_what_comes_together_is_told_together() -> None:
    async def play() -> None:
        api = FakeApi()
        for number in range(1000):
            put(api, vtep(BLUE, f"n{number}"))
        async with watching(api) as (watch, told):
            watch.follow([BLUE])
            await told.until(lambda: watch.known(BLUE))
            assert [len(nodes) for _, nodes in told.changes] == [1000]

    run(play)


def test_a_lan_without_a_vtep_is_told_to_be_known() -> None:
    async def play() -> None:
        async with watching(FakeApi()) as (watch, told):
            watch.follow([BLUE])
            await told.until(lambda: told.changes == [(BLUE, [])])
            assert watch.known(BLUE)

    run(play)


def test_a_namespace_is_watched_for_a_while_after_the_last_attachment() -> None:
    async def play() -> None:
        api = FakeApi()
        put(api, vtep(BLUE, "n2"))
        async with watching(api) as (watch, told):
            watch.follow([BLUE])
            await told.until(lambda: watch.known(BLUE))
            watch.follow([])
            await asyncio.sleep(vteps._GRACE_SECONDS / 2)
            watch.follow([RED])  # a pod comes to another LAN of the namespace
            await asyncio.sleep(vteps._GRACE_SECONDS * 2)
            assert told.nodes(BLUE) == ["n2"]
            watch.follow([])
            await asyncio.sleep(vteps._GRACE_SECONDS + 1)
            assert told.nodes(BLUE) == []
            assert not watch.known(BLUE)
            assert api._watchers == []

    fake_time.run(play())


# ---------------------------------------------------------------- the first look


def test_the_first_look_at_a_lan_asks_for_its_vteps_alone() -> None:
    async def play() -> None:
        api = FakeApi()
        for value in (vtep(BLUE, "n2", PORT), vtep(RED, "n3")):
            put(api, value)
        api.refuse = lambda method, _path: ApiError("no answer") if method == "WATCH" else None
        listed: list[str] = []
        real = api._list
        api._list = lambda at, query: listed.append(query.get("labelSelector", "")) or real(at, query)  # type: ignore[method-assign,func-returns-value]
        async with watching(api) as (watch, told):
            watch.follow([BLUE])
            await asyncio.gather(*(watch.look(BLUE) for _ in range(100)))
            assert told.nodes(BLUE) == ["n2"]
            assert watch.known(BLUE)
            assert listed.count("lan.k8slan.io/lan=blue") == 1

    run(play)


@pytest.mark.parametrize("away", ["refuses", "says nothing"])
def test_a_look_waits_for_200_ms_at_the_most(away: str) -> None:
    async def play() -> None:
        api = FakeApi()
        if away == "refuses":
            api.refuse = lambda _method, _path: ApiError("no answer")
        else:

            async def silent(*_arguments: Any, **_options: Any) -> Any:
                await asyncio.get_running_loop().create_future()

            api.call = silent  # type: ignore[method-assign]
        watch = VtepWatch(api)
        watch.follow([BLUE])
        begun = asyncio.get_running_loop().time()
        await watch.look(BLUE)
        assert asyncio.get_running_loop().time() - begun <= 0.201
        assert not watch.known(BLUE)
        await watch.close()

    fake_time.run(play())


# ---------------------------------------------------------------- outages


@pytest.mark.parametrize("gone", [False, True])
def test_after_an_outage_what_has_changed_is_heard(gone: bool) -> None:
    """Also after the API server has compacted its history: 410 Gone."""

    async def play() -> None:
        api = FakeApi()
        put(api, vtep(BLUE, "n1"))
        put(api, vtep(BLUE, "n2"))
        async with watching(api) as (watch, told):
            watch.follow([BLUE])
            await told.until(lambda: watch.known(BLUE) and api.watches)
            api.refuse = lambda method, _path: ApiError("no answer") if method == "WATCH" else None
            api.break_watches(gone=gone)
            api.remove(path(BLUE, "n2"))
            put(api, vtep(BLUE, "n3", PORT))
            assert watch.known(BLUE), "what was seen last counts"
            api.refuse = lambda _method, _path: None
            await told.until(lambda: told.nodes(BLUE) == ["n1", "n3"])

    run(play)


def test_a_thousand_agents_do_not_come_back_within_one_second() -> None:
    first = sorted(Backoff(limit=10.0, spread=CROWD_SPREAD).next() for _ in range(1000))
    in_a_second = max(sum(begin <= pause < begin + 1 for pause in first) for begin in first)
    assert in_a_second < 350
    assert first[-1] <= CROWD_SPREAD


def test_agents_spread_after_their_watches_were_ended_at_once() -> None:
    async def play() -> None:
        api = FakeApi()
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == len(crowd):
                all_pause.set()
            await asyncio.get_running_loop().create_future()

        all_pause = asyncio.Event()
        crowd = [VtepWatch(api, pause) for _ in range(100)]
        for watch in crowd:
            watch.follow([BLUE])
        async with asyncio.timeout(5):
            while api.watches < len(crowd):
                api.heard.clear()
                await api.heard.wait()
        put(api, vtep(BLUE, "n1"))  # so that none has ended as soon as it began
        await api.delivered()
        api.break_watches()
        async with asyncio.timeout(5):
            await all_pause.wait()
        assert min(pauses) < CROWD_SPREAD / 4
        assert max(pauses) > CROWD_SPREAD * 3 / 4
        for watch in crowd:
            await watch.close()

    run(play)


def test_the_version_of_a_vtep_is_the_objects() -> None:
    async def play() -> None:
        api = FakeApi()
        writer = VtepWriter(api, "n1")  # type: ignore[arg-type]
        written = await writer.write(vtep(BLUE, "n1", PORT), None)
        assert written == await writer.read(BLUE)
        assert str(written.version) == api.objects[path(BLUE, "n1")]["metadata"]["resourceVersion"]
        again = await writer.write(replace(written, mtu=1400), written)
        assert again.version > written.version

    run(play)
