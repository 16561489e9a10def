"""What ``spec.links`` does to frames, measured: in each direction by itself, on a pod's link and on a VM's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import sqrt

import pytest

from k8slan_cli.probe.run import Probe, cross
from tests.node.shaped import Shaped
from tests.support.flows import Flow, measure

ENDS = ("pod", "vm")
SIGMAS = 5


@pytest.fixture(scope="module")
def lan() -> Iterator[Shaped]:
    with Shaped.create(*ENDS) as lan:
        yield lan


def assert_delayed(flow: Flow, milliseconds: float) -> None:
    assert flow.lost == 0
    assert abs(flow.delay - milliseconds) <= 1 + 0.02 * milliseconds


def assert_so_many(found: int, of: int, share: float) -> None:
    assert abs(found - of * share) <= SIGMAS * sqrt(of * share * (1 - share))


@pytest.mark.parametrize("end", ENDS)
def test_each_direction_has_its_delay(lan: Shaped, end: str) -> None:
    lan.set(**{end: {"toPod": {"delay": "20ms"}, "fromPod": {"delay": "50ms"}}})
    with lan.wires(end) as (far, good):
        assert_delayed(measure(good, far, 100, every=0.002), 20)
        assert_delayed(measure(far, good, 100, every=0.002), 50)


@pytest.mark.parametrize("end", ENDS)
def test_jitter_spreads_the_delay_of_one_direction(lan: Shaped, end: str) -> None:
    """Evenly, up to the jitter in both directions: half of all delays are no more than half of it from the middle."""
    lan.set(**{end: {"fromPod": {"delay": "20ms", "jitter": "6ms"}}})
    with lan.wires(end) as (far, good):
        flow = measure(far, good, 1_000, every=0.001)
        assert_delayed(flow, 20)
        assert flow.spread == pytest.approx(6, abs=1)
        assert min(flow.delays) > 14
        assert flow.overtaken
        assert_delayed(measure(good, far, 100, every=0.002), 0)


@pytest.mark.parametrize("jitter", ["20ms", "80ms"])
@pytest.mark.parametrize(("correlation", "expected"), [("0%", 0), ("50%", 0.5), ("90%", 0.9)])
def test_jitter_depends_on_that_of_the_frame_before_as_much_as_it_should(
    lan: Shaped, jitter: str, correlation: str, expected: float
) -> None:
    lan.set(pod={"toPod": {"delay": "100ms", "jitter": jitter, "correlation": correlation}})
    with lan.wires("pod") as (far, good):
        flow = measure(good, far, 2_000, every=0.001)
    assert flow.lost == 0
    assert flow.persistence == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", ["toPod", "fromPod"])
def test_loss_is_as_likely_as_it_should_be_in_one_direction(lan: Shaped, end: str, way: str) -> None:
    lan.set(**{end: {way: {"loss": "2%"}}})
    with lan.wires(end) as (far, good):
        bad, clean = ((good, far), (far, good)) if way == "toPod" else ((far, good), (good, far))
        assert_so_many(measure(*bad, 20_000).lost, 20_000, 0.02)
        assert measure(*clean, 1_000).lost == 0


@pytest.mark.parametrize("end", ENDS)
def test_frames_come_twice_spoilt_and_out_of_order(lan: Shaped, end: str) -> None:
    count = 2_000
    lan.set(**{end: {"toPod": {"duplicate": "5%"}, "fromPod": {"corrupt": "5%"}}})
    with lan.wires(end) as (far, good):
        there, back = measure(good, far, count), measure(far, good, count)
    assert (there.lost, there.spoilt) == (0, 0)
    assert_so_many(there.again, count, 0.05)
    assert back.again == 0
    assert_so_many(back.spoilt, count, 0.05)
    lan.set(**{end: {"toPod": {"delay": "20ms", "reorder": "10%"}}})
    with lan.wires(end) as (far, good):
        flow = measure(good, far, count, every=0.0005)
    assert flow.lost == 0
    assert_so_many(sum(delay < 10 for delay in flow.delays), count, 0.1)
    assert flow.overtaken


def test_what_is_taken_back_is_over_though_the_rest_stays(lan: Shaped) -> None:
    stays = {"delay": "20ms", "jitter": "2ms"}
    lan.set(pod={"toPod": stays | {"correlation": "50%", "reorder": "20%", "corrupt": "20%"}})
    lan.set(pod={"toPod": stays})
    assert not lan.drifts()
    with lan.wires("pod") as (far, good):
        flow = measure(good, far, 500, every=0.005)
    assert (flow.lost, flow.spoilt) == (0, 0)
    assert min(flow.delays) > 17


@pytest.mark.parametrize("end", ENDS)
def test_each_direction_has_its_rate(lan: Shaped, end: str) -> None:
    """With a burst that makes up for this guest's timers, which are late by a tenth of a frame."""
    slow, slower = {"rate": "10Mbit", "burst": "30kB"}, {"rate": "4Mbit", "burst": "30kB"}
    lan.set(**{end: {"toPod": slow, "fromPod": slower}})
    with lan.wires(end) as (far, good):
        assert measure(good, far, 600, every=0.0008, size=1400).rate == pytest.approx(10e6, rel=0.03)
        assert measure(far, good, 400, every=0.0015, size=1400).rate == pytest.approx(4e6, rel=0.03)


@pytest.mark.parametrize("end", ENDS)
def test_a_shaped_link_passes_every_class_of_frames(lan: Shaped, end: str) -> None:
    lan.set(**{end: {"delay": "10ms", "rate": "50Mbit"}})
    with lan.endpoints(end) as (far, good):
        ways = ((good, far), (far, good))
        results = [cross(a, b, Probe(src=a.mac, dst=b.mac, mtu=good.mtu), seconds=10) for a, b in ways]
    assert {r.key: f"{r.verdict}: {r.detail}" for each in results for r in each if not r.ok} == {}
    assert all(r.latency and r.latency >= 10_000 for each in results for r in each)


def test_frames_that_wait_survive_another_delay(lan: Shaped) -> None:
    lan.set(pod={"delay": "1500ms"})
    with lan.wires("pod") as (far, good):
        with ThreadPoolExecutor() as pool:
            flow = pool.submit(measure, good, far, 50, quiet=5)
            lan.set(pod={"delay": "1s"})
        assert flow.result().lost == 0
