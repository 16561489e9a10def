"""Probes between places on different nodes: the half that tells two agents what to do and makes the verdict.

Latency across nodes needs one clock, and nodes have two. As frames go both ways, the clocks can be compared by them:
the fastest frame there and the fastest one back are taken to have been equally fast, and what is left over is the
difference of the clocks (as NTP does it, RFC 5905 section 8). So what is said of one way is half a guess; the sum of
both ways is measured.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.client import Call
from k8slan_cli.errors import K8slanError
from k8slan_cli.probe.run import Arrival, ClassResult, Probe, Sent, judge

_READY_SECONDS = 10.0
_SEND_SECONDS = 60.0
_LATE_SECONDS = 1.0
"""How long the last frames are waited for; a LAN takes less than a thousandth of that."""


class Site:
    """A session at one place; ``name`` is for people. A context, at whose end the session ends."""

    def __init__(self, name: str, node: str, call: Call) -> None:
        """Begin to listen to what the session says."""
        self.name = name
        self.node = node
        self.mac = b""
        self.mtu = 0
        self._call = call
        self._news = threading.Condition()
        self._expecting: set[str] = set()
        self._arrived: dict[str, list[Arrival]] = {}
        self._sent: dict[str, list[Sent]] = {}
        self._fault: K8slanError | None = None
        self._thread = threading.Thread(target=self._listen, name=f"session at {name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *exc: object) -> None:
        self._call.close()

    def _listen(self) -> None:
        fault = K8slanError(f"the session at {self.name} has ended")
        try:
            for event in self._call.events():
                with self._news:
                    self._take(event)
                    self._news.notify_all()
        except K8slanError as error:
            fault = error
        with self._news:
            self._fault = fault
            self._news.notify_all()

    def _take(self, event: dict[str, object]) -> None:
        match event:
            case {"ready": {"mac": str(mac), "mtu": int(mtu)}}:
                self.mac, self.mtu = bytes.fromhex(mac), mtu
            case {"expecting": str(id_)}:
                self._expecting.add(id_)
            case {"arrived": list(items)}:
                for id_, *item in items:
                    self._arrived.setdefault(id_, []).append(protocol.decode_arrival(item))
            case {"sent": {"id": str(id_), "frames": list(frames)}}:
                self._sent[id_] = [protocol.decode_sent(frame) for frame in frames]

    def _wait(self, what: str, condition: Callable[[], object], seconds: float) -> bool:
        until = time.monotonic() + seconds
        with self._news:
            while not condition():
                if self._fault:
                    raise K8slanError(f"{self.name}: {self._fault.message}", hint=self._fault.hint)
                left = until - time.monotonic()
                if left <= 0:
                    if what:
                        raise K8slanError(f"{self.name}: the agent of node {self.node} does not say that it {what}")
                    return False
                self._news.wait(left)
        return True

    def ready(self) -> None:
        """Wait until frames can be sent and received.

        Raises:
            K8slanError: they cannot be.

        """
        self._wait("is ready", lambda: self.mac, _READY_SECONDS)

    def expect(self, probe: Probe) -> None:
        """Have a probe's frames known when they come."""
        self._call.say(expect=protocol.encode_probe(probe))
        self._wait("expects frames", lambda: probe.id.hex() in self._expecting, _READY_SECONDS)

    def send(self, probe: Probe) -> list[Sent]:
        """Send a probe's frames; returns when all are sent."""
        id_ = probe.id.hex()
        self._call.say(send=protocol.encode_probe(probe))
        self._wait("has sent all frames", lambda: id_ in self._sent, _SEND_SECONDS)
        return self._sent[id_]

    def arrivals(self, probe: Probe, wanted: int, seconds: float = _LATE_SECONDS) -> list[Arrival]:
        """What has come of a probe, as soon as ``wanted`` different frames have, or ``seconds`` are over."""
        id_ = probe.id.hex()

        def complete() -> bool:
            return len({(a.key, a.number) for a in self._arrived.get(id_, ())}) >= wanted

        self._wait("", complete, seconds)
        return list(self._arrived.get(id_, ()))

    def forget(self, probe: Probe) -> None:
        """Expect a probe no more."""
        self._call.say(forget=probe.id.hex())


@dataclass(frozen=True, slots=True)
class Way:
    """What became of the frames from one place to another; ``nodes`` are those of both."""

    src: str
    dst: str
    results: tuple[ClassResult, ...]
    nodes: tuple[str, str]

    @property
    def ok(self) -> bool:
        """Whether every class passed."""
        return all(result.ok for result in self.results)


def cross(a: Site, b: Site, keys: Sequence[str], count: int) -> tuple[Way, Way]:
    """Send frames of the classes ``keys`` there and back, ``count`` of each.

    Raises:
        K8slanError: a place is gone, or its agent is.

    """
    mtu = min(a.mtu, b.mtu)
    there = Probe(src=a.mac, dst=b.mac, mtu=mtu, count=count, keys=tuple(keys))
    back = Probe(src=b.mac, dst=a.mac, mtu=mtu, count=count, keys=tuple(keys))
    b.expect(there)
    a.expect(back)
    sent_there, came_there = _send(a, b, there)
    sent_back, came_back = _send(b, a, back)
    b.forget(there)
    a.forget(back)
    offset = 0 if a.node == b.node else difference_of_clocks(sent_there, came_there, sent_back, came_back)
    return (
        Way(a.name, b.name, _judged(there, sent_there, came_there, offset), (a.node, b.node)),
        Way(b.name, a.name, _judged(back, sent_back, came_back, None if offset is None else -offset), (b.node, a.node)),
    )


def _send(src: Site, dst: Site, probe: Probe) -> tuple[list[Sent], list[Arrival]]:
    sent = src.send(probe)
    return sent, dst.arrivals(probe, sum(not one.refused for one in sent))


def _judged(probe: Probe, sent: Iterable[Sent], came: Iterable[Arrival], offset: int | None) -> tuple[ClassResult, ...]:
    by_our_clock = [dataclasses.replace(arrival, at=arrival.at - (offset or 0)) for arrival in came]
    return judge(probe, sent, by_our_clock, one_clock=offset is not None)


def difference_of_clocks(
    sent_there: Iterable[Sent], came_there: Iterable[Arrival], sent_back: Iterable[Sent], came_back: Iterable[Arrival]
) -> int | None:
    """How far the other side's clock is ahead, in nanoseconds; None if nothing came one way or the other."""
    there, back = _fastest(sent_there, came_there), _fastest(sent_back, came_back)
    return None if there is None or back is None else (there - back) // 2


def _fastest(sent: Iterable[Sent], came: Iterable[Arrival]) -> int | None:
    times = {(one.key, one.number): one.at for one in sent if not one.refused}
    taken = (a.at - times[a.key, a.number] for a in came if (a.key, a.number) in times)
    return min(taken, default=None)


BROADCAST = b"\xff" * 6
SMALL, FULL = "icmp", "full-size-vlan"
"""The classes that say most of an underlay: whether anything passes, and whether the largest frame does."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How many small and how many full-size frames of each ``sent`` came from one node to another."""

    src: str
    dst: str
    sent: int
    small: int
    full: int


def reach(sites: Sequence[Site], count: int = 3) -> list[Reached]:
    """Have every site send to all the others, each frame once for all of them; one entry for each ordered pair.

    Raises:
        K8slanError: a site is gone.

    """
    probes = [Probe(src=s.mac, dst=BROADCAST, mtu=s.mtu, count=count, keys=(SMALL, FULL)) for s in sites]
    for site in sites:
        for other, probe in zip(sites, probes, strict=True):
            if other is not site:
                site.expect(probe)
    for site, probe in zip(sites, probes, strict=True):
        site.send(probe)
    until = time.monotonic() + _LATE_SECONDS
    found: list[Reached] = []
    for receiver in sites:
        for sender, probe in zip(sites, probes, strict=True):
            if sender is receiver:
                continue
            came = {(a.key, a.number) for a in receiver.arrivals(probe, len(probe), max(0.0, until - time.monotonic()))}
            small, full = (sum(key == wanted for key, _ in came) for wanted in (SMALL, FULL))
            found.append(Reached(sender.node, receiver.node, count, small, full))
    return found
