"""Many nodes in one process, on one API server: joins that do not disturb each other, and who has heard of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from k8slan_cli.kube.client import Client
from k8slan_cli.kube.kinds import LANS, NAMESPACES, NODES
from k8slan_cli.kube.transport import Asynchronous
from k8slan_cli.lan.model import API_VERSION, KIND, LanRef
from tests.bench.fleet.access import as_admin, as_agent
from tests.bench.fleet.meter import Traffic
from tests.bench.fleet.node import Node, Place, Thoughtless
from tests.bench.fleet.server import Server

_SECONDS, _LOOK_SECONDS = 300.0, 0.02
_AT_ONCE = 25
"""Agents that start at the same time."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What has been spent: seconds by the clock, of CPU of API server with etcd and of the fleet; events and bytes."""

    clock: float
    server: float
    fleet: float
    events: int
    lans: int
    vteps: int

    def __sub__(self, before: Cost) -> Cost:
        """What has been spent since."""
        pairs = ((getattr(self, name), getattr(before, name)) for name in self.__slots__)
        return Cost(*(now - then for now, then in pairs))


class Fleet:
    """The nodes of a cluster."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.nodes: list[Node] = []
        self.admin = Client(Asynchronous(as_admin(server.kubeconfig)))
        self._look: Callable[[], None] = lambda: None

    async def close(self) -> None:
        """End all agents."""
        await asyncio.gather(*(node.close() for node in self.nodes))
        await self.admin.close()

    # ------------------------------------------------------------ what there is

    async def grow(self, count: int) -> None:
        """Add nodes until there are ``count``, each with its agent, which has seen all LANs."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def add(number: int) -> Node:
            async with gate:
                await self.add_node(Place(number))
                access = as_agent(self.server.kubeconfig, Place(number).name)
                node = Node(Place(number), access, self.folder, Thoughtless)
                node.traffic.heard = self._heard
                await node.start()
                return node

        self.nodes += await asyncio.gather(*(add(number) for number in range(len(self.nodes), count)))

    async def add_node(self, place: Place) -> None:
        """Create a Node, which is Ready; nothing happens if there is one."""
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        path = NODES.path("", place.name)
        query = {"fieldManager": "fleet", "force": "true"}
        head = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": place.name}}
        apply = "application/apply-patch+yaml"
        await self.admin.call("PATCH", path, query=query, body=head, content_type=apply)
        body = head | {"status": {"conditions": [condition]}}
        await self.admin.call("PATCH", f"{path}/status", query=query, body=body, content_type=apply)

    async def add_namespace(self, name: str) -> None:
        """Create a namespace."""
        await self.admin.call("POST", NAMESPACES.path(), body={"metadata": {"name": name}})

    async def add_lan(self, ref: LanRef, vni: int) -> None:
        """Create a dynamic LAN."""
        spec = {"vni": vni, "dynamic": True}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": ref.name}, "spec": spec}
        await self.admin.call("POST", LANS.path(ref.namespace), body=body)

    # ------------------------------------------------------------ who knows

    def _heard(self) -> None:
        self._look()

    async def until(self, what: str, holds: Callable[[Node], bool], nodes: Iterable[Node]) -> None:
        """Wait until something holds for all of these nodes, as their agents hear more and more."""
        left = deque(nodes)
        done = asyncio.Event()

        def look() -> None:
            while left and holds(left[0]):
                left.popleft()
            if not left:
                done.set()

        self._look = look
        deadline = time.monotonic() + _SECONDS
        try:
            while not done.is_set():
                look()
                with contextlib.suppress(TimeoutError):  # an agent may take something in after it has heard of it
                    await asyncio.wait_for(done.wait(), _LOOK_SECONDS)
                if time.monotonic() > deadline:
                    for node in left:
                        node.check()
                    text = f"{len(left)} nodes, {left[0].place.name} the first of them, do not know {what}"
                    raise TimeoutError(f"{text} after {_SECONDS:.0f} s")
        finally:
            self._look = lambda: None

    async def until_known(self, ref: LanRef, vteps: int, nodes: Iterable[Node]) -> None:
        """Wait until these nodes know so many VTEPs of a LAN."""
        await self.until(f"{vteps} VTEPs of LAN {ref}", lambda node: len(node.vteps.of(ref)) == vteps, nodes)

    async def join(self, node: Node, ref: LanRef, pod: str = "pod") -> float:
        """Attach a pod, and wait until the node's VTEP is written; seconds that the write took.

        The other agents do not read meanwhile: in the same process, they would be served before the writer's answer.
        """
        writes = len(node.traffic.writes) + 1
        watches = [watch for other in self.nodes if other is not node for watch in other.traffic.watches]
        for watch in watches:
            watch.pause_reading()
        try:
            await node.attach(ref, pod)
            await self.until(f"{writes} own writes", lambda node: len(node.traffic.writes) >= writes, [node])
        finally:
            for watch in watches:
                watch.resume_reading()
        return node.traffic.writes[-1]

    # ------------------------------------------------------------ what it costs

    def cost(self) -> Cost:
        """What has been spent so far."""
        traffic: list[Traffic] = [node.traffic for node in self.nodes]
        return Cost(
            clock=time.perf_counter(),
            server=self.server.cpu(),
            fleet=time.process_time(),
            events=sum(one.events for one in traffic),
            lans=sum(one.of("lans") for one in traffic),
            vteps=sum(one.of("vteps") for one in traffic),
        )


@asynccontextmanager
async def fleet(server: Server, folder: Path) -> AsyncIterator[Fleet]:
    """Nodes for the body of a block."""
    folder.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    found = Fleet(server, folder)
    gc.disable()  # to look for garbage among all that a thousand agents know takes a second, and one has a thousandth
    try:
        yield found
    finally:
        await found.close()
        gc.enable()
