"""The NADs of a LAN, field by field."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.lan.names import Forms
from k8slan_cli.plan import objects
from k8slan_cli.plan.pods import sockets

LAN = Lan(
    ref=LanRef(namespace="lab", name="example"),
    netns="knlvrf",
    bridge="br2",
    vxlan="vx2",
    vni=222,
    spokes=("srl", "vm"),
    uid="11-22",
)
LABEL = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,11}[a-z0-9])?\Z")


def test_each_spoke_has_two_and_only_the_one_for_vms_asks_for_a_device() -> None:
    found = [(nad.namespace, nad.name, nad.resource) for nad in objects.nads(LAN)]
    assert found == [
        ("lab", "k8slan-mac-srl", "macvtap.k8slan.io/k8slan-mac-srl"),
        ("lab", "k8slan-veth-srl", None),
        ("lab", "k8slan-mac-vm", "macvtap.k8slan.io/k8slan-mac-vm"),
        ("lab", "k8slan-veth-vm", None),
    ]


def test_a_spoke_that_is_not_for_vms_has_one_for_pods_alone() -> None:
    found = [nad.name for nad in objects.nads(replace(LAN, vm_spokes=("vm",)))]
    assert found == ["k8slan-veth-srl", "k8slan-mac-vm", "k8slan-veth-vm"]
    assert [nad.name for nad in objects.nads(replace(LAN, vm_spokes=()))] == ["k8slan-veth-srl", "k8slan-veth-vm"]


def test_the_configurations_are_what_the_agent_reads() -> None:
    mac, veth, *_ = objects.nads(LAN)
    assert json.loads(mac.config) == {
        "cniVersion": "1.0.0",
        "name": "k8slan-mac-srl",
        "type": "k8slanmacvtap",
        "lan": "lab/example",
        "spoke": "srl",
        "capabilities": {"mac": True, "bandwidth": True},
    }
    assert json.loads(veth.config) == {
        "cniVersion": "1.0.0",
        "name": "k8slan-veth-srl",
        "type": "k8slanveth",
        "lan": "lab/example",
        "veth": "srl",
        "capabilities": {"mac": True, "ips": True, "bandwidth": True},
    }


def test_agents_of_the_first_version_are_told_of_no_lan() -> None:
    found = [json.loads(nad.config) for nad in objects.nads(replace(LAN, dynamic=True), nameless=True)]
    assert [config.get("lan") for config in found] == [None, None, None, None, "lab/example"]
    assert [config.get("veth") or config.get("spoke") for config in found] == ["srl", "srl", "vm", "vm", None]


@pytest.mark.parametrize(
    ("forms", "names"),
    [
        (Forms.SHORT, ["k8slan-mac-vm", "k8slan-veth-vm"]),
        (Forms.LONG, ["k8slan-mac-example-vm", "k8slan-veth-example-vm"]),
        (Forms.BOTH, ["k8slan-mac-vm", "k8slan-veth-vm", "k8slan-mac-example-vm", "k8slan-veth-example-vm"]),
    ],
)
def test_the_forms_of_names_are_chosen(forms: Forms, names: list[str]) -> None:
    lan = replace(LAN, spokes=("vm",), forms=forms, resources=(("k8slan-mac-vm", "x/other"),))
    found = objects.nads(lan)
    assert [nad.name for nad in found] == names
    assert [nad.name for nad, _ in sockets(lan, forms)] == names
    wanted = {"k8slan-mac-vm": "x/other", "k8slan-mac-example-vm": "macvtap.k8slan.io/k8slan-mac-example-vm"}
    assert {nad.name: nad.resource for nad in found} == {name: wanted.get(name) for name in names}


def test_a_dynamic_lan_has_one_more_for_any_number_of_pods() -> None:
    [nad] = objects.nads(replace(LAN, spokes=(), dynamic=True))
    assert (nad.name, nad.resource) == ("k8slan-lan-example", None)
    assert json.loads(nad.config) == {
        "cniVersion": "1.0.0",
        "name": "k8slan-lan-example",
        "type": "k8slanveth",
        "lan": "lab/example",
        "capabilities": {"mac": True, "ips": True, "bandwidth": True},
    }


def test_numbered_spokes_have_one_more_for_a_stateful_set() -> None:
    found = {nad.name: nad for nad in objects.nads(replace(LAN, spokes=("r-0", "r-1", "s-1", "t-00", "-0")))}
    assert [name for name in found if "-set-" in name] == ["k8slan-set-r"]
    assert json.loads(found["k8slan-set-r"].config)["veth"] == "r-*"
    assert found["k8slan-set-r"].resource is None


def test_its_object_is_owned_by_the_lan() -> None:
    mac, veth, *_ = objects.nads(LAN)
    assert objects.document(mac) == {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {
            "name": "k8slan-mac-srl",
            "namespace": "lab",
            "labels": {"app.kubernetes.io/managed-by": "k8slan"},
            "annotations": {"k8s.v1.cni.cncf.io/resourceName": "macvtap.k8slan.io/k8slan-mac-srl"},
            "ownerReferences": [
                {
                    "apiVersion": "lan.k8slan.io/v1beta1",
                    "kind": "LAN",
                    "name": "example",
                    "uid": "11-22",
                    "controller": True,
                }
            ],
        },
        "spec": {"config": mac.config},
    }
    assert "annotations" not in objects.document(veth)["metadata"]


def test_a_lan_of_no_cluster_owns_nothing() -> None:
    for nad in objects.nads(replace(LAN, uid="")):
        assert "ownerReferences" not in objects.document(nad)["metadata"]


@given(st.lists(LABEL, unique=True, min_size=1, max_size=20))
def test_spokes_never_share_a_nad_and_order_is_theirs(spokes: list[str]) -> None:
    found = objects.nads(replace(LAN, spokes=tuple(spokes)))
    sets = sum(spoke.endswith("-0") and spoke[:-2] == spoke[:-2].strip("-") for spoke in spokes)
    assert len({nad.ref for nad in found}) == len(found) == 2 * len(spokes) + sets
    assert [json.loads(nad.config)["veth"] for nad in found[1 : 2 * len(spokes) : 2]] == spokes
    assert found == objects.nads(replace(LAN, spokes=tuple(spokes)))
