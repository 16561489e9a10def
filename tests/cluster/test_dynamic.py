"""A dynamic LAN takes any number of pods, each at a port of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from k8slan_cli.probe.endpoint import Endpoint
from k8slan_cli.probe.run import Collector, Probe, sending
from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl
from tests.cluster.harness.kubectl import Object
from tests.cluster.harness.pods import NETWORKS, Pod, manifest

REPLICAS = 10


@pytest.fixture
def lan(k8slan: Cluster, kubectl: Kubectl) -> Iterator[str]:  # noqa: ARG001 - comes first
    """A LAN called ``many``, without spokes."""
    kubectl.create(probing.lan("many", kubectl.namespace, vni=7004, dynamic=True))
    probing.until_ready(kubectl, "many")
    yield probing.netns_of(kubectl, "many")
    kubectl.delete("deployments", "--all")
    probing.remove(kubectl, "many")


def _deployment(replicas: int) -> Object:
    template = manifest("unused", networks="k8slan-lan-many@lan0", labels={"app": "many"})
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    spread["labelSelector"] = {"matchLabels": {"app": "many"}}
    template["spec"]["topologySpreadConstraints"] = [spread]
    metadata = {key: template["metadata"][key] for key in ("annotations", "labels")}
    assert metadata["annotations"][NETWORKS]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "many"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "many"}},
            "template": {"metadata": metadata, "spec": template["spec"]},
        },
    }


def _everybody_hears(sender: Endpoint, receivers: list[Endpoint], mtu: int) -> list[int]:
    """Send one broadcast and one unicast to each, and say who of the receivers has missed something."""
    probes = [Probe(src=sender.mac, dst=r.mac, mtu=mtu, count=1, keys=("ipv4-broadcast", "icmp")) for r in receivers]
    collectors = [Collector(probe) for probe in probes]
    for probe in probes:
        for one in sending(sender, probe):
            assert not one.refused
    for collector, receiver in zip(collectors, receivers, strict=True):
        collector.wait(receiver, 3)
    return [number for number, collector in enumerate(collectors) if not collector.complete]


def test_ten_replicas_have_ten_ports_and_reach_each_other(lan: str, k8slan: Cluster, kubectl: Kubectl) -> None:
    kubectl.create(_deployment(REPLICAS))
    kubectl("rollout", "status", "deployment/many", "--timeout=60s", timeout=65)
    found = kubectl.items("pods", "-l", "app=many")
    assert {pod["spec"]["nodeName"] for pod in found} == {node.name for node in k8slan.nodes}
    assert sum(len(probing.ports(node, lan)) for node in k8slan.nodes) == REPLICAS
    with probing.Endpoints(k8slan) as endpoints:
        pods = [Pod(name=pod["metadata"]["name"], kubectl=kubectl) for pod in found]
        ends = [endpoints.interface(pod, "lan0") for pod in pods]
        assert len({end.mac for end in ends}) == REPLICAS
        mtu = ends[0].mtu
        for end in ends[1:]:
            probing.contact(ends[0], end, mtu)
            probing.contact(end, ends[0], mtu)
        for number, sender in enumerate(ends):
            assert _everybody_hears(sender, ends[:number] + ends[number + 1 :], mtu) == []

    kubectl("scale", "deployment/many", "--replicas=3")
    kubectl.until("lan", "many", holds=lambda seen: seen["status"]["attached"] == 3, what="3 attached")
    kubectl.delete("deployment", "many")
    probing.remove(kubectl, "many")
    for node in k8slan.nodes:
        assert lan not in node.run("ls", str(probing.NETNS)).stdout.split()
