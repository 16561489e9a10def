"""ADD and DEL through the C forwarder, in turn with the Go ``bridge`` plugin of containernetworking, without IPAM."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.node import GO_PLUGINS, Agent, cni, inside, lan, pods
from tests.bench.rows import Row, quantile
from tests.support.agents import forwarder
from tests.support.netns import Namespace

CALLS = 200


def rows() -> Iterator[Row]:
    """ADD and DEL, ours against theirs."""
    ours = {"cniVersion": "1.0.0", "name": "ours", "type": "k8slanveth", "lan": "default/bench"}
    theirs = {"cniVersion": "1.0.0", "name": "theirs", "type": "bridge", "bridge": "bench0"}
    taken: dict[str, list[float]] = {"ADD": [], "DEL": [], "bridge ADD": [], "bridge DEL": []}
    with (
        tempfile.TemporaryDirectory(dir="/run") as folder,
        Namespace.create("node") as node,
        pods(CALLS + 1) as all_pods,
    ):
        node.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        node.ip("address", "add", "192.0.2.1/24", "dev", "eth0")
        node.ip("link", "set", "eth0", "up")
        lans = Path(folder, "lans")
        lans.mkdir()
        (lans / "bench.yaml").write_text(json.dumps(lan("bench", 7, dynamic=True)))
        agent = Agent(node, Path(folder), lans)
        agent.start()
        try:
            with inside(node):
                first, *rest = all_pods
                for binary, config in ((forwarder(), ours), (GO_PLUGINS / "bridge", theirs)):
                    cni(
                        binary, "ADD", config, first, f"net{config['name']}", agent.run_dir
                    )  # the LAN, the bridge: once
                for verb in ("ADD", "DEL"):
                    for pod in rest:
                        taken[verb].append(cni(forwarder(), verb, ours, pod, "net1", agent.run_dir)[0])
                        go = cni(GO_PLUGINS / "bridge", verb, theirs, pod, "net2", agent.run_dir)[0]
                        taken[f"bridge {verb}"].append(go)
                cni(forwarder(), "DEL", ours, first, "netours", agent.run_dir)
                cni(GO_PLUGINS / "bridge", "DEL", theirs, first, "nettheirs", agent.run_dir)
        finally:
            agent.stop()
    for verb, limit in (("ADD", 0.7), ("DEL", 1.0)):
        for label, share in (("p50", 0.5), ("p95", 0.95)):
            mine, go = quantile(taken[verb], share), quantile(taken[f"bridge {verb}"], share)
            yield Row(f"CNI {verb} {label}", mine, " ms")
            yield Row(f"CNI {verb} {label} / Go bridge plugin", mine / go, "×", limit)
