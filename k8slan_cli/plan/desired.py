"""From a LAN, a node and its attachments to the state that the node should have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from types import MappingProxyType

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lan import names
from k8slan_cli.lan.model import IpAddress, Lan, NodeStatus, Uplink, overhead
from k8slan_cli.lan.validate import MIN_MTU
from k8slan_cli.lan.vtep import Holder, Vtep, holdings, least_mtu, peers
from k8slan_cli.plan import uplinks
from k8slan_cli.plan.shaping import shaping
from k8slan_cli.plan.state import (
    UNSHAPED,
    Attachment,
    AttachmentKind,
    Bridge,
    Joint,
    LanState,
    Port,
    Stub,
    Tunnel,
    Underlay,
    Vxlan,
    absent,
)
from k8slan_cli.plan.uplinks import Nic, SeenUplink

# ---------------------------------------------------------------- what follows from the other nodes' VTEPs


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What other nodes have of a LAN, as far as it decides what this node should have.

    ``peers``   where frames are replicated to; None while that has not been heard: then those that are there stay
    ``losers``  ports of this node whose spoke another port holds; None likewise
    ``plugged`` spokes that ports of other nodes have; None likewise
    """

    peers: frozenset[IpAddress] | None = None
    losers: frozenset[str] | None = None
    plugged: frozenset[str] | None = None


def elsewhere(lan: Lan, node_name: str, vteps: Collection[Vtep]) -> Elsewhere:
    """Work out what follows from all VTEPs of a LAN, this node's among them.

    A node without a VTEP may have an entry in the LAN's status, from an agent of version 0.1.0 or from a LAN file: what
    is plugged in there nobody knows, so it counts as all.
    """
    plugged = {port.spoke for vtep in vteps if vtep.node != node_name and not vtep.lost for port in vtep.ports}
    unknown = lan.spokes if _entries(lan, node_name, vteps) else ()
    return Elsewhere(
        peers=peers(vteps, node_name)
        | frozenset(entry.vtep for entry in _entries(lan, node_name, vteps) if entry.vtep),
        losers=_losers(node_name, vteps),
        plugged=frozenset({*plugged, *unknown} - {""}),
    )


def remote_addresses(lan: Lan, around: Elsewhere) -> frozenset[IpAddress]:
    """Return the addresses of all that frames go to, as far as they are known: other nodes, and what is no node."""
    return frozenset(around.peers or ()).union(lan.remotes)


def as_heard(around: Elsewhere, lan: Lan, node_name: str, observed: LanState) -> Elsewhere:
    """Fill in what has not been heard of other nodes yet: what an agent before this one has left stays as it is."""
    there = observed.vxlan.peers if observed.vxlan else frozenset[IpAddress]()
    down = frozenset(name for name, port in observed.ports.items() if not port.up)
    return Elsewhere(
        peers=there | lan.peers_of(node_name) if around.peers is None else around.peers,
        losers=down if around.losers is None else around.losers,
        plugged=frozenset(lan.spokes) if around.plugged is None else around.plugged,
    )


def _entries(lan: Lan, node_name: str, vteps: Iterable[Vtep]) -> list[NodeStatus]:
    """Return the entries in a LAN's status of other nodes that have no VTEP of it."""
    known = {vtep.node for vtep in vteps} | {node_name} if lan.nodes else set()
    return [entry for entry in lan.nodes if entry.name not in known]


def _losers(node_name: str, vteps: Iterable[Vtep]) -> frozenset[str]:
    """Return the ports of a node whose spoke another port holds. Only spokes that the node has are looked at.

    Of a node that is lost these are all ports whose spoke somebody holds: its agent may be at work while its kubelet
    is down.
    """
    all_vteps = list(vteps)
    own = {port.spoke for vtep in all_vteps if vtep.node == node_name for port in vtep.ports if port.spoke}
    if not own:
        return frozenset()
    claims = [replace(v, ports=some) for v in all_vteps if (some := tuple(p for p in v.ports if p.spoke in own))]
    held = holdings(claims)
    losers = (loser for holding in held.values() for loser in holding.losers)
    lost = (port.name for v in claims if v.lost and v.node == node_name for port in v.ports if port.spoke in held)
    return frozenset({*(loser.port.name for loser in losers if loser.node == node_name), *lost})


def holder_elsewhere(node_name: str, vteps: Iterable[Vtep], spoke: str) -> Holder | None:
    """Return who has a spoke on another node, if somebody has."""
    claims = [
        replace(vtep, ports=some)
        for vtep in vteps
        if vtep.node != node_name and (some := tuple(port for port in vtep.ports if port.spoke == spoke))
    ]
    holding = holdings(claims).get(spoke)
    return holding.holders[0] if holding else None


def mtu_everywhere(lan: Lan, node_name: str, vteps: Collection[Vtep], own: int) -> int:
    """Return the MTU of a new attachment: the least of all nodes that take part, with ``own`` for this one."""
    others = [entry.mtu for entry in _entries(lan, node_name, vteps) if entry.mtu]
    least = least_mtu(vtep for vtep in vteps if vtep.node != node_name)
    return min([own, *others, *([least] if least else [])])


# ---------------------------------------------------------------- the node's own part


def choose_local(lan: Lan, underlay: Underlay, peers: Iterable[IpAddress]) -> IpAddress | None:
    """The node's VTEP address, or None if the underlay has none that serves.

    With a group, one of the group's family. With peers, one of the family and scope that reaches most of them. Else
    routable before link-local, and IPv4 before IPv6. Where outer packets are fragmented, which Linux does with IPv4
    alone, IPv4 before all else.
    """
    reached = Counter(map(_scope, peers))

    def rank(address: IpAddress) -> tuple[bool, int, bool, int]:
        unfit = lan.fragment and address.version == 6
        return (unfit, -reached[_scope(address)], _link_local_v6(address), address.version)

    candidates = [a for a in underlay.addresses if not a.is_loopback]
    if lan.group is not None:
        candidates = [a for a in candidates if a.version == lan.group.version]
    return min(candidates, key=rank, default=None)


def _scope(address: IpAddress) -> tuple[int, bool]:
    """Return what two addresses must have in common to reach each other."""
    return address.version, _link_local_v6(address)


def _link_local_v6(address: IpAddress) -> bool:
    return isinstance(address, IPv6Address) and address.is_link_local


def lan_mtu(lan: Lan, underlay: Underlay, version: int) -> int:
    """The MTU inside the LAN in bytes, for VXLAN over IP ``version``.

    Raises:
        Invalid: ``spec.mtu`` is more than the underlay carries, or it carries too little for any LAN.

    """
    needed = overhead(version)
    room = underlay.mtu - needed
    has = f"{underlay.name} has MTU {underlay.mtu}, VXLAN needs {needed}"
    if room < MIN_MTU:
        text = f"{has}, so less than {MIN_MTU} are left"
        raise Invalid(f"LAN {lan.ref}", (Problem(field="spec.defaultVxlanDev", message=text),))
    wanted = lan.wanted_mtu or room
    if wanted > room and not (lan.fragment and version == 4):
        text = f"{wanted} does not fit: {has}, so at most {room}"
        field = "spec.mtu"
        if lan.fragment:
            field, text = "spec.fragment", f"{text}: Linux fragments VXLAN over IPv4 alone"
        raise Invalid(f"LAN {lan.ref}", (Problem(field=field, message=text),))
    return wanted


def plan(
    lan: Lan,
    underlay: Underlay,
    attachments: Iterable[Attachment],
    around: Elsewhere,
    *,
    others: bool = False,
    nics: Mapping[Uplink, Nic | None] = MappingProxyType({}),
    opened: str = "",
) -> LanState:
    """What the node should have for ``lan``: nothing at all without attachments and uplinks.

    ``others`` says that there are attachments beside these, so that a plan for some of them is not a plan to remove.
    ``nics`` are the devices of this node's uplinks as they are, ``opened`` is the port of the one that is active.

    Raises:
        Invalid: the LAN cannot be had on this node (an MTU that does not fit, no address for VXLAN).

    """
    members = {a.port: a for a in attachments}
    if not members and not others and not nics:
        return absent(lan.netns)
    known = remote_addresses(lan, around).difference(underlay.addresses)  # lists serve on all nodes
    local = choose_local(lan, underlay, known)
    if local is None:
        family = f"IPv{lan.group.version} " if lan.group else ""
        text = f"{underlay.name} has no {family}address for VXLAN"
        raise Invalid(f"LAN {lan.ref}", (Problem(field="spec.defaultVxlanDev", message=text),))
    mtu = lan_mtu(lan, underlay, local.version)
    tunnel = Tunnel(
        vni=lan.vni,
        port=lan.port,
        device=underlay.index,
        local=None if lan.group else local,  # with a group the kernel chooses, and follows changes by itself
        group=lan.group,
        ttl=lan.ttl,
    )
    flooded = known if lan.group is None else known.intersection(lan.remotes)  # the group reaches the nodes
    reachable = frozenset(peer for peer in flooded if peer.version == local.version)
    bridge = Bridge(name=lan.bridge, mtu=mtu)
    dark = without_carrier(lan, members.values(), around) or ()
    shapes = {name: shaping(lan.link(a.spoke, a.plug), a.bandwidth, mtu) for name, a in members.items()}
    link, joint = Port(name=lan.vxlan, bridge=lan.bridge, mtu=mtu), None
    if lan.fragment:  # the kernel gives the device no more than fits, which nothing that is led to it asks for
        joint = Joint(port=replace(link, name=names.JOINT))
        link = replace(link, bridge=None, mtu=min(mtu, underlay.mtu - overhead(local.version)), forwards=0)
    return LanState(
        netns=lan.netns,
        bridge=bridge,
        vxlan=Vxlan(link=link, tunnel=tunnel, peers=reachable),
        joint=joint,
        ports={
            name: port_of(bridge, a, up=name not in dark, offload=lan.offload if a.offload is None else a.offload)
            for name, a in members.items()
        },
        attachments=members,
        stubs={stub.name: stub for a in members.values() if (stub := stub_of(a))},
        shapes={name: shape for name, shape in shapes.items() if shape != UNSHAPED},
        uplinks=uplinks.ports(bridge, look_at(nics, underlay, mtu), opened),
        taps={a.tap: a.tap_owner for a in members.values() if a.kind is AttachmentKind.MACVTAP},
    )


def look_at(nics: Mapping[Uplink, Nic | None], underlay: Underlay, mtu: int) -> tuple[SeenUplink, ...]:
    """Return this node's uplinks, in the order of the LAN's, with what is wrong with each."""
    return tuple(uplinks.seen(uplink, nic, underlay.index, mtu) for uplink, nic in nics.items())


def without_underlay(
    observed: LanState, attachments: Iterable[Attachment], wanted: Collection[Uplink] = (), opened: str | None = None
) -> LanState:
    """What the node can keep of a LAN while it cannot be planned: all but ports without an attachment.

    Uplinks that are ``wanted`` stay, but no other than the one ``opened`` in the bridge; None: as they are.
    """
    owners = {a.port: a.owner for a in attachments}
    if not owners and not wanted:
        return absent(observed.netns)
    ports = {name: port for name, port in observed.ports.items() if owners.get(name) == port.owner}
    kept = {name: port for name, port in observed.uplinks.items() if name in map(uplinks.port_name, wanted)}
    if opened is not None:
        kept = {name: port if name == opened else uplinks.closed(port) for name, port in kept.items()}
    return replace(observed, ports=ports, uplinks=kept)


def without_carrier(lan: Lan, attachments: Iterable[Attachment], around: Elsewhere) -> frozenset[str] | None:
    """Return the ports that are down, which takes the carrier from the pod or VM behind; None if it is not known.

    A port is down if its link is pulled, if another port holds its spoke, and if nothing is plugged in at the other
    end of its cable.
    """
    if around.losers is None or around.plugged is None:
        return None
    here = list(attachments)
    plugged = around.plugged.union(a.spoke for a in here if a.spoke)

    def is_dark(attachment: Attachment) -> bool:
        other = lan.other_end(attachment.spoke) if lan.cable else None
        return lan.is_down(attachment.spoke, attachment.plug) or (other is not None and other not in plugged)

    return around.losers.union(a.port for a in here if is_dark(a))


def port_of(bridge: Bridge, attachment: Attachment, *, up: bool, offload: bool = True) -> Port:
    """The bridge port of an attachment."""
    return Port(
        name=attachment.port, bridge=bridge.name, mtu=bridge.mtu, owner=attachment.owner, up=up, offload=offload
    )


def stub_of(attachment: Attachment) -> Stub | None:
    """The lower device of a macvtap attachment; a veth attachment has none."""
    if attachment.kind is not AttachmentKind.MACVTAP:
        return None
    return Stub(name=names.stub(attachment.port), mtu=attachment.mtu)
