"""Traffic pod to pod over two nodes: through a k8slan LAN, a LAN of the same shape made by hand, and no LAN at all.

And through a k8slan LAN whose links have a rate in both directions that nothing here reaches: what shaping by itself
costs. All are measured in turn, round after round, and compared within a round; the row is the median of the rounds.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.node import Agent, cni, inside, lan
from tests.bench.rows import Row, quantile
from tests.support.agents import forwarder
from tests.support.netns import Namespace, veth

ROUNDS = 7
SECONDS = 2
RATE = "30Gbit"
MTU = 1446  # underlay 1500, VXLAN over IPv4 and a VLAN tag taken off


@dataclass(frozen=True, slots=True)
class Path2:
    """A way from one place to another: the namespaces of sender and receiver, and the receiver's address."""

    sender: Namespace
    receiver: Namespace
    address: str


def rows() -> Iterator[Row]:
    """TCP throughput and small-packet rate."""
    with contextlib.ExitStack() as stack:
        ways = _ways(stack)
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                measured[name].append((_tcp(way), _packets(way)))
    for index, what in ((0, "TCP, one stream"), (1, "UDP packets of 18 bytes")):
        unit = " Gbit/s" if index == 0 else " k/s"
        yield Row(what, quantile([m[index] for m in measured["k8slan"]], 0.5), unit)
        pairs = (("k8slan", "hand-made LAN", 0.98), ("k8slan", "underlay", None), ("shaped links", "k8slan", None))
        for one, other, limit in pairs:
            ratios = [a[index] / b[index] for a, b in zip(measured[one], measured[other], strict=True)]
            name = f"{what} / {other}" if one == "k8slan" else f"{what}, {one} / unshaped"
            yield Row(name, quantile(ratios, 0.5), "×", limit, least=True)


def _ways(stack: contextlib.ExitStack) -> dict[str, Path2]:
    nodes = [stack.enter_context(Namespace.create(f"n{i}")) for i in (1, 2)]
    veth(nodes[0], "eth0", nodes[1], "eth0")
    for number, node in enumerate(nodes, 1):
        node.ip("address", "add", f"192.0.2.{number}/24", "dev", "eth0")
    return {
        **_k8slan(stack, nodes),
        "hand-made LAN": _by_hand(stack, nodes),
        "underlay": Path2(nodes[0], nodes[1], "192.0.2.2"),
    }


def _k8slan(stack: contextlib.ExitStack, nodes: list[Namespace]) -> dict[str, Path2]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/run")))
    (folder / "lans").mkdir()
    lans = {
        "k8slan": lan("bench", 7, spokes=["one", "two"]),
        "shaped links": lan("shaped", 9, spokes=["s1", "s2"], links={"s1": {"rate": RATE}, "s2": {"rate": RATE}}),
    }
    for document in lans.values():
        text = json.dumps(document | {"peers": ["192.0.2.1", "192.0.2.2"]})
        (folder / "lans" / f"{document['metadata']['name']}.yaml").write_text(text)
    agents = [Agent(node, folder, folder / "lans") for node in nodes]
    for agent in agents:
        agent.start()
        stack.callback(agent.stop)
    ways = {}
    for name, document in lans.items():
        pods = [stack.enter_context(Namespace.create(f"k{i}")) for i in (1, 2)]
        ends = zip(agents, pods, document["spec"]["spokes"], strict=True)
        for number, (agent, pod, spoke) in enumerate(ends, 1):
            config = {"cniVersion": "1.0.0", "name": "bench", "type": "k8slanveth", "veth": spoke}
            config["runtimeConfig"] = {"ips": [f"198.51.100.{number}/24"]}
            with inside(agent.namespace):
                cni(forwarder(), "ADD", config, pod, "eth0", agent.run_dir)
            stack.callback(cni, forwarder(), "DEL", config, pod, "eth0", agent.run_dir)
        ways[name] = Path2(pods[0], pods[1], "198.51.100.2")
    return ways


def _by_hand(stack: contextlib.ExitStack, nodes: list[Namespace]) -> Path2:
    pods = [stack.enter_context(Namespace.create(f"h{i}")) for i in (1, 2)]
    for number, (node, pod) in enumerate(zip(nodes, pods, strict=True), 1):
        here = stack.enter_context(Namespace.create(f"l{number}"))
        mine, other = f"192.0.2.{number}", f"192.0.2.{3 - number}"
        here.ip("link", "add", "br0", "mtu", str(MTU), "type", "bridge", "mcast_snooping", "0")
        node.ip(
            *("link", "add", "vxlan0", "mtu", str(MTU), "netns", here.name, "type", "vxlan", "id", "8"),
            *("dstport", "4789", "dev", "eth0", "local", mine, "remote", other),
        )
        veth(here, "port", pod, "eth0", mtu=MTU)
        for port in ("vxlan0", "port"):
            here.ip("link", "set", port, "master", "br0", "up")
        here.ip("link", "set", "br0", "up")
        pod.ip("address", "add", f"203.0.113.{number}/24", "dev", "eth0")
    return Path2(pods[0], pods[1], "203.0.113.2")


def _iperf(way: Path2, *options: str) -> dict[str, object]:
    """One run of iperf3: its report at the receiver's end."""
    serve = ["ip", "netns", "exec", way.receiver.name, "iperf3", "--server", "--one-off", "--forceflush"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        for line in server.stdout:
            if "Server listening" in line:
                break
        report = way.sender.run("iperf3", "--client", way.address, f"--time={SECONDS}", "--json", *options)
        server.communicate(timeout=10)
    end: dict[str, object] = json.loads(report)["end"]
    return end


def _tcp(way: Path2) -> float:
    end = _iperf(way)
    return end["sum_received"]["bits_per_second"] / 1e9  # type: ignore[index]


def _packets(way: Path2) -> float:
    """Thousands of packets a second that arrive."""
    end = _iperf(way, "--udp", "--length=18", "--bandwidth=0")
    total = end["sum"]
    return (total["packets"] - total["lost_packets"]) / total["seconds"] / 1e3  # type: ignore[index]
