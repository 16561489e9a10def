"""What doctor says of what it has seen, and how it prints it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from k8slan_cli import __version__
from k8slan_cli.cli import between
from k8slan_cli.cli.doctor import command, nodes
from k8slan_cli.cli.doctor.command import Area
from k8slan_cli.diagnose.exchange import Reached
from k8slan_cli.diagnose.protocol import FAIL, OK, WARN, Check, NodeFacts
from k8slan_cli.lan.model import Lan, LanRef, NodeStatus

NODES = ("a", "b", "c")


def reached(**lost: tuple[int, int]) -> list[Reached]:
    """All pairs of three nodes, three frames each; ``ab=(0, 0)`` is what got from a to b."""
    pairs = [(src, dst) for src in NODES for dst in NODES if src != dst]
    return [Reached(src, dst, 3, *lost.get(src + dst, (3, 3))) for src, dst in pairs]


def said(found: list[Reached]) -> list[tuple[str, str]]:
    return [(check.state, check.words) for check in between.verdict(between.Way(4789), found)]


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


def test_underlays_that_differ_are_said() -> None:
    (check,) = nodes.sizes({9000, 1500})
    assert check.words == "nodes have underlays of MTU 1500, 9000: LANs differ from node to node"
    assert check.state == WARN
    assert list(nodes.sizes({1500})) == []


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
    special = lan("special", port=8472, underlay="eth1", underlays=(("b", "eth2"),), nodes=(NodeStatus(name="b"),))
    default, found = between.ways([plain, other, special])
    assert (str(default), default.takes_part("a")) == ("VXLAN at UDP port 4789", True)
    assert str(found) == "VXLAN at UDP port 8472, as for LAN lab/special"
    assert [found.on(node).device for node in ("a", "b")] == ["eth1", "eth2"]
    assert [found.takes_part(node) for node in ("a", "b")] == [False, True]
    assert [found.names(node) for node in ("a", "b")] == [False, True]


def facts(version: str) -> NodeFacts:
    return NodeFacts(node="a", version=version, time=0)


def test_versions_and_clocks_that_differ_are_named() -> None:
    (check,) = nodes.versions({"a": facts("9.9"), "b": facts(__version__)})
    assert (check.state, check.words.endswith("agents are 9.9 on a")) == (WARN, True)
    (check,) = nodes.agreement({"a": 0.0, "b": 0.2, "c": -30.0})
    assert (check.state, check.words) == (WARN, "that of node c is 30.0 s behind the others")
    (check,) = nodes.agreement({"a": 0.0, "b": 0.2})
    assert check.state == OK


AREA = Area(
    "node a",
    (
        Check(what="kernel", state=OK, words="fine", advice="never shown"),
        Check(what="macvtap", state=WARN, words="a warning of some length that has to be wrapped", advice="do this"),
        Check(what="vxlan", state=FAIL, words="no", advice=""),
    ),
)


def test_checks_are_printed_with_what_to_do() -> None:
    assert list(command.lines(AREA, quiet=False)) == [
        "node a",
        "  ok    kernel: fine",
        "  warn  macvtap: a warning of some length that has to be wrapped",
        "        → do this",
        "  fail  vxlan: no",
        "",
    ]


def test_quietly_only_what_is_wrong_is_printed() -> None:
    assert not any("kernel" in line for line in command.lines(AREA, quiet=True))
    assert list(command.lines(Area("fine", AREA.checks[:1]), quiet=True)) == []


def test_a_narrow_terminal_wraps_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8slan_cli.cli.lan.text.width", lambda: 40)
    found = list(command.lines(AREA, quiet=False))
    assert "wrapped" in "".join(found)
    assert all(len(line) <= 40 for line in found)


@pytest.mark.parametrize(
    ("failed", "warned", "words"),
    [
        (0, 0, "all is in order"),
        (0, 1, "nothing failed, but 1 of the checks needs a look"),
        (0, 2, "nothing failed, but 2 of the checks need a look"),
        (1, 0, "1 of the checks failed"),
        (2, 1, "2 of the checks failed, and 1 more needs a look"),
        (2, 3, "2 of the checks failed, and 3 more need a look"),
    ],
)
def test_the_last_line_sums_it_up(failed: int, warned: int, words: str) -> None:
    assert command.conclusion(failed, warned) == words
