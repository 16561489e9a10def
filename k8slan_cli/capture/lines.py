"""A captured frame in one line, for people who look on: who sends what to whom. Pure.

It tells the protocols that matter on a LAN apart, and is no dissector: tshark reads the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from k8slan_cli.capture.pcapng import Block, BlockType, Direction, Reader

_TAGS = {0x8100: "vlan", 0x88A8: "s-vlan", 0x9100: "vlan"}
_TYPES = {
    0x0842: "Wake-on-LAN",
    0x8035: "RARP",
    0x8809: "slow protocol",
    0x880B: "PPP",
    0x8847: "MPLS",
    0x8848: "MPLS multicast",
    0x8863: "PPPoE discovery",
    0x8864: "PPPoE",
    0x888E: "802.1X",
    0x88A2: "ATA over Ethernet",
    0x88CC: "LLDP",
    0x88E5: "MACsec",
    0x88F5: "MVRP",
    0x88F7: "PTP",
    0x8902: "CFM",
    0x9000: "loopback",
}
_SLOW = {1: "LACP", 2: "LACP marker", 3: "OAM", 10: "ESMC"}
_LLC = {0x42: "STP", 0xAA: "SNAP", 0xE0: "IPX", 0xFE: "IS-IS"}
_IP = {1: "ICMP", 2: "IGMP", 4: "IPIP", 47: "GRE", 50: "ESP", 58: "ICMPv6", 88: "EIGRP", 89: "OSPF", 112: "VRRP"}
_PORTED = {6: "TCP", 17: "UDP", 132: "SCTP"}
_ICMP = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
_ICMP6 = {
    1: "unreachable",
    2: "packet too big",
    128: "echo request",
    129: "echo reply",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
}
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_FLAGS = "FSRP.U"


class Lines:
    """Makes lines of a stream of pcapng: times from the first frame on, the interface, the direction, the frame."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._names: list[str] = []
        self._first: int | None = None

    def feed(self, data: bytes) -> Iterator[str]:
        """The frames that are complete with ``data``."""
        for block in self._reader.feed(data):
            if block.kind == BlockType.INTERFACE:
                self._names.append(block.name())
            elif block.kind == BlockType.PACKET:
                yield self._line(block)

    def _line(self, block: Block) -> str:
        self._first = block.at if self._first is None else self._first
        arrow = "←" if block.direction is Direction.IN else "→"
        at = (block.at - self._first) / 1e9
        return f"{at:10.6f}  {self._names[block.number]} {arrow}  {summary(block.frame)}, {block.whole} bytes"


def summary(frame: bytes) -> str:
    """What a frame is; of one that is cut short, as much as is there."""
    if len(frame) < 14:
        return "a frame that is cut short"
    parts = [f"{_mac(frame[6:12])} > {_mac(frame[:6])}"]
    kind, at = int.from_bytes(frame[12:14], "big"), 14
    while kind in _TAGS and len(frame) >= at + 4:
        tag, inner = struct.unpack_from("!HH", frame, at)
        priority = f" p{tag >> 13}" if tag >> 13 else ""
        parts.append(f"{_TAGS[kind]} {tag & 0xFFF}{priority}")
        kind, at = inner, at + 4
    try:
        parts.append(_payload(kind, frame[at:]))
    except (struct.error, IndexError, ValueError):
        parts.append("cut short")
    return ", ".join(parts)


def _mac(data: bytes) -> str:
    return "broadcast" if data == b"\xff" * 6 else data.hex(":")


def _payload(kind: int, data: bytes) -> str:
    if kind <= 1500:
        return _LLC.get(data[0], f"LLC 0x{data[0]:02x}")
    if kind == 0x0806:
        return _arp(data)
    if kind == 0x0800:
        return _ipv4(data)
    if kind == 0x86DD:
        return _ipv6(data)
    if kind == 0x8809:
        return _SLOW.get(data[0], _TYPES[kind])
    return _TYPES.get(kind, f"EtherType 0x{kind:04x}")


def _arp(data: bytes) -> str:
    _, kind, _, _, what, mac, source, _, target = _ARP.unpack_from(data)
    if kind != 0x0800 or what not in (1, 2):
        return f"ARP operation {what}"
    if what == 1:
        return f"ARP who has {IPv4Address(target)}? tell {IPv4Address(source)}"
    return f"ARP {IPv4Address(source)} is at {_mac(mac)}"


def _ipv4(data: bytes) -> str:
    head, fragment, protocol = (data[0] & 15) * 4, struct.unpack_from("!H", data, 6)[0] & 0x1FFF, data[9]
    ends = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    if fragment:
        return (
            f"{ends[0]} > {ends[1]}, {_IP.get(protocol) or _PORTED.get(protocol, protocol)} fragment at {fragment * 8}"
        )
    return _over_ip(ends, protocol, data[head:], _ICMP)


def _ipv6(data: bytes) -> str:
    return _over_ip((IPv6Address(data[8:24]), IPv6Address(data[24:40])), data[6], data[40:], _ICMP6)


def _over_ip(
    ends: tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address],
    protocol: int,
    data: bytes,
    icmp: dict[int, str],
) -> str:
    source, target = ends
    if name := _PORTED.get(protocol):
        ports = struct.unpack_from("!HH", data)
        flags = ""
        if name == "TCP":
            flags = " [" + "".join(sign for bit, sign in enumerate(_FLAGS) if data[13] >> bit & 1) + "]"
        return f"{source}.{ports[0]} > {target}.{ports[1]}, {name}{flags}"
    name = _IP.get(protocol, f"IP protocol {protocol}")
    more = f" {icmp.get(data[0], f'type {data[0]}')}" if name in ("ICMP", "ICMPv6") else ""
    return f"{source} > {target}, {name}{more}"
