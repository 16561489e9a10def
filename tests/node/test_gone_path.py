"""A kept connection to the API server whose path is gone without a word."""

from __future__ import annotations

import sys

import pytest

from tests.support.netns import Namespace


@pytest.mark.parametrize("way", ["Asynchronous", "Blocking"])
def test_a_request_that_nobody_confirms_fails_long_before_an_answer_is_given_up(way: str) -> None:
    """A server that is there may take 30 s for its answer."""
    with Namespace.create("path") as inside:
        seconds, status, words = inside.run(sys.executable, "-m", "tests.support.gone_path", way, "2000").split(" ", 2)
    assert 1 < float(seconds) < 15
    assert status == "0"
    assert words.startswith("no answer from the API server at http://127.0.0.1:")
