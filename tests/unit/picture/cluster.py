"""Pictures of LANs in a cluster."""

from __future__ import annotations

from k8slan_cli.inventory import lans
from k8slan_cli.picture import Topology
from k8slan_cli.picture.lans import topology as drawn
from k8slan_cli.plan.attached import decode_pod
from tests.support import scene
from tests.support.scene import Object


def topology(lan: Object, *pods: Object) -> Topology:
    """The picture of a LAN and the pods on it."""
    item = lans.read(lan)
    on = lans.on([item], lans.Pods(pods=tuple(map(decode_pod, pods))))
    return drawn(lans.sound(item), on, ready=item.ready is None or item.ready.status)


RED = topology(scene.RED, *scene.PODS)

BLUE = topology(
    scene.lan(
        "blue",
        vni=11,
        dynamic=True,
        status=scene.status(
            scene.condition("Ready", False, "NodesDegraded", "x"),
            scene.node("worker1", state="Degraded", message="there is no device bond0 here; it may come back one day"),
        ),
    ),
    scene.pod("router-a", "k8slan-lan-blue", got=[("k8slan-lan-blue", "net1", "02:b1:00:00:00:01")]),
    scene.pod("<b>&", "lab/k8slan-lan-blue", namespace="other", node="worker9"),
    scene.pod("c", "k8slan-lan-blue", node=""),
)
