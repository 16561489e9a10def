"""Tables that fit, ages, paragraphs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.cli.lan import text
from k8slan_cli.cli.lan.text import Column, Table

COLUMNS = [Column("NAME"), Column("NODE", 2), Column("MAC", 1), Column("MESSAGE", prose=True)]
ROWS = [["red", "worker1", "02:00:00:00:00:01", "there is no device bond0 here; it may come back"], ["b", "", "", ""]]


def lines(limit: int | None) -> list[str]:
    return list(Table(COLUMNS, ROWS, limit).lines())


def test_without_a_limit_all_is_there() -> None:
    assert lines(None) == [
        "NAME  NODE     MAC                MESSAGE",
        "red   worker1  02:00:00:00:00:01  there is no device bond0 here; it may come back",
        "b",
    ]


def test_prose_is_wrapped_before_columns_go() -> None:
    assert lines(70) == [
        "NAME  NODE     MAC                MESSAGE",
        "red   worker1  02:00:00:00:00:01  there is no device bond0 here; it",
        "                                  may come back",
        "b",
    ]


def test_columns_go_by_their_rank() -> None:
    assert lines(60)[0] == "NAME  MAC                MESSAGE"
    assert lines(40)[0] == "NAME  MESSAGE"


def test_at_last_cells_are_cut() -> None:
    assert list(Table([Column("NAME"), Column("READY")], [["a-very-long-name", "True"]], 16).lines()) == [
        "NAME       READY",
        "a-very-l…  True",
    ]


def test_later_rows_are_under_the_same_columns() -> None:
    table = Table(COLUMNS[:3], [["red", "worker1", "02"]], 20)
    assert list(table.line(["green", "worker2", "03"])) == ["gre…  worker2  03"]
    open_end = Table(COLUMNS[:3], [["red", "worker1", "02"]], None)
    assert list(open_end.line(["green", "worker2", "03"])) == ["green  worker2  03"]


@given(
    st.lists(st.lists(st.text("ab c", max_size=60), min_size=4, max_size=4), max_size=5),
    st.integers(min_value=36, max_value=200),
)
def test_no_line_is_too_long(rows: list[list[str]], limit: int) -> None:
    assert all(len(line) <= limit for line in Table(COLUMNS, rows, limit).lines())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (3600, "60m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 60, "5h1m"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (400 * 86400, "400d"),
    ],
)
def test_ages(seconds: int, words: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    then = (now - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    assert text.age(then, now) == words


def test_no_time_has_no_age() -> None:
    assert text.age("") == text.age("yesterday") == ""


def test_fields_are_wrapped_under_their_values() -> None:
    assert list(text.fields([("VNI", "7"), ("Empty", ""), ("Spokes", "one, two, three, four")], 28)) == [
        "  VNI     7",
        "  Spokes  one, two, three,",
        "          four",
    ]


def test_colours_are_for_terminals() -> None:
    assert text.coloured("False") == "False"
    assert text.strong("Nodes") == "Nodes"
    assert text.width() is None
