"""What pods say of their networks, as multus reads and writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from k8slan_cli.kube.pods import DEFAULT_NETWORK, NETWORKS, STATUS, read, requested


def pod(annotations: dict[str, str], node: str = "n1") -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "d", "annotations": annotations}, "spec": {"nodeName": node}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a", [("d", "a")]),
        ("a, b@eth1 ,x/c,x/d@net0", [("d", "a"), ("d", "b"), ("x", "c"), ("x", "d")]),
        ('[{"name": "a"}, {"name": "b", "namespace": "x", "mac": "02::1"}]', [("d", "a"), ("x", "b")]),
        (' [ {"name":"a","namespace":""} ] ', [("d", "a")]),
        ("", []),
        ("a/b/c", []),
        ("a@b@c", []),
        (",,", []),
        ("[", []),
        ('["a", 1, null, {"name": 3}, {}]', []),
    ],
)
def test_requested(text: str, found: list[tuple[str, str]]) -> None:
    assert requested(text, "d") == found


def test_a_pod_wants_and_has() -> None:
    status = [{"name": "cbr0"}, {"name": "d/k8slan-veth-e1", "interface": "net1"}, {"name": "k8slan-lan-x"}, 5]
    annotations = {
        NETWORKS: "k8slan-veth-e1,other",
        DEFAULT_NETWORK: "x/k8slan-lan-y",
        STATUS: json.dumps(status),
    }
    found = read(pod(annotations))
    assert found is not None
    assert found.node == "n1"
    assert found.wants == (("d", "k8slan-veth-e1"), ("x", "k8slan-lan-y"))
    assert found.has == (("d", "k8slan-veth-e1"), ("d", "k8slan-lan-x"))
    assert found.nads == {*found.wants, *found.has}


@pytest.mark.parametrize(
    "annotations", [{}, {NETWORKS: "other"}, {NETWORKS: "["}, {STATUS: "no json"}, {STATUS: '{"name": "k8slan-a"}'}]
)
def test_a_pod_that_uses_nothing_of_k8slan_is_not_kept(annotations: dict[str, str]) -> None:
    assert read(pod(annotations)) is None
