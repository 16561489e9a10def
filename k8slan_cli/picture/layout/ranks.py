"""Which column each part goes to, and its place in the column.

Columns, and places in them with few wires that cross, are fast-sugiyama's. What it does not know is which end of a
network people draw on the left, and the order of names. Pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from k8slan_cli.picture.layout.measures import Style
from k8slan_cli.picture.layout.parts import Join, Part, Way, distances, neighbours, ways_along
from k8slan_cli.picture.topology import HOST

_Pair = tuple[str, str]
"""Keys of two parts that are joined, the left one first."""


def ranked(parts: Sequence[Part], joins: Sequence[Join], style: Style) -> tuple[list[list[Part]], list[Way]]:
    """Return columns of parts that hang together, with the places that wires pass, and the ways of wires."""
    by_key = {part.key: part for part in parts}
    pairs = _facing(by_key, joins)
    chains = _chains(by_key, pairs)
    ways = [way for pair, chain in chains.items() for way in ways_along(chain, pairs[pair], style)]
    everything = dict.fromkeys([*parts, *(part for chain in chains.values() for part in chain)])
    return _columns(everything, {key: number for number, key in enumerate(by_key)}), ways


# ---------------------------------------------------------------- which way a network faces


def _facing(parts: Mapping[str, Part], joins: Sequence[Join]) -> dict[_Pair, list[Join]]:
    """Return joins by what they join, each turned so that it goes from left to right."""
    depth = _depths(parts, joins)
    pairs: dict[_Pair, list[Join]] = {}
    for join in joins:
        faced = join.turned if depth[join.two] < depth[join.one] else join
        pairs.setdefault((faced.one, faced.two), []).append(faced)
    return pairs


def _depths(parts: Mapping[str, Part], joins: Sequence[Join]) -> dict[str, tuple[int, int, int]]:
    """Return by key what goes from left to right: far from the edge of the network first, as people draw them.

    The edge is who has a single neighbour, or the fewest. Devices whose names differ in numbers alone (leaf1, leaf2)
    have one role, and are as far as the nearest of these. Of those that are as far, the way from the first one decides.
    """
    beside = {key: list(dict.fromkeys(others)) for key, others in neighbours(parts, joins).items()}
    fewest = min(map(len, beside.values()))
    ends = [key for key, others in beside.items() if len(others) == fewest]
    # What is outside the cluster is at the edge of it, but may well be joined to the network's core.
    ends = [key for key in ends if not (device := parts[key].device) or device.kind != HOST] or ends
    if max(map(len, beside.values())) <= 2:  # a chain or a ring
        along = distances(ends[:1], beside)
        return {key: (0, along[key], number) for number, key in enumerate(parts)}
    far = _by_role(parts, distances(ends, beside))
    from_core = _by_role(parts, distances([max(parts, key=lambda key: far[key])], beside))
    return {key: (-far[key], from_core[key], number) for number, key in enumerate(parts)}


def _by_role(parts: Mapping[str, Part], steps: Mapping[str, int]) -> dict[str, int]:
    """Return distances with that of the nearest of its role for each."""
    nearest: dict[str, int] = {}
    for key, part in parts.items():
        nearest[_role(part)] = min(steps[key], nearest.get(_role(part), steps[key]))
    return {key: nearest[_role(part)] for key, part in parts.items()}


def _role(part: Part) -> str:
    return re.sub("[0-9]+", "0", part.device.name) if part.device else part.key


# ---------------------------------------------------------------- columns, and the order in them


def _chains(parts: Mapping[str, Part], pairs: Iterable[_Pair]) -> dict[_Pair, list[Part]]:
    """Give each part its column and its order in it; return by pair the parts on the way of its wires."""
    edges = list(pairs)
    if not edges:
        return {}
    from fast_sugiyama import from_edges

    keys = list(parts)
    numbers = {key: number for number, key in enumerate(keys)}
    layout = from_edges(
        [(numbers[one], numbers[two]) for one, two in edges],
        dummy_vertices=True,
        ranking_type="minimize",
        crossing_minimization="barycenter",
    )
    ((positions, _, _, steps),) = layout
    levels = {y: rank for rank, y in enumerate(sorted({y for _, (_, y) in positions}, reverse=True))}
    every: dict[int, Part] = {}
    for each, (x, y) in positions:
        number = int(each)
        part = parts[keys[number]] if number < len(keys) else Part()
        part.rank, part.y = levels[y], x
        every[number] = part
    after: dict[int, list[int]] = {}
    for one, two in steps or ():
        after.setdefault(int(one), []).append(int(two))
    chains = {}
    for one, two in edges:
        for step in after[numbers[one]]:
            chain = [numbers[one], step]
            while chain[-1] >= len(keys):  # a place that the wire passes, which has one way on
                chain += after[chain[-1]]
            if chain[-1] == numbers[two]:
                chains[one, two] = [every[number] for number in chain]
                break
    return chains


def _columns(parts: Collection[Part], numbers: Mapping[str, int]) -> list[list[Part]]:
    """Return columns, each from its top, as far as can be in the order of names: ``numbers`` of keys."""
    columns: list[list[Part]] = [[] for _ in range(max(part.rank for part in parts) + 1)]
    for part in sorted(parts, key=lambda each: each.y):
        columns[part.rank].append(part)
    if _upside_down(columns, numbers):
        for column in columns:
            column.reverse()
            for part in column:
                part.y = -part.y
    for column in columns:
        _sort_alike(column, numbers)
    return columns


def _upside_down(columns: Iterable[Sequence[Part]], numbers: Mapping[str, int]) -> bool:
    """Return whether more neighbours in columns are against the order of names than with it."""
    found = 0
    for column in columns:
        order = [numbers[part.key] for part in column if part.key in numbers]
        found += sum(1 if one > two else -1 for one, two in itertools.pairwise(order))
    return found > 0


def _sort_alike(column: list[Part], numbers: Mapping[str, int]) -> None:
    """Put those of a column that have the same neighbours, so that it makes no difference, in the order of names."""
    alike: dict[frozenset[int], list[int]] = {}
    for place, part in enumerate(column):
        if part.key:
            around = frozenset(id(lead.other.part) for lead in part.left + part.right if lead.other)
            alike.setdefault(around, []).append(place)
    for places in alike.values():
        ordered = sorted((column[place] for place in places), key=lambda part: numbers[part.key])
        for place, part, y in zip(places, ordered, [column[place].y for place in places], strict=True):
            column[place], part.y = part, y
