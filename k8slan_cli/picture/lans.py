"""The picture of a LAN in a cluster, from the LAN and from who is on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from k8slan_cli.lan.model import NODE_READY, Lan
from k8slan_cli.picture import Member, NodePart, Topology
from k8slan_cli.picture.text import cut
from k8slan_cli.plan.attached import Attached, Shared, shared

_NOTE = 48  # characters of a note: inspect has all of it
_NOWHERE = "no node yet"


def topology(lan: Lan, attached: Iterable[Attached], *, ready: bool) -> Topology:
    """A LAN's nodes: those that say that they take part, and those of its pods."""
    own = [each for each in attached if each.socket.lan == lan.ref]
    shares = shared(own)
    names = {node.name for node in lan.nodes} | {each.pod.node for each in own if each.pod.node}
    nodes = [_node(lan, name, [each for each in own if each.pod.node == name], shares) for name in sorted(names)]
    if homeless := [each for each in own if not each.pod.node]:
        nodes.append(_waiting(homeless))
    flooding = f"multicast {lan.group}" if lan.group else "unicast"
    state = "" if ready else ", not ready"
    return Topology(
        title=f"LAN {lan.ref}: VNI {lan.vni}, {flooding}{', dynamic' if lan.dynamic else ''}{state}",
        underlay=f"underlay, UDP port {lan.port}" if nodes else "no attachments",
        nodes=tuple(nodes),
    )


def _node(lan: Lan, name: str, attached: Iterable[Attached], shares: Sequence[Shared]) -> NodePart:
    said = next((node for node in lan.nodes if node.name == name), None)
    if said is None:
        note = "nothing heard of it yet"
    elif said.state != NODE_READY:
        note = f"{said.state}: {said.message}" if said.message else said.state
    else:
        note = ""
    return NodePart(
        name=name,
        bridge=lan.bridge,
        tunnel=lan.vxlan if said else "",
        uplink=" ".join(filter(None, (said.device, str(said.vtep or "")))) if said else "",
        members=tuple(_member(each, shares) for each in attached),
        note=cut(" ".join(note.split()), _NOTE),
    )


def _member(each: Attached, shares: Iterable[Shared]) -> Member:
    network, pod = each.network, each.pod
    first = " ".join((network.interface, *network.ips)) if network.present else f"{network.interface} (waiting)"
    notes = [f"{share.kind} in use {share.times}" for share in shares if each in share.holders]
    place = f"{pod.namespace}/" if pod.namespace != each.socket.lan.namespace else ""
    return Member(
        name=place + (pod.vm or pod.name),
        port=each.socket.spoke or "dynamic",
        lines=tuple(filter(None, (first, network.mac, *notes))),
        vm=bool(pod.vm),
    )


def _waiting(homeless: Sequence[Attached]) -> NodePart:
    return NodePart(name=_NOWHERE, note=cut("waiting: " + ", ".join(each.who for each in homeless), _NOTE))
