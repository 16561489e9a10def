"""How frames are kept back at a port, from what is wanted of its link."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan.links import MAX_LIMIT, MAX_RATE, MIN_RATE, UNLIMITED, WHOLE, Bandwidth, Impairment, Link
from k8slan_cli.plan import shaping
from k8slan_cli.plan.state import UNSHAPED, Queue
from tests.unit.lan import strategies


def queue(wanted: Impairment, mtu: int = 1500) -> Queue:
    """What goes to the pod."""
    return shaping.shaping(Link(to_pod=wanted), UNLIMITED, mtu).to_pod


def test_nothing_wanted_is_nothing_done() -> None:
    assert shaping.shaping(Link(down=True, until="2030-01-31T12:00:00Z"), UNLIMITED, 1500) == UNSHAPED


def test_a_burst_holds_a_frame_of_the_largest_size_however_slow_the_link() -> None:
    assert queue(Impairment(rate=1000, burst=1)).burst >= 1518
    assert queue(Impairment(rate=1000, burst=1), mtu=9000).burst >= 9018


def test_a_burst_makes_good_what_a_late_timer_loses() -> None:
    assert queue(Impairment(rate=8_000_000_000)).burst == 4_000_000
    assert queue(Impairment(rate=8_000)).burst >= 2 * 1518


def test_more_frames_may_wait_the_longer_they_are_late() -> None:
    assert queue(Impairment(delay=1)).limit == 10_000
    assert queue(Impairment(delay=1, limit=7)).limit == 7
    near, far = (queue(Impairment(delay=delay, rate=10_000_000)).limit for delay in (1_000, 500_000))
    assert near < far <= 10_000
    assert queue(Impairment(rate=8_000_000)).room == 100_000
    assert queue(Impairment(rate=8_000_000, limit=100)).room == 100 * 1522


@given(st.integers(MIN_RATE // 8, MAX_RATE // 8), st.integers(1, 1 << 30))
def test_a_burst_is_told_by_the_kernel_as_it_was_set(rate: int, wanted: int) -> None:
    rate *= 8
    burst = shaping.burst(rate, shaping.ticks(rate, wanted))
    assert burst >= wanted
    assert shaping.burst(rate, shaping.ticks(rate, burst)) == burst


MOST = (1 << 32) - 1


def test_no_number_is_more_than_the_kernel_takes() -> None:
    """Some runtimes ask for a burst of 2 Gbit with each rate, however small that is."""
    asked = shaping.shaping(Link(), Bandwidth(to_pod=1_000_000, to_pod_burst=1 << 28), 1500).to_pod
    for found in (
        asked,
        queue(Impairment(rate=MIN_RATE), mtu=65_000),
        queue(Impairment(rate=1_000_000, limit=MAX_LIMIT), mtu=65_000),
    ):
        assert found.room <= MOST
        assert shaping.ticks(found.rate, found.burst) <= MOST
    assert asked.burst > 30_000_000


@given(strategies.links(), st.integers(0, 1), st.integers(0, 1))
def test_a_direction_is_as_slow_as_the_slower_of_what_is_asked_for(link: Link, to_pod: int, from_pod: int) -> None:
    asked = Bandwidth(to_pod=to_pod * 8_000_000, from_pod=from_pod * 16_000_000)
    found = shaping.shaping(link, asked, 1500)
    for queue, wanted, most in (
        (found.to_pod, link.to_pod, asked.to_pod),
        (found.from_pod or Queue(), link.from_pod, asked.from_pod),
    ):
        rates = [rate - rate % 8 for rate in (wanted.rate, most) if rate]
        assert queue.rate == min(rates, default=0)
        assert (queue.delay, queue.loss) == (wanted.delay, wanted.loss)
    assert found.led == (found.from_pod is not None)


@pytest.mark.parametrize("jitter", [2_000, 20_000, 80_000])
@pytest.mark.parametrize("correlation", [250_000, 500_000, 900_000])
def test_jitters_are_as_correlated_as_they_should_be_by_the_kernels_own_arithmetic(
    jitter: int, correlation: int
) -> None:
    """Its generator (``get_crandom``, net/sched/sch_netem.c), from the middle of its numbers, where it tends to."""
    told = queue(Impairment(delay=jitter, jitter=jitter, correlation=correlation)).memory
    chance, last, found = random.Random(1), 1 << 31, []
    for _ in range(20_000):
        last = (chance.getrandbits(32) * ((1 << 32) - told - 1) + last * (told + 1)) >> 32
        found.append(last % (2 * jitter * 1000))
    assert statistics.correlation(found[:-1], found[1:]) == pytest.approx(correlation / WHOLE, abs=0.05)


@given(strategies.impairments())
def test_what_jitters_have_in_common_is_a_number_that_the_kernel_takes(wanted: Impairment) -> None:
    assert 0 <= queue(wanted).memory <= MOST
