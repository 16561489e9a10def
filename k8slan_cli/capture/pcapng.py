"""The pcapng file format, as much of it as frames on LANs need: blocks written, and a stream of them taken apart.

Every block is little-endian, and times are nanoseconds since 1970. The reader takes only what the writer makes: it is
there to put together what agents send, not to read anybody's files.

Source: draft-ietf-opsawg-pcapng; the numbers in the names of options are its own.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from k8slan_cli.capture import SNAPLEN
from k8slan_cli.errors import K8slanError

MEDIA_TYPE = "application/x-pcapng"

_MAX_BLOCK = 1 << 20
_BYTE_ORDER = 0x1A2B3C4D
_ETHERNET = 1  # LINKTYPE_ETHERNET
_NANOSECONDS = 9  # if_tsresol: ten to the power of minus nine
_END, _COMMENT = 0, 1

_HEAD = struct.Struct("<II")  # every block: type, length of all of it (again at its end)
_LENGTH = struct.Struct("<I")
_OPTION = struct.Struct("<HH")  # code, length of the value without padding
_SECTION = struct.Struct("<IIIHHq")  # type, length, byte order, version (2), length of the section (-1: not known)
_INTERFACE = struct.Struct("<IIHxxI")  # type, length, link type, snaplen
_PACKET = struct.Struct("<IIIIIII")  # type, length, interface, time (high, low), bytes kept, bytes on the wire
_STATISTICS = struct.Struct("<IIIII")  # type, length, interface, time (high, low)
_TIME = struct.Struct("<II")
_FLAGS = struct.Struct("<HHIII")  # the options of a packet, always the same: epb_flags and the end, and the length


class BlockType(enum.IntEnum):
    """The types of blocks."""

    SECTION = 0x0A0D0D0A
    INTERFACE = 1
    STATISTICS = 5
    PACKET = 6


class Direction(enum.IntEnum):
    """Which way a frame went, seen from the pod or VM (epb_flags, bits 0 and 1)."""

    IN = 1
    OUT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Where frames were captured. ``mac`` is six bytes, ``filter`` the expression that chose them, "" for all."""

    name: str
    description: str = ""
    mac: bytes = b""
    filter: str = ""
    snaplen: int = SNAPLEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What became of an interface's frames: how many passed the filter, and how many of them were lost on the way.

    ``comment`` says why the capture of it ended, where it did so by itself.
    """

    accepted: int = 0
    dropped: int = 0
    comment: str = ""

    def __add__(self, later: Counters) -> Counters:
        """The frames of both, and how it ended last."""
        return Counters(
            accepted=self.accepted + later.accepted, dropped=self.dropped + later.dropped, comment=later.comment
        )


# ---------------------------------------------------------------- writing


def section(application: str) -> bytes:
    """The section header: how every file begins."""
    options = _text(4, application) + _end()  # shb_userappl
    length = _SECTION.size + len(options) + 4
    return _SECTION.pack(BlockType.SECTION, length, _BYTE_ORDER, 1, 0, -1) + options + _LENGTH.pack(length)


def interface(found: Interface) -> bytes:
    """The description of an interface; in a section, they are numbered from 0 as they come."""
    options = _text(2, found.name) + _text(3, found.description)  # if_name, if_description
    if found.mac:
        options += _option(6, found.mac)  # if_MACaddr
    options += _option(9, bytes([_NANOSECONDS]))  # if_tsresol
    if found.filter:
        options += _option(11, b"\0" + found.filter.encode())  # if_filter, 0: in libpcap's language
    options += _end()
    length = _INTERFACE.size + len(options) + 4
    return _INTERFACE.pack(BlockType.INTERFACE, length, _ETHERNET, found.snaplen) + options + _LENGTH.pack(length)


def packet(number: int, at: int, frame: bytes, whole: int, direction: Direction) -> bytes:
    """A frame on interface ``number`` at time ``at``; ``whole`` is its length on the wire in bytes."""
    kept = len(frame)
    length = _PACKET.size + kept + (-kept % 4) + _FLAGS.size
    head = _PACKET.pack(BlockType.PACKET, length, number, at >> 32, at & 0xFFFFFFFF, kept, whole)
    return b"".join((head, frame, bytes(-kept % 4), _FLAGS.pack(2, 4, direction, _END, length)))


def statistics(number: int, began: int, ended: int, counters: Counters) -> bytes:
    """What became of the frames of interface ``number`` between two times."""
    options = _text(_COMMENT, counters.comment)
    options += _option(2, _time(began)) + _option(3, _time(ended))  # isb_starttime, isb_endtime
    for code, value in ((6, counters.accepted), (7, counters.dropped)):  # isb_filteraccept, isb_osdrop
        options += _option(code, value.to_bytes(8, "little"))
    options += _end()
    length = _STATISTICS.size + len(options) + 4
    return _STATISTICS.pack(BlockType.STATISTICS, length, number, *_split(ended)) + options + _LENGTH.pack(length)


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value + bytes(-len(value) % 4)


def _text(code: int, value: str) -> bytes:
    return _option(code, value.encode()[:0xFFFF]) if value else b""


def _end() -> bytes:
    return _OPTION.pack(_END, 0)


def _split(at: int) -> tuple[int, int]:
    return at >> 32, at & 0xFFFFFFFF


def _time(at: int) -> bytes:
    return _TIME.pack(*_split(at))


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its type, and all of it."""

    kind: int
    data: bytes

    @property
    def at(self) -> int:
        """The time of a packet or of statistics."""
        high, low = _TIME.unpack_from(self.data, 12)
        return int(high << 32 | low)

    @property
    def number(self) -> int:
        """The interface that a packet or statistics are of."""
        return int(_LENGTH.unpack_from(self.data, 8)[0])

    @property
    def whole(self) -> int:
        """How long the frame of a packet was on the wire, in bytes."""
        return int(_PACKET.unpack_from(self.data)[6])

    @property
    def frame(self) -> bytes:
        """What a packet has of its frame."""
        return self.data[_PACKET.size : _PACKET.size + _PACKET.unpack_from(self.data)[5]]

    @property
    def direction(self) -> Direction:
        """Which way the frame of a packet went."""
        return Direction(_FLAGS.unpack_from(self.data, len(self.data) - _FLAGS.size)[2])

    def renumbered(self, number: int) -> bytes:
        """The same block of another interface."""
        return self.data[:8] + _LENGTH.pack(number) + self.data[12:]

    def counters(self) -> Counters:
        """What statistics say."""
        options = dict(self._options(_STATISTICS.size))
        return Counters(
            accepted=int.from_bytes(options.get(6, b""), "little"),
            dropped=int.from_bytes(options.get(7, b""), "little"),
            comment=options.get(_COMMENT, b"").decode(errors="replace"),
        )

    def name(self) -> str:
        """The name of an interface."""
        return dict(self._options(_INTERFACE.size)).get(2, b"").decode(errors="replace")

    def _options(self, start: int) -> Iterator[tuple[int, bytes]]:
        while start + _OPTION.size <= len(self.data) - 4:
            code, length = _OPTION.unpack_from(self.data, start)
            start += _OPTION.size
            if code == _END:
                return
            yield code, self.data[start : start + length]
            start += length + -length % 4


_LEAST = {BlockType.SECTION: 28, BlockType.INTERFACE: 20, BlockType.STATISTICS: 24, BlockType.PACKET: 32}


class Reader:
    """Takes a stream apart into blocks, however it is cut up on the way."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Block]:
        """The blocks that are complete with ``data``.

        Raises:
            K8slanError: this is not pcapng as it is written here.

        """
        rest = self._rest
        rest += data
        start = 0
        try:
            while len(rest) - start >= _HEAD.size:
                kind, length = _HEAD.unpack_from(rest, start)
                if not max(12, _LEAST.get(kind, 0)) <= length <= _MAX_BLOCK or length % 4:
                    raise K8slanError(f"what comes is not pcapng: a block of {length} bytes")
                if len(rest) - start < length:
                    return
                block = Block(kind, bytes(rest[start : start + length]))
                if _LENGTH.unpack_from(block.data, length - 4)[0] != length:
                    raise K8slanError("what comes is not pcapng: a block whose end does not fit its beginning")
                start += length
                yield block
        finally:
            del rest[:start]
