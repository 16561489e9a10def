"""Several streams of captured frames as one: a single section, every interface in it, frames in the order of time.

Frames wait for a moment, so that one that took longer on its way still gets its place before younger ones. Time is
that of the node that captured a frame: how well nodes' clocks agree is how well the order is right.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from k8slan_cli.capture import pcapng
from k8slan_cli.capture.pcapng import Block, BlockType, Counters

WINDOW = 0.25
"""Seconds that frames wait for others, where there is more than one stream."""


@dataclass
class _Stream:
    """A stream on its way in: the numbers that its interfaces have got, and which of them have said their last word."""

    reader: pcapng.Reader = field(default_factory=pcapng.Reader)
    begun: bool = False
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    told: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Turn:
    """An interface of a stream has begun, or, with ``why``, has ended before the stream does."""

    stream: int
    name: str
    why: str = ""


class Merger:
    """Puts streams together, however many come. What it returns is to be written; ``now`` is any clock in seconds.

    ``limit`` frames are enough; 0 is no limit.
    """

    def __init__(self, application: str, limit: int = 0) -> None:
        self._streams: list[_Stream] = []
        self._application = application
        self._limit = limit
        self._waiting: list[tuple[int, int, bytes]] = []  # a heap: time, number, frame
        self._arrived: deque[tuple[float, int, int]] = deque()  # as they came: when, time, number
        self._ends: list[bytes] = []
        self._interfaces = 0
        self._frames = 0
        self.written = 0
        """How many frames have been given out."""
        self.counters: dict[str, Counters] = {}
        """What became of the frames of each interface that has ended, by its name; of all that had it, if several."""
        self.turns: deque[Turn] = deque()
        """Which interfaces have begun and ended, for the caller to take from here."""

    def add(self) -> int:
        """One more stream; returns its number."""
        self._streams.append(_Stream())
        return len(self._streams) - 1

    @property
    def _window(self) -> float:
        return WINDOW if len(self._streams) > 1 else 0.0

    @property
    def enough(self) -> bool:
        """Whether the limit is reached."""
        return bool(self._limit) and self.written >= self._limit

    def begin(self) -> bytes:
        """How the file begins."""
        return pcapng.section(self._application)

    def feed(self, stream: int, data: bytes, now: float) -> bytes:
        """Take what has come of a stream, and give what can be written at once.

        Raises:
            K8slanError: it is not pcapng.

        """
        reader = self._streams[stream].reader
        out = [block for found in reader.feed(data) for block in self._take(stream, found, now)]
        return b"".join((*out, *self._due(now)))

    def _take(self, stream: int, block: Block, now: float) -> Iterator[bytes]:
        source = self._streams[stream]
        if block.kind == BlockType.SECTION:
            source.begun = True
        elif block.kind == BlockType.INTERFACE:
            source.numbers.append(self._interfaces)
            source.names.append(block.name())
            self.turns.append(Turn(stream, block.name()))
            self._interfaces += 1
            yield block.data
        elif block.kind == BlockType.PACKET and block.number < len(source.numbers):
            self._frames += 1
            frame = block.renumbered(source.numbers[block.number])
            heapq.heappush(self._waiting, (block.at, self._frames, frame))
            self._arrived.append((now, block.at, self._frames))
        elif block.kind == BlockType.STATISTICS and block.number < len(source.numbers):
            name, counters = source.names[block.number], block.counters()
            source.told.add(block.number)
            self.counters[name] = self.counters.get(name, Counters()) + counters
            if counters.comment:
                self.turns.append(Turn(stream, name, counters.comment))
            self._ends.append(block.renumbered(source.numbers[block.number]))

    def due(self, now: float) -> bytes:
        """What has waited long enough."""
        return b"".join(self._due(now))

    def _due(self, now: float) -> Iterator[bytes]:
        """With a frame that has waited long enough go all that are older, so that none waits longer, whatever comes."""
        while self._arrived and self._arrived[0][0] + self._window <= now:
            _arrived, *last = self._arrived.popleft()
            while self._waiting and list(self._waiting[0][:2]) <= last and not self.enough:
                self.written += 1
                yield heapq.heappop(self._waiting)[2]

    def wait(self, now: float) -> float | None:
        """Seconds until something is due; None if nothing waits."""
        return max(0.0, self._arrived[0][0] + self._window - now) if self._arrived else None

    def begun(self, stream: int) -> bool:
        """Whether a stream has said at what it captures from its beginning on."""
        return self._streams[stream].begun

    def listening(self, stream: int) -> int:
        """How many interfaces of a stream have not ended."""
        source = self._streams[stream]
        return len(source.numbers) - len(source.told)

    def complete(self, stream: int) -> bool:
        """Whether a stream has told of all its interfaces how they ended: if not, it was cut short."""
        return bool(self._streams[stream].numbers) and not self.listening(stream)

    def end(self) -> bytes:
        """All that still waits, and how each interface ended: the end of the file."""
        return b"".join((*self._due(float("inf")), *self._ends))
