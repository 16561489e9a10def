"""What a VM needs: a tap that a container without rights can use, and a real guest behind it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.probe.run import Probe, cross
from tests.cluster import guest, probing
from tests.cluster.guest import QEMU_USER
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.build import BuildError
from tests.cluster.harness.pods import Pods
from tests.cluster.launcher import QEMU, launcher, tap_program, with_qemu
from tests.support import names
from tests.support.require import require

__all__ = ["tap_program"]


@pytest.fixture
def lan(k8slan: Cluster, kubectl: Kubectl) -> Iterator[tuple[str, str]]:
    """A LAN called ``lan``; yields a spoke for a VM and one for a pod."""
    vm, other = names.unique("vm"), names.unique("pod")
    kubectl.create(probing.lan("lan", kubectl.namespace, vni=7002, spokes=[vm, other]))
    probing.until_ready(kubectl, "lan")
    probing.until_allocatable(k8slan, f"macvtap.k8slan.io/k8slan-mac-{vm}")
    yield vm, other
    probing.remove(kubectl, "lan")


def test_a_launcher_without_rights_speaks_at_its_tap(
    lan: tuple[str, str], k8slan: Cluster, pod: Pods, node1: Node, node2: Node, tap_program: Path
) -> None:
    """As KubeVirt 1.5 and newer run one: it gives the tap to nobody, and cannot open what is root's."""
    vm, other = lan
    there = pod(node2, networks=f"k8slan-veth-{other}@eth1")
    machine = pod(node1, networks=f"k8slan-mac-{vm}", **launcher(vm, tap_program))
    status = machine.run("cat", "/proc/self/status")
    assert "CapEff:\t0000000000000000" in status
    assert f"Uid:\t{QEMU_USER}\t" in status
    device = probing.tap_device(machine)
    assert machine.run("stat", "-c", "%a %u:%g", device).split() == ["600", f"{QEMU_USER}:{QEMU_USER}"]
    network = f"{machine.kubectl.namespace}/k8slan-mac-{vm}"
    with probing.Endpoints(k8slan) as endpoints:
        tap, interface = endpoints.tap(machine, network), endpoints.interface(there, "eth1")
        probing.contact(interface, tap, interface.mtu)
        assert probing.failures(interface, tap, interface.mtu) == []
        assert probing.failures(tap, interface, interface.mtu) == []


def test_a_vm_that_moves_is_reached_at_once_though_it_says_nothing(
    k8slan: Cluster, kubectl: Kubectl, pod: Pods, node1: Node, node2: Node, tap_program: Path
) -> None:
    """By a peer on the node that it left, and by one on the node that it came to: both knew where it was before."""
    spoke = names.unique("vm")
    kubectl.create(probing.lan("lan", kubectl.namespace, vni=7003, spokes=[spoke], dynamic=True))
    try:
        probing.until_ready(kubectl, "lan")
        probing.until_allocatable(k8slan, f"macvtap.k8slan.io/k8slan-mac-{spoke}")
        network = f"{kubectl.namespace}/k8slan-mac-{spoke}"
        peers = [pod(node, networks="k8slan-lan-lan@eth1") for node in (node1, node2)]
        made = {"networks": f"k8slan-mac-{spoke}", **launcher(spoke, tap_program)}
        machine = pod(node1, **made)
        with probing.Endpoints(k8slan) as endpoints:
            ends = [endpoints.interface(peer, "eth1") for peer in peers]
            tap = endpoints.tap(machine, network)
            for end in ends:
                probing.contact(tap, end, end.mtu)
            assert [_unicast(end, tap) for end in ends] == [True, True]
        machine.delete()
        moved = pod(node2, **made)
        with probing.Endpoints(k8slan) as endpoints:
            ends = [endpoints.interface(peer, "eth1") for peer in peers]
            tap = endpoints.tap(moved, network)
            assert [_unicast(end, tap) for end in ends] == [True, True]
    finally:
        probing.remove(kubectl, "lan")


def _unicast(sender: PacketSocket, receiver: probing.Relayed) -> bool:
    """Whether a frame for the receiver's MAC address arrives."""
    probe = Probe(src=sender.mac, dst=receiver.mac, mtu=sender.mtu, count=1, keys=("icmp",))
    return all(result.ok for result in cross(sender, receiver, probe, seconds=5))


@pytest.fixture(scope="module")
def image() -> Path:
    """The folder of the guest's kernel and initramfs."""
    require("cluster", platform.machine() == "x86_64", "the guest is made for x86_64")
    try:
        return guest.image()
    except BuildError as missing:
        require("cluster", False, str(missing))
        raise


def test_a_linux_guest_pings_a_pod_on_another_node(
    lan: tuple[str, str], pod: Pods, node1: Node, node2: Node, image: Path
) -> None:
    vm, other = lan
    pod(node2, networks=f'[{{"name": "k8slan-veth-{other}", "interface": "eth1", "ips": ["10.97.0.1/24"]}}]')
    machine = pod(node1, networks=f"k8slan-mac-{vm}", **with_qemu(launcher(vm, image)))
    mac = probing.network_status(machine, f"{machine.kubectl.namespace}/k8slan-mac-{vm}")["mac"]
    arguments = "console=ttyS0 quiet panic=-1 guest.address=10.97.0.2/24 guest.ping=10.97.0.1"
    script = QEMU.format(tap=probing.tap_device(machine), mac=mac, arguments=arguments)
    console = machine.run("sh", "-c", script, timeout=180)
    assert "5 packets transmitted, 5 packets received" in console
