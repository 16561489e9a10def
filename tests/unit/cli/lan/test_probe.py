"""What is probed, and how it is told."""

from __future__ import annotations

import itertools
import re

import pytest

from k8slan_cli.cli.lan import probe, text
from k8slan_cli.diagnose import probing
from k8slan_cli.diagnose.exchange import Way
from k8slan_cli.errors import AbsentError
from k8slan_cli.probe.run import Verdict
from tests.unit.diagnose.test_agents import plugged
from tests.unit.diagnose.test_probing import KEYS, way

A, B, C = plugged("lab/a"), plugged("lab/b", node="w2"), plugged("lab/c")


def told(*ways: Way, faults: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> str:
    return "\n".join(probe.report(ways, faults, notes, KEYS, limit=text.width()))


def test_a_pair_is_told_by_class() -> None:
    text = told(way("a", "b"), way("b", "a", lldp=Verdict.CHANGED))
    lines = text.splitlines()
    assert lines[:2] == ["A  a → b  (w1 → w2)", "B  b → a  (on w1)"]
    assert any(line.split() == ["STP", "✓", "50", "✓", "50"] for line in lines)
    assert any(line.split() == ["LLDP", "✓", "50", "changed"] for line in lines)
    assert "b → a: LLDP: changed (to 01:80:c2:00:00:0e" in text
    assert lines[-1] == f"1 of {len(KEYS)} frame classes failed"


def test_many_ways_are_told_one_on_a_line() -> None:
    ways = [way(src, dst) for src, dst in itertools.permutations("abc", 2)]
    lines = told(*ways).splitlines()
    assert lines[0].split() == ["FROM", "TO", "PASSED", "MEDIAN", "µs"]
    assert lines[1].split() == ["a", "b", f"{len(KEYS)}/{len(KEYS)}", "50"]
    assert lines[-1].startswith(f"all {len(KEYS)} classes of frames passed on 6 ways")


def test_many_ways_are_told_as_a_matrix_in_a_terminal_that_is_wide_enough() -> None:
    ways = [way(src, dst) for src, dst in itertools.permutations("abc", 2)]
    ways[1] = way("a", "c", lldp=Verdict.DROPPED)
    head, *lines = probe.report(ways, [], [], KEYS, limit=80)
    assert head.split() == ["#", "FROM,", "TO", "→", "1", "2", "3"]
    assert lines[0].split() == ["1", "a", "·", "✓", f"{len(KEYS) - 1}/{len(KEYS)}"]
    assert [line.split() for line in lines[1:3]] == [["2", "b", "✓", "·", "✓"], ["3", "c", "✓", "✓", "·"]]
    assert next(probe.report(ways, [], [], KEYS, limit=20)).startswith("FROM")


def test_where_nothing_passes_a_line_is_enough() -> None:
    text = told(way("a", "b", all=Verdict.DROPPED), way("b", "a", all=Verdict.DROPPED))
    assert "a → b: nothing arrives (dropped)" in text
    assert "LLDP" not in text


def test_notes_and_faults_are_told() -> None:
    text = told(way("a", "b"), way("b", "a"), faults=("c and a: gone",), notes=("d is left out",))
    assert text.startswith("note: d is left out\n")
    assert "not probed: c and a: gone" in text


def test_a_class_that_is_none_is_named() -> None:
    with pytest.raises(AbsentError, match="no class of frames 'lldpp'"):
        probe._keys(["lldpp"])
    with pytest.raises(AbsentError, match=f"the classes are {', '.join(KEYS)}"):
        probe._keys(["%"])
    assert probe._keys(["lldp", "icmp"]) == ["icmp", "lldp"]


@pytest.mark.parametrize("columns", [20, 40, 60, 120])
def test_progress_takes_a_line_and_no_more(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    name = f"lab/{'a-pod-of-a-deployment-' * 4}x"
    probing.across([(A, B)] * 3, lambda _a, _b: (way("a", "b"), way("b", "a")), lambda _: name, text.progress)
    lines = capsys.readouterr().err.split("\r\x1b[K")[1:]
    assert [line[:6] for line in lines] == ["1 of 3", "2 of 3", "3 of 3", ""]
    assert ", 0 s left" in lines[1] or columns == 20
    assert max(map(len, lines)) < columns


def test_names_that_differ_at_their_ends_are_told_apart_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8slan_cli.cli.lan.text.width", lambda: 40)
    names = [f"lab/meadow-7d9f8b6c5d-{end}:net1" for end in ("abcde", "fghij", "klmno")]
    rows = [line.split()[:2] for line in told(*itertools.starmap(way, itertools.permutations(names, 2))).splitlines()]
    ends = {tuple(name.rpartition("…")[2] for name in row) for row in rows[1:7]}
    assert len(ends) == 6


def test_of_a_probe_that_goes_on_only_failures_and_a_line_with_the_time_are_told() -> None:
    ways = [way("a", "b"), way("b", "a", lldp=Verdict.DROPPED)]
    *failures, last = probe.report(ways, [], [], KEYS, limit=None, again=True)
    assert [line.startswith("b → a: LLDP") for line in failures] == [True]
    assert re.fullmatch(rf"\d\d:\d\d:\d\d  1 of {len(KEYS)} frame classes failed", last)
