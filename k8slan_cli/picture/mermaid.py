"""Writes a topology as a Mermaid flowchart, which GitHub, GitLab and many wikis draw."""

from __future__ import annotations

from k8slan_cli.picture import NOTHING, Link, Topology

WIRES = {Link.UP: "---", Link.DOWN: "x--x", Link.WAITING: "-.-"}


def write(topology: Topology) -> str:
    """The flowchart, without the fence around it."""
    lines = ["---", f"title: {quoted(topology.title)}", "---", "flowchart TB"]
    for n, node in enumerate(topology.nodes):
        lines.append(f"  subgraph n{n}[{quoted(node.name)}]")
        if node.note:
            lines.append(f"    n{n}note>{quoted(node.note)}]")
        for m, member in enumerate(node.members):
            opening, closing = ("[[", "]]") if member.vm else ("[", "]")
            lines.append(f"    n{n}m{m}{opening}{quoted('<br>'.join((member.name, *member.lines)))}{closing}")
            lines.append(f"    n{n}m{m} {WIRES[member.link]}|{quoted(member.port)}| n{n}br")
        if node.bridge:
            lines.append(f"    n{n}br([{quoted(node.bridge)}])")
        elif not node.note:
            lines.append(f"    n{n}none>{quoted(NOTHING)}]")
        lines.append("  end")
    for n, node in enumerate(topology.nodes):
        if node.tunnel:
            lines.append(f"  n{n}br ---|{quoted('<br>'.join(filter(None, (node.tunnel, node.uplink))))}| underlay")
    lines.append(f"  underlay{{{{{quoted(topology.underlay)}}}}}")
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A label: in quotes, with what Mermaid would take for syntax as its entities."""
    return '"' + text.replace("#", "#35;").replace('"', "#quot;") + '"'
