"""How doctor prints what it has seen."""

from __future__ import annotations

import pytest

from k8slan_cli.cli import doctor
from k8slan_cli.diagnose.doctor import Area
from k8slan_cli.diagnose.protocol import FAIL, OK, WARN, Check

AREA = Area(
    "node a",
    (
        Check(what="kernel", state=OK, words="fine", advice="never shown"),
        Check(what="macvtap", state=WARN, words="a warning of some length that has to be wrapped", advice="do this"),
        Check(what="vxlan", state=FAIL, words="no", advice=""),
    ),
)


def test_checks_are_printed_with_what_to_do() -> None:
    assert list(doctor.lines(AREA, quiet=False, limit=None)) == [
        "node a",
        "  ok    kernel: fine",
        "  warn  macvtap: a warning of some length that has to be wrapped",
        "        → do this",
        "  fail  vxlan: no",
        "",
    ]


def test_quietly_only_what_is_wrong_is_printed() -> None:
    assert not any("kernel" in line for line in doctor.lines(AREA, quiet=True, limit=None))
    assert list(doctor.lines(Area("fine", AREA.checks[:1]), quiet=True, limit=None)) == []


def test_a_narrow_terminal_wraps_and_loses_nothing() -> None:
    found = list(doctor.lines(AREA, quiet=False, limit=40))
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
    assert doctor.conclusion(failed, warned) == words
