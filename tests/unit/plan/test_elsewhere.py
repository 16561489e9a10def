"""What follows from the VTEPs of other nodes: peers, ports that have lost their spoke, the MTU of new attachments."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from k8slan_cli.lan.model import Lan, LanRef, NodeStatus
from k8slan_cli.lan.vtep import PodRef, Vtep, VtepPort
from k8slan_cli.plan import desired
from k8slan_cli.plan.desired import Elsewhere
from k8slan_cli.plan.state import Bridge, LanState, Port, Tunnel, Vxlan

REF = LanRef(namespace="lab", name="blue")
LAN = Lan(ref=REF, netns="blue", bridge="br0", vxlan="vx0", vni=7, spokes=("a", "b"))
A2, A3 = ip_address("10.0.0.2"), ip_address("10.0.0.3")


def port(spoke: str, *, claim: int = 0) -> VtepPort:
    pod = PodRef(namespace="lab", name=f"pod-{spoke}", uid=f"uid-{spoke}")
    return VtepPort(name=f"{spoke}p", interface="net1", kind="veth", spoke=spoke, pod=pod, claim=claim)


def vtep(node: str, *ports: VtepPort, mtu: int = 1446, version: int = 1) -> Vtep:
    address = ip_address(f"10.0.0.{node[1:]}")
    return Vtep(lan=REF, node=node, address=address, mtu=mtu, ports=ports, version=version)


def test_peers_are_vteps_with_ports_and_entries_of_nodes_that_have_no_vtep() -> None:
    entries = tuple(NodeStatus(name=f"w{n}", vtep=ip_address(f"10.0.0.{n}")) for n in (1, 2, 3, 4))
    lan = replace(LAN, nodes=entries)
    found = desired.elsewhere(lan, "w1", [vtep("w1", port("a")), vtep("w2", port("b")), vtep("w3")])
    assert found.peers == {A2, ip_address("10.0.0.4")}


@pytest.mark.parametrize(("claims", "losers"), [((5, 4), {"ap"}), ((4, 5), set()), ((0, 4), {"ap"})])
def test_the_earlier_claim_holds_the_spoke(claims: tuple[int, int], losers: set[str]) -> None:
    mine = vtep("w1", port("a", claim=claims[0]), port("b"), version=9)
    assert desired.elsewhere(LAN, "w1", [mine, vtep("w2", port("a", claim=claims[1]))]).losers == losers


def test_a_lost_node_gives_its_spokes_to_who_comes_meanwhile_and_keeps_the_others() -> None:
    mine = replace(vtep("w1", port("a", claim=4), port("b", claim=4)), lost=True)
    assert desired.elsewhere(LAN, "w1", [mine, vtep("w2", port("a", claim=5))]).losers == {"ap"}
    assert desired.elsewhere(LAN, "w1", [mine]).losers == frozenset()


def test_a_spoke_on_another_node_has_a_holder_there_and_never_here() -> None:
    vteps = [vtep("w1", port("a")), vtep("w2", port("b", claim=3)), replace(vtep("w3", port("b", claim=2)), lost=True)]
    holder = desired.holder_elsewhere("w1", vteps, "b")
    assert holder is not None
    assert holder.who == "pod lab/pod-b on node w2"
    assert desired.holder_elsewhere("w1", vteps, "a") is None
    assert desired.holder_elsewhere("w2", vteps, "b") is None


def test_a_new_attachment_has_the_least_mtu_of_all_that_take_part() -> None:
    others = [vtep("w2", port("b"), mtu=1400), vtep("w3", mtu=1300), vtep("w1", port("a"), mtu=1200)]
    assert desired.mtu_everywhere(LAN, "w1", others, 8946) == 1400
    assert desired.mtu_everywhere(LAN, "w1", (), 1446) == 1446
    old = replace(LAN, nodes=(NodeStatus(name="w9", mtu=1350), NodeStatus(name="w2", mtu=1100)))
    assert desired.mtu_everywhere(old, "w1", others, 8946) == 1350


def test_what_has_not_been_heard_stays_as_it_is() -> None:
    """An agent that starts while the API server is away neither forgets peers nor sets a port up that has lost."""
    tunnel = Tunnel(vni=7, port=4789, device=2, local=None, group=None)
    link = Port(name="vx0", bridge="br0", mtu=1446)
    ports = {"ap": Port(name="ap", bridge="br0", mtu=1446, up=False), "bp": Port(name="bp", bridge="br0", mtu=1446)}
    seen = LanState(
        netns="blue",
        bridge=Bridge(name="br0", mtu=1446),
        vxlan=Vxlan(link=link, tunnel=tunnel, peers=frozenset({A2})),
        ports=ports,
    )
    lan = replace(LAN, nodes=(NodeStatus(name="w3", vtep=A3),))
    assert desired.as_heard(Elsewhere(), lan, "w1", seen) == Elsewhere(
        peers=frozenset({A2, A3}), losers=frozenset({"ap"}), plugged=frozenset(LAN.spokes)
    )
    heard = Elsewhere(peers=frozenset(), losers=frozenset(), plugged=frozenset())
    assert desired.as_heard(heard, lan, "w1", seen) == heard
