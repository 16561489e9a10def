"""What k8slan reads of messages that a kernel has sent, and what the kernel of this machine takes and tells.

``captured/*.hex`` holds what a kernel has said, with the commands that led to it; its numbers are little-endian.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.errors import KernelError
from k8slan_cli.lan.model import IpAddress
from k8slan_cli.net import netlink, sockets
from k8slan_cli.net.netlink import RawAddress, RawLink, RawRoute
from k8slan_cli.net.sockets import Netlink

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the captures are of a little-endian machine")


@pytest.fixture
def kernel() -> Iterator[Netlink]:
    """A request socket, as anybody may have one."""
    with Netlink() as kernel:
        yield kernel


def read(kernel: Netlink, data: bytes) -> list[Any]:
    """The messages in what a socket has received."""
    return list(kernel._netlink.marshal.parse(data))


def captured(kernel: Netlink, name: str) -> list[Any]:
    """What a kernel said."""
    lines = Path(__file__).with_name("captured").joinpath(f"{name}.hex").read_text().splitlines()
    return read(kernel, bytes.fromhex("".join(line for line in lines if not line.startswith("#"))))


def encoded(message: Any) -> bytes:
    """A request as it goes out."""
    message.reset()
    message.encode()
    return bytes(message.data)


# ---------------------------------------------------------------- messages that a kernel has sent


@little_endian
def test_links_as_the_kernel_tells_them(kernel: Netlink) -> None:
    links = {link.name: link for link in map(netlink.parse_link, captured(kernel, "links"))}
    assert links.keys() == {"lo", "up0", "up0x", "br0", "vx0", "vx6", "ap", "as"}
    assert (links["lo"].index, links["lo"].mac, links["lo"].kind, links["lo"].group) == (1, "00:00:00:00:00:00", "", 0)
    assert not links["lo"].up

    bridge = links["br0"]
    assert (bridge.kind, bridge.mtu, bridge.mac, bridge.group) == ("bridge", 1446, "02:00:00:00:00:0b", netlink.OURS)
    assert netlink.loud(bridge) == ["IFLA_BR_MCAST_SNOOPING"]

    port = links["ap"]
    assert (port.kind, port.master, port.alias, port.group) == ("veth", bridge.index, "c1 net1 lab/web", netlink.OURS)
    assert netlink.forwarding_mask(port) == 0xFFFD
    assert port.link == links["as"].index
    assert netlink.forwarding_mask(links["as"]) == 0
    assert links["as"].carrier

    assert netlink.vxlan_options(links["vx0"]) == (7, 4789, links["up0"].index, IPv4Address("10.0.0.1"), None, 0)
    assert netlink.vxlan_options(links["vx6"]) == (9, 8472, links["up0"].index, None, IPv6Address("ff02::14"), 0)
    assert netlink.forwarding_mask(links["vx0"]) == 0
    assert links["vx0"].master == bridge.index


@little_endian
def test_counters_as_the_kernel_tells_them(kernel: Netlink) -> None:
    (port,) = captured(kernel, "counters")
    assert netlink.parse_link(port).name == "ap"
    counters = netlink.counters(port)
    assert counters.keys() >= {f"{way}_{what}" for way in ("rx", "tx") for what in ("packets", "bytes", "dropped")}
    assert any(counters.values())


@little_endian
def test_addresses_as_the_kernel_tells_them(kernel: Netlink) -> None:
    addresses = list(netlink.parse_addresses(captured(kernel, "addresses")))
    assert RawAddress(3, ip_address("10.0.0.1"), 24, 0) in addresses
    assert RawAddress(3, ip_address("10.0.0.9"), 32, 0) in addresses, "the local end, not the peer's"
    assert RawAddress(3, ip_address("fd00::1"), 64, 0) in addresses
    assert {a.scope for a in addresses if isinstance(a.address, IPv6Address) and a.address.is_link_local} == {253}


@little_endian
def test_routes_as_the_kernel_tells_them(kernel: Netlink) -> None:
    routes = [r for r in map(netlink.parse_route, captured(kernel, "routes")) if r]
    gateway: Callable[[str], IpAddress] = ip_address
    for route in (
        RawRoute(3, "0.0.0.0/0", gateway("10.0.0.2"), 254, 600),
        RawRoute(3, "0.0.0.0/0", gateway("10.0.0.3"), 254, 100),
        RawRoute(3, "10.9.0.0/16", gateway("10.0.0.2"), 254, 0, (3,)),
        RawRoute(3, "10.8.0.0/16", None, 1000, 0),
        RawRoute(3, "10.6.0.0/16", None, 254, 0),
        RawRoute(3, "::/0", gateway("fd00::2"), 254, 7),
    ):
        assert route in routes
    assert not [r for r in routes if r.destination in ("10.7.0.0/16", "10.0.0.255/32", "ff00::/8")]


@little_endian
def test_peers_as_the_kernel_tells_them(kernel: Netlink) -> None:
    """Entries of other MACs and of other devices are in the same dump."""
    messages = captured(kernel, "fdb")
    assert netlink.parse_peers(messages, 5) == {ip_address("10.0.0.2"), ip_address("10.0.0.3")}
    assert len(messages) == 4


@little_endian
def test_refusals_as_the_kernel_tells_them(kernel: Netlink) -> None:
    refused = [sockets._refusal(reply, "set ap") for reply in captured(kernel, "refusals") if reply["error"]]
    assert [(error.errno, error.message) for error in refused] == [
        (errno.EINVAL, "set ap: Invalid values in header for get link request"),
        (errno.ENODEV, "set ap: No such device"),
        (errno.EINVAL, "set ap: mtu greater than device maximum"),
    ]


def test_events_tell_what_is_so_last(kernel: Netlink) -> None:
    """A link that has gone and come again under its name is there; one that has gone for good is None."""
    came, gone = (captured(kernel, "links") for _ in range(2))
    for message in gone:
        message["event"] = "RTM_DELLINK"
    numbered = {message.get_attr("IFLA_IFNAME"): message for message in came}
    numbered["ap"]["index"] += 100
    links, masks, _ = netlink.last_told([*came, *gone, numbered["ap"], numbered["br0"]])
    assert {name for name, link in links.items() if link} == {"ap", "br0"}
    assert links["vx0"] is None
    assert masks == {}
    assert netlink.heard(came[:1]) == netlink.Heard(names=frozenset({"lo"}), indexes=frozenset({1}))


# ---------------------------------------------------------------- the kernel of this machine, without any rights


def test_this_kernel_tells_of_lo(kernel: Netlink) -> None:
    links = {link.name: link for link in sockets.links(kernel)}
    assert links["lo"].index == 1
    assert sockets.link(kernel, "lo") == sockets.link(kernel, 1) == links["lo"]
    (counted,) = kernel.ask(netlink.get_link("lo"), doing="count")
    assert "rx_packets" in netlink.counters(counted)


def test_this_kernel_tells_of_addresses_and_routes(kernel: Netlink) -> None:
    addresses = list(netlink.parse_addresses(kernel.ask(netlink.get_addresses(), doing="list")))
    routes = [netlink.parse_route(r) for r in kernel.ask(netlink.get_routes(), doing="list")]
    lo = [a for a in addresses if a.index == 1]
    assert all(a.address.is_loopback for a in lo if a.scope == 254)
    assert all(r is None or ":" in r.destination or "." in r.destination for r in routes)


def test_this_kernel_says_why_it_refuses(kernel: Netlink) -> None:
    assert sockets.link(kernel, "no-such-link-00") is None
    question = netlink.get_link("lo")
    question["change"] = 5
    with pytest.raises(KernelError, match="look: Invalid values in header for get link request") as caught:
        kernel.ask(question, doing="look")
    assert caught.value.errno == errno.EINVAL
    assert sockets.link(kernel, "lo") is not None, "the socket is good for the next question"


def test_a_link_without_a_name_in_utf8_is_asked_for_as_it_is_called(kernel: Netlink) -> None:
    name = b"\xff\xfe".decode(errors="surrogateescape")
    assert b"\xff\xfe\0" in encoded(netlink.get_link(name))
    assert sockets.link(kernel, name) is None


# ---------------------------------------------------------------- what is sent


def test_the_longest_alias_goes_without_a_zero_and_none_takes_it_off() -> None:
    """The kernel has room for 255 bytes of it, a zero included."""
    longest = "x" * 255
    with_alias, without = encoded(netlink.port_settings("ap", 8, longest)), encoded(netlink.port_settings("ap", 8, ""))
    assert with_alias.count(longest.encode() + b"\0") == 1, "padding alone"
    assert len(with_alias) - len(without) == 256


def test_only_what_a_bridge_has_on_is_switched_off(kernel: Netlink) -> None:
    """A kernel without VLAN filtering refuses even to have it off."""
    bare = RawLink(index=4, name="br0", up=True, carrier=True, mtu=0, mac="", master=0, link=0, kind="bridge", group=0)
    assert netlink.loud(bare) == []
    loud = replace(bare, info={"IFLA_BR_STP_STATE": 1, "IFLA_BR_MCAST_SNOOPING": 0})
    assert netlink.loud(loud) == ["IFLA_BR_STP_STATE"]
    (silenced,) = map(netlink.parse_link, read(kernel, encoded(netlink.silence(loud))))
    assert (silenced.index, silenced.info) == (4, {"IFLA_BR_STP_STATE": 0})


def test_what_a_vxlan_device_does_not_tell_is_nothing() -> None:
    bare = RawLink(index=1, name="vx0", up=True, carrier=True, mtu=0, mac="", master=0, link=0, kind="vxlan", group=0)
    assert netlink.vxlan_options(bare) == (0, 0, 0, None, None, 0)
