"""VMs of the real KubeVirt on a LAN: they start, they talk, they move while they talk."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from k8slan_cli.lan import names as lan_names
from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pod, Pods
from tests.kubevirt.vms import Machine, Watch, manifest
from tests.support import names

MAC = "02:aa:bb:cc:dd:01"
PEER, GUEST = "10.97.0.1", "10.97.0.2"
_PACE = 0.1  # seconds between two pings


@dataclass(frozen=True, slots=True, kw_only=True)
class Lan:
    """A LAN with a spoke for a VM and one for a pod."""

    vm: str
    pod: str
    netns: str


@pytest.fixture
def lan(k8slan: Cluster, kubectl: Kubectl) -> Iterator[Lan]:
    """A LAN called ``lan``."""
    vm, pod = names.unique("vm"), names.unique("pod")
    kubectl.create(probing.lan("lan", kubectl.namespace, vni=7102, spokes=[vm, pod]))
    probing.until_ready(kubectl, "lan")
    probing.until_allocatable(k8slan, f"macvtap.k8slan.io/k8slan-mac-{vm}")
    yield Lan(vm=vm, pod=pod, netns=probing.netns_of(kubectl, "lan"))
    kubectl.delete("vmi", "--all")
    probing.remove(kubectl, "lan")


@pytest.fixture
def peer(lan: Lan, pod: Pods, node2: Node) -> Pod:
    """A pod on the LAN, on the second node."""
    asked = f'[{{"name": "k8slan-veth-{lan.pod}", "interface": "eth1", "ips": ["{PEER}/24"]}}]'
    return pod(node2, networks=asked)


def test_a_vm_starts_and_talks_with_a_pod_on_another_node(lan: Lan, kubectl: Kubectl, node1: Node, peer: Pod) -> None:
    wanted = manifest(lan.vm, address=f"{GUEST}/24", ping=PEER, mac=MAC, node=node1)
    machine = Machine.start(kubectl, wanted)
    machine.says("guest: answer")
    assert machine.node == node1.name
    assert "3 packets received" in peer.run("ping", "-c", "3", "-W", "5", GUEST)
    assert f"at {MAC}" in peer.run("arp", "-n", GUEST)
    assert kubectl.get("vmi", "vm")["status"]["interfaces"][0]["mac"] == MAC
    device = f"/dev/tap{lan_names.tap_index(lan.vm)}"
    assert node1.run("stat", "-c", "%u:%g", device).stdout.split() == ["107:107"]
    machine.delete()
    assert node1.run("test", "-e", device, check=False).returncode == 1  # a node of the tests has no devtmpfs
    assert probing.ports(node1, lan.netns) == []


@dataclass(frozen=True, slots=True, kw_only=True)
class Pings:
    """What came of pings, one by one: the numbers of those that were answered, in the order of the answers."""

    answered: tuple[int, ...]

    @property
    def lost(self) -> list[int]:
        """Those without an answer before the last one with one."""
        return sorted(set(range(max(self.answered))) - set(self.answered))

    @property
    def gap(self) -> float:
        """How many seconds the longest time without an answer was."""
        order = sorted(set(self.answered))
        return max(after - before - 1 for before, after in itertools.pairwise(order)) * _PACE


@contextmanager
def pinging(pod: Pod, address: str) -> Iterator[list[Pings]]:
    """Ping from a pod at an even pace for as long as the block goes on; afterwards the list has what came of it."""
    command = pod.kubectl.command("exec", pod.name, "--", "ping", "-i", str(_PACE), address)
    found: list[Pings] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield found
        finally:
            pod.run("killall", "-INT", "ping")
            said, _ = running.communicate(timeout=20)
    found.append(Pings(answered=tuple(int(number) for number in re.findall(r"seq=(\d+)", said))))


def test_a_vm_moves_to_the_other_node_and_back_while_it_talks(
    lan: Lan, kubectl: Kubectl, node1: Node, node2: Node, peer: Pod
) -> None:
    """Nothing speaks at the target before the guest does, so that no bridge turns there too early."""
    machine = Machine.start(kubectl, manifest(lan.vm, address=f"{GUEST}/24", ping=PEER, mac=MAC, node=node1))
    machine.says("guest: answer")
    for source, target in ((node1, node2), (node2, node1)):
        assert machine.node == source.name
        watch = Watch((node1, node2), lan.netns, lan_names.port(lan.vm), MAC)
        with watch.watching(), pinging(peer, GUEST) as pings:
            assert machine.move() == target.name
            machine.says("guest: answer")
        (came,) = pings
        print(f"{source.name} to {target.name}: gap {came.gap:.1f} s, lost {came.lost} of {max(came.answered)}")
        assert len(set(came.answered)) == len(came.answered)
        assert came.gap <= 0.5, came.lost
        before, after = watch.seen[source.name], watch.seen[target.name]
        assert before
        assert after
        assert before[-1].at < after[0].at
