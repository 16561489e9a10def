"""Clocks of two nodes, compared by frames that went both ways."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.diagnose.exchange import difference_of_clocks
from k8slan_cli.probe.run import Arrival, Sent

delays = st.lists(st.integers(20_000, 5_000_000), min_size=1, max_size=20)


def went(started: int, taken: list[int], ahead: int) -> tuple[list[Sent], list[Arrival]]:
    """Frames sent by one clock, and their arrivals by one that is ``ahead``."""
    sent = [Sent("icmp", number, started + number * 1_000_000) for number in range(len(taken))]
    came = [Arrival("icmp", s.number, s.at + delay + ahead) for s, delay in zip(sent, taken, strict=True)]
    return sent, came


@given(delays, delays, st.integers(-(10**15), 10**15))
def test_the_difference_is_wrong_by_half_the_difference_of_the_fastest_frames(
    there: list[int], back: list[int], ahead: int
) -> None:
    found = difference_of_clocks(*went(0, there, ahead), *went(10**9 + ahead, back, -ahead))
    assert found is not None
    assert abs(found - ahead) <= abs(min(there) - min(back)) // 2 + 1


def test_without_frames_both_ways_nothing_is_known() -> None:
    sent, came = went(0, [50_000], 7)
    assert difference_of_clocks(sent, came, sent, []) is None
    assert difference_of_clocks(sent, [], sent, came) is None
    refused = [Sent("icmp", 0, 0, "Message too long")]
    assert difference_of_clocks(refused, came, sent, came) is None
