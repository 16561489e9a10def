"""A pod's interface in the hands of KubeVirt's ``bridge`` binding, which bridges it to the VM's tap.

KubeVirt makes a dummy device for it, too, which the kernels of test machines lack. So what it makes is made here by
hand, with a veth into a namespace of its own in place of tap and guest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.probe.run import Probe, cross
from tests.node.test_probe import LINK_LOCAL, quiet
from tests.support.agents import Node, veth
from tests.support.netns import Namespace


@pytest.fixture
def guest() -> Iterator[Namespace]:
    with Namespace.create("gst") as guest:
        yield guest


@pytest.fixture
def other() -> Iterator[Namespace]:
    with Namespace.create("pod") as other:
        yield other


def bind(launcher: Namespace, guest: Namespace) -> None:
    """Do to a launcher's net1 what KubeVirt does: its address becomes the guest's, its name and place are changed."""
    mac = launcher.links()["net1"]["address"]
    launcher.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    quiet(launcher)
    launcher.ip("link", "add", "k6t-net1", "type", "bridge")
    launcher.ip("link", "set", "net1", "down")
    launcher.ip("link", "set", "net1", "name", "net1-nic", "address", "02:00:00:00:00:99")
    launcher.ip("link", "set", "net1-nic", "master", "k6t-net1", "up")
    launcher.run("bridge", "link", "set", "dev", "net1-nic", "learning", "off")
    end = ("mtu", "1446", "type", "veth", "peer", "name", "eth0", "mtu", "1446", "address", mac, "netns", guest.name)
    launcher.ip("link", "add", "tap1", *end)
    launcher.ip("link", "set", "tap1", "master", "k6t-net1", "up")
    launcher.ip("link", "set", "k6t-net1", "up")
    guest.ip("link", "set", "eth0", "up")


def test_all_but_what_a_bridge_keeps_passes_also_after_the_agent_has_looked_again(
    pod: Namespace, other: Namespace, guest: Namespace
) -> None:
    with Node.create() as node:
        node.lan(spokes=["a", "b"])
        with node.agent():
            node.add(pod, veth("a")).result()
            node.add(other, veth("b")).result()
        bind(pod, guest)
        with node.agent():  # it starts anew, and finds nothing to repair
            with PacketSocket(guest.fd(), "eth0") as vm, PacketSocket(other.fd(), "net1") as there:
                for sender, receiver in ((vm, there), (there, vm)):
                    probe = Probe(src=sender.mac, dst=receiver.mac, mtu=1446)
                    failed = {each.key for each in cross(sender, receiver, probe, seconds=0.5) if not each.ok}
                    assert failed == LINK_LOCAL
            node.delete(pod, veth("a")).ok()
            node.delete(other, veth("b")).ok()
        node.assert_nothing_left()
