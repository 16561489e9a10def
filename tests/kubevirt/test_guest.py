"""Frames as a VM's own guest sends and receives them, and what befalls VMs while they are on LANs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pods
from tests.cluster.life import Lans
from tests.kubevirt.vms import ORDERS, Machines, lasting, manifest
from tests.support.agents import eventually

MACS = ("02:aa:bb:cc:dd:01", "02:aa:bb:cc:dd:02")


@pytest.fixture
def endpoints(k8slan: Cluster) -> Iterator[probing.Endpoints]:
    """Opens ends to send and receive frames at."""
    with probing.Endpoints(k8slan) as endpoints:
        yield endpoints


def test_a_guest_on_two_lans_sends_and_receives_all_frames_whatever_befalls_it(
    lans: Lans, vm: Machines, pod: Pods, endpoints: probing.Endpoints, node1: Node, node2: Node
) -> None:
    """It is paused, reboots by itself, and is stopped and started again by KubeVirt."""
    both = lans("one", spokes=2), lans("two", spokes=2)
    peers = [
        endpoints.interface(pod(node, networks=lan.veth(1)), "net1")
        for node, lan in zip((node2, node1), both, strict=True)
    ]
    spokes = [lan.spokes[0] for lan in both]
    machine = vm(lasting(manifest(ORDERS, *spokes, macs=MACS, node=node1)))
    assert tuple(each["mac"] for each in machine.interfaces[1:]) == MACS

    with machine.end(1) as one, machine.end(2) as two:
        for end, there in zip((one, two), peers, strict=True):
            probing.contact(end, there, there.mtu, 30)
            assert probing.failures(end, there, there.mtu) == []
            assert probing.failures(there, end, there.mtu) == []
        with pytest.raises(TimeoutError):
            probing.contact(one, peers[1], peers[1].mtu, 1)  # its LANs are two

        machine.pause()
        with pytest.raises(TimeoutError):
            probing.contact(peers[0], one, peers[0].mtu, 1)
        machine.unpause()
        for end, there in zip((one, two), peers, strict=True):
            probing.contact(there, end, there.mtu)

    def back() -> None:
        for number, there in enumerate(peers, start=1):
            with machine.end(number) as end:
                probing.contact(end, there, there.mtu, 30)
                probing.contact(there, end, there.mtu, 30)

    machine.reboot()
    back()
    before = machine.instance["metadata"]["uid"]
    machine.order("virtualmachines/restart", {"gracePeriodSeconds": 0})
    machine.ready(other_than=before)
    back()
    assert tuple(each["mac"] for each in machine.interfaces[1:]) == MACS


def test_a_node_that_is_drained_gives_its_vm_to_the_other(
    lans: Lans, vm: Machines, pod: Pods, endpoints: probing.Endpoints, kubectl: Kubectl, node1: Node, node2: Node
) -> None:
    """KubeVirt moves it as it runs, and all frames pass at the new place."""
    lan = lans(spokes=2)
    there = endpoints.interface(pod(node2, networks=lan.veth(1)), "net1")
    wanted = manifest(ORDERS, lan.spokes[0], node=node1)
    wanted["spec"]["evictionStrategy"] = "LiveMigrate"
    machine = vm(wanted)
    mac = machine.interfaces[1]["mac"]
    try:
        selector = "--pod-selector=kubevirt.io=virt-launcher"
        kubectl("drain", node1.name, selector, "--delete-emptydir-data", "--force", "--timeout=90s", timeout=95)
        machine.until(lambda vmi: vmi["status"]["nodeName"] == node2.name, f"on {node2.name}", 90)
    finally:
        kubectl("uncordon", node1.name)
    assert machine.interfaces[1]["mac"] == mac
    with machine.end(1) as end:
        probing.contact(end, there, there.mtu, 30)
        assert probing.failures(end, there, there.mtu) == []
        assert probing.failures(there, end, there.mtu) == []
    device = f"/dev/tap{lan.tap_index(lan.spokes[0])}"
    eventually("its tap is gone", lambda: node1.run("test", "-e", device, check=False).returncode == 1, 30)
