"""Links: quantities as people write them, and entries whose time is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan import links
from k8slan_cli.lan.links import UNLIMITED, Bandwidth, Impairment, Link
from tests.unit.lan import strategies

NOON = links.moment("2030-01-31T12:00:00Z").timestamp()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("delay", "10ms", 10_000),
        ("delay", "1.5s", 1_500_000),
        ("delay", "250US", 250),
        ("loss", "0.1%", 1_000),
        ("loss", "0.0001%", 1),
        ("rate", "100mbit", 100_000_000),
        ("rate", "1.5Gbit", 1_500_000_000),
        ("burst", "32kb", 32_000),
        ("burst", "32KiB", 32_768),
    ],
)
def test_quantities_are_read_as_people_write_them(name: str, text: str, value: int) -> None:
    assert links.read(name, text) == value
    assert links.read(name, links.QUANTITIES[name].write(value)) == value


@pytest.mark.parametrize(
    "text",
    ["", "10", "ms", "1e3ms", "10 ms", "-1ms", "0x1ms", "1,5ms", "10ms ", "\u0661ms", "10m\u017f", "9" * 12 + "us"],
)
def test_what_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    assert "is not written as 10ms; units are us, ms, s" in str(links.read("delay", text))


@given(st.sampled_from(sorted(links.QUANTITIES)), st.data())
def test_each_value_reads_as_it_is_written(name: str, data: st.DataObject) -> None:
    quantity = links.QUANTITIES[name]
    value = data.draw(st.integers(quantity.least, quantity.most))
    text = quantity.write(value)
    assert quantity.read(text) == value
    assert len(text) <= 20


def test_a_link_is_told_in_words() -> None:
    slow, lossy = Impairment(rate=1_000_000), Impairment(loss=10_000)
    assert Link(to_pod=slow, from_pod=slow).words == "rate 1Mbit"
    assert Link(to_pod=slow, from_pod=lossy).words == "rate 1Mbit to pod; loss 1% from pod"
    assert Link(to_pod=slow).words == "rate 1Mbit to pod"
    assert Link(down=True).words == ""
    assert Bandwidth(to_pod=1_000_000, to_pod_burst=5).words == "rate 1Mbit to pod"
    assert UNLIMITED.words == ""


def test_an_entry_counts_until_its_time_is_over() -> None:
    entries = (
        ("a", Link(down=True, until="2030-01-31T13:00:00+01:00")),
        ("b", Link(down=True)),
        ("c", Link(until="2031-01-01T00:00:00Z")),
    )
    assert [name for name, _ in links.due(entries, NOON - 1)] == ["a", "b", "c"]
    assert [name for name, _ in links.due(entries, NOON)] == ["b", "c"]
    assert links.next_end(entries) == NOON
    assert links.next_end(entries[1:2]) is None


def test_a_time_is_read_as_rfc_3339_writes_it() -> None:
    assert links.moment("2030-01-31t12:00:00z").timestamp() == NOON


@pytest.mark.parametrize(
    "text", ["", "noon", "2030-01-31T12:00:00", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+05:00"]
)
def test_what_is_no_time_that_can_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        links.moment(text)


@pytest.mark.parametrize(("burst", "said"), [(34_250, ""), (34_251, "is more than the rate sends in 274 s, 34250B")])
def test_a_burst_is_no_longer_than_the_kernel_can_tell(burst: int, said: str) -> None:
    found = links.faults("a", Link(to_pod=Impairment(rate=1_000, burst=burst)))
    assert [fault.message for fault in found] == [said] * bool(said)


@given(strategies.lans(), st.floats(0, 4e9))
def test_a_lan_at_a_time_has_what_is_due_then_and_nothing_else_changes(lan, now: float) -> None:  # type: ignore[no-untyped-def]
    seen = lan.at(now)
    assert set(seen.links) <= set(lan.links)
    assert seen.at(now) == seen
    assert (links.next_end(seen.links) or now + 1) > now
