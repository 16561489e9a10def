"""VNIs of LANs that name none: allotted, told in the status, kept over restarts, and never one that somebody wants."""

from __future__ import annotations

from typing import Any

from k8slan_cli.kube.kinds import LANS
from tests.unit.controller.rig import Rig
from tests.unit.kube.fake_time import run as run_fast

FEW = range(100, 103)


def lan(name: str, vni: int | None = None, **more: Any) -> dict[str, Any]:
    spec = {"ns": name, "spokes": [name]} | ({"vni": vni} if vni else {})
    return {name: {"spec": spec, **more}}


def vnis(rig: Rig) -> dict[str, int | None]:
    """What each LAN's status says."""
    found = {path: item for path, item in rig.api.objects.items() if path.startswith(LANS.path("d"))}
    return {path.rpartition("/")[2]: item["status"].get("vni") for path, item in found.items()}


def ready(rig: Rig, name: str) -> str:
    (found,) = (c for c in rig.api.objects[LANS.path("d", name)]["status"]["conditions"] if c["type"] == "Ready")
    return f"{found['status']} {found['reason']}: {found['message']}"


async def lead(rig: Rig, *changes: dict[str, Any]) -> None:
    """Let a controller come that knows nothing of the past, and have it follow changes of LANs."""
    async with rig.running(), rig.looping():
        await rig.settle()
        for change in changes:
            rig.change({"lans": change})
            await rig.settle()
        assert rig.all_decisions() == {}


def test_each_gets_the_least_that_nobody_has_or_wants() -> None:
    async def play() -> None:
        rig = Rig(vnis=range(100, 1000))
        await lead(rig, lan("own", 101) | lan("a") | lan("b") | lan("c", 104), lan("d"))
        assert vnis(rig) == {"own": 101, "a": 100, "b": 102, "c": 104, "d": 103}
        assert "vni" not in rig.api.objects[LANS.path("d", "a")]["spec"]

    run_fast(play())


def test_it_is_kept_over_edits_restarts_and_another_range_and_free_once_the_lan_is_gone() -> None:
    async def play() -> None:
        rig = Rig(vnis=FEW)
        await lead(rig, lan("a"), lan("b"), {"a": {"patch": {"spec": {"spokes": ["a", "z"]}}}})
        assert vnis(rig) == {"a": 100, "b": 101}
        rig = Rig(api=rig.api, vnis=range(500, 600))
        await lead(rig, {"a": None}, lan("c"))
        assert vnis(rig) == {"b": 101, "c": 500}

    run_fast(play())


def test_who_names_an_allotted_one_later_clashes_though_older_and_over_a_restart() -> None:
    async def play() -> None:
        rig = Rig(vnis=FEW)
        await lead(rig, lan("a"), lan("thief", 100, creationTimestamp="2025-01-01T00:00:00Z"))
        for _ in range(2):
            assert vnis(rig)["a"] == 100
            assert ready(rig, "a").startswith("True")
            assert ready(rig, "thief") == "False Conflict: spec.vni: 100 is in use by LAN d/a"
            rig = Rig(api=rig.api, vnis=FEW)
            await lead(rig)

    run_fast(play())


def test_when_none_is_left_this_is_said_until_one_is() -> None:
    async def play() -> None:
        rig = Rig(vnis=FEW)
        await lead(rig, lan("a"), lan("b"), lan("c"), lan("d"))
        assert vnis(rig) == {"a": 100, "b": 101, "c": 102, "d": None}
        assert ready(rig, "d").startswith("False NoVNI: no VNI of 100-102 is free: delete a LAN, or see --vni-range")
        rig = Rig(api=rig.api, vnis=FEW)
        await lead(rig, {"b": None})
        assert vnis(rig) == {"a": 100, "c": 102, "d": 101}
        assert ready(rig, "d").startswith("True")

    run_fast(play())


def test_one_of_a_lan_that_breaks_rules_is_not_allotted_to_another() -> None:
    """Neither what it had been granted or allotted before it broke them, nor what it names."""

    async def play() -> None:
        rig = Rig(vnis=FEW)
        broken = {"patch": {"spec": {"spokes": ["X"]}}}
        wrong = {"c": {"spec": {"vni": 102, "spokes": 5}}}
        await lead(rig, lan("a"), lan("b", 101), {"a": broken, "b": broken}, wrong, lan("d"))
        assert vnis(rig)["d"] is None
        rig = Rig(api=rig.api, vnis=FEW)
        thief = lan("thief", 100, creationTimestamp="2025-01-01T00:00:00Z")
        await lead(rig, lan("e"), thief, {"a": {"patch": {"spec": {"spokes": ["a"]}}}})
        assert vnis(rig)["e"] is None
        assert ready(rig, "a").startswith("True")
        assert ready(rig, "thief") == "False Conflict: spec.vni: 100 is in use by LAN d/a"

    run_fast(play())


def test_one_that_a_node_still_has_is_not_allotted_to_another_though_the_lan_is_gone() -> None:
    """After a deletion by force, or one that a lost node did not hear of; the same LAN made anew has it again."""
    force = {"annotations": {"lan.k8slan.io/force-delete": "true"}}

    async def play() -> None:
        rig = Rig(vnis=FEW)
        rig.change({"nodes": {"n1": {}}, "vteps": {"a@n1": {"ports": ["p:a"], "vni": 100}}})
        await lead(rig, lan("a", **force), {"a": "deleted"})
        assert vnis(rig) == {}
        rig = Rig(api=rig.api, vnis=FEW)
        await lead(rig, lan("b"), lan("c"), lan("d"), {"d": None}, lan("a", **force))
        assert vnis(rig) == {"b": 101, "c": 102, "a": 100}
        rig = Rig(api=rig.api, vnis=FEW)
        async with rig.running(), rig.looping():
            rig.change({"lans": {"a": "deleted", **lan("d")}})
            await rig.settle()
            assert vnis(rig) == {"b": 101, "c": 102, "d": None}
            rig.change({"vteps": {"a@n1": None}})
            await rig.settle()
            assert vnis(rig)["d"] == 100

    run_fast(play())


def test_one_that_is_being_deleted_gets_none() -> None:
    async def play() -> None:
        rig = Rig(vnis=FEW)
        going = lan("a", deletionTimestamp="2026-01-01T11:00:00Z", finalizers=["example.org/x"])
        await lead(rig, going, lan("b"))
        assert vnis(rig)["b"] == 100

    run_fast(play())
