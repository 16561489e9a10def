"""Several captures as one: interfaces renumbered, frames in order, nobody waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.capture import pcapng
from k8slan_cli.capture.merge import WINDOW, Merger, Turn
from k8slan_cli.capture.pcapng import Block, BlockType, Counters, Direction, Interface, Reader


def begin(*names: str) -> bytes:
    return pcapng.section("agent") + b"".join(pcapng.interface(Interface(name=name)) for name in names)


def frame(number: int, at: int, text: str = "") -> bytes:
    return pcapng.packet(number, at, text.encode(), len(text), Direction.IN)


def end(number: int, accepted: int = 0, dropped: int = 0, comment: str = "") -> bytes:
    return pcapng.statistics(number, 0, 9, Counters(accepted=accepted, dropped=dropped, comment=comment))


def merging(count: int, limit: int = 0) -> Merger:
    """A merger of so many streams."""
    merger = Merger("test", limit)
    assert [merger.add() for _ in range(count)] == list(range(count))
    return merger


def read(data: bytes) -> list[Block]:
    return list(Reader().feed(data))


def packets(data: bytes) -> list[tuple[int, int]]:
    return [(block.number, block.at) for block in read(data) if block.kind == BlockType.PACKET]


def test_interfaces_of_all_streams_are_numbered_in_one_section() -> None:
    merger = merging(2)
    out = merger.begin()
    out += merger.feed(0, begin("a", "b"), 0)
    out += merger.feed(1, begin("c"), 0)
    out += merger.feed(1, frame(0, 3) + end(0, 7, 2, "gone"), 0)
    out += merger.feed(0, frame(1, 1) + frame(0, 2) + end(0) + end(1, 5), 0)
    out += merger.end()
    blocks = read(out)
    assert [b.kind for b in blocks].count(BlockType.SECTION) == 1
    assert [b.name() for b in blocks if b.kind == BlockType.INTERFACE] == ["a", "b", "c"]
    assert packets(out) == [(1, 1), (0, 2), (2, 3)]
    assert merger.counters["c"] == Counters(accepted=7, dropped=2, comment="gone")
    assert [b.number for b in blocks if b.kind == BlockType.STATISTICS] == [2, 0, 1]
    assert merger.complete(0)
    assert merger.complete(1)


def test_one_stream_does_not_wait() -> None:
    merger = merging(1)
    assert packets(merger.feed(0, begin("a") + frame(0, 5), 0)) == [(0, 5)]
    assert merger.wait(0) is None


def test_of_two_streams_the_later_frame_waits_for_the_earlier() -> None:
    merger = merging(2)
    out = merger.feed(0, begin("a") + frame(0, 20), 0) + merger.feed(1, begin("b"), 0)
    assert packets(out) == []
    assert merger.wait(0.1) == WINDOW - 0.1
    out = merger.feed(1, frame(0, 10), WINDOW / 2)
    assert packets(out) == []
    assert packets(merger.due(WINDOW)) == [(1, 10), (0, 20)]


def test_a_clock_that_is_behind_holds_nobody_up() -> None:
    """However many frames of the past come in, each is out after the window."""
    merger = merging(2)
    merger.feed(0, begin("a") + frame(0, 1_000_000), 0)
    merger.feed(1, begin("b"), 0)
    now, out = 0.0, b""
    while now < WINDOW:
        now += WINDOW / 10
        out += merger.feed(1, frame(0, int(now * 1000)), now)
    assert (0, 1_000_000) in packets(out + merger.due(WINDOW))


def test_it_is_enough_at_the_limit() -> None:
    merger = merging(1, limit=2)
    out = merger.feed(0, begin("a") + b"".join(frame(0, at) for at in range(5)), 0)
    assert merger.enough
    assert len(packets(out + merger.end())) == merger.written == 2


def test_a_stream_that_was_cut_short_is_not_complete() -> None:
    merger = merging(1)
    assert not merger.complete(0)
    merger.feed(0, begin("a", "b") + end(0), 0)
    assert not merger.complete(0)


def test_interfaces_and_streams_may_come_at_any_time() -> None:
    merger = merging(1)
    out = merger.begin() + merger.feed(0, begin(), 0)
    assert (merger.begun(0), merger.listening(0), merger.complete(0)) == (True, 0, False)
    out += merger.feed(0, pcapng.interface(Interface(name="a")) + frame(0, 1), 0)
    assert merger.add() == 1
    assert not merger.begun(1)
    out += merger.feed(1, begin("b"), 1) + merger.feed(1, frame(0, 3), 1)
    out += merger.feed(0, pcapng.interface(Interface(name="c")) + frame(1, 2) + end(0, 1, comment="gone"), 1)
    assert (merger.listening(0), merger.listening(1)) == (1, 1)
    assert list(merger.turns) == [Turn(0, "a"), Turn(1, "b"), Turn(0, "c"), Turn(0, "a", "gone")]
    out += merger.end()
    assert [b.name() for b in read(out) if b.kind == BlockType.INTERFACE] == ["a", "b", "c"]
    assert packets(out) == [(0, 1), (2, 2), (1, 3)]


def test_who_comes_again_is_counted_on() -> None:
    merger = merging(1)
    merger.feed(0, begin("a", "a") + end(0, 7, 2, "gone") + end(1, 1), 0)
    assert merger.counters == {"a": Counters(accepted=8, dropped=2)}


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 100), st.floats(0, 0.2)), max_size=30))
def test_nothing_is_lost_and_each_stream_keeps_its_frames(arrivals: list[tuple[int, int, float]]) -> None:
    merger = merging(2)
    out = merger.feed(0, begin("a"), 0) + merger.feed(1, begin("b"), 0)
    now = 0.0
    for stream, at, pause in arrivals:
        now += pause
        out += merger.feed(stream, frame(0, at), now)
        assert merger.wait(now) is None or merger.wait(now) <= WINDOW  # type: ignore[operator]
    out += merger.end()
    assert sorted(packets(out)) == sorted((stream, at) for stream, at, _ in arrivals)
