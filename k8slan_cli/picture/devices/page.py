"""Writes a topology as an HTML page that needs nothing beside it: the picture, and all of its interfaces as a table."""

from __future__ import annotations

from collections.abc import Iterator

from k8slan_cli.picture.devices import signs, svg
from k8slan_cli.picture.several import STYLE
from k8slan_cli.picture.svg import xml
from k8slan_cli.picture.topology import NOBODY, VM, Topology

_HEADS = ("LAN", "State", "Device", "Node", "Interface", "Spoke", "MAC", "Addresses", "Link", "Remarks")


def write(topology: Topology, heading: str, made: str = "") -> str:
    """Return the page; ``made`` says at its end when it was made, and of which cluster."""
    title = xml(heading)
    picture = _picture(topology)
    foot = [svg.LEGEND[sign] for sign in signs(topology)]
    foot += [svg.BUNDLE] * ('class="bundle"' in picture) + [xml(made)] * bool(made)
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        f"<h1>{title}</h1>",
        f'<div class="picture">\n{picture}</div>',
        *_table(topology),
        *[f"<footer>{''.join(f'<p>{line}</p>' for line in foot)}</footer>"] * bool(foot),
    ]
    return "\n".join([*parts, "</body>\n</html>"]) + "\n"


def _picture(topology: Topology) -> str:
    """Return the picture, which may shrink a little to fit a window before it has to be scrolled."""
    text = svg.write(topology, legend=False)
    width = int(text.partition(' width="')[2].partition('"')[0])
    return text.replace("<svg ", f'<svg style="max-width: 100%; min-width: {width * 3 // 4}px; height: auto" ', 1)


def _table(topology: Topology) -> Iterator[str]:
    devices = {device.key: device for device in topology.devices}
    yield '<div class="table">\n<table>'
    yield f"<thead><tr>{''.join(f'<th>{head}</th>' for head in _HEADS)}</tr></thead>\n<tbody>"
    for segment in topology.lans:
        state = f"{segment.state}: {segment.message}" if segment.message else segment.state
        if not segment.ends:
            yield _row(str(segment.ref), state, NOBODY[segment.hidden], *[""] * (len(_HEADS) - 3))
        for end in segment.ends:
            device = devices[end.device]
            name = device.name + (f" ×{device.count}" if device.count > 1 else "") + " (VM)" * (device.kind == VM)
            addresses = ", ".join(end.addresses)
            cells = (name, device.node, end.interface, end.spoke, end.mac, addresses, end.link, end.remarks)
            yield _row(str(segment.ref), state, *cells)
    yield "</tbody>\n</table>\n</div>"


def _row(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{xml(cell)}</td>' for cell in cells)}</tr>"
