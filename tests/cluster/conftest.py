"""The cluster that the tests of this folder share, and what each of them has to itself in it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.cluster import product
from tests.cluster.harness import Cluster, Kubectl, Node, build
from tests.cluster.harness.build import BuildError
from tests.cluster.harness.kubectl import DEAF
from tests.cluster.harness.pods import Pods
from tests.support import names
from tests.support.require import require


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Tells whoever waits what takes so long, past pytest's capturing."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n[cluster] {text}", end="", file=sys.stderr, flush=True)

    return say


def require_cluster(suite: str, say: Callable[[str], None]) -> None:
    """Skip a suite where the machine can have no cluster: root, Go once, packages."""
    require(suite, os.geteuid() == 0, "needs root: its nodes are namespaces")
    if not build.built():
        require(suite, shutil.which("go") is not None, "needs Go 1.24 or newer to build Kubernetes, once")
    for tool in ("unshare", "nsenter", "setpriv"):
        require(suite, shutil.which(tool) is not None, f"needs {tool!r} of util-linux")
    try:
        build.everything(say)
    except BuildError as missing:
        require(suite, False, str(missing))


@pytest.fixture(scope="session")
def buildable(say: Callable[[str], None]) -> None:
    """The machine can have a cluster."""
    require_cluster("cluster", say)


@pytest.fixture(scope="session")
def helm(say: Callable[[str], None]) -> Path:
    """The helm executable, built once."""
    try:
        return build.helm(say)
    except BuildError as missing:
        require("cluster", False, str(missing))
        raise


@pytest.fixture(scope="package")
def cluster(
    buildable: None,  # noqa: ARG001 - comes first
    say: Callable[[str], None],
    request: pytest.FixtureRequest,
) -> Iterator[Cluster]:
    """Two nodes, up for as long as the tests run. Whoever breaks something in it mends it."""
    wanted = any("k8slan" in getattr(item, "fixturenames", ()) for item in request.session.items)
    cluster = Cluster.up(names.PREFIX, images=(product.image(say),) if wanted else (), say=say)
    yield cluster
    cluster.down()


@pytest.fixture(scope="package")
def k8slan(cluster: Cluster) -> Cluster:
    """The cluster with k8slan in it, from this checkout's image, ready."""
    product.install(cluster)
    return cluster


@pytest.fixture(scope="package")
def node1(cluster: Cluster) -> Node:
    """The first node."""
    return cluster.nodes[0]


@pytest.fixture(scope="package")
def node2(cluster: Cluster) -> Node:
    """The second node."""
    return cluster.nodes[1]


@pytest.fixture
def kubectl(cluster: Cluster) -> Iterator[Kubectl]:
    """The administrator's kubectl, in a namespace of the test's own."""
    with cluster.namespace(names.unique("ns")) as inside:
        yield inside


@pytest.fixture
def namespace(kubectl: Kubectl) -> str:
    """The test's namespace."""
    return kubectl.namespace


@pytest.fixture
def pod(kubectl: Kubectl) -> Pods:
    """Makes pods in the test's namespace: ``pod(node1, networks="e1@eth1")``."""
    return Pods(kubectl)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the cluster has to say to a failed test's report."""
    report = yield
    values = getattr(item, "funcargs", {})
    if report.failed and report.when == "call" and "cluster" in values:
        report.sections.append(("cluster", _words(values["cluster"])))
    return report


def _words(cluster: Cluster) -> str:
    try:
        pods = cluster.kubectl("get", "pods", "-A", "-o", "wide", timeout=10)
        events = cluster.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp", timeout=10)
        own = product.said(cluster, lines=60)
    except Exception as error:  # noqa: BLE001 - a report must not fail because the cluster did
        return f"the API server does not answer: {error}"
    return f"{own}\n{pods}\n{events}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell of watches that were deaf."""
    for what in DEAF:
        terminalreporter.write_line(f"[cluster] a watch was deaf: {what}")
