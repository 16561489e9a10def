"""The names that are suggested for one that does not exist."""

from __future__ import annotations

import pytest

from k8slan_cli.errors import AbsentError, near


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("rde", ["red", "blue"], "did you mean red?"),
        ("RED", ["red", "blue"], "did you mean red?"),
        ("lan1", ["lan2", "lan3", "x"], "did you mean lan3 or lan2?"),
        ("router", ["r", "blue"], "did you mean r?"),
        ("x", ["one"], "there is one"),
        ("x", ["one", "two"], "there are one and two"),
        ("x", [f"n{i}" for i in range(7)], ""),
        ("x", [], ""),
    ],
)
def test_near_names_are_suggested(name: str, known: list[str], words: str) -> None:
    assert near(name, known) == words


def test_without_a_near_name_the_hint_stays() -> None:
    assert AbsentError("there is no x", name="x", known=[], hint="make it").hint == "make it"
    assert AbsentError("there is no x", name="ab", known=["abc"], hint="make it").hint == "did you mean abc?"
