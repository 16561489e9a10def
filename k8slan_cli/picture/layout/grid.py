"""Many that are on one LAN alone, or joined to one device alone, as a grid: pairs of columns with a bar between them.

::

    ┌──────┐ eth1 ┃ eth1 ┌──────┐
    │ pod1 ├──────╂──────┤ pod2 │
    └──────┘      ┃      └──────┘
    ┌──────┐ eth1 ┃
    │ pod3 ├──────┨
    └──────┘      ╹

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from k8slan_cli.picture.layout.measures import GAP, SMALL, STUB, WINDOW, Style
from k8slan_cli.picture.layout.plan import Bar, Box, Label, Wire
from k8slan_cli.picture.topology import Device, End, Segment
from k8slan_cli.picture.words import end_words

_LANDSCAPE = 2.0  # how much wider than high a grid is to be


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Members in rows; one without members has no size.

    ``box`` and ``lead`` are the widths of a box and of a wire, ``row`` and ``high`` the heights of a row and of a box.
    """

    members: tuple[Member, ...] = ()
    rows: int = 0
    pairs: int = 0
    box: float = 0
    lead: float = 0
    row: float = 0
    high: float = 0

    @classmethod
    def of(cls, members: Sequence[Member], style: Style) -> Grid:
        """Return members as a grid that is wider than high, and no wider than a window."""
        row = style.height + style.gap
        box = max(style.width(member.device) for member in members)
        words = [sum(len(text) for text, _ in member.words) + bool(member.near) for member in members]
        lead = max(words) * SMALL + 2 * STUB
        pair = 2 * (box + lead) + GAP
        most = max(1, int(WINDOW // pair))
        pairs = min(most, max(1, round(math.sqrt(_LANDSCAPE * len(members) * row / (2 * pair)))))
        rows = math.ceil(len(members) / (2 * pairs))
        return cls(members=tuple(members), rows=rows, pairs=pairs, box=box, lead=lead, row=row, high=style.height)

    @property
    def width(self) -> float:
        """Return how wide it is, with space beside it."""
        return self.pairs * self._pair + 3 * GAP if self.members else 0

    @property
    def height(self) -> float:
        """Return how high it is, with space above it."""
        return self.rows * self.row + GAP if self.members else 0

    @property
    def _pair(self) -> float:
        return 2 * (self.box + self.lead) + GAP

    def drawn(self, left: float, top: float) -> tuple[list[Box], list[Wire], list[Bar]]:
        """Return the members, their wires, and the bar of each pair of columns."""
        bars = [left + 2 * GAP + number * self._pair + self.box + self.lead for number in range(self.pairs)]
        ends = [top] * self.pairs
        boxes, wires = [], []
        for number, member in enumerate(self.members):
            row, column = divmod(number, 2 * self.pairs)
            at, right = divmod(column, 2)
            bar = bars[at]
            x = bar + self.lead if right else bar - self.lead - self.box
            y = top + GAP + row * self.row
            boxes.append(Box(device=member.device, x=x, y=y, width=self.box, height=self.high))
            edge, wire = (x if right else x + self.box), y + self.high / 2
            wires.append(_wire(member, bar, edge, wire))
            ends[at] = max(ends[at], wire + 6)
        return boxes, wires, [((x, top), (x, end)) for x, end in zip(bars, ends, strict=True)]


def _wire(member: Member, bar: float, edge: float, y: float) -> Wire:
    """Return the level wire between a bar and the edge of a member's box."""
    right = edge > bar
    (far, ill), (near, ill_near) = member.words
    labels = [Label(x=edge - 4 if right else edge + 4, y=y - 3, text=far, right=right, ill=ill)]
    if member.near:
        place = bar + 6 if right else bar - 6
        labels.append(Label(x=place, y=y - 3, text=near, right=not right, ill=ill_near))
    ends = (member.near, member.end) if member.near else (member.end,)
    return Wire(segment=member.segment, ends=ends, points=((bar, y), (edge, y)), labels=tuple(labels))
