"""What an agent tells of attachments beside their counters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from k8slan_cli.agent import traffic
from k8slan_cli.lan.links import Bandwidth
from tests.unit.agent.test_store import WHOLE


def test_what_the_runtime_lets_through_is_told() -> None:
    node: Any = None  # of a LAN that is not known nothing is asked
    limited = replace(WHOLE, bandwidth=Bandwidth(from_pod=5_000_000))
    (found,) = traffic.plugged(node, "w1", {WHOLE.lan: (None, [(limited, "")])})
    assert found.bandwidth == "rate 5Mbit from pod"
