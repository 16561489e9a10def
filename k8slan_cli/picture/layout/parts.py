"""The parts that are put into columns, what joins them, and which of them hang together.

A part is a device's box, a bus, or a bundle of wires to many; who is in a grid belongs to the part of the grid. Parts
and their leads are filled in step by step: ranks.py says in which column they are, spacing.py where exactly. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from k8slan_cli.picture.layout.grid import Grid, Member
from k8slan_cli.picture.layout.measures import CHAR, CROWD, HEAD, PORT, Style
from k8slan_cli.picture.topology import Device, End, Segment, Topology
from k8slan_cli.picture.words import bus_name, end_words


@dataclass(slots=True, eq=False)
class Part:
    """A box, a bus, a bundle ``of`` a device, or a place where wires pass, which has no key.

    It is in the column of its rank; ``y`` is its middle, and at first only its order in the column.
    """

    key: str = ""
    width: float = 0
    height: float = 0
    device: Device | None = None
    segment: Segment | None = None
    of: Device | None = None
    grid: Grid = field(default_factory=Grid)
    rank: int = 0
    x: float = 0
    y: float = 0
    left: list[Lead] = field(default_factory=list)
    right: list[Lead] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Lead:
    """One side of a wire at a part: where it leaves, and what is said there. ``other`` is that at its other side."""

    part: Part
    text: str = ""
    ill: bool = False
    y: float = 0
    other: Lead | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """What joins two parts, by their keys: a LAN, or None for a bundle; its ends are in the order of the parts."""

    one: str
    two: str
    segment: Segment | None = None
    ends: tuple[End, ...] = ()

    @property
    def turned(self) -> Join:
        """Return the same from the other side."""
        return replace(self, one=self.two, two=self.one, ends=self.ends[::-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A wire, or a bundle that has no segment: its leads in the order of its way, from left to right."""

    segment: Segment | None
    ends: tuple[End, ...]
    leads: tuple[Lead, ...]


def parts_of(topology: Topology, style: Style) -> dict[str, Part]:
    """Return boxes, buses and bundles by their keys, without who is in a grid."""
    joined: dict[str, list[Segment]] = {}
    for segment in topology.lans:
        for end in segment.ends:
            joined.setdefault(end.device, []).append(segment)
    devices = {device.key: device for device in topology.devices}
    parts: dict[str, Part] = {}
    hosts: dict[str, list[Member]] = {}
    for segment in topology.lans:
        alone = [
            Member(device=devices[end.device], segment=segment, end=end)
            for end in segment.ends
            if len(joined[end.device]) == 1
        ]
        if not segment.line:
            parts[segment.key] = _bus(segment, alone, style)
        elif len(alone) == 1:
            near = next(end for end in segment.ends if end is not alone[0].end)
            hosts.setdefault(near.device, []).append(replace(alone[0], near=near))
    for key, members in hosts.items():
        if len(members) > style.hosts:
            grid = Grid.of(members, style)
            bundle = Part(key=f"bundle:{key}", width=grid.width, height=grid.height, of=devices[key], grid=grid)
            parts[bundle.key] = bundle
    crowded = {member.device.key for part in parts.values() for member in part.grid.members}
    for device in topology.devices:
        if device.key not in crowded:
            parts[device.key] = Part(key=device.key, width=style.width(device), height=style.height, device=device)
    return parts


def _bus(segment: Segment, alone: Sequence[Member], style: Style) -> Part:
    """Return a bus, with a grid of those that are on it ``alone``, if they are many."""
    grid = Grid.of(alone, style) if len(alone) > CROWD else Grid()
    width = max(len(bus_name(segment)) * CHAR, grid.width)
    return Part(key=segment.key, width=width, height=HEAD + max(2 * PORT, grid.height), segment=segment, grid=grid)


def joins_of(topology: Topology, parts: Mapping[str, Part]) -> Iterator[Join]:
    """Return what joins parts, without what is drawn in a grid."""
    for segment in topology.lans:
        if segment.line:
            one, two = segment.ends
            if one.device in parts and two.device in parts:
                yield Join(one=one.device, two=two.device, segment=segment, ends=(one, two))
            continue
        for end in segment.ends:
            if end.device in parts:
                yield Join(one=end.device, two=segment.key, segment=segment, ends=(end,))
    for part in parts.values():
        if part.of:
            yield Join(one=part.of.key, two=part.key)


def ways_along(chain: Sequence[Part], joins: Iterable[Join], style: Style) -> Iterator[Way]:
    """Return the ways of what joins the first of a chain to its last, and give each part of it leads."""
    for join in joins:
        leads: list[Lead] = []
        for at, part in enumerate(chain):
            sides = [part.left] * (at > 0) + [part.right] * (at < len(chain) - 1)
            for side in sides:
                lead = Lead(part)
                if part.device is not None and join.segment is not None:
                    end = next(end for end in join.ends if end.device == part.device.key)
                    lead.text, lead.ill = end_words(end, join.segment, named=style.named)
                side.append(lead)
                leads.append(lead)
        for one, two in zip(leads[::2], leads[1::2], strict=True):
            one.other, two.other = two, one
        yield Way(segment=join.segment, ends=join.ends, leads=tuple(leads))


def components(parts: Mapping[str, Part], joins: Sequence[Join]) -> Iterator[tuple[list[Part], list[Join]]]:
    """Return what hangs together, each in the order of ``parts``, and what joins it."""
    beside = neighbours(parts, joins)
    seen: set[str] = set()
    for key in parts:
        if key not in seen:
            reached = distances([key], beside)
            seen |= reached.keys()
            yield (
                [part for part in parts.values() if part.key in reached],
                [join for join in joins if join.one in reached],
            )


def neighbours(parts: Iterable[str], joins: Iterable[Join]) -> dict[str, list[str]]:
    """Return the keys of all that are joined to each part."""
    beside: dict[str, list[str]] = {key: [] for key in parts}
    for join in joins:
        beside[join.one].append(join.two)
        beside[join.two].append(join.one)
    return beside


def distances(sources: Iterable[str], beside: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return how many steps each part that can be reached is from the nearest of the sources."""
    found = dict.fromkeys(sources, 0)
    queue = deque(found)
    while queue:
        key = queue.popleft()
        for other in beside[key]:
            if other not in found:
                found[other] = found[key] + 1
                queue.append(other)
    return found
