"""Draws a topology in characters: a line for each LAN of two, and each other LAN as a bus with who is on it.

::

    spine1 ┬ eth1 ── s1l1 ──────────── eth1 leaf1        a LAN between two devices, and its name
           └ eth2 ── s1l2, loss 1% ─── eth1 leaf2        what is done to its frames
    leaf1  ─ eth2 ╳╳ dmz, link down ╳╳ eth1 fw (VM)      a link that is down

    blue   ┳ eth3 ─── leaf1                              a LAN of any other number
           ┗ net1 ┄┄┄ late                               who waits to attach

What does not fit loses its end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from k8slan_cli.picture.layout.measures import CROWD
from k8slan_cli.picture.text import ASCII, cut
from k8slan_cli.picture.topology import (
    ATTACHED,
    DOWN,
    HOST,
    UP,
    VM,
    WAITING,
    Device,
    End,
    Segment,
    Topology,
)
from k8slan_cli.picture.words import bus_name, trouble

_WIRES = {UP: "─", DOWN: "╳", WAITING: "┄"}
_NAME, _WORDS = 24, 12  # columns that names may have, and that words in a wire are given at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of a picture: ``state`` is ``down``, ``waiting``, ``ill`` of a LAN that is not ready, or ``up``."""

    text: str
    state: str = UP


def draw(topology: Topology, heading: str, *, width: int = 80, unicode: bool = True) -> list[Row]:
    """Return the picture, in lines of at most ``width`` columns."""
    devices = {device.key: device for device in topology.devices}
    lines = [segment for segment in topology.lans if segment.line]
    buses = [segment for segment in topology.lans if not segment.line]
    rows = [Row(text=heading), *_lines(topology, lines, devices, width), *_buses(buses, devices, width)]
    cuts = (Row(text=cut(row.text, width).rstrip(), state=row.state) for row in rows)
    return [row if unicode else Row(text=row.text.translate(ASCII), state=row.state) for row in cuts]


def _lines(topology: Topology, segments: Sequence[Segment], devices: dict[str, Device], width: int) -> Iterator[Row]:
    if not segments:
        return
    order = {device.key: number for number, device in enumerate(topology.devices)}
    found = []
    for segment in segments:
        one, two = sorted(segment.ends, key=lambda end: order[end.device])
        found.append((order[one.device], order[two.device], segment, one, two))
    found.sort(key=lambda each: each[:2])
    left = max(len(_name(devices[one.device])) for *_, one, _ in found)
    right = max(len(_name(devices[two.device])) for *_, two in found)
    first = max(len(one.interface) for *_, one, _ in found)
    second = max(len(two.interface) for *_, two in found)
    words = max(len(_words(segment, one, two)) for _, _, segment, one, two in found)
    room = max(_WORDS, min(words, width - left - right - first - second - 13))
    yield Row(text="")
    for key, group in itertools.groupby(found, key=lambda each: each[3].device):
        ends = list(group)
        for number, (_, _, segment, one, two) in enumerate(ends):
            last = number == len(ends) - 1
            sign = ("─" if last else "┬") if number == 0 else "└" if last else "├"
            name = _name(devices[key]) if number == 0 else ""
            state = next(state for state in (DOWN, WAITING, UP) if state in (one.link, two.link))
            wire = _WIRES[state]
            inside = f" {cut(_words(segment, one, two), room)} ".ljust(room + 2, wire)
            yield Row(
                text=f"{name.ljust(left)} {sign} {one.interface.ljust(first)} {wire * 2}{inside}{wire * 2}"
                f" {two.interface.ljust(second)} {_name(devices[two.device])}",
                state="ill" if state == UP and segment.ill else state,
            )


def _buses(segments: Sequence[Segment], devices: dict[str, Device], width: int) -> Iterator[Row]:
    left = max((len(bus_name(segment)) for segment in segments if segment.ends), default=0)
    for segment in segments:
        yield Row(text="")
        state = "ill" if segment.ill else UP
        rungs = list(_rungs(segment, devices, width - left - 3))
        if not rungs:
            yield Row(text=bus_name(segment), state=state)
        for number, row in enumerate(rungs):
            last = number == len(rungs) - 1
            sign = ("╺" if last else "┳") if number == 0 else "┗" if last else "┣"
            name = bus_name(segment) if number == 0 else ""
            yield Row(
                text=f"{name.ljust(left)} {sign} {row.text}",
                state=row.state if row.state != UP or number else state,
            )


def _rungs(segment: Segment, devices: dict[str, Device], width: int) -> Iterator[Row]:
    """Tell who is on a bus: one a line, or several beside each other of whom there is nothing to say and are many."""
    interface = max((len(end.interface) for end in segment.ends), default=0)
    texts = [
        f"{end.interface.ljust(interface)} {_WIRES[end.link] * 3} {_name(devices[end.device])}" for end in segment.ends
    ]
    plain = [text for end, text in zip(segment.ends, texts, strict=True) if end.link == UP and not end.remarks]
    cell = max(map(len, plain), default=0)
    per_row = max(1, (width + 2) // (cell + 2)) if len(plain) > CROWD else 1
    for at in range(0, len(plain), per_row) if per_row > 1 else ():
        yield Row(text="  ".join(text.ljust(cell) for text in plain[at : at + per_row]).rstrip())
    for end, text in zip(segment.ends, texts, strict=True):
        if per_row == 1 or end.link != UP or end.remarks:
            yield Row(text=f"{text} · {end.remarks}" if end.remarks else text, state=end.link)


def _name(device: Device) -> str:
    many = f" ×{device.count}" if device.count > 1 else ""
    words = [{VM: "VM", HOST: "outside"}.get(device.kind, ""), device.state if device.state != ATTACHED else ""]
    about = ", ".join(filter(None, words))
    return cut(device.name, _NAME) + many + (f" ({about})" if about else "")


def _words(segment: Segment, *ends: End) -> str:
    name = segment.name + trouble(segment)
    return ", ".join(dict.fromkeys([name, *(end.remarks for end in ends if end.remarks)]))
