"""From LANs and pods to the model of a picture."""

from __future__ import annotations

from k8slan_cli.picture import Link, Member, NodePart, Topology
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
    assert BLUE.title == "LAN lab/blue: VNI 11, unicast, dynamic, not ready: x"
    assert [(node.name, node.note) for node in BLUE.nodes] == [
        ("worker1", "Degraded: there is no device bond0 here; it may come back one day"),
        ("worker9", "nothing of the LAN here yet"),
        ("no node yet", "waiting: pod lab/c"),
    ]
    assert BLUE.nodes[1].members == (
        Member(name="other/<b>&", port="dynamic", lines=("net1 (waiting)",), link=Link.WAITING),
    )


def test_a_mac_address_at_two_ports_is_seen() -> None:
    ports = [scene.port(name, mac="02:b1:00:00:00:01") for name in "abc"]
    (node,) = topology(scene.lan("blue", dynamic=True), scene.vtep("worker1", *ports, lan="blue")).nodes
    assert [each.lines for each in node.members] == [("net1", "02:b1:00:00:00:01", "MAC address in use 3 times")] * 3


def test_what_is_wrong_with_an_interface_stands_at_it() -> None:
    lan = scene.lan(spokes=["e1"])
    large = scene.vtep("w3", scene.port("x", "e9") | {"mtu": 8946}, mtu=8946)
    lost = scene.vtep("w4", scene.port("y", "e1"), lost=True)
    drawn = topology(lan, *scene.TWICE, large, lost)
    assert {member.name: member.lines[-3:] for node in drawn.nodes for member in node.members} == {
        "d1": ("02:a1:00:00:00:01", "spoke in use twice", "link down"),
        "d2": ("eth1", "02:a1:00:00:00:01", "spoke in use twice"),
        "x": ("net1", "removed spoke, still in use", "MTU 8946, the LAN has 1446"),
        "y": ("net1",),
    }
    assert {node.name: node.note for node in drawn.nodes if node.note} == {"w4": "lost: the node is not ready"}


def test_a_node_that_only_reports_a_failure_has_no_tunnel() -> None:
    (node,) = topology(scene.lan(spokes=["e1"]), scene.vtep("w1", state="Degraded", message="no device")).nodes
    assert node == NodePart(name="w1", note="Degraded: no device", ill=True)


def pulled(*names: str, **spec: object) -> scene.Object:
    found = scene.lan(**spec)
    found["metadata"]["annotations"] = {"lan.k8slan.io/links-down": ",".join(names)}
    return found


def links(topology: Topology) -> dict[str, tuple[Link, str]]:
    return {each.name: (each.link, each.lines[-1]) for node in topology.nodes for each in node.members}


def test_a_link_that_was_pulled_out_is_down_and_its_other_end_too() -> None:
    three = topology(pulled("e1", spokes=["e1", "e2", "vm1"]), *scene.VTEPS)
    assert {name: link for name, (link, _) in links(three).items()} == {
        "router-a": Link.DOWN,
        "router-b": Link.UP,
        "firewall": Link.UP,
    }
    two = topology(pulled("e1", spokes=["e1", "e2"]), scene.vtep("w", scene.port("a", "e1"), scene.port("b", "e2")))
    assert links(two) == {"a": (Link.DOWN, "link down"), "b": (Link.DOWN, "link down at the other end")}
    dynamic = topology(pulled("lab/a:net1", dynamic=True), scene.vtep("w", scene.port("a"), scene.port("b")))
    assert links(dynamic) == {"a": (Link.DOWN, "link down"), "b": (Link.UP, "net1")}


def test_names_are_in_the_order_that_people_count_in() -> None:
    spokes = [f"s{number}" for number in range(1, 12)]
    ports = [scene.port(f"pod{spoke}", spoke) for spoke in reversed(spokes)]
    nodes = topology(scene.lan(spokes=spokes), *(scene.vtep(f"w{n}", port) for n, port in enumerate(ports))).nodes
    assert [node.name for node in nodes] == [f"w{n}" for n in range(11)]
    (node,) = topology(scene.lan(spokes=spokes), scene.vtep("w", *ports)).nodes
    assert [member.port for member in node.members] == spokes


def test_hardware_behind_an_uplink_is_drawn_and_waits_while_another_is_active() -> None:
    found = [{"device": "eth1", "carrier": True}, {"device": "eth1", "vlan": 7, "carrier": True, "active": True}]
    (node,) = topology(scene.lan(spokes=["a"]), scene.vtep("w", uplinks=[*found, {"device": "eth2"}])).nodes
    assert [(each.name, each.port, each.lines, each.link) for each in node.members] == [
        ("hardware", "uplink", ("eth1", "standby"), Link.WAITING),
        ("hardware", "uplink", ("eth1 VLAN 7", "active"), Link.UP),
        ("hardware", "uplink", ("eth2", "no carrier"), Link.DOWN),
    ]
    assert (node.bridge, node.tunnel) == ("br0", "vxlan0")
