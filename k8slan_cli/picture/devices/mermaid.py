"""Writes a topology as a Mermaid flowchart: devices as boxes, LANs of two as wires, others as nodes of their own."""

from __future__ import annotations

from k8slan_cli.picture.mermaid import quoted
from k8slan_cli.picture.topology import DOWN, HOST, VM, WAITING, End, Segment, Topology
from k8slan_cli.picture.words import bus_name, device_about, device_name, trouble

_SHAPES = {VM: ("[[", "]]"), HOST: ("[/", "/]")}


def write(topology: Topology, heading: str = "") -> str:
    """Return the flowchart, without the fence around it."""
    lines = ["---", f"title: {quoted(heading)}", "---"] if heading else []
    lines.append("flowchart LR")
    numbers = {device.key: number for number, device in enumerate(topology.devices)}
    for device in topology.devices:
        opening, closing = _SHAPES.get(device.kind, ("(", ")"))
        words = "<br>".join(filter(None, (device_name(device), device_about(device))))
        lines.append(f"  d{numbers[device.key]}{opening}{quoted(words)}{closing}")
    for number, segment in enumerate(topology.lans):
        if segment.line:
            one, two = segment.ends
            words = f"{_end(one)} – {_end(two)}" + _lan(segment)
            lines.append(f"  d{numbers[one.device]} {_wire(one, two)}|{quoted(words)}| d{numbers[two.device]}")
            continue
        lines.append(f"  l{number}{{{{{quoted(bus_name(segment))}}}}}")
        lines += [f"  d{numbers[end.device]} {_wire(end)}|{quoted(_end(end))}| l{number}" for end in segment.ends]
    return "\n".join(lines) + "\n"


def _wire(*ends: End) -> str:
    links = {end.link for end in ends}
    return "x--x" if DOWN in links else "-.-" if WAITING in links else "---"


def _end(end: End) -> str:
    return f"{end.interface} ({end.remarks})" if end.remarks else end.interface


def _lan(segment: Segment) -> str:
    return f"<br>{bus_name(segment)}" if trouble(segment) else ""
