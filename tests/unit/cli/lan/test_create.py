"""What ``lan create`` makes of options and documents, and every problem that it finds in them."""

from __future__ import annotations

from typing import Any

import pytest

from k8slan_cli.cli.exits import InUseError
from k8slan_cli.cli.lan import create
from k8slan_cli.cli.lan.create import LanOptions, Surroundings, checked, spec_of
from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.inventory import lans
from tests.support import scene
from tests.support.scene import Object


def test_defaults() -> None:
    assert spec_of(LanOptions(name="red")) == ({"dynamic": True}, [])
    assert spec_of(LanOptions(name="red", spokes=("e1",), vni=7)) == ({"vni": 7, "spokes": ["e1"]}, [])


@pytest.mark.parametrize("item", ["worker1", "=eth1", "worker1=", ""])
def test_a_node_underlay_that_is_none(item: str) -> None:
    _, problems = spec_of(LanOptions(name="red", node_underlays=(item,)))
    assert problems == [Problem(field="--node-underlay", message=f"{item!r} is not NODE=DEVICE")]


def test_a_node_has_one_device() -> None:
    spec, problems = spec_of(LanOptions(name="red", node_underlays=("a=x", "b=y", "a=x")))
    assert (spec["vxlanDevMap"], problems) == ({"a": "x", "b": "y"}, [])
    _, problems = spec_of(LanOptions(name="red", node_underlays=("a=x", "a=y")))
    assert [problem.message for problem in problems] == ["a is given two devices"]


def test_uplinks_by_node_device_and_vlan() -> None:
    spec, problems = spec_of(LanOptions(name="red", uplinks=("w1=eth1", "w2=eth1:100", "w2", "w2=:7", "w2=e:x")))
    assert spec["uplinks"] == [{"node": "w1", "device": "eth1"}, {"node": "w2", "device": "eth1", "vlan": 100}]
    said = [f"--uplink: {item!r} is not NODE=DEVICE or NODE=DEVICE:VLAN" for item in ("w2", "w2=:7", "w2=e:x")]
    assert list(map(str, problems)) == said


def test_zero_is_a_wish_too() -> None:
    spec, _ = spec_of(LanOptions(name="red", mtu=0, port=0, vni=0))
    assert (spec["mtu"], spec["vxlanPort"], spec["vni"]) == (0, 0, 0)


# ---------------------------------------------------------------- checking


def draft(name: str, namespace: str = "lab", **spec: Any) -> create.Draft:
    document = {
        "apiVersion": "lan.k8slan.io/v1beta1",
        "kind": "LAN",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    return document, f"LAN {namespace}/{name}", []


def around(*documents: Object, nodes: tuple[str, ...] | None = None) -> Surroundings:
    found = tuple(map(lans.read, documents))
    return Surroundings(lans=found, nodes=None if nodes is None else frozenset(nodes))


def problems_of(drafts: list[create.Draft], seen: Surroundings) -> list[str]:
    with pytest.raises(Invalid) as caught:
        checked(drafts, seen)
    return [caught.value.subject, *map(str, caught.value.problems)]


def test_what_is_well_is_planned() -> None:
    plan = checked([draft("a", vni=1, spokes=["x"]), draft("b", vni=2, dynamic=True)], around(scene.RED))
    assert [document["metadata"]["name"] for document in plan.documents] == ["a", "b"]
    assert (plan.there, plan.warnings) == ((), ())


def test_clashes_with_what_is_there_and_with_each_other() -> None:
    drafts = [draft("a", vni=10000, spokes=["e1"]), draft("b", vni=3, spokes=["x"]), draft("c", vni=3, spokes=["y"])]
    assert problems_of(drafts, around(scene.RED)) == [
        "nothing is created, as some of it",
        "LAN lab/a: spec.vni: 10000 is in use by LAN lab/red",
        "LAN lab/a: spec.spokes[0]: e1 is in use by LAN lab/red",
        "LAN lab/c: spec.vni: 3 is in use by LAN lab/b",
    ]


def test_a_copy_has_nothing_of_what_its_original_has_been_granted() -> None:
    document, subject, _ = draft("a", vni=10000, ns="n", spokes=["x"])
    document["metadata"]["creationTimestamp"] = "1999-01-01T00:00:00Z"
    document["status"] = {"granted": {"ns": "n", "vni": 10000, "spokes": ["x"]}, "attached": 1}
    assert problems_of([(document, subject, [])], around(scene.RED)) == [
        "LAN lab/a",
        "spec.vni: 10000 is in use by LAN lab/red",
    ]


def test_what_a_cluster_says_of_the_original_is_no_part_of_its_copy() -> None:
    """Its VNI was allotted to it, its nodes were written by agents of 0.1.0, and its end is not the copy's."""
    document, subject, _ = draft("a", spokes=["x"])
    document["metadata"] |= {"uid": "u", "deletionTimestamp": "1999-01-01T00:00:00Z"}
    document["status"] = {"vni": 10000, "nodes": [{"name": "n1", "vtep": "192.0.2.1"}]}
    (planned,) = checked([(document, subject, [])], around(scene.RED)).documents
    assert planned["metadata"] == {"name": "a", "namespace": "lab"}
    assert "status" not in planned


def test_a_new_lan_has_no_more_spokes_than_a_bridge_has_ports() -> None:
    many = draft("a", vni=1, spokes=[f"s{number}" for number in range(1023)])
    assert problems_of([many], around())[1] == "spec.spokes: has 1023 spokes, 1022 at the most"


def test_a_name_is_taken_once() -> None:
    another = draft("red", vni=9, dynamic=True)
    with pytest.raises(InUseError, match=r"^LAN lab/red already exists with a different spec"):
        checked([another], around(scene.RED))
    assert problems_of([another, draft("a", vni=0, dynamic=True)], around(scene.RED))[1:] == [
        "LAN lab/red: metadata.name: LAN lab/red already exists with a different spec",
        "LAN lab/a: spec.vni: 0 is not in 1..16777215",
    ]
    twice = [draft("a", vni=1, dynamic=True), draft("a", vni=2, dynamic=True)]
    assert problems_of(twice, around()) == ["LAN lab/a", "metadata.name: is that of LAN lab/a too"]


def test_the_same_lan_is_there_already() -> None:
    spec = {"vni": 10000, "spokes": ["e1", "e2", "vm1"], "defaultVxlanDev": "eth1"}
    plan = checked([draft("red", **spec)], around(scene.RED))
    assert (plan.documents, plan.warnings) == ((), ("LAN lab/red is there already",))
    assert plan.there[0]["metadata"]["name"] == "red"


def test_one_that_is_being_deleted_is_not_the_same() -> None:
    leaving = scene.RED | {"metadata": scene.RED["metadata"] | {"deletionTimestamp": "2026-11-24T11:00:00Z"}}
    spec = {"vni": 10000, "spokes": ["e1", "e2", "vm1"], "defaultVxlanDev": "eth1"}
    with pytest.raises(InUseError, match="is still being deleted"):
        checked([draft("red", **spec)], around(leaving))


def test_a_lan_that_breaks_rules_takes_nothing() -> None:
    broken = scene.lan("broken", vni="x", spokes=["e1"])
    assert checked([draft("a", vni=1, spokes=["e1"])], around(broken)).documents


def test_peers_are_for_files_of_agents() -> None:
    document, subject, _ = draft("a", vni=1, dynamic=True)
    assert problems_of([(document | {"peers": ["192.0.2.1"]}, subject, [])], around())[1].startswith("peers: are for")


def test_nodes_that_do_not_exist_are_warned_of() -> None:
    odd = [draft("a", vni=1, dynamic=True, vxlanDevMap={"wroker1": "eth1", "worker2": "eth1"})]
    plan = checked(odd, around(nodes=("worker1", "worker2")))
    assert plan.warnings == ("there is no node 'wroker1' in the cluster: did you mean worker1 or worker2?",)
    assert checked(odd, around()).warnings == ()
