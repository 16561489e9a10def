"""What is there: the kernel's links, read into the planner's vocabulary."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv6Address

from k8slan_cli.errors import KernelError, UnderlayMissing
from k8slan_cli.lan import names
from k8slan_cli.lan.model import IpAddress
from k8slan_cli.net import joint, netlink, netns, offload, sockets, taps, tc
from k8slan_cli.net.netlink import OURS, RawLink
from k8slan_cli.net.node import Handle, Node
from k8slan_cli.plan.state import Bridge, Joint, LanState, Port, Stub, Tunnel, Underlay, UplinkPort, Vxlan
from k8slan_cli.plan.uplinks import Nic


def lan_state(node: Node, name: str, *, only: Collection[str] | None = None, devices: Collection[int] = ()) -> LanState:
    """A LAN's part of the node, as it is; ``name`` is its namespace, and ``devices`` the taps that are looked for.

    With ``only``, no other links are looked up and the namespace's settings are taken for granted: so the cost of a CNI
    call does not grow with the number of attachments. Links that do not carry k8slan's mark are not seen, whatever
    their name.
    """
    handle = node.lan(name)
    if handle is None:
        owners = taps.owners(node.host_root, devices)
        return LanState(netns=name, exists=False, mounted=name in node.present(), taps=owners)
    if only is None:
        links = sockets.links(handle.netlink)
    else:
        links = [found for wanted in only if (found := sockets.link(handle.netlink, wanted))]
    by_index = {link.index: link.name for link in links}
    bridge: Bridge | None = None
    vxlan: Vxlan | None = None
    joined: Joint | None = None
    ports: dict[str, Port] = {}
    stubs: dict[str, Stub] = {}
    filled = offload.without(handle.fd, [link.name for link in links if _is_port(link)])
    uplinks: dict[str, UplinkPort] = {}
    for link in links:
        if link.group != OURS:
            continue
        if link.kind == "bridge":
            bridge = bridge_of(link)
        elif link.kind == "vxlan":
            vxlan = _vxlan(handle, link, by_index)
        elif link.name == names.JOINT:
            joined = Joint(port=port_of(link, by_index), joined=joint.is_joined(handle.netlink, links))
        elif link.name == names.JOINT_END:
            continue  # with the port
        elif link.kind == "veth" and names.port_of_stub(link.name):
            stubs[link.name] = stub_of(link)
        elif link.kind in ("macvlan", "vlan"):
            uplinks[link.name] = uplink_of(link, by_index)
        elif _is_port(link):
            ports[link.name] = port_of(link, by_index, offload=link.name not in filled)
    return LanState(
        netns=name,
        mounted=only is not None or node.is_mounted(name),
        quiet=only is not None or netns.is_quiet(handle.fd),
        bridge=bridge,
        vxlan=vxlan,
        joint=joined,
        ports=ports,
        stubs=stubs,
        shapes=tc.observe(handle.netlink, links),
        uplinks=uplinks,
        taps=taps.owners(node.host_root, devices),
    )


def _is_port(link: RawLink) -> bool:
    """Whether a link is k8slan's end of a veth whose other end is a pod's, or a macvtap's lower device."""
    return link.group == OURS and link.kind == "veth" and not names.port_of_stub(link.name)


def bridge_of(link: RawLink) -> Bridge:
    """A link as a bridge."""
    return Bridge(name=link.name, mtu=link.mtu, up=link.up, quiet=not netlink.loud(link))


def stub_of(link: RawLink) -> Stub:
    """A link as a macvtap's lower device."""
    return Stub(name=link.name, mtu=link.mtu, up=link.up)


def port_of(link: RawLink, by_index: Mapping[int, str], *, offload: bool = True) -> Port:
    """A link as a bridge port; ``by_index`` names the bridges it may be a port of. No link tells of its offloads."""
    return Port(
        name=link.name,
        bridge=by_index.get(link.master),
        mtu=link.mtu,
        up=link.up,
        forwards=netlink.forwarding_mask(link),
        owner=link.alias,
        offload=offload,
    )


def uplink_of(link: RawLink, by_index: Mapping[int, str]) -> UplinkPort:
    """A link as the port of an uplink."""
    return UplinkPort(port=port_of(link, by_index), lower=link.link, vlan=netlink.vlan_id(link))


def nic(node: Node, device: str) -> Nic | None:
    """A device of the node, with what the node itself does with it; None if it is not there."""
    link = sockets.link(node.netlink, device)
    if link is None:
        return None
    addresses = netlink.parse_addresses(node.netlink.ask(netlink.get_addresses(), doing="list addresses"))
    replies = node.netlink.ask(netlink.get_routes(), doing="list routes")
    found = filter(None, map(netlink.parse_route, replies))
    routes = [route for route in found if link.index in (route.index, *route.others)]
    master = sockets.link(node.netlink, link.master) if link.master else None
    return Nic(
        index=link.index,
        mtu=link.mtu,
        up=link.up,
        carrier=link.carrier,
        addresses=tuple(
            str(each.address) for each in addresses if each.index == link.index and not each.address.is_link_local
        ),
        routes=tuple(route.destination for route in routes if not route.destination.startswith("fe80:")),
        master=master.name if master else "",
    )


def _vxlan(handle: Handle, link: RawLink, by_index: dict[int, str]) -> Vxlan:
    vni, port, device, local, group, ttl = netlink.vxlan_options(link)
    tunnel = Tunnel(vni=vni, port=port, device=device, local=local, group=group, ttl=ttl)
    fdb = handle.netlink.ask(netlink.get_fdb(link.index), doing="read the FDB")
    peers = netlink.parse_peers(fdb, link.index).difference([group])
    return Vxlan(link=port_of(link, by_index), tunnel=tunnel, peers=peers)


def underlay(
    node: Node, name: str | None, address: IpAddress | None = None, peers: Iterable[IpAddress] = ()
) -> Underlay:
    """The device that carries VXLAN, as it is.

    It is ``name``; without one the device that holds ``address``, the node's InternalIP; without that the device of
    the default route, IPv4 before IPv6. Where ``address`` is on a loopback or dummy device, as it is where nodes run
    BGP, it is the device that the way to the first of the ``peers`` takes, and VXLAN has that address nonetheless.

    Raises:
        UnderlayMissing: there is no such device.

    """
    replies = node.netlink.ask(netlink.get_addresses(), doing="list addresses")
    addresses = list(netlink.parse_addresses(replies))
    which = name if name is not None else _device_of(address, addresses) or _default_device(node)
    link = sockets.link(node.netlink, which)
    routed = name is None and address is not None and link is not None and link.leads_nowhere
    if routed:
        which = _device_towards(node, peers)
        link = sockets.link(node.netlink, which)
    if link is None:
        hint = "name another in spec.defaultVxlanDev or spec.vxlanDevMap"
        raise UnderlayMissing(errno.ENODEV, f"the underlay device {which} is not on this node", hint=hint)
    usable = [a.address for a in addresses if a.index == link.index and not _mapped(a.address)]
    if routed and address is not None:
        usable.insert(0, address)
    usable.sort(key=lambda a: a != address)
    return Underlay(name=link.name, index=link.index, mtu=link.mtu, up=link.up, addresses=tuple(usable), routed=routed)


def is_routed(node: Node, address: IpAddress | None) -> bool:
    """Whether a node's address is on a device that leads nowhere, so that routes say which device carries VXLAN."""
    replies = node.netlink.ask(netlink.get_addresses(), doing="list addresses")
    index = _device_of(address, netlink.parse_addresses(replies))
    link = sockets.link(node.netlink, index) if index else None
    return link is not None and link.leads_nowhere


def _mapped(address: IpAddress) -> bool:
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


def _device_of(address: IpAddress | None, addresses: Iterable[netlink.RawAddress]) -> int | None:
    return next((a.index for a in addresses if address is not None and a.address == address), None)


def _device_towards(node: Node, peers: Iterable[IpAddress]) -> int:
    """The device of the way to the first peer that there is a way to; without one, of any way by a gateway."""
    for peer in sorted(peers, key=str):
        try:
            replies = node.netlink.ask(netlink.get_route(peer), doing=f"look for the way to {peer}")
        except KernelError:  # there is none
            continue
        if (route := netlink.parse_route(replies[0])) and route.index:
            return route.index
    return _default_device(node, others=True)


def _default_device(node: Node, *, others: bool = False) -> int:
    """The device of the default route; of another one that has a gateway, if ``others`` will do."""
    replies = node.netlink.ask(netlink.get_routes(), doing="list routes")
    routes = [route for r in replies if (route := netlink.parse_route(r)) and route.index]
    everything = ("0.0.0.0/0", "::/0")
    ways = [
        route
        for route in routes
        if route.table == netlink.MAIN_TABLE and (route.destination in everything or (others and route.gateway))
    ]
    for route in sorted(ways, key=lambda r: (r.destination not in everything, ":" in r.destination, r.priority)):
        return route.index
    text = "no underlay device is named and this node has no default route"
    raise UnderlayMissing(errno.ENODEV, text, hint="set spec.defaultVxlanDev")
