"""The agent's diagnostics endpoint: who may ask, what it tells, what it sends, receives and captures."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.capture.pcapng import BlockType
from k8slan_cli.diagnose import exchange, filters, protocol, session, traffic
from k8slan_cli.diagnose.client import AgentError, Call
from k8slan_cli.diagnose.protocol import FAIL, OK, KnownMac, NodeFacts, Place, Plugged, Reach
from k8slan_cli.errors import K8slanError
from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.probe.frames import CLASSES, MARK
from k8slan_cli.probe.run import Probe, Verdict
from tests.node.diagnostics import SocketWire, call, connect, plugged, recording, site, token, trial, tshark
from tests.support import names
from tests.support.agents import Agent, Node, eventually, macvtap, pods, veth
from tests.support.netns import Namespace
from tests.support.netns import veth as wire

KEYS = [c.key for c in CLASSES]
PEERS = ("192.0.2.1", "192.0.2.2")


@dataclass(frozen=True)
class Scene:
    """Two nodes with a LAN: a pod on each, and what a VM has on the first."""

    a: Node
    b: Node
    agents: tuple[Agent, Agent]
    lan: str
    spokes: tuple[str, str, str]
    pods: tuple[Namespace, Namespace, Namespace]

    def place(self, spoke: str) -> Place:
        """Where a spoke's attachment is."""
        pod = self.pods[self.spokes.index(spoke)]
        return Place(container=pod.name, ifname="net1")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    spokes = names.unique("a"), names.unique("b"), names.unique("v")
    with Node.pair() as (a, b), pods(3) as (one, two, vm), a.agent() as first, b.agent() as second:
        lan = a.lan(spokes=list(spokes), peers=PEERS, vni=0x51AB)
        b.lan(lan, spokes=list(spokes), peers=PEERS, vni=0x51AB)
        a.add(one, veth(spokes[0]), args="K8S_POD_NAMESPACE=lab;K8S_POD_NAME=one").result()
        b.add(two, veth(spokes[1]), args="K8S_POD_NAMESPACE=lab;K8S_POD_NAME=two").result()
        a.add(vm, macvtap(spokes[2])).result()
        yield Scene(a, b, (first, second), lan, spokes, (one, two, vm))
        for node in (a, b):
            node.sweep()
            node.assert_nothing_left()


def raw(node: Node, data: bytes) -> bytes:
    """What the endpoint says to bytes."""
    with connect(node) as sock:
        sock.sendall(data)
        answer = b""
        while part := sock.recv(65536):
            answer += part
    return answer


def head(node: Node, path: str = protocol.ATTACHMENTS, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: agent", f"Authorization: Bearer {token(node)}"]
    return "\r\n".join([*lines, *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()), "", ""]).encode()


# ---------------------------------------------------------------- who may ask


def test_the_token_is_roots_alone_and_the_port_is_on_loopback_alone(scene: Scene) -> None:
    path = scene.a.run / "agent" / "token"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with pytest.raises(ConnectionRefusedError):
        connect(scene.a, "192.0.2.1")
    listening = scene.a.namespace.run("ss", "-Htln").splitlines()
    assert [line.split()[3] for line in listening if f":{protocol.PORT}" in line] == [f"127.0.0.1:{protocol.PORT}"]


@pytest.mark.parametrize("sent", ["", "wrong", "x" * 9000, "a.b.c"])
def test_nothing_is_told_without_the_token(sent: str, scene: Scene) -> None:
    for path in (protocol.ATTACHMENTS, protocol.NODE, protocol.SESSION, protocol.CAPTURE, "/v1/nothing"):
        with pytest.raises(AgentError) as caught:
            Call(SocketWire(connect(scene.a)), path, sent, {})
        assert caught.value.status == (403 if sent else 401)


def test_the_token_of_one_node_is_none_on_another(scene: Scene) -> None:
    with pytest.raises(AgentError, match="does not take this token"):
        Call(SocketWire(connect(scene.a)), protocol.ATTACHMENTS, token(scene.b), {})


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01 no HTTP at all \r\n\r\n", 400),
        (b"POST /v1/attachments HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /v1/attachments HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"x" * (protocol.MAX_HEAD + 8192), 400),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, status: int, scene: Scene) -> None:
    assert raw(scene.a, data).split(b" ")[1] == str(status).encode()


def test_what_makes_no_sense_is_refused_in_words(scene: Scene) -> None:
    without = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    for data, status in ((without, 401), (head(scene.a, Content_Length="3") + b"{{{", 400)):
        answer = raw(scene.a, data)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/nothing", {}, "there is only POST of"),
        (protocol.SESSION, {"place": {"container": 3}}, "container: must be text"),
        (protocol.SESSION, {"place": {"container": "none", "ifname": "net1"}}, "is not attached on node"),
        (protocol.SESSION, {"reach": {"vni": 0, "port": 70000, "peers": ["x"]}}, "vni: .*; port: .*; peers: "),
        (protocol.CAPTURE, {"places": []}, "places: are none"),
        (protocol.CAPTURE, {"places": [{"container": "none", "ifname": "net1"}], "snaplen": 3}, "snaplen: "),
        (protocol.NODE, {"reaches": 7}, "reaches: must be a list"),
        (protocol.MACS, {"lan": "red"}, "lan: must be namespace/name"),
        (protocol.TRAFFIC, {"seconds": 0}, "seconds: must be a whole number from 1 to 60"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(path: str, body: dict[str, object], words: str, scene: Scene) -> None:
    with pytest.raises(AgentError, match=words):
        call(scene.a, path, body)


def test_a_client_that_goes_away_in_the_middle_harms_nobody(scene: Scene) -> None:
    for data in (b"", b"POST /v1", head(scene.a, Content_Length="50") + b"{"):
        with connect(scene.a) as sock:
            sock.sendall(data)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # with a reset
    assert plugged(scene.a)


# ---------------------------------------------------------------- what it tells


def test_attachments_are_told_as_they_are(scene: Scene) -> None:
    spoke, _, tap = scene.spokes
    found = plugged(scene.a)
    assert set(found) == {spoke, tap}
    one, link = found[spoke], scene.pods[0].links()["net1"]
    assert (one.node, one.lan, one.pod, one.kind) == (scene.a.name, f"default/{scene.lan}", "lab/one", "veth")
    assert (one.mac, one.mtu, one.up, one.carrier, one.fault) == (link["address"], link["mtu"], True, True, "")
    assert one.name == "lab/one:net1"
    assert found[tap].kind == "macvtap"
    assert found[tap].name == f"{scene.pods[2].name}:net1"
    assert plugged(scene.a, "default/other") == {}
    assert set(plugged(scene.b, f"default/{scene.lan}")) == {scene.spokes[1]}


def test_counters_are_seen_from_the_pod(scene: Scene) -> None:
    spoke, pod = scene.spokes[0], scene.pods[0]
    before = plugged(scene.a)[spoke]
    with PacketSocket(pod.fd(), "net1") as endpoint:
        for number in range(5):
            endpoint.send(b"\xff" * 6 + endpoint.mac + b"\x88\xb5" + bytes([number]) * 86)
    after = eventually(
        "the frames are counted", lambda: (now := plugged(scene.a)[spoke]).sent.packets > before.sent.packets and now
    )
    assert after.sent.packets - before.sent.packets >= 5
    assert after.sent.bytes - before.sent.bytes >= 500
    assert after.received.packets - before.received.packets < 5


def test_a_link_that_is_down_is_told(scene: Scene) -> None:
    spoke = scene.spokes[0]
    with scene.a.told(r"set port .*: down"):
        scene.a.write(f"{scene.lan}.yaml", _with_links_down(scene, spoke))
    found = plugged(scene.a)[spoke]
    assert (found.up, found.carrier) == (False, False)
    with scene.a.told(r"set port .*: up"):
        scene.a.write(f"{scene.lan}.yaml", _with_links_down(scene))
    assert (plugged(scene.a)[spoke].up, plugged(scene.a)[spoke].carrier) == (True, True)


def test_counters_are_told_again_and_again_until_the_client_has_seen_enough(scene: Scene) -> None:
    spoke, pod = scene.spokes[0], scene.pods[0]

    def sent(line: dict[str, Any]) -> int:
        return next(item.sent.packets for item in map(Plugged.decode, line["attachments"]) if item.spoke == spoke)

    with call(scene.a, protocol.TRAFFIC, protocol.Looking(lan=f"default/{scene.lan}", seconds=1).encode()) as asked:
        told = asked.events()
        before = sent(next(told))
        with PacketSocket(pod.fd(), "net1") as endpoint:
            endpoint.send(b"\xff" * 6 + endpoint.mac + b"\x88\xb5" + bytes(86))
        assert sent(next(told)) > before
        asked.stop()
        assert not list(told)


class TwoAgents:
    """The agents of a scene, as a workstation has them."""

    def __init__(self, scene: Scene) -> None:
        self._nodes = {node.name: node for node in (scene.a, scene.b)}

    def call(self, node: str, path: str, body: Mapping[str, Any]) -> Call:
        """A request that an agent has taken."""
        return call(self._nodes[node], path, body)

    def each(self, nodes: Iterable[str], act: Callable[[str], Call], *, unreachable: dict[str, Any]) -> dict[str, Call]:
        """Ask the nodes that there are."""
        wanted = list(nodes)
        unreachable |= {node: K8slanError("no agent") for node in wanted if node not in self._nodes}
        return {node: act(node) for node in wanted if node in self._nodes}


def test_rates_are_those_of_every_node_and_one_without_an_agent_is_told(scene: Scene) -> None:
    with traffic.Streams(TwoAgents(scene), f"default/{scene.lan}", 1) as streams:  # type: ignore[arg-type]
        streams.open([scene.a.name, scene.b.name, "w9"])
        assert {flow.item.spoke for flow in streams.flows()} == set(scene.spokes)
        assert streams.troubles == {"w9": "no agent"}
        with PacketSocket(scene.pods[0].fd(), "net1") as endpoint:

            def seen() -> bool:
                """Whether a look at the flows has what is sent now: about a kilobyte in each frame."""
                for _ in range(50):
                    endpoint.send(b"\xff" * 6 + endpoint.mac + b"\x88\xb5" + bytes(986))
                flows = {flow.item.spoke: flow for flow in streams.flows()}
                sent, received = flows[scene.spokes[0]].sent, flows[scene.spokes[1]].received
                return bool(sent and received and sent.bytes > 500 * sent.packets > 0 and received.bytes > 0)

            eventually("rates are told", seen)


def test_learned_addresses_are_told_with_where_they_are_and_forgotten_at_a_word(scene: Scene) -> None:
    lan, (one, two, _) = f"default/{scene.lan}", scene.spokes
    mac = "02:00:5e:00:53:01"

    def known(node: Node, **more: object) -> list[KnownMac]:
        with call(node, protocol.MACS, protocol.Macs(lan=lan, mac=mac, **more).encode()) as asked:  # type: ignore[arg-type]
            document = asked.document()
        assert document["more"] == 0
        return [KnownMac.decode(item) for item in document["macs"]]

    with PacketSocket(scene.pods[0].fd(), "net1") as endpoint:
        endpoint.send(b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) + b"\x88\xb5" + bytes(86))
    (here,) = eventually("it is learned", lambda: known(scene.a))
    assert (here.mac, here.node, here.spoke, here.plug, here.peer) == (mac, scene.a.name, one, "lab/one:net1", "")
    assert 0 <= here.age < 60
    (there,) = eventually("it is learned on the other node", lambda: known(scene.b))
    assert (there.spoke, there.peer) == ("", PEERS[0])
    assert two not in (here.spoke, there.spoke)
    for node in (scene.a, scene.b):
        with call(node, protocol.MACS, protocol.Macs(lan=lan, flush=True).encode()) as asked:
            assert asked.document()["flushed"] >= 1
        assert known(node) == []
    with call(scene.a, protocol.MACS, protocol.Macs(lan="default/none").encode()) as asked:
        assert asked.document()["macs"] == []


def _with_links_down(scene: Scene, *spokes: str) -> str:
    import yaml

    from tests.support.agents import document

    found = document(scene.lan, peers=PEERS, vni=0x51AB, spokes=list(scene.spokes))
    found["metadata"]["annotations"] = {"lan.k8slan.io/links-down": ",".join(spokes)}
    return yaml.safe_dump(found)


def _facts(node: Node, *reaches: Reach) -> NodeFacts:
    with call(node, protocol.NODE, {"reaches": [reach.encode() for reach in reaches]}) as asked:
        return NodeFacts.decode(asked.document())


def test_the_node_is_examined_and_nothing_of_it_stays(scene: Scene) -> None:
    before, open_before = scene.a.namespace.run("ip", "-o", "link"), scene.agents[0].descriptors()
    facts = _facts(scene.a, Reach(vni=1, port=4789, device="eth0"))
    states = {check.what: check.state for check in facts.checks}
    for what in ("kernel", "control frames", "macvtap", "underlay eth0", "VXLAN at UDP port 4789"):
        assert states[what] == OK, facts.checks
    assert states["traffic control"] == OK  # what the kernel lacks of it no LAN here needs
    assert states["run directory"] in (OK, "warn")  # /tmp is a disk, here and there
    assert str(facts.underlays["eth0"].vtep) == "192.0.2.1"
    assert facts.underlays["eth0"].mtu == 1500
    assert scene.a.namespace.run("ip", "-o", "link") == before
    # A namespace that is mounted nowhere is there as long as somebody holds it open.
    eventually("nothing is held open", lambda: scene.agents[0].descriptors() <= open_before)


def test_what_a_node_lacks_is_said_with_what_to_do(scene: Scene) -> None:
    from k8slan_cli.net import netns

    with netns.inside(scene.a.namespace.fd()):
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with taken:
        taken.bind(("0.0.0.0", 4790))  # noqa: S104 - in a namespace
        facts = _facts(scene.a, Reach(vni=1, port=4790, device="eth0"), Reach(vni=1, port=4789, device="eth9"))
    checks = {check.what: check for check in facts.checks if check.state == FAIL}
    assert set(checks) == {"VXLAN at UDP port 4790", "underlay eth9"}
    assert "UDP port 4790 is held by python" in checks["VXLAN at UDP port 4790"].advice
    assert "eth9 is not on this node" in checks["underlay eth9"].words


# ---------------------------------------------------------------- probing


@pytest.mark.parametrize(("src", "dst"), [(0, 1), (2, 1), (0, 2)], ids=["pod-pod", "vm-pod", "pod-vm"])
def test_every_class_passes_both_ways_with_believable_times(src: int, dst: int, scene: Scene) -> None:
    nodes = (scene.a, scene.b, scene.a)
    with (
        site(nodes[src], scene.place(scene.spokes[src])) as one,
        site(nodes[dst], scene.place(scene.spokes[dst])) as two,
    ):
        one.ready()
        two.ready()
        ways = exchange.cross(one, two, KEYS, 2)
    for way in ways:
        assert [r.key for r in way.results] == KEYS
        assert {r.key: f"{r.verdict} {r.detail}" for r in way.results if not r.ok} == {}
        assert all(r.latency is not None and -1_000 < r.latency < 1_000_000 for r in way.results)


_NOISE = """
import select, socket, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sock.bind(("net1", 0))
frame = bytes.fromhex("ffffffffffff 020000000007 88b5") + bytes(100)
sent = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(100):
        sent += bool(sock.send(frame))
print(sent)
"""


def test_a_lan_that_is_flooded_can_be_probed(scene: Scene) -> None:
    with (
        site(scene.a, scene.place(scene.spokes[0])) as one,
        site(scene.b, scene.place(scene.spokes[1])) as two,
        scene.pods[2].start(sys.executable, "-c", _NOISE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as noise,
    ):
        one.ready()
        two.ready()
        before = plugged(scene.a)[scene.spokes[0]].received.packets
        eventually("it is flooded", lambda: plugged(scene.a)[scene.spokes[0]].received.packets > before + 1000)
        ways = exchange.cross(one, two, KEYS, 2)
        sent, _ = noise.communicate("\n", timeout=30)
    assert int(sent) > 2000
    assert {r.key: f"{r.verdict} {r.detail}" for way in ways for r in way.results if not r.ok} == {}


def test_the_kernel_passes_over_what_is_not_a_probes() -> None:
    """Of every class a frame comes through, with its tag beside it, lost or added; what has no mark never does."""
    with Namespace.create("a") as a, Namespace.create("b") as b:
        wire(a, "eth0", b, "eth0")
        with PacketSocket(a.fd(), "eth0") as sender, PacketSocket(b.fd(), "eth0") as receiver:
            probe = Probe(src=sender.mac, dst=receiver.mac, mtu=1500)
            offsets = session.offsets([probe])
            with socket.socket(fileno=os.dup(receiver.fileno())) as same:
                filters.attach(same, filters.with_mark(MARK, offsets))
            tag = bytes.fromhex("81000007")
            for key in KEYS:
                frame = probe.frame(key, 0)
                sender.send(frame)
                sender.send(frame.replace(MARK, bytes(4)))
                if key != "full-size-vlan":
                    sender.send(frame[:12] + tag + frame[12:] if len(frame) < 1500 else frame)
            came = [received.frame for received in receiver.receive()]
    assert len(came) == 2 * len(KEYS) - 1
    assert all(MARK in frame for frame in came)


def test_clocks_of_one_machine_are_found_to_agree(scene: Scene) -> None:
    """Both agents read the same clock here, so what is taken for their difference is the error of the method."""
    with site(scene.a, scene.place(scene.spokes[0])) as one, site(scene.b, scene.place(scene.spokes[1])) as two:
        one.ready()
        two.ready()
        there = Probe(src=one.mac, dst=two.mac, mtu=1000, count=20, keys=("icmp",))
        back = Probe(src=two.mac, dst=one.mac, mtu=1000, count=20, keys=("icmp",))
        two.expect(there)
        one.expect(back)
        times = [*(one.send(there), two.arrivals(there, 20)), *(two.send(back), one.arrivals(back, 20))]
    offset = exchange.difference_of_clocks(*times)  # type: ignore[arg-type]
    assert offset is not None
    assert abs(offset) < 1_000_000


def test_what_a_link_that_is_down_swallows_is_dropped(scene: Scene) -> None:
    with scene.a.told(r"set port .*: down"):
        scene.a.write(f"{scene.lan}.yaml", _with_links_down(scene, scene.spokes[0]))
    with site(scene.a, scene.place(scene.spokes[0])) as one, site(scene.b, scene.place(scene.spokes[1])) as two:
        one.ready()
        two.ready()
        ways = exchange.cross(one, two, ["icmp", "lldp"], 1)
    with scene.a.told(r"set port .*: up"):
        scene.a.write(f"{scene.lan}.yaml", _with_links_down(scene))
    assert {(r.verdict, r.arrived, r.latency) for way in ways for r in way.results} == {(Verdict.DROPPED, 0, None)}


def test_an_interface_that_is_down_is_named(scene: Scene) -> None:
    scene.pods[1].ip("link", "set", "net1", "down")
    try:
        with pytest.raises(AgentError, match="the interface net1 is down"):
            site(scene.b, scene.place(scene.spokes[1]))
    finally:
        scene.pods[1].ip("link", "set", "net1", "up")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense\n", "not JSON"),
        (b'{"fly":true}\n', "asks for nothing"),
        (b'{"send":{"src":"00"}}\n', "src: must be 6 bytes"),
        (b'{"send":{"src":"000000000000","dst":"000000000000","id":"0000000000000000","mtu":70,"keys":["x"]}}\n', "x"),
        (b"x" * (protocol.MAX_LINE + 1), "a line of more than"),
    ],
)
def test_a_session_ends_at_what_makes_no_sense(line: bytes, words: str, scene: Scene) -> None:
    place = scene.place(scene.spokes[0])
    with call(scene.a, protocol.SESSION, {"place": {"container": place.container, "ifname": "net1"}}) as asked:
        events = asked.events()
        assert "ready" in next(events)
        asked._wire.send(line)
        with pytest.raises(AgentError, match=words):
            next(events)


def test_a_session_ends_when_its_client_goes(scene: Scene) -> None:
    before = scene.agents[0].descriptors()
    for _ in range(20):
        with site(scene.a, scene.place(scene.spokes[0])) as one:
            one.ready()
    eventually("all sessions are over", lambda: scene.agents[0].descriptors() <= before + 1)


def test_a_session_ends_with_its_attachment(scene: Scene) -> None:
    spoke = scene.spokes[1]
    scene.b.delete(scene.pods[1], veth(spoke)).ok()
    with pods(1) as (pod,):
        scene.b.add(pod, veth(spoke)).result()
        with site(scene.b, Place(container=pod.name, ifname="net1")) as one:
            one.ready()
            scene.b.delete(pod, veth(spoke)).ok()
            with pytest.raises(K8slanError, match=r"has gone down|is detached"):
                one.arrivals(Probe(src=bytes(6), dst=bytes(6), mtu=100), 1, 20)
    scene.b.add(scene.pods[1], veth(spoke), args="K8S_POD_NAMESPACE=lab;K8S_POD_NAME=two").result()


_vnis = itertools.count(0xFF1234)


def _reached(scene: Scene, *broken: str) -> dict[tuple[str, str], tuple[int, int]]:
    """How many small and full-size frames of three get from node to node; with ``ip link set eth0`` broken at b."""
    peers, vni = tuple(map(ip_address, PEERS)), next(_vnis)
    with contextlib.ExitStack() as stack:
        sites = [
            stack.enter_context(trial(node, Reach(vni=vni, port=4789, device="eth0", peers=peers)))
            for node in (scene.a, scene.b)
        ]
        for one in sites:
            one.ready()
        if broken:
            scene.b.namespace.ip("link", "set", "eth0", *broken)
        return {(r.src, r.dst): (r.small, r.full) for r in exchange.reach(sites)}


def test_nodes_reach_each_other_over_a_vxlan_that_leaves_nothing(scene: Scene) -> None:
    before = scene.a.namespace.run("ip", "-o", "link")
    for _ in range(2):  # what the first has left would be in the way of the second
        assert set(_reached(scene).values()) == {(3, 3)}
    assert scene.a.namespace.run("ip", "-o", "link") == before


def test_a_path_too_narrow_for_vxlan_is_seen(scene: Scene) -> None:
    try:
        assert _reached(scene, "mtu", "1400")[scene.a.name, scene.b.name] == (3, 0)
    finally:
        scene.b.namespace.ip("link", "set", "eth0", "mtu", "1500")


def test_a_wire_that_is_cut_is_seen(scene: Scene) -> None:
    try:
        assert set(_reached(scene, "down").values()) == {(0, 0)}
    finally:
        scene.b.namespace.ip("link", "set", "eth0", "up")


# ---------------------------------------------------------------- capturing


def probe_between(scene: Scene, *keys: str, count: int = 1) -> None:
    with site(scene.a, scene.place(scene.spokes[0])) as one, site(scene.b, scene.place(scene.spokes[1])) as two:
        one.ready()
        two.ready()
        ways = exchange.cross(one, two, keys, count)
    assert all(way.ok for way in ways), ways


def test_frames_of_both_directions_are_captured_with_their_tags(scene: Scene, tmp_path: Path) -> None:
    with recording(scene.a, scene.place(scene.spokes[0])) as found:
        probe_between(scene, "icmp", "vlan", "qinq", "full-size-vlan")
        found.packets(8)
        data = found.stop()
    fields = ("frame.interface_name", "frame.packet_flags_direction", "vlan.id", "frame.len", "eth.type")
    rows = tshark(data, tmp_path, *fields, "ieee8021ad.id")
    assert {row[0] for row in rows} == {"lab/one:net1"}
    for direction in ("0x00000001", "0x00000002"):
        mine = [row[2:] for row in rows if row[1] == direction]
        assert any(row[0] == "4001" and row[2] == "0x8100" for row in mine), mine
        assert any(row[0] == "4001" and row[2:] == ["0x88a8", "4002"] for row in mine), mine
        assert any(row[1] == str(1446 + 14 + 4) for row in mine), mine
    counters = found.of(BlockType.STATISTICS)[0].counters()
    assert (counters.dropped, counters.comment) == (0, "")
    assert counters.accepted == len(rows)


def test_a_capture_of_a_vm_and_a_pod_has_an_interface_each_in_the_order_of_time(scene: Scene, tmp_path: Path) -> None:
    with recording(scene.a, scene.place(scene.spokes[0]), scene.place(scene.spokes[2])) as found:
        probe_between(scene, "arp", "lldp", "ipv6-nd", count=5)
        found.packets(60)
        data = found.stop()
    rows = tshark(data, tmp_path, "frame.interface_name", "frame.interface_description", "frame.time_epoch")
    by_name = {row[0]: row[1] for row in rows}
    assert set(by_name) == {"lab/one:net1", f"{scene.pods[2].name}:net1"}
    assert by_name["lab/one:net1"] == f"pod on LAN default/{scene.lan}, spoke {scene.spokes[0]}, node {scene.a.name}"
    assert by_name[f"{scene.pods[2].name}:net1"].startswith("VM on LAN")
    times = [float(row[2]) for row in rows]
    assert times == sorted(times)
    assert len({row[2] for row in rows}) > 1
    assert len(rows[0][2].partition(".")[2]) == 9


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("arp", "eth:ethertype:arp"),
        ("vlan 4001", "eth:ethertype:vlan:ethertype:ip:icmp:data"),
        ("ether proto 0x88cc", "eth:ethertype:lldp"),
        ("icmp and not vlan", "eth:ethertype:ip:icmp:data"),
    ],
)
def test_a_filter_takes_what_it_says(expression: str, wanted: str, scene: Scene, tmp_path: Path) -> None:
    sent = ("icmp", "arp", "lldp", "vlan")
    with recording(scene.a, scene.place(scene.spokes[0]), filter=expression) as found:
        probe_between(scene, *sent)
        found.packets(2)
        data = found.stop()
    protocols = {row[0] for row in tshark(data, tmp_path, "frame.protocols")}
    assert protocols == {wanted}
    assert len(found.of(BlockType.PACKET)) == 2  # one there, one back
    assert found.of(BlockType.STATISTICS)[0].counters().accepted == 2


def test_a_filter_that_is_none_is_refused_in_libpcaps_words(scene: Scene) -> None:
    with (
        pytest.raises(AgentError, match=r"filter: 'ip and and': .*syntax error") as caught,
        recording(scene.a, scene.place(scene.spokes[0]), filter="ip and and"),
    ):
        pass
    assert caught.value.status == 400


def test_only_so_many_bytes_are_kept(scene: Scene, tmp_path: Path) -> None:
    with recording(scene.a, scene.place(scene.spokes[0]), snaplen=64, filter="len > 1000") as found:
        probe_between(scene, "full-size", "full-size-vlan")
        found.packets(4)
        data = found.stop()
    rows = tshark(data, tmp_path, "frame.cap_len", "frame.len", "vlan.id")
    assert sorted(rows) == sorted([["64", "1460", ""], ["68", "1464", "4001"]] * 2)


FLOOD = 40_000


def test_a_reader_that_does_not_read_costs_frames_and_nothing_else(scene: Scene) -> None:
    place = scene.place(scene.spokes[0])
    wanted = protocol.Capture(places=(place,))
    with call(scene.a, protocol.CAPTURE, wanted.encode()) as asked:
        rss = _resident(scene.agents[0])
        frame = b"\xff" * 6 + bytes(6) + b"\x88\xb5" + bytes(1400)
        with PacketSocket(scene.pods[0].fd(), "net1") as endpoint:
            for _ in range(FLOOD):
                endpoint.send(frame)
        assert plugged(scene.a)[scene.spokes[0]].carrier  # the agent has time for others
        assert _resident(scene.agents[0]) - rss < 16 << 20
        from k8slan_cli.capture.pcapng import Reader

        reader, blocks, stopped = Reader(), [], False
        for data in asked.data():
            blocks += reader.feed(data)
            if not stopped and len(blocks) > 100:
                asked.stop()
                stopped = True
    (end,) = [block for block in blocks if block.kind == BlockType.STATISTICS]
    came = sum(block.kind == BlockType.PACKET for block in blocks)
    counters = end.counters()
    assert counters.accepted >= FLOOD
    assert counters.dropped > 0
    assert came <= counters.accepted - counters.dropped


def _resident(agent: Agent) -> int:
    """The memory that an agent has, in bytes."""
    pages = int(Path(f"/proc/{agent.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_capture_outlives_its_link_and_ends_with_its_attachment(scene: Scene) -> None:
    """It says why, and does not keep what it listened to: the next attachment finds its VXLAN free."""
    spoke = names.unique("e")
    with pods(1) as (gone,):
        lan = scene.a.lan(spokes=[spoke])
        scene.a.add(gone, veth(spoke)).result()
        with recording(scene.a, Place(container=gone.name, ifname="net1")) as found:
            port = scene.a.inside(lan)
            gone.ip("link", "set", "net1", "down")
            gone.ip("link", "set", "net1", "up")
            with PacketSocket(gone.fd(), "net1") as endpoint:
                endpoint.send(b"\xff" * 6 + endpoint.mac + b"\x88\xb5" + bytes(50))
            found.packets(1)
            assert port.links()[f"{spoke}p"]
            scene.a.delete(gone, veth(spoke)).ok()
            found.ended()
            (end,) = found.of(BlockType.STATISTICS)
            assert "is detached" in end.counters().comment
            scene.a.add(gone, veth(spoke)).result()
            scene.a.delete(gone, veth(spoke)).ok()
    (scene.a.files / f"{lan}.yaml").unlink()


def test_an_agent_ends_in_the_middle_of_everything(scene: Scene) -> None:
    spoke = names.unique("z")
    with Node.create() as node, pods(1) as (pod,):
        node.lan(spokes=[spoke])
        with node.agent() as agent:
            node.add(pod, veth(spoke)).result()
            place = Place(container=pod.name, ifname="net1")
            with recording(node, place) as found, site(node, place) as one:
                one.ready()
                assert agent.stop() == 0
                found._wait(lambda: found._ended)
                with pytest.raises(K8slanError, match=r"broke off|has ended|is gone"):
                    one.arrivals(Probe(src=bytes(6), dst=bytes(6), mtu=100), 1, 20)
            assert "Traceback" not in str(agent.log)
        with node.agent():
            node.delete(pod, veth(spoke)).ok()
        node.assert_nothing_left()
    assert scene.lan


def test_no_agent_of_this_module_had_a_fault(scene: Scene) -> None:
    for agent in scene.agents:
        assert "Traceback" not in str(agent.log), agent.log
        assert "fault of the agent" not in str(agent.log), agent.log
