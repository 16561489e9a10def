"""What the webhook says of a LAN that somebody wants to create, change or delete."""

from __future__ import annotations

from typing import Any

import pytest

from k8slan_cli.controller.claims import Claims
from k8slan_cli.controller.verdict import judge
from k8slan_cli.lan import codec

THERE = {
    "a": {"vni": 5, "ns": "a", "spokes": ["e1", "e2"]},
    "b": {"vni": 6, "ns": "b", "spokes": ["e3"]},
}


def document(name: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "d", "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    return {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": metadata, "spec": spec}


@pytest.fixture
def claims() -> Claims:
    found = Claims()
    for name, spec in THERE.items():
        lan = codec.decode(document(name, spec))
        found.put(lan.ref, lan)
    return found


def said(claims: Claims, operation: str, new: Any, old: Any = None) -> list[str]:
    request = {"uid": "u", "operation": operation, "object": new, "oldObject": old}
    return [str(problem) for problem in judge(request, claims.clashes_of)]


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        ({"vni": 7, "spokes": ["e4"]}, []),
        ({"vni": 7, "dynamic": True}, []),
        (
            {"vni": 5, "ns": "b", "spokes": ["e4", "e1", "e3"]},
            [
                "spec.ns: b is in use by LAN d/b",
                "spec.vni: 5 is in use by LAN d/a",
                "spec.spokes[1]: e1 is in use by LAN d/a",
                "spec.spokes[2]: e3 is in use by LAN d/b",
            ],
        ),
        (
            {"vni": 0, "spokes": ["e4", "E", "e4"], "bridge": "a/b", "unknown": 1},
            [
                "spec.unknown: is unknown; known are allowedNamespaces, bridge, cable, defaultVxlanDev, dynamic, "
                "fragment, links, mtu, ns, offload, remotes, spokes, uplinks, vmSpokes, vni, vxlan, vxlanDevMap, "
                "vxlanGrp, vxlanPort, vxlanTTL",
                "spec.bridge: 'a/b' is not an interface name: no '/', ':', '%', white space or control characters",
                "spec.vni: 0 is not in 1..16777215",
                "spec.spokes[1]: 'E' is not a DNS label: lower-case letters, digits, and '-' between them",
                "spec.spokes[2]: 'e4' is spec.spokes[0] already",
            ],
        ),
        (None, ["spec: is missing"]),
    ],
)
def test_create(claims: Claims, spec: Any, problems: list[str]) -> None:
    assert said(claims, "CREATE", document("new", spec)) == problems


def test_whoever_comes_is_the_last_whatever_its_age_says(claims: Claims) -> None:
    new = document("new", {"vni": 5, "dynamic": True}, creationTimestamp="1999-01-01T00:00:00Z")
    assert said(claims, "CREATE", new) == ["spec.vni: 5 is in use by LAN d/a"]


def test_a_name_that_the_api_server_will_make_is_no_problem(claims: Claims) -> None:
    new = document("x", {"vni": 7, "dynamic": True}, generateName="lab-")
    del new["metadata"]["name"]
    assert said(claims, "CREATE", new) == []


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ({}, []),
        ({"spokes": ["e1"]}, []),
        ({"spokes": ["e1", "e2", "e9"], "mtu": 1400}, []),
        ({"spokes": ["e3", "e1"]}, ["spec.spokes[0]: e3 is in use by LAN d/b"]),
        (
            {"vni": 8, "ns": "c", "bridge": "x", "spokes": ["e3"]},
            [
                "spec.ns: is immutable: a cannot become c (make a new LAN)",
                "spec.vni: is immutable: 5 cannot become 8 (make a new LAN)",
                "spec.bridge: is immutable: br0 cannot become x (make a new LAN)",
                "spec.spokes[0]: e3 is in use by LAN d/b",
            ],
        ),
        ({"mtu": 1}, ["spec.mtu: 1 is not in 68..65461"]),
    ],
)
def test_update_of_the_oldest(claims: Claims, change: dict[str, Any], problems: list[str]) -> None:
    old = document("a", THERE["a"])
    assert said(claims, "UPDATE", document("a", {**THERE["a"], **change}), old) == problems


def test_a_lan_that_clashes_may_be_mended_one_thing_at_a_time(claims: Claims) -> None:
    spec = {"vni": 5, "ns": "c", "spokes": ["e9", "e1", "e3"]}
    old = document("c", spec)
    lan = codec.decode(old)
    claims.put(lan.ref, lan)
    assert said(claims, "UPDATE", document("c", {**spec, "spokes": ["e1", "e9"]}), old) == []
    wrong = document("c", {**spec, "spokes": ["e1", "e2"]})
    assert said(claims, "UPDATE", wrong, old) == ["spec.spokes[1]: e2 is in use by LAN d/a"]


def test_what_is_broken_already_may_be_mended_but_not_broken_otherwise(claims: Claims) -> None:
    old = document("c", {"vni": 0, "spokes": ["e9"]})
    assert said(claims, "UPDATE", document("c", {"vni": 9, "spokes": ["e9"]}), old) == []
    still = document("c", {"vni": 0, "spokes": ["e9", "e10"]})
    assert said(claims, "UPDATE", still, old) == ["spec.vni: 0 is not in 1..16777215"]


@pytest.mark.parametrize("broken", [{}, {"mtu": 1}])
def test_what_has_been_granted_is_not_refused_because_a_rival_is_there(claims: Claims, broken: dict[str, Any]) -> None:
    """Neither to a LAN that is edited, nor to one that is mended; what is new is."""
    spec = {"vni": 9, "ns": "c", "spokes": ["e9"]}
    status = {"status": {"granted": {"ns": "c", "vni": 9, "spokes": ["e9"]}}}
    for found in (document("rival", {**spec, "ns": "r"}), document("c", {**spec, **broken}) | status):
        lan = codec.remains(found) if found["spec"].get("mtu") else codec.decode(found)
        claims.put(lan.ref, lan)
    old = document("c", {**spec, **broken}) | status
    assert said(claims, "UPDATE", document("c", {**spec, "spokes": ["e9", "e10"]}) | status, old) == []
    wrong = document("c", {**spec, "spokes": ["e9", "e1"]}) | status
    assert said(claims, "UPDATE", wrong, old) == ["spec.spokes[1]: e1 is in use by LAN d/a"]
    new = document("new", {**spec, "ns": "new"}) | {"status": {"granted": {"ns": "new", "vni": 9}}}
    assert said(claims, "CREATE", new) == [
        "spec.vni: 9 is in use by LAN d/c",
        "spec.spokes[0]: e9 is in use by LAN d/c",
    ]


@pytest.mark.parametrize("metadata", [{"finalizers": ["x"]}, {"labels": {"a": "b"}}])
def test_an_update_that_leaves_the_spec_alone_is_nobodys_business(claims: Claims, metadata: dict[str, Any]) -> None:
    broken = {"vni": 0}
    assert said(claims, "UPDATE", document("c", broken, **metadata), document("c", broken)) == []


LEAVING = {"deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["example.org/x"]}
LATE = "while the LAN is being deleted"


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ({"spokes": ["e2"]}, []),
        ({"spokes": ["e2", "e1"], "mtu": 1400, "defaultVxlanDev": "eth1"}, []),
        ({"spokes": ["e1", "e9"]}, [f"spec.spokes[1]: e9 cannot be added {LATE}"]),
        ({"spokes": ["e3"]}, [f"spec.spokes[0]: e3 cannot be added {LATE}"]),
        ({"dynamic": True}, [f"spec.dynamic: cannot be set {LATE}"]),
        (
            {"vni": 8, "ns": "c", "bridge": "x", "vxlan": "y"},
            [
                "spec.ns: is immutable: a cannot become c (make a new LAN)",
                "spec.vni: is immutable: 5 cannot become 8 (make a new LAN)",
                "spec.bridge: is immutable: br0 cannot become x (make a new LAN)",
                "spec.vxlan: is immutable: vxlan0 cannot become y (make a new LAN)",
            ],
        ),
        ({"vni": 0}, ["spec.vni: 0 is not in 1..16777215"]),
    ],
)
def test_a_lan_that_is_being_deleted_gains_nothing(claims: Claims, change: dict[str, Any], problems: list[str]) -> None:
    """What it gives up, and what is nobody else's, may be written."""
    old, new = (document("a", spec, **LEAVING) for spec in (THERE["a"], {**THERE["a"], **change}))
    assert said(claims, "UPDATE", new, old) == problems


def test_a_lan_that_is_being_deleted_takes_nothing_though_it_is_the_oldest(claims: Claims) -> None:
    spec = {"vni": 9, "ns": "c", "spokes": ["e9"]}
    old, new = (
        document("c", found, creationTimestamp="1999-01-01T00:00:00Z", **LEAVING)
        for found in (spec, {**spec, "spokes": ["e9", "e1"]})
    )
    lan = codec.decode(old)
    claims.put(lan.ref, lan)
    assert said(claims, "UPDATE", new, old) == [f"spec.spokes[1]: e1 cannot be added {LATE}"]


@pytest.mark.parametrize("metadata", [{"finalizers": []}, {"labels": {"a": "b"}}])
def test_what_is_no_part_of_the_spec_may_be_written_while_a_lan_is_being_deleted(
    claims: Claims, metadata: dict[str, Any]
) -> None:
    old = document("a", THERE["a"], **LEAVING)
    assert said(claims, "UPDATE", document("a", THERE["a"], **{**LEAVING, **metadata}), old) == []


def test_a_lan_that_breaks_rules_is_not_mended_while_it_is_being_deleted(claims: Claims) -> None:
    old, new = (document("c", {"vni": vni, "spokes": ["e9"]}, **LEAVING) for vni in (0, 9))
    wanted = "spec: broke rules before, and cannot be mended while the LAN is being deleted"
    assert said(claims, "UPDATE", new, old) == [wanted]


def test_deletion_is_never_refused(claims: Claims) -> None:
    assert said(claims, "DELETE", None, document("a", THERE["a"])) == []
    assert said(claims, "CONNECT", document("a", {})) == []
