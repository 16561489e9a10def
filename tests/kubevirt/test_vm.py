"""VMs of the real KubeVirt on a LAN: they start, they talk, their launchers say nothing, they move while they talk."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from k8slan_cli.lan import names as lan_names
from tests.cluster import probing
from tests.cluster.guest import QEMU_USER
from tests.cluster.harness import Node
from tests.cluster.harness.pods import Pod, Pods
from tests.cluster.life import Lan, Lans
from tests.kubevirt.vms import SILENT, Machine, Machines, Watch, manifest, pings
from tests.support.agents import eventually

MAC = "02:aa:bb:cc:dd:01"
PEER, GUEST = "10.97.0.1", "10.97.0.2"
_PACE = 0.1  # seconds between two pings


def peer(pod: Pods, node: Node, lan: Lan) -> Pod:
    """A pod with the address PEER, on the LAN's last spoke."""
    return pod(
        node, networks=f'[{{"name": "k8slan-veth-{lan.spokes[-1]}", "interface": "eth1", "ips": ["{PEER}/24"]}}]'
    )


def talking(lan: Lan, vm: Machines, pod: Pods, node: Node, other: Node) -> tuple[Machine, Pod]:
    """A VM with the address GUEST on a node, and a peer on another that answers it."""
    there = peer(pod, other, lan)
    machine = vm(manifest(pings(PEER, GUEST), lan.spokes[0], macs=[MAC], node=node))
    machine.says("guest: answer")
    return machine, there


def test_a_vm_starts_and_talks_with_a_pod_on_another_node(
    lans: Lans, vm: Machines, pod: Pods, node1: Node, node2: Node
) -> None:
    lan = lans(spokes=2)
    machine, there = talking(lan, vm, pod, node1, node2)
    assert machine.node == node1.name
    assert "3 packets received" in there.run("ping", "-c", "3", "-W", "5", GUEST)
    assert f"at {MAC}" in there.run("arp", "-n", GUEST)
    assert machine.interfaces[0]["mac"] == MAC
    device = f"/dev/tap{lan.tap_index(lan.spokes[0])}"
    assert node1.run("stat", "-c", "%a %u:%g", device).stdout.split() == ["600", f"{QEMU_USER}:{QEMU_USER}"]
    machine.delete()
    assert node1.run("test", "-e", device, check=False).returncode == 1  # a node of the tests has no devtmpfs
    assert probing.ports(node1, lan.netns) == []


def test_a_launcher_says_nothing_in_all_its_life(lans: Lans, vm: Machines, pod: Pods, node1: Node) -> None:
    """Its guest never speaks, so there is not one frame, of whatever address, from its start to its end."""
    lan = lans(spokes=2)
    pod(node1, networks=lan.veth(1))  # so that the LAN is there before the launcher
    lan.until_on(node1)
    port = lan_names.port(lan.spokes[0])
    watch = Watch((node1,), lan.netns, port)
    with watch.watching():
        machine = vm(manifest(SILENT, lan.spokes[0], node=node1))
        machine.says("guest: says nothing", afresh=False)
        machine.pause()
        machine.unpause()
        (link,) = node1.ip("-statistics", "link", "show", port, netns=probing.NETNS / lan.netns)
        machine.delete()
    assert link["stats64"]["rx"]["packets"] == 0
    assert [seen.frame.hex() for seen in watch.seen[node1.name]] == []


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
    lans: Lans, vm: Machines, pod: Pods, node1: Node, node2: Node
) -> None:
    """Nothing speaks at the target before the guest does, so that no bridge turns there too early."""
    lan = lans(spokes=2)
    machine, there = talking(lan, vm, pod, node1, node2)
    for source, target in ((node1, node2), (node2, node1)):
        assert machine.node == source.name
        watch = Watch((node1, node2), lan.netns, lan_names.port(lan.spokes[0]))
        with watch.watching(), pinging(there, GUEST) as answers:
            assert machine.move() == target.name
            machine.says("guest: answer")
        (came,) = answers
        print(f"{source.name} to {target.name}: gap {came.gap:.1f} s, lost {came.lost} of {max(came.answered)}")
        assert len(set(came.answered)) == len(came.answered)
        assert came.gap <= 0.5, came.lost
        before, after = watch.seen[source.name], watch.seen[target.name]
        assert before
        assert after
        assert before[-1].at < after[0].at
    machine.delete()
    for node in (node1, node2):
        eventually("nothing of it is left", lambda n=node: len(probing.ports(n, lan.netns)) == (n is node2), 20)
