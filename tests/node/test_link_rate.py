"""The rate of a link, measured on this machine's own kernel; tests/guest/test_links.py measures what takes netem."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node.shaped import Shaped
from tests.support.flows import measure

_TIMES = 3
"""A machine that does other things makes it less; nothing makes it more."""


@pytest.fixture(scope="module")
def lan() -> Iterator[Shaped]:
    with Shaped.create("pod") as lan:
        yield lan


@pytest.mark.parametrize(("rate", "count"), [(10, 300), (100, 3000)])
def test_each_direction_has_its_rate(lan: Shaped, rate: int, count: int) -> None:
    lan.set(pod={"toPod": {"rate": f"{rate}Mbit"}, "fromPod": {"rate": f"{rate / 2}Mbit"}})
    every = 1400 * 8 / rate / 1e6 / 1.5
    with lan.wires("pod") as (far, good):
        to_pod = [measure(good, far, count, every=every, size=1400).rate for _ in range(_TIMES)]
        from_pod = [measure(far, good, count // 2, every=2 * every, size=1400).rate for _ in range(_TIMES)]
    assert max(to_pod) == pytest.approx(rate * 1e6, rel=0.03)
    assert max(from_pod) == pytest.approx(rate * 5e5, rel=0.03)
