"""VTEPs: what everybody works out from them alike, and that their documents say all that they say."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan import names, vtep, vtep_codec
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import PodRef, VmRef, Vtep, VtepPort, VtepUplink

BLUE = LanRef(namespace="lab", name="blue")


def port(spoke: str, pod: str = "", *, vm: str = "", mac: str = "02:00:00:00:00:01", claim: int = 0) -> VtepPort:
    pod = pod or f"pod-{spoke}"
    return VtepPort(
        name=names.port(spoke),
        interface="eth1",
        kind="macvtap" if vm else "veth",
        spoke=spoke,
        pod=PodRef(namespace="lab", name=pod, uid=f"uid-{pod}"),
        vm=VmRef(name=vm, uid=f"vmi-{vm}") if vm else None,
        mac=mac,
        claim=claim,
    )


def coming(spoke: str, pod: str, vm: str) -> VtepPort:
    return replace(port(spoke, pod, vm=vm), migrating=True)


def on(node: str, *ports: VtepPort, version: int = 1, address: str = "", mtu: int = 0) -> Vtep:
    found = ip_address(address) if address else None
    return Vtep(lan=BLUE, node=node, ports=ports, version=version, address=found, mtu=mtu)


# ---------------------------------------------------------------- peers and MTU


def test_peers_are_the_other_nodes_that_have_ports() -> None:
    vteps = [on("n1", port("a"), address="10.0.0.1"), on("n2", port("b"), address="10.0.0.2"), on("n3", port("c"))]
    idle = on("n4", address="10.0.0.4")  # it reports a failure, and takes no part
    assert vtep.peers([*vteps, idle], "n1") == {ip_address("10.0.0.2")}
    assert vtep.peers([*vteps, idle], "n4") == {ip_address("10.0.0.1"), ip_address("10.0.0.2")}


def test_a_node_with_an_uplink_takes_part_without_ports() -> None:
    spare = replace(on("n2", address="10.0.0.2", mtu=1400), uplinks=(VtepUplink(device="eth1"),))
    assert vtep.peers([on("n1", port("a"), address="10.0.0.1"), spare], "n1") == {ip_address("10.0.0.2")}
    assert vtep.least_mtu([on("n1", port("a"), mtu=1446), spare]) == 1400


def test_of_two_uplinks_that_are_said_to_be_active_the_one_that_was_said_last_is() -> None:
    active = (VtepUplink(device="eth1"), VtepUplink(device="eth2", vlan=7, active=True))
    dead, new = replace(on("n1", version=5), uplinks=active), replace(on("n2", version=9), uplinks=active)
    assert vtep.active_uplink([dead, new]) == vtep.active_uplink([new, dead]) == "eth2 VLAN 7 of node n2"
    assert vtep.active_uplink([dead, replace(new, lost=True)]) == "eth2 VLAN 7 of node n1"
    assert vtep.active_uplink([replace(dead, uplinks=active[:1]), on("n3", port("a"))]) == ""


def test_the_lan_carries_what_the_least_of_its_nodes_carries() -> None:
    vteps = [on("n1", port("a"), mtu=8946), on("n2", port("b"), mtu=1446), on("n3", mtu=900), on("n4", port("c"))]
    assert vtep.least_mtu(vteps) == 1446
    assert vtep.least_mtu([]) == 0


# ---------------------------------------------------------------- who holds a spoke


def test_the_write_that_the_api_server_took_first_holds_the_spoke() -> None:
    early, late = on("n2", port("a", "first"), version=7), on("n1", port("a", "second"), version=9)
    holding = vtep.holdings([late, early])["a"]
    assert [h.who for h in holding.holders] == ["pod lab/first on node n2"]
    assert [h.who for h in holding.losers] == ["pod lab/second on node n1"]


def test_a_holder_keeps_its_spoke_when_its_vtep_is_written_again() -> None:
    first = on("n2", port("a"), version=7)
    grown = vtep.with_claims(on("n2", port("a"), port("b")), first)
    assert {p.spoke: p.claim for p in grown.ports} == {"a": 7, "b": 0}
    written = replace(grown, version=20)
    assert vtep.holdings([written, on("n1", port("a", "other"), version=9)])["a"].holders[0].node == "n2"
    assert written.claim_of(written.ports[1]) == 20
    assert {p.claim for p in vtep.with_claims(on("n2", port("a"), port("b")), written).ports} == {7, 20}


def test_another_pod_at_the_same_port_claims_anew() -> None:
    """A StatefulSet's pod that comes back has its name, but not what the one before it had."""
    before = on("n1", port("a", "db-0"), version=7)
    after = on("n1", replace(port("a", "db-0"), pod=PodRef(namespace="lab", name="db-0", uid="new")))
    assert vtep.with_claims(after, before).ports[0].claim == 0


def test_a_node_that_is_lost_holds_nothing() -> None:
    lost = replace(on("n1", port("a", "old"), version=3), lost=True)
    assert vtep.holdings([lost, on("n2", port("a", "new"), version=8)])["a"].holders[0].node == "n2"


def test_a_node_that_comes_back_takes_nothing_from_who_came_meanwhile() -> None:
    lost = replace(on("n1", replace(port("a", "old"), claim=3), version=5), lost=True)
    again = vtep.with_claims(replace(lost, version=0), lost)
    assert again.ports[0].claim == 0
    back = replace(again, lost=False, version=12)  # the controller's write, after the other's claim
    assert vtep.holdings([back, on("n2", port("a", "new"), version=8)])["a"].holders[0].node == "n2"


def test_who_else_writes_a_vtep_makes_no_claim_later() -> None:
    known = replace(on("n1", port("a", "old"), version=3), uid="u")
    touched = replace(known, version=20)  # an annotation, a request to delete it
    assert vtep.with_known_claims(touched, known).ports[0].claim == 3
    more = replace(touched, ports=(*touched.ports, port("b")))
    assert [p.claim for p in vtep.with_known_claims(more, known).ports] == [3, 0]
    assert vtep.with_known_claims(replace(touched, uid="another"), known).ports[0].claim == 0


@pytest.mark.parametrize(("before", "after"), [(None, True), (True, True), (True, False), (None, False)])
def test_the_controllers_word_on_a_lost_node_makes_claims_begin_anew(before: bool | None, after: bool) -> None:
    """Also where the agent has not heard that the node was lost, but only that it is no longer."""
    known = replace(on("n1", port("a", "old"), version=3), uid="u", lost=before)
    assert vtep.with_known_claims(replace(known, version=20, lost=after), known).ports[0].claim == 0


def test_a_migrating_vm_holds_its_spoke_at_both_ends_and_nobody_else_does() -> None:
    source, target = on("n1", port("a", "l1", vm="fw"), version=3), on("n2", coming("a", "l2", "fw"), version=8)
    thief = on("n3", coming("a", "l3", "other"), version=9)
    holding = vtep.holdings([thief, target, source])["a"]
    assert [h.node for h in holding.holders] == ["n1", "n2"]
    assert [h.node for h in holding.losers] == ["n3"]
    copy = on("n2", port("a", "l2", vm="fw"), version=8)  # without KubeVirt's word
    assert [h.node for h in vtep.holdings([copy, source])["a"].losers] == ["n2"]


def test_ports_without_a_spoke_hold_none() -> None:
    assert vtep.holdings([on("n1", replace(port("a"), spoke=""))]) == {}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 50)), min_size=1, max_size=8), st.randoms())
def test_every_reader_finds_the_same_holders(claims: list[tuple[str, int]], order: random.Random) -> None:
    vteps = [on(f"n{i}", port(spoke, f"p{i}"), version=version) for i, (spoke, version) in enumerate(claims)]
    shuffled = list(vteps)
    order.shuffle(shuffled)
    found = vtep.holdings(vteps)
    assert found == vtep.holdings(shuffled)
    for spoke, holding in found.items():
        (holder,) = holding.holders
        assert holder.claim == min(version for name, version in claims if name == spoke)


# ---------------------------------------------------------------- MAC addresses


def test_ports_with_one_mac_are_found() -> None:
    vteps = [on("n1", port("a"), port("b", mac="02:00:00:00:00:02")), on("n2", port("c"))]
    assert {mac: [h.node for h in ports] for mac, ports in vtep.same_mac(vteps).items()} == {
        "02:00:00:00:00:01": ["n1", "n2"]
    }


def test_a_migrating_vm_has_its_mac_twice_and_that_is_no_clash() -> None:
    source = on("n1", port("a", "l1", vm="fw"))
    assert vtep.same_mac([source, on("n2", port("a", "l2", vm="fw"))])
    assert not vtep.same_mac([source, on("n2", coming("a", "l2", "fw"))])


# ---------------------------------------------------------------- documents

text = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
ports = st.builds(
    VtepPort,
    name=text,
    interface=text,
    kind=st.sampled_from(["veth", "macvtap"]),
    spoke=st.one_of(st.just(""), text),
    pod=st.none() | st.builds(PodRef, namespace=text, name=text, uid=text),
    vm=st.none() | st.builds(VmRef, name=text, uid=text),
    mac=st.sampled_from(["", "02:00:00:00:00:01"]),
    addresses=st.sampled_from([(), ("10.0.0.2/24", "fd00::2/64")]),
    mtu=st.integers(0, 9000),
    since=st.sampled_from(["", "2026-01-01T00:00:00Z"]),
    claim=st.integers(0, 1 << 60),
)
uplinks = st.builds(
    VtepUplink,
    device=text,
    vlan=st.integers(0, 4094),
    carrier=st.booleans(),
    active=st.booleans(),
    message=st.text(max_size=20),
)
vteps = st.builds(
    Vtep,
    lan=st.builds(LanRef, namespace=text, name=text),
    node=text,
    address=st.sampled_from([None, ip_address("10.0.0.1"), ip_address("fe80::1")]),
    device=text,
    port=st.integers(0, 65535),
    mtu=st.integers(0, 9000),
    state=st.sampled_from(["Ready", "Degraded"]),
    message=st.text(max_size=20),
    ports=st.lists(ports, max_size=3).map(tuple),
    uplinks=st.lists(uplinks, max_size=3).map(tuple),
)


@given(vteps, st.integers(1, 1 << 60))
def test_a_document_gives_back_the_vtep_that_it_was_made_of(value: Vtep, version: int) -> None:
    document = json.loads(json.dumps(vtep_codec.encode(value)))
    document["metadata"] |= {"uid": "u1", "resourceVersion": str(version)}
    assert vtep_codec.decode(document) == replace(value, uid="u1", version=version)


def test_what_cannot_be_read_is_left_out_and_the_rest_counts() -> None:
    document = vtep_codec.encode(on("n1", port("a"), address="10.0.0.1"))
    document["status"]["ports"] += ["nonsense", {"spoke": "no name"}, {"name": "bp", "mtu": "x", "pod": 7}]
    document["status"] |= {"address": "here", "mtu": -1, "port": True}
    found = vtep_codec.decode(document)
    assert found is not None
    assert [p.name for p in found.ports] == ["ap", "bp"]
    assert (found.address, found.mtu, found.port) == (None, 0, 0)


@pytest.mark.parametrize("document", [{}, {"spec": None}, {"spec": {"lan": "blue"}}, {"spec": {"node": "n1"}}])
def test_a_document_without_lan_and_node_is_none(document: dict[str, object]) -> None:
    assert vtep_codec.decode(document) is None


def test_a_vtep_with_ports_is_held_and_one_without_is_not() -> None:
    assert vtep_codec.encode(on("n1", port("a")))["metadata"]["finalizers"] == [vtep_codec.HELD]
    assert vtep_codec.encode(on("n1"))["metadata"]["finalizers"] == []


def test_a_port_takes_some_200_bytes() -> None:
    value = replace(port("router"), addresses=("10.0.0.2/24",), mtu=1446, since="2026-01-01T00:00:00Z", claim=123456789)
    one, two = (len(json.dumps(vtep_codec.encode(on("n1", *[value] * n)))) for n in (1, 2))
    assert two - one < 320


# ---------------------------------------------------------------- names


@given(text, text, text, text)
def test_no_two_vteps_of_a_namespace_share_a_name(lan1: str, node1: str, lan2: str, node2: str) -> None:
    same = (lan1, node1) == (lan2, node2)
    assert (names.vtep(lan1, node1) == names.vtep(lan2, node2)) == same


def test_names_fit_whatever_their_lengths() -> None:
    lan, node = f"{'l' * 99}.{'x' * 150}", f"{'n' * 99}.{'y' * 150}"
    assert names.subdomain_fault(names.vtep(lan, node)) == ""
    assert len(names.label_value(node)) == 63
    assert names.label_value("worker1") == "worker1"
