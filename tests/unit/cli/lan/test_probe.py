"""What is probed, and how it is told."""

from __future__ import annotations

import itertools

import pytest

from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.lan import probe
from k8slan_cli.diagnose.agents import Attachments
from k8slan_cli.diagnose.exchange import Way
from k8slan_cli.diagnose.protocol import Plugged
from k8slan_cli.errors import AbsentError
from k8slan_cli.probe.frames import CLASSES
from k8slan_cli.probe.run import ClassResult, Verdict
from tests.unit.diagnose.test_agents import plugged

A, B, C = plugged("lab/a"), plugged("lab/b", node="w2"), plugged("lab/c")
KEYS = [c.key for c in CLASSES]


def choose(
    *items: Plugged, src: str = "", dst: str = "", everything: bool = False
) -> tuple[list[probe.Pair], list[str]]:
    return probe.choose(Attachments(items), "lab", src, dst, everything=everything)


def test_all_pairs_of_a_few_are_probed() -> None:
    assert choose(A, B, C) == ([(A, B), (A, C), (B, C)], [])


def test_an_end_that_is_given_is_in_all_pairs() -> None:
    assert choose(A, B, C, src="b")[0] == [(B, A), (B, C)]
    assert choose(A, B, C, dst="b")[0] == [(A, B), (C, B)]
    assert choose(A, B, C, src="c", dst="a")[0] == [(C, A)]


def test_who_is_alone_or_both_ends_is_told() -> None:
    with pytest.raises(AbsentError, match="no attachments on the LAN but lab/a:net1"):
        choose(A)
    with pytest.raises(UsageError, match="are both lab/a:net1"):
        choose(A, B, src="a", dst="a")


def test_of_many_some_are_chosen_of_every_node_and_kind_and_that_is_said() -> None:
    many = [plugged(f"lab/p{i}", node=f"w{i % 2}", kind="veth") for i in range(40)]
    many += [plugged("lab/vm", node="w0", kind="macvtap"), plugged("lab/far", node="w7")]
    pairs, notes = choose(*many)
    chosen = set(itertools.chain.from_iterable(pairs))
    assert len(chosen) == probe.MOST
    assert {(item.node, item.kind) for item in many} == {(item.node, item.kind) for item in chosen}
    assert notes == ["6 of 42 attachments are probed, of every node and kind if they suffice (--all: all)"]
    assert len(choose(*many, everything=True)[0]) == 42 * 41 // 2
    pairs, _ = choose(*many, src="p39")
    assert {pair[0].pod for pair in pairs} == {"lab/p39"}
    assert len(pairs) == probe.MOST - 1


def way(src: str, dst: str, **bad: Verdict) -> Way:
    def result(key: str) -> ClassResult:
        verdict = bad.get(key, bad.get("all", Verdict.PASSED))
        arrived = 0 if verdict is Verdict.DROPPED else 3
        return ClassResult(key=key, verdict=verdict, sent=3, arrived=arrived, latency=50.4 if arrived else None)

    return Way(src, dst, tuple(map(result, KEYS)))


def told(*ways: Way, faults: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> str:
    return "\n".join(probe.report(ways, faults, notes, KEYS))


def test_a_pair_is_told_by_class() -> None:
    text = told(way("a", "b"), way("b", "a", lldp=Verdict.CHANGED))
    lines = text.splitlines()
    assert lines[:2] == ["A  a → b", "B  b → a"]
    assert any(line.split() == ["STP", "50", "50"] for line in lines)
    assert any(line.split() == ["LLDP", "50", "changed"] for line in lines)
    assert "b → a: LLDP: changed (to 01:80:c2:00:00:0e" in text
    assert lines[-1] == f"1 of {len(KEYS)} classes of frames did not pass everywhere"


def test_many_ways_are_told_one_on_a_line() -> None:
    ways = [way(src, dst) for src, dst in itertools.permutations("abc", 2)]
    lines = told(*ways).splitlines()
    assert lines[0].split() == ["FROM", "TO", "PASSED", "MEDIAN", "µs"]
    assert lines[1].split() == ["a", "b", f"{len(KEYS)}/{len(KEYS)}", "50"]
    assert lines[-1].startswith(f"all {len(KEYS)} classes of frames passed on 6 ways")


def test_where_nothing_passes_a_line_is_enough() -> None:
    text = told(way("a", "b", all=Verdict.DROPPED), way("b", "a", all=Verdict.DROPPED))
    assert "a → b: nothing arrives (dropped)" in text
    assert "LLDP" not in text


def test_notes_and_faults_are_told() -> None:
    text = told(way("a", "b"), way("b", "a"), faults=("c and a: gone",), notes=("d is left out",))
    assert text.startswith("note: d is left out\n")
    assert "not probed: c and a: gone" in text


def test_programs_get_all_of_it() -> None:
    found = probe.document("blue", "lab", [way("a", "b", lldp=Verdict.DROPPED)], ["x"], [])
    assert (found["lan"], found["passed"]) == ("lab/blue", False)
    by_class = {entry["class"]: entry for entry in found["ways"][0]["classes"]}
    assert by_class["lldp"] == {
        "class": "lldp",
        "verdict": "dropped",
        "sent": 3,
        "arrived": 0,
        "latency": None,
        "detail": "",
    }
    assert by_class["icmp"]["latency"] == 50.4


def test_a_class_that_is_none_is_named() -> None:
    with pytest.raises(AbsentError, match="no class of frames 'lldpp'"):
        probe._keys(["lldpp"])
    assert probe._keys(["lldp", "icmp"]) == ["icmp", "lldp"]
