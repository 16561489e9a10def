"""From what is wanted of a link to how frames are kept back at its port, in numbers that a kernel tells as it was told.

tbf before netem where both are wanted: tbf takes packets apart that are larger than its burst (a pod's kernel sends up
to 64 KB at once), so that netem delays and loses frames. All frames of a direction wait in one queue.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from k8slan_cli.lan.links import CLEAN, WHOLE, Bandwidth, Impairment, Link
from k8slan_cli.plan.state import UNSHAPED, Queue, Shaping

_TICK = 64
"""Nanoseconds, in which tbf counts its burst (PSCHED_SHIFT, net/pkt_sched.h)."""
_MOST = (1 << 32) - 1
"""The largest number that tbf takes: of ticks, and of bytes that wait."""
_HEADERS = 22
"""Ethernet's header and two VLAN tags: how much larger than the MTU a frame can be."""
_LIMIT = 10_000
"""Frames that may wait without a rate: at 100 ms, 100,000 a second. A frame takes some 2 kB of the node's memory."""
_SMALL_FRAME = 512
_WAIT = 100_000
"""Microseconds that a frame waits at the most because of the rate, in a queue of frames of that size."""
_FEWEST = 100
_LATE = 4_000
"""Microseconds that a timer of a busy machine may be late; with less of a burst the rate is not reached then."""


def ticks(rate: int, burst: int) -> int:
    """Return a burst of bytes as tbf has it: the time that it takes at the rate."""
    return -(-burst * 8_000_000_000 // (rate * _TICK))


def burst(rate: int, ticks: int) -> int:
    """Return the bytes that can be sent in a time; of a burst that was made so, ``ticks`` gives the same again."""
    return ticks * _TICK * rate // 8_000_000_000


def shaping(link: Link, bandwidth: Bandwidth, mtu: int) -> Shaping:
    """Return what is to be done at a port: the link is as slow as the slower of what either asks for."""
    to_pod = _queue(link.to_pod, bandwidth.to_pod, bandwidth.to_pod_burst, mtu)
    from_pod = _queue(link.from_pod, bandwidth.from_pod, bandwidth.from_pod_burst, mtu)
    if from_pod == Queue():
        return UNSHAPED if to_pod == Queue() else Shaping(to_pod=to_pod)
    return Shaping(to_pod=to_pod, from_pod=from_pod, led=True)


def _queue(wanted: Impairment, rate: int, wanted_burst: int, mtu: int) -> Queue:
    """Return how frames are kept back in one direction, at ``rate`` if that is less than is wanted."""
    if not rate or 0 < wanted.rate <= rate:
        rate, wanted_burst = wanted.rate, wanted.burst
    frame = mtu + _HEADERS
    rate -= rate % 8  # the kernel counts whole bytes
    shaped: dict[str, Any] = {}
    if rate:
        size = max(wanted_burst, frame) if wanted_burst else max(_bytes(rate, _LATE), 2 * frame)
        room = wanted.limit * frame or max(_bytes(rate, _WAIT), 10 * frame)
        shaped = {"rate": rate, "burst": burst(rate, min(ticks(rate, size), _MOST)), "room": min(room, _MOST)}
    impaired: dict[str, Any] = {
        name: getattr(wanted, name) for name in ("delay", "jitter", "loss", "duplicate", "corrupt", "reorder")
    }
    if any(impaired.values()):
        impaired |= {"memory": memory(wanted.jitter, wanted.correlation), "limit": wanted.limit or _limit(wanted, rate)}
    return Queue(**shaped, **impaired)


def memory(jitter: int, correlation: int) -> int:
    """Return what netem has to be told for each frame's jitter to depend on the one before as much as is wanted.

    netem makes each random number, of 32 bits, of the one before and of chance, in the proportion that it is told. Its
    remainder by the width of the jitter, in nanoseconds, is the jitter (net/sched/sch_netem.c, ``tabledist``). So a
    proportion of 90 % has no effect at all: the next number is anywhere in many such widths. If it is anywhere in
    ``apart`` of one width, the correlation of remainders is 1 - 1.5 apart + 0.5 apart².
    """
    if not correlation:
        return 0
    apart = 1.5 - sqrt(0.25 + 2 * correlation / WHOLE)
    return max(_MOST - round(apart * 2 * jitter * 1000), 0)


def _limit(wanted: Impairment, rate: int) -> int:
    """Return how many frames may wait for as long as the delay and the rate want it."""
    if not rate:
        return _LIMIT
    return min(max(_bytes(rate, wanted.delay + wanted.jitter + _WAIT) // _SMALL_FRAME, _FEWEST), _LIMIT)


def _bytes(rate: int, microseconds: int) -> int:
    return rate * microseconds // 8_000_000


def words(shape: Shaping) -> str:
    """For people: ``delay 20ms to pod``; what belongs to no link of a LAN, as its burst, is not told."""
    ways = ((shape.to_pod, "to pod"), (shape.from_pod or Queue(), "from pod"))
    told = [f"{text} {way}" for queue, way in ways if (text := _wanted(queue).words)]
    return "; ".join(told) or "nothing kept back"


def _wanted(queue: Queue) -> Impairment:
    if queue.foreign:
        return CLEAN
    names = ("rate", "delay", "jitter", "loss", "duplicate", "corrupt", "reorder")
    return Impairment(**{name: getattr(queue, name) for name in names})
