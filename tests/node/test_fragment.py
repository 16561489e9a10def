"""A LAN of MTU 1500 over an underlay of MTU 1500: outer packets go in fragments, and nothing on the LAN tells."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from k8slan_cli.net import netns
from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.probe.run import Probe, cross
from tests.support import names
from tests.support.agents import AT_ONCE, Agent, Inside, Node, eventually, pods, veth
from tests.support.netns import Namespace

VNI = 4545
PEERS = ["192.0.2.1", "192.0.2.2"]
_DO_NOT_FRAGMENT = (socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO


@dataclass(frozen=True)
class Lab:
    """A pod on each of two nodes, with addresses."""

    nodes: tuple[Node, Node]
    agents: list[Agent]
    lan: str
    pods: tuple[Namespace, Namespace]
    stack: ExitStack

    @property
    def inside(self) -> Inside:
        """The LAN's namespace on the first node."""
        return self.nodes[0].inside(self.lan)

    def passes(self) -> None:
        """Assert that frames of every class pass, both ways."""
        for one, other in (self.pods, self.pods[::-1]):
            with PacketSocket(one.fd(), "net1") as sender, PacketSocket(other.fd(), "net1") as receiver:
                results = cross(sender, receiver, Probe(src=sender.mac, dst=receiver.mac, mtu=1500, count=1))
            assert [(r.key, r.verdict, r.detail) for r in results if not r.ok] == []

    def state(self) -> object:
        """What the LAN is made of on the first node, and where frames are led."""
        keys = ("mtu", "flags", "master", "ifalias", "link_index")
        links = {name: [link.get(key) for key in keys] for name, link in self.inside.links().items()}
        ways = (("bridge-to-vxlan", "egress"), ("vxlan0", "ingress"))
        return links, [self.inside.run("tc", "filter", "show", "dev", *way) for way in ways], self.inside.peers()


@contextmanager
def lab(**spec: Any) -> Iterator[Lab]:
    """Two nodes and their pods; they leave nothing."""
    with Node.pair() as nodes, pods(2) as (one, two), ExitStack() as stack:
        lan = names.unique("lan")
        for node in nodes:
            node.lan(lan, spokes=["a", "b"], vni=VNI, fragment=True, **spec)
        agents = [stack.enter_context(node.agent()) for node in nodes]
        for number, (node, pod, spoke) in enumerate(zip(nodes, (one, two), "ab", strict=True), 1):
            config = veth(spoke, runtimeConfig={"ips": [f"198.51.100.{number}/24", f"2001:db8::{number}/64"]})
            assert node.add(pod, config).result()["interfaces"][1]["mtu"] == 1500
        yield Lab(nodes, agents, lan, (one, two), stack)
        for node, pod, spoke in zip(nodes, (one, two), "ab", strict=True):
            node.delete(pod, veth(spoke)).ok()
            node.assert_nothing_left()


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    with lab(peers=PEERS) as found:
        yield found


def counter(namespace: Namespace, protocol: str, name: str) -> int:
    """A number of /proc/net/snmp."""
    head, values = (line.split() for line in namespace.run("grep", f"^{protocol}:", "/proc/net/snmp").splitlines())
    return int(dict(zip(head, values, strict=True))[name])


# ---------------------------------------------------------------- traffic


def test_every_class_of_frame_crosses_from_node_to_node(shared: Lab) -> None:
    """Full ones with a VLAN tag, too; what is fragmented is outside."""
    shared.passes()
    for node in shared.nodes:
        assert counter(node.namespace, "Ip", "FragCreates") > 0
        assert counter(node.namespace, "Ip", "ReasmOKs") > 0
        info = node.inside(shared.lan).links()["vxlan0"]["linkinfo"]["info_data"]
        assert (info["df"], info["udp_csum"]) == ("unset", True), "a packet of another's fragments is dropped"


def test_every_class_of_frame_crosses_by_a_multicast_group() -> None:
    with lab(vxlanGrp="239.1.2.3") as found:
        found.passes()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_full_packets_that_must_not_be_fragmented_arrive(family: socket.AddressFamily, shared: Lab) -> None:
    """And nobody tells the sender that they are too large."""
    with _socket(shared.pods[0], family, socket.SOCK_DGRAM) as out, _socket(shared.pods[1], family) as to:
        if family is socket.AF_INET:
            out.setsockopt(*_DO_NOT_FRAGMENT)
        to.bind(("", 9999))
        size = 1472 if family is socket.AF_INET else 1452
        for number in range(20):
            out.sendto(bytes([number]) * size, (_address(2, family), 9999))
        assert [to.recv(2048) for _ in range(20)] == [bytes([number]) * size for number in range(20)]
    assert [counter(pod, "Icmp", "InDestUnreachs") for pod in shared.pods] == [0, 0]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_tcp_goes_on_with_full_segments(family: socket.AddressFamily, shared: Lab) -> None:
    payload = bytes(range(256)) * (1 << 13)
    got: list[bytes] = []

    def receive() -> None:
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(20)
            while data := accepted.recv(1 << 16):
                got.append(data)

    with _socket(shared.pods[1], family, socket.SOCK_STREAM) as server:
        server.bind(("", 9998))
        server.listen()
        receiver = threading.Thread(target=receive)
        receiver.start()
        with _socket(shared.pods[0], family, socket.SOCK_STREAM) as client:
            client.connect((_address(2, family), 9998))
            client.sendall(payload)
            mss = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        receiver.join()
    assert b"".join(got) == payload
    assert mss == (1448 if family is socket.AF_INET else 1428)


def _socket(pod: Namespace, family: socket.AddressFamily, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    with netns.inside(pod.fd()):
        found = socket.socket(family, kind)
    found.settimeout(20)
    return found


def _address(number: int, family: socket.AddressFamily) -> str:
    return f"198.51.100.{number}" if family is socket.AF_INET else f"2001:db8::{number}"


# ---------------------------------------------------------------- what is changed behind the agent's back

DAMAGES = {
    "the port is deleted": ("ip link del bridge-to-vxlan", "create veth bridge-to-vxlan"),
    "its other end is deleted": ("ip link del vxlan-to-bridge", "create veth bridge-to-vxlan"),
    "its other end is down": ("ip link set vxlan-to-bridge down", "redirect bridge-to-vxlan to vxlan0 and back"),
    "the port is out of the bridge": ("ip link set bridge-to-vxlan nomaster", "set port bridge-to-vxlan"),
    "the port's MTU": ("ip link set bridge-to-vxlan mtu 1300", "set port bridge-to-vxlan"),
    "the tunnel is a port": ("ip link set vxlan0 master br0", "set vxlan0: up, in no bridge"),
    "the tunnel is deleted": ("ip link del vxlan0", "redirect bridge-to-vxlan to vxlan0 and back"),
    "a redirect is taken away": ("tc filter del dev bridge-to-vxlan egress", "redirect bridge-to-vxlan"),
    "the other one, with its hook": ("tc qdisc del dev vxlan0 clsact", "redirect bridge-to-vxlan"),
}


@pytest.mark.parametrize("fault", DAMAGES)
def test_everything_comes_back(fault: str, shared: Lab) -> None:
    script, operation = DAMAGES[fault]
    before, log = shared.state(), shared.agents[0].log
    mark, began = log.mark(), time.monotonic()
    shared.inside.run("sh", "-c", script)
    log.wait(operation, since=mark, seconds=AT_ONCE)
    left = AT_ONCE - (time.monotonic() - began)
    eventually("all is as it was", lambda: _links(shared.state()) == _links(before), left)
    shared.passes()


def _links(state: Any) -> object:
    """A state without indexes, which are others when a link was made anew."""
    links, filters, peers = state
    return {name: link[:4] for name, link in links.items()}, [len(found.splitlines()) for found in filters], peers


def test_an_agent_that_starts_again_has_nothing_to_do(shared: Lab) -> None:
    before = shared.state()
    shared.agents[0].kill()
    shared.agents[0] = shared.stack.enter_context(shared.nodes[0].agent())
    assert shared.agents[0].log.operations() == []
    assert shared.state() == before
    shared.passes()
