"""What the two sides of a probe share, and the verdict made of what they saw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.probe.frames import CLASSES, MARK, TOKEN_BYTES, token_in
from k8slan_cli.probe.run import Arrival, ClassResult, Probe, Sent, Verdict, judge

KEYS = tuple(c.key for c in CLASSES)
PROBE = Probe(src=bytes(5) + b"\2", dst=bytes(5) + b"\4", mtu=1446, count=2, keys=("icmp", "lldp"))


def sent(refused: str = "") -> list[Sent]:
    return [Sent(key, number, 1_000_000, refused) for number in range(2) for key in PROBE.keys]


def arrived(*came: tuple[str, int], at: int = 1_050_000, changed: str = "") -> list[Arrival]:
    return [Arrival(key, number, at, changed) for key, number in came]


ALL = (("icmp", 0), ("lldp", 0), ("icmp", 1), ("lldp", 1))


def verdict(*results: ClassResult) -> list[tuple[str, Verdict, str]]:
    return [(r.key, r.verdict, r.detail) for r in results]


def test_both_sides_make_the_same_frames_and_know_them_again() -> None:
    twin = Probe(src=PROBE.src, dst=PROBE.dst, mtu=1446, count=2, keys=PROBE.keys, id=PROBE.id)
    for key, number in ALL:
        frame = PROBE.frame(key, number)
        assert twin.frame(key, number) == frame
        assert twin.which(token_in(frame) or b"") == (key, number)
    assert len(PROBE) == len({PROBE.frame(*which) for which in ALL}) == 4


@given(st.sampled_from(KEYS), st.integers(0, 65535))
def test_tokens_are_unique_and_can_be_read_back(key: str, number: int) -> None:
    probe = Probe(src=PROBE.src, dst=PROBE.dst, mtu=1446, count=65536)
    token = probe.token(key, number)
    assert len(token) == TOKEN_BYTES
    assert token.startswith(MARK)
    assert probe.which(token) == (key, number)
    assert Probe(src=PROBE.src, dst=PROBE.dst, mtu=1446, count=65536).which(token) is None


@given(st.binary(max_size=20))
def test_a_strange_token_is_nobody_s(token: bytes) -> None:
    assert PROBE.which(token) is None
    assert PROBE.which(MARK + PROBE.id + token) in (None, *((k, n) for k in KEYS for n in range(2)))


def test_unknown_destinations_are_new_in_each_probe_frame() -> None:
    probe = Probe(src=PROBE.src, dst=PROBE.dst, mtu=1446, count=50)
    assert len({probe.frame("unknown-unicast", number)[:6] for number in range(50)}) == 50


def test_all_there_is_a_pass_with_the_median_latency() -> None:
    came = arrived(*ALL[:2]) + arrived(*ALL[2:], at=1_070_000)
    results = judge(PROBE, sent(), came, one_clock=True)
    assert results[0] == ClassResult(key="icmp", verdict=Verdict.PASSED, sent=2, arrived=2, latency=60.0)
    assert [r.key for r in results] == ["icmp", "lldp"]
    assert all(r.ok for r in results)


def test_without_a_common_clock_there_is_no_latency() -> None:
    assert {r.latency for r in judge(PROBE, sent(), arrived(*ALL))} == {None}


def test_none_there_is_dropped_and_some_there_is_told_apart() -> None:
    results = judge(PROBE, sent(), arrived(("icmp", 1)), one_clock=True)
    assert verdict(*results) == [
        ("icmp", Verdict.DROPPED, "1 of 2 dropped"),
        ("lldp", Verdict.DROPPED, ""),
    ]
    assert [r.latency for r in results] == [50.0, None]
    assert not any(r.ok for r in results)


@pytest.mark.parametrize("times", [1, 2])
def test_a_copy_is_counted(times: int) -> None:
    results = judge(PROBE, sent(), arrived(*ALL, *[("icmp", 0)] * times))
    assert verdict(results[0]) == [("icmp", Verdict.DUPLICATED, f"{2 + times} came of 2")]
    assert (results[0].arrived, results[0].extra) == (2, times)
    assert results[1].ok


def test_a_change_is_reported_in_its_words_and_weighs_more_than_a_copy() -> None:
    came = arrived(*ALL) + arrived(("lldp", 1), changed="VLAN tag missing")
    assert verdict(*judge(PROBE, sent(), came)) == [
        ("icmp", Verdict.PASSED, ""),
        ("lldp", Verdict.CHANGED, "VLAN tag missing"),
    ]


def test_what_the_kernel_refused_to_send_is_not_called_dropped() -> None:
    results = judge(PROBE, sent("Message too long"), [])
    assert {(r.verdict, r.detail, r.sent) for r in results} == {(Verdict.UNSENT, "not sent: Message too long", 0)}
