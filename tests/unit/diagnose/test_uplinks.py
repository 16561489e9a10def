"""What doctor says of uplinks."""

from __future__ import annotations

from k8slan_cli.diagnose import cluster
from k8slan_cli.diagnose.protocol import OK, WARN
from k8slan_cli.inventory import lans
from k8slan_cli.inventory.occupancy import Users
from tests.support import scene


def test_the_active_uplink_is_named_and_that_there_is_none_is_a_warning() -> None:
    document = scene.lan("red", spokes=["a"], uplinks=[{"node": "w1", "device": "eth1"}])
    dark = [scene.vtep("w1", uplinks=[{"device": "eth1"}])]
    for status, vteps, wanted in (
        ({"uplink": "eth1 of node w1"}, [], (OK, "LAN lab/red: eth1 of node w1 is active")),
        ({}, dark, (WARN, "LAN lab/red has no active uplink (eth1 of node w1: no carrier)")),
        ({}, [], (WARN, "LAN lab/red has no active uplink (no node says that it has one)")),
    ):
        found = lans.read(document | {"status": scene.status(scene.READY) | status})
        (check,) = cluster.uplinks(found, Users(by_lan={found.ref: scene.on(document, vteps)}))
        assert (check.state, check.words) == wanted
