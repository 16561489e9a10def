"""The picture of a LAN in a cluster, from the LAN and from who is on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8slan_cli.lan.model import Lan
from k8slan_cli.lan.vtep import READY, Vtep, VtepUplink
from k8slan_cli.picture import Link, Member, NodePart, Topology
from k8slan_cli.picture.topology import NOBODY, UNKNOWN, Seen
from k8slan_cli.plan.occupancy import REMOVED, Occupancy, Occupant, natural, pulled, some, takes_part

_NOWHERE = "no node yet"


def topology(seen: Seen) -> Topology:
    """Return a LAN's nodes: those that say that they take part, and those of pods that wait."""
    lan, on = seen.lan, seen.on
    vteps = {vtep.node: vtep for vtep in on.vteps}
    names = {*vteps, *(item.node for item in on.waiting if item.node)}
    nodes = [_node(lan, name, vteps.get(name), on) for name in sorted(names, key=natural)]
    if homeless := [item for item in on.waiting if not item.node]:
        nodes.append(_waiting(homeless))
    flooding = f"multicast {lan.group}" if lan.group else "unicast"
    state = "" if seen.state in (READY, UNKNOWN) else f", not ready: {' '.join((seen.message or seen.state).split())}"
    return Topology(
        title=f"LAN {lan.ref}: VNI {lan.vni or 'none yet'}, {flooding}{', dynamic' if lan.dynamic else ''}{state}",
        underlay=f"underlay, UDP port {lan.port}" if nodes else NOBODY[seen.hidden],
        nodes=tuple(nodes),
    )


def _node(lan: Lan, name: str, vtep: Vtep | None, on: Occupancy) -> NodePart:
    there = vtep is not None and takes_part(vtep)
    members = tuple(_member(item, lan, on) for item in (*on.attached, *on.waiting) if item.node == name)
    members += tuple(map(_hardware, vtep.uplinks)) if vtep else ()
    return NodePart(
        name=name,
        bridge=lan.bridge if there or members else "",
        tunnel=lan.vxlan if there else "",
        uplink=" ".join(filter(None, (vtep.device, str(vtep.address or "")))) if vtep and there else "",
        members=members,
        note=" ".join(_note(vtep).split()),
        ill=vtep is not None and bool(vtep.lost or vtep.state not in ("", READY)),
    )


def _note(vtep: Vtep | None) -> str:
    if vtep is None:
        return "nothing of the LAN here yet"
    if vtep.lost:
        return "lost: the node is not ready"
    if vtep.state in ("", READY):
        return ""
    return f"{vtep.state}: {vtep.message}" if vtep.message else vtep.state


def _member(item: Occupant, lan: Lan, on: Occupancy) -> Member:
    port, pod = item.port, item.port.pod
    down = item.holder or pulled(lan, item)
    first = " ".join((port.interface, *port.addresses)) if item.vtep else f"{port.interface} (waiting)"
    place = f"{pod.namespace}/" if pod and pod.namespace != item.lan.namespace else ""
    return Member(
        name=place + (port.vm.name if port.vm else pod.name if pod else port.name),
        port=port.spoke or "dynamic",
        lines=tuple(filter(None, (first, port.mac, *(_remarks(item, lan, on) if item.vtep else ())))),
        vm=port.vm is not None,
        link=Link.WAITING if item.vtep is None else Link.DOWN if down else Link.UP,
    )


def _hardware(uplink: VtepUplink) -> Member:
    """Return what is behind an uplink, which waits as long as another is active."""
    link = Link.UP if uplink.active else Link.WAITING if uplink.carrier and not uplink.message else Link.DOWN
    return Member(name="hardware", port="uplink", lines=(uplink.what, uplink.state), link=link)


def _remarks(item: Occupant, lan: Lan, on: Occupancy) -> Iterator[str]:
    """Tell what is wrong with an interface, in few words: inspect says it in full."""
    for clash in on.clashes:
        if item in clash.interfaces:
            yield f"{clash.kind} in use {clash.times}"
    if item.holder:
        yield "link down"
    elif down := pulled(lan, item):
        yield down
    if item.end:
        yield {True: "migrating, runs here", False: f"runs on {item.end.other}", None: "migrating"}[item.end.runs]
    if item.removed:
        yield REMOVED
    yield from filter(None, lan.link(item.port.spoke or None, item.plug).words.split("; "))
    if on.oversized(item):
        yield f"MTU {item.port.mtu}, the LAN has {on.mtu}"


def _waiting(homeless: Sequence[Occupant]) -> NodePart:
    return NodePart(name=_NOWHERE, note="waiting: " + some(each.who for each in homeless))
