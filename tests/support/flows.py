"""Frames sent through a link one after the other, and what became of them: when they came, how often, whether whole.

The time of arrival is the kernel's (``SO_TIMESTAMPNS``) at a packet socket, and that of reading at a tap. A flow ends
when nothing has come for a while, so one that is to lose frames takes that much longer.
"""

from __future__ import annotations

import os
import select
import socket
import statistics
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

from k8slan_cli.net import netns
from k8slan_cli.probe.endpoint import Tap

_TYPE = 0x88B5  # IEEE 802's for local experiments
_ALL = 0x0003
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 32, 33, 35
_BUFFER = 1 << 26
_BATCH = 64


class End(Protocol):
    """One end of a link."""

    mac: bytes

    def fileno(self) -> int:
        """Readable when there is something to receive."""

    def send(self, frame: bytes) -> object:
        """Send a frame."""

    def came(self) -> Iterator[tuple[bytes, int]]:
        """All frames that have come since the last call, and when, in nanoseconds."""


class Wire:
    """The end of a pod: an interface."""

    def __init__(self, namespace: int, name: str, mac: bytes) -> None:
        with netns.inside(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        for buffer in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):  # what waits at a link counts as not sent yet
            self._socket.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        self._socket.bind((name, _ALL))
        self.mac, self.fileno, self.send = mac, self._socket.fileno, self._socket.send

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def came(self) -> Iterator[tuple[bytes, int]]:
        """All frames that have come since the last call, and when."""
        space = socket.CMSG_SPACE(16)
        while True:
            try:
                frame, ((_, _, stamp),), _, _ = self._socket.recvmsg(2048, space)
            except BlockingIOError:
                return
            seconds, nanoseconds = struct.unpack("=qq", stamp)
            yield frame, seconds * 1_000_000_000 + nanoseconds


class VirtualWire:
    """The end of a VM: a tap."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self.mac, self.fileno, self.send = tap.mac, tap.fileno, tap.send

    def came(self) -> Iterator[tuple[bytes, int]]:
        """All frames that have come since the last call, and when they were read."""
        yield from ((got.frame, time.time_ns()) for got in self._tap.receive())


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What became of frames, which are known by their numbers."""

    sent: int
    size: int
    arrivals: tuple[tuple[int, int], ...]
    """Each frame's number, and when it came, in nanoseconds."""
    delays: tuple[float, ...]
    """Milliseconds on the way, of each arrival."""
    spoilt: int
    """Frames that came with something else in them."""

    @property
    def lost(self) -> int:
        """Frames that did not come at all, or not as they were sent."""
        return self.sent - len({number for number, _ in self.arrivals})

    @property
    def again(self) -> int:
        """Frames that came once more than they were sent."""
        return sum(times - 1 for times in Counter(number for number, _ in self.arrivals).values())

    @property
    def overtaken(self) -> int:
        """Frames that came after one that was sent later."""
        found, last = 0, -1
        for number, _ in self.arrivals:
            found += number < last
            last = max(last, number)
        return found

    @property
    def delay(self) -> float:
        """The median of the delays."""
        return statistics.median(self.delays)

    @property
    def spread(self) -> float:
        """How far apart the delays are between which half of all lie; a few late ones don't matter."""
        quarter, _, three = statistics.quantiles(self.delays, n=4)
        return three - quarter

    @property
    def persistence(self) -> float:
        """How much a frame's delay is like that of the frame sent before it: Pearson's coefficient, 0 to 1."""
        numbers = [number for number, _ in self.arrivals]
        in_order = [delay for _, delay in sorted(zip(numbers, self.delays, strict=True))]
        return statistics.correlation(in_order[:-1], in_order[1:])

    @property
    def rate(self) -> float:
        """Bits a second from the middle of the flow to its end, so that a burst at its beginning does not count."""
        half = self.arrivals[len(self.arrivals) // 2 :]
        return (len(half) - 1) * self.size * 8e9 / (half[-1][1] - half[0][1])


def measure(sender: End, receiver: End, count: int, *, every: float = 0.0, size: int = 60, quiet: float = 0.3) -> Flow:
    """Send frames, one ``every`` so many seconds, or as fast as can be.

    No more of them are waited for when none has come for ``quiet`` seconds.
    """
    head = receiver.mac + sender.mac + _TYPE.to_bytes(2)
    filling = os.urandom(size - len(head) - 8)
    frames = [head + number.to_bytes(4) * 2 + filling for number in range(count)]  # twice: no bit makes another of it
    wanted = {frame: number for number, frame in enumerate(frames)}
    came: list[tuple[bytes, int]] = []
    sent: list[int] = []
    poll = select.poll()
    poll.register(receiver.fileno(), select.POLLIN)
    list(receiver.came())
    start = time.monotonic()
    for number, frame in enumerate(frames):
        while every and (left := start + number * every - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                came.extend(receiver.came())
        if number % _BATCH == 0:
            came.extend(receiver.came())
        sent.append(time.time_ns())
        sender.send(frame)
    while not wanted.keys() <= {frame for frame, _ in came} and poll.poll(quiet * 1000):
        came.extend(receiver.came())
    arrivals = tuple((wanted[frame], at) for frame, at in came if frame in wanted)
    others = (frame for frame, _ in came if frame not in wanted and len(frame) == size)
    return Flow(
        sent=count,
        size=size,
        arrivals=arrivals,
        delays=tuple((at - sent[number]) / 1e6 for number, at in arrivals),
        spoilt=sum(frame.startswith(head) or frame.endswith(filling) for frame in others),
    )
