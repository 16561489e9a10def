"""What is written as pcapng can be read again, and what is none is refused; tshark reads it in tests/node."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.capture import pcapng
from k8slan_cli.capture.pcapng import BlockType, Counters, Direction, Interface, Reader
from k8slan_cli.errors import K8slanError

times = st.integers(0, (1 << 64) - 1)
counts = st.integers(0, (1 << 64) - 1)
texts = st.text(max_size=40)


@given(
    st.lists(st.tuples(times, st.binary(max_size=100), st.sampled_from(Direction)), max_size=5),
    texts,
    counts,
    counts,
    st.lists(st.integers(0, 1 << 12), max_size=8),
)
def test_what_is_written_is_read_however_it_is_cut(
    frames: list[tuple[int, bytes, Direction]], name: str, accepted: int, dropped: int, cuts: list[int]
) -> None:
    whole = pcapng.section("test") + pcapng.interface(Interface(name=name, mac=bytes(6)))
    whole += b"".join(pcapng.packet(0, at, frame, len(frame) + 7, way) for at, frame, way in frames)
    whole += pcapng.statistics(0, 1, 2, Counters(accepted=accepted, dropped=dropped, comment=name))
    reader, blocks = Reader(), []
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    for start, end in pairwise(places):
        blocks += reader.feed(whole[start:end])
    assert b"".join(block.data for block in blocks) == whole
    first, described, *packets, end_block = blocks
    assert [block.kind for block in (first, described, end_block)] == [
        BlockType.SECTION,
        BlockType.INTERFACE,
        BlockType.STATISTICS,
    ]
    assert described.name() == name
    assert [(block.kind, block.number, block.at) for block in packets] == [
        (BlockType.PACKET, 0, at) for at, _, _ in frames
    ]
    assert all(frame in block.data for block, (_, frame, _) in zip(packets, frames, strict=True))
    assert end_block.counters() == Counters(accepted=accepted, dropped=dropped, comment=name)
    assert all(len(block.data) % 4 == 0 for block in blocks)


def test_an_interface_gets_another_number_and_nothing_else_changes() -> None:
    before = pcapng.packet(0, 5, b"frame", 5, Direction.IN)
    (block,) = Reader().feed(before)
    assert block.renumbered(7) == pcapng.packet(7, 5, b"frame", 5, Direction.IN)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        bytes(8),
        (6).to_bytes(4, "little") + (16).to_bytes(4, "little") + bytes(8),  # a packet of 16 bytes
        (1).to_bytes(4, "little") + (1 << 30).to_bytes(4, "little"),
        pcapng.section("x")[:-4] + bytes(4),
    ],
)
def test_what_is_no_pcapng_is_refused(data: bytes) -> None:
    with pytest.raises(K8slanError, match="not pcapng"):
        list(Reader().feed(data))


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_to_be_refused(data: bytes) -> None:
    reader = Reader()
    try:
        for block in reader.feed(pcapng.section("x") + data):
            if block.kind == BlockType.INTERFACE:
                block.name()
            if block.kind == BlockType.STATISTICS:
                block.counters()
    except K8slanError:
        pass
