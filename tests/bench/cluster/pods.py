"""How much later a pod is Ready when it has a LAN: kinds of pods in turn, one at a time.

A pod's creation is the moment in which a watch brings it. Two things are timed from there:

- its container is made, the first thing after sandbox and network are done; the runtime writes down when;
- it is Ready, as the same watch says. The kubelet looks at its containers once a second, so this is some time up to a
  second later, whatever networks the pod has: it would take hundreds of pods to see 60 ms through that.

So what a network costs is taken from the first (pods of one round are compared, and the median is over rounds), and the
time to Ready is told once, for pods without a LAN.

Beside pods with a LAN there are some with a network of the stock bridge plugin without IPAM: what multus costs by
itself. Nothing is deleted between pods, so that no pod's end disturbs the next one's start.
"""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from time import time
from typing import Any

from tests.bench.rows import Row
from tests.cluster import probing
from tests.cluster.harness import Cluster
from tests.cluster.harness.pods import is_ready, manifest

ROUNDS = 20
LIMIT = 60.0  # milliseconds
_MILLI = 1000

_NAMESPACE = "bench-pods"
_PAUSE = 0.3  # seconds; a watch is there by then, and if it is not, it comes late by what nobody is short of
_GOLDEN = (5**0.5 - 1) / 2  # its multiples, of which only the fraction counts, lie evenly on a second


@dataclass(slots=True)
class _Times:
    """Of the pods of one kind, in milliseconds from their creation."""

    made: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)


def rows(cluster: Cluster) -> Iterator[Row]:
    """Pods with a LAN against pods without."""
    kubectl = cluster.kubectl.within(_NAMESPACE)
    cluster.kubectl("create", "namespace", _NAMESPACE)
    kubectl.wait("--for=create", "serviceaccount/default")
    try:
        _prepare(cluster)
        times: dict[str, _Times] = {}
        for number in range(ROUNDS + 1):
            kinds = list(_kinds(number).items())
            for kind, wanted in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
                # The last pod was Ready when the kubelet looked: let each kind begin at all times between two looks.
                pause = _PAUSE + number * _GOLDEN % 1
                made, ready = _pod(cluster, f"{kind}-{number}", wanted, pause)
                if number:  # the first round is for caches to fill
                    times.setdefault(kind, _Times()).made.append(made)
                    times[kind].ready.append(ready)
        yield from _figures(times)
    finally:
        kubectl.delete("pods", "--all", timeout=120)
        kubectl.delete("lans", "--all", timeout=120)
        cluster.kubectl.delete("namespace", _NAMESPACE)


def _prepare(cluster: Cluster) -> None:
    kubectl = cluster.kubectl.within(_NAMESPACE)
    config = {"cniVersion": "1.0.0", "name": "stock", "type": "bridge", "bridge": "stock"}
    kubectl.create(
        {
            "apiVersion": "k8s.cni.cncf.io/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": "stock"},
            "spec": {"config": json.dumps(config)},
        }
    )
    spokes = ["anchor", *(f"{kind}{number}" for kind in ("veth", "mac") for number in range(ROUNDS + 1))]
    kubectl.create(probing.lan("shared", _NAMESPACE, vni=1, spokes=spokes))
    for number in range(ROUNDS + 1):
        kubectl.create(probing.lan(f"own{number}", _NAMESPACE, vni=100 + number, spokes=[f"own{number}"]))
    kubectl.wait("--for=condition=Ready", "lans", "--all")
    probing.until_allocatable(cluster, f"macvtap.k8slan.io/k8slan-mac-mac{ROUNDS}")
    kubectl.create(manifest("anchor", networks="k8slan-veth-anchor"))
    kubectl.wait("--for=condition=Ready", "pod/anchor")


def _kinds(number: int) -> dict[str, dict[str, Any]]:
    """What the pods of a round are made with."""
    mac = f"k8slan-mac-mac{number}"
    return {
        "none": {},
        "stock": {"networks": "stock"},
        "veth": {"networks": f"k8slan-veth-veth{number}"},
        "macvtap": {"networks": mac, "resources": {f"macvtap.k8slan.io/{mac}": 1}},
        "first": {"networks": f"k8slan-veth-own{number}"},
    }


def _pod(cluster: Cluster, name: str, wanted: dict[str, Any], pause: float) -> tuple[float, float]:
    """Make a pod after a pause; milliseconds from its creation to its container, and until it was Ready."""
    kubectl = cluster.kubectl.within(_NAMESPACE)
    seen: list[float] = []
    container = ""

    def watch() -> None:
        nonlocal container
        for pod in kubectl.watch("pods", f"--selector=name={name}", timeout=60):
            now = time()
            if not seen:
                seen.append(now)
            if is_ready(pod):
                seen.append(now)
                container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
                return

    watching = threading.Thread(target=watch)
    watching.start()
    threading.Event().wait(pause)
    kubectl.create(manifest(name, labels={"name": name}, **wanted))
    watching.join()
    created, ready = seen
    told = cluster.nodes[0].run("ctr", "--namespace=k8s.io", "containers", "info", container).stdout
    made = datetime.fromisoformat(json.loads(told)["CreatedAt"]).timestamp()
    return (made - created) * _MILLI, (ready - created) * _MILLI


def _figures(times: dict[str, _Times]) -> Iterator[Row]:
    def later(kind: str) -> float:
        return statistics.median(a - b for a, b in zip(times[kind].made, times["none"].made, strict=True))

    yield Row("pod without LAN, from its creation to its container", statistics.median(times["none"].made), " ms")
    yield Row("pod without LAN, from its creation to Ready", statistics.median(times["none"].ready), " ms")
    yield Row("pod with a veth, later", later("veth"), " ms", LIMIT)
    yield Row("pod with a macvtap, later", later("macvtap"), " ms", LIMIT)
    yield Row("pod with a veth, the first of its LAN on the node, later", later("first"), " ms", LIMIT)
    yield Row("pod with a network of the stock bridge plugin, later", later("stock"), " ms")
