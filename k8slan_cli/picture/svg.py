"""Writes a topology as SVG that stands alone, readable on light and dark.

The layout is that of the terminal's picture (text.py): members on the left of a node's box, the bridge as a bar on
the right, from which the tunnel goes down into the underlay. All text is monospaced, so that its width is known.
What is very long loses its middle, and has all of it as a tooltip.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from k8slan_cli.picture import NOTHING, Link, Member, NodePart, Topology

_CHAR, _LINE, _HEAD = 7.3, 16, 24  # pixels: width of a character, height of a line, height of a title
_PAD, _GAP, _MARGIN, _TITLE = 12, 24, 24, 32
_WIDE = 1232  # pixels that nodes beside each other may take: a laptop's window
_LONGEST, _LONGEST_TITLE, _LONGEST_NODE, _NOTE = 64, 120, 32, 48  # characters
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
    """Pixels: width of a member's box, of the wire to the bar, of a node; height of each row of nodes."""

    box: float
    wire: float
    node: float
    rows: tuple[float, ...]
    per_row: int


def write(topology: Topology, *, titled: bool = True) -> str:
    """The picture as an SVG document; ``titled`` is whether its title can be seen."""
    size = _size(topology)
    top = _MARGIN + (_TITLE if titled else 0)
    words = max(min(len(topology.title), _LONGEST_TITLE) if titled else 0, min(len(topology.underlay), _LONGEST))
    width = 2 * _MARGIN + max(size.per_row * (size.node + _GAP) - _GAP, words * _CHAR)
    height = top + sum(h + 2 * _GAP for h in size.rows) + _LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}">',
        f"<title>{xml(topology.title)}</title>",
        f"<style>{_STYLE}</style>",
        '<rect class="page" width="100%" height="100%"/>',
        *([_text(_MARGIN, _MARGIN + 12, topology.title, "title", _LONGEST_TITLE)] if titled else []),
        *_rows(topology, size, top),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _size(topology: Topology) -> _Size:
    members = [m for node in topology.nodes for m in node.members]
    box = _width("", *(text for m in members for text in (m.name, *m.lines))) + 2 * _PAD
    wire = _width("", *(m.port for m in members)) + 2 * _PAD
    words = _width(
        NOTHING, *(t for n in topology.nodes for t in (n.name[:_LONGEST_NODE], n.bridge, n.tunnel, n.uplink, *_note(n)))
    )
    node = max(box + wire + 3 * _PAD, words + 4 * _PAD)
    count = len(topology.nodes)
    fitting = max(1, int((_WIDE - 2 * _MARGIN + _GAP) / (node + _GAP)))
    per_row = math.ceil(count / max(1, math.ceil(count / fitting)))
    rows = [topology.nodes[at : at + per_row] for at in range(0, count, max(1, per_row))]
    return _Size(box, wire, node, tuple(max(_height(n) for n in row) for row in rows), per_row)


def _width(*texts: str) -> float:
    return min(max(map(len, texts)), _LONGEST) * _CHAR


def _box_height(member: Member) -> float:
    return _HEAD + _LINE * len(member.lines) + 6


def _height(node: NodePart) -> float:
    inside = sum(_box_height(m) + _PAD for m in node.members)
    note = _HEAD + _LINE * (len(_note(node)) - 1) if _note(node) else 0
    if not node.bridge:
        return _HEAD + note
    return _HEAD + note + inside + _LINE + 2 * _HEAD


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


def _node(node: NodePart, x: float, y: float, height: float, bus: float, size: _Size) -> Iterator[str]:
    yield f'<rect class="node" x="{x:.0f}" y="{y:.0f}" width="{size.node:.0f}" height="{height:.0f}" rx="8"/>'
    yield _text(x + _PAD, y + 17, node.name, "title", _LONGEST_NODE)
    top = y + _HEAD
    for number, line in enumerate(note := _note(node)):
        yield _text(x + _PAD, top + 12 + _LINE * number, line, "ill" if node.ill else "quiet")
    top += _HEAD + _LINE * (len(note) - 1) if note else 0
    if not node.bridge:
        return
    bar = x + size.node - 2 * _PAD
    end = y + height - 2 * _HEAD
    yield _text(bar + 4, top + 6, node.bridge, "end")
    if node.tunnel:
        yield f'<path class="tunnel" d="M{bar:.0f} {end:.0f}V{bus:.0f}"/>'
        yield _text(bar - 8, end + 19, node.tunnel, "end")
        yield _text(bar - 8, end + 19 + _LINE, node.uplink, "end quiet")
    top += _LINE
    yield f'<path class="bridge" d="M{bar:.0f} {top:.0f}V{end:.0f}"/>'
    for member in node.members:
        yield from _member(member, x + _PAD, top, bar, size)
        top += _box_height(member) + _PAD


def _member(member: Member, x: float, y: float, bar: float, size: _Size) -> Iterator[str]:
    height = _box_height(member)
    wire = y + height / 2
    right = x + size.box
    state = "" if member.link is Link.UP else f" {member.link}"
    yield f'<path class="wire{state}" d="M{right:.0f} {wire:.0f}H{bar:.0f}"/>'
    yield (
        f'<rect class="{"vm" if member.vm else "pod"}" x="{x:.0f}" y="{y:.0f}" width="{size.box:.0f}"'
        f' height="{height:.0f}" rx="{0 if member.vm else 6}"/>'
    )
    yield _text(x + _PAD, y + 17, member.name, "title")
    for number, line in enumerate(member.lines):
        yield _text(x + _PAD, y + 17 + _LINE * (number + 1), line, "quiet")
    yield _text((right + bar) / 2, wire - 5, member.port, "middle")


def _text(x: float, y: float, text: str, kind: str, longest: int = _LONGEST) -> str:
    shown, whole = text, ""
    if len(text) > longest:  # names differ at their ends
        shown, whole = f"{text[: longest // 2]}…{text[1 - longest // 2 :]}", f"<title>{xml(text)}</title>"
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{xml(shown)}{whole}</text>'


def xml(text: str) -> str:
    """Text as XML and HTML have it, without what neither can say: somebody's pod may have any text as its address."""
    return escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", text))
