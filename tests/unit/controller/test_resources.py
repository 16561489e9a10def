"""Which resources NADs name, by the leader's loop: told in the status, kept over restarts, whoever edits what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from k8slan_cli.kube.kinds import LANS, NADS
from k8slan_cli.lan.names import Forms
from k8slan_cli.lan.resources import DEFAULT_NAMING, Naming
from k8slan_cli.plan.objects import RESOURCE_ANNOTATION
from tests.unit.controller.rig import Rig
from tests.unit.kube.fake_time import run as run_fast

PLAIN, LONG = (f"macvtap.k8slan.io/k8slan-mac-{name}" for name in ("r1", "lab-r1"))


def lan(namespace: str, vni: int, *spokes: str, name: str = "lab", **more: Any) -> dict[str, Any]:
    return {f"{namespace}/{name}": {"spec": {"vni": vni, "ns": f"{namespace}{name}", "spokes": list(spokes)}, **more}}


def resource(rig: Rig, namespace: str, nad: str = "k8slan-mac-r1") -> str:
    return str(rig.api.objects[NADS.path(namespace, nad)]["metadata"]["annotations"][RESOURCE_ANNOTATION])


def status(rig: Rig, namespace: str, name: str = "lab") -> Any:
    return rig.api.objects[LANS.path(namespace, name)]["status"]


def condition(rig: Rig, kind: str, namespace: str, name: str = "lab") -> str:
    found = next(each for each in status(rig, namespace, name)["conditions"] if each["type"] == kind)
    return f"{found['status']} {found['reason']}: {found['message']}"


async def lead(rig: Rig, *lans: dict[str, Any], **changes: Any) -> None:
    """Let a controller come that knows nothing of the past, and have it follow changes."""
    async with rig.running(), rig.looping():
        await rig.settle()
        for change in ({"lans": each} for each in lans):
            rig.change(change)
            await rig.settle()
        rig.change(changes)
        await rig.settle()
        assert rig.all_decisions() == {}


def successor(rig: Rig, naming: Naming = DEFAULT_NAMING) -> Rig:
    return Rig(naming, rig.api)


def test_one_file_in_two_namespaces_and_what_is_decided_stays() -> None:
    async def play() -> None:
        rig = Rig()
        await lead(rig, lan("b", 5, "r1"), lan("a", 6, "r1"))
        for _ in range(2):
            assert (resource(rig, "b"), resource(rig, "a")) == (PLAIN, LONG)
            assert status(rig, "a")["resources"] == {"k8slan-mac-r1": LONG}
            assert "resources" not in status(rig, "b")
            assert condition(rig, "Ready", "a") == "True Ready: the LAN is as specified"
            rig = successor(rig)
            await lead(rig)
        gone = {f"{namespace}/k8slan-{kind}-r1": None for namespace in "ab" for kind in ("mac", "veth")}
        await lead(successor(rig), nads=gone)
        assert (resource(rig, "b"), resource(rig, "a")) == (PLAIN, LONG), "NADs made again name the same"

    run_fast(play())


def test_a_tenant_that_edits_its_nad_gets_nothing_of_anothers() -> None:
    """Though its name comes first, whether a controller runs at that time or not."""
    stolen = {"a/k8slan-mac-r1": {"patch": {"metadata": {"annotations": {RESOURCE_ANNOTATION: PLAIN}}}}}

    async def play() -> None:
        rig = Rig()
        await lead(rig, lan("b", 5, "r1"), lan("a", 6, "r1"), nads=stolen)
        assert (resource(rig, "b"), resource(rig, "a")) == (PLAIN, LONG)
        rig.change({"nads": stolen})
        rig = successor(rig)
        await lead(rig)
        assert (resource(rig, "b"), resource(rig, "a")) == (PLAIN, LONG)

    run_fast(play())


def test_without_its_nad_a_lan_has_the_name_by_its_grant_whoever_comes_meanwhile() -> None:
    async def play() -> None:
        rig = Rig()
        await lead(rig, lan("b", 5, "r1"), lan("a", 6, "r1"))
        b = rig.api.objects.pop(LANS.path("b", "lab"))
        rig.change({"lans": lan("0", 7, "r1", creationTimestamp="1999-01-01T00:00:00Z")})
        rig.api.objects[LANS.path("b", "lab")] = b  # so it comes last in lists
        rig.change({"nads": {"b/k8slan-mac-r1": None}})
        rig = successor(rig)
        await lead(rig)
        assert (resource(rig, "b"), resource(rig, "a")) == (PLAIN, LONG)

    run_fast(play())


def test_a_name_that_is_free_again_is_for_who_comes_next() -> None:
    async def play() -> None:
        rig = Rig()
        await lead(rig, lan("b", 5, "r1"), lan("a", 6, "r1"), lan("b", 5, "r2"), lan("c", 7, "r1"))
        assert (resource(rig, "a"), resource(rig, "c")) == (LONG, PLAIN)

    run_fast(play())


def test_beyond_the_ceiling_a_lan_says_which_spokes_have_none_until_there_is_room() -> None:
    async def play() -> None:
        rig = Rig(Naming(most=4))
        await lead(rig, lan("a", 5, "r1", "r2"), lan("b", 6, "r3", "r4"))
        assert status(rig, "b")["withoutResources"] == ["r3", "r4"]
        said = "nodes offer no more resources, so no VM can be on spokes r3, r4: see --max-resources"
        assert condition(rig, "Degraded", "b").startswith(f"True NoResources: {said}")
        assert condition(rig, "Ready", "b").startswith("True"), "pods attach all the same"
        rig = successor(rig, Naming(most=4))
        await lead(rig, lan("a", 5, "r1"))
        assert status(rig, "b")["withoutResources"] == ["r4"]
        assert resource(rig, "b", "k8slan-mac-r3") == "macvtap.k8slan.io/k8slan-mac-r3"
        rig = successor(rig)
        await lead(rig)
        assert "withoutResources" not in status(rig, "b")
        assert condition(rig, "Degraded", "b").startswith("False")

    run_fast(play())


def test_the_forms_of_names_may_be_changed_and_the_lan_stays_named() -> None:
    async def play() -> None:
        rig = Rig(Naming(forms=Forms.LONG))
        await lead(rig, lan("a", 5, "r1"), lan("b", 6, "r1"))
        assert resource(rig, "a", "k8slan-mac-lab-r1") == LONG
        assert resource(rig, "b", "k8slan-mac-lab-r1").startswith(f"{LONG}-")
        assert NADS.path("a", "k8slan-mac-r1") not in rig.api.objects
        assert status(rig, "a")["names"] == "long"
        rig = successor(rig, Naming(forms=Forms.BOTH))
        await lead(rig)
        nads = {key.rpartition("/")[2] for key in rig.api.objects if NADS.plural in key and "/a/" in key}
        assert nads == {f"k8slan-{kind}{before}-r1" for kind in ("mac", "veth") for before in ("", "-lab")}
        assert resource(rig, "a", "k8slan-mac-lab-r1") == LONG, "what was had is kept"
        for nad in nads:
            assert json.loads(rig.api.objects[NADS.path("a", nad)]["spec"]["config"])["lan"] == "a/lab"
        rig = successor(rig)
        await lead(rig)
        nads = {key.rpartition("/")[2] for key in rig.api.objects if NADS.plural in key and "/a/" in key}
        assert nads == {"k8slan-mac-r1", "k8slan-veth-r1"}
        assert "names" not in status(rig, "a")

    run_fast(play())


@pytest.mark.parametrize("order", ["ax", "xa"])
def test_names_that_come_out_equal_when_the_forms_are_changed_take_nothing_away(order: str) -> None:
    """The LAN of which one would be another's stays as it was, until nothing is against it any more."""

    def nads(rig: Rig, name: str) -> set[str]:
        objects = (o for key, o in rig.api.objects.items() if NADS.plural in key)
        return {o["metadata"]["name"] for o in objects if json.loads(o["spec"]["config"])["lan"] == f"a/{name}"}

    async def play() -> None:
        rig = Rig()
        both = {"a": lan("a", 5, "b", name="a"), "x": lan("a", 6, "a-b", name="x")}
        await lead(rig, *(both[name] for name in order))
        rig = successor(rig, Naming(forms=Forms.BOTH))
        await lead(rig)
        assert nads(rig, "a") == {"k8slan-veth-b", "k8slan-mac-b"}
        before = {"k8slan-veth-a-b", "k8slan-mac-a-b"}
        assert nads(rig, "x") == before | {"k8slan-veth-x-a-b", "k8slan-mac-x-a-b"}
        said = "True Conflict: spec.spokes[0]: b, as NAD k8slan-veth-a-b, is in use by LAN a/x"
        assert condition(rig, "Conflict", "a", "a") == said
        assert condition(rig, "Conflict", "a", "x")[:5] == "False"
        assert (status(rig, "a", "a").get("names"), status(rig, "a", "x")["names"]) == (None, "both")
        rig = successor(rig)
        await lead(rig)
        assert (nads(rig, "a"), nads(rig, "x")) == ({"k8slan-veth-b", "k8slan-mac-b"}, before)
        assert condition(rig, "Conflict", "a", "a")[:5] == "False"

    run_fast(play())


def test_two_names_that_come_out_equal_are_a_clash_where_both_forms_are_wanted() -> None:
    async def play() -> None:
        rig = Rig(Naming(forms=Forms.BOTH))
        await lead(rig, lan("a", 5, "b", name="a"), lan("a", 6, "a-b", name="x"), lan("a", 7, "y", "z-y", name="z"))
        assert condition(rig, "Conflict", "a", "x") == ("True Conflict: spec.spokes[0]: a-b is in use by LAN a/a")
        assert condition(rig, "Conflict", "a", "z") == "True Conflict: spec.spokes[1]: z-y is in use by LAN a/z"
        rig = Rig()
        await lead(rig, lan("a", 5, "b", name="a"), lan("a", 6, "a-b", name="x"), lan("a", 7, "y", "z-y", name="z"))
        assert {condition(rig, "Conflict", "a", name)[:5] for name in "axz"} == {"False"}

    run_fast(play())
