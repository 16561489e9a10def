"""What the agent says of itself in the cluster: its entry in each LAN's ``status.nodes``, and its finalizer.

Both are there for exactly the LANs that have attachments on this node. The other agents learn from the entry where to
send; the finalizer holds a LAN that is being deleted until nothing of it is left here. Nothing of an attachment waits
for this: with the API server away it is made up for later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Protocol

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.errors import K8slanError
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan, LanRef, NodeStatus

log = logging.getLogger(__name__)

_MESSAGE = 4096
"""The longest message that the CRD takes."""
_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)


class Writer(Protocol):
    """Writes to LANs in the API server. Every call raises K8slanError if it could not be done."""

    async def put_node(self, ref: LanRef, entry: NodeStatus) -> None:
        """Make ``entry`` this node's one in ``status.nodes``."""

    async def remove_node(self, ref: LanRef, node: str) -> None:
        """Take a node out of ``status.nodes``."""

    async def add_finalizer(self, ref: LanRef, finalizer: str) -> None:
        """Add a finalizer."""

    async def remove_finalizer(self, ref: LanRef, finalizer: str) -> None:
        """Take a finalizer off."""


class Publisher:
    """Keeps what the cluster knows of this node in step with what is so."""

    def __init__(self, agent: Agent, writer: Writer) -> None:
        self._agent = agent
        self._writer = writer
        self._me = agent.me.name
        self._finalizer = names.finalizer(self._me)
        self._holds = not names.label_fault(self._me.replace(".", "-"))
        if not self._holds:
            log.warning("%s is too long for a finalizer: LANs that are deleted do not wait for this node", self._me)
        self._dirty: set[LanRef] = set()
        self._wake = asyncio.Event()
        agent.observers.append(self._after_pass)
        agent.on_change.append(self._touch_all)
        self._touch_all()

    def _after_pass(self, loop: LanLoop) -> None:
        self._touch([loop.ref])

    def _touch_all(self) -> None:
        mine = [lan.ref for lan in self._agent.lans.everything().values() if self._mentioned_in(lan)]
        self._touch([*self._agent.attachments.lans(), *mine])

    def _touch(self, refs: Iterable[LanRef]) -> None:
        self._dirty.update(refs)
        if self._dirty:
            self._wake.set()

    def _mentioned_in(self, lan: Lan) -> bool:
        return self._finalizer in lan.finalizers or any(node.name == self._me for node in lan.nodes)

    async def run(self) -> None:
        """Publish until cancelled."""
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, set()
            for ref in sorted(dirty):
                try:
                    await self._publish(ref)
                except K8slanError as error:
                    log.warning("LAN %s: what this node says of it is not written: %s", ref, error)
                    self._dirty.add(ref)
            if not self._dirty & dirty:
                failures = 0
                continue
            pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
            failures += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
            self._wake.set()

    async def _publish(self, ref: LanRef) -> None:
        lan = self._agent.lans.seen(ref)
        if lan is None:
            return
        entry = self._entry(lan)
        there = next((node for node in lan.nodes if node.name == self._me), None)
        if entry and self._holds and self._finalizer not in lan.finalizers and not lan.deleting:
            await self._writer.add_finalizer(ref, self._finalizer)
        if entry and entry != there:
            await self._writer.put_node(ref, entry)
        if entry is None and there:
            await self._writer.remove_node(ref, self._me)
        if entry is None and self._finalizer in lan.finalizers:
            await self._writer.remove_finalizer(ref, self._finalizer)

    def _entry(self, lan: Lan) -> NodeStatus | None:
        """What there is to say of a LAN: None if this node has no part in it."""
        loop = self._agent.loops.get((lan.ref, lan.netns))
        if not self._agent.attachments.of(lan.ref):
            # With the last attachment the namespace goes; as long as a pass has not seen it gone, it is still there.
            gone = loop is None or loop.outcome is None or not loop.outcome.desired.exists
            return None if gone else next((node for node in lan.nodes if node.name == self._me), None)
        if loop is None or loop.outcome is None:
            return next((node for node in lan.nodes if node.name == self._me), None)
        outcome = loop.outcome
        trouble = outcome.trouble
        bridge, vxlan, underlay = outcome.desired.bridge, outcome.desired.vxlan, outcome.underlay
        down = f"{underlay.name} is down" if underlay and not underlay.up else ""
        return NodeStatus(
            name=self._me,
            state="Degraded" if trouble or down else "Ready",
            device=underlay.name if underlay else "",
            vtep=(vxlan.tunnel.local if vxlan else None) or (underlay.addresses[0] if underlay else None),
            mtu=bridge.mtu if bridge else 0,
            message=(str(trouble) if trouble else down)[:_MESSAGE],
        )
