"""Netlink messages: what is built, what is read of real ones, and that no bytes at all do harm.

``captured/*.hex`` holds what a kernel has said, with the commands that led to it; its numbers are little-endian.
"""

from __future__ import annotations

import errno
import itertools
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.errors import KernelError
from k8slan_cli.lan.model import IpAddress
from k8slan_cli.net import netlink, sockets
from k8slan_cli.net.netlink import Message, RawAddress, RawLink, RawRoute, Reply

_IFINFO, _NDMSG = 16, 12  # bytes of the fixed part of a body
little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the captures are of a little-endian machine")


def captured(name: str) -> bytes:
    """What the kernel said."""
    lines = Path(__file__).with_name("captured").joinpath(f"{name}.hex").read_text().splitlines()
    return bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


CAPTURES = ("links", "addresses", "routes", "fdb", "counters", "refusals")


def reply(message: Message) -> Reply:
    """A message of ours as if it had been received."""
    (one,) = netlink.replies(message.encode(1))
    return one


def found(message: Message, fixed: int) -> dict[int, bytes]:
    """The attributes of a message behind the fixed part of its body."""
    return {key: message.body[s:e] for key, s, e in netlink.attributes(message.body, fixed, len(message.body))}


def inner(raw: bytes, fixed: int = 0) -> dict[int, bytes]:
    """The attributes in an attribute."""
    return {key: raw[s:e] for key, s, e in netlink.attributes(raw, fixed, len(raw))}


def number(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


# ---------------------------------------------------------------- messages that are built


@given(st.integers(0, 0x3FFF), st.binary(max_size=64))
def test_an_attribute_is_padded_and_reads_back(kind: int, payload: bytes) -> None:
    raw = netlink.attr(kind, payload)
    assert len(raw) % 4 == 0
    assert [(key, raw[s:e]) for key, s, e in netlink.attributes(raw, 0, len(raw))] == [(kind, payload)]


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=9)), max_size=5))
def test_attributes_read_back_one_after_the_other(pairs: list[tuple[int, bytes]]) -> None:
    raw = netlink.nest(1, *(netlink.attr(kind, payload) for kind, payload in pairs))
    assert [(key, raw[s:e]) for key, s, e in netlink.attributes(raw, 4, len(raw))] == pairs


def test_flags_in_the_type_of_an_attribute_are_not_part_of_its_type() -> None:
    raw = netlink.attr(0x8000 | 0x4000 | 5, b"abcd")
    assert [key for key, _, _ in netlink.attributes(raw, 0, len(raw))] == [5]


def test_a_request_carries_its_length_flags_and_number() -> None:
    message = netlink.get_links()
    raw = message.encode(77, ack=False)
    length, kind, flags, sequence, port = struct.unpack_from("=IHHII", raw)
    assert (length, kind, flags, sequence, port) == (len(raw), 18, 0x301, 77, 0)
    assert struct.unpack_from("=IHHII", message.encode(77))[2] == 0x305


HEADS: list[tuple[Message, int, int, tuple[int, ...]]] = [
    (netlink.get_link("a"), 18, 0, (0, 0, 0, 0, 0)),
    (netlink.get_link(7), 18, 0, (0, 0, 7, 0, 0)),
    (netlink.get_link_with_counters("a"), 18, 0, (0, 0, 0, 0, 0)),
    (netlink.get_links(), 18, 0x300, (0, 0, 0, 0, 0)),
    (netlink.new_link(), 16, 0x600, (0, 0, 0, 1, 1)),
    (netlink.new_link(up=False, index=9), 16, 0x600, (0, 0, 9, 0, 1)),
    (netlink.set_link(), 16, 0, (0, 0, 0, 0, 0)),
    (netlink.set_link(index=4, flags=1, change=0x201), 16, 0, (0, 0, 4, 1, 0x201)),
    (netlink.port_settings("a", 0, ""), 16, 0, (0, 0, 0, 1, 1)),
    (netlink.port_settings("a", 0, "", up=False), 16, 0, (0, 0, 0, 0, 1)),
    (netlink.delete_link("a"), 17, 0, (0, 0, 0, 0, 0)),
    (netlink.delete_links(["a"])[-1], 17, 0, (0, 0, 0, 0, 0)),
    (netlink.get_addresses(), 22, 0x300, (0, 0, 0, 0, 0)),
    (netlink.add_address(4, "10.0.0.1/24"), 20, 0x600, (AF_INET, 24, 0, 0, 4)),
    (netlink.add_address(4, "fd00::1/64"), 20, 0x600, (AF_INET6, 64, 2, 0, 4)),
    (netlink.get_routes(), 26, 0x300, (0, 0, 0, 0, 0, 0, 0, 0, 0)),
    (netlink.add_route(4, "10.0.0.0/8", None), 24, 0x600, (AF_INET, 8, 0, 0, 254, 3, 253, 1, 0)),
    (netlink.add_route(4, "::/0", ip_address("fe80::1"), table=9), 24, 0x600, (AF_INET6, 0, 0, 0, 9, 3, 0, 1, 0)),
    (netlink.get_fdb(5), 30, 0x300, (7, 5, 0, 0, 0)),
    (netlink.add_peer(5, ip_address("10.0.0.2")), 28, 0xC00, (7, 5, 0x80, 2, 0)),
    (netlink.remove_peer(5, ip_address("10.0.0.2")), 29, 0, (7, 5, 0x80, 2, 0)),
]


@pytest.mark.parametrize(("message", "kind", "flags", "head"), HEADS, ids=[str(i) for i in range(len(HEADS))])
def test_each_request_says_what_it_is_and_what_it_is_about(
    message: Message, kind: int, flags: int, head: tuple[int, ...]
) -> None:
    layouts = {16: "=BxHiII", 17: "=BxHiII", 18: "=BxHiII", 20: "=BBBBi", 22: "=BBBBi"}
    layouts |= {24: "=BBBBBBBBI", 26: "=BBBBBBBBI", 28: "=BxxxiHBB", 29: "=BxxxiHBB", 30: "=BxxxiHBB"}
    assert (message.type, message.flags) == (kind, flags)
    assert struct.unpack_from(layouts[kind], message.body) == head


def test_a_link_is_deleted_by_its_name() -> None:
    assert found(netlink.delete_link("ap"), _IFINFO) == {netlink.IFLA_IFNAME: b"ap\0"}


def test_several_requests_in_one_datagram_are_told_apart() -> None:
    data = b"".join(netlink.get_link(name).encode(i) for i, name in enumerate(("a", "bcd", "ef")))
    assert [r.sequence for r in netlink.replies(data)] == [0, 1, 2]
    assert [netlink.parse_link(r).name for r in netlink.replies(data)] == ["a", "bcd", "ef"]


def test_a_link_is_asked_for_by_name_or_by_index() -> None:
    assert netlink.parse_link(reply(netlink.get_link("eth0"))).name == "eth0"
    by_index = netlink.parse_link(reply(netlink.get_link(7)))
    assert (by_index.index, by_index.name) == (7, "")
    assert number(found(netlink.get_link("eth0"), _IFINFO)[netlink.IFLA_EXT_MASK]) == netlink.RTEXT_FILTER_SKIP_STATS
    assert netlink.IFLA_EXT_MASK not in found(netlink.get_link_with_counters("eth0"), _IFINFO)


def test_a_name_that_is_no_utf8_goes_out_as_it_came_in() -> None:
    raw = b"caf\xe9"
    name = netlink.parse_link(reply(netlink.set_link(netlink.attr(netlink.IFLA_IFNAME, raw + b"\0")))).name
    assert found(netlink.get_link(name), _IFINFO)[netlink.IFLA_IFNAME] == raw + b"\0"


def test_a_bridge_is_made_with_its_mac_mtu_and_mark() -> None:
    message = netlink.bridge("br0", 1446, "02:00:00:00:00:0b")
    assert message.flags == netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
    link = netlink.parse_link(reply(message))
    assert (link.name, link.mtu, link.mac, link.kind) == ("br0", 1446, "02:00:00:00:00:0b", "bridge")
    assert link.group == netlink.OURS
    assert link.flags & netlink.IFF_UP


@pytest.mark.parametrize(
    ("local", "group"),
    [
        ("10.0.0.1", None),
        ("fe80::1", None),
        (None, "239.0.0.1"),
        (None, "ff02::14"),
        (None, None),
    ],
)
def test_a_vxlan_device_reads_back_as_it_was_asked_for(local: str | None, group: str | None) -> None:
    address, multicast = ip_address(local) if local else None, ip_address(group) if group else None
    message = netlink.vxlan(
        "vx0",
        vni=7,
        port=8472,
        device=3,
        local=address,
        group=multicast,
        mtu=1446,
        mac="02:00:00:00:00:0c",
        netns_fd=9,
    )
    link = netlink.parse_link(reply(message))
    assert netlink.vxlan_options(link) == (7, 8472, 3, address, multicast)
    assert (link.name, link.kind, link.mtu, link.mac) == ("vx0", "vxlan", 1446, "02:00:00:00:00:0c")
    assert not link.flags & netlink.IFF_UP, "it comes up in its namespace, as a port"
    assert number(found(message, _IFINFO)[netlink.IFLA_NET_NS_FD]) == 9
    addresses = {netlink.IFLA_VXLAN_LOCAL: 4, netlink.IFLA_VXLAN_GROUP: 4}
    addresses |= {netlink.IFLA_VXLAN_LOCAL6: 16, netlink.IFLA_VXLAN_GROUP6: 16}
    assert all(len(raw) == addresses[key] for key, raw in link.info.items() if key in addresses)
    assert link.info[netlink.IFLA_VXLAN_LEARNING] == b"\1"


def test_a_veth_is_made_with_both_ends_in_one_message() -> None:
    message = netlink.veth("ap", "02:00:00:00:00:01", 1446, 4, "net1", "02:00:00:00:00:02", 1400, 9)
    port = netlink.parse_link(reply(message))
    assert (port.name, port.mac, port.mtu, port.master, port.kind, port.group) == (
        "ap",
        "02:00:00:00:00:01",
        1446,
        4,
        "veth",
        netlink.OURS,
    )
    peer = port.info[netlink.VETH_INFO_PEER]
    there = inner(peer, _IFINFO)
    assert there[netlink.IFLA_IFNAME] == b"net1\0"
    assert there[netlink.IFLA_ADDRESS] == bytes.fromhex("020000000002")
    assert number(there[netlink.IFLA_MTU]) == 1400
    assert number(there[netlink.IFLA_NET_NS_FD]) == 9
    assert number(there[netlink.IFLA_GROUP]) == netlink.OURS


def test_a_macvtap_is_made_with_the_index_that_names_its_device() -> None:
    message = netlink.macvtap("net1", index=1 << 24, lower=5, mac="02:00:00:00:00:03", mtu=1400, netns_fd=9)
    link = netlink.parse_link(reply(message))
    assert (link.index, link.name, link.link, link.kind, link.mtu) == (1 << 24, "net1", 5, "macvtap", 1400)
    assert number(link.info[netlink.IFLA_MACVLAN_MODE]) == netlink.MACVLAN_MODE_PASSTHRU
    assert not link.flags & netlink.IFF_UP, "it comes up once it has ALLMULTI"


def test_settings_of_a_port_are_its_mask_and_its_owner() -> None:
    message = netlink.port_settings("ap", 0xFFFD, "c1 net1 lab/web")
    link = netlink.parse_link(reply(message))
    assert (link.name, link.alias, netlink.forwarding_mask(link)) == ("ap", "c1 net1 lab/web", 0xFFFD)
    assert found(netlink.port_settings("ap", 0, ""), _IFINFO)[netlink.IFLA_IFALIAS] == b""


def test_links_are_deleted_as_a_group_that_no_other_link_is_in() -> None:
    *moves, deletion = netlink.delete_links(["ap", "bp"])
    assert [netlink.parse_link(reply(move)).name for move in moves] == ["ap", "bp"]
    assert {netlink.parse_link(reply(m)).group for m in (*moves, deletion)} == {netlink.DOOMED}
    assert deletion.type == netlink.RTM_DELLINK
    assert netlink.DOOMED != netlink.OURS


@pytest.mark.parametrize("peer", ["10.0.0.2", "fe80::2"])
def test_a_peer_is_told_and_forgotten_by_the_same_entry(peer: str) -> None:
    address = ip_address(peer)
    adding, removing = netlink.add_peer(5, address), netlink.remove_peer(5, address)
    assert adding.body == removing.body
    assert (adding.type, removing.type) == (netlink.RTM_NEWNEIGH, netlink.RTM_DELNEIGH)
    assert adding.flags & netlink.NLM_F_APPEND, "beside the peers that are there"
    assert netlink.parse_peers([reply(adding)], 5) == {address}
    assert netlink.parse_peers([reply(adding)], 6) == frozenset()


@pytest.mark.parametrize(
    ("interface", "address", "prefix", "flags"),
    [
        ("10.0.0.2/24", "10.0.0.2", 24, 0),
        ("fd00::2/64", "fd00::2", 64, netlink.IFA_F_NODAD),
        ("10.0.0.2", "10.0.0.2", 32, 0),
    ],
)
def test_an_address_reads_back(interface: str, address: str, prefix: int, flags: int) -> None:
    message = netlink.add_address(4, interface)
    assert netlink.parse_address(reply(message)) == RawAddress(4, ip_address(address), prefix, 0)
    assert message.body[2] == flags


@pytest.mark.parametrize(
    ("destination", "gateway", "options", "expected"),
    [
        ("0.0.0.0/0", "10.0.0.1", {}, ("0.0.0.0/0", "10.0.0.1", 254, 0)),
        ("::/0", "fe80::1", {"priority": 9}, ("::/0", "fe80::1", 254, 9)),
        ("10.1.2.3/8", None, {"table": 100}, ("10.0.0.0/8", None, 100, 0)),
        ("fd00::/8", None, {"table": 70000, "priority": 1 << 31}, ("fd00::/8", None, 70000, 1 << 31)),
        ("10.0.0.0/8", None, {"table": 1}, ("10.0.0.0/8", None, 1, 0)),
        ("10.0.0.0/8", None, {"table": 255}, ("10.0.0.0/8", None, 255, 0)),
        ("10.0.0.0/8", None, {"table": 256}, ("10.0.0.0/8", None, 256, 0)),
    ],
)
def test_a_route_reads_back(
    destination: str, gateway: str | None, options: dict[str, int], expected: tuple[str, str | None, int, int]
) -> None:
    message = netlink.add_route(4, destination, ip_address(gateway) if gateway else None, **options)
    wanted, via, table, priority = expected
    assert netlink.parse_route(reply(message)) == RawRoute(4, wanted, ip_address(via) if via else None, table, priority)


def test_a_route_carries_its_metrics_and_its_scope() -> None:
    message = netlink.add_route(4, "10.0.0.0/8", None, mtu=1400, advmss=1360)
    metrics = inner(found(message, 12)[netlink.RTA_METRICS])
    assert {key: number(raw) for key, raw in metrics.items()} == {2: 1400, 8: 1360}
    scope = 6
    assert message.body[scope] == 253, "on-link"
    assert netlink.add_route(4, "10.0.0.0/8", ip_address("10.0.0.1")).body[scope] == 0
    assert netlink.add_route(4, "fd00::/8", None).body[scope] == 0
    assert netlink.add_route(4, "10.0.0.0/8", None, scope=254).body[scope] == 254


@given(st.binary(min_size=6, max_size=6))
def test_macs_read_back(raw: bytes) -> None:
    assert netlink.mac_bytes(netlink.mac_text(raw)) == raw


# ---------------------------------------------------------------- messages that a kernel has sent


@little_endian
def test_links_as_the_kernel_tells_them() -> None:
    links = {link.name: link for link in map(netlink.parse_link, netlink.replies(captured("links")))}
    assert links.keys() == {"lo", "up0", "up0x", "br0", "vx0", "vx6", "ap", "as"}
    assert (links["lo"].index, links["lo"].mac, links["lo"].kind, links["lo"].group) == (1, "00:00:00:00:00:00", "", 0)
    assert not links["lo"].flags & netlink.IFF_UP

    bridge = links["br0"]
    assert (bridge.kind, bridge.mtu, bridge.mac, bridge.group) == ("bridge", 1446, "02:00:00:00:00:0b", netlink.OURS)
    assert netlink.loud(bridge) == [netlink.IFLA_BR_MCAST_SNOOPING]

    port = links["ap"]
    assert (port.kind, port.master, port.alias, port.group) == ("veth", bridge.index, "c1 net1 lab/web", netlink.OURS)
    assert netlink.forwarding_mask(port) == 0xFFFD
    assert port.link == links["as"].index
    assert netlink.forwarding_mask(links["as"]) == 0
    assert links["as"].flags & netlink.IFF_LOWER_UP

    assert netlink.vxlan_options(links["vx0"]) == (7, 4789, links["up0"].index, IPv4Address("10.0.0.1"), None)
    assert netlink.vxlan_options(links["vx6"]) == (9, 8472, links["up0"].index, None, IPv6Address("ff02::14"))
    assert netlink.forwarding_mask(links["vx0"]) == 0
    assert links["vx0"].master == bridge.index


@little_endian
def test_counters_as_the_kernel_tells_them() -> None:
    (port,) = map(netlink.parse_link, netlink.replies(captured("counters")))
    assert port.name == "ap"
    assert len(port.counters) == 8
    assert any(port.counters)


@little_endian
def test_addresses_as_the_kernel_tells_them() -> None:
    addresses = list(netlink.parse_addresses(netlink.replies(captured("addresses"))))
    assert RawAddress(3, ip_address("10.0.0.1"), 24, 0) in addresses
    assert RawAddress(3, ip_address("10.0.0.9"), 32, 0) in addresses, "the local end, not the peer's"
    assert RawAddress(3, ip_address("fd00::1"), 64, 0) in addresses
    assert {a.scope for a in addresses if isinstance(a.address, IPv6Address) and a.address.is_link_local} == {253}


@little_endian
def test_routes_as_the_kernel_tells_them() -> None:
    routes = [r for r in map(netlink.parse_route, netlink.replies(captured("routes"))) if r]
    gateway: Callable[[str], IpAddress] = ip_address
    for route in (
        RawRoute(3, "0.0.0.0/0", gateway("10.0.0.2"), 254, 600),
        RawRoute(3, "0.0.0.0/0", gateway("10.0.0.3"), 254, 100),
        RawRoute(3, "10.9.0.0/16", gateway("10.0.0.2"), 254, 0),
        RawRoute(3, "10.8.0.0/16", None, 1000, 0),
        RawRoute(3, "10.6.0.0/16", None, 254, 0),
        RawRoute(3, "::/0", gateway("fd00::2"), 254, 7),
    ):
        assert route in routes
    assert not [r for r in routes if r.destination in ("10.7.0.0/16", "10.0.0.255/32", "ff00::/8")]


@little_endian
def test_peers_as_the_kernel_tells_them() -> None:
    """Entries of other MACs and of other devices are in the same dump."""
    messages = list(netlink.replies(captured("fdb")))
    assert netlink.parse_peers(messages, 5) == {ip_address("10.0.0.2"), ip_address("10.0.0.3")}
    assert len(messages) == 4


@little_endian
def test_refusals_as_the_kernel_tells_them() -> None:
    assert [netlink.error_of(r) for r in netlink.replies(captured("refusals"))] == [
        (errno.EINVAL, "Invalid values in header for get link request"),
        (errno.ENODEV, ""),
        (0, ""),
        (errno.EINVAL, "mtu greater than device maximum"),
    ]


@pytest.mark.parametrize("capped", [True, False])
@pytest.mark.parametrize("extra", [0, 1, 3, 4])
def test_words_of_a_refusal_are_found_behind_the_request_it_repeats(capped: bool, extra: int) -> None:
    """It repeats the request's header, or all of it padded to 4 bytes; a length of the request's is not trusted."""
    request = struct.pack("=IHHII", 16 + extra, netlink.RTM_NEWLINK, 5, 1, 0) + (b"" if capped else bytes(extra))
    request += bytes(-len(request) % 4)
    body = struct.pack("=i", -errno.EBUSY) + request + netlink.text(netlink.NLMSGERR_ATTR_MSG, "it is busy")
    flags = netlink.NLM_F_ACK_TLVS | (netlink.NLM_F_CAPPED if capped else 0)
    raw = struct.pack("=IHHII", 16 + len(body), netlink.NLMSG_ERROR, flags, 1, 0) + body
    assert [netlink.error_of(r) for r in netlink.replies(raw)] == [(errno.EBUSY, "it is busy")]
    silent = struct.pack("=IHHII", 16 + len(body), netlink.NLMSG_ERROR, flags & ~netlink.NLM_F_ACK_TLVS, 1, 0) + body
    assert [netlink.error_of(r) for r in netlink.replies(silent)] == [(errno.EBUSY, "")]


# ---------------------------------------------------------------- the kernel of this machine, without any rights


@pytest.fixture
def kernel() -> Iterator[sockets.Netlink]:
    with sockets.Netlink() as socket:
        yield socket


def test_this_kernel_tells_of_lo(kernel: sockets.Netlink) -> None:
    links = {link.name: link for link in map(netlink.parse_link, kernel.ask(netlink.get_links(), doing="list"))}
    assert links["lo"].index == 1
    by_name, by_index = sockets.link(kernel, "lo"), sockets.link(kernel, 1)
    assert by_name is not None
    assert by_index is not None
    assert replace(by_name, counters=()) == replace(by_index, counters=()) == replace(links["lo"], counters=())
    (counted,) = kernel.ask(netlink.get_link_with_counters("lo"), doing="count")
    assert len(netlink.parse_link(counted).counters) == 8


def test_this_kernel_tells_of_addresses_and_routes(kernel: sockets.Netlink) -> None:
    addresses = list(netlink.parse_addresses(kernel.ask(netlink.get_addresses(), doing="list")))
    routes = [netlink.parse_route(r) for r in kernel.ask(netlink.get_routes(), doing="list")]
    lo = [a for a in addresses if a.index == 1]
    assert all(a.address.is_loopback for a in lo if a.scope == 254)
    assert all(r is None or ":" in r.destination or "." in r.destination for r in routes)


def test_this_kernel_says_why_it_refuses(kernel: sockets.Netlink) -> None:
    assert sockets.link(kernel, "no-such-link-00") is None
    with pytest.raises(KernelError) as caught:
        kernel.ask(Message(netlink.RTM_GETLINK, 0, netlink.ifinfo(index=1, change=5)), doing="look")
    assert caught.value.errno == errno.EINVAL
    assert str(caught.value).startswith("look: ")
    assert sockets.link(kernel, "lo") is not None, "the socket is good for the next question"


# ---------------------------------------------------------------- odd input


def everything(data: bytes) -> int:
    """Read ``data`` as every kind of message; the number of messages in it. Only a KernelError may come of it."""
    count = 0
    parsers: list[Callable[[Reply], object]] = [
        _link,
        netlink.parse_address,
        netlink.parse_route,
        netlink.error_of,
        lambda r: netlink.parse_peers([r], 5),
        lambda r: list(netlink.parse_addresses([r])),
    ]
    for one in netlink.replies(data):
        count += 1
        for parse in parsers:
            if one.type < netlink.RTM_NEWLINK and parse is not netlink.error_of:
                continue
            try:
                parse(one)
            except KernelError as error:
                if error.errno != errno.EBADMSG:
                    raise AssertionError(f"unexpected {error}") from error
    return count


def _link(one: Reply) -> None:
    link = netlink.parse_link(one)
    assert link.index == netlink.link_index(one)
    netlink.vxlan_options(link)
    netlink.forwarding_mask(link)
    netlink.silence(link)
    link.name.encode(errors="surrogateescape")
    (link.kind + link.alias).encode()


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_read_to_an_end(data: bytes) -> None:
    assert everything(data) <= len(data) // 16


@given(st.integers(0, 0xFFFF), st.binary(max_size=120))
def test_any_body_at_all_is_read_to_an_end(kind: int, body: bytes) -> None:
    raw = struct.pack("=IHHII", 16 + len(body), kind, netlink.NLM_F_ACK_TLVS, 1, 0) + body
    assert everything(raw) <= 1


@given(st.sampled_from(CAPTURES), st.data())
def test_a_damaged_message_is_read_to_an_end(name: str, data: st.DataObject) -> None:
    """Bytes changed, cut off or put in, as no kernel would: nothing loops, nothing raises but the one error."""
    whole = bytearray(captured(name))
    at = data.draw(st.integers(0, len(whole) - 1))
    for _ in range(data.draw(st.integers(0, 8))):
        whole[data.draw(st.integers(max(0, at - 32), min(len(whole) - 1, at + 32)))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole))) :]
    everything(bytes(whole))


@given(st.binary(max_size=100), st.integers(0, 100), st.integers(0, 120))
def test_attributes_never_reach_beyond_their_bounds(data: bytes, start: int, end: int) -> None:
    end = min(end, len(data))
    spans = [(s, e) for _, s, e in netlink.attributes(data, start, end)]
    assert all(start < s <= e <= end for s, e in spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize("length", [0, 1, 3, 15])
def test_a_length_that_does_not_cover_the_header_ends_the_reading(length: int) -> None:
    good = netlink.get_links().encode(1)
    assert len(list(netlink.replies(good + struct.pack("=IHHII", length, 16, 0, 0, 0) + good))) == 1


def test_a_message_longer_than_its_datagram_is_not_read() -> None:
    good = netlink.get_link("eth0").encode(1)
    assert list(netlink.replies(good[:-1])) == []
    assert len(list(netlink.replies(good + good[:-4]))) == 1


def test_an_attribute_longer_than_its_message_is_not_read() -> None:
    message = netlink.set_link(netlink.text(netlink.IFLA_IFNAME, "ap"), struct.pack("=HH", 40, netlink.IFLA_MTU))
    link = netlink.parse_link(reply(message))
    assert (link.name, link.mtu) == ("ap", 0)


def test_a_message_of_rtnetlink_always_has_a_family() -> None:
    """So that a listener may look at the first byte of a body."""
    bare = Message(netlink.RTM_NEWLINK, 0, b"")
    assert list(netlink.replies(bare.encode(1))) == []
    done = struct.pack("=IHHII", 16, netlink.NLMSG_DONE, 0, 1, 0)
    assert [r.type for r in netlink.replies(done)] == [netlink.NLMSG_DONE]


@pytest.mark.parametrize(
    "parse",
    [
        netlink.parse_link,
        netlink.link_index,
        netlink.parse_address,
        netlink.parse_route,
        lambda r: netlink.parse_peers([r], 5),
    ],
    ids=["link", "index", "address", "route", "peers"],
)
def test_a_body_cut_short_is_an_error_of_the_kernel(parse: Callable[[Reply], Any]) -> None:
    short = reply(Message(netlink.RTM_NEWLINK, 0, bytes([AF_INET, 0, 0, 0])))
    with pytest.raises(KernelError) as caught:
        parse(short)
    assert caught.value.errno == errno.EBADMSG


def test_addresses_of_other_families_are_passed_over() -> None:
    """An MCTP address (family 45) is one byte; a dump of all families tells of it too."""
    mctp = Message(
        netlink.RTM_NEWADDR, 0, struct.pack("=BBBBi", 45, 0, 0, 0, 3) + netlink.attr(netlink.IFA_LOCAL, b"\x08")
    )
    ours = netlink.add_address(4, "10.0.0.2/24")
    assert [a.index for a in netlink.parse_addresses([reply(mctp), reply(ours)])] == [4]
    with pytest.raises(KernelError, match="not one of IP"):
        netlink.parse_address(reply(mctp))


def test_routes_of_other_families_are_passed_over() -> None:
    for family in (AF_UNSPEC, 28, 128, 129):  # MPLS, and the two of multicast routing
        assert (
            netlink.parse_route(reply(Message(netlink.RTM_NEWROUTE, 0, struct.pack("=BBBBBBBBI", family, *[0] * 8))))
            is None
        )


@pytest.mark.parametrize(("family", "destination"), [(AF_INET, "0.0.0.0/0"), (AF_INET6, "::/0")])
def test_a_route_without_a_destination_is_the_default(family: int, destination: str) -> None:
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 254, 3, 0, 1, 0)
    assert netlink.parse_route(reply(Message(netlink.RTM_NEWROUTE, 0, body))) == RawRoute(0, destination, None)


def test_what_a_vxlan_device_does_not_tell_is_nothing() -> None:
    bare = RawLink(1, "vx0", 0, 0, "", 0, 0, "vxlan", 0, {}, {})
    assert netlink.vxlan_options(bare) == (0, 0, 0, None, None)
    assert netlink.vxlan_options(replace(bare, info={netlink.IFLA_VXLAN_LOCAL: b"\1"})) == (0, 0, 0, None, None)
    assert netlink.forwarding_mask(replace(bare, port={netlink.IFLA_BRPORT_GROUP_FWD_MASK: b"\x08"})) == 8


def test_only_what_a_bridge_has_on_is_switched_off() -> None:
    """A kernel without VLAN filtering refuses even to have it off."""
    bare = RawLink(4, "br0", 0, 0, "", 0, 0, "bridge", 0, {}, {})
    assert netlink.loud(bare) == []
    stp = replace(bare, info={netlink.IFLA_BR_STP_STATE: b"\1\0\0\0", netlink.IFLA_BR_MCAST_SNOOPING: b"\0"})
    assert netlink.loud(stp) == [netlink.IFLA_BR_STP_STATE]
    silenced = netlink.parse_link(reply(netlink.silence(stp)))
    assert (silenced.index, silenced.info) == (4, {netlink.IFLA_BR_STP_STATE: bytes(4)})
    other = {netlink.IFLA_BR_VLAN_FILTERING: b"\1", netlink.IFLA_BR_MCAST_SNOOPING: b"\1"}
    silenced = netlink.parse_link(reply(netlink.silence(replace(bare, info=other))))
    assert silenced.info == dict.fromkeys(other, b"\0"), "each in as many bytes as the kernel has for it"
