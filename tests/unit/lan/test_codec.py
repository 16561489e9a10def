"""The codec: every good document gives its LAN, every bad one all of its problems, and none anything else."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.errors import Invalid
from k8slan_cli.lan import codec, names, validate
from k8slan_cli.lan.model import Grant, Lan, LanRef, NodeStatus, Uplink
from tests.unit.lan import strategies

SEED = """
apiVersion: lan.k8slan.io/v1beta1
kind: LAN
metadata:
    name: lan-example
spec:
  ns: knlvrf
  bridge: br2
  vxlan: vx2
  vni: 222
  defaultVxlanDev: eth0
  vxlanDevMap:
    worker1: eth1
    worker2: eth2
  spokes:
  - srl
  - vm
"""
BAD: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("bad.yaml").read_text())


def document(**spec: object) -> dict[str, Any]:
    """A small valid document, with ``spec`` on top of it."""
    return {
        "apiVersion": "lan.k8slan.io/v1beta1",
        "kind": "LAN",
        "metadata": {"name": "blue", "namespace": "lab"},
        "spec": {"vni": 7, "spokes": ["a"], **spec},
    }


GOOD = {"type": "Conflict", "status": "False"}
WHOLE = Grant(netns=names.netns("lab", "blue"), vni=7, spokes=("a",))
"""What ``document`` wants."""


def problems(bad: object, *, strict: bool = True) -> list[str]:
    """What is wrong with a document, as it is shown to people."""
    with pytest.raises(Invalid) as caught:
        codec.decode(bad, strict=strict)
    return [str(problem) for problem in caught.value.problems]


# ---------------------------------------------------------------- good documents


def test_the_seeds_example_decodes_unchanged() -> None:
    assert codec.decode(yaml.safe_load(SEED)) == Lan(
        ref=LanRef(namespace="default", name="lan-example"),
        netns="knlvrf",
        bridge="br2",
        vxlan="vx2",
        vni=222,
        underlay="eth0",
        underlays=(("worker1", "eth1"), ("worker2", "eth2")),
        spokes=("srl", "vm"),
    )


def test_a_document_without_options_gets_their_defaults() -> None:
    assert codec.decode(document()) == Lan(
        ref=LanRef(namespace="lab", name="blue"),
        netns=names.netns("lab", "blue"),
        bridge="br0",
        vxlan="vxlan0",
        vni=7,
        group=None,
        port=4789,
        spokes=("a",),
    )


def test_every_field_is_read() -> None:
    every = document(
        ns="n1",
        bridge="b1",
        vxlan="v1",
        vxlanGrp="ff02::14",
        vxlanPort=8472,
        defaultVxlanDev="eth0",
        vxlanDevMap={"w2": "eth2", "w1": "eth1"},
        remotes=["192.0.2.9", "2001:db8::9"],
        uplinks=[{"node": "w1", "device": "eth3"}, {"node": "w2", "device": "eth3", "vlan": 100}],
        allowedNamespaces=["guests", "*"],
        mtu=1400,
        spokes=["x", "y"],
        dynamic=True,
    )
    every["metadata"] |= {
        "uid": "u-1",
        "creationTimestamp": "2026-03-01T00:00:00Z",
        "deletionTimestamp": "2026-03-02T00:00:00Z",
    }
    assert codec.decode(every) == Lan(
        ref=LanRef(namespace="lab", name="blue"),
        netns="n1",
        bridge="b1",
        vxlan="v1",
        vni=7,
        group=ip_address("ff02::14"),
        port=8472,
        underlay="eth0",
        underlays=(("w1", "eth1"), ("w2", "eth2")),
        remotes=(ip_address("192.0.2.9"), ip_address("2001:db8::9")),
        uplinks=(Uplink(node="w1", device="eth3"), Uplink(node="w2", device="eth3", vlan=100)),
        allowed_namespaces=("guests", "*"),
        mtu=1400,
        spokes=("x", "y"),
        dynamic=True,
        created="2026-03-01T00:00:00Z",
        uid="u-1",
        deleting=True,
    )


def test_null_means_not_given() -> None:
    fields = (
        "ns",
        "bridge",
        "vxlan",
        "vxlanGrp",
        "vxlanPort",
        "defaultVxlanDev",
        "vxlanDevMap",
        "mtu",
        "fragment",
        "dynamic",
        "offload",
    )
    nothing = document(**dict.fromkeys(fields))
    nothing["metadata"] |= {"creationTimestamp": None, "deletionTimestamp": None, "uid": None}
    nothing |= {"status": None, "peers": None}
    assert codec.decode(nothing) == codec.decode(document())


def test_a_time_that_yaml_made_a_value_of_reads_as_its_text() -> None:
    text = "apiVersion: lan.k8slan.io/v1beta1\nkind: LAN\nspec: {vni: 1, dynamic: true}\nmetadata: {name: a, %s: %s}"
    for written in ('"2026-03-01T00:00:00Z"', "2026-03-01T00:00:00Z"):
        found = codec.decode(yaml.safe_load(text % ("creationTimestamp", written)))
        assert found.created == "2026-03-01T00:00:00Z"


@given(strategies.lans())
def test_what_is_encoded_decodes_to_the_same(lan: Lan) -> None:
    assert codec.decode(codec.encode(lan)) == lan


@given(strategies.lans())
def test_it_does_so_through_json_and_yaml_too(lan: Lan) -> None:
    encoded = codec.encode(lan)
    assert codec.decode(json.loads(json.dumps(encoded))) == lan
    assert codec.decode(yaml.safe_load(yaml.safe_dump(encoded))) == lan


@given(strategies.lans())
def test_encoding_says_nothing_that_is_a_default_anyway(lan: Lan) -> None:
    plain = replace(lan, port=4789, group=None, mtu=None, underlay=None, underlays=(), remotes=(), dynamic=False)
    plain = replace(
        plain,
        allowed_namespaces=(),
        ttl=0,
        offload=True,
        cable=False,
        links=(),
        fragment=False,
        uplinks=(),
        vm_spokes=None,
    )
    spec = codec.encode(plain)["spec"]
    assert set(spec) <= {"ns", "bridge", "vxlan", "vni", "spokes"}


# ---------------------------------------------------------------- bad documents


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (None, [": is empty"]),
        ("text", [": is not a mapping"]),
        (7, [": is not a mapping"]),
        ([document()], [": is not a mapping"]),
    ],
)
def test_what_is_no_mapping_is_said_once(bad: object, expected: list[str]) -> None:
    assert problems(bad) == [text.removeprefix(": ") for text in expected]


def test_an_empty_document_lacks_all_that_is_needed() -> None:
    assert problems({}) == [
        "apiVersion: must be lan.k8slan.io/v1beta1, not None",
        "kind: must be LAN, not None",
        "metadata: is missing",
        "spec: is missing",
    ]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["what"])
def test_a_bad_document_has_exactly_these_problems(case: dict[str, Any]) -> None:
    bad = document() | case.get("with", {})
    bad["spec"] = document()["spec"] | case["spec"] if "spec" in case else bad["spec"]
    assert problems(bad) == case["problems"]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (document(vni=1 << 20000), "spec.vni: is not a number of 64 bits"),
        (document(vni=1 << 63), "spec.vni: is not a number of 64 bits"),
        (document(vni=(1 << 63) - 1), "spec.vni: 9223372036854775807 is not in 1..16777215"),
        (document(vni=-(1 << 63) - 1), "spec.vni: is not a number of 64 bits"),
        (document() | {"kind": 1 << 20000}, "kind: must be LAN, not a whole number"),
        (document() | {"kind": 1 << 64}, "kind: must be LAN, not a whole number"),
        (document() | {"kind": (1 << 63) - 1}, "kind: must be LAN, not 9223372036854775807"),
        (
            document() | {"spec": {"vni": 1, "dynamic": True, 1 << 20000: 1}},
            "spec[a whole number]: must be text, as every key",
        ),
        (
            document() | {"metadata": {"name": "a", "creationTimestamp": 1 << 20000}},
            "metadata.creationTimestamp: must be text, not a whole number",
        ),
    ],
    ids=["huge", "65", "64", "-65", "kind", "kind-65", "kind-64", "key", "time"],
)
def test_a_number_beyond_all_bounds_is_refused_without_being_printed(bad: object, expected: str) -> None:
    """Python itself refuses to print one of more than 4,300 digits; YAML can hold it in hexadecimal."""
    assert problems(bad) == [expected]


@pytest.mark.parametrize("field", ["spokes", "vmSpokes", "allowedNamespaces", "remotes", "uplinks"])
def test_a_list_that_is_far_too_long_is_one_problem_and_not_looked_through(field: str) -> None:
    assert f"spec.{field}: has 800000 entries, too many" in problems(document(**{field: ["!"] * 800_000}))


def test_a_mapping_that_is_far_too_long_is_one_problem() -> None:
    assert problems(document(links={f"a/b:{number}": {} for number in range(5001)})) == [
        "spec.links: has 5001 entries, too many"
    ]


def test_lists_that_are_too_long_are_not_judged_entry_by_entry() -> None:
    too_long = {
        "spokes": [f"s{number}" for number in range(5000)],
        "allowedNamespaces": ["!"] * 5000,
        "remotes": ["10.0.0.1"] * 5000,
        "uplinks": [{"node": "!", "device": "!"}] * 5000,
    }
    assert [text.partition(":")[0] for text in problems(document(**too_long))] == [
        "spec.remotes",
        "spec.uplinks",
        "spec.allowedNamespaces",
        "spec.spokes",
    ]


def test_not_more_problems_are_told_than_a_list_may_have_entries() -> None:
    unknown = {f"k{number}": 1 for number in range(5000)}
    assert len(problems(document(dynamic=True, links={f"a/b:{number}": unknown for number in range(20)}))) <= 10_000


def test_all_problems_come_at_once_and_none_twice() -> None:
    bad = document(vni=0, spokes=["a", "a", "B"], mtu="big", vxlanPort=0, vxlanGrp="10.0.0.1", colour="red")
    bad |= {"kind": "Lan", "metadata": {"name": "Blue"}, "peers": ["nobody"]}
    assert [text.partition(": ")[0] for text in problems(bad)] == [
        "spec.colour",
        "kind",
        "spec.mtu",
        "peers[0]",
        "metadata.name",
        "spec.vni",
        "spec.vxlanPort",
        "spec.vxlanGrp",
        "spec.spokes[1]",
        "spec.spokes[2]",
    ]


def test_the_rest_is_judged_also_where_a_part_is_missing() -> None:
    bad = document()
    bad["metadata"] = {"name": "Blue", "namespace": "Lab"}
    del bad["spec"]
    assert [text.partition(": ")[0] for text in problems(bad)] == ["spec", "metadata.name", "metadata.namespace"]


def test_a_bad_name_is_not_held_against_the_namespace_that_is_derived_from_it() -> None:
    assert [text.partition(": ")[0] for text in problems(document() | {"metadata": {"name": "/"}})] == ["metadata.name"]


def test_an_error_is_one_line_that_names_the_lan() -> None:
    with pytest.raises(Invalid, match=r"^LAN lab/blue: spec\.vni: 0 is not in") as caught:
        codec.decode(document(vni=0))
    assert caught.value.subject == "LAN lab/blue"
    with pytest.raises(Invalid) as caught:
        codec.decode(document() | {"metadata": {"name": "a" * 1_000_000}})
    assert len(str(caught.value)) < 300
    assert [len(text) < 300 for text in problems(document(**{"x" * 1_000_000: 1}))] == [True]
    with pytest.raises(Invalid) as caught:
        codec.decode(document() | {"metadata": {"name": "a\nb\x1b[31m"}})
    assert str(caught.value).isprintable()


# ---------------------------------------------------------------- what is not the user's fault


def test_unknown_fields_pass_where_a_newer_k8slan_may_have_written_them() -> None:
    newer = document(colour="red") | {"other": 1}
    assert codec.decode(newer, strict=False) == codec.decode(document())
    assert len(problems(newer)) == 2
    with pytest.raises(Invalid):
        codec.decode(newer)


def test_leniency_goes_no_further_than_unknown_fields() -> None:
    assert problems(document(colour="red", vni="7"), strict=False) == ["spec.vni: must be a whole number, not text"]


@pytest.mark.parametrize(
    "status", [None, 5, "x", [], {}, {"nodes": None}, {"nodes": {}}, {"nodes": "x"}, {"nodes": [None, 5, "x", []]}]
)
def test_a_status_that_cannot_be_read_says_nothing(status: object) -> None:
    assert codec.decode(document() | {"status": status}).nodes == ()


@pytest.mark.parametrize(
    ("status", "in_use"),
    [
        ({"attached": 1}, True),
        ({"attached": 0}, False),
        ({"attached": "1"}, False),
        ({"nodes": [{"name": "n1"}]}, True),
        (None, False),
    ],
)
def test_a_lan_is_in_use_by_the_controllers_count_or_by_nodes_of_the_first_version(
    status: object, in_use: bool
) -> None:
    assert codec.decode(document() | {"status": status}).in_use is in_use


@pytest.mark.parametrize(
    ("status", "granted"),
    [
        ({"granted": {"ns": "n", "vni": 9, "spokes": ["b", "c"]}}, Grant(netns="n", vni=9, spokes=("b", "c"))),
        ({"granted": {"ns": "n"}, "vni": 8}, Grant(netns="n")),
        ({"granted": {"ns": "n"}, "names": "both"}, Grant(netns="n", forms=names.Forms.BOTH)),
        ({"granted": {"ns": "n", "vni": 0, "spokes": ["a", "A", "../b", 5, "c"]}}, Grant(netns="n", spokes=("a", "c"))),
        ({"granted": {"ns": "../n", "vni": 9}}, None),
        ({"granted": {"vni": 9}, "conditions": [GOOD]}, None),
        ({"granted": {}, "conditions": [GOOD]}, None),
        ({"granted": "x", "conditions": [GOOD]}, None),
        ({"conditions": [GOOD]}, WHOLE),
        ({"conditions": [GOOD, {"type": "Ready", "reason": "Conflict"}]}, WHOLE),
        ({"conditions": [{**GOOD, "status": "True"}]}, None),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, None),
        ({"conditions": [GOOD, {"type": "Ready", "reason": "Invalid"}]}, None),
        ({"conditions": [GOOD, {"type": "Ready", "reason": "Invalid"}], "attached": 1}, WHOLE),
        ({"conditions": [None, "x", {}, {"type": []}]}, None),
        ({"conditions": "x"}, None),
        (None, None),
    ],
)
def test_what_the_controller_has_granted_is_not_the_users_to_write(status: object, granted: Grant | None) -> None:
    """Of a status of before grants, it is what a LAN without a conflict wants, unless it broke rules and was unused."""
    assert codec.decode(document() | {"status": status}).granted == granted


@pytest.mark.parametrize("granted", [None, WHOLE, Grant(netns="n")])
def test_a_grant_is_read_as_it_is_written(granted: Grant | None) -> None:
    status = {"granted": codec.encode_grant(granted), "conditions": [GOOD]}
    assert codec.decode(document() | {"status": status}).granted == granted


def test_of_a_lan_that_breaks_rules_remains_what_it_has_been_granted() -> None:
    """Without a grant all that can be read of what it wants, but after all others."""
    whole = document(vni=9, spokes=["b", "B"], mtu="x", vxlanGrp=[])
    whole["metadata"] |= {"creationTimestamp": "1999-01-01T00:00:00Z"}
    found = codec.remains(whole | {"status": {"granted": {"ns": "n", "vni": 7, "spokes": ["a"]}}})
    assert (found.netns, found.vni, found.spokes, found.created) == ("n", 7, ("a",), "1999-01-01T00:00:00Z")
    found = codec.remains(whole | {"status": {"attached": 1, "granted": {}}})
    assert (found.vni, found.granted, found.in_use) == (9, None, False)
    assert found == validate.as_newest(found)


def test_of_a_nodes_entry_counts_what_can_be_read() -> None:
    entries = [
        {"name": "w1", "state": "Ready", "device": "eth0", "vtep": "10.0.0.1", "mtu": 1446, "message": "m", "new": 1},
        {"name": 5, "state": [], "device": {}, "vtep": 7, "mtu": "x", "message": None},
        {"name": "w3", "vtep": "not an address"},
        {"name": "w4", "vtep": "fe80::1%eth0"},
        {"name": "w5", "vtep": "::", "mtu": 1 << 90},
        "junk",
        {"name": "w6", "vtep": "fe80::6"},
    ]
    assert codec.decode(document() | {"status": {"nodes": entries}}).nodes == (
        NodeStatus(name="w1", state="Ready", device="eth0", vtep=ip_address("10.0.0.1"), mtu=1446, message="m"),
        NodeStatus(name=""),
        NodeStatus(name="w3"),
        NodeStatus(name="w4"),
        NodeStatus(name="w5"),
        NodeStatus(name="w6", vtep=ip_address("fe80::6")),
    )


def test_a_nodes_entry_encodes_to_what_decodes_to_it() -> None:
    node = NodeStatus(name="w1", state="Ready", device="eth0", vtep=ip_address("fe80::1"), mtu=1426, message="m")
    assert codec.decode(document() | {"status": {"nodes": [codec.encode_node(node)]}}).nodes == (node,)
    assert codec.encode_node(NodeStatus(name="w1")) == {"name": "w1"}


# ---------------------------------------------------------------- peers


def test_peers_of_a_file_are_nodes_of_which_only_the_address_is_known() -> None:
    lan = codec.decode(document() | {"peers": ["10.0.0.1", "fe80::2"], "status": {"nodes": [{"name": "w1"}]}})
    assert lan.nodes == (
        NodeStatus(name="w1"),
        NodeStatus(name="", vtep=ip_address("10.0.0.1")),
        NodeStatus(name="", vtep=ip_address("fe80::2")),
    )
    assert lan.peers_of("w1") == {ip_address("10.0.0.1"), ip_address("fe80::2")}


# ---------------------------------------------------------------- annotations and finalizers


@pytest.mark.parametrize(
    ("annotations", "down"),
    [
        (None, set()),
        ([], set()),
        ({}, set()),
        ({"lan.k8slan.io/links-down": None}, set()),
        ({"lan.k8slan.io/links-down": 5}, set()),
        ({"lan.k8slan.io/links-down": ""}, set()),
        ({"lan.k8slan.io/links-down": " , "}, set()),
        ({"lan.k8slan.io/links-down": "a"}, {"a"}),
        ({"lan.k8slan.io/links-down": " a ,lab/x-1:net1,, a"}, {"a", "lab/x-1:net1"}),
    ],
)
def test_links_that_are_down_are_listed_in_an_annotation(annotations: object, down: set[str]) -> None:
    one = document()
    one["metadata"]["annotations"] = annotations
    assert codec.decode(one).down == down


@pytest.mark.parametrize(
    ("written", "read"), [(None, ()), ("x", ()), ({}, ()), (["a", 5, None, "b"], ("a", "b"))], ids=str
)
def test_of_finalizers_counts_what_can_be_read(written: object, read: tuple[str, ...]) -> None:
    one = document()
    one["metadata"]["finalizers"] = written
    assert codec.decode(one).finalizers == read


# ---------------------------------------------------------------- anything at all

_texts = st.text(st.characters(), max_size=20)
_scalars: list[st.SearchStrategy[Any]] = [_texts, st.none(), st.booleans(), st.integers(), st.floats(), st.dates()]
_numbers = st.integers(1 << 60, 1 << 70)
_times = st.datetimes(timezones=st.none() | st.timezones())
_leaves = st.one_of(*_scalars, _numbers, st.binary(max_size=3), _times)
_keys = st.one_of(*_scalars, _numbers, st.tuples(st.integers()))
_things = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3), max_leaves=8
)


@given(_things, st.booleans())
def test_any_document_at_all_is_only_ever_invalid(thing: object, strict: bool) -> None:
    with pytest.raises(Invalid) as caught:
        codec.decode(thing, strict=strict)
    assert str(caught.value).isprintable()


@st.composite
def _damaged(draw: st.DrawFn) -> object:
    """A valid document with some of its values, at any depth, replaced by anything."""
    whole = copy.deepcopy(codec.encode(draw(strategies.lans())))
    whole |= {"status": {"nodes": [{"name": "w1", "vtep": "10.0.0.1", "mtu": 1}]}, "peers": ["10.0.0.2"]}
    whole["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["f"]}
    whole["metadata"].setdefault("annotations", {"lan.k8slan.io/links-down": "a"})
    for _ in range(draw(st.integers(1, 3))):
        part: Any = whole
        while True:
            at = draw(st.sampled_from(list(part) if isinstance(part, dict) else range(len(part))))
            inner = part[at]
            if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
                part[at] = draw(_things)
                break
            part = inner
    return whole


@given(_damaged(), st.booleans())
def test_a_damaged_document_gives_a_valid_lan_or_its_problems(damaged: object, strict: bool) -> None:
    found: Lan | Invalid
    try:
        found = codec.decode(damaged, strict=strict)
    except Invalid as invalid:
        found = invalid
    if isinstance(found, Lan):
        assert validate.rules(found) == ()
        assert codec.decode(codec.encode(found)) == replace(
            found, nodes=(), finalizers=(), created="", uid="", deleting=False
        )
    else:
        assert found.problems
        assert str(found).isprintable()
        assert len({str(p) for p in found.problems}) == len(found.problems)


def test_a_document_that_contains_itself_ends() -> None:
    loop: dict[str, Any] = document()
    loop["spec"]["spokes"] = loop["spec"]
    loop["metadata"]["name"] = [loop]
    loop["status"] = {"nodes": [loop]}
    assert problems(loop) == [
        "metadata.name: must be text, not a list",
        "spec.spokes: must be a list, not a mapping",
    ]
