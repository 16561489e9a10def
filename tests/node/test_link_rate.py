"""The rate of a link, measured on this machine's own kernel; tests/guest/test_links.py measures what takes netem."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node.shaped import Shaped
from tests.support.flows import measure


@pytest.fixture(scope="module")
def lan() -> Iterator[Shaped]:
    with Shaped.create("pod") as lan:
        yield lan


@pytest.mark.parametrize(("rate", "count"), [(10, 300), (100, 3000)])
def test_each_direction_has_its_rate(lan: Shaped, rate: int, count: int) -> None:
    lan.set(pod={"toPod": {"rate": f"{rate}Mbit"}, "fromPod": {"rate": f"{rate / 2}Mbit"}})
    every = 1400 * 8 / rate / 1e6 / 1.5
    with lan.wires("pod") as (far, good):
        assert measure(good, far, count, every=every, size=1400).rate == pytest.approx(rate * 1e6, rel=0.03)
        assert measure(far, good, count // 2, every=2 * every, size=1400).rate == pytest.approx(rate * 5e5, rel=0.03)
