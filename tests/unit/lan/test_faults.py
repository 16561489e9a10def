"""What is wrong between ports, where several things come together; the rest is in the tests of its readers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from k8slan_cli.lan import faults, names
from k8slan_cli.lan.model import Lan, LanRef, Uplink
from k8slan_cli.lan.vtep import PodRef, VmRef, Vtep, VtepPort, VtepUplink, holdings

BLUE = LanRef(namespace="lab", name="blue")
LAN = Lan(ref=BLUE, netns="blue", bridge="br0", vxlan="vxlan0", vni=7, spokes=("a",))


def on(node: str, pod: str, vm: str, version: int, *, migrating: bool = False) -> Vtep:
    port = VtepPort(
        name=names.port("a"),
        interface="net1",
        kind="macvtap",
        spoke="a",
        pod=PodRef(namespace="lab", name=pod, uid=f"uid-{pod}"),
        vm=VmRef(name=vm, uid=f"vmi-{vm}"),
        mac="02:00:00:00:00:01",
        migrating=migrating,
    )
    return Vtep(lan=BLUE, node=node, ports=(port,), version=version)


def test_a_vm_that_migrates_is_at_both_ends_and_a_third_pod_is_the_only_fault() -> None:
    vteps = [on("n1", "l1", "fw", 3), on("n2", "l2", "fw", 8, migrating=True), on("n3", "thief", "other", 9)]
    claims = holdings(vteps)
    (shared,) = faults.shared_spokes(claims, ", ".join)
    assert shared.message == (
        "spoke a is held by VM lab/fw on node n1 (net1), VM lab/fw on node n2 (net1), "
        "so there is no link for VM lab/other on node n3 (net1): delete all but one"
    )
    assert list(faults.shared_macs(faults.linked(vteps, claims), ", ".join)) == []
    assert [fault.reason for fault in faults.shared_macs(vteps, ", ".join)] == ["MacShared"]


def test_a_remote_that_is_a_node_is_named() -> None:
    lan = replace(LAN, remotes=(ip_address("192.0.2.9"), ip_address("192.0.2.1")))
    vteps = [replace(on("n1", "l1", "fw", 3), address=ip_address("192.0.2.1"))]
    (fault,) = faults.remote_nodes(lan, vteps)
    assert fault.message.startswith("spec.remotes[1] is 192.0.2.1, which is node n1: ")
    assert fault.ready


def test_an_underlay_that_leaves_too_little_for_ipv6_is_named_unless_it_is_wanted_so() -> None:
    vteps = [
        replace(on("n1", "l1", "fw", 3), mtu=1246, device="eth0", address=ip_address("192.0.2.1")),
        replace(on("n2", "l2", "x", 4), mtu=1446, device="eth1", address=ip_address("192.0.2.2")),
    ]
    (fault,) = faults.too_small(LAN, vteps, ", ".join)
    assert fault.message == (
        "IPv6 needs an MTU of 1280 in the LAN, so one of 1334 at eth0 of node n1 (now 1246 inside)"
    )
    assert fault.ready
    assert list(faults.too_small(replace(LAN, mtu=1200), vteps, ", ".join)) == []
    assert list(faults.too_small(LAN, [replace(vteps[0], mtu=1280), vteps[1]], ", ".join)) == []


def test_what_an_agent_cannot_do_beside_lans_leaves_them_ready() -> None:
    vteps = [replace(on("n1", "l1", "fw", 3), state="Ready", message="metrics: cannot listen"), on("n2", "l2", "x", 4)]
    (fault,) = faults.agents(vteps, ", ".join)
    assert fault.message == "agents have trouble: node n1: metrics: cannot listen"
    assert fault.ready
    assert list(faults.agents([replace(vteps[0], lost=True)], ", ".join)) == []


def test_a_lan_whose_uplinks_have_no_carrier_is_ready_and_says_so() -> None:
    lan = replace(LAN, uplinks=(Uplink(node="n1", device="eth1", vlan=7),))
    dark = VtepUplink(device="eth1", vlan=7)
    vtep = replace(on("n1", "l1", "fw", 3), uplinks=(dark,))
    (fault,) = faults.uplinks(lan, [vtep], ", ".join)
    assert fault.message == (
        "no uplink has a carrier, so hardware does not reach the LAN: look at the cables of eth1 VLAN 7 of node n1"
    )
    assert fault.ready
    for other in (replace(dark, carrier=True), replace(dark, message="refused, which the node says itself")):
        assert list(faults.uplinks(lan, [vtep, replace(vtep, node="n2", uplinks=(other,))], ", ".join)) == []
    assert list(faults.uplinks(lan, [], ", ".join)) == [], "nothing has been said yet"


def test_a_node_that_is_lost_disturbs_nobody_by_its_mac() -> None:
    vteps = [replace(on("n1", "l1", "fw", 3), lost=True), on("n2", "l2", "other", 8)]
    assert list(faults.shared_macs(faults.linked(vteps, holdings(vteps)), ", ".join)) == []
