"""VMs of the real KubeVirt on a LAN: they start, they talk, their launchers say nothing, they move while they talk."""

from __future__ import annotations

from k8slan_cli.lan import names as lan_names
from tests.cluster import probing
from tests.cluster.guest import QEMU_USER
from tests.cluster.harness import Node
from tests.cluster.harness.pods import Pods
from tests.cluster.life import Lans
from tests.kubevirt.vms import GUEST, MAC, SILENT, Machines, Watch, manifest, pinging, talking
from tests.support.agents import eventually


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
        before, after = watch.seen[source.name], watch.seen[target.name]
        assert before
        assert after
        still = after[0].at - before[-1].at
        assert still > 0
        assert came.gap <= still + 0.5, came.lost
    machine.delete()
    for node in (node1, node2):
        eventually("nothing of it is left", lambda n=node: len(probing.ports(n, lan.netns)) == (n is node2), 20)
