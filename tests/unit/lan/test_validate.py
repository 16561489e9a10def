"""The rules: of one LAN, of a change to it, and of several LANs together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan import names, validate
from k8slan_cli.lan.model import PROTECTION, Grant, Lan, LanRef, NodeStatus, Uplink
from tests.unit.lan import strategies

NIC, VLAN = Uplink(node="w1", device="eth1"), Uplink(node="w1", device="eth1", vlan=7)
OTHER = replace(VLAN, node="w2")
REMOTE = IPv4Address("192.0.2.9")


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
        ({"remotes": (ip_address("127.0.0.1"),)}, "spec.remotes[0]: 127.0.0.1 is no address of another host"),
        ({"remotes": (REMOTE, REMOTE)}, "spec.remotes[1]: 192.0.2.9 is spec.remotes[0] already"),
        ({"remotes": tuple(REMOTE + i for i in range(65))}, "spec.remotes: has 65 addresses, 64 at the most"),
        ({"uplinks": (Uplink(node="W_1", device="e"),)}, "spec.uplinks[0].node: 'W_1' is not a DNS name"),
        ({"uplinks": (Uplink(node="w1", device="a/b"),)}, "spec.uplinks[0].device: 'a/b' is not an interface name"),
        ({"uplinks": (Uplink(node="w1", device="e" * 16),)}, "spec.uplinks[0].device"),
        ({"uplinks": (Uplink(node="w1", device="lo"),)}, "spec.uplinks[0].device: 'lo' is a name that the kernel"),
        ({"uplinks": (Uplink(node="w1", device="e", vlan=4095),)}, "spec.uplinks[0].vlan: 4095 is not in 1..4094"),
        ({"uplinks": (Uplink(node="w1", device="e", vlan=-1),)}, "spec.uplinks[0].vlan: -1 is not in 1..4094"),
        ({"uplinks": (NIC, NIC)}, "spec.uplinks[1]: eth1 of node w1 is spec.uplinks[0] already"),
        ({"uplinks": (VLAN, NIC)}, "spec.uplinks[0].vlan: eth1 is taken whole by spec.uplinks[1]: name one of the two"),
        ({"uplinks": (NIC,), "underlay": "eth1"}, "spec.uplinks[0].device: eth1 carries the LAN's VXLAN on node w1"),
        ({"uplinks": (NIC,), "underlays": (("w1", "eth1"),)}, "spec.uplinks[0].device: eth1 carries the LAN's VXLAN"),
        ({"uplinks": (NIC,), "vxlan": "eth1u"}, "spec.uplinks[0].device: its port 'eth1u' has the name of the LAN's"),
        (
            {"uplinks": tuple(Uplink(node="w1", device="e", vlan=i) for i in range(1, 18))},
            "spec.uplinks: has 17 entries, 16 at the most",
        ),
        ({"allowed_namespaces": ("a", "B")}, "spec.allowedNamespaces[1]: 'B' is not a DNS label"),
        ({"allowed_namespaces": ("a", "a")}, "spec.allowedNamespaces[1]: 'a' is spec.allowedNamespaces[0] already"),
        (
            {"allowed_namespaces": tuple(f"n{i}" for i in range(257))},
            "spec.allowedNamespaces: has 257 namespaces, 256 at the most; '*' allows all",
        ),
        (
            {"fragment": True, "group": ip_address("ff02::14")},
            "spec.fragment: needs a vxlanGrp of IPv4, or none: Linux does not fragment VXLAN over IPv6",
        ),
        ({"mtu": 67}, "spec.mtu"),
        ({"mtu": 65462}, "spec.mtu"),
        ({"spokes": ()}, "spec.spokes: needs at least one spoke, or spec.dynamic: true"),
        ({"spokes": ("",)}, "spec.spokes[0]: is empty"),
        ({"spokes": ("a" * 14,)}, "spec.spokes[0]"),
        ({"spokes": ("a", "Up")}, "spec.spokes[1]"),
        ({"spokes": ("a", "a_b")}, "spec.spokes[1]"),
        ({"spokes": ("a", "b", "a")}, "spec.spokes[2]: 'a' is spec.spokes[0] already"),
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
        {"remotes": tuple(REMOTE + i for i in range(64))},
        {
            "uplinks": (NIC, Uplink(node="w2", device="e" * 15, vlan=4094), Uplink(node="w2", device="eth1", vlan=7)),
            "underlays": (("w2", "eth1"),),
        },
        {"uplinks": (VLAN,), "underlay": "eth1"},
        {"allowed_namespaces": ("*", *(f"n{i}" for i in range(255)))},
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


def test_only_spokes_of_the_lan_are_for_vms() -> None:
    assert broken(spokes=("a", "b"), vm_spokes=("b", "c")) == ["spec.vmSpokes[1]: 'c' is not a spoke of the LAN"]


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
        ({"fragment": True}, ["spec.fragment: is immutable: false cannot become true (make a new LAN)"]),
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
    same = replace(new, netns=old.netns, vni=old.vni, bridge=old.bridge, vxlan=old.vxlan, fragment=old.fragment)
    assert validate.change(old, same) == ()


# ---------------------------------------------------------------- several LANs


def clashes(*lans: Lan) -> dict[str, list[str]]:
    return {ref.name: [str(p) for p in found] for ref, found in validate.settle(lans).clashes.items()}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"netns": "n"}, ["spec.ns: n is in use by LAN lab/old"]),
        ({"vni": 1}, ["spec.vni: 1 is in use by LAN lab/old"]),
        ({"spokes": ("c", "b")}, ["spec.spokes[1]: b is in use by LAN lab/old"]),
        ({"uplinks": (NIC,)}, ["spec.uplinks[0]: eth1 of node w1 is in use by LAN lab/old"]),
        ({"uplinks": (VLAN,)}, ["spec.uplinks[0]: eth1 of node w1 is in use as a whole by LAN lab/old"]),
        (
            {"uplinks": (replace(NIC, node="w2"),)},
            ["spec.uplinks[0]: a VLAN of eth1 of node w2 is in use by LAN lab/old"],
        ),
        ({"uplinks": (replace(OTHER, vlan=8), replace(NIC, node="w3"))}, []),
        ({"ref": LanRef(namespace="other", name="new"), "spokes": ("b",)}, []),
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
    old = lan("old", spokes=("a", "b"), uplinks=(NIC, OTHER), created="2026-01-01T00:00:00Z")
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
    spokes = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=2, unique=True)
    return [
        lan(
            f"lan{number}",
            ref=LanRef(namespace=draw(st.sampled_from(["lab", "other"])), name=f"lan{number}"),
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
    assert validate.settle(shuffled).clashes == validate.settle(lans).clashes


@given(_several())
def test_those_that_are_in_share_nothing_and_those_that_are_out_would(lans: list[Lan]) -> None:
    refused = validate.settle(lans).clashes
    accepted = [one for one in lans if one.ref not in refused]
    spokes = [(one.ref.namespace, spoke) for one in accepted for spoke in one.spokes]
    for values in ([one.netns for one in accepted], [one.vni for one in accepted], spokes):
        assert len(set(values)) == len(values)
    for out in (one for one in lans if one.ref in refused):
        assert out.ref in validate.settle([*accepted, out]).clashes, "it could have been in"
    assert validate.settle(accepted).clashes == {}


@given(_several())
def test_a_younger_lan_changes_nothing_for_those_before_it(lans: list[Lan]) -> None:
    for count in range(len(lans)):
        older = sorted(lans, key=lambda one: (one.created or "~", one.ref))[:count]
        refused = validate.settle(lans).clashes
        assert validate.settle(older).clashes.keys() == {one.ref for one in older if one.ref in refused}


# ---------------------------------------------------------------- several LANs, some of them in use

OLD, YOUNG = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
A = lan("a", netns="na", vni=1, spokes=("a1", "a2"), created=YOUNG)
B = lan("b", netns="nb", vni=2, spokes=("b1", "b2"), created=OLD)
ON_A_NODE = (NodeStatus(name="n1"),)


def settled(*lans: Lan, held: Iterable[Lan] = ()) -> tuple[dict[str, Lan], dict[str, list[str]]]:
    found = validate.settle(lans, {one.ref: one for one in held})
    told = {ref.name: [str(problem) for problem in problems] for ref, problems in found.clashes.items()}
    return {ref.name: one for ref, one in found.lans.items()}, told


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"netns": "na"}, "spec.ns: na is in use by LAN lab/a"),
        ({"vni": 1}, "spec.vni: 1 is in use by LAN lab/a"),
        ({"spokes": ("b1", "a2")}, "spec.spokes[1]: a2 is in use by LAN lab/a"),
    ],
)
def test_an_older_lan_takes_nothing_from_one_in_use_whether_in_use_or_not(
    fields: dict[str, Any], expected: str
) -> None:
    """In use it goes on as it was, but for what clashes with nothing; else it is not realised."""
    edited = replace(B, **fields)
    assert settled(A, edited, held=[A]) == ({"a": A}, {"b": [expected]})
    assert settled(A, replace(edited, mtu=1400), held=[A, B]) == (
        {"a": A, "b": replace(B, mtu=1400)},
        {"b": [expected]},
    )
    assert settled(A, edited, held=[B])[0] == {"b": edited}, "nothing of the younger one is in use"


def test_what_a_lan_in_use_is_known_by_is_not_mixed() -> None:
    """A new bridge may have the name of a port that the old spokes call for."""
    edited = replace(B, bridge="b1p", spokes=("a1",), dynamic=True)
    assert settled(A, edited, held=[A, B])[0]["b"] == B


def test_what_a_lan_in_use_gives_up_is_free_at_once() -> None:
    freed = replace(A, vni=3, spokes=("a2",))
    wanted = replace(B, vni=1, spokes=("b1", "a1"))
    for held in ([A], [A, B]):
        assert settled(freed, wanted, held=held) == ({"a": freed, "b": wanted}, {})


def test_two_in_use_that_want_what_the_other_has_both_stay_as_they_are() -> None:
    found, told = settled(replace(A, vni=2), replace(B, vni=1), held=[A, B])
    assert found == {"a": A, "b": B}
    assert told == {"a": ["spec.vni: 2 is in use by LAN lab/b"], "b": ["spec.vni: 1 is in use by LAN lab/a"]}


def test_records_that_clash_hold_only_what_the_first_of_them_has() -> None:
    both = replace(A, vni=2)
    assert settled(both, B, held=[both, B]) == ({"b": B}, {"a": ["spec.vni: 2 is in use by LAN lab/b"]})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"granted": Grant(netns="z", vni=1), "created": YOUNG}, {"nodes": ON_A_NODE}),
        ({"granted": Grant(netns="z", spokes=("a",)), "created": YOUNG}, {"attached": True}),
        ({"nodes": ON_A_NODE, "created": YOUNG}, {}),
        ({"attached": True, "created": YOUNG}, {}),
        ({"nodes": ON_A_NODE, "deleting": True}, {}),
        ({"created": YOUNG}, {"deleting": True, "finalizers": (PROTECTION,)}),
    ],
)
def test_who_comes_first_where_nothing_is_held(first: dict[str, Any], second: dict[str, Any]) -> None:
    """By what has been granted, then by being in use, then by not being deleted; age is the last to count."""
    one = lan("z", netns="n1", **{"created": OLD, **first})
    other = lan("y", netns="n2", **{"created": OLD, **second})
    found, told = settled(other, one)
    assert (list(found), list(told)) == (["z"], ["y"])


NEW = replace(A, granted=validate.grant(A))
"""The younger one, to which all that it wants has been granted, and which nobody uses."""


@pytest.mark.parametrize(
    "edit", [{}, {"mtu": 1400}, {"spokes": ("a2", "a1")}, {"spokes": ("a1",)}, {"spokes": ("a1", "a3")}]
)
@pytest.mark.parametrize("rival", [{"netns": "na"}, {"vni": 1}, {"spokes": ("a1",)}])
@pytest.mark.parametrize("right", [{}, {"attached": True}, {"nodes": ON_A_NODE}, {"granted": Grant(netns="nb")}])
def test_what_has_been_granted_is_taken_by_nobody_whatever_is_edited(
    edit: dict[str, Any], rival: dict[str, Any], right: dict[str, Any]
) -> None:
    """Not by a LAN that is older, nor by one that is in use or has got other things."""
    edited = replace(NEW, **edit)
    found, told = settled(edited, replace(B, **rival, **right))
    assert found["a"] == edited
    assert list(told) == ["b"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"netns": "nb"}, "spec.ns: nb is in use by LAN lab/b"),
        ({"vni": 2}, "spec.vni: 2 is in use by LAN lab/b"),
        ({"spokes": ("b1", "a2")}, "spec.spokes[0]: b1 is in use by LAN lab/b"),
    ],
)
def test_an_edit_that_wants_more_than_has_been_granted_is_a_new_claim(fields: dict[str, Any], expected: str) -> None:
    """The LAN keeps what it had, also what the edit gives up, and has the rest of the edit with it."""
    for held in ([], [A]):
        found, told = settled(replace(NEW, mtu=1400, **fields), B, held=held)
        assert found == {"a": replace(NEW, mtu=1400), "b": B}
        assert told == {"a": [expected]}
    third = lan("c", netns="nc", vni=3, spokes=("a1",), created=OLD)
    assert set(settled(replace(NEW, **fields), B, third)[1]) == {"a", "c"}, "what it had is not free"


def test_what_has_been_granted_and_is_given_up_is_free_at_once() -> None:
    freed, wanted = replace(NEW, spokes=("a2",)), replace(B, spokes=("b1", "a1"), granted=validate.grant(B))
    assert settled(freed, wanted) == ({"a": freed, "b": wanted}, {})
    assert settled(wanted) == ({"b": wanted}, {}), "or when it is gone"


def test_a_lan_that_is_being_deleted_keeps_what_it_has_been_granted_and_gains_nothing() -> None:
    going = replace(NEW, deleting=True, finalizers=(PROTECTION,), spokes=("a1", "free"))
    found, told = settled(going, replace(B, spokes=("a2",)))
    assert found == {"a": replace(going, spokes=A.spokes)}
    assert told["a"] == ["spec.spokes[1]: free cannot be added while the LAN is being deleted"]
    assert told["b"] == ["spec.spokes[0]: a2 is in use by LAN lab/a"]
    left = replace(going, finalizers=("example.org/x",))
    assert settled(left, replace(B, spokes=("a2",)))[1] == {}, "without attachments it has nothing more"


def test_a_grant_of_which_a_part_is_anothers_stands_for_the_rest() -> None:
    """As when names come out equal in another form than that in which they were granted."""
    one = replace(NEW, granted=Grant(netns="na", vni=2, spokes=("a1",)))
    two = replace(B, granted=validate.grant(B), attached=True)
    found, told = settled(one, two, lan("c", netns="nc", vni=3, spokes=("a1",), created=OLD))
    assert list(found) == ["b", "a"]
    assert told == {"c": ["spec.spokes[0]: a1 is in use by LAN lab/a"]}


@pytest.mark.parametrize("first", [OLD, YOUNG])
def test_new_forms_of_names_take_nothing_from_who_was_there(first: str) -> None:
    """LAN ``a`` with spoke ``b`` would have the NAD that spoke ``a-b`` has had all along."""
    one, two = replace(A, spokes=("b",), created=first), replace(B, spokes=("a-b",))
    one, two = (replace(each, granted=validate.grant(each), forms=names.Forms.BOTH) for each in (one, two))
    found, told = settled(one, two)
    assert found == {"a": validate.as_granted(one), "b": two}
    assert told == {"a": ["spec.spokes[0]: b, as NAD k8slan-veth-a-b, is in use by LAN lab/b"]}


def test_lans_without_a_stake_in_common_have_nothing_to_do_with_each_other() -> None:
    assert validate.stakes(A) == validate.stakes(NEW) == {"na", 1, "lab/k8slan-veth-a1", "lab/k8slan-veth-a2"}
    moved = replace(NEW, spokes=("a1", "a3"), vni=4)
    assert validate.stakes(moved) == validate.stakes(NEW) | {4, "lab/k8slan-veth-a3"}


def test_a_lan_that_is_being_deleted_gains_nothing() -> None:
    """It may give up things, and without attachments it has nothing more, whatever holds the object."""
    leaving = replace(B, deleting=True, finalizers=("example.org/x",))
    gained = replace(leaving, spokes=("b1", "a1"))
    assert settled(A, gained) == ({"a": A}, {})
    assert settled(replace(A, vni=2), leaving) == ({"a": replace(A, vni=2)}, {})
    late = "cannot be added while the LAN is being deleted"
    for spoke, more in (("free", []), ("a1", ["spec.spokes[1]: a1 is in use by LAN lab/a"])):
        found, told = settled(A, replace(leaving, spokes=("b1", spoke)), held=[A, B])
        assert found == {"a": A, "b": replace(leaving, spokes=B.spokes)}
        assert told == {"b": [f"spec.spokes[1]: {spoke} {late}", *more]}
    fewer = replace(leaving, spokes=("b1",))
    taker = replace(A, spokes=("b2",))
    assert settled(taker, fewer, held=[A, B]) == ({"a": taker, "b": fewer}, {})


_EDITS = st.fixed_dictionaries(
    {},
    optional={
        "netns": st.sampled_from(["n1", "n2", "n3", "n4"]),
        "vni": st.integers(1, 4),
        "spokes": st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=2, unique=True).map(tuple),
        "created": st.sampled_from(["", OLD, YOUNG]),
        "granted": st.none()
        | st.builds(
            Grant, netns=st.sampled_from(["n1", "n2"]), vni=st.integers(0, 2), spokes=st.sampled_from([("a",)])
        ),
        "deleting": st.booleans(),
        "finalizers": st.sampled_from([(), (PROTECTION,)]),
        "nodes": st.sampled_from([(), ON_A_NODE]),
        "attached": st.booleans(),
    },
)


@given(_several(), st.lists(st.tuples(st.integers(0, 6), _EDITS, st.booleans()), max_size=12))
def test_a_lan_in_use_is_never_torn_down_by_an_edit_of_another(
    lans: list[Lan], steps: list[tuple[int, dict[str, Any], bool]]
) -> None:
    """Nor by one that comes or goes; and no two LANs are ever realised that share something."""
    there = {one.ref: one for one in lans}
    realised = dict(validate.settle(lans).lans)
    for number, edit, attached in steps:
        in_use = {ref: one for position, (ref, one) in enumerate(sorted(realised.items())) if attached or position % 2}
        edited = replace(lans[number % len(lans)], **edit)
        there[edited.ref] = edited
        found = validate.settle(there.values(), in_use).lans
        for ref, before in in_use.items():
            assert ref in found
            if ref != edited.ref:
                was, now = ((x.netns, x.vni, x.bridge, x.vxlan, x.spokes) for x in (before, found[ref]))
                assert now in (was, (there[ref].netns, there[ref].vni, *was[2:4], there[ref].spokes))
        owners = [(claim, ref) for ref, one in found.items() for claim, _, _ in validate.claims(one)]
        assert len(dict(owners)) == len(owners)
        assert validate.settle(there.values(), found).lans == found, "a second look changes nothing"
        realised = dict(found)
