"""What ``join-command`` prints, and what it asks for before. That a host joins by it is tested in tests/node."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from k8slan_cli.cli.lan import join
from k8slan_cli.inventory.occupancy import decoded
from k8slan_cli.lan import codec
from tests.support import scene

LAN = codec.decode(scene.lan("blue", dynamic=True, vni=7, remotes=["192.0.2.9", "192.0.2.8", "2001:db8::8"]))
OWN = ip_address("192.0.2.9")


def test_a_host_sends_to_nodes_that_take_part_and_to_other_remotes_of_its_family() -> None:
    vteps = decoded([scene.vtep("worker1", scene.port("web-1"), lan="blue"), scene.vtep("worker2", lan="blue")])
    (address,) = {str(vtep.address) for vtep in vteps if vtep.ports}
    lines = list(join.commands(LAN, vteps, OWN, bridge="br9"))
    assert [line for line in lines if line.startswith("bridge")] == [
        f"bridge fdb append 00:00:00:00:00:00 dev vxlan7 dst {address}  # node worker1",
        "bridge fdb append 00:00:00:00:00:00 dev vxlan7 dst 192.0.2.8  # another remote",
    ]
    assert "ip link add vxlan7 type vxlan id 7 local 192.0.2.9 dstport 4789" in lines
    assert lines[-3:-1] == [
        "ip link set vxlan7 master br9",
        "ip link set vxlan7 type bridge_slave group_fwd_mask 65533  # LLDP, LACP and STP, too",
    ]


def test_with_a_group_nodes_are_reached_by_it() -> None:
    lines = list(join.commands(replace(LAN, group=ip_address("239.0.0.1")), (), OWN, device="eth7"))
    assert "ip link add vxlan7 type vxlan id 7 group 239.0.0.1 dev eth7 dstport 4789" in lines


def test_where_outer_packets_are_fragmented_a_bridge_is_joined_by_a_redirect() -> None:
    """A device that is tied to another, or is a bridge port, takes no frame that does not fit."""
    lines = list(join.commands(replace(LAN, fragment=True), (), OWN, device="eth7", bridge="br9"))
    assert "ip link add vxlan7 type vxlan id 7 local 192.0.2.9 dstport 4789" in lines
    assert "ip link add vxlan7b mtu 1500 type veth peer name vxlan7v mtu 1500" in lines
    assert [line for line in lines if "br9" in line] == ["ip link set vxlan7b master br9 up"]


@pytest.mark.parametrize(
    ("remotes", "text", "found"),
    [
        (LAN.remotes[:1], "", "192.0.2.9"),
        (LAN.remotes, "192.0.2.8", "192.0.2.8"),
        ((), "192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_hosts_address_is_given_or_the_only_one(remotes: tuple[str, ...], text: str, found: str) -> None:
    assert str(join._own(replace(LAN, remotes=remotes), text)) == found


@pytest.mark.parametrize(
    ("remotes", "text", "words"),
    [
        (LAN.remotes, "", "one of 192.0.2.9, 192.0.2.8, 2001:db8::8"),
        ((), "", "with --address, and add it to spec.remotes"),
        (LAN.remotes, "host.example", "'host.example' is not an IP address"),
    ],
)
def test_without_an_address_it_is_asked_for(remotes: tuple[str, ...], text: str, words: str) -> None:
    with pytest.raises(Exception, match=words):
        join._own(replace(LAN, remotes=remotes), text)
