"""Where exactly parts and the leads of wires are, once columns and the order in them are known. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from k8slan_cli.picture.layout.measures import HEAD, PORT, SMALL, STUB, Style
from k8slan_cli.picture.layout.parts import Lead, Part

_SWEEPS = 12
_SLANT, _STEEP = 40, 160.0
"""Widths of the gap between columns whose wires are level, and of one whose wires go up and down very far."""


def spread(columns: Sequence[Sequence[Part]], style: Style) -> None:
    """Give parts their places, with room for their wires and for what stands at these."""
    for column in columns:
        for part in column:
            _grow(part)
    _down(columns, style)
    for column in columns:
        for part in column:
            _order_leads(part)
    _across(columns)


def room(lead: Lead, width: float) -> float:
    """Return how far beside a column of that width a wire goes straight, past what is said of it."""
    free = (width - lead.part.width) / 2
    return max(STUB, len(lead.text) * SMALL + 2 * 4 - free)


def _grow(part: Part) -> None:
    """Make a part as high as its wires need."""
    wires = max(len(part.left), len(part.right))
    if not part.key:
        part.height = PORT * wires
    else:
        part.height = max(part.height, wires * PORT + (HEAD if part.segment else 8))


def _down(columns: Sequence[Sequence[Part]], style: Style) -> None:
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


def _apart(column: Sequence[Part], wanted: Sequence[float], gap: float) -> None:
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


def _order_leads(part: Part) -> None:
    """Give wires their places at a part, in the order of where they come from."""
    head = HEAD if part.segment else 0
    for side in (part.left, part.right):
        if part.key:
            side.sort(key=lambda lead: lead.other.part.y if lead.other else 0)
        middle = part.y + head / 2
        for number, lead in enumerate(side):
            lead.y = middle + (number - (len(side) - 1) / 2) * PORT


def _across(columns: Sequence[Sequence[Part]]) -> None:
    """Give columns their places from left to right, with room for what stands at wires."""
    x = 0.0
    for column in columns:
        width = max(part.width for part in column)
        x += max((room(lead, width) for part in column for lead in part.left), default=0.0)
        for part in column:
            part.x = x + (width - part.width) / 2
        x += width + max((room(lead, width) for part in column for lead in part.right), default=0.0)
        x += _slant(column)


def _slant(column: Sequence[Part]) -> float:
    """Return how wide a gap is to be in which wires go up and down: the more, the farther they do."""
    climbs = [abs(lead.other.y - lead.y) for part in column for lead in part.right if lead.other]
    return min(_STEEP, _SLANT + max(climbs, default=0.0) / 6)
