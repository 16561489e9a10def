"""Makes a picture of many pods readable: those of a controller that are alike on a node are drawn as one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from k8slan_cli.picture import Link, Member, Topology
from k8slan_cli.picture import topology as devices

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


def folded_devices(topology: devices.Topology) -> devices.Topology:
    """Return the same with pods of a controller as one where they are many on the same LANs, on whatever nodes.

    What a lab has, and what is not well, is never folded.
    """
    ends: dict[str, list[tuple[devices.Segment, devices.End]]] = {}
    for segment in topology.lans:
        for end in segment.ends:
            ends.setdefault(end.device, []).append((segment, end))
    groups: dict[object, list[devices.Device]] = {}
    for device in topology.devices:
        found = _OF_CONTROLLER.fullmatch(device.name)
        its = ends.get(device.key, [])
        well = device.kind == devices.POD and device.state == devices.ATTACHED and not device.lab
        if found and well and not any(end.link != devices.UP or end.impairment or end.note for _, end in its):
            places = tuple((segment.ref, end.interface) for segment, end in its)
            groups.setdefault((device.key.partition("/")[0], found[1], places), []).append(device)
    kept: dict[str, devices.Device | None] = {device.key: device for device in topology.devices}
    for number, group in enumerate(groups.values()):
        if len(group) > FEW:
            kept |= dict.fromkeys((device.key for device in group), None)
            kept[group[0].key] = _all_devices(group, number)
    return replace(
        topology,
        devices=tuple(filter(None, kept.values())),
        lans=tuple(replace(each, ends=tuple(_kept_ends(each.ends, kept))) for each in topology.lans),
    )


def _all_devices(group: Sequence[devices.Device], number: int) -> devices.Device:
    first = group[0]
    found = _OF_CONTROLLER.fullmatch(first.name)
    name = found[1] if found else first.name
    nodes = {device.node for device in group}
    key = f"{first.key.partition('/')[0]}/{name} ({number})"
    return replace(first, key=key, name=name, node=nodes.pop() if len(nodes) == 1 else "", count=len(group))


def _kept_ends(ends: Sequence[devices.End], kept: Mapping[str, devices.Device | None]) -> Iterator[devices.End]:
    for end in ends:
        device = kept[end.device]
        if device is not None and device.count > 1:
            yield devices.End(device=device.key, interface=end.interface)
        elif device is not None:
            yield end


def legend(topologies: Sequence[Topology]) -> list[tuple[str, str]]:
    """Return the signs that pictures have and that say nothing by themselves: in characters, and in words."""
    members = [member for topology in topologies for node in topology.nodes for member in node.members]
    signs = [("║", "VM")] * any(member.vm for member in members)
    signs += [("╳", "link down")] * any(member.link is Link.DOWN for member in members)
    signs += [("┄", "waits to attach")] * any(member.link is Link.WAITING for member in members)
    return signs + [("×", "pods of one controller")] * any(" ×" in member.name for member in members)
