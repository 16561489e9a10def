"""A thousand ports in one LAN, of the 1,023 that a bridge takes: what goes at once is gone, and nothing hangs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.support import names
from tests.support.agents import Node, document, dynamic, eventually
from tests.support.netns import Namespace

PORTS = [f"net{number}" for number in range(1, 1001)]
SECONDS = 60.0


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.create() as node, node.agent("--log-level", "warning"):
        yield node


@pytest.fixture
def lan(node: Node) -> Iterator[str]:
    name = names.unique("lan")
    node.write(f"{name}.yaml", yaml.safe_dump(document(name, dynamic=True)))
    yield name
    node.sweep()
    (node.files / f"{name}.yaml").unlink(missing_ok=True)
    assert node.current
    assert node.current.log.lines == []


def _attach_all(node: Node, lan: str, pod: Namespace) -> None:
    config = dynamic(f"default/{lan}")
    eventually("the LAN is known", lambda: node.add(pod, config, ifname="net1").status == 0)
    assert set(node.burst("ADD", pod, config, PORTS[1:])) == {0}
    ports = [link for link in node.inside(lan).links().values() if link.get("master") and link["ifname"] != "vxlan0"]
    assert len(ports) == len(PORTS)


def test_a_thousand_dels_at_once(node: Node, lan: str, pod: Namespace) -> None:
    _attach_all(node, lan, pod)
    assert set(node.burst("DEL", pod, dynamic(f"default/{lan}"), PORTS)) == {0}
    assert pod.links() == {}
    node.assert_nothing_left()


def test_a_lan_of_a_thousand_ports_that_is_removed(node: Node, lan: str, pod: Namespace) -> None:
    _attach_all(node, lan, pod)
    (node.files / f"{lan}.yaml").unlink()
    eventually("the namespace is gone", lambda: not node.inside(lan).path.exists(), SECONDS)
    assert pod.links() == {}
    assert set(node.burst("DEL", pod, dynamic(f"default/{lan}"), PORTS)) == {0}
    node.assert_nothing_left()
