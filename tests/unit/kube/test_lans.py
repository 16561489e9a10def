"""LAN objects: read leniently, watched for an agent, and written to by several at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from k8slan_cli.kube import lans, status
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import LANS
from k8slan_cli.kube.lans import ApiSource
from k8slan_cli.kube.status import Condition, LanStatus, NodeTrouble
from k8slan_cli.lan.model import Grant, LanRef, NodeStatus
from tests.support.old_agent import NodeWriter
from tests.unit.kube.fake_api import FakeApi

REF = LanRef(namespace="n", name="a")
PATH = LANS.path("n", "a")


def lan(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "spec": {"vni": 1, "spokes": ["e1"], **spec}}


@asynccontextmanager
async def watched(api: FakeApi) -> AsyncIterator[ApiSource]:
    source = ApiSource(api)
    try:
        async with asyncio.timeout(5):
            yield source
    finally:
        await source.close()


# ---------------------------------------------------------------- reading


def test_an_object_is_read_with_all_that_the_controller_wants() -> None:
    api = FakeApi()
    document = lan()
    document["metadata"] = {
        "finalizers": ["x"],
        "annotations": {lans.FORCE: "true"},
        "deletionTimestamp": "2026-01-01T00:00:00Z",
    }
    document["status"] = {"nodes": [{"name": "n1"}, {"name": "n2"}], "attached": 3}
    found = lans.read_object(api.put(PATH, document))
    assert (found.ref, found.deleting, found.forced, found.finalizers) == (REF, True, True, ("x",))
    assert [entry.name for entry in found.entries] == ["n1", "n2"]
    assert found.status.attached == 3
    assert found.lan is not None
    assert found.lan.created == "2026-01-01T00:00:00Z"
    assert found.problems == ()


@pytest.mark.parametrize("spec", [None, {}, {"vni": "x"}, {"vni": 1, "spokes": ["..", "e1"]}, {"vni": 1}])
def test_a_broken_object_is_read_with_its_problems(spec: Any) -> None:
    found = lans.read_object(FakeApi().put(PATH, {**lan(), "spec": spec}))
    assert found.lan is None
    assert found.problems
    assert found.uid


@pytest.mark.parametrize(
    "found",
    [
        "x",
        [],
        {"nodes": "x"},
        {"nodes": [1, {}, {"name": 5}], "conditions": [None, {"type": "Ready"}], "attached": "x"},
    ],
)
def test_a_status_that_makes_no_sense_is_read_as_far_as_it_does(found: Any) -> None:
    document = {**lan(), "status": found}
    read = lans.read_object(FakeApi().put(PATH, document))
    assert read.entries == ()
    assert read.status.attached == 0


def test_unknown_fields_are_passed_over() -> None:
    assert lans.read_object(FakeApi().put(PATH, lan(newer="x"))).lan is not None


def test_status_is_read_as_it_is_written() -> None:
    conditions = tuple(
        Condition(
            type=kind, status=kind == "Ready", reason="R", message="m", generation=2, since="2026-01-01T00:00:00Z"
        )
        for kind in status.CONDITIONS
    )
    degraded = (NodeTrouble(name="n1", message="eth7 is missing"),)
    value = LanStatus(generation=2, spokes=3, attached=1, nodes=2, degraded=degraded, conditions=conditions)
    written = status.encode(value)
    written["conditions"].append({"type": "Others", "status": "True"})
    assert status.decode(written) == value
    assert status.decode({}) == LanStatus()


@pytest.mark.parametrize("node", ["n1", "x" * 253])
def test_a_field_manager_is_short_and_of_one_node_alone(node: str) -> None:
    assert len(lans.manager(node)) <= 128
    assert lans.manager(node) != lans.manager(node[:-1] + "y")


# ---------------------------------------------------------------- the source


def test_the_first_snapshot_has_all_lans_and_what_is_broken() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(PATH, lan())
        api.put(LANS.path("n", "b"), lan(vni=0))
        async with watched(api) as source:
            seen = await source.next()
            assert {ref: origin for ref, (_, origin) in seen.lans.items()} == {REF: "n/a"}
            assert [str(problem) for problem in seen.broken["n/b"]] == ["spec.vni: 0 is not in 1..16777215"]

    asyncio.run(run())


def test_the_first_snapshot_may_be_of_nothing() -> None:
    async def run() -> None:
        async with watched(FakeApi()) as source:
            assert (await source.next()).lans == {}

    asyncio.run(run())


def test_a_change_gives_a_snapshot_and_what_is_no_change_does_not() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(PATH, lan())
        async with watched(api) as source:
            await source.next()
            waiting = asyncio.ensure_future(source.next())
            await source.informer.live.wait()
            api.put(PATH, {**lan(), "status": {"spokeCount": 5}})  # the controller's, no business of an agent's
            await api.delivered()
            assert source.cache.version(("n", "a")) == api.objects[PATH]["metadata"]["resourceVersion"]
            assert not waiting.done()
            api.put(PATH, lan(spokes=["e1", "e2"]))
            assert (await waiting).lans[REF][0].spokes == ("e1", "e2")

    asyncio.run(run())


def test_a_lan_that_breaks_moves_to_the_broken_ones_and_what_it_has_been_granted_is_told() -> None:
    async def run() -> None:
        api = FakeApi()
        granted = {"status": {"granted": {"ns": "n", "vni": 3}}}
        api.put(PATH, lan() | granted)
        async with watched(api) as source:
            await source.next()
            await source.informer.live.wait()
            api.put(PATH, lan(vni=0) | granted)
            seen = await source.next()
            assert seen.lans == {}
            assert "n/a" in seen.broken
            assert seen.remains[REF].granted == Grant(netns="n", vni=3)

    asyncio.run(run())


def test_with_the_api_server_away_the_source_waits() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(PATH, lan())
        api.refuse = lambda _method, _path: ApiError("no answer")
        async with watched(api) as source:
            waiting = asyncio.ensure_future(source.next())
            await api.heard.wait()
            assert not waiting.done()
            api.refuse = lambda _method, _path: None
            assert REF in (await waiting).lans

    asyncio.run(run())


# ---------------------------------------------------------------- an agent's writes

ENTRY = NodeStatus(name="n1", state="Ready", device="eth0", vtep=ip_address("10.0.0.1"), mtu=1446)


@asynccontextmanager
async def writers(api: Any) -> AsyncIterator[tuple[ApiSource, NodeWriter, NodeWriter]]:
    async with watched(api) as source:
        await source.next()
        yield source, NodeWriter(api, source, "n1"), NodeWriter(api, source, "n2")


def test_each_agent_writes_its_own_entry() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(PATH, lan())
        async with writers(api) as (source, one, two):
            await one.put_node(REF, ENTRY)
            await two.put_node(REF, replace(ENTRY, name="n2"))
            await one.put_node(REF, replace(ENTRY, mtu=1400))
            nodes = (await source.next()).lans[REF][0].nodes
            assert [(node.name, node.mtu) for node in nodes] == [("n1", 1400), ("n2", 1446)]
            await one.remove_node(REF, "n1")
            await one.remove_node(REF, "n1")
            assert [node.name for node in (await source.next()).lans[REF][0].nodes] == ["n2"]

    asyncio.run(run())


def test_what_is_written_is_known_before_the_watch_tells() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(PATH, lan())
        async with writers(api) as (source, one, _):
            api.break_watches()
            api.refuse = lambda method, _path: ApiError("no answer") if method == "WATCH" else None
            await one.put_node(REF, ENTRY)
            assert (await source.next()).lans[REF][0].nodes == (ENTRY,)

    asyncio.run(run())


def test_finalizers_of_agents_do_not_disturb_each_other() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(PATH, lan())
        async with writers(api) as (source, one, two):
            await asyncio.gather(one.add_finalizer(REF, "f/n1"), two.add_finalizer(REF, "f/n2"))
            await one.add_finalizer(REF, "f/n1")
            assert sorted((await source.next()).lans[REF][0].finalizers) == ["f/n1", "f/n2"]
            await asyncio.gather(one.remove_finalizer(REF, "f/n1"), two.remove_finalizer(REF, "f/n2"))
            assert api.objects[PATH]["metadata"].get("finalizers", []) == []

    asyncio.run(run())


def test_the_last_finalizer_lets_a_deleted_lan_go_and_none_can_be_added() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(PATH, lan())
        async with writers(api) as (source, one, two):
            await one.add_finalizer(REF, "f/n1")
            api.remove(PATH)
            with pytest.raises(ApiError) as caught:
                await two.add_finalizer(REF, "f/n2")
            assert caught.value.status == 422
            await one.remove_finalizer(REF, "f/n1")
            assert PATH not in api.objects
            await api.delivered()
            assert source.cache.get(("n", "a")) is None
            await one.remove_finalizer(REF, "f/n1")
            await one.remove_node(REF, "n1")

    asyncio.run(run())


def test_a_lan_that_is_gone_is_not_made_anew() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(PATH, lan())
        async with writers(api) as (_, one, _two):
            api.objects.clear()  # and the watch has not told yet
            with pytest.raises(ApiError):
                await one.add_finalizer(REF, "f/n1")
            with pytest.raises(ApiError):
                await one.put_node(REF, ENTRY)
            with pytest.raises(ApiError, match="there is no LAN n/b"):
                await one.put_node(LanRef(namespace="n", name="b"), ENTRY)
            assert api.objects == {}

    asyncio.run(run())


@pytest.mark.parametrize("failures", [1, 7])
def test_taking_off_a_finalizer_tries_again_when_somebody_was_quicker(failures: int) -> None:
    async def run() -> None:
        api: Any = FakeApi()
        document = lan()
        document["metadata"] = {"finalizers": [*(f"other/{i}" for i in range(failures)), "mine"]}
        uid = api.put(PATH, document)["metadata"]["uid"]
        left = failures

        def meddle(method: str, _path: str) -> None:
            nonlocal left
            if method == "PATCH" and left:  # between its reading and its writing, another one goes
                left -= 1
                new = {**api.objects[PATH], "metadata": dict(api.objects[PATH]["metadata"])}
                new["metadata"]["finalizers"] = new["metadata"]["finalizers"][1:]
                api.put(PATH, new)

        api.refuse = meddle
        await lans.remove_finalizers(api, REF, uid, frozenset({"mine"}))
        assert left == 0
        assert api.objects[PATH]["metadata"]["finalizers"] == []

    asyncio.run(run())


@pytest.mark.parametrize("when", ["GET", "PATCH"])
def test_nothing_is_taken_off_a_lan_that_was_made_anew(when: str) -> None:
    """Not even when that happens between reading and writing."""

    async def run() -> None:
        api: Any = FakeApi()
        document = lan() | {"metadata": {"finalizers": ["mine"]}, "status": {"nodes": [{"name": "n1"}]}}
        uid = api.put(PATH, document)["metadata"]["uid"]

        def meddle(method: str, _path: str) -> None:
            if method == when and api.objects[PATH]["metadata"]["uid"] == uid:
                api._drop(PATH)
                api.put(PATH, document)

        api.refuse = meddle
        for remove, item in ((lans.remove_finalizers, "mine"), (lans.remove_nodes, "n1")):
            assert await remove(api, REF, uid, frozenset({item})) is None
        found = api.objects[PATH]
        assert (found["metadata"]["finalizers"], found["status"]["nodes"]) == (["mine"], [{"name": "n1"}])

    asyncio.run(run())


def test_taking_off_gives_up_in_the_end() -> None:
    async def run() -> None:
        api: Any = FakeApi()
        document = lan()
        document["metadata"] = {"finalizers": ["mine"]}
        uid = api.put(PATH, document)["metadata"]["uid"]
        api.refuse = lambda method, _path: ApiError("conflict", status=409) if method == "PATCH" else None
        with pytest.raises(ApiError):
            await lans.remove_finalizers(api, REF, uid, frozenset({"mine"}))
        assert len(api.writes()) < 20

    asyncio.run(run())
