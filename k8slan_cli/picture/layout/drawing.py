"""Parts that have their places, as the boxes, wires, buses and bundles of a plan. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from k8slan_cli.picture.layout.measures import HEAD
from k8slan_cli.picture.layout.parts import Part, Way
from k8slan_cli.picture.layout.plan import Bar, Box, Bundle, Bus, Label, Plan, Point, Wire, cropped
from k8slan_cli.picture.layout.spacing import room


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """Where wires bend beside a column: ``left`` of it and ``right`` of it."""

    left: float
    right: float

    @classmethod
    def of(cls, parts: Sequence[Part]) -> _Column:
        left, right = min(part.x for part in parts), max(part.x + part.width for part in parts)
        width = right - left
        before = max((room(lead, width) for part in parts for lead in part.left), default=0.0)
        after = max((room(lead, width) for part in parts for lead in part.right), default=0.0)
        return cls(left=left - before, right=right + after)


def drawn(columns: Sequence[Sequence[Part]], parts: Sequence[Part], ways: Sequence[Way]) -> Plan:
    """Return the picture of parts that hang together, without what is beside it."""
    boxes: list[Box] = []
    wires: list[Wire] = []
    buses: list[Bus] = []
    bundles: list[Bundle] = []
    bars: dict[str, tuple[Bar, ...]] = {}
    for part in parts:
        top = part.y - part.height / 2
        if part.device is not None:
            boxes.append(Box(device=part.device, x=part.x, y=top, width=part.width, height=part.height))
            continue
        more_boxes, more_wires, bars[part.key] = _barred(part)
        boxes += more_boxes
        wires += more_wires
        if part.segment is not None:
            x = min(x for (x, _), _ in bars[part.key]) - 3 if part.grid.members else part.x
            buses.append(Bus(segment=part.segment, x=x, y=top + HEAD - 8, bars=bars[part.key]))
    bends = [_Column.of(column) for column in columns]
    for way in ways:
        points, labels = _route(way, bends)
        if way.segment is not None:
            wires.append(Wire(segment=way.segment, ends=way.ends, points=points, labels=labels))
            continue
        part = next(lead.part for lead in way.leads if lead.part.of)
        if part.of:
            bundles.append(Bundle(device=part.of, points=points, bars=bars[part.key]))
    return cropped(Plan(boxes=tuple(boxes), wires=tuple(wires), buses=tuple(buses), bundles=tuple(bundles)))


def _route(way: Way, bends: Sequence[_Column]) -> tuple[tuple[Point, ...], tuple[Label, ...]]:
    """Return the way of a wire as points, and what stands at its ends."""
    points: list[Point] = []
    labels = []
    for number, lead in enumerate(way.leads):
        right = number % 2 == 0  # it leaves to the right, and arrives from the left
        column = bends[lead.part.rank]
        edge = _edge(lead.part, right=right)
        points += [(edge, lead.y), (column.right, lead.y)] if right else [(column.left, lead.y), (edge, lead.y)]
        if lead.text:
            x = edge + 4 if right else edge - 4
            labels.append(Label(x=x, y=lead.y - 3, text=lead.text, right=not right, ill=lead.ill))
    return tuple(points), tuple(labels)


def _edge(part: Part, *, right: bool) -> float:
    """Return where wires touch a part."""
    if part.grid.members:
        return part.x + part.grid.width if right else part.x
    if part.segment:
        return part.x + part.width / 2
    return part.x + part.width if right else part.x


def _barred(part: Part) -> tuple[list[Box], list[Wire], tuple[Bar, ...]]:
    """Return who is in the grid of a bus or of a bundle, and the bars of it."""
    top, bottom = part.y - part.height / 2 + (HEAD if part.segment else 0), part.y + part.height / 2
    if not part.grid.members:
        x = part.x + part.width / 2
        return [], [], (((x, top), (x, bottom)),)
    boxes, wires, bars = part.grid.drawn(part.x, top)
    for leads, x in ((part.left, part.x), (part.right, part.x + part.grid.width)):
        if leads:
            bars.append(((x, top), (x, max(lead.y for lead in leads) + (6 if part.segment else 0))))
    xs = [x for (x, _), _ in bars]
    if min(xs) < max(xs):
        bars.append(((min(xs), top), (max(xs), top)))
    return boxes, wires, tuple(bars)
