"""A VM by KubeVirt's own ``bridge`` binding, which bridges a pod's interface to the VM's tap in the launcher's pod."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from k8slan_cli.lan import names as lan_names
from k8slan_cli.probe.endpoint import Endpoint
from k8slan_cli.probe.run import Probe, Verdict, cross
from tests.cluster import probing
from tests.cluster.harness import Cluster, Node
from tests.cluster.harness.pods import Pods
from tests.cluster.life import Lan, Lans
from tests.kubevirt.vms import NAME, ORDERS, Machines, Watch, interface, lasting, manifest, told
from tests.node.test_probe import LINK_LOCAL
from tests.support.agents import eventually

_ANNOUNCEMENTS = {0x8035, 0x0806}
"""RARP of QEMU, ARP of the guest."""


@pytest.fixture
def endpoints(k8slan: Cluster) -> Iterator[probing.Endpoints]:
    """Opens ends to send and receive frames at."""
    with probing.Endpoints(k8slan) as endpoints:
        yield endpoints


def lost(sender: Endpoint, receiver: Endpoint, mtu: int) -> set[str]:
    """The classes of frames that do not arrive; short ones of IPv4 do without their padding, by br_netfilter."""
    probe = Probe(src=sender.mac, dst=receiver.mac, mtu=mtu)
    return {each.key for each in cross(sender, receiver, probe, seconds=5.0) if each.verdict is Verdict.DROPPED}


def ends(lan: Lan) -> dict[str, list[str]]:
    """The spokes that VMs have, by node."""
    found = {node: sorted(p["spoke"] for p in v.get("ports", []) if p.get("vm")) for node, v in lan.vteps().items()}
    return {node: spokes for node, spokes in found.items() if spokes}


def test_it_talks_moves_and_gets_a_nic_as_it_does(
    lans: Lans, vm: Machines, pod: Pods, endpoints: probing.Endpoints, k8slan: Cluster, node1: Node, node2: Node
) -> None:
    """All but what a bridge keeps passes. Both launchers hold a spoke, the new one without a word with the VM's MAC."""
    lan = lans(spokes=3)
    first, second = sorted(lan.spokes[:2])
    there = endpoints.interface(pod(node2, networks=lan.veth(2)), "net1")
    machine = vm(lasting(manifest(ORDERS, first, node=node1, bridge=True)))
    with machine.end(1) as guest:
        mac = guest.mac
        probing.contact(guest, there, there.mtu, 30)
        assert lost(guest, there, there.mtu) == lost(there, guest, there.mtu) == LINK_LOCAL
    eventually("its port names it", lambda: ends(lan) == {node1.name: [first]}, 20)
    machine.plug(*interface("lan2", second, bridge=True))
    watch = Watch((node2,), lan.netns, lan_names.port(first))
    with watch.watching(), machine.moving():
        eventually("it is at both ends", lambda: ends(lan) == {node1.name: [first], node2.name: [first, second]}, 60)
        shown = [each for each in told(k8slan, lan, "inspect")["attached"] if each["vm"] == NAME]
        states = {each["node"]: each["state"] for each in shown if each["spoke"] == first}
        assert states == {node1.name: "migrating, runs here", node2.name: f"migrating, runs on {node1.name}"}
        assert told(k8slan, lan, "probe", "--class", "lldp")["passed"]
    assert machine.node == node2.name
    said = {int.from_bytes(seen.frame[12:14]) for seen in watch.seen[node2.name] if seen.frame[6:12] == mac}
    assert said
    assert said <= _ANNOUNCEMENTS
    eventually("it is at one end", lambda: ends(lan) == {node2.name: [first, second]}, 30)
    assert probing.ports(node1, lan.netns) == []
    assert [each["name"] for each in machine.interfaces] == ["default", "lan1", "lan2"]
    with machine.end(1) as guest:
        probing.contact(guest, there, there.mtu, 30)
        probing.contact(there, guest, there.mtu, 30)
