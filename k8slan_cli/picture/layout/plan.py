"""What a picture of a topology consists of, and where: boxes, wires, buses, bundles; the same moved and put together.

Lengths are in pixels, from the left upper corner. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from k8slan_cli.picture.layout.measures import CHAR, GAP, LINE, WINDOW
from k8slan_cli.picture.topology import DOWN, UP, WAITING, Device, End, Segment
from k8slan_cli.picture.words import bus_name

Point = tuple[float, float]
Bar = tuple[Point, Point]
"""A straight thick line between two points."""


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
    points: tuple[Point, ...]
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
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The wires of a device to many that are joined to it alone: the way of all of them, and where they leave it."""

    device: Device
    points: tuple[Point, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole picture and its size."""

    width: float = 0
    height: float = 0
    boxes: tuple[Box, ...] = ()
    wires: tuple[Wire, ...] = ()
    buses: tuple[Bus, ...] = ()
    bundles: tuple[Bundle, ...] = ()


def cropped(plan: Plan) -> Plan:
    """Return a plan moved so that it begins at 0, 0, with the size that it has then."""
    corners = [(box.x, box.y) for box in plan.boxes] + [(box.x + box.width, box.y + box.height) for box in plan.boxes]
    corners += [point for wire in plan.wires for point in wire.points]
    corners += [(label.x, label.y - LINE) for wire in plan.wires for label in wire.labels]
    corners += [point for bus in plan.buses for bar in bus.bars for point in bar]
    corners += [point for bundle in plan.bundles for bar in bundle.bars for point in bar]
    for bus in plan.buses:
        corners += [(bus.x, bus.y - LINE), (bus.x + len(bus_name(bus.segment)) * CHAR, bus.y)]
    xs, ys = zip(*corners, strict=True)
    left, top = min(xs), min(ys)
    return replace(_moved(plan, -left, -top), width=max(xs) - left, height=max(ys) - top)


def packed(plans: Sequence[Plan]) -> Plan:
    """Return plans beside and below each other, the highest first, as wide as a window or as the widest of them."""
    limit = max([WINDOW, *(plan.width for plan in plans)])
    found: list[Plan] = []
    x = y = tall = width = 0.0
    for plan in sorted(plans, key=lambda each: -each.height):
        if x and x + plan.width > limit:
            x, y, tall = 0.0, y + tall + 3 * GAP, 0.0
        found.append(_moved(plan, x, y))
        tall, width = max(tall, plan.height), max(width, x + plan.width)
        x += plan.width + 4 * GAP
    return Plan(
        width=width,
        height=y + tall,
        boxes=tuple(box for plan in found for box in plan.boxes),
        wires=tuple(wire for plan in found for wire in plan.wires),
        buses=tuple(bus for plan in found for bus in plan.buses),
        bundles=tuple(bundle for plan in found for bundle in plan.bundles),
    )


def _moved(plan: Plan, dx: float, dy: float) -> Plan:
    """Return a plan moved to the right and down."""

    def line(points: Iterable[Point]) -> tuple[Point, ...]:
        return tuple((x + dx, y + dy) for x, y in points)

    def thick(bars: Iterable[Bar]) -> tuple[Bar, ...]:
        return tuple(((a + dx, b + dy), (c + dx, d + dy)) for (a, b), (c, d) in bars)

    return replace(
        plan,
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
