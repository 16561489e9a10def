"""The frame classes a LAN has to pass, as values. Pure: bytes in, bytes out; no socket, no clock, no chance.

Each class builds one real frame: lengths, checksums and reserved fields are what equipment expects, and
somewhere in it travels a token of 16 bytes, by which the receiver knows it again. A frame counts as passed only
if it arrives byte for byte.

The frames are made to be sent on a LAN that is in use, so each says nothing that anybody would act on: addresses
are those reserved for documentation (RFC 5737, RFC 3849), with a TTL of 1 where the protocol allows it; a BPDU is
worse than any other bridge's; a router advertisement has lifetime 0 and no prefix; a neighbour is announced for
one second; slow protocols are tried with a marker response, as an LACPDU from a stranger would make a bond drop
its partner.

Not among the classes is PAUSE (01:80:c2:00:00:01, IEEE 802.3 annex 31B): it speaks to the other end of one cable,
no bridge passes it, and Linux refuses to be told otherwise (``group_fwd_mask`` cannot hold that bit).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

MARK = bytes.fromhex("f7b635c1")
"""How every token begins, so that one search finds it in a frame. No builder writes these bytes elsewhere."""

TOKEN_BYTES = 16
TAG_BYTES = 4
MINIMUM_BYTES = 60  # IEEE 802.3, without the check sequence; a shorter frame would be padded on the way

_CTAG, _STAG = 0x8100, 0x88A8
_TPIDS = (_CTAG, _STAG)

# EtherTypes (IEEE registration authority).
_IPV4, _ARP, _IPV6, _MPLS = 0x0800, 0x0806, 0x86DD, 0x8847
_SLOW, _EAPOL, _LLDP, _MVRP, _PTP, _LOCAL_EXPERIMENT = 0x8809, 0x888E, 0x88CC, 0x88F5, 0x88F7, 0x88B5

# IP protocols (IANA).
_ICMP, _UDP, _ICMP6, _OSPF, _VRRP = 1, 17, 58, 89, 112
_DISCARD_PORT = 9  # RFC 863: never answered

_BROADCAST = b"\xff" * 6
_VLAN, _SERVICE_VLAN, _PRIORITY = 4001, 4002, 5
_HERE, _THERE = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
_HERE6, _THERE6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
_PRIVATE_OUI = bytes.fromhex("0a6b38")  # locally administered, so no vendor's
_STRANGER = _PRIVATE_OUI + b"\xff\xff\x01"


@dataclass(frozen=True, slots=True)
class Shot:
    """What a builder works from: MAC addresses (6 bytes each), the token (16 bytes), the MTU in bytes."""

    src: bytes
    dst: bytes
    token: bytes
    mtu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameClass:
    """One kind of frame: ``key`` for programs, ``title`` for tables, ``why`` it matters in a line."""

    key: str
    title: str
    why: str
    make: Callable[[Shot], bytes]

    def build(self, src_mac: bytes, dst_mac: bytes, token: bytes, mtu: int) -> bytes:
        """The frame from ``src_mac`` with ``token`` in it, without preamble and check sequence.

        ``dst_mac`` is the receiver's; classes addressed to a group, or to an unknown station, do not use it.
        ``mtu`` (68 bytes and more) only gives the full-size classes their size.
        """
        return self.make(Shot(src_mac, dst_mac, token, mtu))


@dataclass(frozen=True, slots=True)
class Tag:
    """A VLAN tag (IEEE 802.1Q): ``tpid`` 0x8100 or 0x88a8, ``tci`` priority and VLAN."""

    tpid: int
    tci: int

    @property
    def vlan(self) -> int:
        """The VLAN identifier, 0 for a tag that only carries a priority."""
        return self.tci & 0xFFF

    @property
    def priority(self) -> int:
        """The priority code point, 0..7."""
        return self.tci >> 13

    def encode(self) -> bytes:
        """The four bytes between source address and EtherType."""
        return struct.pack(">HH", self.tpid, self.tci)

    def __str__(self) -> str:
        return f"0x{self.tpid:04x} VLAN {self.vlan} priority {self.priority}"


# ---------------------------------------------------------------- what arrived


def with_tag(frame: bytes, tag: Tag | None) -> bytes:
    """The frame as it was on the wire: Linux takes the outer tag out and hands it over beside (packet(7))."""
    return frame if tag is None else frame[:12] + tag.encode() + frame[12:]


def token_in(frame: bytes) -> bytes | None:
    """The token that a frame carries, None if it is none of ours."""
    start = frame.find(MARK)
    token = frame[start : start + TOKEN_BYTES]
    return token if start >= 0 and len(token) == TOKEN_BYTES else None


def tags_of(frame: bytes) -> tuple[Tag, ...]:
    """The VLAN tags of a frame, outermost first."""
    tags = []
    for at in range(12, len(frame) - TAG_BYTES, TAG_BYTES):
        tag = Tag(*struct.unpack_from(">HH", frame, at))
        if tag.tpid not in _TPIDS:
            break
        tags.append(tag)
    return tuple(tags)


def difference(sent: bytes, received: bytes) -> str:
    """Describe what happened to a frame on its way; "" if it arrived byte for byte."""
    if sent == received:
        return ""
    had, has = tags_of(sent), tags_of(received)
    if had != has:
        if len(has) < len(had):
            return "VLAN tag missing"
        if len(has) > len(had):
            return f"VLAN tag added: {has[0]}"
        return "VLAN tag changed: " + ", ".join(f"{a} became {b}" for a, b in zip(had, has, strict=True) if a != b)
    if len(received) != len(sent):
        return f"{len(received)} bytes instead of {len(sent)}"
    if received[:6] != sent[:6]:
        return f"destination became {received[:6].hex(':')}"
    if received[6:12] != sent[6:12]:
        return f"source became {received[6:12].hex(':')}"
    changed = [at for at, (a, b) in enumerate(zip(sent, received, strict=True)) if a != b]
    return f"{len(changed)} bytes changed, the first at {changed[0]}"


# ---------------------------------------------------------------- layers


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ethernet(dst: bytes, src: bytes, kind: int, payload: bytes, *tags: Tag) -> bytes:
    header = dst + src + b"".join(t.encode() for t in tags) + struct.pack(">H", kind)
    return (header + payload).ljust(MINIMUM_BYTES, b"\0")


def _llc(dst: str, src: bytes, payload: bytes, token: bytes) -> bytes:
    """An IEEE 802.3 frame: a length where others have an EtherType. What follows that length is padding."""
    return _ethernet(_mac(dst), src, len(payload), payload + token)


def _checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _summed(data: bytes, at: int, pseudo: bytes = b"") -> bytes:
    """``data`` with its checksum filled in at offset ``at``, where it is 0."""
    return data[:at] + struct.pack(">H", _checksum(pseudo + data)) + data[at + 2 :]


def _ipv4(protocol: int, payload: bytes, dst: IPv4Address = _THERE, *, ttl: int = 1) -> bytes:
    """RFC 791, don't fragment."""
    fields = (0x45, 0, 20 + len(payload), 0, 0x4000, ttl, protocol, 0, _HERE.packed, dst.packed)
    return _summed(struct.pack(">BBHHHBBH4s4s", *fields), 10) + payload


def _udp4(dst: IPv4Address, token: bytes) -> bytes:
    """RFC 768, over IPv4."""
    length = 8 + len(token)
    datagram = struct.pack(">HHHH", _DISCARD_PORT, _DISCARD_PORT, length, 0) + token
    pseudo = _HERE.packed + dst.packed + struct.pack(">HH", _UDP, length)
    return _ipv4(_UDP, _summed(datagram, 6, pseudo), dst)


def _echo4(token: bytes, size: int = 0) -> bytes:
    """An IPv4 packet with an ICMP echo request (RFC 792), ``size`` bytes in all or as small as can be."""
    data = token.ljust(max(0, size - 28), b"\0")
    return _ipv4(_ICMP, _summed(struct.pack(">BBHHH", 8, 0, 0, 0, 1) + data, 2))


def _group4(group: IPv4Address) -> bytes:
    """The MAC of an IPv4 group: its lower 23 bits (RFC 1112, section 6.4)."""
    return _mac("01:00:5e") + (int(group) & 0x7FFFFF).to_bytes(3, "big")


def _group6(group: IPv6Address) -> bytes:
    """The MAC of an IPv6 group: its lower 32 bits (RFC 2464, section 7)."""
    return _mac("33:33") + group.packed[-4:]


def _link_local(mac: bytes) -> IPv6Address:
    """The address an interface gives itself (RFC 4291, appendix A)."""
    return IPv6Address(_mac("fe:80") + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])


def _icmp6(src: IPv6Address, dst: IPv6Address, message: bytes, *, hops: int = 255, extension: bytes = b"") -> bytes:
    """An ICMPv6 message (RFC 4443) in IPv6 (RFC 8200), behind a hop-by-hop header if one is given."""
    pseudo = src.packed + dst.packed + struct.pack(">II", len(message), _ICMP6)
    payload = extension + _summed(message, 2, pseudo)
    following = 0 if extension else _ICMP6
    return struct.pack(">IHBB", 0x60000000, len(payload), following, hops) + src.packed + dst.packed + payload


def _nonce(token: bytes) -> bytes:
    """A neighbour discovery option with the token (RFC 3971, section 5.3.2)."""
    return struct.pack(">BB", 14, 3) + token.ljust(22, b"\0")


def _bpdu(*, rapid: bool) -> bytes:
    """A BPDU (IEEE 802.1D-2004, section 9.3) from a bridge worse than all others, so that no tree changes."""
    version, kind, flags = (2, 2, 0x3C) if rapid else (0, 0, 0)  # 0x3c: designated port, learning, forwarding
    worst = struct.pack(">H", 0xF000) + b"\xff" * 6
    body = struct.pack(">HBBB8sI8sH", 0, version, kind, flags, worst, 200_000_000, worst, 0xF0FF)
    times = struct.pack(">HHHH", 0, 20 << 8, 2 << 8, 15 << 8)  # age, maximum age, hello, delay, in 1/256 s
    return body + times + (b"\0" if rapid else b"")


_STP_LLC = b"\x42\x42\x03"


def _ptp(message: int, body: bytes, token: bytes) -> bytes:
    """A PTP message (IEEE 1588-2008, section 13) in an unused domain, the token in an organisation's TLV."""
    tlv = struct.pack(">HH", 3, 6 + len(token)) + _PRIVATE_OUI + bytes(3) + token
    length = 34 + len(body) + len(tlv)
    header = struct.pack(">BBHBBH8s4s10sHBb", message, 2, length, 127, 0, 0, b"", b"", b"", 1, 5, 0x7F)
    return header + body + tlv


# ---------------------------------------------------------------- one builder per class


def _icmp(s: Shot) -> bytes:
    return _ethernet(s.dst, s.src, _IPV4, _echo4(s.token))


def _arp(s: Shot) -> bytes:
    """An address probe (RFC 5227): no sender address, so no cache changes. The token is in the padding."""
    body = struct.pack(">HHBBH6s4s6s4s", 1, _IPV4, 6, 4, 1, s.src, b"", b"", _THERE.packed)
    return _ethernet(_BROADCAST, s.src, _ARP, body + s.token)


def _ipv4_broadcast(s: Shot) -> bytes:
    return _ethernet(_BROADCAST, s.src, _IPV4, _udp4(IPv4Address("255.255.255.255"), s.token))


def _ipv4_group(address: str) -> Callable[[Shot], bytes]:
    group = IPv4Address(address)
    return lambda s: _ethernet(_group4(group), s.src, _IPV4, _udp4(group, s.token))


def _ipv6(s: Shot) -> bytes:
    message = struct.pack(">BBHHH", 128, 0, 0, 0, 1) + s.token
    return _ethernet(s.dst, s.src, _IPV6, _icmp6(_HERE6, _THERE6, message, hops=1))


def _neighbour_solicitation(s: Shot) -> bytes:
    """RFC 4861, section 4.3, to the solicited-node group of an unused address."""
    group = IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + _THERE6.packed[13:])
    source = struct.pack(">BB6s", 1, 1, s.src)
    message = struct.pack(">BBHI", 135, 0, 0, 0) + _THERE6.packed + source + _nonce(s.token)
    return _ethernet(_group6(group), s.src, _IPV6, _icmp6(_link_local(s.src), group, message))


def _router_advertisement(s: Shot) -> bytes:
    """RFC 4861, section 4.2: router lifetime 0 and no prefix, so no host configures anything."""
    group = IPv6Address("ff02::1")
    message = struct.pack(">BBHBBHII", 134, 0, 0, 0, 0, 0, 0, 0) + _nonce(s.token)
    return _ethernet(_group6(group), s.src, _IPV6, _icmp6(_link_local(s.src), group, message))


def _mld(s: Shot) -> bytes:
    """An MLDv2 report (RFC 3810, section 5.2); the token is auxiliary data, which receivers skip."""
    group = IPv6Address("ff02::16")
    record = struct.pack(">BBH", 4, TOKEN_BYTES // 4, 0) + IPv6Address("ff02::1:ff00:2").packed + s.token
    router_alert = struct.pack(">BBBBHBB", _ICMP6, 0, 5, 2, 0, 1, 0)
    message = struct.pack(">BBHHH", 143, 0, 0, 0, 1) + record
    packet = _icmp6(_link_local(s.src), group, message, hops=1, extension=router_alert)
    return _ethernet(_group6(group), s.src, _IPV6, packet)


def _ospf(s: Shot) -> bytes:
    """A hello (RFC 2328, A.3.2) of an unused area and interval; the token stands as four neighbours."""
    group = IPv4Address("224.0.0.5")
    hello = struct.pack(">IHBBI4s4s", 0xFFFFFFFC, 0xFFFF, 2, 0, 0xFFFF, b"", b"") + s.token
    head = struct.pack(">BBH4s4sHH", 2, 1, 24 + len(hello), _HERE.packed, b"\xff" * 4, 0, 0)
    summed = _summed(head + hello, 12)
    packet = summed[:16] + bytes(8) + summed[16:]  # the checksum leaves the authentication field out
    return _ethernet(_group4(group), s.src, _IPV4, _ipv4(_OSPF, packet, group))


def _vrrp(s: Shot) -> bytes:
    """VRRPv2 (RFC 3768, section 5.1), router 255, lowest priority; the token stands as four addresses."""
    group = IPv4Address("224.0.0.18")
    message = struct.pack(">BBBBBBH", 0x21, 255, 1, TOKEN_BYTES // 4, 0, 1, 0) + s.token + bytes(8)
    packet = _ipv4(_VRRP, _summed(message, 6), group, ttl=255)
    return _ethernet(_group4(group), _mac("00:00:5e:00:01:ff"), _IPV4, packet)


def _isis(level: int) -> Callable[[Shot], bytes]:
    """A partial sequence numbers PDU (ISO/IEC 10589, section 9.12): no entries, no known neighbour."""
    address, kind = {1: ("01:80:c2:00:00:14", 26), 2: ("01:80:c2:00:00:15", 27)}[level]

    def make(s: Shot) -> bytes:
        filler = struct.pack(">BB", 8, TOKEN_BYTES) + s.token  # the padding TLV
        source = s.src + b"\0"
        pdu = struct.pack(">BBBBBBBBH", 0x83, 17, 1, 0, kind, 1, 0, 0, 17 + len(filler)) + source + filler
        return _llc(address, s.src, b"\xfe\xfe\x03" + pdu, b"")

    return make


def _stp(address: str, *, rapid: bool) -> Callable[[Shot], bytes]:
    return lambda s: _llc(address, s.src, _STP_LLC + _bpdu(rapid=rapid), s.token)


def _pvst(s: Shot) -> bytes:
    """Cisco's spanning tree per VLAN: a BPDU in SNAP with the VLAN it is about."""
    about = struct.pack(">BHHH", 0, 0, 2, _VLAN)
    return _llc("01:00:0c:cc:cc:cd", s.src, _mac("aa:aa:03:00:00:0c:01:0b") + _bpdu(rapid=False) + about, s.token)


def _cdp(s: Shot) -> bytes:
    """Cisco's discovery protocol, forgotten after a second; the token is the software version."""

    def tlv(kind: int, value: bytes) -> bytes:
        return struct.pack(">HH", kind, 4 + len(value)) + value

    body = struct.pack(">BBH", 2, 1, 0) + tlv(1, b"k8slan-probe") + tlv(5, s.token)
    return _llc("01:00:0c:cc:cc:cc", s.src, _mac("aa:aa:03:00:00:0c:20:00") + _summed(body, 2), b"")


def _lacp(s: Shot) -> bytes:
    """A marker response (IEEE 802.1AX-2008, section 5.5), the token in its reserved bytes."""
    response = struct.pack(">BBBBH6sI2s", 2, 1, 2, 16, 1, s.src, 0, b"") + bytes(2)
    return _ethernet(_mac("01:80:c2:00:00:02"), s.src, _SLOW, response + s.token.ljust(90, b"\0"))


def _eapol(s: Shot) -> bytes:
    """An encapsulated alert (IEEE 802.1X-2004, section 7.5): the packet type that starts and ends no session."""
    return _ethernet(_mac("01:80:c2:00:00:03"), s.src, _EAPOL, struct.pack(">BBH", 1, 4, TOKEN_BYTES) + s.token)


def _lldp(s: Shot) -> bytes:
    """IEEE 802.1AB, section 8: chassis, port, one second to live, the token in an organisation's TLV."""

    def tlv(kind: int, value: bytes) -> bytes:
        return struct.pack(">H", kind << 9 | len(value)) + value

    known = tlv(1, b"\x07k8slan") + tlv(2, b"\x07probe") + tlv(3, struct.pack(">H", 1))
    body = known + tlv(127, _PRIVATE_OUI + b"\0" + s.token) + tlv(0, b"")
    return _ethernet(_mac("01:80:c2:00:00:0e"), s.src, _LLDP, body)


def _mvrp(s: Shot) -> bytes:
    """MVRP (IEEE 802.1Q, section 10.8) among provider bridges, saying that VLAN 1 is as it was."""
    declared = struct.pack(">BBBHHB", 0, 1, 2, 1, 1, 4 * 36) + bytes(4)
    return _ethernet(_mac("01:80:c2:00:00:0d"), s.src, _MVRP, declared + s.token)


def _ptp_sync(s: Shot) -> bytes:
    return _ethernet(_mac("01:1b:19:00:00:00"), s.src, _PTP, _ptp(0x0, bytes(10), s.token))


def _ptp_peer(s: Shot) -> bytes:
    """A Pdelay_Resp_Follow_Up that answers no request."""
    return _ethernet(_mac("01:80:c2:00:00:0e"), s.src, _PTP, _ptp(0xA, bytes(20), s.token))


def _tagged(*tags: Tag) -> Callable[[Shot], bytes]:
    return lambda s: _ethernet(s.dst, s.src, _IPV4, _echo4(s.token), *tags)


def _foreign_source(s: Shot) -> bytes:
    return _ethernet(s.dst, _STRANGER, _IPV4, _echo4(s.token))


def _unknown_unicast(s: Shot) -> bytes:
    """To an address made from the token, so that it is new each time and no bridge has learnt it."""
    return _ethernet(_PRIVATE_OUI + s.token[-3:], s.src, _IPV4, _echo4(s.token))


def _mpls(s: Shot) -> bytes:
    """RFC 3032: the highest label, bottom of the stack, TTL 1."""
    return _ethernet(s.dst, s.src, _MPLS, struct.pack(">I", 0xFFFFF << 12 | 1 << 8 | 1) + _echo4(s.token))


def _local_experiment(s: Shot) -> bytes:
    return _ethernet(s.dst, s.src, _LOCAL_EXPERIMENT, s.token)


def _full_size(*tags: Tag) -> Callable[[Shot], bytes]:
    return lambda s: _ethernet(s.dst, s.src, _IPV4, _echo4(s.token, s.mtu), *tags)


_TAG = Tag(_CTAG, _PRIORITY << 13 | _VLAN)

CLASSES: tuple[FrameClass, ...] = (
    FrameClass(
        key="icmp",
        title="IPv4 unicast, ICMP",
        why="what everybody sends",
        make=_icmp,
    ),
    FrameClass(
        key="arp",
        title="ARP request, broadcast",
        why="without it IPv4 resolves no neighbour",
        make=_arp,
    ),
    FrameClass(
        key="ipv4-broadcast",
        title="IPv4 broadcast",
        why="DHCP and discovery rely on it",
        make=_ipv4_broadcast,
    ),
    FrameClass(
        key="ipv4-multicast-local",
        title="IPv4 multicast, 224.0.0.251",
        why="link-local groups: routing protocols, mDNS",
        make=_ipv4_group("224.0.0.251"),
    ),
    FrameClass(
        key="ipv4-multicast",
        title="IPv4 multicast, 239.255.0.1",
        why="a group without IGMP members: a snooping bridge drops it",
        make=_ipv4_group("239.255.0.1"),
    ),
    FrameClass(
        key="ipv6",
        title="IPv6 unicast, ICMPv6",
        why="what everybody sends",
        make=_ipv6,
    ),
    FrameClass(
        key="ipv6-nd",
        title="IPv6 neighbour solicitation",
        why="to 33:33:ff:…: without it IPv6 resolves no neighbour",
        make=_neighbour_solicitation,
    ),
    FrameClass(
        key="ipv6-ra",
        title="IPv6 router advertisement",
        why="to 33:33:00:00:00:01: hosts configure themselves by it",
        make=_router_advertisement,
    ),
    FrameClass(
        key="ipv6-mld",
        title="IPv6 multicast listener report",
        why="to 33:33:00:00:00:16: a snooping bridge sends it to routers only",
        make=_mld,
    ),
    FrameClass(
        key="ospf",
        title="OSPF hello",
        why="to 224.0.0.5: routers become neighbours by it",
        make=_ospf,
    ),
    FrameClass(
        key="vrrp",
        title="VRRP, virtual source MAC",
        why="a router pair shares one MAC, which is neither interface's own",
        make=_vrrp,
    ),
    FrameClass(
        key="isis-l1",
        title="IS-IS level 1",
        why="to 01:80:c2:00:00:14, straight on LLC without IP",
        make=_isis(1),
    ),
    FrameClass(
        key="isis-l2",
        title="IS-IS level 2",
        why="to 01:80:c2:00:00:15, straight on LLC without IP",
        make=_isis(2),
    ),
    FrameClass(
        key="stp",
        title="STP",
        why="to 01:80:c2:00:00:00: a bridge keeps it unless told otherwise",
        make=_stp("01:80:c2:00:00:00", rapid=False),
    ),
    FrameClass(
        key="rstp",
        title="RSTP",
        why="to 01:80:c2:00:00:00: a bridge keeps it unless told otherwise",
        make=_stp("01:80:c2:00:00:00", rapid=True),
    ),
    FrameClass(
        key="provider-stp",
        title="RSTP of provider bridges",
        why="to 01:80:c2:00:00:08: a bridge keeps it unless told otherwise",
        make=_stp("01:80:c2:00:00:08", rapid=True),
    ),
    FrameClass(
        key="pvst",
        title="PVST+",
        why="to 01:00:0c:cc:cc:cd: spanning tree per VLAN of Cisco's switches",
        make=_pvst,
    ),
    FrameClass(
        key="cdp",
        title="CDP",
        why="to 01:00:0c:cc:cc:cc: neighbour discovery of Cisco's devices",
        make=_cdp,
    ),
    FrameClass(
        key="lacp",
        title="LACP, slow protocols",
        why="to 01:80:c2:00:00:02: bonds between network functions",
        make=_lacp,
    ),
    FrameClass(
        key="eapol",
        title="EAPOL, 802.1X",
        why="to 01:80:c2:00:00:03: port authentication and MACsec keys",
        make=_eapol,
    ),
    FrameClass(
        key="mvrp",
        title="MVRP of provider bridges",
        why="to 01:80:c2:00:00:0d: VLAN registration",
        make=_mvrp,
    ),
    FrameClass(
        key="lldp",
        title="LLDP",
        why="to 01:80:c2:00:00:0e: neighbour discovery of all vendors",
        make=_lldp,
    ),
    FrameClass(
        key="ptp",
        title="PTP sync",
        why="to 01:1b:19:00:00:00: clocks over plain Ethernet",
        make=_ptp_sync,
    ),
    FrameClass(
        key="ptp-peer",
        title="PTP peer delay",
        why="to 01:80:c2:00:00:0e: clocks over plain Ethernet",
        make=_ptp_peer,
    ),
    FrameClass(
        key="vlan",
        title="802.1Q tag",
        why="a trunk: VLAN and priority have to survive",
        make=_tagged(_TAG),
    ),
    FrameClass(
        key="vlan-priority",
        title="802.1Q tag, VLAN 0",
        why="only a priority: industrial devices send it, and many a bridge takes it off",
        make=_tagged(Tag(_CTAG, _PRIORITY << 13)),
    ),
    FrameClass(
        key="qinq",
        title="QinQ, 0x88a8 over 0x8100",
        why="a provider's tag around a customer's (802.1ad)",
        make=_tagged(Tag(_STAG, _SERVICE_VLAN), _TAG),
    ),
    FrameClass(
        key="vlan-double",
        title="Two tags, 0x8100 over 0x8100",
        why="the older way to stack VLANs",
        make=_tagged(Tag(_CTAG, _SERVICE_VLAN), _TAG),
    ),
    FrameClass(
        key="mpls",
        title="MPLS",
        why="EtherType 0x8847: provider edge functions",
        make=_mpls,
    ),
    FrameClass(
        key="experiment",
        title="EtherType 0x88b5",
        why="an unassigned EtherType (local experiments, IEEE 802)",
        make=_local_experiment,
    ),
    FrameClass(
        key="foreign-source",
        title="Foreign source MAC",
        why="a bridge or router inside the pod or VM; also what MAC filters drop",
        make=_foreign_source,
    ),
    FrameClass(
        key="unknown-unicast",
        title="Unknown destination",
        why="has to be flooded to everybody, as a switch does",
        make=_unknown_unicast,
    ),
    FrameClass(
        key="full-size",
        title="Full size, untagged",
        why="an IPv4 packet of exactly the MTU; with an MTU above 1500 that is a jumbo frame",
        make=_full_size(),
    ),
    FrameClass(
        key="full-size-vlan",
        title="Full size, 802.1Q tag",
        why="an IPv4 packet of exactly the MTU with a VLAN tag around it",
        make=_full_size(_TAG),
    ),
)
"""Every class, in the order in which a table shows them."""
