"""The document follows the cluster and the agents, and says what cannot be seen."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.kube.client import MissingError
from k8slan_cli.lan.model import LanRef
from k8slan_cli.ui.watching import Scope
from tests.support import scene
from tests.unit.cli.cluster import LANS
from tests.unit.ui.rig import Lab, crowd, lab, until

WIRE = "lab/r1-r2 lab/r1 to-r2"


def forbidden(what: str) -> tuple[int, str]:
    words = f'{what} is forbidden: User "eve" cannot list resource "{what}" in API group "" in the namespace "lab"'
    return 403, words


def test_devices_and_lans_are_there_and_what_changes_comes_within_a_second(routed: Lab) -> None:
    with routed.watching() as watching:
        found = until(watching.board, lambda d: len(d["ends"]) == 11)
        assert found["scope"] == "namespace lab"
        assert found["devices"]["lab/vm-firewall"]["kind"] == "vm"
        assert found["missing"] == {}
        assert found["fixed"] == ""
        document = json.loads(json.dumps(routed.api.objects[f"{LANS}/r1-r2"]))
        document["spec"]["links"] = {"r1-to-r2": {"state": "down"}}
        changed = time.monotonic()
        routed.api.put(f"{LANS}/r1-r2", document)
        until(watching.board, lambda d: d["ends"][WIRE]["link"] == "down")
        assert time.monotonic() - changed < 8  # what does not hear of a change looks again after ten
        routed.lan("new", ("r1", "x", "worker1"), vni=9)
        found = until(watching.board, lambda d: "lab/new lab/r1 x" in d["ends"])
        assert found["ends"]["lab/r1-r2 lab/r2 to-r1"]["note"] == "link down at the other end"


def test_counters_come_with_each_look(routed: Lab) -> None:
    with routed.watching() as watching:
        until(watching.board, lambda d: len(d["ends"]) == 11 and d["flows"])
        routed.agents.tick()
        found = until(watching.board, lambda d: d["flows"][WIRE]["frames"])
        assert found["flows"][WIRE]["frames"] == 200
        assert found["flows"]["lab/meadow lab/vm-firewall eth0"]["carrier"] is True


def test_only_the_lans_that_are_named_are_shown(routed: Lab) -> None:
    scope = Scope(spaces=("lab",), refs=frozenset({LanRef(namespace="lab", name="r1-r2")}))
    with routed.watching(scope) as watching:
        found = until(watching.board, lambda d: d["ends"])
    assert set(found["lans"]) == {"lab/r1-r2"}
    assert set(found["devices"]) == {"lab/r1", "lab/r2"}
    assert found["scope"] == "LAN lab/r1-r2"


def test_what_this_user_may_not_see_is_said_and_the_rest_is_shown(routed: Lab) -> None:
    routed.api.refuse["/api/v1/namespaces/lab/pods"] = forbidden("pods")
    routed.api.refuse["/api/v1/namespaces/lab/events"] = forbidden("events")
    routed.api.denied.add(("patch", "lans"))
    routed.agents.refuse = MissingError("user eve cannot list pods in namespace k8slan-system", status=403)
    with routed.watching() as watching:
        found = until(watching.board, lambda d: len(d["ends"]) == 11 and len(d["missing"]) == 3)
    assert found["missing"] == {
        "pods": "user eve cannot list pods in namespace lab",
        "events": "user eve cannot list events in namespace lab",
        "counters": "user eve cannot list pods in namespace k8slan-system",
    }
    assert found["fixed"] == "links cannot be changed without the right to patch lans.lan.k8slan.io in namespace lab"


def test_without_the_right_to_see_lans_that_is_said(routed: Lab) -> None:
    path = LANS
    routed.api.refuse[path] = forbidden("lans")
    with routed.watching() as watching:
        found = until(watching.board, lambda d: d["missing"])
    assert found["missing"]["LANs"] == "user eve cannot list lans in namespace lab"
    assert found["lans"] == {}


def test_a_fault_is_said_beside_what_was_seen_before_and_passes(
    routed: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("k8slan_cli.ui.watching._AGAIN_SECONDS", 0.2)
    with routed.watching() as watching:
        until(watching.board, lambda d: len(d["ends"]) == 11)
        event = {"metadata": {"name": "x", "namespace": "lab"}, "involvedObject": {"kind": "LAN"}, "series": 7}
        event["involvedObject"] = {"kind": "LAN", "namespace": "lab", "name": "meadow"}
        routed.api.put("/api/v1/namespaces/lab/events/x", event)
        found = until(watching.board, lambda d: "this page" in d["missing"])
        assert "internal error" in found["missing"]["this page"]
        assert len(found["ends"]) == 11
        routed.api.delete("/api/v1/namespaces/lab/events/x")
        until(watching.board, lambda d: not d["missing"])
    assert "cannot be brought up to date" in caplog.text


def test_a_lan_that_is_not_valid_is_named(routed: Lab) -> None:
    routed.put(scene.lan("bad", spokes=["UPPER"], vni=5))
    with routed.watching() as watching:
        found = until(watching.board, lambda d: d["missing"])
    assert "spec.spokes[0]" in found["missing"]["LAN lab/bad"]
    assert "lab/bad" not in found["lans"]


def test_events_are_those_of_lans_the_latest_first(routed: Lab) -> None:
    for event in scene.EVENTS:
        metadata = event["metadata"] | {"namespace": "lab"}
        about = {"kind": "LAN", "namespace": "lab", "name": "meadow"}
        found: Any = event | {"metadata": metadata, "involvedObject": about}
        routed.api.put(f"/api/v1/namespaces/lab/events/{metadata['name']}", found)
    other = {"kind": "Pod", "namespace": "lab", "name": "r1"}
    routed.api.put(
        "/api/v1/namespaces/lab/events/x",
        {"metadata": {"name": "x", "namespace": "lab"}, "involvedObject": other, "reason": "Pulled"},
    )
    with routed.watching() as watching:
        events = until(watching.board, lambda d: d["events"])["events"]
    assert [(event["lan"], event["reason"], event["count"]) for event in events] == [
        ("lab/meadow", "Ready", 1),
        ("lab/meadow", "NodesDegraded", 4),
    ]


def test_a_cluster_that_does_not_answer_is_said_and_what_was_seen_stays(routed: Lab) -> None:
    with routed.watching() as watching:
        until(watching.board, lambda d: len(d["ends"]) == 11)
        routed.api.refuse = dict.fromkeys([LANS], (503, "etcd is away"))
        routed.api.break_watches = 8
        with routed.api.changed:
            routed.api.changed.notify_all()
        found = until(watching.board, lambda d: d["missing"].get("LANs") == "not up to date: etcd is away")
        assert len(found["ends"]) == 11
        routed.api.refuse.clear()
        until(watching.board, lambda d: not d["missing"])


def test_counters_of_three_hundred_attachments_come_within_a_second(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        crowd(found, 300)
        with found.watching() as watching:
            until(watching.board, lambda d: len(d["flows"]) == 300, 60)
            begun = time.monotonic()
            found.agents.tick()
            until(watching.board, lambda d: d["flows"]["lab/crowd lab/p299 eth0"]["frames"])
            assert time.monotonic() - begun < 8
