"""Pictures of LANs in a cluster."""

from __future__ import annotations

from collections.abc import Iterable

from k8slan_cli.diagnose.drawing import seen
from k8slan_cli.inventory import lans
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.picture import Topology
from k8slan_cli.picture.lans import topology as drawn
from tests.support import scene
from tests.support.scene import Object


def topology(lan: Object, *vteps: Object, pods: Iterable[Object] = ()) -> Topology:
    """The picture of a LAN and of who is on it, or waits."""
    item = lans.read(lan)
    return drawn(seen(item, Users(by_lan={item.ref: scene.on(lan, vteps, pods)})))


RED = topology(scene.RED, *scene.VTEPS, pods=scene.PODS)

BLUE = topology(
    scene.lan(
        "blue",
        vni=11,
        dynamic=True,
        status=scene.status(scene.condition("Ready", False, "NodesDegraded", "x")),
    ),
    scene.vtep(
        "worker1",
        scene.port("router-a", mac="02:b1:00:00:00:01"),
        lan="blue",
        state="Degraded",
        message="there is no device bond0 here; it may come back one day",
    ),
    pods=[
        scene.pod("<b>&", "lab/k8slan-lan-blue", namespace="other", node="worker9"),
        scene.pod("c", "k8slan-lan-blue", node=""),
    ],
)
