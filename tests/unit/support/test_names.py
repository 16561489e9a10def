"""Names that tests use for what they make."""

from __future__ import annotations

import re

import pytest

from tests.support import names


def test_names_are_new_each_time_and_fit_an_interface() -> None:
    made = [names.unique("spk") for _ in range(100)]
    assert len(set(made)) == 100
    assert all(re.fullmatch(r"k8t[a-z0-9]{3}spk[0-9]{1,4}", name) for name in made)
    with pytest.raises(ValueError, match="longer than 13"):
        names.unique("far-too-long")
