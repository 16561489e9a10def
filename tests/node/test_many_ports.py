"""A thousand ports in one LAN, of the 1,023 that a bridge takes: what goes at once is gone, and nothing hangs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.agents import Node, dynamic, eventually
from tests.support.netns import Namespace

PORTS = [f"net{number}" for number in range(1, 1001)]
SECONDS = 60.0
LAN = dynamic("default/many")


@pytest.fixture
def node() -> Iterator[Node]:
    """A node with a LAN; its agent has nothing to complain of."""
    with Node.create() as node:
        node.lan("many", dynamic=True)
        with node.agent("--log-level", "warning") as agent:
            yield node
            node.sweep()
        assert agent.log.lines == []


@pytest.fixture
def pod(node: Node) -> Iterator[Namespace]:
    """A pod with a thousand interfaces on the LAN."""
    with Namespace.create("pod") as pod:
        assert set(node.burst("ADD", pod, LAN, PORTS)) == {0}
        assert set(pod.links()) == set(PORTS)
        ports = [link for link in node.inside("many").links().values() if link.get("master")]
        assert len(ports) == len(PORTS) + 1
        yield pod


def test_a_thousand_dels_at_once(node: Node, pod: Namespace) -> None:
    assert set(node.burst("DEL", pod, LAN, PORTS)) == {0}
    assert pod.links() == {}
    node.assert_nothing_left()


def test_a_lan_of_a_thousand_ports_that_is_removed(node: Node, pod: Namespace) -> None:
    (node.files / "many.yaml").unlink()
    eventually("the namespace is gone", lambda: not node.inside("many").path.exists(), SECONDS)
    assert pod.links() == {}
    assert set(node.burst("DEL", pod, LAN, PORTS)) == {0}
    node.assert_nothing_left()
