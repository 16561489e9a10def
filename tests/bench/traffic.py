"""Traffic pod to pod over two nodes: k8slan LANs, a LAN made by hand, and no LAN at all.

One LAN is plain, the others differ from it in one thing each. Shaped links have a rate that nothing here reaches, so
that the row is what shaping by itself costs. All are measured in turn, round after round, and compared within a round;
the row is the median of the rounds.
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
        for name, other, limit in (
            ("k8slan", "hand-made LAN", 0.98),
            ("k8slan", "underlay", None),
            ("without offloads", "k8slan", None),
            ("with spec.fragment", "k8slan", None),
            ("shaped links", "k8slan", None),
        ):
            ratios = [a[index] / b[index] for a, b in zip(measured[name], measured[other], strict=True)]
            said = f"{what} / {other}" if name == "k8slan" else f"{what}, {name} / plain"
            yield Row(said, quantile(ratios, 0.5), "×", limit, least=True)


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


_LANS: dict[str, dict[str, object]] = {
    "k8slan": {},
    "without offloads": {"offload": False},
    "with spec.fragment": {"fragment": True},
    "shaped links": {"links": {"shaped-1": {"rate": RATE}, "shaped-2": {"rate": RATE}}},
}
"""LANs that are alike but for one thing."""


def _k8slan(stack: contextlib.ExitStack, nodes: list[Namespace]) -> dict[str, Path2]:
    """The LANs, by the same agents."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/run")))
    (folder / "lans").mkdir()
    names = dict(zip(_LANS, ("plain", "whole", "parts", "shaped"), strict=True))
    for vni, (which, spec) in enumerate(_LANS.items(), 7):
        name = names[which]
        document = lan(name, vni, spokes=[f"{name}-1", f"{name}-2"], **spec)
        document |= {"peers": ["192.0.2.1", "192.0.2.2"]}
        (folder / "lans" / f"{name}.yaml").write_text(json.dumps(document))
    pods = {name: [stack.enter_context(Namespace.create(f"k{i}")) for i in (1, 2)] for name in names.values()}
    for number, node in enumerate(nodes, 1):
        agent = Agent(node, folder, folder / "lans")
        agent.start()
        stack.callback(agent.stop)
        for name in names.values():
            config = {"cniVersion": "1.0.0", "name": name, "type": "k8slanveth", "veth": f"{name}-{number}"}
            config["runtimeConfig"] = {"ips": [f"198.51.100.{number}/24"]}
            asked = config, pods[name][number - 1], "eth0", agent.run_dir
            with inside(node):
                cni(forwarder(), "ADD", *asked)
            stack.callback(cni, forwarder(), "DEL", *asked)
    return {which: Path2(*pods[name], "198.51.100.2") for which, name in names.items()}


def _by_hand(stack: contextlib.ExitStack, nodes: list[Namespace]) -> Path2:
    pods = [stack.enter_context(Namespace.create(f"h{i}")) for i in (1, 2)]
    for number, (node, pod) in enumerate(zip(nodes, pods, strict=True), 1):
        here = stack.enter_context(Namespace.create(f"l{number}"))
        mine, other = f"192.0.2.{number}", f"192.0.2.{3 - number}"
        here.ip("link", "add", "br0", "mtu", str(MTU), "type", "bridge", "mcast_snooping", "0")
        node.ip(
            *("link", "add", "vxlan0", "mtu", str(MTU), "netns", here.name, "type", "vxlan", "id", "9"),
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
