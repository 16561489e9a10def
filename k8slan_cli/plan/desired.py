"""From a LAN, a node and its attachments to the state that the node should have."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lan import names
from k8slan_cli.lan.model import IpAddress, Lan
from k8slan_cli.plan.state import Attachment, Bridge, Kind, LanState, Port, Stub, Tunnel, Underlay, Vxlan, absent

OVERHEAD_V4 = 54
"""Ethernet 14 + VLAN tag 4 of the inner frame, VXLAN 8, UDP 8, IPv4 20 bytes (RFC 7348, section 5, and 802.1Q)."""
OVERHEAD_V6 = 74
"""The same with 40 bytes of IPv6."""


def choose_local(lan: Lan, underlay: Underlay, peers: Iterable[IpAddress]) -> IpAddress | None:
    """The node's VTEP address: of the peers' family, else IPv4 before IPv6; routable before link-local; or None.

    A peer list that is all link-local asks for the link-local address, for that is what reaches it.
    """
    wanted = sorted(peers, key=lambda a: (a.version, a.packed))
    candidates = [a for a in underlay.addresses if not a.is_loopback]
    if lan.group is not None:
        candidates = [a for a in candidates if a.version == lan.group.version]
    elif wanted:
        candidates = [a for a in candidates if a.version == wanted[0].version]
        if all(_link_local_v6(a) for a in wanted):
            candidates.sort(key=lambda a: not _link_local_v6(a))
            return candidates[0] if candidates else None
    candidates.sort(key=lambda a: (_link_local_v6(a), a.version))
    return candidates[0] if candidates else None


def _link_local_v6(address: IpAddress) -> bool:
    return isinstance(address, IPv6Address) and address.is_link_local


def lan_mtu(lan: Lan, underlay: Underlay, version: int) -> int:
    """The MTU inside the LAN in bytes, for VXLAN over IP ``version``.

    Raises:
        Invalid: ``spec.mtu`` is more than the underlay carries.

    """
    room = underlay.mtu - (OVERHEAD_V4 if version == 4 else OVERHEAD_V6)
    if lan.mtu is not None and lan.mtu > room:
        overhead = underlay.mtu - room
        text = f"{lan.mtu} does not fit: {underlay.name} has MTU {underlay.mtu}, VXLAN needs {overhead}, so at most {room}"
        raise Invalid(f"LAN {lan.ref}", (Problem(field="spec.mtu", message=text),))
    return lan.mtu or room


def plan(lan: Lan, node_name: str, underlay: Underlay, attachments: Iterable[Attachment]) -> LanState:
    """What the node should have for ``lan``: nothing at all without attachments.

    Raises:
        Invalid: the LAN cannot be had on this node (an MTU that does not fit, no address for VXLAN).

    """
    members = {a.port: a for a in attachments}
    if not members:
        return absent(lan.netns)
    peers = lan.peers_of(node_name)
    local = choose_local(lan, underlay, peers)
    if local is None:
        family = f"IPv{lan.group.version} " if lan.group else f"IPv{min(p.version for p in peers)} " if peers else ""
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
    return LanState(
        netns=lan.netns,
        bridge=Bridge(name=lan.bridge, mtu=mtu),
        vxlan=Vxlan(link=Port(name=lan.vxlan, bridge=lan.bridge, mtu=mtu), tunnel=tunnel, peers=reachable),
        ports={name: Port(name=name, bridge=lan.bridge, mtu=mtu) for name in members},
        attachments=members,
        stubs={stub.name: stub for a in members.values() if (stub := stub_of(a))},
    )


def stub_of(attachment: Attachment) -> Stub | None:
    """The node's end of a macvtap attachment; a veth attachment has none."""
    if attachment.kind is not Kind.MACVTAP:
        return None
    return Stub(name=names.stub(attachment.port), mtu=attachment.mtu)
