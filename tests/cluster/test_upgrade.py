"""k8slan is replaced by another version of itself while pods use it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import probing, product
from tests.cluster.harness import Cluster, Kubectl, KubectlError, Node
from tests.cluster.harness.pods import Pods, manifest
from tests.cluster.life import (
    DAEMON_SET,
    Agents,
    Lans,
    Undisturbed,
    agents,
    lans,
    links,
    root,
    undisturbed,
    until_pods,
)
from tests.support.agents import eventually

__all__ = ["agents", "lans", "undisturbed"]

OTHER = "localhost/k8slan:other"
EXECUTABLES = ("k8slanveth", "k8slanmacvtap")


@pytest.fixture
def other_image(k8slan: Cluster, agents: Agents) -> Iterator[str]:
    """The image by another name, as a new version would have; the agents are back to the first afterwards."""
    for node in k8slan.nodes:
        node.run("ctr", "--namespace=k8s.io", "images", "tag", "--force", product.IMAGE, OTHER)
    yield OTHER
    use(agents, product.IMAGE)
    agents.until_ready()


def use(agents: Agents, image: str) -> None:
    """Let the DaemonSet have an image."""
    agents.kubectl("set", "image", DAEMON_SET, f"agent={image}", f"install-cni={image}")


def executables(node: Node) -> dict[str, tuple[int, bytes]]:
    """Inode and content of the CNI executables on a node."""
    folder = root(node) / "opt/cni/bin"
    return {name: ((folder / name).stat().st_ino, (folder / name).read_bytes()) for name in EXECUTABLES}


def test_a_rollout_of_the_agents_costs_no_frame_and_no_pod(
    lans: Lans,
    pod: Pods,
    undisturbed: Undisturbed,
    agents: Agents,
    kubectl: Kubectl,
    other_image: str,
    node1: Node,
    node2: Node,
) -> None:
    """Pods that come meanwhile are attached, nothing is made anew, and the CNI executables are the new version's."""
    lan = lans(spokes=2, dynamic=True)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    lan.until_on(node1, node2)
    before = [links(node, lan) for node in (node1, node2)]
    installed = [executables(node) for node in (node1, node2)]
    for node in (node1, node2):
        for name in EXECUTABLES:
            with (root(node) / "opt/cni/bin" / name).open("ab") as executable:
                executable.write(b"an older version")
    with undisturbed(one, two):
        old = {agents.pod(node).name for node in (node1, node2)}
        use(agents, other_image)
        eventually("the first agent goes", lambda: old - names_of(agents), 30)
        kubectl.create(*(manifest(f"n{i}", node=(node1, node2)[i % 2], networks=lan.any()) for i in range(6)))
        agents.until_ready()
        until_pods(kubectl, 8)
    assert old.isdisjoint(names_of(agents))
    for node, there, files in zip((node1, node2), before, installed, strict=True):
        assert {name: index for name, index in links(node, lan).items() if name in there} == there
        assert len(probing.ports(node, lan.netns)) == 4
        for name, (inode, content) in executables(node).items():
            assert content == files[name][1]
            assert inode != files[name][0], "it was written over, while a runtime may have been starting it"


def names_of(agents: Agents) -> set[str]:
    """The names of all agents' pods that are not on their way out."""
    found = agents.kubectl.items("pods", "-l", "app.kubernetes.io/name=k8slan-node-agent")
    return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


def test_lans_may_be_made_while_the_controller_is_replaced(lans: Lans, agents: Agents, kubectl: Kubectl) -> None:
    """They are seen to by the new one, which judges those that come after as the old one did."""
    first = lans("first")
    agents.kubectl("rollout", "restart", "deployment/k8slan-controller")
    meanwhile = [lans(f"meanwhile{number}", ready=False) for number in range(3)]
    agents.kubectl("rollout", "status", "deployment/k8slan-controller", "--timeout=60s", timeout=65)
    for lan in meanwhile:
        lan.until_ready()
    with pytest.raises(KubectlError, match=rf"spec.vni: {first.vni} is in use by LAN {kubectl.namespace}/first"):
        kubectl.create(probing.lan("clash", kubectl.namespace, vni=first.vni, dynamic=True))
