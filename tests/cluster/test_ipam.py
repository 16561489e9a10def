"""Addresses from IPAM plugins, as the installed agent runs them on its node: given, taken back, and not in the way."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli.lan import names as lan_names
from tests.cluster.harness import Cluster, Kubectl, Node, build
from tests.cluster.harness.pods import Pod, Pods
from tests.cluster.harness.versions import TEST_IMAGE
from tests.cluster.life import Lan, Lans, lans, root
from tests.cluster.product import CHECKOUT
from tests.support import names
from tests.support.agents import eventually

__all__ = ["lans"]

_KINDS = ("ippools", "nodeslicepools", "overlappingrangeipreservations")
GRACEFUL = {"terminationGracePeriodSeconds": 1}
"""With none the API server forgets a pod at once, whatever holds it on its node."""


@pytest.fixture
def lan(lans: Lans) -> Lan:
    """A LAN of two spokes."""
    return lans(spokes=2)


@pytest.fixture
def plugin(node1: Node) -> Iterator[Path]:
    """A plugin that node 1 alone has, which is host-local by another name."""
    plugins = root(node1) / "opt/cni/bin"
    path = plugins / names.unique("p")
    shutil.copy(plugins / "host-local", path)
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def whereabouts(k8slan: Cluster, say: Callable[[str], None]) -> Iterator[str]:
    """The plugin on every node, and what it needs in the cluster; yields the path of its configuration."""
    place = "etc/cni/net.d/whereabouts.d"
    built, system = build.whereabouts(say), k8slan.kubectl
    system.apply(*(path.read_text() for path in built.glob("*.yaml")))
    system("create", "clusterrolebinding", "whereabouts", "--clusterrole=cluster-admin", "--user=multus")
    made = []
    for node in k8slan.nodes:
        plugin, folder = root(node) / "opt/cni/bin/whereabouts", root(node) / place
        folder.mkdir()
        made += [plugin, folder]
        shutil.copy(built / "whereabouts", plugin)
        access = yaml.safe_load((root(node) / "etc/cni/net.d/multus.d/multus.kubeconfig").read_text())
        access["contexts"][0]["context"]["namespace"] = "kube-system"
        (folder / "kubeconfig").write_text(json.dumps(access))
        store = {"datastore": "kubernetes", "kubernetes": {"kubeconfig": f"/{place}/kubeconfig"}}
        (folder / "whereabouts.conf").write_text(json.dumps(store))
    yield f"/{place}/whereabouts.conf"
    for path in made:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    system.delete("clusterrolebinding", "whereabouts")
    system.delete("crd", *(f"{kind}.whereabouts.cni.cncf.io" for kind in _KINDS))


@pytest.fixture
def dhcp(k8slan: Cluster) -> Iterator[None]:
    """The DHCP daemon on every node, as docs/addresses.md has it."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (CHECKOUT / "docs/addresses.md").read_text(), re.M | re.S)
    (daemons,) = (block for block in map(yaml.safe_load, blocks) if block["kind"] == "DaemonSet")
    (container,) = daemons["spec"]["template"]["spec"]["containers"]
    container.update(image=TEST_IMAGE, imagePullPolicy="Never")
    system, name = k8slan.kubectl.within("kube-system"), daemons["metadata"]["name"]
    system.create(daemons)
    system("rollout", "status", f"daemonset/{name}", "--timeout=60s", timeout=65)
    yield
    system.delete("daemonset", name)
    for node in k8slan.nodes:
        node.run("rm", "-rf", "/run/cni")


def network(kubectl: Kubectl, spoke: str, **ipam: Any) -> str:
    """A NAD of the user's own for a spoke; returns what a pod asks multus for."""
    name = names.unique("net")
    config = {"cniVersion": "1.0.0", "name": name, "type": "k8slanveth", "veth": spoke, "ipam": ipam}
    kubectl.create(
        {
            "apiVersion": "k8s.cni.cncf.io/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name},
            "spec": {"config": json.dumps(config)},
        }
    )
    return f"{name}@net1"


def host_local(plugin: str = "host-local") -> dict[str, Any]:
    """An ``ipam`` section for host-local, or for a copy of it."""
    return {"type": plugin, "subnet": "10.97.0.0/24", "rangeStart": "10.97.0.10"}


def leases(node: Node, network: str) -> set[str]:
    """The addresses of a network that host-local has given on a node and not got back."""
    return {path.name for path in (root(node) / "var/lib/cni/networks" / network.partition("@")[0]).glob("[0-9f]*")}


def addresses(pod: Pod) -> list[str]:
    """The addresses of a pod's second interface, but for the one that IPv6 makes by itself."""
    lines = pod.run("ip", "address", "show", "net1").splitlines()
    return [line.split()[1] for line in lines if "inet" in line and "scope link" not in line]


def until_said(pod: Pod, *words: str) -> None:
    """Wait until the events of a pod say something."""
    eventually(f"an event says {words}", lambda: all(word in pod.events() for word in words), seconds=60)


def test_pods_have_addresses_of_host_local_and_static_and_give_them_back(
    lan: Lan, pod: Pods, kubectl: Kubectl, node1: Node, node2: Node
) -> None:
    both = {"ranges": [[{"subnet": "10.97.0.0/24", "rangeStart": "10.97.0.10"}], [{"subnet": "fd97::/64"}]]}
    local = network(kubectl, lan.spokes[0], type="host-local", **both)
    fixed = [{"address": "10.97.0.2/24"}, {"address": "fd97::ff/64"}]
    static = network(kubectl, lan.spokes[1], type="static", addresses=fixed)
    one, two = pod(node1, networks=local, spec=GRACEFUL), pod(node2, networks=static, spec=GRACEFUL)
    assert addresses(one) == ["10.97.0.10/24", "fd97::2/64"]
    assert addresses(two) == ["10.97.0.2/24", "fd97::ff/64"]
    assert leases(node1, local) == {"10.97.0.10", "fd97::2"}
    lan.until_on(node1, node2)
    for address in ("10.97.0.2", "fd97::ff"):
        assert "1 packets received" in one.run("ping", "-c", "1", "-W", "5", address)
    one.delete()
    two.delete()
    assert leases(node1, local) == set()


def test_addresses_of_whereabouts_are_the_clusters(
    lan: Lan, pod: Pods, kubectl: Kubectl, whereabouts: str, node1: Node, node2: Node
) -> None:
    ipam = {"type": "whereabouts", "range": "10.97.0.0/24", "configuration_path": whereabouts}
    pods = [
        pod(node, networks=network(kubectl, spoke, **ipam), spec=GRACEFUL)
        for node, spoke in zip((node1, node2), lan.spokes, strict=True)
    ]
    assert sorted(address for each in pods for address in addresses(each)) == ["10.97.0.1/24", "10.97.0.2/24"]
    lan.until_on(node1, node2)
    (there,) = addresses(pods[1])
    assert "1 packets received" in pods[0].run("ping", "-c", "1", "-W", "5", there.partition("/")[0])
    for each in pods:
        each.delete()
    pools = kubectl.within("kube-system").items("ippools.whereabouts.cni.cncf.io")
    assert [pool["spec"]["allocations"] for pool in pools] == [{}]


def test_a_lease_of_dhcp_is_renewed_and_given_back(
    lan: Lan,
    pod: Pods,
    kubectl: Kubectl,
    dhcp: None,  # noqa: ARG001 - it has to run
    node1: Node,
    node2: Node,
) -> None:
    settings = (
        "start 10.97.0.10\\nend 10.97.0.19\\ninterface net1\\noption subnet 255.255.255.0\\noption router 10.97.0.1\\n"
        "option lease 24\\nauto_time 1\\nlease_file /tmp/leases\\npidfile /tmp/pid\\n"
    )
    serve = f"touch /tmp/leases; printf '{settings}' >/tmp/settings; exec udhcpd -f /tmp/settings"
    fixed = network(kubectl, lan.spokes[0], type="static", addresses=[{"address": "10.97.0.1/24"}])
    server = pod(node2, networks=fixed, command=("sh", "-c", serve), spec=GRACEFUL)
    eventually("the server serves", lambda: "started" in kubectl("logs", server.name))
    client = pod(node1, networks=network(kubectl, lan.spokes[1], type="dhcp"), spec=GRACEFUL)
    (given,) = addresses(client)
    assert given.startswith("10.97.0.1"), given
    assert "1 packets received" in client.run("ping", "-c", "1", "-W", "5", "10.97.0.1")
    given = given.partition("/")[0]
    port = lan_names.port(lan.spokes[1])  # which somebody deletes: the interface is made anew
    node1.run("nsenter", f"--net=/run/k8slan/netns/{lan.netns}", "ip", "link", "delete", port)
    eventually("it is renewed", lambda: kubectl("logs", server.name).count(f"ACK to {given}") > 1, 40)
    assert "expired" not in server.run("dumpleases", "-f", "/tmp/leases")
    client.delete()
    eventually("it is given back", lambda: "expired" in server.run("dumpleases", "-f", "/tmp/leases"), seconds=10)


def test_a_dhcp_daemon_that_does_not_run_is_named_at_the_pod_which_can_be_deleted(
    lan: Lan, pod: Pods, kubectl: Kubectl, node1: Node
) -> None:
    stuck = pod(node1, networks=network(kubectl, lan.spokes[0], type="dhcp"), ready=False, spec=GRACEFUL)
    until_said(stuck, "IPAM plugin dhcp failed at ADD: error dialing DHCP daemon: dial unix /run/cni/dhcp.sock")
    stuck.delete(timeout=60)
    assert list((root(node1) / "run/k8slan/unreleased").iterdir()) == []


def test_a_plugin_that_is_missing_is_named_at_the_pod_which_can_be_deleted(
    lan: Lan, pod: Pods, kubectl: Kubectl, node1: Node
) -> None:
    stuck = pod(node1, networks=network(kubectl, lan.spokes[0], type="absent"), ready=False, spec=GRACEFUL)
    until_said(stuck, "IPAM plugin absent is not in /opt/cni/bin", "install it there on every node")
    stuck.delete(timeout=60)


def test_a_plugin_that_goes_holds_no_pod_and_its_addresses_are_released_when_it_is_back(
    lan: Lan, pod: Pods, kubectl: Kubectl, node1: Node, plugin: Path
) -> None:
    asked = network(kubectl, lan.spokes[0], **host_local(plugin.name))
    one = pod(node1, networks=asked, spec=GRACEFUL)
    away = plugin.rename(plugin.with_name(f"{plugin.name}-away"))
    try:
        one.delete(timeout=90)
        until_said(one, f"IPAM plugin {plugin.name} is not in /opt/cni/bin")
        assert leases(node1, asked) == {"10.97.0.10"}
        assert len(list((root(node1) / "run/k8slan/unreleased").iterdir())) == 1
    finally:
        away.rename(plugin)
    eventually("the address is released", lambda: not leases(node1, asked), seconds=120)
    eventually("nothing is owed", lambda: not list((root(node1) / "run/k8slan/unreleased").iterdir()))
