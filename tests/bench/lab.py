"""What a large lab costs: 100 nodes and 200 links brought up, against the same pods without LANs.

On a cluster of two nodes (tests/cluster/harness). A ring of nodes, each linked to the next two: four interfaces each.
The pods are those that ``k8slan lab render`` prints. Both times are until all are Ready, so that the ratio is what
links cost a lab. Agents are measured while it is up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.bench.cluster.agent import agent, memory
from tests.bench.rows import Row
from tests.cluster import product
from tests.cluster.harness import Cluster, Kubectl
from tests.cluster.harness.versions import TEST_IMAGE
from tests.support import names

NODES, REACH = 100, (1, 2)
_SECONDS = 900
_NAMESPACE = "bench-lab"


def rows() -> Iterator[Row]:
    """The figures of a lab."""
    cluster = Cluster.up(names.PREFIX, images=(product.image(_say),), say=_say)
    try:
        product.install(cluster)
        yield from _rows(cluster)
    finally:
        cluster.down()


def _rows(cluster: Cluster) -> Iterator[Row]:
    cluster.kubectl("create", "namespace", _NAMESPACE)
    kubectl = cluster.kubectl.within(_NAMESPACE)
    kubectl.wait_created("serviceaccount", "default")
    with tempfile.TemporaryDirectory(prefix=names.PREFIX) as folder:
        file = Path(folder, "ring.clab.yml")
        file.write_text(json.dumps(_topology()))
        pods = [each for each in yaml.safe_load_all(_lab(cluster, "render", str(file))) if each["kind"] == "Deployment"]
        for pod in pods:
            del pod["spec"]["template"]["metadata"]["annotations"]
        alone = _timed(lambda: _up(kubectl, pods))
        kubectl.delete("deployments", "--all", timeout=_SECONDS)
        kubectl.wait("--for=delete", "pods", "--all", timeout=_SECONDS)
        before = [memory(agent(node)) for node in cluster.nodes]
        together = _timed(lambda: _lab(cluster, "up", str(file), f"--timeout={_SECONDS}"))
        after = [memory(agent(node)) for node in cluster.nodes]
        again = _timed(lambda: _lab(cluster, "up", str(file)))
        down = _timed(lambda: _lab(cluster, "down", str(file), f"--timeout={_SECONDS}"))
    links = NODES * len(REACH)
    yield Row(f"{NODES} pods without LANs, applied → all Ready", alone, " s")
    yield Row(f"lab up of {NODES} nodes and {links} links → all Ready", together, " s")
    yield Row("the same, in times of the pods alone", together / alone, "×")
    yield Row("k8slan's own part of it, for each link", (together - alone) / links * 1000, " ms")
    yield Row("lab up again, nothing changed", again, " s")
    yield Row("lab down → all gone", down, " s")
    yield Row("agent's memory before", max(before), " MB")
    yield Row(f"agent's memory, {links} links and half of the {NODES} pods", max(after), " MB")


def _topology() -> dict[str, Any]:
    links = [
        {"endpoints": [f"n{number}:eth{far}", f"n{(number + far) % NODES}:eth{far + len(REACH)}"]}
        for number in range(NODES)
        for far in REACH
    ]
    nodes = {
        f"n{number}": {"kind": "linux", "image": TEST_IMAGE, "image-pull-policy": "Never"} for number in range(NODES)
    }
    return {"name": "ring", "topology": {"nodes": nodes, "links": links}}


def _up(kubectl: Kubectl, documents: list[dict[str, Any]]) -> None:
    kubectl.apply(*documents, timeout=_SECONDS)
    kubectl.wait("--for=condition=Available", "deployments", "--all", timeout=_SECONDS)


def _lab(cluster: Cluster, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "k8slan_cli", "lab", *words, "-n", _NAMESPACE],
        env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=_SECONDS,
        check=True,
    ).stdout


def _timed(work: Any) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
