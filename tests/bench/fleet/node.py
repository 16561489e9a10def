"""A node of the fleet: its agent as it is, down to the seam to the kernel.

Real are LANs and VTEPs as they are watched, the publisher and its writes, transport and TLS. The kernel is played by
the loops, whose passes find done what they plan. CNI ADD and DEL are ``attach`` and ``detach``: what the agent does
beside the kernel's part, in its order.

``Thoughtless`` nodes leave two things out, so that a thousand of them fit into a process: they have no disk for their
records; and when another node's VTEP has changed they know it, but do not work out what follows from all VTEPs of the
LAN. An agent in a process of its own does (lone.py), and there it is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.agent.passes import Outcome, Self
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.publish import Publisher
from k8slan_cli.agent.store import AttachmentRecords, KnownLans
from k8slan_cli.agent.vteps import Change
from k8slan_cli.kube.client import Client
from k8slan_cli.kube.kubeconfig import Access
from k8slan_cli.kube.lans import ApiSource
from k8slan_cli.kube.vteps import VtepWatch, VtepWriter
from k8slan_cli.lan import names
from k8slan_cli.lan.model import IpAddress, Lan, LanRef, Snapshot
from k8slan_cli.lan.vtep import peers
from k8slan_cli.plan import desired as planner
from k8slan_cli.plan.state import Attachment, AttachmentKind, Underlay, absent
from tests.bench.fleet.meter import Metered, Traffic

_FIRST_ADDRESS = int(ip_address("10.64.0.1"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is: its number in the fleet, from which its name and its address follow."""

    number: int

    @property
    def name(self) -> str:
        """As Kubernetes calls it."""
        return f"node{self.number}"

    @property
    def address(self) -> IpAddress:
        """Where VXLAN reaches it."""
        return ip_address(_FIRST_ADDRESS + self.number)


class Node:
    """One node with its agent, from ``start`` to ``close``."""

    def __init__(self, place: Place, access: Access, folder: Path, agent: type[Thoughtless | Thinking]) -> None:
        self.place = place
        self.traffic = Traffic()
        self._client = Client(Metered(access, self.traffic), "k8slan-node-agent")
        self._source = ApiSource(self._client)
        self.vteps = VtepWatch(self._client)
        self.agent = agent(place, folder, self.vteps)
        self._publisher = Publisher(self.agent, VtepWriter(self._client, place.name))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Run the agent until it has seen all LANs."""
        parts = (self.agent.follow(self._source), self._publisher.run(), self.vteps.run())
        self._tasks = [asyncio.create_task(part, name=f"{self.place.name}: {part.__qualname__}") for part in parts]
        heard = asyncio.create_task(self.agent.lans.heard.wait())
        await asyncio.wait({heard, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        self.check()

    def check(self) -> None:
        """Raise what a part of the agent has failed with."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def close(self) -> None:
        """End the agent; what it has written stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.vteps.close()
        await self._source.close()
        await self.agent.close()
        await self._client.close()

    # ------------------------------------------------------------ pods

    async def attach(self, ref: LanRef, pod: str = "pod") -> Attachment:
        """Do what an ADD does beside the kernel's work. The VTEP is written some time later, as always."""
        agent = self.agent
        lan = agent.lans.of_name(ref)
        async with agent.joining(ref):
            container = f"{self.place.name}-{ref.namespace}-{ref.name}-{pod}"
            attachment = Attachment(
                container=container,
                ifname="net1",
                lan=ref,
                kind=AttachmentKind.VETH,
                port=names.dynamic_port(container, "net1"),
                mac=names.mac(str(ref), container),
                mtu=await agent.mtu_of(lan),
                pod=f"{ref.namespace}/{pod}-{self.place.number}",
                pod_uid=f"{self.place.number:08x}-0000-4000-8000-{abs(hash(container)) & 0xFFFFFFFFFFFF:012x}",
                since=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                complete=True,
            )
            agent.attachments.put(attachment)
            await agent.loop_of(lan).wake([attachment.port])
        return attachment

    async def detach(self, attachment: Attachment) -> None:
        """Do what a DEL does beside the kernel's work."""
        self.agent.attachments.delete(attachment.key)
        await self.agent.loop_of(self.agent.lans.of_name(attachment.lan)).wake([attachment.port])
        self.agent.take_part()

    async def sight(self, ref: LanRef) -> None:
        """Have a first look at a LAN's VTEPs, as an ADD does, and wait until the whole namespace is watched."""
        async with self.agent.joining(ref):
            await self.vteps._watched[ref.namespace].informer.live.wait()

    def peers(self, ref: LanRef) -> int:
        """To how many other nodes this one would send a frame of a LAN."""
        return len(peers(self.vteps.of(ref), self.place.name))


# ---------------------------------------------------------------- the agent, less the kernel


class _Loop(LanLoop):
    """A loop whose passes plan what the LAN should be here, and find it so."""

    underlay: Underlay

    def wake(self, ports: Iterable[str] | None = None) -> asyncio.Future[Outcome]:
        """Make a pass at once, over these ports or over all."""
        found = [a for a in self._attachments.of(self.ref) if ports is None or a.port in ports]
        state = absent(self.netns)
        if self.lan and self._attachments.of(self.ref):
            around = planner.as_heard(self.around, self.lan, self._me.name, state)
            state = planner.plan(self.lan, self.underlay, found, around, others=True)
        self._moves.clear()
        self.outcome = Outcome(desired=state, underlay=self.underlay)
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        done.set_result(self.outcome)
        self._on_outcome(self)
        return done


class Thinking(Agent):
    """The agent, with records on a disk of its own, on a node without LANs."""

    def __init__(self, place: Place, folder: Path, vteps: VtepWatch) -> None:
        paths = Paths(folder / place.name)
        super().__init__(paths, Self(name=place.name, address=place.address), vteps=vteps)
        paths.create()
        self._underlay = Underlay(name="eth0", index=2, mtu=1500, up=True, addresses=(place.address,))

    async def mtu_of(self, lan: Lan) -> int:
        """The MTU of a new attachment to a LAN, in bytes."""
        own = planner.lan_mtu(lan, self._underlay, self._underlay.addresses[0].version)
        return planner.mtu_everywhere(lan, self.me.name, self.vteps.of(lan.ref), own)

    def loop_of(self, lan: Lan) -> LanLoop:
        """The loop of a LAN, made if there is none yet."""
        key = (lan.ref, lan.netns)
        if key not in self.loops:
            loop = _Loop(lan.ref, lan.netns, self.node, self.me, self.attachments, self._after_pass)
            loop.underlay = self._underlay
            loop.around = self.around(lan)
            self.loops[key] = loop
        self.loops[key].lan = lan
        return self.loops[key]


class Thoughtless(Thinking):
    """One of a thousand in a process: without a disk, and without thoughts about what others have written."""

    def __init__(self, place: Place, folder: Path, vteps: VtepWatch) -> None:
        super().__init__(place, folder, vteps)
        self.attachments = _Records(self.paths.attachments)
        self.lans._known = _Known(self.paths.lans)
        self.lans._attached = self.attachments.lans

    def _vteps_changed(self, ref: LanRef, changes: Collection[Change]) -> None:
        for callback in self.on_vteps:
            callback(ref, changes)


class _Records(AttachmentRecords):
    """Attachments in memory alone."""

    def put(self, attachment: Attachment) -> None:
        """Record an attachment."""
        self._remember(attachment)


class _Known(KnownLans):
    """LANs as they were known last, in memory alone."""

    def replace(self, lans: Snapshot) -> None:  # type: ignore[override]
        """Remember what there is."""
        self._entries = dict(lans)
