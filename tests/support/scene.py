"""Documents as a cluster has them, for what the workstation's commands print: one LAN in use, and others around it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from k8slan_cli.diagnose.lan import LanDetails
from k8slan_cli.inventory import lans
from k8slan_cli.plan.attached import decode_pod

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
Object = dict[str, Any]


def lan(name: str = "red", namespace: str = "lab", *, status: Object | None = None, **spec: Any) -> Object:
    """A LAN, two days old, with generation 1."""
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{namespace}-{name}",
        "resourceVersion": "7",
        "generation": 1,
        "creationTimestamp": "2026-11-22T11:00:00Z",
        "managedFields": [{"manager": "k8slan"}],
    }
    found = {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": metadata}
    found["spec"] = {"bridge": "br0", "vxlan": "vxlan0", "vxlanPort": 4789, "vni": 10000, **spec}
    if status is not None:
        found["status"] = status
    return found


def condition(kind: str, holds: bool, reason: str, message: str = "") -> Object:
    """A condition, three hours old."""
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-24T09:00:00Z",
    }


def status(ready: Object, *nodes: Object, spokes: int = 0, attached: int = 0) -> Object:
    """What controller and agents have written."""
    counts = {"spokeCount": spokes, "attached": attached, "nodeCount": len(nodes)}
    return {"observedGeneration": 1, **counts, "conditions": [ready], "nodes": list(nodes)}


def node(name: str, vtep: str = "192.0.2.1", state: str = "Ready", **more: Any) -> Object:
    """An agent's entry."""
    return {"name": name, "state": state, "device": "eth1", "vtep": vtep, "mtu": 1446, **more}


def pod(
    name: str,
    networks: str,
    *,
    node: str = "worker1",
    namespace: str = "lab",
    got: Iterable[tuple[str, str, str]] = (),
    vm: str = "",
    phase: str = "Running",
    ips: Iterable[str] = (),
) -> Object:
    """A pod; ``got`` are NAD, interface and MAC as multus reports them."""
    annotations = {"k8s.v1.cni.cncf.io/networks": networks}
    if got:
        default = {"name": "cbr0", "interface": "eth0", "ips": ["10.244.0.9"], "default": True, "dns": {}}
        rest = [
            {"name": f"{namespace}/{nad}", "interface": interface, "mac": mac, "ips": list(ips), "dns": {}}
            for nad, interface, mac in got
        ]
        annotations["k8s.v1.cni.cncf.io/network-status"] = json.dumps([default, *rest])
    metadata: Object = {"name": name, "namespace": namespace, "annotations": annotations}
    if vm:
        metadata["labels"] = {"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": vm}
    spec: Object = {"containers": [{"name": "main", "image": "busybox"}]}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}}


TWICE = [
    pod("d1", "k8slan-veth-e1@eth1", got=[("k8slan-veth-e1", "eth1", "02:a1:00:00:00:01")]),
    pod("d2", "k8slan-veth-e1@eth1", got=[("k8slan-veth-e1", "eth1", "02:a1:00:00:00:01")], node="worker2"),
]
"""Two pods on one spoke."""

READY = condition("Ready", True, "AsWanted", "the LAN is as specified")

RED = lan(
    spokes=["e1", "e2", "vm1"],
    defaultVxlanDev="eth1",
    status=status(READY, node("worker1"), node("worker2", "192.0.2.2"), spokes=3, attached=3),
)
"""In use on two nodes."""

PODS = [
    pod("router-a", "k8slan-veth-e1", got=[("k8slan-veth-e1", "net1", "02:a1:00:00:00:01")], ips=["10.9.0.1/24"]),
    pod("router-b", "k8slan-veth-e2@lan0", got=[("k8slan-veth-e2", "lan0", "02:a1:00:00:00:02")], node="worker2"),
    pod(
        "virt-launcher-firewall-x7k2p",
        "k8slan-mac-vm1",
        got=[("k8slan-mac-vm1", "net1", "02:a1:00:00:00:03")],
        node="worker2",
        vm="firewall",
    ),
    pod("web", "", got=[]),
]

EVENTS: list[Object] = [
    {
        "metadata": {"name": "red.1", "creationTimestamp": "2026-11-24T11:00:00Z"},
        "eventTime": "2026-11-24T11:00:00.000000Z",
        "reportingComponent": "k8slan.io/k8slan-controller",
        "reason": "NodesDegraded",
        "message": "worker2: eth1 is down",
        "type": "Warning",
        "series": {"count": 4, "lastObservedTime": "2026-11-24T11:30:00.000000Z"},
    },
    {
        "metadata": {"name": "red.2", "creationTimestamp": "2026-11-24T11:45:00Z"},
        "lastTimestamp": "2026-11-24T11:45:00Z",
        "source": {"component": "k8slan-controller"},
        "reason": "Ready",
        "message": "the LAN is as specified",
        "type": "Normal",
    },
]


def view(lan: Object, pods: list[Object], **more: Any) -> LanDetails:
    """All that is known of a LAN."""
    item = lans.read(lan)
    seen = lans.Pods(pods=tuple(map(decode_pod, pods)))
    return LanDetails(found=item, attached=lans.on([item], seen), **more)
