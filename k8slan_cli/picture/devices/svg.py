"""Writes a topology as SVG that stands alone, readable on light and dark: boxes, wires and buses as layout has them.

Each device, wire and bus says as a tooltip all that is known of it. ``data-device``, ``data-lan`` and ``data-link``
tell programs what is what. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8slan_cli.picture import layout
from k8slan_cli.picture.devices import signs
from k8slan_cli.picture.layout.measures import BOX, CHAR, LINE, PAD, SMALL
from k8slan_cli.picture.layout.plan import Box, Bus, Label, Plan, Wire
from k8slan_cli.picture.svg import PALETTE, xml
from k8slan_cli.picture.topology import HOST, MIGRATING, VM, WAITING, End, Segment, Topology
from k8slan_cli.picture.words import bus_name, device_about, device_name

MARGIN = 24
LEGEND = {
    "vm": "Purple, square corners: a VM.",
    "host": "Green: outside the cluster.",
    "migrating": "Purple, dashed: a VM that migrates.",
    "bus": "Thick orange line: a LAN of more than two, or of one.",
    "down": "Red, dashed: the link is down.",
    "waiting": "Grey, dotted: waits to attach.",
    "impaired": "Brown or amber: a link with an impairment.",
    "ill": "Red name: a LAN that is not ready.",
    "count": "name ×4: so many pods of one controller.",
}
BUNDLE = "Thick grey line: the links of one device."
_STYLE = (
    PALETTE
    + """
  text.small { font-size: 11px; } text.ill, tspan.ill { fill: var(--ill); font-weight: bold; }
  .wire, .bus, .bundle { fill: none; } .bundle { stroke: var(--quiet); stroke-width: 4; stroke-linecap: round; }
  .impaired { stroke: var(--impaired); } .bus { stroke: var(--bridge); stroke-width: 6; stroke-linecap: round; }
  .host { fill: var(--page); stroke: var(--tunnel); } .bus.ill { stroke: var(--ill); }
  .device.waiting rect { stroke: var(--faint); stroke-dasharray: 2 4; }
  .device.migrating rect { stroke-dasharray: 6 4; }
  .device:hover rect, .wire:hover { stroke-width: 4; }
"""
)


def write(topology: Topology, title: str = "", made: str = "", *, legend: bool = True) -> str:
    """Return the picture as an SVG document, with a ``title``, and below it the legend and when it was ``made``."""
    plan = layout.arrange(topology)
    head = LINE + MARGIN / 2 if title else 0
    meanings = [LEGEND[sign] for sign in signs(topology)] + [BUNDLE] * bool(plan.bundles)
    notes = meanings * legend + [made] * bool(made)
    width = max(plan.width, len(title) * CHAR * 1.1, *(len(note) * SMALL for note in notes), 1) + 2 * MARGIN
    height = plan.height + 2 * MARGIN + head + (LINE * len(notes) + MARGIN / 2 if notes else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}">',
        f"<title>{xml(title or 'LANs')}</title>",
        f"<style>{_STYLE}</style>",
        '<rect class="page" width="100%" height="100%"/>',
        *([f'<text class="title" x="{MARGIN}" y="{MARGIN + 8}">{xml(title)}</text>'] if title else []),
        f'<g transform="translate({MARGIN} {MARGIN + head:.0f})">',
        *_plan(plan, topology),
        "</g>",
    ]
    at = MARGIN + head + plan.height + MARGIN
    parts += [
        f'<text class="small quiet" x="{MARGIN}" y="{at + LINE * number:.0f}">{xml(note)}</text>'
        for number, note in enumerate(notes)
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _plan(plan: Plan, topology: Topology) -> Iterator[str]:
    for bundle in plan.bundles:
        words = xml(f"Links of {bundle.device.name}")
        yield f'<path class="bundle" d="{_path(bundle.points)}"><title>{words}</title></path>'
        for bar in bundle.bars:
            yield f'<path class="bundle" d="{_path(bar)}"><title>{words}</title></path>'
    for wire in plan.wires:
        yield _wire(wire)
    for bus in plan.buses:
        yield from _bus(bus)
    for wire in plan.wires:
        yield from map(_label, wire.labels)
    ends: dict[str, list[tuple[Segment, End]]] = {}
    for segment in topology.lans:
        for end in segment.ends:
            ends.setdefault(end.device, []).append((segment, end))
    for box in plan.boxes:
        yield from _box(box, ends.get(box.device.key, ()))


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Return the way of a wire: straight where it is level or upright, else a curve that begins and ends level."""
    (x, y), *rest = points
    path = f"M{x:.0f} {y:.0f}"
    for to_x, to_y in rest:
        middle = (x + to_x) / 2
        straight = abs(to_y - y) < 1 or abs(to_x - x) < 1
        curve = f"C{middle:.0f} {y:.0f} {middle:.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}"
        path += f"L{to_x:.0f} {to_y:.0f}" if straight else curve
        x, y = to_x, to_y
    return path


def _wire(wire: Wire) -> str:
    impaired = " impaired" * any(end.impairment for end in wire.ends)
    state = f" {wire.state}" if wire.state != "up" else impaired
    words = "\n".join([_lan(wire.segment), *map(_end, wire.ends)])
    lan, way = xml(str(wire.segment.ref)), _path(wire.points)
    return (
        f'<path class="wire{state}" data-lan="{lan}" data-link="{wire.state}" d="{way}">'
        f"<title>{xml(words)}</title></path>"
    )


def _bus(bus: Bus) -> Iterator[str]:
    ill = " ill" * bus.segment.ill
    ref = xml(str(bus.segment.ref))
    words = xml("\n".join([_lan(bus.segment), *map(_end, bus.segment.ends)]))
    for bar in bus.bars:
        yield f'<path class="bus{ill}" data-lan="{ref}" d="{_path(bar)}"><title>{words}</title></path>'
    name = bus_name(bus.segment)
    yield f'<text class="title{ill}" x="{bus.x:.0f}" y="{bus.y:.0f}">{xml(name)}<title>{words}</title></text>'


def _label(label: Label) -> str:
    kind = "small quiet" + " end" * label.right + " ill" * label.ill
    return f'<text class="{kind}" x="{label.x:.0f}" y="{label.y:.0f}">{xml(label.text)}</text>'


def _box(box: Box, ends: Sequence[tuple[Segment, End]]) -> Iterator[str]:
    device = box.device
    kind = device.kind if device.kind in (VM, HOST) else "pod"
    state = f" {device.state}" if device.state in (WAITING, MIGRATING) else ""
    about = [device.key if device.kind != HOST else device.name, f"on node {device.node}" if device.node else ""]
    about += [f"lab {device.lab}" if device.lab else ""]
    words = [", ".join(filter(None, about)), *(f"{_end(end)} · LAN {segment.ref}" for segment, end in ends)]
    yield f'<g class="device{state}" data-device="{xml(device.key)}"><title>{xml(chr(10).join(words))}</title>'
    yield (
        f'<rect class="{kind}" x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}"'
        f' rx="{0 if kind == VM else 6}"/>'
    )
    first, second = device_name(device), device_about(device)
    x, middle = box.x + PAD, box.y + box.height / 2
    low = box.height < BOX or not second  # then all is on one line
    yield f'<text class="title" x="{x:.0f}" y="{middle + 4 if low else middle - 2:.0f}">{xml(first)}</text>'
    if second:
        x, y = (x + (len(first) + 1) * CHAR, middle + 4) if low else (x, middle + 13)
        yield f'<text class="small quiet" x="{x:.0f}" y="{y:.0f}">{xml(second)}</text>'
    yield "</g>"


def _lan(segment: Segment) -> str:
    words = [f"LAN {segment.ref}", f"VNI {segment.vni}" if segment.vni else "", segment.state, segment.message]
    return ", ".join(filter(None, words))


def _end(end: End) -> str:
    words = [
        f"{end.device} {end.interface}",
        f"spoke {end.spoke}" if end.spoke else "",
        end.mac,
        *end.addresses,
        f"link {end.link}",
        end.impairment,
        end.note,
    ]
    return ", ".join(filter(None, words))
