"""Who gets which resource: each name once, kept for as long as its LAN has the spoke, and no more than nodes bear."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan import names
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.names import Forms
from k8slan_cli.lan.resources import Granted, Naming, Resources

A, B, C = (LanRef(namespace=namespace, name="lab") for namespace in "abc")
LONG = "macvtap.k8slan.io/k8slan-mac-lab-r1"


def other(nad: str, ref: LanRef) -> str:
    return names.resource(nad, str(ref))


def test_the_first_lan_has_the_plain_name_the_second_the_long_one_and_the_third_one_of_its_own() -> None:
    found = Resources(Naming())
    granted = [found.allot(ref, ["r1"]).resources for ref in (A, B, C)]
    assert granted == [(), (("k8slan-mac-r1", LONG),), (("k8slan-mac-r1", other("k8slan-mac-r1", C)),)]
    assert len(found) == 4, "three for VMs, and one for all pods"
    assert [found.allot(ref, ["r1"]).resources for ref in (C, B, A)] == granted[::-1], "asked again, nothing changes"


def test_what_a_lan_has_it_keeps_though_a_better_name_is_free() -> None:
    found = Resources(Naming())
    for ref in (A, B):
        found.allot(ref, ["r1"])
    found.release(A)
    assert found.allot(B, ["r1"]).resources == (("k8slan-mac-r1", LONG),)
    assert found.allot(C, ["r1"]).resources == (), "it is for who comes next"
    assert found.allot(B, []) == Granted()
    assert found.allot(B, ["r1"]).resources == (("k8slan-mac-r1", LONG),)


def test_a_name_that_comes_out_equal_is_another_lans_too() -> None:
    found = Resources(Naming())
    assert found.allot(A, ["r1", "lab-r1"]).resources == ()
    assert found.allot(B, ["r1"]).resources == (("k8slan-mac-r1", other("k8slan-mac-r1", B)),)


def test_with_both_forms_a_spoke_has_two_resources_and_may_share_one() -> None:
    found = Resources(Naming(forms=Forms.BOTH))
    assert found.allot(A, ["r1"]).resources == ()
    assert len(found) == 4
    assert found.allot(B, ["r1"]).resources == tuple(
        (nad, other(nad, B)) for nad in ("k8slan-mac-r1", "k8slan-mac-lab-r1")
    )
    found = Resources(Naming(forms=Forms.BOTH))
    found.allot(A, ["r1"])
    x = LanRef(namespace="b", name="x")
    assert found.allot(x, ["r1"]).resources == (("k8slan-mac-r1", "macvtap.k8slan.io/k8slan-mac-x-r1"),)
    assert len(found) == 6


def test_the_ceiling_is_never_passed_and_who_waits_is_told_of_room() -> None:
    found = Resources(Naming(most=5))
    assert found.allot(A, ["r1", "r2"]) == Granted()
    assert found.allot(B, ["r1", "r2"]).bare == ("r2",)
    assert len(found) == 5
    assert found.allot(C, ["r3"]) == Granted(
        resources=(("k8slan-mac-r3", names.resource("k8slan-mac-r3", f"{C} has none")),), bare=("r3",)
    ), "a VM waits, and gets nobody else's tap"
    assert found.waiting() == ()
    found.release(A)
    assert set(found.waiting()) == {B, C}
    assert found.allot(B, ["r1", "r2"]).bare == ()
    assert found.waiting() == (C,)


def test_what_was_had_is_learned_unless_it_cannot_be_had() -> None:
    found = Resources(Naming())
    found.learn(B, "r1", {"k8slan-mac-r1": LONG})
    found.learn(A, "r1", {"k8slan-mac-r1": names.resource("k8slan-mac-r1")})
    found.learn(C, "r1", {"k8slan-mac-r1": names.resource("k8slan-mac-r1")})
    found.learn(C, "r2", {"k8slan-mac-r2": names.resource("k8slan-mac-r1")})
    assert found.allot(A, ["r1"]).resources == ()
    assert found.allot(B, ["r1"]).resources == (("k8slan-mac-r1", LONG),)
    assert found.allot(C, ["r1", "r2"]).resources == (("k8slan-mac-r1", other("k8slan-mac-r1", C)),)


_REFS = st.builds(LanRef, namespace=st.sampled_from("ab"), name=st.sampled_from(["r", "r-r", "s"]))
_SPOKES = st.lists(st.sampled_from(["r", "s", "r-r", "r-s"]), unique=True, max_size=4)


@given(st.sampled_from(Forms), st.integers(0, 20), st.lists(st.tuples(_REFS, st.none() | _SPOKES), max_size=20))
def test_no_two_spokes_ever_have_one_name(
    forms: Forms, most: int, steps: list[tuple[LanRef, list[str] | None]]
) -> None:
    found = Resources(Naming(forms=forms, most=most))
    there: dict[LanRef, tuple[list[str], Granted]] = {}
    for ref, spokes in steps:
        before = there.pop(ref, ([], Granted()))
        if spokes is None:
            found.release(ref)
            continue
        nads = [names.mac_nad(spoke, before) for spoke, before in product(spokes, forms.of(ref.name))]
        spokes = spokes if len(set(nads)) == len(nads) else []  # that is a clash, and gets nothing
        granted = found.allot(ref, spokes)
        there[ref] = spokes, granted
        assert found.allot(ref, spokes) == granted
        for nad, name in _macs(ref, forms, *before).items():
            if nad[1] in spokes:
                assert _macs(ref, forms, spokes, granted)[nad] == name, "what is had is kept"
        owners: dict[str, tuple[LanRef, str]] = {}
        veths = set()
        for one, (wanted, had) in there.items():
            for (_, spoke), name in _macs(one, forms, wanted, had).items():
                assert owners.setdefault(name, (one, spoke)) == (one, spoke)
            offered = [spoke for spoke in wanted if spoke not in had.bare]
            veths |= {names.veth_nad(spoke, before) for spoke, before in product(offered, forms.of(one.name))}
        assert len(found) == len(owners) + len(veths) <= most
    for ref in there:
        found.release(ref)
    assert len(found) == 0


def _macs(ref: LanRef, forms: Forms, spokes: list[str], granted: Granted) -> dict[tuple[str, str], str]:
    """The resource of each NAD of a spoke that has any."""
    named = dict(granted.resources)
    nads = {(names.mac_nad(s, before), s) for s, before in product(spokes, forms.of(ref.name)) if s not in granted.bare}
    return {(nad, spoke): named.get(nad, names.resource(nad)) for nad, spoke in nads}


@pytest.mark.parametrize("lan", ["lab", "a.b", "x" * 253, "a" * 40 + ".b"])
@pytest.mark.parametrize("own", ["", "ns/lan"])
def test_whatever_a_lan_is_called_its_resources_have_names_that_kubernetes_takes(lan: str, own: str) -> None:
    for nad in (names.veth_nad("s" * 13, lan), names.mac_nad("s" * 13, lan)):
        assert names.subdomain_fault(nad) == ""
        assert names.resource_fault(names.resource(nad, own)) == ""
    assert names.resource(names.mac_nad("s1", lan)) != names.resource(names.mac_nad("s2", lan))
