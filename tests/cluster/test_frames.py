"""A LAN over two nodes is a wire: every class of frames, between pods and a VM, on one node and across."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pods
from tests.cluster.launcher import launcher, tap_program
from tests.support import names

__all__ = ["tap_program"]


@pytest.fixture(params=["", "ff02::14", "239.1.2.3"], ids=["unicast", "multicast-ipv6", "multicast-ipv4"])
def lan(k8slan: Cluster, kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """A LAN called ``wire``, with each way of replication; yields its four spokes."""
    spokes = [names.unique(word) for word in ("a", "b", "c", "vm")]
    spec = {"vni": 7001, "spokes": spokes} | ({"vxlanGrp": request.param} if request.param else {})
    kubectl.create(probing.lan("wire", kubectl.namespace, **spec))
    probing.until_ready(kubectl, "wire")
    probing.until_allocatable(k8slan, f"macvtap.k8slan.io/k8slan-mac-{spokes[-1]}")
    yield spokes
    probing.remove(kubectl, "wire")


def test_every_class_of_frames_passes_between_any_two(
    lan: list[str], k8slan: Cluster, kubectl: Kubectl, pod: Pods, node1: Node, node2: Node, tap_program: Path
) -> None:
    a, b, c, vm = lan
    machine = pod(node2, networks=f"k8slan-mac-{vm}", **launcher(vm, tap_program))
    pods = {
        spoke: pod(node, networks=f"k8slan-veth-{spoke}@eth1") for spoke, node in ((a, node1), (b, node1), (c, node2))
    }
    with probing.Endpoints(k8slan) as endpoints:
        ends = {spoke: endpoints.interface(each, "eth1") for spoke, each in pods.items()}
        mtu = ends[a].mtu
        everybody = {**ends, vm: endpoints.tap(machine, f"{kubectl.namespace}/k8slan-mac-{vm}")}
        pairs = list(itertools.permutations(everybody, 2))
        for sender, receiver in pairs:
            probing.contact(everybody[sender], everybody[receiver], mtu)
        failed = {
            f"{sender} to {receiver}": found
            for sender, receiver in pairs
            if (found := probing.failures(everybody[sender], everybody[receiver], mtu))
        }
    assert failed == {}
