"""Ranges of VNIs, as people write them."""

from __future__ import annotations

import pytest

from k8slan_cli.lan import vnis


@pytest.mark.parametrize(("text", "found"), [("1-1", range(1, 2)), ("10000-16777215", vnis.DEFAULT_VNIS)])
def test_a_range_reads_back(text: str, found: range) -> None:
    assert vnis.parse(text) == found
    assert vnis.shown(found) == text


@pytest.mark.parametrize("text", ["", "7", "0-5", "9-8", "1-16777216", "a-b", "1-2-3", "-1-5", "1 - 5", "²-³"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no range of VNIs, as 10000-16777215 is"):
        vnis.parse(text)


def test_the_least_free_one_is_taken() -> None:
    assert vnis.free(range(5, 8), {5, 7, 9}.__contains__) == 6
    assert vnis.free(range(5, 8), {5, 6, 7}.__contains__) == 0
