"""Labs of containerlab's files on a real cluster: up, frames on their links, up again, two at once, and down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k8slan_cli.lan import names as lan_names
from tests.cluster.harness import Cluster, Kubectl, frr
from tests.support import names
from tests.support.agents import eventually

LABS = Path(__file__).parents[1] / "labs"
KINDS = "lans,deployments,pods,services,configmaps,network-attachment-definitions"
Lab = Callable[..., str]


@pytest.fixture
def lab(k8slan: Cluster) -> Lab:
    """The command ``k8slan lab`` as a process: returns what it prints; it has to end well, or "" will do."""

    def run(*words: str, must: bool = True) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "k8slan_cli", "lab", *words],
            env=os.environ | {"KUBECONFIG": str(k8slan.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0 or not must, done
        return done.stdout if done.returncode == 0 else ""

    return run


@pytest.fixture
def other(cluster: Cluster) -> Iterator[Kubectl]:
    """Another namespace."""
    with cluster.namespace(names.unique("ns")) as inside:
        yield inside


def uids(kubectl: Kubectl) -> dict[str, str]:
    """The pods of a namespace's labs, by their nodes."""
    pods = kubectl.items("pods", "-l", lan_names.LAB_LABEL)
    return {pod["metadata"]["labels"][lan_names.LAB_NODE_LABEL]: pod["metadata"]["uid"] for pod in pods}


def nothing(kubectl: Kubectl) -> bool:
    """Whether a namespace has nothing of a lab's; NADs are the garbage collector's to remove."""
    return not [item for item in kubectl.items(KINDS) if item["metadata"]["name"] != "kube-root-ca.crt"]


def test_one_lab_in_two_namespaces(lab: Lab, kubectl: Kubectl, other: Kubectl) -> None:
    file = str(LABS / "br01.clab.yml")
    for where in (kubectl, other):
        assert "4 created, 0 changed, 0 unchanged, 0 removed" in lab("up", file, "-n", where.namespace)
    lab("exec", "srl3", "-n", other.namespace, "--", "ip", "address", "del", "192.0.2.3/24", "dev", "e1-1")
    for where in (kubectl, other):  # the same addresses in both, and each lab hears its own alone
        lab("exec", "srl1", "-n", where.namespace, "--", "ping", "-c", "5", "-W", "5", "192.0.2.2")
    lab("exec", "srl1", "-n", kubectl.namespace, "--", "ping", "-c", "5", "-W", "5", "192.0.2.3")
    before = uids(kubectl)
    assert "0 created, 0 changed, 4 unchanged, 0 removed" in lab("up", file, "-n", kubectl.namespace)
    assert uids(kubectl) == before
    for where in (kubectl, other):
        lab("down", "br01", "-n", where.namespace)
        eventually("nothing of the lab is there", lambda where=where: nothing(where))


def test_interfaces_are_named_and_shaped_as_in_the_file(lab: Lab, kubectl: Kubectl, k8slan: Cluster) -> None:
    lab("up", str(LABS / "vlan.clab.yml"), "-n", kubectl.namespace)

    def link(node: str, interface: str, what: str) -> str:
        return lab("exec", node, "-n", kubectl.namespace, "--", "cat", f"/sys/class/net/{interface}/{what}").strip()

    assert link("client1", "eth1", "address") == "02:00:00:00:01:01"
    assert {link("srl1", "e1-10", what) for what in ("mtu", "carrier")} == {"1400", "1"}
    found = json.loads(lab("inspect", "vlan", "-n", kubectl.namespace, "-o", "json"))
    assert {link["state"] for link in found["links"]} == {"Ready"}
    [trunk] = (link["lan"] for link in found["links"] if link["ends"] == ["srl1:e1-10", "srl2:e1-10"])
    probe = [sys.executable, "-m", "k8slan_cli", "lan", "probe", trunk, "-n", kubectl.namespace]
    done = subprocess.run(
        [*probe, "--class", "lldp", "--class", "vlan"],
        env=os.environ | {"KUBECONFIG": str(k8slan.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done


def test_a_changed_file_changes_what_it_must(lab: Lab, kubectl: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "fabric.clab.yml"
    text = (LABS / "spine-leaf.clab.yml").read_text()
    file.write_text(text)
    lab("up", str(file), "-n", kubectl.namespace)
    before = uids(kubectl)
    assert len(before) == 6
    file.write_text("".join(line for line in text.splitlines(keepends=True) if "leaf4" not in line))
    assert "2 changed, 9 unchanged, 3 removed" in lab("up", str(file), "-n", kubectl.namespace)
    after = uids(kubectl)
    assert {node for node in before if after.get(node) == before[node]} == {"leaf1", "leaf2", "leaf3"}
    lab("down", str(file), "-n", kubectl.namespace)
    eventually("nothing of the lab is there", lambda: nothing(kubectl))


@pytest.fixture
def routers(k8slan: Cluster, say: Callable[[str], None]) -> None:
    """The nodes have the image of FRR."""
    k8slan.import_image(frr.image(say))


def test_routers_converge_and_do_so_again_when_a_link_is_pulled(
    lab: Lab,
    kubectl: Kubectl,
    k8slan: Cluster,
    routers: None,  # noqa: ARG001 - they run on it
    tmp_path: Path,
) -> None:
    lab("up", str(LABS / "frr01.clab.yml"), "-n", kubectl.namespace)

    def route() -> str:
        """The interface by which router1 reaches the hosts behind router2, and by OSPF."""
        show = ("vtysh", "-c", "show ip route 10.2.0.0/24 json")
        said = lab("exec", "router1", "-n", kubectl.namespace, "--", *show, must=False)
        found = json.loads(said).get("10.2.0.0/24", []) if said.startswith("{") else []  # it may not run yet
        best = [each for each in found if each["protocol"] == "ospf" and each.get("installed")]
        return str(best[0]["nexthops"][0]["interfaceName"]) if best else ""

    def hosts_meet() -> str:
        """Whether a frame of PC1 comes back from PC2: all routers on the way know both."""
        return lab("exec", "PC1", "-n", kubectl.namespace, "--", "ping", "-c", "1", "-W", "1", "10.2.0.2", must=False)

    eventually("router1 reaches router2's hosts directly", lambda: route() == "eth1", 30)
    eventually("PC1 and PC2 meet", hosts_meet, 20)
    link = [sys.executable, "-m", "k8slan_cli", "lan", "link", "router1:eth1", "down"]
    environment = os.environ | {"KUBECONFIG": str(k8slan.kubeconfig)}
    subprocess.run([*link, "-n", kubectl.namespace], env=environment, check=True, timeout=30)
    eventually("router1 reaches router2's hosts over router3", lambda: route() == "eth2", 30)
    eventually("PC1 and PC2 meet over router3", hosts_meet, 20)
    drawn = json.loads(lab("graph", "frr01", "-n", kubectl.namespace, "-o", "json"))
    assert {device["name"] for device in drawn["devices"]} == {
        f"{kind}{n}" for kind in ("router", "PC") for n in (1, 2, 3)
    }
    down = [lan["name"] for lan in drawn["lans"] if "down" in {end["link"] for end in lan["ends"]}]
    assert down == ["frr01-router1-eth1-router2-eth1"]
    assert "0 created, 0 changed" in lab("up", str(LABS / "frr01.clab.yml"), "-n", kubectl.namespace)
    assert route() == "eth2"  # what was pulled stays pulled
    said = lab("save", "frr01", "-n", kubectl.namespace, "--to", str(tmp_path))
    assert "PC1: nothing to save" in said
    assert "ospf router-id 0.0.0.2" in (tmp_path / "router2" / "frr.conf").read_text()
    lab("down", "frr01", "-n", kubectl.namespace)
    eventually("nothing of the lab is there", lambda: nothing(kubectl))
