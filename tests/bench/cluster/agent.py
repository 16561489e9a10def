"""What an agent needs when nothing happens: memory and processor, with 412 resources offered to the kubelet."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.rows import Row
from tests.cluster import probing
from tests.cluster.harness import Cluster, Node

SPOKES = 206  # two resources each
MEMORY_LIMIT = 105.0  # MB
IDLE_LIMIT = 0.2  # % of a core
IDLE_SECONDS = 60.0


def rows(cluster: Cluster) -> Iterator[Row]:
    """The agent of one node, the probes of its pod included."""
    spokes = [f"idle{spoke}" for spoke in range(SPOKES)]
    cluster.kubectl.create(probing.lan("idle", "default", vni=2000, spokes=spokes))
    try:
        probing.until_allocatable(cluster, f"macvtap.k8slan.io/k8slan-mac-{spokes[-1]}", timeout=60)
        process = agent(cluster.nodes[0])
        threading.Event().wait(3)  # for what the creation has set off
        begun, used = time.monotonic(), _cpu(process)
        threading.Event().wait(IDLE_SECONDS)
        idle = (_cpu(process) - used) / (time.monotonic() - begun)
        yield Row(f"agent's memory, {2 * SPOKES} resources", memory(process), " MB", MEMORY_LIMIT)
        yield Row(f"agent's idle CPU, {2 * SPOKES} resources", idle * 100, " %", IDLE_LIMIT)
    finally:
        cluster.kubectl.delete("lan", "idle")


def agent(node: Node) -> Path:
    """The folder under /proc of a node's agent. Raises LookupError if there is none."""
    for process in Path(f"/proc/{node.machine.pid}/root/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"node-agent" in command:
            return process
    raise LookupError(f"no agent runs on {node.name}")


def _cpu(process: Path) -> float:
    """Seconds of processor that it has had."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: Path) -> float:
    """Resident, in MB."""
    line = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6
