"""Why a LAN is not ready, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from k8slan_cli.diagnose import lan as details
from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.agents import AgentPod, Agents
from k8slan_cli.diagnose.lan import why
from k8slan_cli.diagnose.protocol import NodeFacts, UnderlayFacts
from k8slan_cli.inventory import lans
from k8slan_cli.kube.apply import Cluster
from k8slan_cli.kube.client import MissingError
from k8slan_cli.kube.kubeconfig import Access
from tests.support import scene
from tests.support.scene import Object, view


def test_nothing_is_wrong_with_a_lan_that_is_ready() -> None:
    assert why(view(scene.RED, scene.VTEPS, scene.PODS)) == ()


def test_nobody_has_looked_at_it() -> None:
    (reason,) = why(view(scene.lan(spokes=["e1"]), []))
    assert reason.startswith("Waiting for the controller to see it: is it running?")
    changed = scene.lan(spokes=["e1"], status=scene.status(scene.READY))
    changed["metadata"]["generation"] = 2
    (reason,) = why(view(changed, []))
    assert reason.startswith("Waiting for the controller to see its last change")


def test_a_conflict_is_said_in_the_controllers_words() -> None:
    conflict = scene.condition("Ready", False, "Conflict", "spec.vni: 7 is in use by LAN lab/blue")
    (reason,) = why(view(scene.lan(spokes=["e1"], status=scene.status(conflict)), []))
    assert reason == "Conflict: spec.vni: 7 is in use by LAN lab/blue"


def test_an_agent_that_says_nothing_is_named() -> None:
    what = view(scene.RED, scene.VTEPS[:1], scene.PODS)
    reason = "multus has attached it, but the agent on node worker2 does not report the port"
    assert [(item.who, item.why) for item in what.on.waiting] == [
        ("pod lab/router-b", reason),
        ("VM lab/firewall", reason),
    ]


@pytest.mark.parametrize(
    ("vteps", "ready", "words"),
    [
        (scene.VTEPS[:1], scene.READY, "It is being deleted, and stays until these are gone: pod lab/router-a."),
        ([], scene.READY, "It is being deleted; its finalizers wait for k8slan's controller and agents"),
        (
            [],
            scene.condition("Ready", False, "Terminating", "is to be deleted, and not yet removed on: worker2"),
            "It is being deleted: it is to be deleted, and not yet removed on: worker2.",
        ),
    ],
)
def test_what_a_lan_that_is_being_deleted_waits_for(vteps: list[Object], ready: Object, words: str) -> None:
    leaving = scene.lan(spokes=["e1"], status=scene.status(ready))
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T11:00:00Z"
    (reason,) = why(view(leaving, vteps, scene.PODS))
    assert reason.startswith(words)


class Small(Agents):
    """Agents of nodes whose own device has an MTU of 1500; that of ``mute`` does not answer."""

    def ask(self, node: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What an agent answers to a question about its node."""
        assert (path, [reach["device"] for reach in body["reaches"]]) == (protocol.NODE, [""])
        if node == "mute":
            raise MissingError("asleep")
        own = UnderlayFacts(device="eth0", mtu=1500, up=True, vtep=ip_address("192.0.2.1"))
        return NodeFacts(node=node, version="1", time=0, underlays={"": own}).encode()


def test_an_mtu_that_does_not_fit_is_said_before_a_pod_is_refused_for_it() -> None:
    agents = Small(Cluster(Access(url="http://127.0.0.1:9")))
    agents.pods = {name: AgentPod(name, name) for name in ("w1", "w2", "mute")}
    ready = scene.lan(spokes=["e1"], mtu=9000, status=scene.status(scene.READY))
    wide = lans.sound(lans.read(ready))
    (reason,) = why(replace(view(ready), unmet=details.unmet(agents, wide)))
    assert reason == (
        "LAN lab/red cannot be had on w1, w2: spec.mtu: 9000 does not fit: eth0 has MTU 1500, VXLAN needs 54, so at "
        "most 1446: correct its spec.mtu, or raise the MTU of the underlay."
    )
    assert details.unmet(agents, replace(wide, mtu=1400)) == ()
    agents.pods = {}
    assert details.unmet(agents, wide) == ()
