"""Clashes found through the index are those that the rule finds among all LANs, whatever happened before."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.controller.claims import Claims
from k8slan_cli.lan import validate
from k8slan_cli.lan.model import PROTECTION, Grant, Lan, LanRef, NodeStatus, Uplink

_UPLINKS = st.lists(
    st.builds(Uplink, node=st.just("w1"), device=st.sampled_from(["eth1", "eth2"]), vlan=st.integers(0, 2)),
    max_size=2,
    unique_by=lambda uplink: uplink.device,
).map(tuple)
_GRANTS = st.builds(
    Grant,
    netns=st.sampled_from(["n1", "n2", "n3"]),
    vni=st.integers(0, 4),
    spokes=st.lists(st.sampled_from(["e1", "e2", "e3"]), max_size=2, unique=True).map(tuple),
    uplinks=_UPLINKS,
)
_NAMES = st.sampled_from("abcdef")
_LANS = st.builds(
    Lan,
    ref=st.builds(LanRef, namespace=st.sampled_from("xy"), name=_NAMES),
    netns=st.sampled_from(["n1", "n2", "n3", "n4", "n5", "n6"]),
    bridge=st.just("br0"),
    vxlan=st.just("vxlan0"),
    vni=st.integers(1, 8),
    spokes=st.lists(st.sampled_from([f"e{i}" for i in range(12)]), max_size=3, unique=True).map(tuple),
    uplinks=st.just(()) | _UPLINKS,
    created=st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", ""]),
    deleting=st.booleans(),
    granted=st.none() | _GRANTS,
    finalizers=st.sampled_from([(), (PROTECTION,)]),
    nodes=st.sampled_from([(), (NodeStatus(name="n1"),)]),
    attached=st.booleans(),
)
_STEPS = st.lists(st.tuples(_LANS, st.booleans()), max_size=25)


@given(_STEPS, _LANS)
def test_the_index_agrees_with_the_rule(steps: list[tuple[Lan, bool]], candidate: Lan) -> None:
    claims = Claims()
    there: dict[LanRef, Lan] = {}
    for lan, stays in steps:
        before = {ref: claims.clashes_of(known) for ref, known in there.items()}
        told = claims.put(lan.ref, lan if stays else None)
        there.pop(lan.ref, None)
        if stays:
            there[lan.ref] = lan
        wanted = validate.settle(there.values()).clashes
        after = {ref: claims.clashes_of(known) for ref, known in there.items()}
        assert after == {ref: wanted.get(ref, ()) for ref in there}
        changed = {ref for ref in after if before.get(ref, ()) != after[ref]}
        assert changed - {lan.ref} <= told, "whoever is concerned is told"
        for known in there.values():
            for spoke in known.spokes:
                assert known.ref in claims.owners(known.ref.namespace, f"k8slan-veth-{spoke}")
    others = {ref: lan for ref, lan in there.items() if ref != candidate.ref}
    assert claims.clashes_of(candidate) == validate.settle([*others.values(), candidate]).clashes.get(candidate.ref, ())


@given(st.lists(_LANS, max_size=10))
def test_nothing_is_left_of_what_is_gone(lans: list[Lan]) -> None:
    claims = Claims()
    for lan in lans:
        claims.put(lan.ref, lan)
    for lan in lans:
        claims.put(lan.ref, None)
    assert claims._by_claim == {}
    assert claims._lans == {}


@given(_LANS)
def test_a_change_that_claims_nothing_else_concerns_nobody(lan: Lan) -> None:
    claims = Claims()
    claims.put(lan.ref, lan)
    other = replace(lan, ref=LanRef(namespace=lan.ref.namespace, name="z"))
    claims.put(other.ref, other)
    assert claims.put(lan.ref, replace(lan, mtu=1400)) == frozenset()
    assert claims.put(lan.ref, replace(lan, vni=9)) == {other.ref}


@given(_LANS, st.none() | _GRANTS)
def test_what_the_controller_says_of_a_lan_concerns_those_that_it_shares_claims_with(
    lan: Lan, granted: Grant | None
) -> None:
    claims = Claims()
    claims.put(lan.ref, lan)
    other = replace(lan, ref=LanRef(namespace=lan.ref.namespace, name="z"))
    claims.put(other.ref, other)
    told = claims.put(lan.ref, replace(lan, granted=granted))
    assert told == (frozenset() if granted == lan.granted else {other.ref})
