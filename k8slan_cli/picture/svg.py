"""Writes a topology as SVG that stands alone, readable on light and dark.

The layout is that of the terminal's picture (text.py): members on the left of a node's box, the bridge as a bar on
the right, from which the tunnel goes down into the underlay. Where a node has many members they are on both sides of
the bar, and very many of several bars. All text is monospaced, so that its width is known. What is very long loses its
middle, and has all of it as a tooltip; MAC addresses are tooltips too.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

from k8slan_cli.picture import NOTHING, Link, Member, NodePart, Topology

_CHAR, _LINE, _HEAD = 7.3, 16, 24  # pixels: width of a character, height of a line, height of a title
_PAD, _GAP, _MARGIN, _TITLE = 12, 24, 24, 32
_WIDE = 1232  # pixels that nodes beside each other may take: a laptop's window
_LONGEST, _LONGEST_TITLE, _SHORTEST_NODE, _NOTE = 64, 120, 20, 48  # characters
_CROWD = 8  # members of a node from which on they are on both sides of a bar
_MANY = 60  # members of a picture from which on a box has its interface beside its name
_MAC = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

PALETTE = """
  svg { --page: #ffffff; --text: #1f2733; --quiet: #5b6675; --faint: #7d8998; --pod: #2f6fb3; --vm: #8250b8;
    --ill: #c62828; --bridge: #d9730d; --tunnel: #2b8a57; --node: #f3f5f8; --edge: #9aa5b4; --impaired: #8a5a00; }
  @media (prefers-color-scheme: dark) {
    svg { --page: #14181e; --text: #e4e9f0; --quiet: #a3afbf; --faint: #7d8aa0; --pod: #6aa9ea; --vm: #bb93e6;
      --ill: #ff8a80; --bridge: #f0953f; --tunnel: #55bd86; --node: #1d232c; --edge: #56627a; --impaired: #e0b060; }
  }
  text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: var(--text); }
  .title { font-weight: bold; } .quiet { fill: var(--quiet); } .end { text-anchor: end; }
  .page { fill: var(--page); } .pod { fill: var(--page); stroke: var(--pod); }
  .vm { fill: var(--page); stroke: var(--vm); stroke-width: 2.5; }
  .wire { stroke: var(--quiet); stroke-width: 1.5; }
  .wire.down { stroke: var(--ill); stroke-dasharray: 6 4; }
  .wire.waiting { stroke: var(--faint); stroke-dasharray: 2 4; }
"""
"""Colours and strokes that all pictures have."""
_STYLE = (
    PALETTE
    + """
  .middle { text-anchor: middle; } .node { fill: var(--node); stroke: var(--edge); }
  text.ill { fill: var(--ill); font-weight: bold; }
  .bridge { stroke: var(--bridge); stroke-width: 6; stroke-linecap: round; }
  .tunnel { stroke: var(--tunnel); stroke-width: 2.5; fill: none; }
  .underlay { stroke: var(--tunnel); stroke-width: 6; stroke-linecap: round; fill: none; }
"""
)


@dataclass(frozen=True, slots=True)
class _Size:
    """Pixels: width of a member's box, of the wire to the bar, of a node; height of each row of nodes.

    ``sides`` is how many columns of members a node has: 1, or two for each bar. ``low`` boxes have one line.
    """

    box: float
    wire: float
    node: float
    rows: tuple[float, ...]
    per_row: int
    sides: int
    low: bool


def write(topology: Topology, *, titled: bool = True, notes: Sequence[str] = ()) -> str:
    """The picture as an SVG document; ``titled`` is whether its title can be seen, ``notes`` are lines below it."""
    size = _size(topology)
    top = _MARGIN + (_TITLE if titled else 0)
    words = max(min(len(topology.title), _LONGEST_TITLE) if titled else 0, min(len(topology.underlay), _LONGEST))
    words = max([words, *(min(len(note), _LONGEST_TITLE) for note in notes)])
    width = 2 * _MARGIN + max(size.per_row * (size.node + _GAP) - _GAP, words * _CHAR)
    bottom = top + sum(h + 2 * _GAP for h in size.rows)
    height = bottom + _LINE * (1 + len(notes))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}">',
        f"<title>{xml(topology.title)}</title>",
        f"<style>{_STYLE}</style>",
        '<rect class="page" width="100%" height="100%"/>',
        *([_text(_MARGIN, _MARGIN + 12, topology.title, "title", _LONGEST_TITLE)] if titled else []),
        *_rows(topology, size, top),
        *(
            _text(_MARGIN, bottom + 12 + _LINE * number, note, "quiet", _LONGEST_TITLE)
            for number, note in enumerate(notes)
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _size(topology: Topology) -> _Size:
    """Return the sizes with which the picture is as low as can be, in a window's width."""
    most = max((len(node.members) for node in topology.nodes), default=0)
    if most <= _CROWD:
        return _sized(topology, 1)
    found = [_sized(topology, sides) for sides in range(2, most + 2, 2)]
    fitting = [size for size in found if 2 * _MARGIN + size.node <= _WIDE] or found[:1]
    return min(fitting, key=lambda size: sum(size.rows) + 2 * _GAP * len(size.rows))


def _sized(topology: Topology, sides: int) -> _Size:
    members = [m for node in topology.nodes for m in node.members]
    low = len(members) >= _MANY
    box = max([0.0, *(_box_width(member, low=low) for member in members)]) + 2 * _PAD
    wire = _width("", *(m.port for m in members)) + (1 if low else 2) * _PAD
    texts = [t for n in topology.nodes for t in (n.bridge, n.tunnel, n.uplink, *_note(n))]
    words = _width(NOTHING, *(n.name[:_SHORTEST_NODE] for n in topology.nodes), *texts)
    node = max(box + wire + 3 * _PAD, words + 4 * _PAD)
    if sides > 1:
        wire = max(wire, words + 3 * _PAD - box)
        node = sides // 2 * (2 * (box + wire) + _PAD) + _PAD
    count = len(topology.nodes)
    fitting = max(1, int((_WIDE - 2 * _MARGIN + _GAP) / (node + _GAP)))
    per_row = math.ceil(count / max(1, math.ceil(count / fitting)))
    rows = [topology.nodes[at : at + per_row] for at in range(0, count, max(1, per_row))]
    size = _Size(box, wire, node, (), per_row, sides, low)
    return replace(size, rows=tuple(max(_height(n, size) for n in row) for row in rows))


def _width(*texts: str) -> float:
    return min(max(map(len, texts)), _LONGEST) * _CHAR


def _shown(member: Member) -> list[str]:
    """Return what a member's box shows below its name, which is not its MAC address."""
    return [line for line in member.lines if not _MAC.fullmatch(line)]


def _box_width(member: Member, *, low: bool) -> float:
    lines = _shown(member)
    if low and lines:
        return max(_width(member.name) + _CHAR + _width(lines[0]), _width("", *lines[1:]))
    return _width(member.name, *lines)


def _box_height(member: Member, size: _Size) -> float:
    return _HEAD + _LINE * max(0, len(_shown(member)) - size.low) + (2 if size.low else 6)


def _lines(node: NodePart, size: _Size) -> list[tuple[Member, ...]]:
    """Return the members of a node, those beside each other together."""
    return [node.members[at : at + size.sides] for at in range(0, len(node.members), size.sides)]


def _space(size: _Size) -> float:
    """Return the height between members."""
    return _PAD / 2 if size.low else _PAD


def _height(node: NodePart, size: _Size) -> float:
    inside = sum(max(_box_height(m, size) for m in line) + _space(size) for line in _lines(node, size))
    note = _HEAD + _LINE * (len(_note(node)) - 1) if _note(node) else 0
    if not node.bridge:
        return _HEAD + note
    return _HEAD + note + inside + _LINE + 2 * _HEAD + (_PAD if size.sides > 2 else 0)


def _note(node: NodePart) -> list[str]:
    return textwrap.wrap(node.note or ("" if node.bridge else NOTHING), _NOTE)


def _rows(topology: Topology, size: _Size, top: float) -> Iterator[str]:
    buses: list[float] = []
    for number, height in enumerate(size.rows):
        row = topology.nodes[number * size.per_row : (number + 1) * size.per_row]
        bus = top + height + _GAP
        buses.append(bus)
        for at, node in enumerate(row):
            yield from _node(node, _MARGIN + at * (size.node + _GAP), top, height, bus, size)
        right = _MARGIN + len(row) * (size.node + _GAP) - _GAP
        yield f'<path class="underlay" d="M{_MARGIN / 2:.0f} {bus:.0f}H{right:.0f}"/>'
        top = bus + _GAP
    if len(buses) > 1:
        yield f'<path class="underlay" d="M{_MARGIN / 2:.0f} {buses[0]:.0f}V{buses[-1]:.0f}"/>'
    yield _text(_MARGIN, top - 4, topology.underlay, "quiet")


def _bars(x: float, size: _Size) -> list[float]:
    """Return where the bars of a node's bridge are."""
    if size.sides == 1:
        return [x + size.node - 2 * _PAD]
    pair = 2 * (size.box + size.wire) + _PAD
    return [x + _PAD + number * pair + size.box + size.wire for number in range(size.sides // 2)]


def _node(node: NodePart, x: float, y: float, height: float, bus: float, size: _Size) -> Iterator[str]:
    yield f'<rect class="node" x="{x:.0f}" y="{y:.0f}" width="{size.node:.0f}" height="{height:.0f}" rx="8"/>'
    yield _text(x + _PAD, y + 17, node.name, "title", int((size.node - 2 * _PAD) / _CHAR))
    top = y + _HEAD
    for number, line in enumerate(note := _note(node)):
        yield _text(x + _PAD, top + 12 + _LINE * number, line, "ill" if node.ill else "quiet")
    top += _HEAD + _LINE * (len(note) - 1) if note else 0
    if not node.bridge:
        return
    lines = _lines(node, size)
    bars = _bars(x, size)[: max(1, math.ceil(len(lines[0]) / 2))] if lines else _bars(x, size)[:1]
    end = y + height - 2 * _HEAD
    yield _text(bars[-1] + 4, top + 6, node.bridge, "end")
    if node.tunnel:
        yield f'<path class="tunnel" d="M{bars[-1]:.0f} {end:.0f}V{bus:.0f}"/>'
        yield _text(bars[-1] - 8, end + 19, node.tunnel, "end")
        yield _text(bars[-1] - 8, end + 19 + _LINE, node.uplink, "end quiet")
    top += _LINE
    for bar in bars:
        yield f'<path class="bridge" d="M{bar:.0f} {top:.0f}V{end:.0f}"/>'
    if len(bars) > 1:
        yield f'<path class="bridge" d="M{bars[0]:.0f} {top:.0f}H{bars[-1]:.0f}"/>'
    top += _PAD if size.sides > 2 else 0
    for members in lines:
        for number, member in enumerate(members):
            yield from _member(member, bars[number // 2], top, size, right=number % 2 == 1)
        top += max(_box_height(member, size) for member in members) + _space(size)


def _member(member: Member, bar: float, y: float, size: _Size, *, right: bool) -> Iterator[str]:
    """Draw who is plugged in, on the left of a bar or on the ``right``."""
    height = _box_height(member, size)
    wire = y + height / 2
    edge = bar + size.wire if right else bar - size.wire
    if size.sides == 1:  # the bar is at the right of a node that may be wider than it has to be
        edge = bar + 2 * _PAD - size.node + _PAD + size.box
    x = edge if right else edge - size.box
    state = "" if member.link is Link.UP else f" {member.link}"
    first, last = sorted((edge, bar))
    yield f'<path class="wire{state}" d="M{first:.0f} {wire:.0f}H{last:.0f}"/>'
    macs = [line for line in member.lines if _MAC.fullmatch(line)]
    tooltip = f"<title>{xml(', '.join((member.name, *macs)))}</title>" if macs else ""
    yield (
        f'<rect class="{"vm" if member.vm else "pod"}" x="{x:.0f}" y="{y:.0f}" width="{size.box:.0f}"'
        f' height="{height:.0f}" rx="{0 if member.vm else 6}">{tooltip}</rect>'
    )
    yield _text(x + _PAD, y + 17, member.name, "title")
    for number, line in enumerate(_shown(member)):
        if size.low and number == 0:
            yield _text(x + _PAD + _width(member.name) + _CHAR, y + 17, line, "quiet")
        else:
            yield _text(x + _PAD, y + 17 + _LINE * (number + 1 - size.low), line, "quiet")
    yield _text((edge + bar) / 2, wire - 5, member.port, "middle")


def _text(x: float, y: float, text: str, kind: str, longest: int = _LONGEST) -> str:
    shown, whole = text, ""
    if len(text) > longest:  # names differ at their ends
        shown, whole = f"{text[: longest // 2]}…{text[1 - longest // 2 :]}", f"<title>{xml(text)}</title>"
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{xml(shown)}{whole}</text>'


def xml(text: str) -> str:
    """Text as XML and HTML have it, without what neither can say: somebody's pod may have any text as its address."""
    return escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", text))
