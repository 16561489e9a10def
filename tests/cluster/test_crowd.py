"""Many at once: pods that come and go by the hundred, and a LAN with hundreds of spokes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from k8slan_cli.lan import names as lan_names
from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pod, manifest
from tests.cluster.life import (
    Agents,
    Lan,
    Lans,
    Undisturbed,
    agents,
    lans,
    leftovers,
    undisturbed,
    until_pods,
)
from tests.support import names
from tests.support.agents import eventually

__all__ = ["agents", "lans", "undisturbed"]

Say = Callable[[str], None]

PODS = 100
ROUNDS = 2
SPOKES = 200
IDLE_SECONDS = 15.0
MAX_MEGABYTES = 120
"""``make bench-cluster`` holds an agent to 105; this one has had hundreds of pods before."""
MAX_IDLE = 0.01
"""Of a core. What ``make bench-cluster`` measures is a fifth of it; here others are at work meanwhile."""


def test_a_hundred_pods_come_and_go_at_once_and_again(
    lans: Lans,
    undisturbed: Undisturbed,
    agents: Agents,
    kubectl: Kubectl,
    node1: Node,
    node2: Node,
    say: Say,
) -> None:
    """On two nodes over one LAN: none fails, each has a port, and nothing is left after each round."""
    lan = lans(spokes=0, dynamic=True)
    nodes = (node1, node2)
    for node in nodes:
        agents.fresh(node)
    containers = [agents.pod(node).container_id for node in nodes]
    for number in range(ROUNDS):
        pods = [manifest(f"r{number}-{n}", node=nodes[n % 2], networks=lan.any()) for n in range(PODS)]
        began = time.monotonic()
        kubectl.create(*pods)
        until_pods(kubectl, PODS, timeout=400)
        up = time.monotonic() - began
        assert [len(probing.ports(node, lan.netns)) for node in nodes] == [PODS // 2, PODS // 2]
        failed = [e["message"] for e in kubectl.items("events") if e["reason"] == "FailedCreatePodSandBox"]
        assert [message for message in failed if "k8slan" in message] == []  # others may run out of patience
        one, two = (Pod(name=pod["metadata"]["name"], kubectl=kubectl) for pod in pods[-2:])
        with undisturbed(one, two):
            pass
        began = time.monotonic()
        kubectl.delete("pods", "--all", timeout=200)
        for node in nodes:
            eventually(f"{node.name} has nothing of the LAN", lambda n=node: only_known(n, lan), 200)
        eventually("it is left by both nodes", lambda: lan.vteps() == {})
        lan.until(lambda found: found["status"]["attached"] == 0, "counted")
        say(f"round {number + 1}: {PODS} pods up in {up:.1f} s, gone in {time.monotonic() - began:.1f} s")
    assert [line for node in nodes for line in agents.log(node).splitlines() if "answered with error" in line] == []
    assert [agents.pod(node).container_id for node in nodes] == containers, "an agent has crashed"


def only_known(node: Node, lan: Lan) -> bool:
    """Whether a node knows a LAN and has no more of it."""
    found = leftovers(node, lan)
    return len(found) == 1 and found[0].startswith("lans/")


def test_a_lan_of_two_hundred_spokes_and_an_agent_that_idles(
    lans: Lans, agents: Agents, k8slan: Cluster, kubectl: Kubectl, node1: Node, say: Say
) -> None:
    """All its resources and NADs are there, the agent rests, and all goes with the LAN."""
    spokes = [names.unique("z") for _ in range(SPOKES)]
    began = time.monotonic()
    lan = lans(spokes=spokes)
    resources = [lan_names.resource(nad(spoke)) for spoke in spokes for nad in (lan_names.mac_nad, lan_names.veth_nad)]
    probing.until_allocatable(k8slan, *resources, timeout=60)
    say(f"{len(resources)} resources in the status of both nodes after {time.monotonic() - began:.1f} s")
    assert len(kubectl.items("network-attachment-definitions")) == 2 * SPOKES
    process = agents.folder(node1)
    before = processor(process)
    time.sleep(IDLE_SECONDS)  # what it takes while nothing happens
    idle = (processor(process) - before) / IDLE_SECONDS
    memory = megabytes(process)
    say(f"agent with {len(resources)} resources: {memory} MB, {idle:.2%} of a core idle")
    assert memory <= MAX_MEGABYTES
    assert idle <= MAX_IDLE
    lan.kubectl.delete("lan", lan.name)
    for node in k8slan.nodes:
        k8slan.kubectl.until(
            "node",
            node.name,
            holds=lambda found: all(found["status"]["allocatable"].get(name, "0") == "0" for name in resources),
            what="rid of the resources",
        )


def processor(process: Path) -> float:
    """Seconds that a process has had of a processor."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(process: Path) -> int:
    """What a process has in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    assert found
    return int(found[1]) // 1000
