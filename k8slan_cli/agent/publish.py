"""What the agent says of itself in the cluster: this node's VTEP of each LAN in which it takes part.

A VTEP is there from the first attachment until the LAN's namespace is gone from this node. It is written on change
only: the first change at once, what follows within a tenth of a second after it together, and where changes do not
end, as of a NIC whose carrier comes and goes, once in a second. Nothing of an attachment waits for this: with the API
server away it is made up for later.

What was written last is always known before something is written, from the answer to the last write, from the watch,
or else by asking: the claims of ports depend on it (lan/vtep.py), over restarts of the agent too.

An agent of version 0.1.0 wrote a finalizer and an entry of ``status.nodes`` into the LAN itself. While one of this node
is there, the VTEP is there, even without ports: by that the controller sees that it may take them away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.agent.passes import Outcome
from k8slan_cli.agent.vms import Vms
from k8slan_cli.agent.vteps import Change
from k8slan_cli.errors import K8slanError
from k8slan_cli.kube.watch import Backoff
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.lan.vtep import READY, PodRef, VmRef, Vtep, VtepPort, VtepUplink, with_claims, with_known_claims
from k8slan_cli.lan.vtep_codec import MAX_MESSAGE, MAX_UPLINK_MESSAGE
from k8slan_cli.plan.state import Attachment
from k8slan_cli.plan.uplinks import opened_in

log = logging.getLogger(__name__)

DEGRADED = "Degraded"
_TOGETHER_SECONDS, _RESTLESS_SECONDS = 0.1, 1.0
"""How long changes are gathered after a write, and how long at the most, where each time there have been some."""
_LONGEST_SECONDS = 10.0
"""The longest pause before a write is tried again."""
_AT_ONCE = 8
"""So many writes at a time."""


class Writer(Protocol):
    """Writes this node's VTEPs. Every call raises K8slanError if it could not be done."""

    async def own(self) -> Collection[Vtep]:
        """Return all VTEPs of this node."""

    async def read(self, lan: LanRef) -> Vtep | None:
        """Return this node's VTEP of a LAN."""

    async def write(self, vtep: Vtep, before: Vtep | None) -> Vtep:
        """Make a VTEP, or replace the one that was there ``before``; returns it as it is now."""

    async def delete(self, vtep: Vtep) -> None:
        """Delete a VTEP."""

    async def vm_of(self, pod: PodRef) -> VmRef | None:
        """Return the VM that a pod runs."""


class Publisher:
    """Keeps what the cluster knows of this node in step with what is so."""

    def __init__(
        self, agent: Agent, writer: Writer, pause: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._agent = agent
        self._writer = writer
        self._pause = pause
        self._me = agent.me.name
        self._finalizer = names.finalizer(self._me)
        self._written: dict[LanRef, Vtep | None] = {}
        """VTEPs as they were written last, None for none; of a LAN that is not in here it is not known."""
        self._vms = Vms(agent.attachments, writer.vm_of, self._touch, pause)
        self._found: set[LanRef] = set()
        """LANs whose VTEP of this node was there when the agent started."""
        self._overwritten: set[LanRef] = set()
        """LANs whose VTEP somebody else has written, so that the claims of its ports have to be written down."""
        self._dirty: set[LanRef] = set()
        self._busy: set[LanRef] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._tasks: asyncio.TaskGroup | None = None
        agent.observers.append(self._after_pass)
        agent.on_lans.append(self._touch)
        agent.on_vteps.append(self._heard)
        agent.refusals.on_change = self._touch
        agent.troubles.on_change.append(lambda: self._touch(agent.used()))

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._take_over(), name="own VTEPs")
            mine = [lan.ref for lan in self._agent.lans.everything().values() if self._is_mentioned(lan)]
            self._touch([*self._agent.used(), *self._agent.refusals.lans(), *mine])
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None  # what a pass tells from now on is for the next agent

    async def _take_over(self) -> None:
        """Find the VTEPs that an agent before this one has left, also of LANs that are gone."""
        pauses = Backoff()
        while True:
            try:
                found = await self._writer.own()
                break
            except K8slanError as error:
                log.warning("the VTEPs of this node cannot be listed: %s; trying again", error)
                await self._pause(pauses.next())
        self._found = {vtep.lan for vtep in found}  # each is read anew before it is written: this may be old
        await self._agent.lans.heard.wait()  # before that, of a LAN that is not known it cannot be said that it is gone
        self._touch(self._found)

    # ------------------------------------------------------------ what wakes it

    def _after_pass(self, loop: LanLoop) -> None:
        self._touch([loop.ref])

    def _heard(self, lan: LanRef, changes: Collection[Change]) -> None:
        """Take in what others have done to a VTEP of this node; news of own writes come late, and are passed over."""
        for old, new in changes:
            told = new or old
            if told is None or told.node != self._me:
                continue
            if lan not in self._written:
                if new:
                    self._found.add(lan)
                self._touch([lan])  # it is read before it is written: what the watch tells may be older
                continue
            written = self._written[lan]
            if new and self._learn(lan, new):
                self._touch([lan])
            elif not new and written and written.uid == told.uid:
                self._written[lan] = None
                self._touch([lan])

    def _touch(self, lans: Collection[LanRef]) -> None:
        """Look at what there is to say of these LANs, one time after the other for each."""
        if self._tasks is None:
            return  # ``run`` begins with all of them
        self._dirty.update(lans)
        for lan in set(lans) - self._busy:
            self._busy.add(lan)
            self._tasks.create_task(self._publish(lan), name=f"VTEP of LAN {lan}")

    # ------------------------------------------------------------ writing

    async def _publish(self, lan: LanRef) -> None:
        pauses, told = Backoff(limit=_LONGEST_SECONDS), ""
        together = _TOGETHER_SECONDS
        try:
            while lan in self._dirty:
                self._dirty.discard(lan)
                try:
                    async with self._turns:
                        changed = await self._settle(lan)
                except K8slanError as error:
                    if told != str(error):
                        told = str(error)
                        log.warning("LAN %s: what this node says of it is not written: %s", lan, error)
                    self._written.pop(lan, None)  # it may be another than we think
                    self._dirty.add(lan)
                    await self._pause(pauses.next())
                else:
                    pauses.reset()
                    told = ""
                    if changed or together > _TOGETHER_SECONDS:
                        await self._pause(together)
                        together = min(2 * together, _RESTLESS_SECONDS)
        finally:
            self._busy.discard(lan)

    async def _settle(self, ref: LanRef) -> bool:
        """Write what there is to say, if it is not written; returns whether something was written."""
        if not self._may_differ(ref):
            return False
        if ref not in self._written:
            self._written[ref] = await self._writer.read(ref)
        written = self._written[ref]
        wanted = self._wanted(ref, written)
        if wanted is None:
            if written is None:
                return False
            if written.ports:  # this takes the finalizer off, too
                written = await self._writer.write(replace(written, ports=()), written)
            await self._writer.delete(written)
            self._written[ref] = None
        elif written is None or ref in self._overwritten or _differs(wanted, written):
            answer = await self._writer.write(with_claims(wanted, written), written)
            self._overwritten.discard(ref)
            self._learn(ref, answer)
        else:
            return False
        return True

    def _learn(self, ref: LanRef, found: Vtep) -> bool:
        """Take in a VTEP as it was, unless a later version is known by now; returns whether it is the latest."""
        known = self._written.get(ref)
        if known and known.version >= found.version:
            return False
        self._written[ref] = with_known_claims(found, known) if known else found
        if self._written[ref] != found:
            self._overwritten.add(ref)
        return True

    def _may_differ(self, ref: LanRef) -> bool:
        """Whether there can be a VTEP at all; so no LAN that this node has no part in costs a request."""
        lan = self._agent.lans.seen(ref)
        return bool(
            ref in self._written
            or ref in self._found
            or self._agent.uses(ref)
            or self._agent.refusals.get(ref)
            or (lan and self._is_mentioned(lan))
        )

    # ------------------------------------------------------------ what there is to say

    def _is_mentioned(self, lan: Lan) -> bool:
        """Whether an agent of version 0.1.0 has left something of this node in a LAN."""
        return self._finalizer in lan.finalizers or any(node.name == self._me for node in lan.nodes)

    def _wanted(self, ref: LanRef, written: Vtep | None) -> Vtep | None:
        """Return the VTEP that should be there, None for none."""
        agent = self._agent
        lan = agent.lans.seen(ref)
        if lan is None and not agent.lans.synced:
            return written  # nobody has said yet that it is gone
        loop = agent.loops.get((ref, lan.netns)) if lan else _of(ref, agent.loops.values())
        present = loop is not None and loop.outcome is not None and loop.outcome.desired.exists
        attachments = agent.attachments.of(ref) if lan else ()
        live = [a for a in attachments if loop is None or a.key not in loop.dead]
        here = live or (attachments and present) or agent.has_uplink(ref)
        if lan and loop and loop.outcome and here:
            return self._value(lan, loop, loop.outcome, live, written)
        if live or present or agent.has_uplink(ref):
            return written  # no pass has looked yet, or none has seen the namespace gone
        if refusal := agent.refusals.get(ref):
            return Vtep(lan=ref, node=self._me, state=DEGRADED, message=refusal[:MAX_MESSAGE])
        if lan and self._is_mentioned(lan):
            return Vtep(lan=ref, node=self._me)
        return None

    def _value(
        self, lan: Lan, loop: LanLoop, outcome: Outcome, attachments: Collection[Attachment], written: Vtep | None
    ) -> Vtep:
        bridge, vxlan, underlay = outcome.desired.bridge, outcome.desired.vxlan, outcome.underlay
        address = (vxlan.tunnel.local if vxlan else None) or (underlay.addresses[0] if underlay else None)
        down = f"{underlay.name} is down" if underlay and not underlay.up else ""
        before = written or Vtep(lan=lan.ref, node=self._me)
        uplinks = tuple(_uplinks(loop, outcome)) or (before.uplinks if self._agent.has_uplink(lan.ref) else ())
        dark = "; ".join(uplink.message for uplink in uplinks if uplink.message)
        trouble = str(outcome.trouble or down) or dark or self._agent.refusals.get(lan.ref)
        vms = {(port.name, port.pod): port.vm for port in before.ports}
        ports = sorted((self._port(attachment, vms) for attachment in attachments), key=lambda port: port.name)
        # What a pass could not find out is as it was: the other nodes go on sending here.
        return Vtep(
            lan=lan.ref,
            node=self._me,
            address=address or before.address,
            device=underlay.name if underlay else before.device,
            port=lan.port,
            vni=lan.vni,
            mtu=bridge.mtu if bridge else before.mtu,
            state=DEGRADED if trouble else READY,
            message=(trouble or str(self._agent.troubles))[:MAX_MESSAGE],
            ports=tuple(ports),
            uplinks=uplinks,
        )

    def _port(self, attachment: Attachment, vms: Mapping[tuple[str, PodRef | None], VmRef | None]) -> VtepPort:
        namespace, _, name = attachment.pod.partition("/")
        pod = PodRef(namespace=namespace, name=name, uid=attachment.pod_uid) if name else None
        vm = VmRef(name=attachment.vm_name, uid=attachment.vm_uid) if attachment.vm_uid else None
        if vm is None and pod and self._tasks and attachment.may_be_vm:
            vm = self._vms.of(attachment, pod, self._tasks) or vms.get((attachment.port, pod))
        return VtepPort(
            name=attachment.port,
            spoke=attachment.spoke or "",
            kind=attachment.kind.value,
            pod=pod,
            vm=vm,
            interface=attachment.ifname,
            mac=attachment.mac.lower(),
            addresses=attachment.addresses,
            mtu=attachment.mtu,
            since=attachment.since,
            migrating=bool(attachment.vm_uid),
        )


def _uplinks(loop: LanLoop, outcome: Outcome) -> Iterator[VtepUplink]:
    """Yield this node's uplinks. While a loop keeps the one that would be active closed, all with a carrier say so."""
    opened = opened_in(outcome.desired.uplinks.values())
    failed = {op.uplink.port.name: str(error) for op, error in outcome.failures if hasattr(op, "uplink")}
    for each in outcome.uplinks:
        message = each.fault or failed.get(each.port, "") or (loop.blocked if each.carrier else "")
        yield VtepUplink(
            device=each.uplink.device,
            vlan=each.uplink.vlan,
            carrier=each.carrier,
            active=each.port == opened and not message,
            message=message[:MAX_UPLINK_MESSAGE],
        )


def _of(ref: LanRef, loops: Collection[LanLoop]) -> LanLoop | None:
    return next((loop for loop in loops if loop.ref == ref), None)


def _differs(wanted: Vtep, written: Vtep) -> bool:
    """Whether a VTEP has to be written. A claim is no change by itself; those of a node that is lost have to go."""
    if written.lost and any(port.claim for port in written.ports):
        return True
    return _bare(wanted) != _bare(written)


def _bare(vtep: Vtep) -> Vtep:
    """Return what the agent says of itself."""
    ports = tuple(replace(port, claim=0) for port in vtep.ports)
    return replace(vtep, ports=ports, lost=None, uid="", version=0, deleting=False)
