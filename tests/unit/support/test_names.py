"""Names that tests use for what they make."""

from __future__ import annotations

import re

import pytest

from tests.support import names


def test_names_are_new_each_time_and_fit_an_interface() -> None:
    made = [names.unique("spok") for _ in range(2000)]
    assert len(set(made)) == 2000
    assert all(re.fullmatch(r"k8t[a-z0-9]{3}spok[a-z0-9]{3}", name) for name in made)
    with pytest.raises(ValueError, match="longer than 13"):
        names.unique("far-too-long")
