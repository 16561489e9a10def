"""Whom to ask for a capture of LANs, and what is said of those who do not answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.capturing import Spreading
from k8slan_cli.diagnose.client import AgentError
from k8slan_cli.errors import K8slanError
from tests.support import scene
from tests.unit.cli.lan.test_capture import Cluster, Nodes
from tests.unit.diagnose.test_recording import Agent


def test_nodes_that_come_to_have_the_lan_are_those_with_ports() -> None:
    vteps = [scene.vtep("w2", scene.port("two", "e2"), lan="blue"), scene.vtep("w3", lan="blue", state="Degraded")]
    lans = Spreading(Cluster("blue", vteps=vteps), Nodes(), ("lab/blue",), protocol.Capture(), str)  # type: ignore[arg-type]
    nodes = lans.nodes()
    assert next(nodes) == {"w1", "w2"}
    lans.close()
    assert list(nodes) == []


def spreading(nodes: Nodes, say: Callable[[str], None] = str) -> Spreading:
    wanted = protocol.Capture(filter="arp", snaplen=100)
    return Spreading(Cluster("blue"), nodes, ("lab/blue",), wanted, say)  # type: ignore[arg-type]


def test_an_agent_too_old_for_lans_is_named_and_the_others_go_on() -> None:
    said: list[str] = []
    old = AgentError("node w2: places: are none", status=400)
    agent = Agent("a", 1)
    begun = spreading(Nodes(answers={"w1": agent, "w2": old}), said.append).begin({"w1", "w2"}, alone=True)
    assert begun == {"w1": agent, "w2": None}
    assert "node w2 is not captured for now: the agent of node w2 is too old" in said[0]
    with pytest.raises(K8slanError, match="too old to capture a whole LAN"):
        spreading(Nodes(answers={"w2": old})).begin({"w2"}, alone=True)


def test_a_filter_that_is_none_is_refused_at_once() -> None:
    wrong = AgentError("node w2: filter: 'places: are no': syntax error", status=400)
    with pytest.raises(AgentError, match="syntax error"):
        spreading(Nodes(answers={"w1": Agent("a", 1), "w2": wrong})).begin({"w1", "w2"}, alone=True)
