"""Every frame is what equipment expects, carries its token once, and what happens to it is put into words."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.probe.frames import (
    CLASSES,
    MARK,
    MINIMUM_BYTES,
    TOKEN_BYTES,
    FrameClass,
    Tag,
    difference,
    tags_of,
    token_in,
    with_tag,
)

SRC, DST = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
TOKEN = MARK + bytes(range(200, 212))
BY_KEY = {c.key: c for c in CLASSES}
every_class = pytest.mark.parametrize("kind", CLASSES, ids=[c.key for c in CLASSES])


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071 the slow way: 0xffff over data that holds its right checksum."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
    while total > 0xFFFF:
        total = total % 0x10000 + total // 0x10000
    return total


def network_layer(frame: bytes) -> tuple[int, bytes]:
    """EtherType and payload behind all tags."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    return int.from_bytes(frame[at : at + 2], "big"), frame[at + 2 :]


def test_keys_and_titles_are_unique_and_in_no_other_order() -> None:
    assert len(BY_KEY) == len({c.title for c in CLASSES}) == len(CLASSES) == 34
    assert all(c.why and c.title and c.key == c.key.lower() for c in CLASSES)


@every_class
def test_a_frame_is_long_enough_and_carries_its_token_once(kind: FrameClass) -> None:
    frame = kind.build(SRC, DST, TOKEN, 1446)
    assert MINIMUM_BYTES <= len(frame) <= 1446 + 14 + 4
    assert frame.count(MARK) == 1
    assert token_in(frame) == TOKEN
    assert kind.build(SRC, DST, TOKEN, 1446) == frame


@every_class
def test_ip_lengths_and_checksums_are_right(kind: FrameClass) -> None:
    ethertype, packet = network_layer(kind.build(SRC, DST, TOKEN, 1446))
    if ethertype == 0x0800:
        length, protocol = struct.unpack_from(">2xH5xB", packet)
        header, payload = packet[:20], packet[20:length]
        assert len(packet) >= length
        assert ones_complement_sum(header) == 0xFFFF
        if protocol in (1, 89, 112):
            summed = payload[:16] + payload[24:] if protocol == 89 else payload
            assert ones_complement_sum(summed) == 0xFFFF
        else:
            pseudo = packet[12:20] + struct.pack(">HH", protocol, len(payload))
            assert ones_complement_sum(pseudo + payload) == 0xFFFF
    elif ethertype == 0x86DD:
        (length,) = struct.unpack_from(">4xH", packet)
        following, payload = packet[6], packet[40 : 40 + length]
        assert len(payload) == length
        if following == 0:
            following, payload = payload[0], payload[8 * (payload[1] + 1) :]
        assert following == 58
        pseudo = packet[8:40] + struct.pack(">II", len(payload), 58)
        assert ones_complement_sum(pseudo + payload) == 0xFFFF
    elif ethertype < 0x600:
        assert ethertype <= len(packet)


@every_class
def test_nothing_is_addressed_to_pause(kind: FrameClass) -> None:
    assert kind.build(SRC, DST, TOKEN, 1446)[:6] != bytes.fromhex("0180c2000001")


def test_the_full_size_is_exactly_the_mtu() -> None:
    for mtu in (1280, 1446, 9000):
        assert len(BY_KEY["full-size"].build(SRC, DST, TOKEN, mtu)) == mtu + 14
        assert len(BY_KEY["full-size-vlan"].build(SRC, DST, TOKEN, mtu)) == mtu + 18


def test_sources_are_the_senders_but_where_a_foreign_one_is_the_point() -> None:
    foreign = {c.key for c in CLASSES if c.build(SRC, DST, TOKEN, 1446)[6:12] != SRC}
    assert foreign == {"vrrp", "foreign-source"}


def test_tags_are_told_outermost_first() -> None:
    built = {key: tags_of(BY_KEY[key].build(SRC, DST, TOKEN, 1446)) for key in BY_KEY}
    assert {key: tuple(t.tpid for t in tags) for key, tags in built.items() if tags} == {
        "vlan": (0x8100,),
        "vlan-priority": (0x8100,),
        "qinq": (0x88A8, 0x8100),
        "vlan-double": (0x8100, 0x8100),
        "full-size-vlan": (0x8100,),
    }
    assert built["vlan-priority"][0].vlan == 0
    assert built["vlan-priority"][0].priority == 5


def test_a_stripped_tag_is_put_back() -> None:
    frame = BY_KEY["qinq"].build(SRC, DST, TOKEN, 1446)
    outer = tags_of(frame)[0]
    assert with_tag(frame[:12] + frame[16:], outer) == frame
    assert with_tag(frame, None) == frame


@pytest.mark.parametrize(
    ("received", "words"),
    [
        (lambda f: f, ""),
        (lambda f: f[:12] + f[16:], "VLAN tag missing"),
        (lambda f: with_tag(f, Tag(0x88A8, 7)), "VLAN tag added: 0x88a8 VLAN 7 priority 0"),
        (
            lambda f: f[:14] + b"\x0f\xa1" + f[16:],
            "VLAN tag changed: 0x8100 VLAN 4001 priority 5 became 0x8100 VLAN 4001 priority 0",
        ),
        (lambda f: f[:-2], "58 bytes instead of 60"),
        (lambda f: f + b"\0\0", "62 bytes instead of 60"),
        (lambda f: b"\xff" * 6 + f[6:], "destination became ff:ff:ff:ff:ff:ff"),
        (lambda f: f[:6] + DST + f[12:], "source became 02:00:00:00:00:02"),
        (lambda f: f[:30] + b"\xee\xee" + f[32:], "2 bytes changed, the first at 30"),
    ],
)
def test_what_happened_on_the_way_is_put_into_words(received: object, words: str) -> None:
    frame = DST + SRC + bytes.fromhex("8100afa10800") + TOKEN.ljust(42, b"\x11")
    assert len(frame) == 60
    assert callable(received)
    assert difference(frame, received(frame)) == words


@given(st.binary(max_size=200))
def test_reading_never_fails_whatever_arrives(noise: bytes) -> None:
    tags_of(noise)
    token = token_in(noise)
    assert token is None or (len(token) == TOKEN_BYTES and token in noise)
    assert difference(noise, noise) == ""
    assert difference(BY_KEY["icmp"].build(SRC, DST, TOKEN, 1446), noise)


@given(st.binary(min_size=60, max_size=80), st.data())
def test_any_change_is_noticed(frame: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(frame) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda v: v != frame[at]))
    assert difference(frame, frame[:at] + bytes([value]) + frame[at + 1 :])
