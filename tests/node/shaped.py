"""A LAN on one node, whose links are made as bad as a test wants: a pod's, a VM's, and one that stays good."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from k8slan_cli.kube.kinds import LANS
from k8slan_cli.lan import names as lan_names
from k8slan_cli.net.netlink import mac_bytes
from k8slan_cli.probe.endpoint import PacketSocket, Tap
from tests.node.fabric import Node, eventually, fabric
from tests.support.agents import document, macvtap, pods
from tests.support.flows import VirtualWire, Wire
from tests.support.netns import Namespace
from tests.unit.kube.fake_api import FakeApi

LAN = "shaped"
GOOD = "good"
"""The spoke of which nothing is ever asked."""


class _Log(logging.Handler):
    """What the agent says that it has done."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


@dataclass(kw_only=True)
class Shaped:
    """The LAN; its spokes ``pod`` and ``vm`` are what they are called."""

    api: FakeApi
    runner: asyncio.Runner
    log: _Log
    pods: Mapping[str, Namespace]
    links: Mapping[str, Any]

    @classmethod
    @contextmanager
    def create(cls, *ends: str) -> Iterator[Self]:
        """A LAN with these ends and the good one plugged in."""
        api, log = FakeApi(), _Log()
        with ExitStack() as stack:
            runner = stack.enter_context(asyncio.Runner())
            (node,) = stack.enter_context(fabric(api, 1500))
            found = dict(zip((GOOD, *ends), stack.enter_context(pods(1 + len(ends))), strict=True))
            self = cls(api=api, runner=runner, log=log, pods=found, links={})
            stack.enter_context(_listening(log))
            self.set()
            running = AsyncExitStack()
            runner.run(running.enter_async_context(node.agent()))
            stack.callback(lambda: runner.run(running.aclose()))
            for end, pod in found.items():
                runner.run(node.plug(pod, end, **({"kind": macvtap} if end == "vm" else {})))
                stack.callback(_unplug, runner, node, pod, end)
            yield self

    def set(self, **links: Any) -> None:
        """Let the LAN say this of its links, and wait until they are so."""
        changed = {end for end in self.pods if links.get(end) != self.links.get(end)}
        self.links = links
        self.log.lines.clear()
        spec = {"vni": 7, "spokes": list(self.pods), "links": links}
        self.api.put(LANS.path("lab", LAN), document(LAN, namespace="lab", **spec))

        def done() -> bool:
            return all(any(f"shape {end}p:" in line for line in self.log.lines) for end in changed)

        self.runner.run(eventually(f"links as {links}", done))

    def drifts(self) -> bool:
        """Whether links are shaped again for some time, though nothing else is wanted."""
        self.log.lines.clear()
        self.runner.run(asyncio.sleep(0.5))
        return any("shape " in line for line in self.log.lines)

    @contextmanager
    def wires(self, end: str) -> Iterator[tuple[Wire | VirtualWire, Wire]]:
        """An end of the LAN, and the good one, to measure between."""
        with self._wire(GOOD) as good:
            if end == "vm":
                with self._tap() as tap:
                    yield VirtualWire(tap), good
            else:
                with self._wire(end) as wire:
                    yield wire, good

    @contextmanager
    def endpoints(self, end: str) -> Iterator[tuple[PacketSocket | Tap, PacketSocket]]:
        """An end of the LAN, and the good one, to probe between."""
        there = self._tap() if end == "vm" else PacketSocket(self.pods[end].fd(), "eth1")
        with there, PacketSocket(self.pods[GOOD].fd(), "eth1") as good:
            yield there, good

    def _wire(self, end: str) -> Wire:
        return Wire(self.pods[end].fd(), "eth1", self._mac(end))

    def _tap(self) -> Tap:
        """The VM's end, as its hypervisor opens it."""
        return Tap(Path(f"/dev/tap{lan_names.tap_index(f'lab/{LAN}', 'vm')}"), self._mac("vm"))

    def _mac(self, end: str) -> bytes:
        return mac_bytes(self.pods[end].links()["eth1"]["address"])


@contextmanager
def _listening(log: _Log) -> Iterator[None]:
    logger = logging.getLogger("k8slan_cli.agent")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(log)
    try:
        yield
    finally:
        logger.removeHandler(log)
        logger.setLevel(before)


def _unplug(runner: asyncio.Runner, node: Node, pod: Namespace, end: str) -> None:
    runner.run(node.unplug(pod, end))
