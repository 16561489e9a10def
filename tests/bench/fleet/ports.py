"""One node with hundreds of ports of a LAN, attached one after the other: its VTEP is written again and again."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from pathlib import Path

from k8slan_cli.kube.kinds import VTEPS
from k8slan_cli.lan import names
from k8slan_cli.lan.model import LanRef
from tests.bench.fleet.fleet import fleet
from tests.bench.fleet.meter import size
from tests.bench.fleet.server import Server
from tests.bench.rows import Row

PORTS, _WATCHERS = 500, 10
_PACE = 0.02
"""Seconds from one ADD to the next: as many as one takes on a node that does them one after the other."""
_LAN = LanRef(namespace="ports", name="lan")
_SAMPLE = 10


async def rows(server: Server, folder: Path, ports: int) -> AsyncIterator[Row]:
    """Attach ``ports`` pods to one LAN on one node, with a few nodes that hear of it."""
    async with fleet(server, folder / "ports") as found:
        await found.add_namespace(_LAN.namespace)
        await found.add_lan(_LAN, 1)
        await found.grow(1 + _WATCHERS)
        crowded, *others = found.nodes
        for node in others:
            await node.attach(_LAN)
        await found.until_known(_LAN, _WATCHERS, others)
        begun = found.cost()
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(ports):
            await asyncio.sleep(start + number * _PACE - loop.time())
            await crowded.attach(_LAN, f"pod{number}")

        def knows(node: object) -> bool:
            return sum(len(vtep.ports) for vtep in node.vteps.of(_LAN)) == ports + _WATCHERS  # type: ignore[attr-defined]

        await found.until(f"{ports} ports", knows, others)
        spent = found.cost() - begun
        writes = crowded.traffic.writes
        path = VTEPS.path(_LAN.namespace, names.vtep(_LAN.name, crowded.place.name))
        vtep = size(await found.admin.call("GET", path))
        first, last = (statistics.median(some) for some in (writes[:_SAMPLE], writes[-_SAMPLE:]))
    yield Row(f"{ports} ports on a node, one after the other: writes", len(writes), "", ports)
    yield Row(f"{ports} ports on a node: the first writes, median", first * 1e3, " ms")
    yield Row(f"{ports} ports on a node: the last writes, median", last * 1e3, " ms", 100)
    yield Row(f"{ports} ports on a node: the VTEP, for each port", vtep / ports, " B", 400)
    yield Row(f"{ports} ports on a node: bytes to another agent", spent.vteps / (1 + _WATCHERS) / 1e6, " MB", 15)
    yield Row(f"{ports} ports on a node: until all know of the last", spent.clock - (ports - 1) * _PACE, " s", 1)
