"""Draws a topology in characters: box drawing where the terminal can show it, ASCII where not.

::

    ┌ node1 ──────────────────────────┐
    │                           br0 ┓ │     a node, and its bridge as the heavy bar on the right
    │ ┌ pod1 ─────────────┐         ┃ │
    │ │ net1              ├─ pod1p ─┨ │     who is plugged in, and the port
    │ └───────────────────┘         ┃ │
    │                        vxlan0 ╿ │     the tunnel leaves at the bar's end,
    │               eth0 198.18.0.1 │ │     by this device and address,
    └───────────────────────────────┼─┘
    ══ underlay ════════════════════╧══     into what joins the nodes

A wire of ╳ is a link that is down; one of dots ends before the bar: who is there waits to be plugged in.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from k8slan_cli.picture import NOTHING, Link, Member, NodePart, Topology

_GAP, _GUTTER = 2, 2  # columns between nodes; columns for the line that joins several rows
_NARROWEST = 8  # columns of a member's box
_NOTE = 48  # columns for which a note widens a node; then it is wrapped
_WIRES = {Link.UP: ("─", "┨"), Link.DOWN: ("╳", "┨"), Link.WAITING: ("┄", "┃")}

ASCII = str.maketrans(
    dict.fromkeys("─", "-")
    | dict.fromkeys("═", "=")
    | dict.fromkeys("│║╿", "|")
    | dict.fromkeys("┌┐└┘├┬┼╔╗╚╝╟╠╧", "+")
    | dict.fromkeys("┃┓┨┳┣┗╺", "#")
    | {"·": ",", "×": "x", "…": "~", "╳": "x", "┄": "."}
)


@dataclass(frozen=True, slots=True)
class _Widths:
    """Columns: of a member's box with its borders, of the wire to the bar, of a node with its borders."""

    box: int
    wire: int
    node: int


def draw(topology: Topology, *, width: int = 80, unicode: bool = True) -> list[str]:
    """The picture as lines of at most ``width`` columns (32 at least); what does not fit is cut with an ellipsis."""
    widths = _widths(topology, width)
    per_row = max(1, (width - _GUTTER + _GAP) // (widths.node + _GAP))
    if len(topology.nodes) <= (width + _GAP) // (widths.node + _GAP):
        per_row = max(1, len(topology.nodes))
    rows = [topology.nodes[at : at + per_row] for at in range(0, len(topology.nodes), per_row)]
    lines = [*textwrap.wrap(topology.title, width, subsequent_indent="  ", break_on_hyphens=False), ""]
    for number, row in enumerate(rows):
        lines += _row(topology, row, widths, number, len(rows))
    return [line.rstrip() if unicode else line.rstrip().translate(ASCII) for line in lines]


def _widths(topology: Topology, width: int) -> _Widths:
    members = [m for node in topology.nodes for m in node.members]
    box = max((len(text) + 4 for m in members for text in (m.name, *m.lines)), default=_NARROWEST)
    wire = max((len(m.port) + 4 for m in members), default=0)
    fixed = wire + 6  # borders of the node and spaces inside them, the bar and a space
    texts = [t for n in topology.nodes for t in (n.name, n.bridge, n.tunnel, n.uplink, n.note[:_NOTE])]
    texts += ["" if n.bridge or n.note else NOTHING for n in topology.nodes]
    wanted = max(box + fixed, max(map(len, texts), default=0) + 6)
    node = min(wanted, max(width - _GUTTER, _NARROWEST + fixed))
    return _Widths(min(box, node - fixed), wire, node)


def _row(topology: Topology, row: tuple[NodePart, ...], widths: _Widths, number: int, rows: int) -> Iterator[str]:
    """The nodes of one row beside each other, and the underlay below them."""
    height = max(_height(node, widths) for node in row)
    blocks = [_node(node, widths, height) for node in row]
    first, last = number == 0, number == rows - 1
    margin = "" if rows == 1 else "  " if first else "║ "
    for parts in zip(*blocks, strict=True):
        yield margin + (" " * _GAP).join(parts)
    start = "══" if rows == 1 else "╔═" if first else "╚═" if last else "╠═"
    bus = list(start.ljust(len(margin) + len(row) * (widths.node + _GAP) - _GAP, "═"))
    for at, node in enumerate(row):
        if node.tunnel:
            bus[len(margin) + at * (widths.node + _GAP) + widths.node - 3] = "╧"
    label = f" {cut(topology.underlay, widths.node - 8)} "
    if first:
        bus[2 : 2 + len(label)] = label
    yield "".join(bus)


def _height(node: NodePart, widths: _Widths) -> int:
    members = sum(2 + max(1, len(m.lines)) for m in node.members)
    note = len(_note(node, widths))
    return 2 + note + 3 + members if node.bridge else 2 + max(note, 1)


def _note(node: NodePart, widths: _Widths) -> list[str]:
    return textwrap.wrap(node.note or ("" if node.bridge else NOTHING), widths.node - 4)


def _node(node: NodePart, widths: _Widths, height: int) -> list[str]:
    """A node's box as lines of the same length; ``height`` of them, filled up below the members."""
    inner = widths.node - 4
    lines = [f"┌ {cut(node.name, inner - 1)} ".ljust(widths.node - 1, "─") + "┐"]
    lines += [f"│ {line.ljust(inner)} │" for line in _inside(node, widths, height - 2)]
    end = "┼─┘" if node.tunnel else "──┘"
    return [*lines, "└" + "─" * (widths.node - 4) + end]


def _inside(node: NodePart, widths: _Widths, height: int) -> Iterator[str]:
    inner = widths.node - 4
    note = _note(node, widths)
    yield from note
    if not node.bridge:
        yield from [""] * (height - len(note))
        return
    yield f"{cut(node.bridge, inner - 2)} ┓".rjust(inner)
    lines = [line for member in node.members for line in _member(member, widths)]
    yield from lines
    for _ in range(height - len(note) - len(lines) - 3):
        yield "┃".rjust(inner)
    yield f"{cut(node.tunnel, inner - 2)} {'╿' if node.tunnel else '┃'}".rjust(inner)
    yield f"{cut(node.uplink, inner - 2)} {'│' if node.tunnel else ' '}".rjust(inner)


def _member(member: Member, widths: _Widths) -> Iterator[str]:
    left, right, plug, corners = ("║", "║", "╟", "╔╗╚╝") if member.vm else ("│", "│", "├", "┌┐└┘")
    edge = "═" if member.vm else "─"
    room = widths.box - 4
    rest = widths.node - 5 - widths.box
    wire, end = _WIRES[member.link]
    yield f"{corners[0]} {cut(member.name, room)} ".ljust(widths.box - 1, edge) + corners[1] + "┃".rjust(rest + 1)
    for number, line in enumerate(member.lines or ("",)):
        text = f"{left} {cut(line, room).ljust(room)} "
        if number == 0:
            yield text + plug + f" {member.port} ".center(rest, wire) + end
        else:
            yield text + right + "┃".rjust(rest + 1)
    yield corners[2] + edge * (widths.box - 2) + corners[3] + "┃".rjust(rest + 1)


def cut(text: str, room: int) -> str:
    """Return ``text``, or its beginning and an ellipsis."""
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"
