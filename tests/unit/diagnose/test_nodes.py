"""What doctor says of nodes that differ."""

from __future__ import annotations

from k8slan_cli import __version__
from k8slan_cli.diagnose import nodes
from k8slan_cli.diagnose.protocol import OK, WARN, NodeFacts


def test_underlays_that_differ_are_said() -> None:
    (check,) = nodes.sizes({9000, 1500})
    assert check.words == "nodes have underlays of MTU 1500, 9000: LANs differ from node to node"
    assert check.state == WARN
    assert list(nodes.sizes({1500})) == []


def facts(version: str) -> NodeFacts:
    return NodeFacts(node="a", version=version, time=0)


def test_versions_and_clocks_that_differ_are_named() -> None:
    (check,) = nodes.versions({"a": facts("9.9"), "b": facts(__version__)})
    assert (check.state, check.words.endswith("agents are 9.9 on a")) == (WARN, True)
    (check,) = nodes.agreement({"a": 0.0, "b": 0.2, "c": -30.0})
    assert (check.state, check.words) == (WARN, "that of node c is 30.0 s behind the others")
    (check,) = nodes.agreement({"a": 0.0, "b": 0.2})
    assert check.state == OK
