"""What the node tests need of a machine, and the guard that they leave nothing on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.support import leaks
from tests.support.agents import Node
from tests.support.netns import Namespace
from tests.support.require import require


@pytest.fixture(scope="session", autouse=True)
def machine() -> None:
    """Root, iproute2, and a kernel that has what a LAN is made of; without them every test is skipped."""
    require("node", os.geteuid() == 0, "needs root: it makes network namespaces")
    for tool in ("ip", "bridge"):
        require("node", shutil.which(tool) is not None, f"needs {tool!r} of iproute2")
    try:
        with Namespace.create("try") as namespace:
            for kind in (["bridge"], ["veth"], ["vxlan", "id", "1", "dstport", "4789"]):
                namespace.ip("link", "add", kind[0], "type", *kind)
            namespace.ip("link", "add", "tap", "link", "veth", "type", "macvtap", "mode", "passthru")
    except AssertionError as refused:
        require("node", False, f"this machine refuses what a LAN is made of: {' '.join(str(refused).split())}")


@pytest.fixture(scope="module", autouse=True)
def no_leaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After a module's tests, the machine is as it was before them."""
    everything = os.environ.get("CI") == "true"
    temporary = tmp_path_factory.getbasetemp()
    leaks.adopt_orphans()
    before = leaks.Snapshot.take(temporary, everything=everything)
    yield
    left = leaks.Snapshot.take(temporary, everything=everything).since(before)
    assert not left, "these tests left behind:\n" + "\n".join(left)


@pytest.fixture
def pod() -> Iterator[Namespace]:
    """A pod's namespace."""
    with Namespace.create("pod") as pod:
        yield pod


@pytest.fixture
def swept(node: Node) -> Iterator[None]:
    """A test that fails does not make the next one of its module fail; ``node`` is the module's own."""
    yield
    node.sweep()
