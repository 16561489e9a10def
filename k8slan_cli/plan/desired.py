"""From a LAN, a node and its attachments to the state that the node should have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lan import names
from k8slan_cli.lan.model import IpAddress, Lan
from k8slan_cli.lan.validate import MIN_MTU
from k8slan_cli.plan.state import (
    Attachment,
    AttachmentKind,
    Bridge,
    LanState,
    Port,
    Stub,
    Tunnel,
    Underlay,
    Vxlan,
    absent,
)

OVERHEAD_V4 = 54
"""Ethernet 14 + VLAN tag 4 of the inner frame, VXLAN 8, UDP 8, IPv4 20 bytes (RFC 7348, section 5, and 802.1Q)."""
OVERHEAD_V6 = 74
"""The same with 40 bytes of IPv6."""


def choose_local(lan: Lan, underlay: Underlay, peers: Iterable[IpAddress]) -> IpAddress | None:
    """The node's VTEP address, or None if the underlay has none that serves.

    With a group, one of the group's family. With peers, one of the family and scope that reaches most of them. Else
    routable before link-local, and IPv4 before IPv6.
    """
    known = list(peers)

    def rank(address: IpAddress) -> tuple[int, bool, int]:
        reached = sum(_reaches(address, peer) for peer in known)
        return (-reached, _link_local_v6(address), address.version)

    candidates = [a for a in underlay.addresses if not a.is_loopback]
    if lan.group is not None:
        candidates = [a for a in candidates if a.version == lan.group.version]
    return min(candidates, key=rank, default=None)


def _reaches(address: IpAddress, peer: IpAddress) -> bool:
    return address.version == peer.version and _link_local_v6(address) == _link_local_v6(peer)


def _link_local_v6(address: IpAddress) -> bool:
    return isinstance(address, IPv6Address) and address.is_link_local


def lan_mtu(lan: Lan, underlay: Underlay, version: int) -> int:
    """The MTU inside the LAN in bytes, for VXLAN over IP ``version``.

    Raises:
        Invalid: ``spec.mtu`` is more than the underlay carries, or it carries too little for any LAN.

    """
    overhead = OVERHEAD_V4 if version == 4 else OVERHEAD_V6
    room = underlay.mtu - overhead
    has = f"{underlay.name} has MTU {underlay.mtu}, VXLAN needs {overhead}"
    if room < MIN_MTU:
        text = f"{has}, so less than {MIN_MTU} are left"
        raise Invalid(f"LAN {lan.ref}", (Problem(field="spec.defaultVxlanDev", message=text),))
    if lan.mtu is not None and lan.mtu > room:
        text = f"{lan.mtu} does not fit: {has}, so at most {room}"
        raise Invalid(f"LAN {lan.ref}", (Problem(field="spec.mtu", message=text),))
    return lan.mtu or room


def plan(
    lan: Lan, node_name: str, underlay: Underlay, attachments: Iterable[Attachment], *, others: bool = False
) -> LanState:
    """What the node should have for ``lan``: nothing at all without attachments.

    ``others`` says that there are attachments beside these, so that a plan for some of them is not a plan to remove.

    Raises:
        Invalid: the LAN cannot be had on this node (an MTU that does not fit, no address for VXLAN).

    """
    members = {a.port: a for a in attachments}
    if not members and not others:
        return absent(lan.netns)
    peers = lan.peers_of(node_name).difference(underlay.addresses)  # a list of all nodes serves on every node
    local = choose_local(lan, underlay, peers)
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
    )
    reachable = frozenset(p for p in peers if p.version == local.version) if lan.group is None else frozenset()
    bridge = Bridge(name=lan.bridge, mtu=mtu)
    return LanState(
        netns=lan.netns,
        bridge=bridge,
        vxlan=Vxlan(link=Port(name=lan.vxlan, bridge=lan.bridge, mtu=mtu), tunnel=tunnel, peers=reachable),
        ports={name: port_of(lan, bridge, a) for name, a in members.items()},
        attachments=members,
        stubs={stub.name: stub for a in members.values() if (stub := stub_of(a))},
        taps={a.tap: a.tap_owner for a in members.values() if a.kind is AttachmentKind.MACVTAP},
    )


def without_underlay(observed: LanState, attachments: Iterable[Attachment]) -> LanState:
    """What the node can keep of a LAN while it cannot be planned: all but ports without an attachment."""
    owners = {a.port: a.owner for a in attachments}
    if not owners:
        return absent(observed.netns)
    ports = {name: port for name, port in observed.ports.items() if owners.get(name) == port.owner}
    return replace(observed, ports=ports)


def port_of(lan: Lan, bridge: Bridge, attachment: Attachment) -> Port:
    """The bridge port of an attachment. One that is down takes the carrier from the pod or VM behind it."""
    up = not lan.is_down(attachment.spoke, attachment.plug)
    return Port(name=attachment.port, bridge=bridge.name, mtu=bridge.mtu, owner=attachment.owner, up=up)


def stub_of(attachment: Attachment) -> Stub | None:
    """The lower device of a macvtap attachment; a veth attachment has none."""
    if attachment.kind is not AttachmentKind.MACVTAP:
        return None
    return Stub(name=names.stub(attachment.port), mtu=attachment.mtu)
