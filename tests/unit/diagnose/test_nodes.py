"""What doctor says of nodes that differ."""

from __future__ import annotations

from k8slan_cli import __version__
from k8slan_cli.diagnose import nodes
from k8slan_cli.diagnose.between import VxlanPath
from k8slan_cli.diagnose.protocol import FAIL, OK, WARN, NodeFacts, UnderlayFacts
from k8slan_cli.lan.model import Lan, LanRef


def test_underlays_that_differ_are_said() -> None:
    (check,) = nodes.sizes({9000, 1500})
    assert check.words == "nodes have underlays of MTU 1500, 9000: a LAN has what the least allows"
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


def test_an_underlay_device_that_is_on_no_node_is_named_before_anybody_is_on_the_lan() -> None:
    ref = LanRef(namespace="lab", name="blue")
    blue = Lan(ref=ref, netns="blue", bridge="br0", vxlan="vxlan0", vni=7, underlay="eth9")
    way = VxlanPath(4789, blue)
    (check,) = nodes.nowhere({"a": facts("1"), "b": facts("1")}, [VxlanPath(4789), way])
    assert check.state == FAIL
    assert check.words == "LAN lab/blue wants the underlay device eth9, which is on no node"
    one = NodeFacts(node="b", version="1", time=0, underlays={"eth9": UnderlayFacts(device="eth9")})
    assert list(nodes.nowhere({"a": facts("1"), "b": one}, [way])) == []
    assert list(nodes.nowhere({"a": facts("1")}, [VxlanPath(4789, blue, frozenset({"a"}))])) == []
