"""``k8slan cni``, the client in Python, as the plugin that multus invokes, on nodes that have Python and k8slan."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pods
from tests.cluster.launcher import launcher, tap_program
from tests.support import names

__all__ = ["tap_program"]

_PLUGINS = ("k8slanveth", "k8slanmacvtap")
_FOLDER = "/opt/cni/bin"
_CALLS = "/run/python-cni-calls"
_WRAPPER = f"""\
#!/bin/sh
echo "$CNI_COMMAND $CNI_IFNAME" >>{_CALLS}
exec {Path(sys.executable).with_name("k8slan")} cni
"""


@pytest.fixture
def python_plugins(k8slan: Cluster) -> Iterator[None]:
    """Both plugins are the client in Python on every node; the forwarder is back afterwards."""
    for node in k8slan.nodes:
        for name in _PLUGINS:
            script = f"cp -p {name} /run/{name}.forwarder && cat >.{name} && chmod 755 .{name} && mv .{name} {name}"
            node.run("sh", "-c", f"cd {_FOLDER} && {script}", stdin=_WRAPPER)
    yield
    for node in k8slan.nodes:
        for name in _PLUGINS:
            node.run("mv", f"/run/{name}.forwarder", f"{_FOLDER}/{name}")
        node.run("rm", "-f", _CALLS)


@pytest.fixture
def lan(k8slan: Cluster, kubectl: Kubectl) -> Iterator[tuple[str, str]]:
    """A LAN called ``lan``; yields a spoke for a VM and one for a pod."""
    vm, other = names.unique("vm"), names.unique("pod")
    kubectl.create(probing.lan("lan", kubectl.namespace, vni=7003, spokes=[vm, other]))
    probing.until_ready(kubectl, "lan")
    probing.until_allocatable(k8slan, *(f"macvtap.k8slan.io/k8slan-{kind}" for kind in (f"mac-{vm}", f"veth-{other}")))
    yield vm, other
    probing.remove(kubectl, "lan")


@pytest.mark.usefixtures("python_plugins")
def test_pods_and_vms_attach_by_the_client_in_python(
    lan: tuple[str, str], k8slan: Cluster, pod: Pods, kubectl: Kubectl, node1: Node, node2: Node, tap_program: Path
) -> None:
    vm, other = lan
    resources = {f"macvtap.k8slan.io/k8slan-veth-{other}": 1}
    one = pod(node1, networks=f"k8slan-veth-{other}@e1-1", resources=resources)
    two = pod(node2, networks=f"k8slan-mac-{vm}", **launcher(vm, tap_program))
    assert node1.run("cat", _CALLS).stdout.splitlines() == ["ADD e1-1"]
    assert node2.run("cat", _CALLS).stdout.splitlines() == ["ADD net1"]
    network = f"{kubectl.namespace}/k8slan-veth-{other}"
    assert probing.network_status(one, network)["interface"] == "e1-1"
    with probing.Endpoints(k8slan) as endpoints:
        interface, tap = endpoints.interface(one, "e1-1"), endpoints.tap(two, f"{kubectl.namespace}/k8slan-mac-{vm}")
        assert interface.mac.hex(":") == probing.network_status(one, network)["mac"]
        probing.contact(interface, tap, interface.mtu)
        assert probing.failures(interface, tap, interface.mtu) == []
        assert probing.failures(tap, interface, interface.mtu) == []
    netns = probing.netns_of(kubectl, "lan")
    probing.remove(kubectl, "lan")
    for node, interface in ((node1, "e1-1"), (node2, "net1")):
        assert set(node.run("cat", _CALLS).stdout.splitlines()) == {f"ADD {interface}", f"DEL {interface}"}
        assert probing.ports(node, netns) == []
