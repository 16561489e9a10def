"""Uplinks in a cluster: the agents settle by Leases of theirs which one is active, and leave nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.life import Agents, Lans, agents, lans, leftovers
from tests.support.agents import eventually
from tests.support.netns import Namespace

__all__ = ["agents", "lans"]


@pytest.fixture
def switch(node1: Node, node2: Node) -> Iterator[Namespace]:
    """A switch with a cable to a NIC ``nic`` of each node."""
    with Namespace.create("hw") as switch:
        switch.ip("link", "add", "br0", "type", "bridge")
        switch.ip("link", "set", "br0", "up")
        for node in (node1, node2):
            peer = ("peer", "name", "nic", "netns", str(node.machine.pid))
            switch.ip("link", "add", node.name, "type", "veth", *peer)
            switch.ip("link", "set", node.name, "master", "br0", "up")
            node.run("ip", "link", "set", "nic", "up")
        yield switch


def test_one_is_active_the_other_takes_its_place_and_both_are_gone_with_the_lan(
    lans: Lans, k8slan: Cluster, agents: Agents, switch: Namespace, node1: Node, node2: Node
) -> None:
    lan = lans()
    lan.edit(uplinks=[{"node": node.name, "device": "nic"} for node in (node1, node2)])

    def active() -> str:
        return str(lan.get()["status"].get("uplink", ""))

    def leases(kubectl: Kubectl) -> list[str]:
        found = (lease["metadata"]["name"] for lease in kubectl.items("leases"))
        return [name for name in found if name.startswith("k8slan-uplink-")]

    first = eventually("one is active", active)
    here, there = (node1, node2) if node1.name in first else (node2, node1)
    agents.kill(here)
    assert active() == first, "an agent that is not there changes nothing"
    switch.ip("link", "set", here.name, "down")
    eventually("the other is active", lambda: active() == f"nic of node {there.name}")
    assert len(leases(k8slan.kubectl.within("k8slan-system"))) == 1
    lan.delete()
    lan.until_gone()
    for node in (here, there):
        eventually("nothing is left", lambda node=node: not leftovers(node, lan))
        assert [
            link["ifname"] for link in node.ip("link", "show") if link.get("linkinfo", {}).get("info_kind") == "macvlan"
        ] == []
    eventually("the Lease is gone", lambda: not leases(k8slan.kubectl.within("k8slan-system")))
