"""Makes a picture of many pods readable: those of a controller that are alike on a node are drawn as one. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from k8slan_cli.picture import Link, Member, Topology

FEW = 3
"""So many that are alike are drawn one by one."""
_OF_CONTROLLER = re.compile(r"(.+?)(?:-[a-z0-9]{6,10})?-(?:[bcdfghjklmnpqrstvwxz2456789]{5}|[0-9]+)")
"""Names of pods of a Deployment, a DaemonSet or a Job, and of a StatefulSet: what stands before what is made up."""
_ALIKE = 2  # lines: the interface and the MAC address; one that is wrong has more


def folded(topology: Topology) -> Topology:
    """Return the same with pods of a controller as one where they are many, all up, and nothing is to say of them."""
    return replace(topology, nodes=tuple(replace(n, members=tuple(_members(n.members))) for n in topology.nodes))


def _members(members: Sequence[Member]) -> list[Member]:
    groups: dict[str, list[Member]] = {}
    for member in members:
        if name := _controller(member):
            groups.setdefault(name, []).append(member)
    drawn: list[Member] = []
    for member in members:
        group = groups.get(_controller(member), [])
        if len(group) <= FEW:
            drawn.append(member)
        elif member is group[0]:
            drawn.append(_all_of(_controller(member), group))
    return drawn


def _controller(member: Member) -> str:
    """Return the name of a pod's controller, "" of what is drawn by itself."""
    if member.vm or member.link is not Link.UP or len(member.lines) > _ALIKE:
        return ""
    found = _OF_CONTROLLER.fullmatch(member.name)
    return found[1] if found else ""


def _all_of(name: str, group: Sequence[Member]) -> Member:
    ports = dict.fromkeys(member.port for member in group)
    return Member(
        name=f"{name} ×{len(dict.fromkeys(member.name for member in group))}",
        port=next(iter(ports)) if len(ports) == 1 else f"{len(ports)} spokes",
        lines=tuple(dict.fromkeys(member.lines[0].split(" ")[0] for member in group if member.lines))[:_ALIKE],
    )


def legend(topologies: Sequence[Topology]) -> list[tuple[str, str]]:
    """Return the signs that pictures have and that say nothing by themselves: in characters, and in words."""
    members = [member for topology in topologies for node in topology.nodes for member in node.members]
    signs = [("║", "VM")] * any(member.vm for member in members)
    signs += [("╳", "link down")] * any(member.link is Link.DOWN for member in members)
    signs += [("┄", "waits to attach")] * any(member.link is Link.WAITING for member in members)
    return signs + [("×", "pods of one controller")] * any(" ×" in member.name for member in members)
