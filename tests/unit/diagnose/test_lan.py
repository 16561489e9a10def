"""Why a LAN is not ready, in sentences."""

from __future__ import annotations

import pytest

from k8slan_cli.diagnose.lan import why
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
