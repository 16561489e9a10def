"""The CRD's schema against the model: the same fields, the same bounds, and words for every one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.errors import Invalid
from k8slan_cli.lan import codec, links, model, names, validate, vnis
from k8slan_cli.lan.links import Link
from k8slan_cli.lan.model import Lan, LanRef, NodeStatus, Uplink
from k8slan_cli.render import manifests, reference
from k8slan_cli.render.settings import Settings
from tests.unit.render.lans import BAD, GOOD, document

FULL = Lan(
    ref=LanRef(namespace="lab", name="full"),
    netns="ns",
    bridge="br2",
    vxlan="vx2",
    vni=5,
    group=IPv6Address("ff02::14"),
    port=4790,
    ttl=9,
    underlay="eth0",
    underlays=(("worker1", "eth1"),),
    remotes=(IPv6Address("2001:db8::9"),),
    uplinks=(Uplink(node="worker1", device="eth2", vlan=100),),
    allowed_namespaces=("guests",),
    mtu=1400,
    fragment=True,
    spokes=("a",),
    vm_spokes=("a",),
    dynamic=True,
    offload=False,
    cable=True,
    links=(("a", Link(down=True)),),
)
NODE = NodeStatus(name="w", state="Ready", device="eth0", vtep=IPv6Address("fe80::1"), mtu=1400, message="m")

_ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("page", ["security.md", "migrating.md"])
def test_the_documents_name_each_field_that_takes_a_right_of_its_own(page: str) -> None:
    known = reference.schema()["properties"]["spec"]["properties"]
    text = (_ROOT / "docs" / page).read_text()
    assert [name for name in model.UNDERLAY_FIELDS if name in known and name not in text] == []


def test_the_policy_knows_each_default_that_is_written_into_every_lan() -> None:
    """The schema's default of such a field would else count as set by whoever makes a LAN."""
    known = reference.schema()["properties"]["spec"]["properties"]
    assert [name for name in model.UNDERLAY_FIELDS if "default" in known.get(name, {})] == ["vxlanPort"]


FIELDS = {
    "netns": "ns",
    "bridge": "bridge",
    "vxlan": "vxlan",
    "vni": "vni",
    "group": "vxlanGrp",
    "port": "vxlanPort",
    "ttl": "vxlanTTL",
    "underlay": "defaultVxlanDev",
    "underlays": "vxlanDevMap",
    "remotes": "remotes",
    "uplinks": "uplinks",
    "allowed_namespaces": "allowedNamespaces",
    "mtu": "mtu",
    "fragment": "fragment",
    "spokes": "spokes",
    "vm_spokes": "vmSpokes",
    "dynamic": "dynamic",
    "offload": "offload",
    "cable": "cable",
    "links": "links",
}
"""A field of ``Lan`` and its key in spec; what is not here is not the user's."""
NOT_IN_SPEC = {
    "allotted",
    "attached",
    "bare",
    "created",
    "deleting",
    "down",
    "finalizers",
    "forms",
    "granted",
    "nodes",
    "ref",
    "resources",
    "uid",
}


def _schema() -> Mapping[str, Any]:
    return reference.schema()["properties"]


def _spec() -> Mapping[str, Any]:
    found: Mapping[str, Any] = _schema()["spec"]["properties"]
    return found


def test_every_field_of_the_model_is_in_the_schema_and_no_other() -> None:
    assert {field.name for field in fields(Lan)} - NOT_IN_SPEC == FIELDS.keys()
    assert set(_spec()) == set(FIELDS.values()) == set(codec.encode(FULL)["spec"])


def test_every_field_of_a_nodes_status_is_in_the_schema() -> None:
    item = _schema()["status"]["properties"]["nodes"]["items"]
    assert set(codec.encode_node(NODE)) == {field.name for field in fields(NodeStatus)}
    assert set(codec.encode_node(NODE)) <= set(item["properties"])


@pytest.mark.parametrize(
    ("path", "bounds"),
    [
        ("vni", {"minimum": 1, "maximum": vnis.MAX_VNI}),
        ("vxlanPort", {"minimum": 1, "maximum": 65535, "default": model.DEFAULT_PORT}),
        ("vxlanTTL", {"minimum": 1, "maximum": validate.MAX_TTL}),
        ("remotes", {"maxItems": validate.MAX_REMOTES, "x-kubernetes-list-type": "set"}),
        ("uplinks", {"maxItems": validate.MAX_UPLINKS}),
        ("allowedNamespaces", {"maxItems": validate.MAX_NAMESPACES, "x-kubernetes-list-type": "set"}),
        ("mtu", {"minimum": validate.MIN_MTU, "maximum": validate.MAX_MTU}),
        ("ns", {"maxLength": names.MAX_NETNS}),
        ("bridge", {"maxLength": names.MAX_INTERFACE, "default": model.DEFAULT_BRIDGE}),
        ("vxlan", {"maxLength": names.MAX_INTERFACE, "default": model.DEFAULT_VXLAN}),
        ("spokes", {"maxItems": validate.MAX_SPOKES, "x-kubernetes-list-type": "set", "default": []}),
        ("dynamic", {"default": False}),
        ("cable", {"default": False}),
        ("links", {"maxProperties": links.MAX_LINKS}),
    ],
)
def test_bounds_and_defaults_are_the_models(path: str, bounds: dict[str, object]) -> None:
    assert bounds.items() <= _spec()[path].items()
    assert ("default" in bounds) == ("default" in _spec()[path])


def test_the_schemas_defaults_are_the_decoders() -> None:
    bare = codec.decode(document({"vni": 7, "spokes": ["a"]}))
    defaults = {key: field["default"] for key, field in _spec().items() if "default" in field}
    assert codec.decode(document(defaults | {"vni": 7, "spokes": ["a"]})) == bare


def test_every_field_says_what_it_means() -> None:
    for path, field in _walk(reference.schema(), ""):
        if path not in ("", ".apiVersion", ".kind", ".metadata"):
            assert field.get("description", "").endswith((".", ")")), path


def _walk(field: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, field
    for name, inner in field.get("properties", {}).items():
        yield from _walk(inner, f"{path}.{name}")
    for each in (field.get("items", {}), field.get("additionalProperties", {})):
        for name, inner in each.get("properties", {}).items():
            yield from _walk(inner, f"{path}[].{name}")


def test_everything_that_can_be_long_has_a_bound() -> None:
    """The API server sums up what rules may cost from these bounds, and refuses a CRD that may cost too much."""
    for path, field in _walk(_schema()["spec"], ".spec"):
        limit = {"string": "maxLength", "array": "maxItems"}.get(field["type"])
        assert limit is None or {limit, "enum", "format"} & field.keys(), path
        if field["type"] == "array" and field["items"]["type"] == "string":
            assert "maxLength" in field["items"], path
        if "additionalProperties" in field:
            assert "maxProperties" in field, path
            assert {"maxLength", "properties"} & field["additionalProperties"].keys(), path


def test_what_makes_a_lan_is_immutable() -> None:
    rules = {
        path: [rule["rule"] for rule in field.get("x-kubernetes-validations", ())] for path, field in _spec().items()
    }
    assert {path for path, found in rules.items() if "self == oldSelf" in found} == {"bridge", "vxlan", "vni"}
    whole = [rule for rule in _schema()["spec"]["x-kubernetes-validations"] if "oldSelf" in rule["rule"]]
    assert [rule["fieldPath"] for rule in whole] == [".ns", ".vni", ".fragment"]


def test_the_crd_is_the_models_kind() -> None:
    [crd] = manifests.documents(manifests.render(manifests.Part.CRD, Settings()))
    spec = crd["spec"]
    assert crd["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
    assert (f"{spec['group']}/{spec['versions'][0]['name']}", spec["names"]["kind"]) == (model.API_VERSION, model.KIND)
    assert (spec["scope"], spec["names"]["shortNames"]) == ("Namespaced", ["lan"])
    columns = [column["name"] for column in spec["versions"][0]["additionalPrinterColumns"] if "priority" not in column]
    assert columns == ["VNI", "Spokes", "Dynamic", "Attached", "Nodes", "Ready", "Age"]


@pytest.mark.parametrize("name", GOOD)
def test_what_the_api_server_takes_the_decoder_takes(name: str) -> None:
    codec.decode(document(GOOD[name]))


@pytest.mark.parametrize("name", BAD)
def test_what_the_api_server_refuses_the_decoder_refuses(name: str) -> None:
    with pytest.raises(Invalid):
        codec.decode(document(BAD[name][0]))
