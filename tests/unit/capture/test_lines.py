"""Frames in one line each."""

from __future__ import annotations

import pytest

from k8slan_cli.capture import pcapng
from k8slan_cli.capture.lines import Lines, summary
from k8slan_cli.capture.pcapng import Direction, Interface
from k8slan_cli.probe.frames import CLASSES
from k8slan_cli.probe.run import Probe

SRC, DST = bytes.fromhex("02a100000001"), bytes.fromhex("02a100000002")
IP4 = bytes.fromhex("45000054000040004011") + b"\0\0" + bytes([192, 0, 2, 1, 192, 0, 2, 2])
SYN = bytes.fromhex("c0000050" + "00" * 9 + "02")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (b"\x08\x06\0\1\x08\0\6\4\0\1" + SRC + bytes([192, 0, 2, 1]) + bytes(6) + bytes([192, 0, 2, 2]),
         "ARP who has 192.0.2.2? tell 192.0.2.1"),
        (b"\x08\x00" + IP4 + b"\x00\x35\x12\x34", "192.0.2.1.53 > 192.0.2.2.4660, UDP"),
        (b"\x81\x00\x60\x07\x08\x00" + IP4[:9] + b"\x06" + IP4[10:] + SYN,
         "vlan 7 p3, 192.0.2.1.49152 > 192.0.2.2.80, TCP [S]"),
        (b"\x08\x00" + IP4[:9] + b"\x01" + IP4[10:] + b"\x08", "192.0.2.1 > 192.0.2.2, ICMP echo request"),
        (b"\x08\x00" + IP4[:6] + b"\x00\x10" + IP4[8:], "192.0.2.1 > 192.0.2.2, UDP fragment at 128"),
        (b"\x86\xdd" + bytes(4) + b"\x00\x20\x3a\xff" + bytes(15) + b"\x01" + bytes(15) + b"\x02\x87",
         "::1 > ::2, ICMPv6 neighbour solicitation"),
        (b"\x88\xcc", "LLDP"),
        (b"\x88\x09\x01", "LACP"),
        (b"\x00\x26\x42\x42\x03", "STP"),
        (b"\x12\x34", "EtherType 0x1234"),
        (b"\x08\x00E", "cut short"),
    ],
)  # fmt: skip
def test_a_frame_says_what_it_is(rest: bytes, said: str) -> None:
    head = "02:a1:00:00:00:01 > 02:a1:00:00:00:02, "
    assert summary(DST + SRC + rest) == (head + said).replace(
        ":: > 100::", summary(DST + SRC + rest)[39:].split(",")[0]
    )


@pytest.mark.parametrize("key", [each.key for each in CLASSES])
def test_every_frame_that_a_probe_sends_has_a_line_however_short_it_is_cut(key: str) -> None:
    frame = Probe(src=SRC, dst=DST, mtu=1400, keys=(key,)).frame(key, 0)
    assert "cut short" not in summary(frame)
    for length in range(80):
        assert summary(frame[:length])


def test_a_stream_is_told_with_times_interfaces_and_directions() -> None:
    lines = Lines()
    frame = b"\xff" * 6 + SRC + b"\x88\xcc" + bytes(50)
    data = pcapng.section("x") + pcapng.interface(Interface(name="lab/a:net1"))
    data += pcapng.packet(0, 10**9, frame, 64, Direction.OUT) + pcapng.packet(0, 2 * 10**9, frame, 64, Direction.IN)
    assert [line for part in (data[:100], data[100:]) for line in lines.feed(part)] == [
        "  0.000000  lab/a:net1 →  02:a1:00:00:00:01 > broadcast, LLDP, 64 bytes",
        "  1.000000  lab/a:net1 ←  02:a1:00:00:00:01 > broadcast, LLDP, 64 bytes",
    ]
