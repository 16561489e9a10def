"""The cluster with KubeVirt that the tests of this folder share; the rest is that of tests/cluster."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import pytest

from tests.cluster import guest, product
from tests.cluster.conftest import (
    kubectl,
    namespace,
    node1,
    node2,
    pod,
    pytest_runtest_makereport,
    require_cluster,
    say,
)
from tests.cluster.harness import Cluster, Kubectl, kubevirt
from tests.cluster.harness.build import BuildError
from tests.cluster.life import Lans, lans
from tests.kubevirt.vms import Machines
from tests.support import names
from tests.support.require import require, required

__all__ = ["k8slan", "kubectl", "lans", "namespace", "node1", "node2", "pod", "pytest_runtest_makereport", "say"]


@pytest.fixture(scope="package")
def cluster(say: Callable[[str], None]) -> Iterator[Cluster]:
    """Two nodes that run VMs, up for as long as the tests run."""
    require("kubevirt", platform.machine() == "x86_64", "the guest is made for x86_64")
    if not required("kubevirt"):  # building it takes minutes and gigabytes, and most changes are not about VMs
        advice = "K8SLAN_REQUIRE=kubevirt builds it, and so does make cluster ARGS='up --kubevirt'"
        require("kubevirt", kubevirt.built(), f"KubeVirt is not built: {advice}")
    require_cluster("kubevirt", say)
    try:
        images = (guest.boot_image(say), guest.disk_image(say), product.image(say))
        cluster = Cluster.up(f"{names.PREFIX}kv", images=images, kubevirt=True, say=say)
    except BuildError as missing:
        require("kubevirt", False, str(missing))
        raise
    try:
        for node in cluster.nodes:
            node.name_by_digest(guest.BOOT_IMAGE)  # a VM that migrates asks for it so
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="package")
def k8slan(cluster: Cluster) -> Cluster:
    """The cluster with k8slan in it, from this checkout's image, its binding registered in KubeVirt; ready."""
    product.install(cluster, "--kubevirt")
    return cluster


@pytest.fixture
def vm(lans: Lans, k8slan: Cluster, kubectl: Kubectl) -> Iterator[Machines]:  # noqa: ARG001 - LANs go after VMs
    """Makes VMs in the test's namespace and waits until their guests run: ``vm(manifest(SILENT, lan.spokes[0]))``."""
    machines = Machines(k8slan, kubectl)
    yield machines
    machines.end()
