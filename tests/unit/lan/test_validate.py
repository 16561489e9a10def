"""The rules: of one LAN, of a change to it, and of several LANs together."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan import names, validate
from k8slan_cli.lan.model import Lan, LanRef
from tests.unit.lan import strategies

TWINS = ("s35809", "s74007")
"""Two spokes whose taps would have the same link index: found by trying."""


def lan(name: str = "blue", **fields: Any) -> Lan:
    """A small valid LAN, with ``fields`` in place of its own."""
    base = Lan(ref=LanRef(namespace="lab", name=name), netns="n", bridge="br0", vxlan="vx0", vni=1, spokes=("a",))
    return replace(base, **fields)


def broken(**fields: Any) -> list[str]:
    return [str(problem) for problem in validate.rules(lan(**fields))]


# ---------------------------------------------------------------- one LAN


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ref": LanRef(namespace="lab", name="Blue")}, "metadata.name"),
        ({"ref": LanRef(namespace="a.b", name="blue")}, "metadata.namespace"),
        ({"netns": "../../etc"}, "spec.ns"),
        ({"netns": "a" * 129}, "spec.ns"),
        ({"bridge": "a" * 14}, "spec.bridge"),
        ({"bridge": "lo"}, "spec.bridge: 'lo' is a name that the kernel keeps for itself"),
        ({"vxlan": "all"}, "spec.vxlan: 'all' is a name that the kernel keeps for itself"),
        ({"vxlan": "default"}, "spec.vxlan: 'default' is a name that the kernel keeps for itself"),
        ({"vxlan": "a/b"}, "spec.vxlan"),
        ({"bridge": "x", "vxlan": "x"}, "spec.vxlan: 'x' is the bridge's name too"),
        ({"vni": 0}, "spec.vni"),
        ({"vni": 1 << 24}, "spec.vni"),
        ({"vni": -1}, "spec.vni"),
        ({"port": 0}, "spec.vxlanPort"),
        ({"port": 65536}, "spec.vxlanPort"),
        ({"group": ip_address("10.0.0.1")}, "spec.vxlanGrp"),
        ({"group": ip_address("2001:db8::1")}, "spec.vxlanGrp"),
        ({"underlay": "a" * 16}, "spec.defaultVxlanDev"),
        ({"underlays": (("w1", "a b"),)}, "spec.vxlanDevMap[w1]"),
        ({"underlays": (("w1", "a" * 16),)}, "spec.vxlanDevMap[w1]"),
        ({"underlays": (("w_1", "eth0"),)}, "spec.vxlanDevMap['w_1']"),
        ({"mtu": 67}, "spec.mtu"),
        ({"mtu": 65462}, "spec.mtu"),
        ({"spokes": ()}, "spec.spokes: needs at least one spoke, or spec.dynamic: true"),
        ({"spokes": ("",)}, "spec.spokes[0]: is empty"),
        ({"spokes": ("a" * 14,)}, "spec.spokes[0]"),
        ({"spokes": ("a", "Up")}, "spec.spokes[1]"),
        ({"spokes": ("a", "a_b")}, "spec.spokes[1]"),
        ({"spokes": ("a", "b", "a")}, "spec.spokes[2]: 'a' is spec.spokes[0] already"),
        ({"spokes": TWINS}, "spec.spokes[1]: 's74007' would share its tap device with spec.spokes[0]"),
        ({"bridge": "ap"}, "spec.spokes[0]: its device 'ap' has the name of spec.bridge"),
        ({"vxlan": "as"}, "spec.spokes[0]: its device 'as' has the name of spec.vxlan"),
        ({"ref": LanRef(namespace="lab", name="a" * 243), "dynamic": True}, "metadata.name"),
    ],
)
def test_each_rule_names_the_field_that_breaks_it(fields: dict[str, Any], expected: str) -> None:
    """Each case breaks one rule and is the neighbour of a LAN that breaks none."""
    found = broken(**fields)
    assert len(found) == 1
    assert found[0].startswith(f"{expected.partition(': ')[0]}: ")
    assert expected in found[0]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ref": LanRef(namespace="a" * 63, name="a" * 253)},
        {"netns": "a" * 128},
        {"bridge": "a" * 13, "vxlan": "b" * 13},
        {"vni": 1},
        {"vni": (1 << 24) - 1},
        {"port": 1},
        {"port": 65535},
        {"group": ip_address("224.0.0.1")},
        {"group": ip_address("ff02::14")},
        {"underlay": "a" * 15},
        {"underlay": "lo"},
        {"underlays": (("Worker-1.example", "a" * 15),)},
        {"mtu": 68},
        {"mtu": 65461},
        {"spokes": (), "dynamic": True},
        {"spokes": ("a" * 13, "ap", "as", "app")},
        {"spokes": tuple(f"s{i}" for i in range(4095))},
        {"ref": LanRef(namespace="lab", name="a" * 242), "dynamic": True},
    ],
)
def test_what_is_just_within_the_bounds_is_right(fields: dict[str, Any]) -> None:
    assert broken(**fields) == []


def test_too_many_spokes_are_refused_in_one_line() -> None:
    assert broken(spokes=tuple(f"s{i}" for i in range(4096))) == ["spec.spokes: has 4096 spokes, 1022 at the most"]


@given(strategies.lans())
def test_a_valid_lan_has_no_two_devices_of_one_name(lan: Lan) -> None:
    assert validate.rules(lan) == ()
    devices = [lan.bridge, lan.vxlan, "lo"]
    devices += [name for s in lan.spokes for name in (names.port(s), names.stub(names.port(s)))]
    assert len(set(devices)) == len(devices)
    assert all(names.interface_fault(name, 15) == "" for name in devices)


# ---------------------------------------------------------------- a change


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"netns": "m"}, ["spec.ns: is immutable: n cannot become m (make a new LAN)"]),
        ({"vni": 2}, ["spec.vni: is immutable: 1 cannot become 2 (make a new LAN)"]),
        ({"bridge": "b1"}, ["spec.bridge: is immutable: br0 cannot become b1 (make a new LAN)"]),
        ({"vxlan": "v1"}, ["spec.vxlan: is immutable: vx0 cannot become v1 (make a new LAN)"]),
    ],
)
def test_what_a_lan_is_known_by_cannot_change(fields: dict[str, Any], expected: list[str]) -> None:
    assert [str(p) for p in validate.change(lan(), lan(**fields))] == expected
    assert validate.change(lan(**fields), lan(**fields)) == ()


def test_all_that_cannot_change_is_said_at_once() -> None:
    new = lan(netns="m", vni=2, bridge="b1", vxlan="v1")
    assert [p.field for p in validate.change(lan(), new)] == ["spec.ns", "spec.vni", "spec.bridge", "spec.vxlan"]


@given(strategies.lans(), strategies.lans())
def test_all_else_may_change_while_a_lan_is_in_use(old: Lan, new: Lan) -> None:
    same = replace(new, netns=old.netns, vni=old.vni, bridge=old.bridge, vxlan=old.vxlan)
    assert validate.change(old, same) == ()


# ---------------------------------------------------------------- several LANs


def clashes(*lans: Lan) -> dict[str, list[str]]:
    return {ref.name: [str(p) for p in found] for ref, found in validate.clashes(lans).items()}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"netns": "n"}, ["spec.ns: n is in use by LAN lab/old"]),
        ({"vni": 1}, ["spec.vni: 1 is in use by LAN lab/old"]),
        ({"spokes": ("c", "b")}, ["spec.spokes[1]: b is in use by LAN lab/old"]),
        (
            {"spokes": (TWINS[1],)},
            ["spec.spokes[0]: s74007 would share its tap device with spoke s35809 of LAN lab/old"],
        ),
        (
            {"netns": "n", "vni": 1, "spokes": ("b", "a")},
            [
                "spec.ns: n is in use by LAN lab/old",
                "spec.vni: 1 is in use by LAN lab/old",
                "spec.spokes[0]: b is in use by LAN lab/old",
                "spec.spokes[1]: a is in use by LAN lab/old",
            ],
        ),
        ({}, []),
        ({"bridge": "br0", "vxlan": "vx0", "port": 4789}, []),
    ],
)
def test_the_younger_lan_is_out_and_is_told_all_it_shares(fields: dict[str, Any], expected: list[str]) -> None:
    old = lan("old", spokes=("a", "b", TWINS[0]), created="2026-01-01T00:00:00Z")
    young = replace(lan("new", netns="m", vni=2, spokes=("c",), created="2026-01-02T00:00:00Z"), **fields)
    wanted = {"new": expected} if expected else {}
    assert clashes(old, young) == clashes(young, old) == wanted


def test_of_one_age_the_order_of_names_decides() -> None:
    assert list(clashes(lan("b"), lan("a"), lan("c"))) == ["b", "c"]
    assert list(clashes(lan("b", created="2026-01-01T00:00:00Z"), lan("a"))) == ["a"]


def test_what_is_out_takes_nothing_from_others() -> None:
    """The second is out for its vni; the third has its spoke and is in."""
    first = lan("1", netns="n1", vni=1, spokes=("a",))
    second = lan("2", netns="n2", vni=1, spokes=("b",))
    third = lan("3", netns="n3", vni=3, spokes=("b",))
    assert list(clashes(first, second, third)) == ["2"]


@st.composite
def _several(draw: st.DrawFn) -> list[Lan]:
    """LANs out of so few values that many of them clash."""
    count = draw(st.integers(1, 7))
    spokes = st.lists(st.sampled_from(["a", "b", "c", "d", *TWINS]), max_size=2, unique=True).filter(
        lambda chosen: set(chosen) != set(TWINS)
    )
    return [
        lan(
            f"lan{number}",
            netns=draw(st.sampled_from(["n1", "n2", "n3", "n4"])),
            vni=draw(st.integers(1, 4)),
            spokes=tuple(draw(spokes)),
            created=draw(st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])),
        )
        for number in range(count)
    ]


@given(_several(), st.randoms(use_true_random=False))
def test_who_is_in_does_not_depend_on_the_order_of_the_list(lans: list[Lan], random: Any) -> None:
    shuffled = list(lans)
    random.shuffle(shuffled)
    assert validate.clashes(shuffled) == validate.clashes(lans)


@given(_several())
def test_those_that_are_in_share_nothing_and_those_that_are_out_would(lans: list[Lan]) -> None:
    refused = validate.clashes(lans)
    accepted = [one for one in lans if one.ref not in refused]
    taps = [names.tap_index(spoke) for one in accepted for spoke in one.spokes]
    for values in ([one.netns for one in accepted], [one.vni for one in accepted], taps):
        assert len(set(values)) == len(values)
    for out in (one for one in lans if one.ref in refused):
        assert out.ref in validate.clashes([*accepted, out]), "it could have been in"
    assert validate.clashes(accepted) == {}


@given(_several())
def test_a_younger_lan_changes_nothing_for_those_before_it(lans: list[Lan]) -> None:
    for count in range(len(lans)):
        older = sorted(lans, key=lambda one: (one.created or "~", one.ref))[:count]
        refused = validate.clashes(lans)
        assert validate.clashes(older) == {one.ref: refused[one.ref] for one in older if one.ref in refused}
