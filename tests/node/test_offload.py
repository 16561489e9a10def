"""Frames for programs that read them raw: whole where a LAN or a definition says so, whatever somebody switches."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyroute2.ethtool.ioctl import IoctlEthtool

from k8slan_cli.net import netns
from k8slan_cli.probe.endpoint import PacketSocket
from tests.support import names
from tests.support.agents import Node, macvtap, pods, veth
from tests.support.netns import Namespace

pytestmark = pytest.mark.usefixtures("swept")

_FRAME = 14 + 1446
"""What the LAN carries, over an underlay of 1500: frames of kernels may be larger within a machine."""
_DATA = bytes(64 << 10)


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.create() as node, node.agent():
        yield node


def test_ports_have_offloads_as_the_lan_and_definitions_say(node: Node) -> None:
    one, two, own, vm = spokes = [names.unique("o") for _ in range(4)]
    lan = node.lan(spokes=spokes, vni=4711)
    assert node.current
    log = node.current.log
    with pods(4) as (sender, plain, raw, machine):
        node.add(sender, veth(one, addrs=["198.51.100.1/24"])).result()
        node.add(plain, veth(two, addrs=["198.51.100.2/24"])).result()
        node.add(raw, veth(own, addrs=["198.51.100.3/24"], offload=False)).result()
        node.add(machine, macvtap(vm)).result()
        assert not _whole(sender, plain, "198.51.100.2")
        assert _whole(sender, raw, "198.51.100.3")

        with node.told(f"switch offloads of port {vm}p off"):
            node.lan(lan, spokes=spokes, vni=4711, offload=False)
        assert _whole(sender, plain, "198.51.100.2")
        assert _on(node, lan, *spokes) == set()

        for spoke in (two, vm):  # somebody meddles
            mark = log.mark()
            with _inside(node, lan):
                _tool(f"{spoke}p", on=True)
            log.wait(f"switch offloads of port {spoke}p off", since=mark)
        assert _whole(sender, plain, "198.51.100.2")

        with node.told(f"switch offloads of port {vm}p on"):
            node.lan(lan, spokes=spokes, vni=4711)
        assert _on(node, lan, *spokes) == {one, two, vm}
        assert not _whole(sender, plain, "198.51.100.2")
        assert _whole(sender, raw, "198.51.100.3")

        with node.told("bring up .* with 198.51.100.3/24"):
            node.inside(lan).run("ip", "link", "delete", f"{own}p")
        assert _whole(sender, raw, "198.51.100.3")
        for pod, spoke in zip((sender, plain, raw), spokes, strict=False):
            node.delete(pod, veth(spoke)).ok()
        node.delete(machine, macvtap(vm)).ok()
    node.assert_nothing_left()


@contextmanager
def _inside(node: Node, lan: str) -> Iterator[None]:
    """The calling thread in a LAN's namespace."""
    fd = os.open(node.inside(lan).path, os.O_RDONLY)
    try:
        with netns.inside(fd):
            yield
    finally:
        os.close(fd)


def _tool(link: str, *, on: bool | None = None) -> bool:
    """Whether transmit checksumming of a link is on, by ethtool's features; or switch it."""
    tool = IoctlEthtool(link)
    try:
        if on is not None:
            tool.set_offload_flag("tx-checksumming", int(on))
        return bool(tool.get_features().is_active("tx-checksum-ip-generic"))
    finally:
        tool.close()


def _on(node: Node, lan: str, *spokes: str) -> set[str]:
    """The spokes whose ports have offloads."""
    with _inside(node, lan):
        return {spoke for spoke in spokes if _tool(f"{spoke}p")}


def _whole(sender: Namespace, receiver: Namespace, address: str) -> bool:
    """Whether all frames of a TCP connection arrive within the MTU and with their checksums; else none is so."""
    with netns.inside(receiver.fd()):
        listening = socket.create_server((address, 0))
    with netns.inside(sender.fd()):
        sending = socket.socket()
    with PacketSocket(receiver.fd(), "net1") as heard, listening, sending:
        sending.settimeout(10)
        sending.connect(listening.getsockname())
        taking, _ = listening.accept()
        with taking:
            taking.settimeout(10)
            sending.sendall(_DATA)
            left = len(_DATA)
            while left:
                left -= len(taking.recv(left))
        frames = [r.frame for r in heard.receive() if r.frame[12:14] == b"\x08\x00" and r.frame[23] == 6]
    full = [frame for frame in frames if len(frame) >= _FRAME]
    assert full
    large, bad = [len(frame) for frame in full if len(frame) > _FRAME], [f for f in frames if not _is_right(f)]
    assert bool(large) == bool(bad), (large, len(bad), len(frames))
    return not large


def _is_right(frame: bytes) -> bool:
    """Whether the checksum of a frame's TCP segment is right (RFC 9293, 3.1)."""
    length, header = struct.unpack_from(">H", frame, 16)[0], (frame[14] & 15) * 4
    segment = frame[14 + header : 14 + length]
    data = frame[26:34] + struct.pack(">HH", 6, len(segment)) + segment
    total = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2])) + (data[-1] << 8) * (len(data) % 2)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF
