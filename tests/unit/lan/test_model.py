"""What a LAN says of a node."""

from __future__ import annotations

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


def test_a_lan_is_called_by_namespace_and_name_and_sorted_so() -> None:
    assert str(LAN.ref) == "lab/blue"
    assert sorted([LanRef(namespace="b", name="a"), LanRef(namespace="a", name="b")])[0].namespace == "a"
