"""What k8slan asks of rtnetlink and what it reads there: requests, made of pyroute2's messages, and values.

pyroute2 knows numbers and layouts; here is only which attributes k8slan sets and which it reads. Sockets are in
sockets.py. See rtnetlink(7).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Interface, ip_address, ip_interface
from socket import AF_BRIDGE, AF_INET, AF_INET6
from typing import Any

from pyroute2.netlink import (
    NLA_F_NESTED,
    NLA_F_NET_BYTEORDER,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    nla,
    nla_slot,
    nlmsg,
    nlmsg_atoms,
)
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    rt_proto,
    rt_type,
)
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD, ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import (
    IFF_ALLMULTI,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_UP,
    ifinfbase,
    ifinfmsg,
    protinfo_bridge,
)
from pyroute2.netlink.rtnl.ifinfmsg.plugins.vlan import vlan as vlan_data
from pyroute2.netlink.rtnl.ifinfmsg.plugins.vxlan import vxlan as vxlan_data
from pyroute2.netlink.rtnl.ndmsg import NTF_EXT_LEARNED, NTF_MASTER, NTF_SELF, NUD_NOARP, NUD_PERMANENT, ndmsg
from pyroute2.netlink.rtnl.rtmsg import RT_SCOPE_LINK, rtmsg

from k8slan_cli.lan.model import IpAddress

OURS = 0x6B386C  # "k8l"
"""IFLA_GROUP of every link k8slan makes (``ip link show group 7026796``): it deletes only what carries this mark."""
DOOMED = OURS + 1
"""The group that links move to, to be deleted together."""
_EVENT_FEATURES = 2  # IFLA_EVENT_FEATURES (if_link.h)
MAIN_TABLE = 254  # RT_TABLE_MAIN (rtnetlink.h), which pyroute2 does not name
ALL_ZERO_MAC = "00:00:00:00:00:00"

_CHANGE = NLM_F_REQUEST | NLM_F_ACK
_CREATE = _CHANGE | NLM_F_CREATE | NLM_F_EXCL
_DUMP = NLM_F_REQUEST | NLM_F_DUMP


def mac_bytes(mac: str) -> bytes:
    """``02:00:…`` as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def _message(
    kind: type[nlmsg], number: int, mode: int, attributes: Iterable[list[Any]] = (), /, **fields: int
) -> nlmsg:
    """A message of a kind: its number, what is to be done with it (NLM_F_*), its attributes, its fixed part."""
    message = kind()
    message["header"].update(type=number, flags=mode)
    message.update(fields, attrs=list(attributes))
    return message


def _nest(*attributes: list[Any]) -> dict[str, Any]:
    return {"attrs": list(attributes)}


# ---------------------------------------------------------------- links: requests


class _LinkRequest(ifinfbase, nlmsg):  # type: ignore[misc]
    """A link's message as it is sent: an alias goes without a zero at its end, for which a long one has no room."""

    nla_map = tuple((name, "string" if name == "IFLA_IFALIAS" else kind) for name, kind in ifinfmsg.nla_map)


def _link(number: int, mode: int, which: str | int, attributes: Mapping[str, Any], /, **fields: int) -> nlmsg:
    """A message about the link of a name or an index; ``attributes`` are called as in if_link.h, without ``IFLA_``."""
    found = [[f"IFLA_{name.upper()}", value] for name, value in attributes.items()]
    if isinstance(which, int):
        return _message(_LinkRequest, number, mode, found, index=which, **fields)
    named = ["IFLA_IFNAME", which.encode(errors="surrogateescape")]
    return _message(_LinkRequest, number, mode, [named, *found], **fields)


def _info(kind: str, *data: list[Any]) -> dict[str, Any]:
    """IFLA_LINKINFO of a link of ``kind``."""
    return _nest(["IFLA_INFO_KIND", kind], *([["IFLA_INFO_DATA", _nest(*data)]] if data else []))


def get_link(which: str | int) -> nlmsg:
    """Ask for one link by name or by index."""
    return _link(RTM_GETLINK, NLM_F_REQUEST, which, {})


def get_links() -> nlmsg:
    """Ask for every link of the namespace."""
    return _message(_LinkRequest, RTM_GETLINK, _DUMP)


def set_link(which: str | int, *, up: bool | None = None, silent: bool = False, **attributes: Any) -> nlmsg:
    """Change a link: attributes, whether it is up (None leaves it as it is), and whether it is a VM's, so ``silent``.

    A VM's macvtap has the VM's MAC, and the guest alone speaks with that: before it runs, and while it still runs on
    the node that it migrates from, a frame of the pod's kernel would turn the MAC to this port in every bridge. Without
    NOARP the kernel answers for addresses of the pod's other interfaces, and with MULTICAST for groups once somebody
    switches IPv6 on again. Without ALLMULTI the guest gets no LLDP, LACP, STP, OSPF, IS-IS and IPv6 ND.
    """
    on = (IFF_UP if up else 0) | (IFF_ALLMULTI | IFF_NOARP if silent else 0)
    change = on | (IFF_UP if up is not None else 0) | (IFF_MULTICAST if silent else 0)
    return _link(RTM_NEWLINK, _CHANGE, which, attributes, flags=on, change=change)


def without_groups(name: str) -> nlmsg:
    """Let a link ask its lower device for all groups no more, for itself or a bridge.

    One in passthru mode that is deleted leaves its lower device so (macvlan_stop, drivers/net/macvlan.c).
    """
    return _link(RTM_NEWLINK, _CHANGE, name, {"master": 0}, change=IFF_ALLMULTI)


def port_settings(name: str, mask: int, alias: str, *, up: bool = True) -> nlmsg:
    """Set what a bridge port has for itself: which link-local groups it passes, its alias, and whether it is up.

    ``mask`` has a bit for each of the addresses 01:80:c2:00:00:0X; an empty ``alias`` takes it off.
    """
    data = _nest(["IFLA_BRPORT_GROUP_FWD_MASK", mask])
    info = _nest(["IFLA_INFO_SLAVE_KIND", "bridge"], ["IFLA_INFO_SLAVE_DATA", data])
    return set_link(name, up=up, ifalias=alias.encode(), linkinfo=info)


def delete_link(name: str) -> nlmsg:
    """Delete a link."""
    return _link(RTM_DELLINK, _CHANGE, name, {})


def delete_links(names: Iterable[str]) -> list[nlmsg]:
    """Delete links in one go, as a group: the kernel's wait for RCU (about 20 ms) is then shared by all."""
    doom = [set_link(name, group=DOOMED) for name in names]
    return [*doom, _message(_LinkRequest, RTM_DELLINK, _CHANGE, [["IFLA_GROUP", DOOMED]])]


def bridge(name: str, mtu: int, mac: str) -> nlmsg:
    """Create a bridge as the kernel makes them; ``silence`` then takes its opinions away.

    It gets no forward delay. That is for STP, but with the usual one a bridge tells of each port once more, 15 s after
    the port was made, and all who listen wake for nothing.
    """
    return _new_link(name, "bridge", ["IFLA_BR_FORWARD_DELAY", 0], mtu=mtu, address=mac, up=True)


def _new_link(name: str, kind: str, *data: list[Any], up: bool = False, index: int = 0, **attributes: Any) -> nlmsg:
    """Create a link, marked as k8slan's; ``index`` 0 lets the kernel choose."""
    whole = {"group": OURS, **attributes, "linkinfo": _info(kind, *data)}
    on = IFF_UP if up else 0
    return _link(RTM_NEWLINK, _CREATE, name, whole, index=index, flags=on, change=on)


def vxlan(
    name: str,
    *,
    vni: int,
    port: int,
    device: int,
    local: IpAddress | None,
    group: IpAddress | None,
    ttl: int,
    mtu: int,
    mac: str,
    netns_fd: int,
) -> nlmsg:
    """Create a VXLAN device over the link ``device`` of the socket's namespace, straight in another namespace."""
    data: list[list[Any]] = [["IFLA_VXLAN_ID", vni], ["IFLA_VXLAN_LINK", device], ["IFLA_VXLAN_LEARNING", 1]]
    data += [["IFLA_VXLAN_PORT", port], ["IFLA_VXLAN_TTL", ttl]]
    data += [
        [f"IFLA_VXLAN_{name}" if address.version == 4 else f"IFLA_VXLAN_{name}6", str(address)]
        for name, address in (("LOCAL", local), ("GROUP", group))
        if address is not None
    ]
    return _new_link(name, "vxlan", *data, mtu=mtu, net_ns_fd=netns_fd, address=mac, txqlen=1024)


@dataclass(frozen=True, slots=True)
class End:
    """An end of a veth pair, in the namespace of a descriptor; None: in the one of the socket."""

    name: str
    mac: str
    mtu: int
    netns_fd: int | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """What it is made with."""
        where = {} if self.netns_fd is None else {"net_ns_fd": self.netns_fd}
        return {"mtu": self.mtu, "address": self.mac, **where}


def veth(end: End, peer: End, *, up: bool = False, index: int = 0) -> nlmsg:
    """Create a veth pair, ``end`` up if wanted; ``peer`` is down: the kernel opens a veth only once it is connected.

    ``index`` is a link index for ``end``, which has to be free in the namespace of the socket.
    """
    there = {"ifname": peer.name, "group": OURS, **peer.attributes}
    data = _nest(*([f"IFLA_{name.upper()}", value] for name, value in there.items()))
    return _new_link(end.name, "veth", ["VETH_INFO_PEER", data], up=up, index=index, **end.attributes)


def ifb(name: str) -> nlmsg:
    """Create an intermediate functional block device (Linux, drivers/net/ifb.c)."""
    return _new_link(name, "ifb")


def macvtap(name: str, *, index: int, lower: int, mac: str, mtu: int, netns_fd: int) -> nlmsg:
    """Create a macvtap in passthru mode over ``lower``, straight in another namespace, with a chosen link index."""
    mode = ["IFLA_MACVTAP_MODE", "passthru"]
    return _new_link(name, "macvtap", mode, index=index, link=lower, mtu=mtu, address=mac, net_ns_fd=netns_fd)


def macvlan(name: str, *, lower: int, mtu: int, netns_fd: int) -> nlmsg:
    """Create a macvlan in passthru mode, up, over a link of the socket's namespace, straight in another namespace."""
    mode = ["IFLA_MACVLAN_MODE", "passthru"]
    return _new_link(name, "macvlan", mode, link=lower, mtu=mtu, net_ns_fd=netns_fd)


def vlan(name: str, *, lower: int, number: int, mtu: int, netns_fd: int) -> nlmsg:
    """Create an 802.1Q device over a link of the socket's namespace, straight in another namespace."""
    return _new_link(name, "vlan", ["IFLA_VLAN_ID", number], link=lower, mtu=mtu, net_ns_fd=netns_fd)


# ---------------------------------------------------------------- links: what is read

_HEADER = struct.Struct("".join(form for _, form in nla.header))
_FLAGS = NLA_F_NESTED | NLA_F_NET_BYTEORDER
_Make = Callable[..., Any]


def _reading(kind: Any, *names: str, **makers: _Make) -> dict[int, tuple[str, _Make]]:
    """Attributes of a message by number: name, and what makes a value of it if it is not what pyroute2 takes."""
    return {
        number: (name, makers[name] if name in makers else getattr(kind, value))
        for number, (name, value) in enumerate(kind.nla_map)
        if name in names or name in makers
    }


class _Sparse:
    """Decodes the attributes in ``read`` alone: a link tells of a hundred more, and each takes its time."""

    read: Mapping[int, tuple[str, _Make]] = {}

    def decode_nlas(self: Any, offset: int) -> None:
        """Find the attributes; pyroute2 decodes them when they are looked at."""
        end = self.offset + self.length
        while offset + _HEADER.size <= end:
            length, number = _HEADER.unpack_from(self.data, offset)
            if wanted := self.read.get(number & ~_FLAGS):
                name, make = wanted
                self["attrs"].append(nla_slot(name, make(data=self.data, offset=offset, length=length, parent=self)))
            offset += self.msg_align(max(length, _HEADER.size))


class _Bridge(_Sparse, ifinfmsg.ifinfo.bridge_data):  # type: ignore[misc]
    read = _reading(
        ifinfmsg.ifinfo.bridge_data, "IFLA_BR_STP_STATE", "IFLA_BR_VLAN_FILTERING", "IFLA_BR_MCAST_SNOOPING"
    )


class _Vlan(_Sparse, vlan_data):  # type: ignore[misc]
    read = _reading(vlan_data, "IFLA_VLAN_ID")


class _BridgePort(_Sparse, protinfo_bridge):  # type: ignore[misc]
    read = _reading(protinfo_bridge, "IFLA_BRPORT_GROUP_FWD_MASK")


def _info_data(*, parent: Any, **where: Any) -> Any:
    kinds = {"bridge": _Bridge, "vxlan": vxlan_data, "vlan": _Vlan}
    return kinds.get(parent.get_attr("IFLA_INFO_KIND"), nlmsg_atoms.none)(parent=parent, **where)


def _slave_data(*, parent: Any, **where: Any) -> Any:
    is_port = parent.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
    return (_BridgePort if is_port else nlmsg_atoms.none)(parent=parent, **where)


def _protocol_data(*, parent: Any, **where: Any) -> Any:
    return (_BridgePort if parent["family"] == AF_BRIDGE else nlmsg_atoms.none)(parent=parent, **where)


class _Info(_Sparse, ifinfmsg.ifinfo):  # type: ignore[misc]
    read = _reading(
        ifinfmsg.ifinfo,
        "IFLA_INFO_KIND",
        "IFLA_INFO_SLAVE_KIND",
        IFLA_INFO_DATA=_info_data,
        IFLA_INFO_SLAVE_DATA=_slave_data,
    )


class LinkMessage(_Sparse, ifinfmsg):  # type: ignore[misc]
    """A link's message as it is received."""

    read = _reading(
        ifinfmsg,
        "IFLA_ADDRESS",
        "IFLA_IFNAME",
        "IFLA_MTU",
        "IFLA_LINK",
        "IFLA_MASTER",
        "IFLA_OPERSTATE",
        "IFLA_QDISC",
        "IFLA_IFALIAS",
        "IFLA_STATS64",
        "IFLA_GROUP",
        "IFLA_EVENT",
        IFLA_LINKINFO=_Info,
        IFLA_PROTINFO=_protocol_data,
    )


@dataclass(frozen=True, slots=True)
class RawLink:
    """A link as the kernel tells it; ``info`` and ``port`` hold INFO_DATA and INFO_SLAVE_DATA by attribute name."""

    index: int
    name: str
    up: bool
    carrier: bool
    mtu: int
    mac: str
    master: int
    link: int
    kind: str
    group: int
    info: Mapping[str, Any] = field(default_factory=dict)
    port: Mapping[str, Any] = field(default_factory=dict)
    alias: str = ""
    qdisc: str = ""  # the kind of what keeps frames back on their way out: tc(8)
    operstate: str = ""  # RFC 2863: UP, DOWN, UNKNOWN, …
    loopback: bool = False

    @property
    def leads_nowhere(self) -> bool:
        """Whether no frame leaves the node by it."""
        return self.loopback or self.kind == "dummy"


def parse_link(message: nlmsg) -> RawLink:
    """An RTM_NEWLINK or RTM_DELLINK message as a value."""
    told = _values(message)
    info = _values(told.get("IFLA_LINKINFO"))
    return RawLink(
        index=message["index"],
        name=_text(told.get("IFLA_IFNAME", "")),
        up=bool(message["flags"] & IFF_UP),
        loopback=bool(message["flags"] & IFF_LOOPBACK),
        carrier=bool(message["flags"] & IFF_LOWER_UP),
        mtu=told.get("IFLA_MTU", 0),
        mac=told.get("IFLA_ADDRESS", ""),
        master=told.get("IFLA_MASTER", 0),
        link=told.get("IFLA_LINK", 0),
        kind=info.get("IFLA_INFO_KIND", ""),
        group=told.get("IFLA_GROUP", 0),
        info=_values(info.get("IFLA_INFO_DATA")),
        port=_values(info.get("IFLA_INFO_SLAVE_DATA")),
        alias=_text(told.get("IFLA_IFALIAS", "")),
        qdisc=told.get("IFLA_QDISC", ""),
        operstate=told.get("IFLA_OPERSTATE", ""),
    )


def carries(message: nlmsg) -> tuple[str, bool]:
    """The name in a link's message, and whether it is up and has a carrier; ``parse_link`` takes ten times as long."""
    return _text(message.get_attr("IFLA_IFNAME") or ""), message["flags"] & _CARRIES == _CARRIES


def counters(message: nlmsg) -> dict[str, int]:
    """The counters in a link's message by name: rx_packets, tx_packets, …; nothing where it tells of none."""
    return dict(message.get_attr("IFLA_STATS64") or {})


_CARRIES = IFF_UP | IFF_LOWER_UP


def _values(nested: Any) -> dict[str, Any]:
    """Attributes by name."""
    return {slot[0]: slot[1] for slot in nested["attrs"]} if nested else {}


def _text(value: str | bytes) -> str:
    """Text that pyroute2 leaves as bytes where it is no UTF-8."""
    return value if isinstance(value, str) else value.decode(errors="surrogateescape")


_LOUD = ("IFLA_BR_STP_STATE", "IFLA_BR_VLAN_FILTERING", "IFLA_BR_MCAST_SNOOPING")


def loud(raw: RawLink) -> list[str]:
    """Which of STP, VLAN filtering and multicast snooping a bridge has on. What a kernel lacks it does not tell."""
    return [name for name in _LOUD if raw.info.get(name)]


def silence(raw: RawLink) -> nlmsg:
    """Switch off what ``loud`` names, and only that: a kernel without a feature refuses even to have it off."""
    return set_link(raw.index, linkinfo=_info("bridge", *([name, 0] for name in loud(raw))))


def vxlan_options(raw: RawLink) -> tuple[int, int, int, IpAddress | None, IpAddress | None, int]:
    """VNI, UDP port, index of the underlay, local address, group, TTL of a VXLAN device; 0 for what is not told."""
    told = raw.info.get
    local, group = (told(f"IFLA_VXLAN_{name}") or told(f"IFLA_VXLAN_{name}6") for name in ("LOCAL", "GROUP"))
    return (
        told("IFLA_VXLAN_ID", 0),
        told("IFLA_VXLAN_PORT", 0),
        told("IFLA_VXLAN_LINK", 0),
        ip_address(local) if local else None,
        ip_address(group) if group else None,
        told("IFLA_VXLAN_TTL", 0),
    )


def vlan_id(raw: RawLink) -> int:
    """The number of an 802.1Q device's VLAN, 0 for what is none."""
    return int(raw.info.get("IFLA_VLAN_ID", 0))


def forwarding_mask(raw: RawLink) -> int:
    """``group_fwd_mask`` of a bridge port, 0 for what is not one."""
    return int(raw.port.get("IFLA_BRPORT_GROUP_FWD_MASK", 0))


def last_told(messages: Iterable[nlmsg]) -> tuple[dict[str, RawLink | None], dict[str, int], frozenset[int]]:
    """What events tell last of each link (None: it is gone), of the forwarding masks of bridge ports, and the rest.

    The rest is indexes of devices at which something about the traffic has changed. The masks are of ports of which a
    bridge has told in its own family since. It does so for each change a second time, with less in it; but for what is
    written to sysfs only so.
    """
    last: dict[int, nlmsg] = {}
    told: dict[int, nlmsg] = {}
    shaped: set[int] = set()
    for message in messages:
        if message["header"]["type"] not in (RTM_NEWLINK, RTM_DELLINK):
            shaped.update({message["index"]} if "index" in message else ())  # a chain of filters has none
        elif message["family"] != AF_BRIDGE:
            last[message["index"]] = message
            told.pop(message["index"], None)
        elif message["event"] == "RTM_NEWLINK":
            told[message["index"]] = message
    links: dict[str, RawLink | None] = {}
    for message in last.values():
        link = parse_link(message)
        if message["event"] == "RTM_NEWLINK":
            links[link.name] = link
        else:
            links.setdefault(link.name, None)  # unless another link has its name by now
    masks = (_told_mask(message) for message in told.values())
    return links, {name: mask for name, mask in masks if mask is not None}, frozenset(shaped)


def features_changed(messages: Iterable[nlmsg]) -> frozenset[str]:
    """The names of links of which events tell that their features, such as offloads, have changed."""
    told = (message for message in messages if message.get_attr("IFLA_EVENT") == _EVENT_FEATURES)
    return frozenset(_text(message.get_attr("IFLA_IFNAME") or "") for message in told)


def _told_mask(message: nlmsg) -> tuple[str, int | None]:
    """The port's name and ``group_fwd_mask`` in a message of the bridge's own family, None where it does not say."""
    told = _values(message)
    mask = _values(told.get("IFLA_PROTINFO")).get("IFLA_BRPORT_GROUP_FWD_MASK")
    return _text(told.get("IFLA_IFNAME", "")), mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What events of a namespace are about: links by name, as far as it is told, and by index; addresses; routes.

    ``default_route`` says that one of the main table has come or gone, ``rerouted`` that any by a gateway has, and
    ``lost`` that the kernel dropped events.
    """

    names: frozenset[str] = frozenset()
    indexes: frozenset[int] = frozenset()
    addresses: frozenset[IpAddress] = frozenset()
    default_route: bool = False
    rerouted: bool = False
    lost: bool = False


def heard(messages: Iterable[nlmsg], *, lost: bool = False) -> Heard:
    """Return what events of links, addresses and routes are about."""
    names: set[str] = set()
    indexes: set[int] = set()
    addresses: set[IpAddress] = set()
    default_route = rerouted = False
    for message in messages:
        number = message["header"]["type"]
        if number in (RTM_NEWLINK, RTM_DELLINK):
            indexes.add(message["index"])
            names.add(_text(message.get_attr("IFLA_IFNAME") or ""))
        elif number in (RTM_NEWADDR, RTM_DELADDR):
            indexes.add(message["index"])
            addresses.update(found.address for found in parse_addresses([message]))
        elif message["table"] == MAIN_TABLE:
            default_route = default_route or not message["dst_len"]
            rerouted = rerouted or any(message.get_attr(way) for way in ("RTA_GATEWAY", "RTA_MULTIPATH", "RTA_VIA"))
    return Heard(
        names=frozenset(names),
        indexes=frozenset(indexes),
        addresses=frozenset(addresses),
        default_route=default_route,
        rerouted=rerouted,
        lost=lost,
    )


# ---------------------------------------------------------------- addresses and routes


def add_address(index: int, interface: str) -> nlmsg:
    """Give ``interface`` (``10.0.0.2/24``) to a link; IPv6 without waiting for duplicate address detection."""
    parsed = ip_interface(interface)
    return _message(
        ifaddrmsg,
        RTM_NEWADDR,
        _CREATE,
        [["IFA_LOCAL", str(parsed.ip)], ["IFA_ADDRESS", str(parsed.ip)]],
        family=_family(parsed.version),
        prefixlen=parsed.network.prefixlen,
        flags=IFA_F_NODAD if isinstance(parsed, IPv6Interface) else 0,
        index=index,
    )


def _family(version: int) -> int:
    return AF_INET if version == 4 else AF_INET6


def get_addresses() -> nlmsg:
    """Ask for every address of the namespace."""
    return _message(ifaddrmsg, RTM_GETADDR, _DUMP)


@dataclass(frozen=True, slots=True)
class RawAddress:
    """An address as the kernel tells it: link index, ``address/prefix``, scope (0 global, 253 link)."""

    index: int
    address: IpAddress
    prefix: int
    scope: int


def parse_addresses(messages: Iterable[nlmsg]) -> Iterator[RawAddress]:
    """The IP addresses in a dump, which tells of those of other families (MCTP, Phonet) too."""
    for message in messages:
        if message["family"] in (AF_INET, AF_INET6):
            address = ip_address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
            yield RawAddress(message["index"], address, message["prefixlen"], message["scope"])


def add_route(
    index: int,
    destination: str,
    gateway: IpAddress | None,
    *,
    mtu: int = 0,
    advmss: int = 0,
    priority: int = 0,
    table: int = 0,
    scope: int | None = None,
) -> nlmsg:
    """A route to ``destination`` (``10.0.0.0/8``, ``::/0``) through a link, by ``gateway`` where there is one."""
    network = ip_interface(destination).network
    link_scope = RT_SCOPE_LINK if gateway is None and network.version == 4 else 0
    metrics = [[name, value] for name, value in (("RTAX_MTU", mtu), ("RTAX_ADVMSS", advmss)) if value]
    attributes = {
        "RTA_DST": str(network.network_address) if network.prefixlen else None,
        "RTA_OIF": index,
        "RTA_GATEWAY": str(gateway) if gateway else None,
        "RTA_PRIORITY": priority or None,
        "RTA_TABLE": table if table >= 256 else None,
        "RTA_METRICS": _nest(*metrics) if metrics else None,
    }
    return _message(
        rtmsg,
        RTM_NEWROUTE,
        _CREATE,
        [[name, value] for name, value in attributes.items() if value is not None],
        family=_family(network.version),
        dst_len=network.prefixlen,
        table=table if 0 < table < 256 else MAIN_TABLE,
        proto=rt_proto["boot"],  # set up by a program, not by a routing daemon
        scope=link_scope if scope is None else scope,
        type=rt_type["unicast"],
    )


def get_routes() -> nlmsg:
    """Ask for every route of the namespace."""
    return _message(rtmsg, RTM_GETROUTE, _DUMP, family=0)


def get_route(peer: IpAddress) -> nlmsg:
    """Ask for the route that leads to an address."""
    length = peer.max_prefixlen
    return _message(
        rtmsg, RTM_GETROUTE, NLM_F_REQUEST, [["RTA_DST", str(peer)]], family=_family(peer.version), dst_len=length
    )


@dataclass(frozen=True, slots=True)
class RawRoute:
    """A unicast route as the kernel tells it; of one with several next hops, the first, and the ``others``' links."""

    index: int
    destination: str
    gateway: IpAddress | None
    table: int = MAIN_TABLE
    priority: int = 0
    others: tuple[int, ...] = ()


def parse_route(message: nlmsg) -> RawRoute | None:
    """An RTM_NEWROUTE message as a value; None for what is not a unicast route of IP (local, broadcast, …)."""
    if message["family"] not in (AF_INET, AF_INET6) or message["type"] != rt_type["unicast"]:
        return None
    told = message.get_attr
    hops = told("RTA_MULTIPATH")
    hop = hops[0] if hops else None
    gateway = told("RTA_GATEWAY") or (hop.get_attr("RTA_GATEWAY") if hop else None)
    everything = "0.0.0.0" if message["family"] == AF_INET else "::"  # noqa: S104 - a destination
    return RawRoute(
        index=told("RTA_OIF") or (hop["oif"] if hop else 0),
        destination=f"{told('RTA_DST') or everything}/{message['dst_len']}",
        gateway=ip_address(gateway) if gateway else None,
        table=told("RTA_TABLE") or message["table"],
        priority=told("RTA_PRIORITY") or 0,
        others=tuple(hop["oif"] for hop in hops[1:]) if hops else (),
    )


# ---------------------------------------------------------------- forwarding tables


def _default_entry(number: int, mode: int, index: int, peer: IpAddress) -> nlmsg:
    return _message(
        ndmsg,
        number,
        mode,
        [["NDA_DST", str(peer)], ["NDA_LLADDR", ALL_ZERO_MAC]],
        family=AF_BRIDGE,
        ifindex=index,
        state=NUD_PERMANENT,
        flags=NTF_SELF,
    )


def add_peer(index: int, peer: IpAddress) -> nlmsg:
    """Send unknown, broadcast and multicast frames of a VXLAN device to ``peer`` too: its all-zero FDB entry."""
    return _default_entry(RTM_NEWNEIGH, _CHANGE | NLM_F_CREATE | NLM_F_APPEND, index, peer)


def remove_peer(index: int, peer: IpAddress) -> nlmsg:
    """Take ``peer`` out of the all-zero FDB entry."""
    return _default_entry(RTM_DELNEIGH, _CHANGE, index, peer)


def get_fdb(index: int) -> nlmsg:
    """Ask for the forwarding table of a VXLAN device."""
    return _message(ndmsg, RTM_GETNEIGH, _DUMP, family=AF_BRIDGE, ifindex=index)


def parse_peers(messages: Iterable[nlmsg], index: int) -> frozenset[IpAddress]:
    """The destinations of the all-zero entry of device ``index``."""
    return frozenset(
        ip_address(peer)
        for message in messages
        if message["ifindex"] == index
        and message.get_attr("NDA_LLADDR") == ALL_ZERO_MAC
        and (peer := message.get_attr("NDA_DST"))
    )


def get_bridge_entry(bridge: int, mac: str) -> nlmsg:
    """Ask for the entry that a bridge has for a MAC address."""
    return _entry(RTM_GETNEIGH, NLM_F_REQUEST, ["NDA_LLADDR", mac], ["NDA_MASTER", bridge])


def get_tunnel_entry(index: int, mac: str) -> nlmsg:
    """Ask for the entry that a VXLAN device has for a MAC address."""
    return _entry(RTM_GETNEIGH, NLM_F_REQUEST, ["NDA_LLADDR", mac], ifindex=index, flags=NTF_SELF)


def remove_bridge_entry(port: int, mac: str) -> nlmsg:
    """Take the entry for a MAC address at a port out of its bridge."""
    return _entry(RTM_DELNEIGH, _CHANGE, ["NDA_LLADDR", mac], ifindex=port, flags=NTF_MASTER)


def remove_tunnel_entry(entry: nlmsg) -> nlmsg:
    """Take an entry as the kernel told it out of its VXLAN device."""
    which = ("NDA_LLADDR", "NDA_DST", "NDA_PORT", "NDA_IFINDEX")
    found = [[name, value] for name in which if (value := entry.get_attr(name)) is not None]
    return _entry(RTM_DELNEIGH, _CHANGE, *found, ifindex=entry["ifindex"], flags=NTF_SELF)


def _entry(number: int, mode: int, /, *attributes: list[Any], **fields: int) -> nlmsg:
    return _message(ndmsg, number, mode, attributes, family=AF_BRIDGE, **fields)


def is_learned(entry: nlmsg) -> bool:
    """Whether an entry was learned from a frame: it is neither static nor permanent, and no other program's."""
    return not (entry["state"] & (NUD_PERMANENT | NUD_NOARP) or entry["flags"] & NTF_EXT_LEARNED)


def peer_of(entry: nlmsg) -> IpAddress | None:
    """Return where an entry of a VXLAN device sends to."""
    peer = entry.get_attr("NDA_DST")
    return ip_address(peer) if peer else None
