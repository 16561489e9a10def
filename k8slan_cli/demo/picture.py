"""The picture of the demo's LAN, from what was found in the kernel."""

from __future__ import annotations

from k8slan_cli.demo.scene import LAN, UNDERLAY_MTU, UPLINK, VNI, Built, BuiltGuest, BuiltNode
from k8slan_cli.picture import Member, NodePart, Topology


def topology(built: Built) -> Topology:
    """Return the picture of what has been built."""
    from k8slan_cli.picture import NodePart, Topology

    def node(part: BuiltNode) -> NodePart:
        return NodePart(
            name=part.machine.name,
            bridge=part.bridge,
            tunnel=part.vxlan,
            uplink=f"{UPLINK} {part.machine.address}",
            members=tuple(map(_member, part.guests)),
        )

    way = f"group {built.scene.group}" if built.scene.group else "unicast"
    return Topology(
        title=f"LAN {LAN}: VNI {VNI}, {way}, MTU {built.mtu}",
        underlay=f"underlay, MTU {UNDERLAY_MTU}",
        nodes=tuple(map(node, built.parts)),
    )


def _member(plugged: BuiltGuest) -> Member:
    guest = plugged.guest
    first = plugged.tap.removeprefix("/dev/") if plugged.tap else f"{guest.interface} {guest.address.partition('/')[0]}"
    return Member(name=guest.spoke, port=plugged.port, lines=(first, plugged.mac), vm=guest.vm)
