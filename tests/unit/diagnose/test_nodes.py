"""What doctor says of nodes that differ."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

from k8slan_cli import __version__
from k8slan_cli.diagnose import nodes
from k8slan_cli.diagnose.protocol import FAIL, OK, WARN, NodeFacts, UnderlayFacts
from k8slan_cli.kube.apply import connect
from k8slan_cli.lan.model import Lan, LanRef, Uplink
from tests.unit.render.api import Api, serve


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


def lan(**fields: Any) -> Lan:
    return Lan(
        ref=LanRef(namespace="lab", name="blue"), netns="blue", bridge="br0", vxlan="vxlan0", vni=7, port=4789, **fields
    )


def over(node: str, device: str, mtu: int, *, named: str = "", vtep: str = "192.0.2.1") -> NodeFacts:
    """What an agent says of a node with one underlay, which was asked for as ``named``."""
    found = UnderlayFacts(device=device, mtu=mtu, up=True, vtep=ip_address(vtep))
    return NodeFacts(node=node, version="1", time=0, underlays={named: found})


def test_an_underlay_device_that_is_on_no_node_is_named_before_anybody_is_on_the_lan() -> None:
    blue = lan(underlay="eth9")
    (check,) = nodes.nowhere({"a": facts("1"), "b": facts("1")}, [blue])
    assert check.state == FAIL
    assert check.words == "LAN lab/blue wants the underlay device eth9, which is on no node"
    assert list(nodes.nowhere({"a": facts("1"), "b": over("b", "eth9", 1500, named="eth9")}, [blue, lan()])) == []
    assert list(nodes.nowhere({}, [blue])) == []


def test_an_mtu_that_an_underlay_does_not_carry_is_named_before_anybody_is_on_the_lan() -> None:
    small, large = over("a", "eth0", 1500), over("b", "eth0", 9054)
    (check,) = nodes.unfit({"a": small}, [lan(mtu=9000)])
    assert (check.state, check.words) == (
        FAIL,
        "LAN lab/blue cannot be had on a: spec.mtu: 9000 does not fit: "
        "eth0 has MTU 1500, VXLAN needs 54, so at most 1446",
    )
    (check,) = nodes.unfit({"a": small, "b": large}, [lan(mtu=9000)])
    assert check.state == WARN
    assert list(nodes.unfit({"a": small, "b": large}, [lan(), lan(mtu=1446), lan(mtu=9000, fragment=True)])) == []
    (check,) = nodes.unfit({"a": over("a", "eth0", 1500, vtep="2001:db8::1")}, [lan(mtu=1446)])
    assert "VXLAN needs 74, so at most 1426" in check.words
    assert list(nodes.unfit({"a": facts("1")}, [lan(mtu=9000, underlay="eth9")])) == [], "it is not there at all"


def test_nodes_that_only_lans_know_are_named(tmp_path: Path) -> None:
    api = Api()
    metadata = {"name": "w1", "labels": {"kubernetes.io/hostname": "one"}}
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    api.put("/api/v1/nodes/w1", {"metadata": metadata, "status": ready})
    uplinks = tuple(Uplink(node=node, device="eth1") for node in ("w1", "w2"))
    wrong = lan(underlays=(("one", "eth1"), ("two", "eth1")), uplinks=uplinks)
    with serve(api, tmp_path / "kubeconfig"):
        found = list(nodes._nodes(connect(str(tmp_path / "kubeconfig")), {"w1"}, [wrong, lan()]))
    assert [(check.words, check.advice) for check in found] == [
        ("LAN lab/blue names an underlay device of two: there is no such node", "correct its spec.vxlanDevMap"),
        ("LAN lab/blue names an uplink of w2: there is no such node", "correct its spec.uplinks"),
    ]
