"""Devices and the LANs that join them (topology.py), drawn: for a terminal, as SVG, a page, Mermaid, Graphviz's DOT.

Pure functions from a topology to text; ``layout`` says where things are in SVG.
"""

from __future__ import annotations

from k8slan_cli.picture.topology import DOWN, HOST, MIGRATING, VM, WAITING, Topology


def heading(topology: Topology, of: str = "") -> str:
    """Return a title: ``lab: 5 devices, 4 LANs``; ``of`` is what the LANs have in common."""
    devices = sum(device.count for device in topology.devices)
    words = f"{devices} device{'s' * (devices != 1)}, {len(topology.lans)} LAN{'s' * (len(topology.lans) != 1)}"
    return f"{of}: {words}" if of else words


def signs(topology: Topology) -> list[str]:
    """Return which signs a picture has that say nothing by themselves: words of ``LEGEND``."""
    ends = [end for segment in topology.lans for end in segment.ends]
    there = {
        "vm": any(device.kind == VM for device in topology.devices),
        "host": any(device.kind == HOST for device in topology.devices),
        "migrating": any(device.state == MIGRATING for device in topology.devices),
        "bus": any(not segment.line for segment in topology.lans),
        "down": any(end.link == DOWN for end in ends),
        "waiting": any(end.link == WAITING for end in ends) or any(d.state == WAITING for d in topology.devices),
        "impaired": any(end.impairment for end in ends),
        "ill": any(segment.ill for segment in topology.lans),
        "count": any(device.count > 1 for device in topology.devices),
    }
    return [sign for sign, is_there in there.items() if is_there]
