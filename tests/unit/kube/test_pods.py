"""What pods say of their networks, as multus reads and writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from k8slan_cli.kube.pods import nads, read
from k8slan_cli.plan.attached import DEFAULT_ANNOTATION, NETWORKS_ANNOTATION, STATUS_ANNOTATION


def pod(annotations: dict[str, str], node: str = "n1") -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "d", "annotations": annotations}, "spec": {"nodeName": node}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("k8slan-a", [("d", "a")]),
        ("k8slan-a, k8slan-b@eth1 ,x/k8slan-c,x/k8slan-d@net0", [("d", "a"), ("d", "b"), ("x", "c"), ("x", "d")]),
        (
            '[{"name": "k8slan-a"}, {"name": "k8slan-b", "namespace": "x", "mac": "02::1"}]',
            [("d", "a"), ("x", "b")],
        ),
        (' [ {"name":"k8slan-a","namespace":""} ] ', [("d", "a")]),
        ("k8slan-a,a/b/k8slan-b,k8slan-c@b@c,,[", []),
        ("k8slan-a,a/b/k8slan-b,k8slan-c@b@c,,", [("d", "a")]),
        ('["k8slan-a", 1, null, {"name": 3}, {}, {"name": "k8slan-b"}]', [("d", "b")]),
    ],
)
def test_what_a_pod_wants_in_either_form(text: str, found: list[tuple[str, str]]) -> None:
    kept = read(pod({NETWORKS_ANNOTATION: text}))
    wanted = [each.nad for each in (kept.networks if kept else ())]
    assert [(nad.namespace, nad.name.removeprefix("k8slan-")) for nad in wanted] == found


def test_a_pod_wants_and_has() -> None:
    status = [{"name": "cbr0"}, {"name": "d/k8slan-veth-e1", "interface": "net1"}, {"name": "k8slan-lan-x"}, 5]
    annotations = {
        NETWORKS_ANNOTATION: "k8slan-veth-e1,other",
        DEFAULT_ANNOTATION: "x/k8slan-lan-y",
        STATUS_ANNOTATION: json.dumps(status),
    }
    found = read(pod(annotations))
    assert found is not None
    assert found.node == "n1"
    assert [(str(each.nad), each.present) for each in found.networks] == [
        ("x/k8slan-lan-y", False),
        ("d/k8slan-veth-e1", True),
        ("d/k8slan-lan-x", True),
    ]
    assert nads(found) == {("x", "k8slan-lan-y"), ("d", "k8slan-veth-e1"), ("d", "k8slan-lan-x")}


def test_what_changes_as_a_pod_lives_is_no_change() -> None:
    """A pod that becomes ready, or gets an address from elsewhere, wakes nobody."""
    status = [{"name": "k8slan-veth-e1", "interface": "net1", "mac": "02:00:00:00:00:01"}]
    before, after = pod({STATUS_ANNOTATION: json.dumps(status)}), pod({STATUS_ANNOTATION: json.dumps(status)})
    after["status"] = {"phase": "Running"}
    after["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    assert read(before) == read(after)


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {NETWORKS_ANNOTATION: "other"},
        {NETWORKS_ANNOTATION: "["},
        {STATUS_ANNOTATION: "no json"},
        {STATUS_ANNOTATION: '{"name": "k8slan-a"}'},
    ],
)
def test_a_pod_that_uses_nothing_of_k8slan_is_not_kept(annotations: dict[str, str]) -> None:
    assert read(pod(annotations)) is None
