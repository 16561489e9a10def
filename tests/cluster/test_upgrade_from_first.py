"""Version 0.1.0 runs in a cluster of its own, pods talk, and ``k8slan install`` brings this version in its place."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.kube.apply import FIELD_MANAGER
from k8slan_cli.render import manifests
from k8slan_cli.render.settings import Settings
from tests.cluster import probing, product
from tests.cluster.harness import Cluster, Node
from tests.cluster.harness.pods import Pod, Pods
from tests.cluster.life import Agents, Lans, Undisturbed, agents, lans, links, undisturbed
from tests.support import names
from tests.support.require import require

__all__ = ["agents", "lans", "undisturbed"]

FIRST = "9e95d78db6dddb02e1861fee77c64cb6cca5e770"
"""The commit of version 0.1.0."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of version 0.1.0."""
    command = ["git", "-C", str(product.CHECKOUT), "archive", FIRST]
    archive = subprocess.run(command, capture_output=True, check=False)
    require("cluster", archive.returncode == 0, f"needs version 0.1.0 from the history: {archive.stderr.decode()}")
    folder = tmp_path_factory.mktemp("first")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module", params=[0, 1], ids=["one half first", "the other half first"])
def half(request: pytest.FixtureRequest) -> int:
    """Which node's agent is upgraded first; each order has a cluster of its own."""
    number: int = request.param
    return number


@pytest.fixture(scope="module")
def cluster(
    buildable: None,  # noqa: ARG001 - comes first
    half: int,  # noqa: ARG001 - another cluster for each
    first: Path,
    say: Callable[[str], None],
) -> Iterator[Cluster]:
    """Two nodes that have the images of both versions."""
    images = (product.first_image(first, say), product.image(say))
    cluster = Cluster.up(names.unique("up"), images=images, say=say)
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def node1(cluster: Cluster, half: int) -> Node:
    """The node that is upgraded first."""
    return cluster.nodes[half]


@pytest.fixture(scope="module")
def node2(cluster: Cluster, half: int) -> Node:
    """The other node."""
    return cluster.nodes[1 - half]


@pytest.fixture(scope="module")
def k8slan(cluster: Cluster, first: Path) -> Cluster:
    """The cluster with version 0.1.0 in it, installed as its users did."""
    product.install(cluster, sources=first, image=product.FIRST_IMAGE)
    return cluster


def image_of(agents: Agents, node: Node) -> str:
    """The image that a node's agent runs."""
    spec = agents.kubectl.get("pod", agents.pod(node).name)["spec"]
    return str(spec["containers"][0]["image"])


def without_rollout() -> list[dict[str, Any]]:
    """Manifests of this version; each agent of the version before stays until its pod is deleted."""
    documents = manifests.documents(manifests.render_all(Settings(image=product.IMAGE)))
    (agent,) = (document for document in documents if document["kind"] == "DaemonSet")
    agent["spec"]["updateStrategy"] = {"type": "OnDelete"}
    return documents


def contact(cluster: Cluster, one: Pod, other: Pod) -> None:
    """Wait until two pods hear each other."""
    with probing.Endpoints(cluster) as endpoints:
        ends = endpoints.interface(one, "net1"), endpoints.interface(other, "net1")
        for sender, receiver in (ends, ends[::-1]):
            probing.contact(sender, receiver, sender.mtu)


def test_an_upgrade_of_a_running_cluster_loses_no_frame(
    k8slan: Cluster,
    lans: Lans,
    pod: Pods,
    undisturbed: Undisturbed,
    agents: Agents,
    node1: Node,
    node2: Node,
) -> None:
    """Half of the agents go first: both versions serve one LAN meanwhile, and pods come and go on either node."""
    lan = lans(spokes=3, dynamic=True)
    one, two, third = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1)), pod(node1, networks=lan.any())
    lan.until_on(node1, node2)
    before = [links(node, lan) for node in (node1, node2)]
    with undisturbed(one, two, least=500), undisturbed(third, two, least=500):
        texts = "\n---\n".join(map(json.dumps, without_rollout()))
        manager = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}")  # as k8slan install
        agents.kubectl("apply", *manager, "-f", "-", stdin=texts)
        agents.fresh(node1)
        assert [image_of(agents, node) for node in (node1, node2)] == [product.IMAGE, product.FIRST_IMAGE]
        newcomers = [pod(node, networks=lan.any()) for node in (node1, node2)]
        contact(k8slan, *newcomers)
        contact(k8slan, newcomers[0], two)
        contact(k8slan, newcomers[1], one)
        for newcomer in newcomers:
            newcomer.delete()

        product.install(k8slan)
        assert [image_of(agents, node) for node in (node1, node2)] == [product.IMAGE] * 2
        lan.until_ready()
        lan.until_on(node1, node2)
        contact(k8slan, pod(node2, networks=lan.veth(2)), one)
    for node, there in zip((node1, node2), before, strict=True):
        assert {name: index for name, index in links(node, lan).items() if name in there} == there
