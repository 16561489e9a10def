"""The manifests that users of the seed have: its LAN, with a device that exists, and its pods; and KNL's labs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from k8slan_cli.plan.objects import NAD_API_VERSION, NAD_KIND, RESOURCE_ANNOTATION
from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.kubectl import Object
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


# ---------------------------------------------------------------- KNL, which has its labs' links made by k8slan

FINALIZER = "lab.kubenetlab.net/finalizer"
NODES = {"r1": ("198.51.100.1/24", "203.0.113.0/24"), "r2": ("198.51.100.2/24", "192.0.2.128/25")}
"""A lab's nodes: their addresses, and where each has a route to by way of the other."""


def knls_link(lab: str, vni: int) -> Object:
    """The LAN of a link of a lab."""
    metadata = {"name": f"{lab}-l1", "finalizers": [FINALIZER], "labels": {"lab.kubenetlab.net/lab": lab}}
    spec = {
        "ns": f"{lab}-l1",
        "bridge": "k8slanbr",
        "vxlan": f"klanvx{vni}",
        "vni": vni,
        "vxlanPort": 48622,
        "vxlanGrp": "ff02::14",
        "defaultVxlanDev": "eth0",
        "spokes": [f"klan{vni}-{number}" for number in range(len(NODES))],
    }
    return {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": metadata, "spec": spec}


def knls_nad(name: str, lan: Object, spoke: str, address: str, route: str, gateway: str) -> Object:
    """The definition that KNL writes for a node with an address."""
    config = {
        "cniVersion": "0.3.1",
        "name": name,
        "type": "k8slanveth",
        "veth": spoke,
        "peerNS": f"/run/k8slan/netns/{lan['metadata']['name']}",
        "addrs": [address],
        "routes": [{"dst": route, "gw": gateway}],
        "disableTxChecksum": True,
    }
    metadata = {"name": name, "annotations": {RESOURCE_ANNOTATION: f"macvtap.k8slan.io/k8slan-veth-{spoke}"}}
    spec = {"config": json.dumps(config)}
    return {"apiVersion": NAD_API_VERSION, "kind": NAD_KIND, "metadata": metadata, "spec": spec}


def test_a_lab_of_knl_has_its_addresses_and_routes_and_goes_when_knl_lets_it(
    k8slan: Cluster, kubectl: Kubectl, pod: Pods, node1: Node, node2: Node
) -> None:
    lan = knls_link("lab", 61622)
    name, spokes = lan["metadata"]["name"], lan["spec"]["spokes"]
    kubectl.create(lan)
    probing.until_ready(kubectl, name)
    resources = [f"macvtap.k8slan.io/k8slan-veth-{spoke}" for spoke in spokes]
    probing.until_allocatable(k8slan, *resources)
    addresses = [address.partition("/")[0] for address, _ in NODES.values()]
    pods = []
    for number, (router, (address, route)) in enumerate(NODES.items()):
        kubectl.create(knls_nad(router, lan, spokes[number], address, route, addresses[1 - number]))
        node = (node1, node2)[number]
        pods.append(pod(node, networks=f"{router}@e1-1", resources={resources[number]: 1}))
    for number, (each, (_, route)) in enumerate(zip(pods, NODES.values(), strict=True)):
        other = addresses[1 - number]
        assert f"{route} via {other} dev e1-1" in each.run("ip", "route")
        assert "3 packets received" in each.run("ping", "-c", "3", "-i", "0.3", "-W", "5", other)
        assert spokes[number] in {port.removesuffix("p") for port in probing.ports((node1, node2)[number], "lab-l1")}
    kubectl.delete("pods", "--all", timeout=60)
    kubectl("delete", "lan", name, "--wait=false")
    kubectl.until("lan", name, holds=lambda found: found["metadata"]["finalizers"] == [FINALIZER], what="KNL's alone")
    kubectl("patch", "lan", name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    kubectl.wait("--for=delete", f"lan/{name}")
