"""Writes a topology in DOT, the language of Graphviz: devices as boxes, LANs of two as edges, others as points."""

from __future__ import annotations

from collections.abc import Mapping

from k8slan_cli.picture.topology import DOWN, VM, WAITING, End, Segment, Topology
from k8slan_cli.picture.words import bus_name, device_about, device_name, trouble

_BUS = 'shape=box, style=filled, color="#d9730d", fillcolor="#d9730d", fontcolor=white'


def write(topology: Topology, heading: str = "") -> str:
    """Return an undirected graph whose edges have the names of interfaces at their ends."""
    lines = ["graph lans {", "  rankdir=LR", '  node [shape=box, style=rounded, fontname="monospace"]']
    lines += ['  edge [fontname="monospace", fontsize=10]']
    lines += [f"  label={quoted(heading)}"] * bool(heading)
    for device in topology.devices:
        words = "\n".join(filter(None, (device_name(device), device_about(device))))
        style = {VM: ', style="", peripheries=2'}.get(device.kind, "")
        style += ', style="dotted"' * (device.state == WAITING)
        lines.append(f"  {quoted(device.key)} [label={quoted(words)}{style}]")
    for segment in topology.lans:
        key = quoted(segment.key)
        if segment.line:
            one, two = segment.ends
            lines.append(f"  {quoted(one.device)} -- {quoted(two.device)} {_marks(one, two, lan=segment)}")
            continue
        lines.append(f"  {key} [label={quoted(bus_name(segment))}, {_BUS}]")
        lines += [f"  {quoted(end.device)} -- {key} {_marks(end)}" for end in segment.ends]
    return "\n".join([*lines, "}"]) + "\n"


def _marks(*ends: End, lan: Segment | None = None) -> str:
    links = {end.link for end in ends}
    marks: dict[str, str] = {"taillabel": ends[0].interface}
    if len(ends) > 1:
        marks["headlabel"] = ends[1].interface
    words = [word for end in ends for word in (end.impairment, end.note)]
    if lan:
        words.append(bus_name(lan) if trouble(lan) else "")
        marks["tooltip"] = str(lan.ref)
    if any(words):
        marks["label"] = "\n".join(filter(None, words))
    if DOWN in links:
        marks |= {"color": "red", "style": "dashed"}
    elif WAITING in links:
        marks |= {"color": "gray", "style": "dotted"}
    return _written(marks)


def _written(marks: Mapping[str, str]) -> str:
    return f"[{', '.join(f'{name}={quoted(text)}' for name, text in marks.items())}]"


def quoted(text: str) -> str:
    """Return a quoted string of DOT."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
