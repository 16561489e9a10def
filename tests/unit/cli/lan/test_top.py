"""Rates of attachments: how they are made of counters, and how they are shown."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from k8slan_cli.cli.lan import top
from k8slan_cli.diagnose.agents import Agents
from k8slan_cli.diagnose.protocol import Plugged, Traffic
from k8slan_cli.diagnose.traffic import Flow, Meter, Streams
from tests.unit.cli.cluster import VTEPS, Workstation
from tests.unit.diagnose.test_agents import plugged


def line(at: float, *items: Plugged) -> dict[str, Any]:
    return {"at": at, "attachments": [item.encode() for item in items]}


def counted(item: Plugged, frames: int, dropped: int = 0) -> Plugged:
    return replace(item, carrier=True, sent=Traffic(packets=frames, bytes=frames * 100, dropped=dropped))


A, B = plugged("lab/a", spoke="e1"), plugged("lab/b", spoke="e10", node="w2")


def test_a_rate_is_of_two_looks_by_the_agents_own_clock() -> None:
    meter = Meter()
    meter.feed("w1", line(10.0, counted(A, 1000)))
    assert [flow.sent for flow in meter.flows] == [None]
    meter.feed("w1", line(12.5, counted(A, 1500), B))
    one, new = meter.flows
    assert one.sent is not None
    assert (one.sent.packets, one.sent.bytes, one.busy) == (200.0, 20000.0, 20000.0)
    assert new.sent is None
    meter.feed("w1", line(13.0, counted(A, 3)))  # its port was made anew
    assert [flow.busy for flow in meter.flows] == [0.0]
    meter.forget("w1")
    assert meter.flows == []


def flows() -> list[Flow]:
    meter = Meter()
    for at, frames in ((1.0, 0), (2.0, 10)):
        meter.feed("w1", line(at, counted(A, frames)))
        meter.feed("w2", line(at, counted(B, frames * 30, dropped=7)))
    return meter.flows


def test_the_busiest_come_first_and_all_columns_are_told() -> None:
    busiest = top.ordered(flows(), top.Order.RATE)
    assert [flow.item.spoke for flow in busiest] == ["e10", "e1"]
    assert [flow.item.spoke for flow in top.ordered(flows(), top.Order.NAME)] == ["e1", "e10"]
    assert [flow.item.spoke for flow in top.ordered(flows(), top.Order.DROPPED)] == ["e10", "e1"]
    first, heads, row, _, trouble = top.table(busiest, {"w3": "its agent is gone"}, 3, limit=None)
    assert first == "5 attachments, 2 seen, 0 without a link; 31.0 kB/s sent, 0 B/s received"
    assert " ".join(heads.split()) == "LAN WHO NODE SPOKE LINK SENT/S RECEIVED/S FRAMES/S DROPPED ERRORS"
    assert row.split() == ["lab/blue", "b:net1", "w2", "e10", "up", "30.0", "kB", "0", "B", "300", "7", "0"]
    assert trouble == "node w3 is not seen: its agent is gone"


def test_nothing_to_look_at_is_waited_for_and_not_looked_for_all_the_time() -> None:
    agents: Any = None
    with Streams(agents, "lab/blue", 1) as streams:
        begun = time.monotonic()
        assert streams.flows() == []
        assert time.monotonic() - begun >= 0.9


def test_attachments_that_no_agent_tells_of_are_not_said_to_be_none(
    k8slan: Workstation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Agents, "token", lambda _: "a token")
    for node in ("worker1", "worker2"):
        metadata = {"name": f"agent-{node}", "labels": {"app.kubernetes.io/name": "k8slan-node-agent"}}
        pod = {"metadata": metadata, "spec": {"nodeName": node}}
        k8slan.api.put(f"/api/v1/namespaces/k8slan-system/pods/agent-{node}", pod)
    shown = k8slan("lan", "top", "red", "--every", "1", status=3).stdout
    assert shown.startswith("3 attachments, none seen\n")
    assert "node worker2 is not seen: " in shown
    k8slan.api.refuse[VTEPS] = (403, "no")
    assert k8slan("lan", "top", "red", "--every", "1", status=3).stdout.startswith("who is attached cannot be seen\n")


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_it_fits_into_a_terminal(columns: int) -> None:
    assert max(map(len, top.table(flows(), {}, 0, limit=columns))) <= max(columns, 64)


def test_programs_get_counters_and_rates() -> None:
    found = top.document(top.ordered(flows(), top.Order.RATE), {})
    assert found["attachments"][0]["sentPerSecond"]["bytes"] == 30000.0
    assert found["attachments"][0]["sent"]["dropped"] == 7
    assert found["notVisible"] == []
