"""Where devices, LANs and wires go in a picture of a topology: columns from left to right, wires between them.

::

    ┌──────┐ eth1       eth1 ┌──────┐ eth2     ┃ blue      a LAN of two is a wire, any other a bus: a bar
    │ core ├─────────────────┤ leaf ├──────────┨           with a name, and a grid of those that are on it alone
    └──────┘                 └──────┘          ┃           and are many

Those that are joined to one device alone, and are many, are a grid too, at a bundle of their wires.

Which column each goes to, its place in the column, and the ways of wires that pass columns are fast-sugiyama's; this
adds what it does not know: heights of boxes, room for the names of interfaces, and LANs of many. Lengths are in
pixels. Pure.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from k8slan_cli.picture.topology import (
    ATTACHED,
    DOWN,
    HOST,
    READY,
    UNKNOWN,
    UP,
    VM,
    WAITING,
    Device,
    End,
    Segment,
    Topology,
)

CHAR, SMALL, LINE, PORT = 7.3, 6.7, 16, 16
"""Widths of a character of names and of other words, height of a line, of a wire at a box."""
PAD, BOX, LOW, HEAD = 10, 44, 24, 22
"""Space beside words in a box, heights of a box of two lines and of one, height of a bus's name."""
LONGEST, LONGEST_LABEL = 24, 44
"""Characters of a name and of what stands at a wire's end; longer ones lose their middle."""
CROWD = 12
"""So many that are on one LAN alone are drawn as a grid."""
MANY = 60
"""From so many devices on, boxes have one line."""
_GAP, _SLANT, _STUB = 12, 40, 10
_WIDE = 1232  # pixels that parts beside each other may take: a laptop's window
_LANDSCAPE = 2.0  # how much wider than high a grid is to be
_SWEEPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Words at an end of a wire; ``ill`` of something that is wrong."""

    x: float
    y: float
    text: str
    right: bool = False
    ill: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A device; ``x`` and ``y`` are its left upper corner."""

    device: Device
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A LAN of two, or an end of a bus: its way as points, and how it is. ``ends`` are its one or two ends."""

    segment: Segment
    ends: tuple[End, ...]
    points: tuple[tuple[float, float], ...]
    labels: tuple[Label, ...]

    @property
    def state(self) -> str:
        """Return ``up``, ``down`` or ``waiting``."""
        links = {end.link for end in self.ends}
        return next(state for state in (DOWN, WAITING, UP) if state in links)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """A LAN that is no wire: straight thick lines, and its name, which begins at ``x`` and stands on ``y``."""

    segment: Segment
    x: float
    y: float
    bars: tuple[tuple[tuple[float, float], tuple[float, float]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The wires of a device to many that are joined to it alone: the way of all of them, and where they leave it."""

    device: Device
    points: tuple[tuple[float, float], ...]
    bars: tuple[tuple[tuple[float, float], tuple[float, float]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole picture and its size."""

    width: float = 0
    height: float = 0
    boxes: tuple[Box, ...] = ()
    wires: tuple[Wire, ...] = ()
    buses: tuple[Bus, ...] = ()
    bundles: tuple[Bundle, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """Height of a box, the gap below it, and how many that are joined to a device alone are each drawn at it.

    ``named`` is whether lines have the names of their LANs: a lab's are made up.
    """

    box: float = BOX
    gap: float = _GAP
    hosts: int = CROWD
    named: bool = True

    @classmethod
    def of(cls, topology: Topology) -> _Style:
        if len(topology.devices) >= MANY:
            return cls(box=LOW, gap=6, hosts=3, named=False)
        return cls(named=not any(device.lab for device in topology.devices))

    def width(self, device: Device) -> float:
        first, second = len(title(device)) * CHAR, len(about(device)) * SMALL
        inside = max(first, second) if self.box == BOX else first + CHAR * bool(second) + second
        return inside + 2 * PAD


def place(topology: Topology) -> dict[str, tuple[float, float]]:
    """Return where the middle of each device is, by its key, and of each bus, by ``lan:NAMESPACE/NAME``; in pixels."""
    plan = arrange(topology)
    found = {box.device.key: (box.x + box.width / 2, box.y + box.height / 2) for box in plan.boxes}
    for bus in plan.buses:
        xs, ys = zip(*(point for bar in bus.bars for point in bar), strict=True)
        found[bus_key(bus.segment)] = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    return found


def bus_key(segment: Segment) -> str:
    """Return what a LAN is called among the keys of devices."""
    return f"lan:{segment.ref}"


# ---------------------------------------------------------------- words


def shown(text: str, longest: int = LONGEST) -> str:
    """Return a text, without its middle if it is too long: names differ at their ends."""
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[1 - longest // 2 :]}"


def title(device: Device) -> str:
    """Return what a device is called in its box."""
    return shown(device.name) + (f" ×{device.count}" if device.count > 1 else "")


def about(device: Device) -> str:
    """Return the second line of a device's box: what it is, and where."""
    what = {VM: "VM", HOST: "outside"}.get(device.kind, "")
    node = shown(device.node) if device.kind != HOST else ""
    return " · ".join(filter(None, (what, node, device.state if device.state != ATTACHED else "")))


def bus_name(segment: Segment) -> str:
    """Return what a bus is called, and what is wrong with it."""
    return shown(segment.name) + trouble(segment) + " (no attachments)" * (not segment.ends)


def trouble(segment: Segment) -> str:
    """Return what is wrong with a LAN, in its controller's word, after a space; "" of nothing."""
    return "" if segment.state in (READY, UNKNOWN) else f" {segment.state}"


def end_words(end: End, segment: Segment, *, named: bool = False) -> tuple[str, bool]:
    """Return what stands at an end of a wire, and whether something is wrong there.

    The first end of a line says if its LAN is not ready, and is to have its name too if that is to be ``named``.
    """
    first = segment.line and end is segment.ends[0]
    wrong = trouble(segment).strip() if first else ""
    lan = f"· {segment.name}" if first and named else ""
    words = ", ".join(filter(None, (end.impairment, end.note)))
    text = " ".join(filter(None, (end.interface, lan, wrong, words)))
    return shown(text, LONGEST_LABEL), bool(wrong or (end.note and end.link != WAITING))


# ---------------------------------------------------------------- parts of a picture


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """Who is in a grid, with its end; ``near`` is the other end, if it is joined to a device and not to a bus."""

    device: Device
    segment: Segment
    end: End
    near: End | None = None

    @property
    def words(self) -> tuple[tuple[str, bool], tuple[str, bool]]:
        """Return what stands at its box and at the bar, each with whether something is wrong."""
        near = end_words(self.near, self.segment) if self.near else ("", False)
        return end_words(self.end, self.segment), near


@dataclass(slots=True, eq=False)
class _Part:
    """A box, a bus, a bundle ``of`` a device, or a place where wires pass, which has no key.

    It is in the column of its rank; ``y`` is its middle.
    """

    key: str = ""
    width: float = 0
    height: float = 0
    device: Device | None = None
    segment: Segment | None = None
    of: Device | None = None
    crowd: tuple[_Member, ...] = ()
    rank: int = 0
    order: float = 0
    x: float = 0
    y: float = 0
    left: list[_Lead] = field(default_factory=list)
    right: list[_Lead] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Lead:
    """One side of a wire at a part: where it leaves, and what is said there. ``other`` is that at its other side."""

    part: _Part
    text: str = ""
    ill: bool = False
    y: float = 0
    other: _Lead | None = None


@dataclass(slots=True, eq=False)
class _Way:
    """A wire, or a bundle that has no segment: its leads in the order of its way, from left to right."""

    segment: Segment | None
    ends: tuple[End, ...]
    leads: list[_Lead]


def arrange(topology: Topology) -> Plan:
    """Return the picture of a topology."""
    style = _Style.of(topology)
    parts = _parts(topology, style)
    joins = list(_joins(topology, parts))
    plans = [_component(each, joins, style) for each in _components(parts, joins)]
    return _packed(plans)


def _parts(topology: Topology, style: _Style) -> dict[str, _Part]:
    """Return boxes, buses and bundles by their keys, without who is in a grid."""
    joined: dict[str, list[Segment]] = {}
    for segment in topology.lans:
        for end in segment.ends:
            joined.setdefault(end.device, []).append(segment)
    devices = {device.key: device for device in topology.devices}
    parts: dict[str, _Part] = {}
    crowded: set[str] = set()
    hosts: dict[str, list[_Member]] = {}
    for segment in topology.lans:
        alone = [
            _Member(device=devices[end.device], segment=segment, end=end)
            for end in segment.ends
            if len(joined[end.device]) == 1
        ]
        if segment.line:
            if len(alone) == 1:
                near = next(end for end in segment.ends if end is not alone[0].end)
                hosts.setdefault(near.device, []).append(replace(alone[0], near=near))
            continue
        part = _Part(key=bus_key(segment), segment=segment, crowd=tuple(alone) if len(alone) > CROWD else ())
        crowded.update(member.device.key for member in part.crowd)
        grid = _Grid.of(part, style)
        part.width = max(len(bus_name(segment)) * CHAR, grid.width)
        part.height = HEAD + max(2 * PORT, grid.height)
        parts[part.key] = part
    for key, members in hosts.items():
        if len(members) > style.hosts:
            crowded.update(member.device.key for member in members)
            part = _Part(key=f"bundle:{key}", of=devices[key], crowd=tuple(members))
            grid = _Grid.of(part, style)
            part.width, part.height = grid.width, grid.height
            parts[part.key] = part
    for device in topology.devices:
        if device.key not in crowded:
            parts[device.key] = _Part(key=device.key, width=style.width(device), height=style.box, device=device)
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Those that are on a bus alone, or at a device alone, in pairs of columns with a bar between them."""

    rows: int = 0
    pairs: int = 0
    box: float = 0
    lead: float = 0
    row: float = 0

    @classmethod
    def of(cls, part: _Part, style: _Style) -> _Grid:
        if not part.crowd:
            return cls()
        row = style.box + style.gap
        box = max(style.width(member.device) for member in part.crowd)
        words = [sum(len(text) for text, _ in member.words) + bool(member.near) for member in part.crowd]
        lead = max(words) * SMALL + 2 * _STUB
        pair = 2 * (box + lead) + _GAP
        most = max(1, int(_WIDE // pair))
        pairs = min(most, max(1, round(math.sqrt(_LANDSCAPE * len(part.crowd) * row / (2 * pair)))))
        return cls(rows=math.ceil(len(part.crowd) / (2 * pairs)), pairs=pairs, box=box, lead=lead, row=row)

    @property
    def width(self) -> float:
        return self.pairs * (2 * (self.box + self.lead) + _GAP) + 3 * _GAP if self.rows else 0

    @property
    def height(self) -> float:
        return self.rows * self.row + _GAP if self.rows else 0


_Join = tuple[str, str, Segment | None, tuple[End, ...]]
"""Keys of two parts, and what joins them, None for a bundle; the ends are in the order of the parts."""


def _joins(topology: Topology, parts: Mapping[str, _Part]) -> Iterator[_Join]:
    for segment in topology.lans:
        if segment.line:
            one, two = segment.ends
            if one.device in parts and two.device in parts:
                yield one.device, two.device, segment, (one, two)
            continue
        for end in segment.ends:
            if end.device in parts:
                yield end.device, bus_key(segment), segment, (end,)
    for part in parts.values():
        if part.of:
            yield part.of.key, part.key, None, ()


def _components(parts: Mapping[str, _Part], joins: Iterable[_Join]) -> list[list[_Part]]:
    """Return what hangs together, each in the order of ``parts``."""
    beside = _neighbours(parts, joins)
    seen: set[str] = set()
    found = []
    for key in parts:
        if key not in seen:
            reached = set(_distances([key], beside))
            seen |= reached
            found.append([part for part in parts.values() if part.key in reached])
    return found


def _neighbours(parts: Iterable[str], joins: Iterable[_Join]) -> dict[str, list[str]]:
    beside: dict[str, list[str]] = {key: [] for key in parts}
    for one, two, _, _ in joins:
        beside[one].append(two)
        beside[two].append(one)
    return beside


def _distances(sources: Iterable[str], beside: Mapping[str, Sequence[str]]) -> dict[str, int]:
    found = dict.fromkeys(sources, 0)
    queue = deque(found)
    while queue:
        key = queue.popleft()
        for other in beside[key]:
            if other not in found:
                found[other] = found[key] + 1
                queue.append(other)
    return found


# ---------------------------------------------------------------- a part that hangs together


def _component(parts: Sequence[_Part], joins: Iterable[_Join], style: _Style) -> Plan:
    by_key = {part.key: part for part in parts}
    own = [join for join in joins if join[0] in by_key]
    depth = _depths(by_key, own)
    pairs: dict[tuple[str, str], list[_Join]] = {}
    for one, two, segment, ends in own:
        if depth[two] < depth[one]:
            one, two, ends = two, one, ends[::-1]
        pairs.setdefault((one, two), []).append((one, two, segment, ends))
    chains = _ranked(by_key, pairs)
    ways = [way for pair, chain in chains.items() for way in _ways(pairs[pair], chain, style)]
    everything = list(dict.fromkeys([*parts, *(part for chain in chains.values() for part in chain)]))
    for part in everything:
        _grow(part)
    columns: list[list[_Part]] = [[] for _ in range(max(part.rank for part in everything) + 1)]
    for part in sorted(everything, key=lambda each: each.order):
        columns[part.rank].append(part)
    numbers = {part.key: number for number, part in enumerate(parts)}
    if _upside_down(columns, numbers):
        for part in everything:
            part.y = -part.y
        for column in columns:
            column.reverse()
    for column in columns:
        _in_order(column, numbers)
    _settle(columns, style)
    _across(columns)
    return _drawn(everything, ways, style)


def _in_order(column: list[_Part], numbers: Mapping[str, int]) -> None:
    """Put those of a column that have the same neighbours, so that it makes no difference, in the order of names."""
    alike: dict[frozenset[int], list[int]] = {}
    for place, part in enumerate(column):
        if part.key:
            alike.setdefault(
                frozenset(id(lead.other.part) for lead in part.left + part.right if lead.other), []
            ).append(place)
    for places in alike.values():
        ordered = sorted((column[place] for place in places), key=lambda part: numbers[part.key])
        for place, part, y in zip(places, ordered, [column[place].y for place in places], strict=True):
            column[place], part.y = part, y


def _upside_down(columns: Iterable[Sequence[_Part]], numbers: Mapping[str, int]) -> bool:
    """Return whether more neighbours in columns are against the order of names than with it."""
    found = 0
    for column in columns:
        order = [numbers[part.key] for part in column if part.key in numbers]
        found += sum(1 if one > two else -1 for one, two in itertools.pairwise(order))
    return found > 0


def _depths(parts: Mapping[str, _Part], joins: Sequence[_Join]) -> dict[str, tuple[int, int, int]]:
    """Return by key what goes from left to right: far from the edge of the network first, as people draw them.

    The edge is who has a single neighbour, or the fewest. Devices whose names differ in numbers alone (leaf1, leaf2)
    have one role, and are as far as the nearest of these. Of those that are as far, the way from the first one decides.
    """
    beside = {key: list(dict.fromkeys(others)) for key, others in _neighbours(parts, joins).items()}
    fewest = min(map(len, beside.values()))
    ends = [key for key, others in beside.items() if len(others) == fewest]
    # What is outside the cluster is at the edge of it, but may well be joined to the network's core.
    ends = [key for key in ends if not (device := parts[key].device) or device.kind != HOST] or ends
    if max(map(len, beside.values())) <= 2:  # a chain or a ring
        along = _distances(ends[:1], beside)
        return {key: (0, along[key], number) for number, key in enumerate(parts)}
    far = _by_role(parts, _distances(ends, beside))
    from_core = _by_role(parts, _distances([max(parts, key=lambda key: far[key])], beside))
    return {key: (-far[key], from_core[key], number) for number, key in enumerate(parts)}


def _by_role(parts: Mapping[str, _Part], distances: Mapping[str, int]) -> dict[str, int]:
    """Return distances with that of the nearest of its role for each."""
    nearest: dict[str, int] = {}
    for key, part in parts.items():
        nearest[_role(part)] = min(distances[key], nearest.get(_role(part), distances[key]))
    return {key: nearest[_role(part)] for key, part in parts.items()}


def _role(part: _Part) -> str:
    return re.sub("[0-9]+", "0", part.device.name) if part.device else part.key


def _ranked(
    parts: Mapping[str, _Part], pairs: Mapping[tuple[str, str], Sequence[_Join]]
) -> dict[tuple[str, str], list[_Part]]:
    """Give each part its column and its order in it; return by pair what a wire between the two passes, them too."""
    if not pairs:
        return {}
    from fast_sugiyama import from_edges

    keys = list(parts)
    numbers = {key: number for number, key in enumerate(keys)}
    edges = [(numbers[one], numbers[two]) for one, two in pairs]
    layout = from_edges(edges, dummy_vertices=True, ranking_type="minimize", crossing_minimization="barycenter")
    ((positions, _, _, steps),) = layout
    levels = {y: rank for rank, y in enumerate(sorted({y for _, (_, y) in positions}, reverse=True))}
    every: dict[int, _Part] = {}
    for each, (x, y) in positions:
        number = int(each)
        part = parts[keys[number]] if number < len(keys) else _Part()
        part.rank, part.order, part.y = levels[y], x, x
        every[number] = part
    after: dict[int, list[int]] = {}
    for one, two in steps or ():
        after.setdefault(int(one), []).append(int(two))
    chains = {}
    for start, end in edges:
        for step in after[start]:
            chain = [start, step]
            while chain[-1] >= len(keys):  # a place that the wire passes, which has one way on
                chain += after[chain[-1]]
            if chain[-1] == end:
                chains[keys[start], keys[end]] = [every[number] for number in chain]
                break
    return chains


def _ways(joins: Sequence[_Join], chain: Sequence[_Part], style: _Style) -> Iterator[_Way]:
    for _, _, segment, ends in joins:
        leads: list[_Lead] = []
        for at, part in enumerate(chain):
            sides = [part.left] * (at > 0) + [part.right] * (at < len(chain) - 1)
            for side in sides:
                lead = _Lead(part)
                if part.device is not None and segment is not None:
                    end = next(end for end in ends if end.device == part.device.key)
                    lead.text, lead.ill = end_words(end, segment, named=style.named)
                side.append(lead)
                leads.append(lead)
        for one, two in zip(leads[::2], leads[1::2], strict=True):
            one.other, two.other = two, one
        yield _Way(segment, ends, leads)


def _grow(part: _Part) -> None:
    """Make a part as high as its wires need."""
    wires = max(len(part.left), len(part.right))
    if not part.key:
        part.height = PORT * wires
    else:
        part.height = max(part.height, wires * PORT + (HEAD if part.segment else 8))


def _settle(columns: Sequence[Sequence[_Part]], style: _Style) -> None:
    """Give parts their heights in the picture: each where its neighbours are, as near as others let it."""
    for column in columns:
        _apart(column, [part.y for part in column], style.gap)
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for column in columns if forth else reversed(columns):
            wanted = []
            for part in column:
                leads = (part.left or part.right) if forth else (part.right or part.left)
                if sweep >= _SWEEPS - 2:
                    leads = part.left + part.right
                others = [lead.other.part.y for lead in leads if lead.other]
                wanted.append(sum(others) / len(others) if others else part.y)
            _apart(column, wanted, style.gap)
    for column in columns:
        for part in column:
            _order_leads(part)


def _apart(column: Sequence[_Part], wanted: Sequence[float], gap: float) -> None:
    """Put parts below each other without an overlap, as near to where they are wanted as can be.

    Least squares in a given order: neighbours that would overlap are moved together, by the mean of what they want.
    """
    offsets, at = [], 0.0
    for number, part in enumerate(column):
        at += (part.height + column[number - 1].height) / 2 + gap if number else 0
        offsets.append(at)
    blocks: list[tuple[float, int]] = []  # the sum of what is wanted, and of how many
    for want, offset in zip(wanted, offsets, strict=True):
        blocks.append((want - offset, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            (one, few), (two, more) = blocks[-2:]
            blocks[-2:] = [(one + two, few + more)]
    means = [total / count for total, count in blocks for _ in range(count)]
    for part, mean, offset in zip(column, means, offsets, strict=True):
        part.y = mean + offset


def _order_leads(part: _Part) -> None:
    """Give wires their places at a part, in the order of where they come from."""
    head = HEAD if part.segment else 0
    for side in (part.left, part.right):
        if part.key:
            side.sort(key=lambda lead: lead.other.part.y if lead.other else 0)
        middle = part.y + head / 2
        for number, lead in enumerate(side):
            lead.y = middle + (number - (len(side) - 1) / 2) * PORT


def _across(columns: Sequence[Sequence[_Part]]) -> None:
    """Give columns their places from left to right, with room for what stands at wires."""
    x = 0.0
    for number, column in enumerate(columns):
        width = max(part.width for part in column)
        before = max((_room(lead, part, width) for part in column for lead in part.left), default=0.0)
        x += before
        for part in column:
            part.x = x + (width - part.width) / 2
        x += width + max((_room(lead, part, width) for part in column for lead in part.right), default=0.0)
        if number < len(columns) - 1:
            x += _slant(column)


def _room(lead: _Lead, part: _Part, width: float) -> float:
    free = (width - part.width) / 2
    return max(_STUB, len(lead.text) * SMALL + 2 * 4 - free)


def _slant(column: Sequence[_Part]) -> float:
    """Return how wide a gap is to be in which wires go up and down: the more, the farther they do."""
    climbs = [abs(lead.other.y - lead.y) for part in column for lead in part.right if lead.other]
    return min(160.0, _SLANT + max(climbs, default=0.0) / 6)


# ---------------------------------------------------------------- what is drawn


def _drawn(parts: Sequence[_Part], ways: Sequence[_Way], style: _Style) -> Plan:
    boxes: list[Box] = []
    wires: list[Wire] = []
    buses: list[Bus] = []
    bars: dict[str, tuple[_Bar, ...]] = {}
    for part in parts:
        if part.device is not None:
            top = part.y - part.height / 2
            boxes.append(Box(device=part.device, x=part.x, y=top, width=part.width, height=part.height))
        elif part.key:
            more, crowd, bars[part.key] = _crowd(part, style)
            boxes += more
            wires += crowd
        if part.segment is not None:
            lines = bars[part.key]
            x = min(one for (one, _), _ in lines) - 3 if part.crowd else part.x
            top = part.y - part.height / 2 + HEAD
            buses.append(Bus(segment=part.segment, x=x, y=top - 8, bars=lines))
    columns: dict[int, tuple[float, float]] = {}
    for part in parts:
        left, right = columns.get(part.rank, (math.inf, -math.inf))
        columns[part.rank] = min(left, part.x), max(right, part.x + part.width)
    stubs: dict[tuple[int, bool], float] = {}
    for part in parts:
        for right, leads in ((False, part.left), (True, part.right)):
            for lead in leads:
                width = columns[part.rank][1] - columns[part.rank][0]
                room = _room(lead, part, width)
                stubs[part.rank, right] = max(stubs.get((part.rank, right), 0), room)
    bundles = []
    for way in ways:
        points, labels = _route(way, columns, stubs, style)
        if way.segment is not None:
            wires.append(Wire(segment=way.segment, ends=way.ends, points=points, labels=labels))
            continue
        part = next(lead.part for lead in way.leads if lead.part.of)
        if part.of:
            bundles.append(Bundle(device=part.of, points=points, bars=bars[part.key]))
    return _shifted(Plan(boxes=tuple(boxes), wires=tuple(wires), buses=tuple(buses), bundles=tuple(bundles)))


def _route(
    way: _Way, columns: Mapping[int, tuple[float, float]], stubs: Mapping[tuple[int, bool], float], style: _Style
) -> tuple[tuple[tuple[float, float], ...], tuple[Label, ...]]:
    """Return the way of a wire as points, and what stands at its ends."""
    points: list[tuple[float, float]] = []
    labels = []
    for number, lead in enumerate(way.leads):
        right = number % 2 == 0  # it leaves to the right, and arrives from the left
        rank = lead.part.rank
        edge = _edge(lead.part, style, right=right)
        border = columns[rank][1] + stubs[rank, True] if right else columns[rank][0] - stubs[rank, False]
        points += [(edge, lead.y), (border, lead.y)] if right else [(border, lead.y), (edge, lead.y)]
        if lead.text:
            x = edge + 4 if right else edge - 4
            labels.append(Label(x=x, y=lead.y - 3, text=lead.text, right=not right, ill=lead.ill))
    return tuple(points), tuple(labels)


def _edge(part: _Part, style: _Style, *, right: bool) -> float:
    """Return where wires touch a part."""
    if not part.key or part.device:
        return part.x + (part.width if right else 0)
    grid = _Grid.of(part, style)
    if not grid.rows:
        return part.x + part.width / 2
    return part.x + grid.width if right else part.x


_Bar = tuple[tuple[float, float], tuple[float, float]]
"""A straight thick line between two points."""


def _crowd(part: _Part, style: _Style) -> tuple[list[Box], list[Wire], tuple[_Bar, ...]]:
    """Return the bars of a bus or of a bundle, and who is in its grid."""
    head = HEAD if part.segment else 0
    top, bottom = part.y - part.height / 2 + head, part.y + part.height / 2
    grid = _Grid.of(part, style)
    if not grid.rows:
        x = part.x + part.width / 2
        return [], [], (((x, top), (x, bottom)),)
    pair = 2 * (grid.box + grid.lead) + _GAP
    middles = [part.x + 2 * _GAP + number * pair + grid.box + grid.lead for number in range(grid.pairs)]
    boxes, wires = [], []
    lowest = [top] * grid.pairs
    for number, member in enumerate(part.crowd):
        row, column = divmod(number, 2 * grid.pairs)
        at, right = divmod(column, 2)
        y = top + _GAP + row * grid.row
        bar = middles[at]
        x = bar + grid.lead if right else bar - grid.lead - grid.box
        boxes.append(Box(device=member.device, x=x, y=y, width=grid.box, height=style.box))
        edge, wire = (x, y + style.box / 2) if right else (x + grid.box, y + style.box / 2)
        (far, ill), (near, ill_near) = member.words
        labels = [Label(x=edge - 4 if right else edge + 4, y=wire - 3, text=far, right=bool(right), ill=ill)]
        if member.near:
            place = bar + 6 if right else bar - 6
            labels.append(Label(x=place, y=wire - 3, text=near, right=not right, ill=ill_near))
        ends = (member.near, member.end) if member.near else (member.end,)
        wires.append(Wire(segment=member.segment, ends=ends, points=((bar, wire), (edge, wire)), labels=tuple(labels)))
        lowest[at] = max(lowest[at], wire + 6)
    bars = [((x, top), (x, low)) for x, low in zip(middles, lowest, strict=True)]
    first, last = middles[0], middles[-1]
    for leads, edge in ((part.left, part.x), (part.right, part.x + grid.width)):
        if leads:
            first, last = min(first, edge), max(last, edge)
            bars.append(((edge, top), (edge, max(lead.y for lead in leads) + (6 if part.segment else 0))))
    if last > first:
        bars.append(((first, top), (last, top)))
    return boxes, wires, tuple(bars)


def _shifted(plan: Plan, right: float | None = None, down: float | None = None) -> Plan:
    """Return a plan moved, by itself so that it begins at 0, 0."""
    corners = [(box.x, box.y) for box in plan.boxes] + [(box.x + box.width, box.y + box.height) for box in plan.boxes]
    corners += [point for wire in plan.wires for point in wire.points]
    corners += [(label.x, label.y - LINE) for wire in plan.wires for label in wire.labels]
    corners += [point for bus in plan.buses for bar in bus.bars for point in bar]
    corners += [point for bundle in plan.bundles for bar in bundle.bars for point in bar]
    for bus in plan.buses:
        corners += [(bus.x, bus.y - LINE), (bus.x + len(bus_name(bus.segment)) * CHAR, bus.y)]
    xs, ys = zip(*corners, strict=True)
    dx = -min(xs) if right is None else right
    dy = -min(ys) if down is None else down

    def line(points: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
        return tuple((x + dx, y + dy) for x, y in points)

    def thick(bars: Iterable[_Bar]) -> tuple[_Bar, ...]:
        return tuple(((a + dx, b + dy), (c + dx, d + dy)) for (a, b), (c, d) in bars)

    return Plan(
        width=max(xs) + dx,
        height=max(ys) + dy,
        boxes=tuple(replace(box, x=box.x + dx, y=box.y + dy) for box in plan.boxes),
        wires=tuple(
            replace(
                wire,
                points=line(wire.points),
                labels=tuple(replace(label, x=label.x + dx, y=label.y + dy) for label in wire.labels),
            )
            for wire in plan.wires
        ),
        buses=tuple(replace(bus, x=bus.x + dx, y=bus.y + dy, bars=thick(bus.bars)) for bus in plan.buses),
        bundles=tuple(replace(each, points=line(each.points), bars=thick(each.bars)) for each in plan.bundles),
    )


def _packed(plans: Sequence[Plan]) -> Plan:
    """Return plans beside and below each other, the highest first, as wide as a window or as the widest of them."""
    limit = max([_WIDE, *(plan.width for plan in plans)])
    found: list[Plan] = []
    x = y = tall = width = 0.0
    for plan in sorted(plans, key=lambda each: -each.height):
        if x and x + plan.width > limit:
            x, y, tall = 0.0, y + tall + 3 * _GAP, 0.0
        found.append(_shifted(plan, x, y))
        tall, width = max(tall, plan.height), max(width, x + plan.width)
        x += plan.width + 4 * _GAP
    return Plan(
        width=width,
        height=y + tall,
        boxes=tuple(box for plan in found for box in plan.boxes),
        wires=tuple(wire for plan in found for wire in plan.wires),
        buses=tuple(bus for plan in found for bus in plan.buses),
        bundles=tuple(bundle for plan in found for bundle in plan.bundles),
    )
