"""Several LANs in one picture: SVG with each below the other, a page that stands alone, and Mermaid of who is where.

Mermaid draws a pod once, however many LANs it is on, which is what a router's place shows; the others draw each LAN
as svg.py does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from k8slan_cli.picture import Topology, mermaid, svg
from k8slan_cli.picture.fold import legend
from k8slan_cli.picture.mermaid import quoted

_SIZE = re.compile(r'<svg [^>]*width="(\d+)" height="(\d+)">')
_GAP = 16

SIGNS = {
    "VM": "Purple, with square corners: a VM.",
    "link down": "Red, dashed: the link is down.",
    "waits to attach": "Grey, dotted: waits to attach.",
    "pods of one controller": "name ×4: so many pods of one controller.",
}
"""What the signs of a picture mean, by the words that the terminal has for them."""
STYLE = """
  :root { color-scheme: light dark; --page: #ffffff; --text: #1f2733; --quiet: #5b6675; --line: #c9d0d9; }
  @media (prefers-color-scheme: dark) {
    :root { --page: #14181e; --text: #e4e9f0; --quiet: #a3afbf; --line: #3a4456; }
  }
  body {
    margin: 1.5rem; background: var(--page); color: var(--text); font: 15px/1.45 system-ui, sans-serif;
    overflow-wrap: anywhere;
  }
  h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
  footer { color: var(--quiet); margin-top: 2rem; } footer p { margin: 0; }
  a { color: inherit; } nav { columns: 24rem; } nav ul { margin: 0; }
  .picture, .table { overflow-x: auto; } svg { display: block; margin-left: -0.5rem; }
  table { border-collapse: collapse; margin: 0.75rem 0; font-variant-numeric: tabular-nums; }
  th, td { text-align: left; padding: 0.2rem 1rem 0.2rem 0; border-bottom: 1px solid var(--line); }
  th, td { max-width: 24rem; overflow-wrap: break-word; }
  th { color: var(--quiet); font-weight: normal; }
  @media print { .picture, .table { overflow: visible; } .picture svg { max-width: 100%; height: auto; } }
"""


def write_svg(topologies: Sequence[Topology], made: str = "") -> str:
    """One SVG document: the pictures below each other, what their signs mean, and when and of what it was ``made``."""
    notes = [*_meanings(topologies), made] if made else _meanings(topologies)
    texts = [svg.write(each) for each in topologies[:-1]] + [svg.write(each, notes=notes) for each in topologies[-1:]]
    if len(texts) == 1:
        return texts[0]
    pictures = [(text, *_size(text)) for text in texts]
    width = max((w for _, w, _ in pictures), default=0)
    height = sum(h + _GAP for _, _, h in pictures)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}">',
        f"<title>{svg.xml(_title(topologies))}</title>",
    ]
    top = 0
    for text, _, tall in pictures:
        parts.append(text.replace("<svg ", f'<svg y="{top}" ', 1).rstrip())
        top += tall + _GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _meanings(topologies: Sequence[Topology]) -> list[str]:
    return [SIGNS[words] for _, words in legend(topologies) if words in SIGNS]


def _size(text: str) -> tuple[int, int]:
    found = _SIZE.search(text)
    assert found is not None, "svg.write begins with its size"  # noqa: S101
    return int(found[1]), int(found[2])


def _title(topologies: Sequence[Topology]) -> str:
    return topologies[0].title if len(topologies) == 1 else f"{len(topologies)} LANs"


def write_page(topologies: Sequence[Topology], made: str = "") -> str:
    """An HTML page that needs nothing beside it: the pictures, and who is on each LAN as a table.

    ``made`` says at its end when it was made, and of what.
    """
    title = svg.xml(_title(topologies))
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
    ]
    if len(topologies) != 1:
        items = "".join(f'<li><a href="#lan{n}">{svg.xml(t.title)}</a></li>' for n, t in enumerate(topologies))
        parts.append(f"<h1>{title}</h1>\n<nav><ul>{items}</ul></nav>")
    for number, topology in enumerate(topologies):
        heading = "h1" if len(topologies) == 1 else "h2"
        parts.append(f'<section id="lan{number}">\n<{heading}>{svg.xml(topology.title)}</{heading}>')
        parts.append(f'<div class="picture">\n{svg.write(topology, titled=False)}</div>')
        parts += [*_rows(topology), "</section>"]
    foot = _meanings(topologies) + [svg.xml(made)] * bool(made)
    parts += [f"<footer>{''.join(f'<p>{line}</p>' for line in foot)}</footer>"] * bool(foot)
    return "\n".join([*parts, "</body>\n</html>"]) + "\n"


def _rows(topology: Topology) -> Iterator[str]:
    members = [(node, member) for node in topology.nodes for member in node.members]
    if not members:
        return
    yield '<div class="table">\n<table>'
    yield "<thead><tr><th>Node</th><th>Who</th><th>Spoke</th><th>Link</th><th>Interface</th></tr></thead>\n<tbody>"
    for node, member in members:
        who = f"{member.name} (VM)" if member.vm else member.name
        cells = (node.name, who, member.port, member.link, ", ".join(member.lines))
        yield f"<tr>{''.join(f'<td>{svg.xml(cell)}</td>' for cell in cells)}</tr>"
    yield "</tbody>\n</table>\n</div>"


def write_mermaid(topologies: Sequence[Topology]) -> str:
    """A flowchart of pods and VMs on their nodes, and of the LANs that join them."""
    if len(topologies) == 1:
        return mermaid.write(topologies[0])
    lines = ["flowchart LR"]
    nodes: dict[str, dict[str, str]] = {}
    edges: list[str] = []
    for number, topology in enumerate(topologies):
        lines.append(f"  lan{number}{{{{{quoted(topology.title)}}}}}")
        for node in topology.nodes:
            known = nodes.setdefault(node.name, {})
            for member in node.members:
                opening, closing = ("[[", "]]") if member.vm else ("[", "]")
                known.setdefault(member.name, f"{opening}{quoted(member.name)}{closing}")
                place = f"n{list(nodes).index(node.name)}m{list(known).index(member.name)}"
                wire, words = mermaid.WIRES[member.link], quoted("<br>".join((member.port, *member.lines)))
                edges.append(f"  {place} {wire}|{words}| lan{number}")
    for n, (name, members) in enumerate(nodes.items()):
        if not members:
            continue
        lines.append(f"  subgraph n{n}[{quoted(name)}]")
        lines += [f"    n{n}m{m}{shape}" for m, shape in enumerate(members.values())]
        lines.append("  end")
    return "\n".join([*lines, *edges]) + "\n"
