"""The manifests that users of the seed have: its LAN, with a device that exists, and its pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pod, Pods
from tests.cluster.harness.versions import TEST_IMAGE

LAN = """
apiVersion: lan.k8slan.io/v1beta1
kind: LAN
metadata:
    name: lan-example
spec:
  ns: knlvrf
  bridge: br2
  vxlan: vx2
  vni: 222
  defaultVxlanDev: eth0
  vxlanDevMap:
    worker1: eth0
    worker2: eth0
  spokes:
  - srl
  - vm
"""

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: srl-test
  annotations:
    k8s.v1.cni.cncf.io/networks: k8slan-veth-srl@e1-1
spec:
  containers:
  - name: main
    image: {image}
    command:
    - sleep
    - infinity
    securityContext:
      privileged: true
    resources:
      limits:
        macvtap.k8slan.io/k8slan-veth-srl: 1
"""

MTU = 1500 - 54
"""The nodes' links have 1500; VXLAN over IPv4 and a VLAN tag take their part."""


@pytest.fixture
def lan(k8slan: Cluster, kubectl: Kubectl) -> Iterator[str]:
    """The seed's LAN, once its NADs are there and its resources can be had; nothing is left of it afterwards."""
    kubectl.apply(LAN)
    probing.until_ready(kubectl, "lan-example")
    probing.until_allocatable(k8slan, *(f"macvtap.k8slan.io/k8slan-{kind}-srl" for kind in ("veth", "mac")))
    yield "knlvrf"
    probing.remove(kubectl, "lan-example")
    for node in k8slan.nodes:
        assert "knlvrf" not in node.run("ls", str(probing.NETNS)).stdout.split()


def seeds_pod(kubectl: Kubectl, node: Node) -> Pod:
    """The seed's pod, on a node."""
    manifest = yaml.safe_load(POD.format(image=TEST_IMAGE))
    manifest["spec"] |= {"nodeSelector": {"kubernetes.io/hostname": node.name}, "terminationGracePeriodSeconds": 0}
    manifest["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    kubectl.create(manifest)
    return Pod(name="srl-test", kubectl=kubectl).ready()


@pytest.mark.usefixtures("lan")
def test_the_seeds_pod_and_one_without_resource_line_pass_every_frame(
    k8slan: Cluster, pod: Pods, kubectl: Kubectl, node1: Node, node2: Node
) -> None:
    one = seeds_pod(kubectl, node1)
    two = pod(node2, networks="k8slan-veth-vm@e1-1")
    for each, spoke in ((one, "srl"), (two, "vm")):
        status = probing.network_status(each, f"{kubectl.namespace}/k8slan-veth-{spoke}")
        assert status["interface"] == "e1-1"
        shown = each.run("ip", "link", "show", "dev", "e1-1")
        assert f"link/ether {status['mac']}" in shown
        assert f"mtu {MTU} " in shown
        assert {"UP", "LOWER_UP"} <= set(shown.partition("<")[2].partition(">")[0].split(","))
    with probing.Endpoints(k8slan) as endpoints:
        first, second = endpoints.interface(one, "e1-1"), endpoints.interface(two, "e1-1")
        probing.contact(first, second, MTU)
        assert probing.failures(first, second, MTU) == []
        assert probing.failures(second, first, MTU) == []


def test_a_node_has_the_seeds_namespace_bridge_and_vxlan(lan: str, kubectl: Kubectl, node1: Node, pod: Pods) -> None:
    seeds_pod(kubectl, node1)
    netns = probing.NETNS / lan
    (bridge,) = node1.ip("link", "show", "br2", netns=netns)
    (vxlan,) = node1.ip("link", "show", "vx2", netns=netns)
    assert bridge["linkinfo"]["info_kind"] == "bridge"
    assert vxlan["linkinfo"]["info_data"]["id"] == 222
    assert vxlan["linkinfo"]["info_data"]["port"] == 4789
    assert vxlan["master"] == "br2"
    assert probing.ports(node1, lan) == ["srlp"]
    pod(node1, networks="k8slan-veth-vm")
    assert sorted(probing.ports(node1, lan)) == ["srlp", "vmp"]
