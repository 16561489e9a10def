"""ADD and DEL through the C forwarder, in turn with the Go ``bridge`` plugin of containernetworking, without IPAM.

One after the other, and a hundred at once: in one LAN (one bridge), and spread over fifty.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.node import GO_PLUGINS, Agent, burst, cni, inside, lan, pods
from tests.bench.rows import Row, quantile
from tests.support.agents import forwarder
from tests.support.netns import Namespace

BURST, ROUNDS, SPREAD = 100, 3, 50


def rows(calls: int = 200) -> Iterator[Row]:
    """ADD and DEL, ours against theirs."""
    with (
        tempfile.TemporaryDirectory(dir="/run") as folder,
        Namespace.create("node") as node,
        pods(calls + 1) as all_pods,
    ):
        node.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        node.ip("address", "add", "192.0.2.1/24", "dev", "eth0")
        node.ip("link", "set", "eth0", "up")
        lans = Path(folder, "lans")
        lans.mkdir()
        for number in range(SPREAD):
            (lans / f"{number}.yaml").write_text(json.dumps(lan(f"bench{number}", 7 + number, dynamic=True)))
        agent = Agent(node, Path(folder), lans)
        agent.start()
        try:
            with inside(node):
                yield from _in_turn(agent, all_pods)
                yield from _at_once(agent, all_pods[:BURST], 1)
                yield from _at_once(agent, all_pods[:BURST], SPREAD)
        finally:
            agent.stop()


def _ours(number: int = 0) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "ours", "type": "k8slanveth", "lan": f"default/bench{number}"}


def _theirs(number: int = 0) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "theirs", "type": "bridge", "bridge": f"bench{number}"}


def _in_turn(agent: Agent, all_pods: list[Namespace]) -> Iterator[Row]:
    """One call after the other, in a LAN and on a bridge that are there."""
    bridge = GO_PLUGINS / "bridge"
    taken: dict[str, list[float]] = {"ADD": [], "DEL": [], "bridge ADD": [], "bridge DEL": []}
    first, *rest = all_pods
    cni(forwarder(), "ADD", _ours(), first, "netours", agent.run_dir)
    cni(bridge, "ADD", _theirs(), first, "nettheirs", agent.run_dir)
    for verb in ("ADD", "DEL"):
        for pod in rest:
            taken[verb].append(cni(forwarder(), verb, _ours(), pod, "net1", agent.run_dir)[0])
            taken[f"bridge {verb}"].append(cni(bridge, verb, _theirs(), pod, "net2", agent.run_dir)[0])
    cni(forwarder(), "DEL", _ours(), first, "netours", agent.run_dir)
    cni(bridge, "DEL", _theirs(), first, "nettheirs", agent.run_dir)
    for verb, limits in (("ADD", (0.8, 0.9)), ("DEL", (1.0, 1.0))):
        for (label, share), limit in zip((("p50", 0.5), ("p95", 0.95)), limits, strict=True):
            mine, go = quantile(taken[verb], share), quantile(taken[f"bridge {verb}"], share)
            yield Row(f"CNI {verb} {label}", mine, " ms")
            yield Row(f"CNI {verb} {label} / Go bridge plugin", mine / go, "×", limit)


def _at_once(agent: Agent, all_pods: list[Namespace], lans: int) -> Iterator[Row]:
    """All calls at once, spread over so many LANs and as many bridges."""
    taken: dict[str, list[float]] = {"ADD": [], "DEL": [], "bridge ADD": [], "bridge DEL": []}
    for _ in range(ROUNDS):
        for verb in ("ADD", "DEL"):
            ours = [(pod, _ours(number % lans)) for number, pod in enumerate(all_pods)]
            theirs = [(pod, _theirs(number % lans)) for number, pod in enumerate(all_pods)]
            taken[verb].append(burst(forwarder(), verb, ours, "net1", agent.run_dir))
            taken[f"bridge {verb}"].append(burst(GO_PLUGINS / "bridge", verb, theirs, "net2", agent.run_dir))
    where = "one LAN" if lans == 1 else f"{lans} LANs"
    for verb, limit in _AT_ONCE[lans].items():
        mine, go = quantile(taken[verb], 0.5), quantile(taken[f"bridge {verb}"], 0.5)
        yield Row(f"{len(all_pods)} CNI {verb}s at once, {where}", mine, " ms")
        yield Row(f"{len(all_pods)} CNI {verb}s at once, {where} / Go bridge plugin", mine / go, "×", limit)


_AT_ONCE = {1: {"ADD": 0.8, "DEL": 0.15}, SPREAD: {"ADD": None, "DEL": None}}
