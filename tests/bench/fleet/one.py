"""One LAN over all nodes: what a join costs the first of them and the last, and who pays what for hearing of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from k8slan_cli.kube.kinds import LANS, VTEPS
from k8slan_cli.lan import names
from k8slan_cli.lan.model import LanRef
from tests.bench.fleet import controller
from tests.bench.fleet.fleet import Cost, Fleet, fleet
from tests.bench.fleet.lone import Lone, lone
from tests.bench.fleet.meter import size
from tests.bench.fleet.node import Node
from tests.bench.fleet.server import Server
from tests.bench.rows import Row, quantile

_LAN, _CROWD = LanRef(namespace="one", name="lan"), LanRef(namespace="crowd", name="lan")
_SHARE, _AT_ONCE = 10, 10
"""The first and the last tenth of all joins are compared."""


@dataclass(slots=True)
class _Joins:
    """Of each join, in seconds: the first look at the LAN, the write, and from there until all others knew."""

    sight: list[float] = field(default_factory=list)
    write: list[float] = field(default_factory=list)
    known: list[float] = field(default_factory=list)


async def rows(server: Server, folder: Path, count: int) -> AsyncIterator[Row]:
    """Joins to one LAN, one after the other; the API server restarted; then all nodes at once to another LAN."""
    with controller.running(server, folder):
        async with fleet(server, folder / "one") as found:
            for number, ref in enumerate((_LAN, _CROWD), 1):
                await found.add_namespace(ref.namespace)
                await found.add_lan(ref, number)
            await found.grow(count + 1)  # the last one takes no part
            async with lone(found, count + 1, [_LAN]) as agent:
                async for row in _joins(found, agent, count):
                    yield row
                async for row in _restart(found, count):
                    yield row
            async for row in _crowd(found, count):
                yield row


async def _joins(found: Fleet, agent: Lone, count: int) -> AsyncIterator[Row]:
    """The first and the last joins one after the other, each begun when all know of the one before; others by tens."""
    joins, share = _Joins(), max(count // _SHARE, 1)
    begun = found.cost()
    for number in range(share):
        await _one(found, number, joins)
    for number in range(share, count - share, _AT_ONCE):
        some = found.nodes[number : min(number + _AT_ONCE, count - share)]
        await asyncio.gather(*(node.attach(_LAN) for node in some))
        await found.until_known(_LAN, number + len(some) + 1, found.nodes[: number + len(some)])
    late, thought, looking = found.cost(), agent.cpu(), 0.0
    for number in range(count - share, count):
        looking += await _one(found, number, joins)
    whole, last = found.cost() - begun, found.cost() - late
    thought = agent.cpu() - thought
    assert all(node.peers(_LAN) == count for node in found.nodes[:count])  # the lone one is one of them
    yield Row(f"a join to one LAN of {count:,} nodes, p50", quantile(joins.write, 0.5) * 1e3, " ms", 15)
    first, end = quantile(joins.write[:share], 0.5), quantile(joins.write[-share:], 0.5)
    yield Row(f"a join, the last {share} / the first {share}, p50", end / first, "×", 1.3)
    yield Row("a node's first look at the LAN, p50 of the last", quantile(joins.sight[-share:], 0.5) * 1e3, " ms")
    yield Row("until all know of a join, p50 of the last", quantile(joins.known[-share:], 0.5) * 1e3, " ms")
    yield Row("API server and etcd, CPU of a first look, of the last", looking / share * 1e3, " ms")
    yield Row("API server and etcd, CPU of a join, of the last", (last.server - looking) / share * 1e3, " ms")
    yield Row("agent, CPU of another node's join, of the last", thought / share * 1e3, " ms")
    yield Row("agent's memory, one LAN", agent.memory(), " MB")
    async for row in _bytes(found, whole, count):
        yield row


async def _one(found: Fleet, number: int, joins: _Joins) -> float:
    """One join, until all know of it; seconds of CPU that the API server spent on the node's first look."""
    node = found.nodes[number]
    at, used = time.perf_counter(), found.server.cpu()
    await node.sight(_LAN)
    joins.sight.append(time.perf_counter() - at)
    looking = found.server.cpu() - used
    at = time.perf_counter()
    joins.write.append(await found.join(node, _LAN))
    await found.until_known(_LAN, number + 2, found.nodes[: number + 1])
    joins.known.append(time.perf_counter() - at)
    return looking


async def _bytes(found: Fleet, whole: Cost, count: int) -> AsyncIterator[Row]:
    """What agents have got, and how large objects are."""
    lan = await found.admin.call("GET", LANS.path(_LAN.namespace, _LAN.name))
    vtep = await found.admin.call("GET", VTEPS.path(_LAN.namespace, names.vtep(_LAN.name, found.nodes[0].place.name)))
    yield Row("LAN object (without spokes)", size(lan) / 1e3, " kB", 4)
    yield Row("VTEP object of one port", size(vtep) / 1e3, " kB", 1.5)
    yield Row("VTEPs, bytes in all", whole.vteps / 1e9, " GB")
    yield Row("VTEPs, bytes to an agent for each node of the LAN", whole.vteps / count / count / 1e3, " kB", 3)
    yield Row("VTEPs, bytes to an agent without a LAN there", found.nodes[count].traffic.of("vteps", "one"), " B", 0)
    yield Row("LANs, bytes to an agent", whole.lans / (count + 1) / 1e3, " kB")


async def _restart(found: Fleet, count: int) -> AsyncIterator[Row]:
    """The API server is away; meanwhile nodes get one pod more each."""
    few = found.nodes[: max(count // _SHARE, 1)]
    begun = found.cost()
    found.server.stop()
    for node in few:
        await node.attach(_LAN, "late")
    found.server.start()
    await asyncio.to_thread(found.server.wait)
    at = time.perf_counter()

    late = [node.place.name for node in few]

    def knows(node: Node) -> bool:
        vteps = node.vteps._by_lan[_LAN]
        return all(len(vteps[name].ports) == 2 for name in late)

    await found.until("the ports of pods that came while the API server was away", knows, found.nodes[:count])
    seconds, spent = time.perf_counter() - at, found.cost() - begun
    yield Row(f"API server restarted, {len(few)} ports came meanwhile: until all know", seconds, " s", 180)
    yield Row(
        "API server restarted: bytes to an agent for each node of the LAN", spent.vteps / count / count / 1e3, " kB"
    )


async def _crowd(found: Fleet, count: int) -> AsyncIterator[Row]:
    """All nodes join another LAN at the same moment."""
    begun = found.cost()
    tasks = [asyncio.create_task(node.attach(_CROWD)) for node in found.nodes[:count]]
    await asyncio.gather(*tasks)
    await found.until_known(_CROWD, count, found.nodes[:count])
    spent = found.cost() - begun
    assert all(node.peers(_CROWD) == count - 1 for node in found.nodes[:count])
    yield Row(f"{count:,} joins at once, until all know all", spent.clock, " s")
    yield Row("joins at once: bytes in all", spent.vteps / 1e9, " GB")
    yield Row("joins at once: bytes to an agent for each node of the LAN", spent.vteps / count / count / 1e3, " kB", 5)
    yield Row("joins at once: API server and etcd, CPU", spent.server, " s")
