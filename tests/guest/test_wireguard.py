"""A LAN over WireGuard, as docs/beyond.md shows it: all of it arrives, and nothing of it can be read on the wire."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from k8slan_cli.kube.kinds import LANS
from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.probe.frames import MARK
from k8slan_cli.probe.run import ClassResult, Probe, cross
from tests.node.fabric import Node, eventually, fabric
from tests.support.agents import document, pods
from tests.support.netns import command
from tests.support.require import require
from tests.unit.kube.fake_api import FakeApi

LAN = "dark"
MTU = 1366
"""What docs/beyond.md says a LAN has over WireGuard, where the network below has 1500."""
_PORT = 51820
_IPV4, _UDP = 0x0800, 17
_NEIGHBOURS = {0x0806, 0x86DD}
"""ARP and IPv6, of which the wire carries what its own ends have to say to each other."""
_FRAGMENT = 0x3FFF  # more of them follow, or it is not the first


def encrypt(nodes: Sequence[Node], folder: Path) -> None:
    """Give nodes WireGuard between them."""
    keys = [command("wg", "genkey").strip() for _ in nodes]
    for node, key in zip(nodes, keys, strict=True):
        lines = ["[Interface]", f"PrivateKey = {key}", f"ListenPort = {_PORT}"]
        for peer, other in zip(nodes, keys, strict=True):
            if peer is not node:
                lines += ["[Peer]", f"PublicKey = {command('wg', 'pubkey', text=other).strip()}"]
                lines += [f"Endpoint = 192.0.2.{peer.number}:{_PORT}", f"AllowedIPs = 10.99.0.{peer.number}/32"]
        config = folder / "wg0.conf"
        config.write_text("\n".join(lines) + "\n")
        node.namespace.ip("link", "add", "wg0", "type", "wireguard")
        node.namespace.run("wg", "setconf", "wg0", str(config))
        node.namespace.ip("address", "add", f"10.99.0.{node.number}/24", "dev", "wg0")
        node.namespace.ip("link", "set", "wg0", "up")


def is_wireguard(frame: bytes) -> bool:
    """Whether a frame is a whole packet from one node's WireGuard to the other's."""
    kind, fragment = int.from_bytes(frame[12:14]), int.from_bytes(frame[20:22]) & _FRAGMENT
    ports = {int.from_bytes(frame[34:36]), int.from_bytes(frame[36:38])}
    return (kind, fragment, frame[23], ports) == (_IPV4, 0, _UDP, {_PORT})


def failed(results: Sequence[ClassResult]) -> dict[str, str]:
    return {result.key: f"{result.verdict}: {result.detail}" for result in results if not result.ok}


def test_a_lan_over_wireguard_passes_every_frame_and_shows_none(tmp_path: Path) -> None:
    require("guest", shutil.which("wg") is not None, "needs wg of wireguard-tools (tools/setup test installs it)")
    api = FakeApi()
    devices = {"n1": "wg0", "n2": "wg0"}
    spec = {"vni": 7, "spokes": ["a", "b"], "defaultVxlanDev": None, "vxlanDevMap": devices}
    api.put(LANS.path("lab", LAN), document(LAN, namespace="lab", **spec))

    async def body() -> None:
        with fabric(api, 1500, 1500) as (one, two), pods(2) as (a, b):
            encrypt((one, two), tmp_path)
            async with one.agent(), two.agent():
                await one.plug(a, "a")
                await two.plug(b, "b")
                await eventually("peers", lambda: one.inside(LAN).peers() == {"10.99.0.2"})
                assert (a.links()["eth1"]["mtu"], b.links()["eth1"]["mtu"]) == (MTU, MTU)
                with (
                    PacketSocket(one.namespace.fd(), "eth0") as to_one,
                    PacketSocket(two.namespace.fd(), "eth0") as to_two,
                    PacketSocket(a.fd(), "eth1") as at_a,
                    PacketSocket(b.fd(), "eth1") as at_b,
                ):
                    there = Probe(src=at_a.mac, dst=at_b.mac, mtu=MTU)
                    back = Probe(src=at_b.mac, dst=at_a.mac, mtu=MTU)
                    assert failed(cross(at_a, at_b, there, seconds=10)) == {}
                    assert failed(cross(at_b, at_a, back, seconds=10)) == {}
                    wires = [[came.frame for came in wire.receive()] for wire in (to_one, to_two)]
                inner = (MARK, at_a.mac, at_b.mac, ip_address("10.99.0.1").packed, ip_address("10.99.0.2").packed)
                for frames in wires:
                    packets = [frame for frame in frames if int.from_bytes(frame[12:14]) not in _NEIGHBOURS]
                    assert len(packets) >= len(there)
                    assert all(is_wireguard(packet) for packet in packets)
                    assert max(map(len, packets)) <= 1514
                    assert not [word for word in inner for frame in frames if word in frame]
                await one.unplug(a, "a")
                await two.unplug(b, "b")

    asyncio.run(asyncio.wait_for(body(), 100))
