"""Which ways between nodes are tried, by which nodes together, and what the frames say."""

from __future__ import annotations

from itertools import pairwise

import pytest

from k8slan_cli.diagnose import between
from k8slan_cli.diagnose.exchange import Reached
from k8slan_cli.diagnose.protocol import FAIL, WARN
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.lan.vtep import Vtep, VtepPort
from k8slan_cli.plan.occupancy import occupancy

NODES = ("a", "b", "c")


def reached(**lost: tuple[int, int]) -> list[Reached]:
    """All pairs of three nodes, three frames each; ``ab=(0, 0)`` is what got from a to b."""
    pairs = [(src, dst) for src in NODES for dst in NODES if src != dst]
    return [Reached(src, dst, 3, *lost.get(src + dst, (3, 3))) for src, dst in pairs]


def said(found: list[Reached]) -> list[tuple[str, str]]:
    return [(check.state, check.words) for check in between.verdict(between.VxlanPath(4789), found)]


def test_nodes_that_reach_each_other_are_nothing_to_speak_of() -> None:
    assert said(reached()) == []


@pytest.mark.parametrize(
    ("lost", "state", "words"),
    [
        ({"ab": (0, 0)}, FAIL, "nothing gets from a to b"),
        ({"ab": (0, 0), "cb": (0, 0)}, FAIL, "nothing gets to b"),
        ({"ab": (0, 0), "ac": (0, 0)}, FAIL, "nothing gets from a"),
        ({"ab": (0, 0), "cb": (0, 0), "ac": (0, 0)}, FAIL, "nothing gets to b, from a to c"),
        ({s + d: (0, 0) for s in NODES for d in NODES}, FAIL, "nothing gets from any node to any other"),
        ({"ab": (3, 0)}, FAIL, "only small frames get from a to b, none of full size"),
        ({"ab": (2, 3)}, WARN, "some frames are lost from a to b"),
    ],
)
def test_what_frames_between_nodes_say(lost: dict[str, tuple[int, int]], state: str, words: str) -> None:
    assert said(reached(**lost)) == [(state, words)]


def test_many_nodes_are_tried_in_groups_that_hang_together() -> None:
    many = [f"n{i:03}" for i in range(100)]
    found = between.groups(many)
    assert {node for group in found for node in group} == set(many)
    assert all(2 <= len(group) <= 24 for group in found)
    assert all(before[-1] == after[0] for before, after in pairwise(found))
    assert between.groups(["a", "b"]) == [["a", "b"]]


def lan(name: str, **fields: object) -> Lan:
    return Lan(ref=LanRef(namespace="lab", name=name), netns=name, bridge="br0", vxlan="vxlan0", vni=5, **fields)  # type: ignore[arg-type]


def test_each_way_of_carrying_lans_is_tried_once() -> None:
    plain, other = lan("plain"), lan("other")
    special = lan("special", port=8472, underlay="eth1", underlays=(("b", "eth2"),))
    port = VtepPort(name="e1p", interface="net1", kind="veth")
    on_b = occupancy(special.ref, special, [Vtep(lan=special.ref, node="b", ports=(port,), uid="u")])
    default, found = between.ways([(plain, on_b), (other, on_b), (special, on_b)])
    assert (str(default), default.takes_part("a")) == ("VXLAN at UDP port 4789", True)
    assert str(found) == "VXLAN at UDP port 8472, as for LAN lab/special"
    assert [found.on(node).device for node in ("a", "b")] == ["eth1", "eth2"]
    assert [found.takes_part(node) for node in ("a", "b")] == [False, True]
    assert [found.names(node) for node in ("a", "b")] == [False, True]


def test_nodes_of_all_lans_that_are_carried_in_one_way_try_it() -> None:
    unused, one, two = (lan(name, port=8472, underlay="eth1") for name in ("unused", "one", "two"))
    port = VtepPort(name="e1p", interface="net1", kind="veth")
    on = [
        occupancy(each.ref, each, [Vtep(lan=each.ref, node=node, ports=(port,), uid="u")])
        for each, node in ((one, "a"), (two, "b"))
    ]
    _, found = between.ways([(unused, occupancy(unused.ref, unused, ())), (one, on[0]), (two, on[1])])
    assert [found.takes_part(node) for node in NODES] == [True, True, False]
