"""What stays looks for garbage as often as Python does, unlike a command that starts."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from k8slan_cli.cli import service


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave the threshold as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


class Knot:
    """Refers to itself, so that only a look for garbage finds it."""

    alive = 0

    def __init__(self) -> None:
        self.own = self
        Knot.alive += 1

    def __del__(self) -> None:
        Knot.alive -= 1


def test_garbage_does_not_pile_up_in_what_stays() -> None:
    gc.set_threshold(10_000)  # as a command has it
    most = 0

    async def work() -> None:
        nonlocal most
        for _ in range(20_000):
            Knot()
            most = max(most, Knot.alive)

    service.run(work())
    assert most < 2_000
