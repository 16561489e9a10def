"""What a LAN wants of single links: pulled out or not, and how much worse than a cable each direction is.

A link is a spoke, or ``namespace/pod:interface`` on a dynamic LAN. Quantities are read as people write them, each in
one unit inside: microseconds, millionths, bits a second, bytes. Pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from k8slan_cli.errors import Problem
from k8slan_cli.lan import names

WHOLE = 1_000_000
"""Certain, of probabilities in millionths."""
MAX_DELAY = 60_000_000
MAX_JITTER = 2_000_000
"""The kernel has it in nanoseconds, in 31 bits, and takes a larger one for another (net/sched/sch_netem.c)."""
MIN_RATE, MAX_RATE = 1_000, 32_000_000_000
"""Bits a second; the kernel's own field has 32 bits for bytes a second (struct tc_ratespec, pkt_sched.h)."""
MAX_BURST = 1 << 30
MAX_BURST_SECONDS = 274
"""How long a burst takes at its rate: the kernel has that time in 32 bits, in units of 64 ns (struct tc_tbf_qopt)."""
MAX_LIMIT = 100_000
"""Frames that may wait at a link, in one direction: they take the node's memory."""
MAX_LINKS = 2048

_NUMBER = r"[0-9]{1,9}([.][0-9]{1,6})?"
_DURATIONS = {"us": 1, "ms": 1_000, "s": 1_000_000}
_PERCENT = {"%": WHOLE // 100}
_RATES = {"bit": 1, "kbit": 1_000, "Mbit": 1_000_000, "Gbit": 1_000_000_000}
_SIZES = {"B": 1, "kB": 1_000, "KiB": 1 << 10, "MB": 1_000_000, "MiB": 1 << 20}


class State(enum.StrEnum):
    """What a link can be."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What is done to frames in one direction of a link; nothing, as it is by default.

    ``delay``, ``jitter``  microseconds: each frame is late by ``delay``, give or take up to ``jitter``
    ``correlation``        how much a frame's jitter depends on that of the frame before it, in millionths
    ``loss``, ``duplicate``, ``corrupt``  probabilities in millionths: of a frame to vanish, to come twice, to have a
                           wrong bit
    ``reorder``            the probability in millionths of a frame not to be delayed, so that it overtakes others
    ``rate``               bits a second, of whole Ethernet frames without preamble and checksum
    ``burst``              bytes that may pass at once, at any speed, after a silence
    ``limit``              frames that may wait; those that find no place are lost
    """

    delay: int = 0
    jitter: int = 0
    correlation: int = 0
    loss: int = 0
    duplicate: int = 0
    corrupt: int = 0
    reorder: int = 0
    rate: int = 0
    burst: int = 0
    limit: int = 0

    @property
    def words(self) -> str:
        """For people: ``delay 20ms, loss 1%``; "" for nothing."""
        return ", ".join(f"{name} {text}" for name, text in written(self).items())


CLEAN = Impairment()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What is wanted of a link until a time: RFC 3339, "" for good."""

    down: bool = False
    to_pod: Impairment = CLEAN
    from_pod: Impairment = CLEAN
    until: str = ""

    def ends(self) -> float | None:
        """When it is over, in seconds since the epoch; None for never."""
        return moment(self.until).timestamp() if self.until else None

    @property
    def words(self) -> str:
        """For people, whether it is down or not: ``delay 20ms to pod; rate 1Mbit from pod``, "" for nothing."""
        if self.to_pod == self.from_pod:
            return self.to_pod.words
        told = ((self.to_pod, "to pod"), (self.from_pod, "from pod"))
        return "; ".join(f"{impairment.words} {way}" for impairment, way in told if impairment != CLEAN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """The most that a pod may get and send, in bits a second, each with its burst in bytes; 0: as much as there is.

    It comes with the pod's attachment, by the capability ``bandwidth`` (CNI conventions).
    """

    to_pod: int = 0
    to_pod_burst: int = 0
    from_pod: int = 0
    from_pod_burst: int = 0

    @property
    def words(self) -> str:
        """The rates for people, as ``Link.words``."""
        return Link(to_pod=Impairment(rate=self.to_pod), from_pod=Impairment(rate=self.from_pod)).words


UNLIMITED = Bandwidth()

Links = tuple[tuple[str, Link], ...]
"""Links by name, in the order of names."""


def due(links: Links, now: float) -> Links:
    """Return the links whose time is not over at ``now``, in seconds since the epoch."""
    return tuple((name, link) for name, link in links if (ends := link.ends()) is None or ends > now)


def next_end(links: Links) -> float | None:
    """Return when the first of the links is over, in seconds since the epoch; None if none ever is."""
    return min((ends for _, link in links if (ends := link.ends()) is not None), default=None)


# ---------------------------------------------------------------- quantities


def moment(text: str) -> datetime:
    """Return a time as RFC 3339 writes it. Raises ValueError."""
    found = datetime.fromisoformat(text.upper())  # RFC 3339, 5.6: t and z may be small
    if found.tzinfo is None:
        raise ValueError(text)
    try:
        return found.astimezone(UTC)
    except OverflowError as error:  # in the first or the last hours that a datetime has
        raise ValueError(text) from error


@dataclass(frozen=True, slots=True)
class Quantity:
    """How a property is written, its bounds, and what it means, as schema and reference say it."""

    units: Mapping[str, int]
    example: str
    bounds: str
    least: int
    most: int
    meaning: str

    @property
    def fault(self) -> str:
        """What to say of a text that is not written so."""
        return f"is not written as {self.example}; units are {', '.join(self.units)}"

    @property
    def pattern(self) -> str:
        """The pattern that a schema has: units are taken in capitals or not."""
        any_case = "|".join("".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in u) for u in self.units)
        return f"^{_NUMBER}({any_case})$"

    def read(self, text: str) -> int | str:
        """Return the value, or why it is none."""
        found = re.fullmatch(f"({_NUMBER})({'|'.join(self.units)})", text, re.IGNORECASE | re.ASCII)
        if not found:
            return f"{names.shown(text)} {self.fault}"
        unit = next(size for name, size in self.units.items() if name.lower() == found[3].lower())
        value = round(float(found[1]) * unit)
        if not self.least <= value <= self.most:
            return f"{text} is not in {self.bounds}"
        return value

    def write(self, value: int) -> str:
        """Return a value in the unit in which it is shortest, and at least one of it."""
        least = min(self.units.values())
        texts = [
            f"{value / size:.6f}".rstrip("0").rstrip(".") + name
            for name, size in self.units.items()
            if value >= size or size == least
        ]
        return min((text for text in texts if self.read(text) == value), key=len, default=texts[0])


def _time(example: str, meaning: str, most: int) -> Quantity:
    return Quantity(_DURATIONS, example, f"0us..{most // 1_000_000}s", 0, most, meaning)


def _chance(example: str, meaning: str) -> Quantity:
    return Quantity(_PERCENT, example, "0%..100%", 0, WHOLE, meaning)


QUANTITIES: Mapping[str, Quantity] = {
    "delay": _time("10ms", "How late each frame is; 60s at the most.", MAX_DELAY),
    "jitter": _time(
        "2ms", "How much earlier or later than the delay a frame may be; at the most the delay, and 2s.", MAX_JITTER
    ),
    "correlation": _chance(
        "25%", "How much the jitter of a frame depends on that of the frame before it: 0% not at all."
    ),
    "loss": _chance("0.1%", "The probability of a frame to be lost."),
    "duplicate": _chance("0.1%", "The probability of a frame to come twice."),
    "corrupt": _chance("0.1%", "The probability of a frame to have a wrong bit."),
    "reorder": _chance("5%", "The probability of a frame not to be delayed, and so to overtake others."),
    "rate": Quantity(
        _RATES,
        "100Mbit",
        "1kbit..32Gbit",
        MIN_RATE,
        MAX_RATE,
        "Bits a second, of whole Ethernet frames without preamble and checksum; 1kbit to 32Gbit.",
    ),
    "burst": Quantity(
        _SIZES,
        "32kB",
        "1B..1024MiB",
        1,
        MAX_BURST,
        "How much may pass at any speed after a silence; at least a frame, at the most 274 s of the rate. "
        "Default: 4 ms of the rate, or two frames.",
    ),
}
PROPERTIES = tuple(field.name for field in fields(Impairment))


def read(name: str, value: object) -> int | str:
    """Return the value of a property as a document has it, or why it is none."""
    if name == "limit":
        if isinstance(value, bool) or not isinstance(value, int):
            return "must be a whole number of frames"
        return value if 1 <= value <= MAX_LIMIT else f"{value:.20g} is not in 1..{MAX_LIMIT}"
    if not isinstance(value, str):
        return f"must be text such as {QUANTITIES[name].example}"
    return QUANTITIES[name].read(value)


def written(impairment: Impairment) -> dict[str, Any]:
    """Return the properties that are set, as a document has them."""
    found = {name: getattr(impairment, name) for name in PROPERTIES}
    return {name: value if name == "limit" else QUANTITIES[name].write(value) for name, value in found.items() if value}


def document(link: Link) -> dict[str, Any]:
    """Return a link as a document has it."""
    found: dict[str, Any] = {"state": "down"} if link.down else {}
    if link.until:
        found["until"] = link.until
    if link.to_pod == link.from_pod:
        return found | written(link.to_pod)
    ways = (("toPod", link.to_pod), ("fromPod", link.from_pod))
    return found | {way: written(impairment) for way, impairment in ways if impairment != CLEAN}


# ---------------------------------------------------------------- rules


def field(name: str) -> str:
    """Return the path of a link in the document."""
    return f"spec.links[{name if name.isprintable() and len(name) < names.MAX_SUBDOMAIN else names.shown(name)}]"


def faults(name: str, link: Link) -> list[Problem]:
    """Return what is wrong with a link in itself."""
    same = link.to_pod == link.from_pod
    ways = {field(name): link.to_pod} if same else {}
    ways = ways or {f"{field(name)}.toPod": link.to_pod, f"{field(name)}.fromPod": link.from_pod}
    return [
        Problem(field=f"{path}.{which}", message=message)
        for path, wanted in ways.items()
        for which, message in _faults(wanted).items()
    ]


def _faults(wanted: Impairment) -> dict[str, str]:
    found: dict[str, str] = {}
    if wanted.jitter > wanted.delay:
        delay = QUANTITIES["delay"].write(wanted.delay)
        found["jitter"] = f"is more than the delay, {delay}: frames cannot come before they were sent"
    if wanted.correlation and not wanted.jitter:
        found["correlation"] = "is of the jitter: set jitter too"
    if wanted.reorder and not wanted.delay:
        found["reorder"] = "is of delayed frames: set delay too"
    if wanted.limit and not (wanted.delay or wanted.rate):
        found["limit"] = "is of frames that wait: set delay or rate too"
    if wanted.burst and not wanted.rate:
        found["burst"] = "is of the rate: set rate too"
    elif wanted.burst * 8 > wanted.rate * MAX_BURST_SECONDS:
        most = QUANTITIES["burst"].write(wanted.rate * MAX_BURST_SECONDS // 8)
        found["burst"] = f"is more than the rate sends in {MAX_BURST_SECONDS} s, {most}"
    return found
