"""The rights that k8slan has where it is installed are enough; that they are no more is shown in api/test_rights.py."""

from __future__ import annotations

import json
import re

from tests.cluster import product
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pods
from tests.cluster.life import Agents, Lans, agents, lans, until_event

__all__ = ["agents", "lans"]


def complaints(cluster: Cluster) -> list[str]:
    """What agents and controller have logged of requests that were refused to them for a lack of rights."""
    words = product.said(cluster, lines=-1)
    return [line for line in words.splitlines() if re.search("forbidden|user .* cannot ", line, re.IGNORECASE)]


def test_nothing_is_refused_to_k8slan_in_the_life_of_a_lan(
    lans: Lans, pod: Pods, agents: Agents, k8slan: Cluster, kubectl: Kubectl, node1: Node, node2: Node
) -> None:
    """Agent and controller start; a LAN is made, edited, used on two nodes and deleted: no right is missed."""
    agents.kubectl("rollout", "restart", "deployment/k8slan-controller")
    agents.kubectl("rollout", "status", "deployment/k8slan-controller", "--timeout=60s", timeout=65)
    for node in (node1, node2):
        agents.fresh(node)
    lan = lans("life", spokes=3, dynamic=True)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.any())
    lan.until_on(node1, node2)
    lan.edit(spokes=list(lan.spokes[:2]))
    lan.delete()
    until_event(kubectl, lan.name, "Terminating")
    one.delete()
    two.delete()
    lan.until_gone()
    assert complaints(k8slan) == []


def test_a_right_that_is_missing_is_named_in_the_log(lans: Lans, agents: Agents, k8slan: Cluster) -> None:
    """So that the absence of such words says something; once the right is there, what failed is made up for."""
    role = ("clusterrole", "k8slan-controller")
    rules = k8slan.kubectl.get(*role)["rules"]
    less = [rule for rule in rules if "network-attachment-definitions" not in rule["resources"]]
    reading = {
        "apiGroups": ["k8s.cni.cncf.io"],
        "resources": ["network-attachment-definitions"],
        "verbs": ["list", "watch"],
    }
    try:
        k8slan.kubectl("patch", *role, "--type=merge", "-p", json.dumps({"rules": [*less, reading]}))
        lan = lans("poor", ready=False)
        lan.until(
            lambda found: "cannot create network-attachment-definitions" in json.dumps(found),
            "not Ready for want of a right",
        )
        assert complaints(k8slan) != []
    finally:
        k8slan.kubectl("patch", *role, "--type=merge", "-p", json.dumps({"rules": rules}))
    lan.until_ready(60)
    agents.kubectl("rollout", "restart", "deployment/k8slan-controller")
    agents.kubectl("rollout", "status", "deployment/k8slan-controller", "--timeout=60s", timeout=65)
