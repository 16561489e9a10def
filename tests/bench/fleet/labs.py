"""Many LANs of 50 nodes each: labs of ten LANs in a namespace, over all nodes. No cost grows with their number.

A node has a part in a share of them, and gets the VTEPs of these namespaces alone; the LANs themselves go to all.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from k8slan_cli.lan.model import LanRef
from k8slan_cli.plan.state import Attachment
from tests.bench.fleet.fleet import Cost, Fleet, fleet
from tests.bench.fleet.lone import lone
from tests.bench.fleet.node import Node
from tests.bench.fleet.server import Server
from tests.bench.rows import Row, quantile

MEMBERS, _IN_A_LAB = 50, 10
_SHARES = (1 / 3, 2 / 3, 1.0)
_AT_ONCE = 4
"""LANs whose nodes join at the same time."""
_FIRST_VNI = 100
_SAMPLE = 30
CHURN_SECONDS, _RATE, _STAY = 60.0, 20, 40
"""Joins a second, and how many pods there are before the first one goes again."""


@dataclass(frozen=True, slots=True)
class _Lan:
    ref: LanRef
    members: Sequence[Node]


async def rows(server: Server, folder: Path, nodes: int, lans: int, churn: float = CHURN_SECONDS) -> AsyncIterator[Row]:
    """A third of the LANs, two thirds, all of them; then pods that come and go."""
    async with fleet(server, folder / "labs") as found:
        await found.grow(nodes)
        there: list[_Lan] = []
        costs: list[float] = []
        for share in _SHARES:
            new = await _add(found, len(there), max(round(lans * share), len(there) + 1))
            there += new
            before = found.cost()
            await _join(found, new)
            cost = found.cost() - before
            joins = sum(len(lan.members) for lan in new)
            costs.append(cost.server / joins)
            async for row in _figures(found, there, cost, joins):
                yield row
        yield Row("CPU of API server and etcd for a join, the most LANs / the fewest", costs[-1] / costs[0], "×", 1.5)
        strangers = (node.traffic.of("vteps", lan.ref.namespace) for lan in there for node in _strangers(found, lan))
        yield Row("VTEPs, bytes to agents without a LAN in the namespace", sum(strangers), " B", 0)
        own = [lan.ref for lan in there if found.nodes[0] in lan.members]
        async with lone(found, nodes, own) as agent:
            yield Row(f"agent's memory, {len(there):,} LANs, {len(own)} of them its own", agent.memory(), " MB")
            before = agent.cpu()
            async for row in _churn(found, there, churn, own):
                yield row
            yield Row("agent's CPU meanwhile, of a core", (agent.cpu() - before) / churn * 100, " %")


async def _add(found: Fleet, first: int, end: int) -> list[_Lan]:
    """Create LANs, and wait until all nodes have seen them."""
    new = []
    for number in range(first, end):
        lab, within = divmod(number, _IN_A_LAB)
        ref = LanRef(namespace=f"lab{lab}", name=f"lan{within}")
        if not within:
            await found.add_namespace(ref.namespace)
        await found.add_lan(ref, _FIRST_VNI + number)
        count = min(MEMBERS, len(found.nodes))
        step = len(found.nodes) // count
        members = [found.nodes[(lab + i * step) % len(found.nodes)] for i in range(count)]
        new.append(_Lan(ref, members))
    last = new[-1].ref
    await found.until(f"LAN {last}", lambda node: last in node.agent.lans.all(), found.nodes)
    return new


async def _join(found: Fleet, lans: Sequence[_Lan]) -> None:
    """Attach a pod on every member of every LAN, and wait until all members know all."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def join(lan: _Lan) -> None:
        async with gate:
            await asyncio.gather(*(node.attach(lan.ref) for node in lan.members))

    await asyncio.gather(*map(join, lans))
    for lan in lans:
        await found.until_known(lan.ref, len(lan.members), lan.members)


async def _figures(found: Fleet, there: Sequence[_Lan], cost: Cost, joins: int) -> AsyncIterator[Row]:
    """What the joins of a stage took, and some more at that size, one after the other."""
    what = f"{len(there):,} LANs of {len(there[0].members)} nodes"
    times = []
    for lan in random.Random(0).choices(there, k=min(_SAMPLE, len(there))):
        node = lan.members[0]
        wanted = sum(map(_ports, lan.members[1].vteps.of(lan.ref))) + 1
        times.append(await found.join(node, lan.ref, f"more{len(there)}-{len(times)}"))
        await _until_ports(found, lan, wanted)
    yield Row(f"{what}: a join, p50", quantile(times, 0.5) * 1e3, " ms", 15)
    yield Row(f"{what}: joins at once, each until all know", cost.clock / joins * 1e3, " ms")
    yield Row(f"{what}: API server and etcd, CPU for a join", cost.server / joins * 1e3, " ms")
    each = cost.vteps / joins / len(there[0].members)
    yield Row(f"{what}: VTEPs, bytes for a join to each agent that hears of it", each / 1e3, " kB", 5)
    lans = sum(node.traffic.of("lans") for node in found.nodes) / len(found.nodes)
    yield Row(f"{what}: LANs, bytes to an agent for each LAN so far", lans / len(there) / 1e3, " kB", 3)
    yield Row(f"{what}: API server's memory", found.server.memory() / 1e3, " GB")


def _ports(vtep: object) -> int:
    return len(vtep.ports)  # type: ignore[attr-defined]


async def _until_ports(found: Fleet, lan: _Lan, ports: int) -> None:
    await found.until(
        f"{ports} ports of LAN {lan.ref}", lambda node: sum(map(_ports, node.vteps.of(lan.ref))) == ports, lan.members
    )


def _strangers(found: Fleet, lan: _Lan) -> list[Node]:
    """The nodes that have no part in a LAN's namespace: all LANs of a lab have the same members."""
    members = {node.place for node in lan.members}
    return [node for node in found.nodes if node.place not in members]


async def _churn(found: Fleet, there: Sequence[_Lan], seconds: float, more: Collection[LanRef]) -> AsyncIterator[Row]:
    """Pods come, 20 in a second, and go again two seconds later; ``more`` LANs have a port outside of the fleet."""
    loop, chance = asyncio.get_running_loop(), random.Random(1)
    before, begun = {id(node): len(node.traffic.writes) for node in found.nodes}, found.cost()
    staying: deque[tuple[_Lan, Node, Attachment]] = deque()
    start, count = loop.time(), round(seconds * _RATE)
    for number in range(count):
        await asyncio.sleep(start + number / _RATE - loop.time())
        lan = chance.choice(there)
        node = chance.choice(lan.members)
        staying.append((lan, node, await node.attach(lan.ref, f"churn{number}")))
        if len(staying) > _STAY:
            _, node, attachment = staying.popleft()
            await node.detach(attachment)
    late = loop.time() - start - (count - 1) / _RATE
    for lan in there:
        wanted = sum(len(node.agent.attachments.of(lan.ref)) for node in lan.members) + (lan.ref in more)
        await _until_ports(found, lan, wanted)
    settled = loop.time() - start - (count - 1) / _RATE
    spent = found.cost() - begun
    writes = [seconds for node in found.nodes for seconds in node.traffic.writes[before[id(node)] :]]
    what = f"{_RATE} joins and leaves a second"
    yield Row(f"{what}: a write, p50 of {len(writes):,}", quantile(writes, 0.5) * 1e3, " ms", 15)
    yield Row(f"{what}: a write, p99", quantile(writes, 0.99) * 1e3, " ms")
    yield Row(f"{what}: behind at the end", late, " s", 1)
    yield Row(f"{what}: until all know all, after the last", settled, " s", 2)
    yield Row(f"{what}: API server and etcd, CPU, of a core", spent.server / spent.clock * 100, " %")
    yield Row(f"{what}: VTEPs, bytes in a second in all", spent.vteps / spent.clock / 1e6, " MB")
