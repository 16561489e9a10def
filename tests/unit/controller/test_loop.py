"""The loop's ways with errors, bursts and other writers, on an API server in memory and a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import LANS, NADS, PODS
from k8slan_cli.lan.model import LINKS_DOWN, LanRef
from tests.unit.controller.rig import START, Rig, path
from tests.unit.kube.fake_time import run as run_fast

A = LANS.path("d", "a")
LAN = {"lans": {"a": {"spec": {"vni": 5, "spokes": ["e1"]}}}}


def play(script: Callable[[Rig], Awaitable[None]]) -> None:
    """Run a script with the loop running; errors of the loop's own end it."""

    async def main() -> None:
        rig = Rig()
        async with rig.running(), rig.looping():
            await script(rig)

    run_fast(main())


def conditions(rig: Rig) -> dict[str, str]:
    found = rig.api.objects[A].get("status", {}).get("conditions", ())
    return {condition["type"]: f"{condition['reason']}: {condition['message']}" for condition in found}


def refuse(error: ApiError, method: str, part: str) -> Callable[[str, str], ApiError | None]:
    return lambda m, path: error if m == method and part in path else None


def test_what_is_refused_is_said_in_the_status_and_tried_again() -> None:
    async def script(rig: Rig) -> None:
        rig.api.refuse = refuse(ApiError("no rights", status=403), "POST", NADS.plural)
        rig.change(LAN)
        await rig.settle()
        assert conditions(rig)["Degraded"] == "Refused: no rights"
        assert conditions(rig)["Ready"] == "Refused: no rights"
        writes = len(rig.api.writes())
        await asyncio.sleep(300)
        await rig.settle()
        tries = len(rig.api.writes()) - writes
        assert 10 < tries < 60, "later and later, and the status is written once"
        assert all(method == "POST" for method, _ in rig.api.writes()[-tries:])
        rig.api.refuse = lambda _method, _path: None
        await asyncio.sleep(31)
        await rig.settle()
        assert conditions(rig)["Ready"].startswith("Ready")
        assert rig.all_decisions() == {}

    play(script)


@pytest.mark.parametrize("error", [ApiError("no answer"), ApiError("busy", status=429), ApiError("oops", status=503)])
def test_what_may_pass_is_tried_again_without_a_word(error: ApiError) -> None:
    async def script(rig: Rig) -> None:
        rig.api.refuse = refuse(error, "POST", NADS.plural)
        rig.change(LAN)
        await rig.settle()
        assert conditions(rig) == {}
        rig.api.refuse = lambda _method, _path: None
        await asyncio.sleep(31)
        await rig.settle()
        assert conditions(rig)["Ready"].startswith("Ready")

    play(script)


def test_a_nad_that_another_made_at_the_same_moment_is_not_taken_over() -> None:
    async def script(rig: Rig) -> None:
        def another(method: str, at: str) -> None:
            if method == "POST" and NADS.plural in at and not rig.world.nads.get(("d", "k8slan-veth-e1")):
                mine = path("nads", "k8slan-veth-e1")
                if mine not in rig.api.objects:
                    rig.api.put(mine, {"spec": {"config": "mine"}})

        rig.api.refuse = another
        rig.change(LAN)
        await rig.settle()
        await asyncio.sleep(5)
        await rig.settle()
        assert rig.api.objects[path("nads", "k8slan-veth-e1")]["spec"]["config"] == "mine"
        assert conditions(rig)["Degraded"].startswith("ForeignNAD")

    play(script)


def test_a_conflict_is_no_news_and_no_end() -> None:
    async def script(rig: Rig) -> None:
        rig.change(LAN)
        await rig.settle()
        left = 3

        def meddle(method: str, _path: str) -> ApiError | None:
            nonlocal left
            if method == "PATCH" and left:
                left -= 1
                return ApiError("has been modified", status=409)
            return None

        rig.api.refuse = meddle
        rig.change({"nads": {"k8slan-veth-e1": {"patch": {"spec": {"config": "{}"}}}}})
        await rig.settle()
        await asyncio.sleep(60)
        await rig.settle()
        assert left == 0
        assert rig.all_decisions() == {}
        assert conditions(rig)["Ready"].startswith("Ready")

    play(script)


def test_a_burst_of_pods_is_worth_a_write_every_ten_seconds() -> None:
    async def script(rig: Rig) -> None:
        rig.change({"lans": {"a": {"spec": {"vni": 5, "dynamic": True}}}, "nodes": {"n1": {}}})
        await rig.settle()
        before = len(rig.api.writes())
        for i in range(100):
            rig.change({"vteps": {"a@n1": {"ports": [f"p{k}" for k in range(i + 1)]}}})
            await rig.settle()
            await asyncio.sleep(0.15)  # of the clock that jumps: 15 seconds in all
        await asyncio.sleep(10)
        await rig.settle()
        assert rig.api.objects[A]["status"]["attached"] == 100
        assert len(rig.api.writes()) - before <= 3

    play(script)


def test_what_is_wrong_is_written_at_once_however_new_the_counts_are() -> None:
    async def script(rig: Rig) -> None:
        rig.change({"lans": {"a": {"spec": {"vni": 5, "dynamic": True}}}, "nodes": {"n1": {}}})
        await rig.settle()
        for state in ("Ready", "Degraded", "Ready"):
            rig.change({"vteps": {"a@n1": {"ports": ["p"], "state": state}}})
            await rig.settle()
            assert conditions(rig)["Ready"].startswith("NodesDegraded" if state == "Degraded" else "Ready")

    play(script)


def test_counts_that_have_to_wait_hold_nothing_else_up() -> None:
    async def script(rig: Rig) -> None:
        rig.change({"lans": {"a": {"spec": {"vni": 5, "spokes": ["e1", "e2"]}}}, "nodes": {"n1": {}}})
        await rig.settle()
        rig.change({"vteps": {"a@n1": {"ports": ["p1:e1"]}}})
        await rig.settle()
        rig.change({"vteps": {"a@n1": {"ports": ["p1:e1", "p2:e2"]}}, "nads": {"k8slan-veth-e1": None}})
        await rig.settle()
        assert path("nads", "k8slan-veth-e1") in rig.api.objects
        assert rig.api.objects[A]["status"]["attached"] == 1
        await asyncio.sleep(10)
        await rig.settle()
        assert rig.api.objects[A]["status"]["attached"] == 2

    play(script)


def test_an_agent_that_outlives_its_node_gets_no_race() -> None:
    """It makes its VTEP anew whenever it is gone; that is taken away again, but not at once."""

    async def script(rig: Rig) -> None:
        vtep = {"vteps": {"a@n1": {"ports": ["p:e1"]}}}
        rig.change({**LAN, **vtep, "nodes": {"n1": {}}})
        await rig.settle()
        rig.change({"nodes": {"n1": None}})
        await rig.settle()
        before = len(rig.api.writes())
        for _ in range(100):
            if path("vteps", "a@n1") not in rig.api.objects:
                rig.change(vtep)
            await rig.settle()
            await asyncio.sleep(0.25)  # of the clock that jumps: 25 seconds in all
        removed = [at for method, at in rig.api.writes()[before:] if method == "DELETE"]
        assert removed == [path("vteps", "a@n1")] * 2
        assert len(rig.api.writes()) - before < 10
        rig.api.remove(A)
        await rig.settle()
        assert A not in rig.api.objects, "such a VTEP holds nothing"

    play(script)


def test_the_first_pod_is_counted_at_once() -> None:
    async def script(rig: Rig) -> None:
        rig.change({"lans": {"a": {"spec": {"vni": 5, "dynamic": True}}}, "nodes": {"n1": {}}})
        await rig.settle()
        rig.change({"vteps": {"a@n1": {"ports": ["p"]}}})
        await rig.settle()
        assert rig.api.objects[A]["status"]["attached"] == 1

    play(script)


def test_a_deadline_is_kept_without_any_event() -> None:
    async def script(rig: Rig) -> None:
        rig.change(
            {
                "lans": {"a": {}},
                "vteps": {"a@n1": {"ports": ["p:e1"]}},
                "nodes": {"n1": {"down": "2026-01-01T11:59:30Z"}},
            }
        )
        await rig.settle()
        rig.api.remove(A)
        await rig.settle()
        assert A in rig.api.objects
        rig.now = rig.now.replace(second=30)  # the wall clock goes on, and the timer is set for half a minute
        await asyncio.sleep(29)
        assert A in rig.api.objects
        await asyncio.sleep(2)
        await rig.settle()
        assert A not in rig.api.objects

    play(script)


def test_a_lan_that_vanishes_in_the_middle_is_forgotten() -> None:
    async def script(rig: Rig) -> None:
        def vanish(method: str, _path: str) -> None:
            if method == "POST" and A in rig.api.objects:
                rig.api._drop(A)

        rig.api.refuse = vanish
        rig.change(LAN)
        await rig.settle()
        await asyncio.sleep(60)
        await rig.settle()
        assert A not in rig.api.objects
        assert rig.world.view(LanRef(namespace="d", name="a"), rig.now) is None
        requests = len(rig.api.requests)
        await asyncio.sleep(600)
        assert len(rig.api.requests) == requests, "nobody tries for ever"

    play(script)


def test_many_lans_at_once() -> None:
    async def script(rig: Rig) -> None:
        rig.change({"lans": {f"l{i}": {"spec": {"vni": i + 1, "spokes": [f"s{i}"]}} for i in range(100)}})
        await rig.settle()
        assert rig.all_decisions() == {}
        assert len(rig.world.nads) == 200
        assert len(rig.api.writes()) == 100 * 4

    play(script)


def test_a_fault_that_one_lan_brings_out_does_not_stop_the_others() -> None:
    async def script(rig: Rig) -> None:
        def fault(_method: str, at: str) -> None:
            if "e1" in at or at.endswith("/a"):
                raise ZeroDivisionError

        rig.api.refuse = fault
        rig.change({"lans": {"a": {"spec": {"vni": 1, "spokes": ["e1"]}}, "b": {"spec": {"vni": 2, "spokes": ["e2"]}}}})
        await rig.settle()
        assert ("d", "k8slan-veth-e2") in rig.world.nads
        assert rig.loop.done["Look", "failed"] == 1
        rig.api.refuse = lambda _method, _path: None
        await asyncio.sleep(31)
        await rig.settle()
        assert rig.all_decisions() == {}

    play(script)


def test_a_message_without_end_is_cut_once_and_for_all() -> None:
    async def script(rig: Rig) -> None:
        nodes = {f"{i}{'n' * 240}": {} for i in range(200)}
        vteps = {f"a@{node}": {"ports": [f"{'p' * 250}:e1"], "state": "Bad", "message": "x" * 4096} for node in nodes}
        rig.change({"nodes": nodes, "lans": LAN["lans"], "vteps": vteps})
        await rig.settle()
        assert len(conditions(rig)["Degraded"]) >= 32768
        assert rig.all_decisions() == {}

    play(script)


def wished(rig: Rig) -> set[str]:
    return set(rig.api.objects[A]["spec"].get("links", {}))


def test_links_whose_time_is_over_are_taken_out() -> None:
    async def script(rig: Rig) -> None:
        links = {"e1": {"state": "down", "until": "2026-01-01T12:01:00Z"}, "e2": {"delay": "1ms"}}
        rig.change({"lans": {"a": {"spec": {"vni": 5, "spokes": ["e1", "e2"], "links": links}}}})
        await rig.settle()
        assert wished(rig) == {"e1", "e2"}
        rig.now = START + timedelta(seconds=60)
        await asyncio.sleep(60)
        await rig.settle()
        assert wished(rig) == {"e2"}
        assert rig.all_decisions() == {}

    play(script)


def test_links_of_pods_that_are_gone_are_taken_out_and_of_others_not() -> None:
    async def script(rig: Rig) -> None:
        links = {f"d/{name}:net1": {"loss": "1%"} for name in ("here", "waits", "goes", "gone")}
        spec = {"vni": 5, "dynamic": True, "links": links}
        waits, goes = PODS.path("d", "waits"), PODS.path("d", "goes")
        rig.api.put(waits, {"metadata": {"name": "waits"}})
        rig.api.put(
            goes, {"metadata": {"name": "goes", "deletionTimestamp": "2026-01-01T12:00:00Z", "finalizers": ["x/y"]}}
        )
        rig.change({"lans": {"a": {"spec": spec}}, "nodes": {"n1": {}}, "vteps": {"a@n1": {"ports": ["here"]}}})
        await rig.settle()
        assert wished(rig) == {"d/here:net1", "d/waits:net1", "d/goes:net1"}
        rig.api.put(
            goes, {"metadata": {"name": "goes", "deletionTimestamp": "2026-01-01T12:00:00Z"}}
        )  # nothing holds it any more
        await asyncio.sleep(11)
        await rig.settle()
        assert wished(rig) == {"d/here:net1", "d/waits:net1"}

    play(script)


def test_links_of_pods_that_never_attach_or_have_ended_are_taken_out_too() -> None:
    """However many pods there are that only wait, and though nothing tells of those that are gone."""

    async def script(rig: Rig) -> None:
        waiting = [f"w{i}" for i in range(40)]
        for name in (*waiting, "zz"):
            rig.api.put(PODS.path("d", name), {"metadata": {"name": name}})
        rig.api.put(PODS.path("d", "job"), {"metadata": {"name": "job"}, "status": {"phase": "Succeeded"}})
        links = {f"d/{name}:net1": {"loss": "1%"} for name in (*waiting, "job", "zz")}
        rig.change({"lans": {"a": {"spec": {"vni": 5, "dynamic": True, "links": links}}}})
        await rig.settle()
        rig.api.remove(PODS.path("d", "zz"))
        await asyncio.sleep(3600)
        await rig.settle()
        assert wished(rig) == {f"d/{name}:net1" for name in waiting}

    play(script)


def test_what_is_done_is_counted() -> None:
    async def script(rig: Rig) -> None:
        rig.change(LAN)
        await rig.settle()
        wanted: dict[Any, int] = {("Protect", "done"): 1, ("CreateNad", "done"): 2, ("WriteStatus", "done"): 1}
        assert rig.loop.done == wanted

    play(script)


def test_who_comes_and_goes_is_told_many_at_once_in_one_event_and_nothing_of_before() -> None:
    async def main() -> None:
        rig = Rig(telling=True)
        spec = {"vni": 5, "dynamic": True, "spokes": ["e1"]}
        rig.change({"lans": {"a": {"spec": spec}}, "nodes": {"n1": {}}, "vteps": {"a@n1": {"ports": ["p0"]}}})
        async with rig.running(), rig.looping():
            await rig.settle()
            for count in range(1, 30):
                rig.change({"vteps": {"a@n1": {"ports": [f"p{number}" for number in range(count)]}}})
                await rig.settle()
            await asyncio.sleep(5)
            rig.change({"vteps": {"a@n1": {"ports": ["p1"]}}})
            rig.change({"lans": {"a": {"patch": {"metadata": {"annotations": {LINKS_DOWN: "e1"}}}}}})
            await rig.settle()
            await asyncio.sleep(5)
            await rig.settle()
        told = [found for at, found in rig.api.objects.items() if "/events/" in at]
        assert sorted(found["reason"] for found in told) == ["Attached", "Attached", "Detached", "LinkDown"]
        notes = " ".join(found["note"] for found in told)
        assert "on node n1" in notes
        assert "the link was pulled out: e1" in notes
        assert rig.world.news == {}

    run_fast(main())
