"""Sends every class of frame over a LAN and says what became of each.

Sender and receiver may be different processes on different nodes: all they share is a ``Probe``, a small value from
which both build the same frames. What the sender has sent (``sending``) and the receiver has got (``Collector``) are
values too, and ``judge`` makes the verdict of them, wherever they have been brought together. ``cross`` does all of
it for two endpoints in one process, and only there latencies mean anything: they need one clock.
"""

from __future__ import annotations

import enum
import os
import secrets
import select
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k8slan_cli.probe.frames import CLASSES, MARK, TOKEN_BYTES, FrameClass, difference, token_in

if TYPE_CHECKING:  # a workstation judges what endpoints have seen, and has none
    from k8slan_cli.probe.endpoint import Endpoint

_TOKEN = struct.Struct(">4s8sHH")  # MARK, the probe's id, the number of the class, which of its frames
_BY_KEY = {c.key: number for number, c in enumerate(CLASSES)}
_DEADLINE = 1.0  # seconds; a LAN takes less than a thousandth of that, and a busy machine may take its time
_MOMENT = 0.002  # seconds


class Verdict(enum.StrEnum):
    """What became of a class of frames."""

    PASSED = "passed"
    CHANGED = "changed"
    DUPLICATED = "duplicated"
    DROPPED = "dropped"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Which frames to send. The same value on both sides makes the same frames.

    ``src`` and ``dst`` are the MAC addresses of sender and receiver (6 bytes), ``mtu`` is the LAN's in bytes,
    ``count`` how many frames of each class are sent, ``keys`` the classes (``frames.CLASSES``), ``id`` 8 bytes that
    tell one probe from another.
    """

    src: bytes
    dst: bytes
    mtu: int
    count: int = 3
    keys: tuple[str, ...] = tuple(_BY_KEY)
    id: bytes = field(default_factory=lambda: secrets.token_bytes(8))

    def __len__(self) -> int:
        return len(self.keys) * self.count

    def frame(self, key: str, number: int) -> bytes:
        """The ``number``-th frame of a class, from 0."""
        return self.frame_class(key).build(self.src, self.dst, self.token(key, number), self.mtu)

    def frame_class(self, key: str) -> FrameClass:
        """The class with that key."""
        return CLASSES[_BY_KEY[key]]

    def token(self, key: str, number: int) -> bytes:
        """What the ``number``-th frame of a class carries, to be known by."""
        return _TOKEN.pack(MARK, self.id, _BY_KEY[key], number)

    def which(self, token: bytes) -> tuple[str, int] | None:
        """The class and number of a token; None if another probe sent it."""
        if len(token) != TOKEN_BYTES:
            return None
        _mark, run, position, number = _TOKEN.unpack(token)
        if run != self.id or position >= len(CLASSES) or number >= self.count:
            return None
        return (CLASSES[position].key, number)


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame that has been sent, and when (``time.monotonic_ns``), or the words of the kernel that refused it."""

    key: str
    number: int
    at: int
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame that has come in: when (``time.monotonic_ns``), and how it differs from the one sent, "" if not."""

    key: str
    number: int
    at: int
    difference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """What became of the frames of one class: how many were ``sent``, how many of these ``arrived``.

    ``extra`` counts those that came more than once; ``detail`` says what went wrong, "" if nothing did; ``latency``
    is the median in microseconds, None if nothing came or the clocks are not the same.
    """

    key: str
    verdict: Verdict
    sent: int
    arrived: int
    extra: int = 0
    detail: str = ""
    latency: float | None = None

    @property
    def ok(self) -> bool:
        """Whether each frame arrived once, byte for byte."""
        return self.verdict is Verdict.PASSED


# ---------------------------------------------------------------- one side each


def sending(endpoint: Endpoint, probe: Probe) -> Iterator[Sent]:
    """Send the frames one by one. The caller sets the pace: it asks for the next when there is room for it."""
    for number in range(probe.count):
        for key in probe.keys:
            frame = probe.frame(key, number)
            at = time.monotonic_ns()
            try:
                endpoint.send(frame)
            except OSError as error:
                yield Sent(key, number, at, os.strerror(error.errno) if error.errno else str(error))
            else:
                yield Sent(key, number, at)


class Collector:
    """Knows a probe's frames among all that an endpoint receives."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.arrivals: list[Arrival] = []
        self._seen: set[tuple[str, int]] = set()

    @property
    def complete(self) -> bool:
        """Whether every frame has come at least once."""
        return len(self._seen) == len(self.probe)

    def take(self, endpoint: Endpoint) -> None:
        """Take what has come in; called when the endpoint is readable, or at any time.

        Raises:
            KernelError: the interface has gone down.

        """
        for received in endpoint.receive():
            token = token_in(received.frame)
            which = self.probe.which(token) if token else None
            if which is None:
                continue
            self._seen.add(which)
            changed = difference(self.probe.frame(*which), received.frame)
            self.arrivals.append(Arrival(*which, received.at, changed))

    def wait(self, endpoint: Endpoint, seconds: float, *, only: Iterable[tuple[str, int]] | None = None) -> None:
        """Take what comes in until every frame is there, or those of ``only``, or ``seconds`` are over.

        Raises:
            KernelError: the interface has gone down.

        """
        wanted = {(key, n) for key in self.probe.keys for n in range(self.probe.count)} if only is None else set(only)
        waiting = select.poll()
        waiting.register(endpoint.fileno(), select.POLLIN)
        until = time.monotonic() + seconds
        self.take(endpoint)
        while not wanted <= self._seen:
            left = until - time.monotonic()
            if left <= 0:
                return
            waiting.poll(left * 1000)
            self.take(endpoint)


# ---------------------------------------------------------------- both together


def judge(
    probe: Probe, sent: Iterable[Sent], arrivals: Iterable[Arrival], *, one_clock: bool = False
) -> tuple[ClassResult, ...]:
    """The verdict on each class, in the order of ``probe.keys``."""
    sent_of: dict[str, list[Sent]] = {key: [] for key in probe.keys}
    came: dict[str, list[Arrival]] = {key: [] for key in probe.keys}
    for one in sent:
        sent_of[one.key].append(one)
    for arrival in arrivals:
        came[arrival.key].append(arrival)
    return tuple(_result(key, sent_of[key], came[key], one_clock) for key in probe.keys)


def _result(key: str, sent: list[Sent], came: list[Arrival], one_clock: bool) -> ClassResult:
    import statistics

    first = {a.number: a for a in reversed(came)}
    refused = [s.refused for s in sent if s.refused]
    changed = [a.difference for a in came if a.difference]
    extra = len(came) - len(first)
    out = len(sent) - len(refused)
    latencies = [(first[s.number].at - s.at) / 1000 for s in sent if s.number in first]
    if refused:
        verdict, detail = Verdict.UNSENT, f"not sent: {refused[0]}"
    elif len(first) < out:
        verdict, detail = Verdict.DROPPED, "" if not first else f"{out - len(first)} of {out} dropped"
    elif changed:
        verdict, detail = Verdict.CHANGED, changed[0]
    elif extra:
        verdict, detail = Verdict.DUPLICATED, f"{len(came)} came of {out}"
    else:
        verdict, detail = Verdict.PASSED, ""
    return ClassResult(
        key=key,
        verdict=verdict,
        sent=out,
        arrived=len(first),
        extra=extra,
        detail=detail,
        latency=statistics.median(latencies) if one_clock and latencies else None,
    )


def cross(sender: Endpoint, receiver: Endpoint, probe: Probe, *, seconds: float = _DEADLINE) -> tuple[ClassResult, ...]:
    """Send a probe from one endpoint to another; wait at most ``seconds`` after the last frame.

    Each frame gets a moment to arrive before the next is sent, so that no queue overflows and no latency holds the
    time it took to send others. One that is late is still waited for at the end.

    Raises:
        KernelError: the receiver's interface has gone down.

    """
    collector, sent = Collector(probe), []
    for _old in receiver.receive():
        pass
    for one in sending(sender, probe):
        sent.append(one)
        if not one.refused:
            collector.wait(receiver, _MOMENT, only=[(one.key, one.number)])
    collector.wait(receiver, seconds, only=[(s.key, s.number) for s in sent if not s.refused])
    return judge(probe, sent, collector.arrivals, one_clock=True)
