"""k8slan as it is installed: one LAN over two nodes, from the LAN object to frames, and back to nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pods
from tests.support import names

_MAY_SET_ADDRESSES = {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}


@pytest.fixture
def lan(k8slan: Cluster, kubectl: Kubectl) -> Iterator[str]:  # noqa: ARG001 - comes first
    """A LAN called ``example`` with spokes e1, e2, e3; yields its network namespace's name."""
    ns = names.unique("lan")
    spec = {"ns": ns, "bridge": "br0", "vxlan": "vx0", "vni": 100, "defaultVxlanDev": "eth0"}
    kubectl.create(
        {
            "apiVersion": "lan.k8slan.io/v1beta1",
            "kind": "LAN",
            "metadata": {"name": "example"},
            "spec": spec | {"spokes": ["e1", "e2", "e3"]},
        }
    )
    kubectl.wait("--for=condition=Ready", "lan/example")
    yield ns
    kubectl.delete("pods", "--all")
    kubectl.delete("lans", "--all")


def _network(kind: str, spoke: str, interface: str) -> str:
    return json.dumps([{"name": f"k8slan-{kind}-{spoke}", "interface": interface}])


def test_pods_on_two_nodes_meet_in_a_lan_and_nothing_is_left_of_it(
    lan: str, pod: Pods, kubectl: Kubectl, node1: Node, node2: Node
) -> None:
    resource = {"macvtap.k8slan.io/k8slan-veth-e1": 1}
    one = pod(node1, networks=_network("veth", "e1", "e1-1"), resources=resource, container=_MAY_SET_ADDRESSES)
    two = pod(node2, networks=_network("veth", "e2", "e2-1"), container=_MAY_SET_ADDRESSES)  # no resource line
    one.run("ip", "address", "add", "10.98.0.1/24", "dev", "e1-1")
    two.run("ip", "address", "add", "10.98.0.2/24", "dev", "e2-1")
    one.run("ping", "-c", "5", "-W", "5", "10.98.0.2")  # which fails if nothing comes back

    vm = pod(node2, networks=_network("mac", "e3", "net1"), resources={"macvtap.k8slan.io/k8slan-mac-e3": 1})
    assert vm.run("sh", "-c", "ls /dev/tap*").startswith("/dev/tap")

    kubectl.delete("pods", "--all")
    kubectl.delete("lan", "example")
    for node in (node1, node2):
        assert lan not in node.run("ls", "/run/k8slan/netns").stdout.split()
