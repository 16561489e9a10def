"""What a LAN says of a node."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from k8slan_cli.lan.model import Lan, LanRef, NodeStatus

LAN = Lan(
    ref=LanRef(namespace="lab", name="blue"),
    netns="n",
    bridge="b",
    vxlan="v",
    vni=1,
    underlay="eth9",
    underlays=(("host-a", "eth1"), ("node-a", "eth2"), ("node-b", "eth3")),
    nodes=(
        NodeStatus(name="node-a", vtep=ip_address("10.0.0.1")),
        NodeStatus(name="node-b", vtep=ip_address("10.0.0.2")),
        NodeStatus(name="node-c"),
        NodeStatus(name="", vtep=ip_address("10.0.0.9")),
    ),
)


@pytest.mark.parametrize(
    ("node_names", "device"),
    [
        (("node-b",), "eth3"),
        (("node-a", "host-a"), "eth2"),
        (("host-a", "node-a"), "eth1"),
        (("node-z", "host-a"), "eth1"),
        (("node-z",), "eth9"),
        ((), "eth9"),
    ],
)
def test_the_first_name_of_a_node_that_is_listed_chooses_its_device(node_names: tuple[str, ...], device: str) -> None:
    assert LAN.underlay_on(*node_names) == device


def test_peers_are_the_addresses_of_all_other_nodes() -> None:
    assert LAN.peers_of("node-a") == {ip_address("10.0.0.2"), ip_address("10.0.0.9")}
    assert LAN.peers_of("node-z") == {ip_address("10.0.0.1"), ip_address("10.0.0.2"), ip_address("10.0.0.9")}


@pytest.mark.parametrize(
    ("spokes", "dynamic", "down", "spoke", "is_down"),
    [
        # a switch: each link for itself
        (("a", "b", "c"), False, {"a"}, "a", True),
        (("a", "b", "c"), False, {"a"}, "b", False),
        (("a",), False, {"a"}, "a", True),
        # a cable: both ends at once
        (("a", "b"), False, {"a"}, "a", True),
        (("a", "b"), False, {"a"}, "b", True),
        (("a", "b"), False, {"z"}, "b", False),
        (("a", "b"), False, set(), "b", False),
        # pods may come to it, so it is no cable
        (("a", "b"), True, {"a"}, "b", False),
        # a link without a spoke goes by its pod
        (("a", "b"), True, {"lab/x:net1"}, None, True),
        (("a", "b"), True, {"a", "lab/x:net2", "x:net1"}, None, False),
    ],
)
def test_a_link_is_down_by_itself_or_with_the_other_end_of_its_cable(
    spokes: tuple[str, ...], dynamic: bool, down: set[str], spoke: str | None, is_down: bool
) -> None:
    lan = replace(LAN, spokes=spokes, dynamic=dynamic, down=frozenset(down))
    assert lan.is_down(spoke, "lab/x:net1") is is_down


@pytest.mark.parametrize(
    ("uid", "allowed", "namespace", "admits"),
    [
        ("u", (), "lab", True),
        ("u", (), "guests", False),
        ("u", ("guests",), "guests", True),
        ("u", ("guests",), "guest", False),
        ("u", ("*",), "guests", True),
        # a LAN file, or the demo: there are no namespaces
        ("", (), "guests", True),
    ],
)
def test_a_lan_of_a_cluster_admits_its_own_namespace_and_those_it_names(
    uid: str, allowed: tuple[str, ...], namespace: str, admits: bool
) -> None:
    assert replace(LAN, uid=uid, allowed_namespaces=allowed).admits(namespace) is admits


def test_a_lan_is_called_by_namespace_and_name_and_sorted_so() -> None:
    assert str(LAN.ref) == "lab/blue"
    assert sorted([LanRef(namespace="b", name="a"), LanRef(namespace="a", name="b")])[0].namespace == "a"
