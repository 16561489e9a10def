"""From LANs and pods to the model of a picture."""

from __future__ import annotations

from k8slan_cli.picture import Member, NodePart, Topology
from tests.support import scene
from tests.unit.picture.cluster import BLUE, RED, topology


def test_a_lan_in_use() -> None:
    wanted = Topology(
        title="LAN lab/red: VNI 10000, unicast",
        underlay="underlay, UDP port 4789",
        nodes=(
            NodePart(
                name="worker1",
                bridge="br0",
                tunnel="vxlan0",
                uplink="eth1 192.0.2.1",
                members=(Member(name="router-a", port="e1", lines=("net1 10.9.0.1/24", "02:a1:00:00:00:01")),),
            ),
            NodePart(
                name="worker2",
                bridge="br0",
                tunnel="vxlan0",
                uplink="eth1 192.0.2.2",
                members=(
                    Member(name="router-b", port="e2", lines=("lan0", "02:a1:00:00:00:02")),
                    Member(name="firewall", port="vm1", lines=("net1", "02:a1:00:00:00:03"), vm=True),
                ),
            ),
        ),
    )
    assert wanted == RED


def test_what_is_not_well_is_noted() -> None:
    assert BLUE.title == "LAN lab/blue: VNI 11, unicast, dynamic, not ready"
    assert [(node.name, node.note) for node in BLUE.nodes] == [
        ("worker1", "Degraded: there is no device bond0 here; it may…"),
        ("worker9", "nothing heard of it yet"),
        ("no node yet", "waiting: pod lab/c"),
    ]
    assert BLUE.nodes[1].members == (Member(name="other/<b>&", port="dynamic", lines=("net1 (waiting)",)),)


def test_a_mac_address_at_two_ports_is_seen() -> None:
    same = [("k8slan-lan-blue", "net1", "02:b1:00:00:00:01")]
    pods = [scene.pod(name, "k8slan-lan-blue", got=same) for name in "abc"]
    (node,) = topology(scene.lan("blue", dynamic=True), *pods).nodes
    assert [each.lines for each in node.members] == [("net1", "02:b1:00:00:00:01", "MAC address in use 3 times")] * 3
