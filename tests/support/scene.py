"""Documents as a cluster has them, for what the workstation's commands print: one LAN in use, and others around it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from k8slan_cli.diagnose.lan import LanDetails
from k8slan_cli.inventory import lans, occupancy
from k8slan_cli.inventory.occupancy import SeenVteps
from k8slan_cli.lan import names, vtep_codec
from k8slan_cli.lan.model import LanRef
from k8slan_cli.plan.occupancy import Occupancy
from k8slan_cli.plan.pods import decode_pod

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


def status(*conditions: Object, spokes: int = 0, attached: int = 0, nodes: int = 0) -> Object:
    """What the controller has written."""
    counts = {"spokeCount": spokes, "attached": attached, "nodeCount": nodes}
    return {"observedGeneration": 1, **counts, "conditions": list(conditions)}


def entry(name: str, vtep: str = "192.0.2.1", state: str = "Ready", **more: Any) -> Object:
    """What an agent of 0.1.0 writes into the LAN's status."""
    return {"name": name, "state": state, "device": "eth1", "vtep": vtep, "mtu": 1446, **more}


def vtep(
    node: str, *ports: Object, lan: str = "red", address: str = "192.0.2.1", version: int = 8, **status: Any
) -> Object:
    """A VTEP of a LAN in lab; ``version`` decides who holds a spoke."""
    ref = LanRef(namespace="lab", name=lan)
    common = {"address": address, "device": "eth1", "port": 4789, "mtu": 1446, "state": "Ready"}
    return {
        "apiVersion": "lan.k8slan.io/v1beta1",
        "kind": "VTEP",
        "metadata": {
            "name": names.vtep(lan, node),
            "namespace": "lab",
            "uid": f"uid-{lan}-{node}",
            "resourceVersion": str(version),
            "labels": vtep_codec.labels(ref, node),
        },
        "spec": {"lan": lan, "node": node},
        "status": {**common, "ports": list(ports), "portCount": len(ports), **status},
    }


def port(
    pod: str, spoke: str = "", mac: str = "", *, interface: str = "net1", kind: str = "veth", vm: str = "", **more: Any
) -> Object:
    """A port, 90 minutes old, of a pod in lab (or ``namespace/pod``)."""
    namespace, _, name = f"lab/{pod}".rpartition("/")
    its = {"namespace": namespace.rpartition("/")[2], "name": name, "uid": f"uid-{name}"}
    found = {
        "name": names.port(spoke) if spoke else f"k{name[:8]}{interface}",
        "kind": kind,
        "spoke": spoke,
        "pod": its,
    }
    found |= {"interface": interface, "mac": mac, "mtu": 1446, "since": "2026-11-24T10:30:00Z"}
    return found | ({"vm": {"name": vm, "uid": f"uid-{vm}"}} if vm else {}) | more


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
    **spec: Any,
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
    metadata: Object = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "annotations": annotations}
    if vm:
        metadata["labels"] = {"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": vm}
    spec = {"containers": [{"name": "main", "image": "busybox"}], **spec}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}}


TWICE = [
    vtep("worker1", port("d1", "e1", "02:a1:00:00:00:01", interface="eth1"), version=9),
    vtep("worker2", port("d2", "e1", "02:a1:00:00:00:01", interface="eth1"), version=8),
]
"""Two pods on one spoke, of which the second one holds it."""

READY = condition("Ready", True, "Ready", "the LAN is as specified")

RED = lan(
    spokes=["e1", "e2", "vm1"],
    defaultVxlanDev="eth1",
    status=status(READY, spokes=3, attached=3, nodes=2),
)
"""In use on two nodes."""

VTEPS = [
    vtep("worker1", port("router-a", "e1", "02:a1:00:00:00:01", addresses=["10.9.0.1/24"])),
    vtep(
        "worker2",
        port("router-b", "e2", "02:a1:00:00:00:02", interface="lan0"),
        port("virt-launcher-firewall-x7k2p", "vm1", "02:a1:00:00:00:03", kind="macvtap", vm="firewall"),
        address="192.0.2.2",
    ),
]
"""Its VTEPs."""

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

_RED: Object = {"kind": "LAN", "namespace": "lab", "name": "red"}
EVENTS: list[Object] = [
    {
        "metadata": {"name": "red.1", "creationTimestamp": "2026-11-24T11:00:00Z"},
        "eventTime": "2026-11-24T11:00:00.000000Z",
        "reportingComponent": "k8slan.io/k8slan-controller",
        "involvedObject": _RED,
        "reason": "NodesDegraded",
        "message": "worker2: eth1 is down",
        "type": "Warning",
        "series": {"count": 4, "lastObservedTime": "2026-11-24T11:30:00.000000Z"},
    },
    {
        "metadata": {"name": "red.2", "creationTimestamp": "2026-11-24T11:45:00Z"},
        "lastTimestamp": "2026-11-24T11:45:00Z",
        "source": {"component": "k8slan-controller"},
        "involvedObject": _RED,
        "reason": "Ready",
        "message": "the LAN is as specified",
        "type": "Normal",
    },
]


def on(lan: Object, vteps: Iterable[Object] | None = (), pods: Iterable[Object] = ()) -> Occupancy:
    """Who is on a LAN; ``vteps`` is None where they cannot be seen."""
    item = lans.read(lan)
    seen = SeenVteps(vteps=None if vteps is None else occupancy.decoded(vteps))
    return occupancy.of([item], seen, lans.Pods(pods=tuple(map(decode_pod, pods))))[item.ref]


def view(lan: Object, vteps: Iterable[Object] | None = (), pods: Iterable[Object] = (), **more: Any) -> LanDetails:
    """All that is known of a LAN."""
    return LanDetails(found=lans.read(lan), on=on(lan, vteps, pods), **more)
