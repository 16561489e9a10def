"""The agent of one node: LANs and attachments come in here, and a loop for each LAN makes them real."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from k8slan_cli.agent.lans import Lans, as_written
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.agent.passes import Outcome, Self, mtu_inside
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.refusals import Refusals
from k8slan_cli.agent.sources import Source
from k8slan_cli.agent.store import AttachmentRecords, KnownLans, Unreleased
from k8slan_cli.agent.troubles import Troubles
from k8slan_cli.agent.underlays import Underlays, Wanted
from k8slan_cli.agent.vteps import Change, Changed, NoVteps, Vteps
from k8slan_cli.errors import KernelError
from k8slan_cli.lan.model import Lan, LanRef, Snapshot
from k8slan_cli.lan.vtep import PodRef, VtepPort
from k8slan_cli.net import netlink, netns, observe, sockets
from k8slan_cli.net.mounts import MountListener
from k8slan_cli.net.netlink import Heard
from k8slan_cli.net.node import Node
from k8slan_cli.net.sockets import Listener
from k8slan_cli.plan import desired as planner
from k8slan_cli.plan.desired import Elsewhere
from k8slan_cli.plan.moves import handovers, moves
from k8slan_cli.plan.state import Attachment

log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.1


Migrates = Callable[[PodRef, VtepPort], Awaitable[bool]]


async def _none_migrates(_pod: PodRef, _port: VtepPort) -> bool:
    return False


class Agent:
    """All that a node's agent knows and does, without its edges (CNI socket, device plugins, HTTP, status)."""

    def __init__(self, paths: Paths, me: Self, host_root: Path = Path("/"), vteps: Vteps | None = None) -> None:
        """Read the records of an agent before this one.

        ``host_root`` is where the node's own file system is seen, in a container elsewhere than at ``/``. Without
        ``vteps`` LANs have no other nodes but those in their own status.

        Raises:
            StoreError: the run directory cannot be used.

        """
        self.paths = paths
        self.me = me
        self.host_root = host_root
        self.node = Node(paths.netns, host_root)
        self.attachments = AttachmentRecords(paths.attachments)
        self.unreleased = Unreleased(paths.unreleased)
        self.lans = Lans(KnownLans(paths.lans), self.attachments.lans)
        self.vteps: Vteps = vteps or NoVteps()
        self.vteps.on_change = self._vteps_changed
        self.underlays = Underlays(me)
        self.underlays.update(self.lans.all(), self.lans.all())
        self.loops: dict[tuple[LanRef, str], LanLoop] = {}
        self.observers: list[Callable[[LanLoop], None]] = []
        """Called after each pass of a LAN, with its loop."""
        self.on_lans: list[Callable[[Collection[LanRef]], None]] = []
        """Called with the LANs that have changed, come or gone."""
        self.on_underlays: list[Callable[[Collection[Wanted]], None]] = []
        """Called with the underlay devices that may have changed."""
        self.on_vteps: list[Changed] = []
        """Called after a change of VTEPs."""
        self.refusals = Refusals()
        self.troubles = Troubles()
        self.migrates: Migrates = _none_migrates
        """Whether KubeVirt says of a pod that a VM is on its way into it, from the port given."""
        self._uplinked = frozenset(filter(self.has_uplink, self.lans.all()))
        self._joining: Counter[LanRef] = Counter()
        self._host: _HostWatch | None = None
        self._mounts: _MountWatch | None = None

    # ------------------------------------------------------------ LANs

    def has_uplink(self, ref: LanRef) -> bool:
        """Return whether a LAN has an uplink on this node: then it is here without pods, too."""
        lan = self.lans.get(ref)
        return lan is not None and bool(lan.uplinks_on(self.me.name))

    def uses(self, ref: LanRef) -> bool:
        """Return whether this node takes part in a LAN: it has attachments or an uplink of it."""
        return bool(self.attachments.of(ref)) or self.has_uplink(ref)

    def used(self) -> Collection[LanRef]:
        """Return the LANs in which this node takes part."""
        return self.attachments.lans() | self._uplinked

    def loop_of(self, lan: Lan) -> LanLoop:
        """The loop of a LAN, made if there is none yet."""
        key = (lan.ref, lan.netns)
        loop = self.loops.get(key)
        if loop is None:
            loop = LanLoop(lan.ref, lan.netns, self.node, self.me, self.attachments, self._after_pass)
            loop.around = self.around(lan)
            self.loops[key] = loop
        loop.lan = lan
        return loop

    async def mtu_of(self, lan: Lan) -> int:
        """The MTU of a new attachment to a LAN, in bytes: what frames may have on all nodes that take part.

        Raises:
            Invalid: the LAN cannot be had here.
            UnderlayMissing: there is no underlay device.

        """
        outcome = self.loop_of(lan).outcome
        if outcome and not outcome.unplanned and outcome.desired.bridge:
            own = outcome.desired.bridge.mtu
        else:
            own = await asyncio.to_thread(mtu_inside, self.node, lan, self.me)
        return planner.mtu_everywhere(lan, self.me.name, self.vteps.of(lan.ref), own)

    def take_in(self, snapshot: Snapshot) -> None:
        """Follow what the source sees now."""
        changed = self.lans.update(snapshot)
        self.underlays.update(self.lans.all(), changed)
        uplinked = self._uplinked - changed | {ref for ref in changed if self.has_uplink(ref)}
        if uplinked != self._uplinked:
            self._uplinked = uplinked
            self.take_part()
        for ref in changed:
            self._follow(ref)
        for callback in self.on_lans if changed else ():
            callback(changed)

    async def follow(self, source: Source) -> None:
        """Take in every snapshot of a source until cancelled."""
        while True:
            heard_before = self.lans.synced
            self.take_in(await source.next())
            if not heard_before:
                await self.remove_strays()

    def _follow(self, ref: LanRef) -> None:
        lan = self.lans.get(ref)
        for (owner, name), loop in list(self.loops.items()):
            if owner == ref and (lan is None or lan.netns != name):
                loop.lan = None
                loop.wake()
        if lan is None:
            return
        known = self.loops.get((ref, lan.netns))
        there = known is not None and known.outcome is not None and known.outcome.desired.exists
        if not self.uses(ref) and not there:
            return
        before = known.lan if known else None
        loop = self.loop_of(lan)
        if before and as_written(before) == as_written(lan):  # then at the most its peers have changed
            loop.see(self.around(lan))
        else:
            loop.around = self.around(lan)
            loop.wake()

    async def settle(self) -> Mapping[LanRef, Outcome]:
        """One pass over every LAN that has attachments, or has a namespace here without."""
        futures = {lan.ref: self.loop_of(lan).wake() for lan in self._present()}
        return {ref: await future for ref, future in futures.items()}

    def _present(self) -> list[Lan]:
        in_use, there = self.used(), self.node.present()
        return [lan for lan in self.lans.all().values() if lan.ref in in_use or lan.netns in there]

    async def remove_strays(self) -> None:
        """Remove the namespaces that no LAN accounts for. Only when the source has been heard: see ``Lans.synced``."""
        for name in self.node.present() - {lan.netns for lan in self.lans.all().values()}:
            ref = LanRef(namespace="", name=name)
            loop = LanLoop(ref, name, self.node, self.me, self.attachments, self._after_pass)
            log.info("no LAN accounts for the namespace %s: it is removed", name)
            self.loops[ref, name] = loop
            await loop.wake()

    def _after_pass(self, loop: LanLoop) -> None:
        if loop.lan and loop.outcome and loop.outcome.desired.exists:
            underlay = loop.outcome.underlay
            self.underlays.found(self.underlays.wanted(loop.lan), underlay.index if underlay else None)
        for observer in self.observers:
            observer(loop)
        if loop.finished:
            self.loops.pop((loop.ref, loop.netns), None)

    # ------------------------------------------------------------ other nodes

    def take_part(self) -> None:
        """Keep the VTEPs of the LANs in sight in which this node takes part."""
        self.vteps.follow(frozenset(self.used()) | self._joining.keys())

    @asynccontextmanager
    async def joining(self, ref: LanRef) -> AsyncIterator[None]:
        """Take part in a LAN while an ADD is under way; the first one has a look at the LAN's VTEPs."""
        self._joining[ref] += 1
        try:
            self.take_part()
            if not self.attachments.of(ref) and not self.vteps.known(ref):
                await self.vteps.look(ref)
            yield
        finally:
            self._joining[ref] -= 1
            self._joining = +self._joining
            self.take_part()

    def fault_of(self, attachment: Attachment) -> str:
        """Why an attachment does not work, "" if it does as far as is known."""
        lan = self.lans.get(attachment.lan)
        loop = self.loops.get((lan.ref, lan.netns)) if lan else None
        if lan and loop and attachment.port in (loop.around.losers or ()):
            holder = planner.holder_elsewhere(self.me.name, self.vteps.of(lan.ref), attachment.spoke or "")
            return f"its port is down: spoke {attachment.spoke} is held by {holder.who if holder else 'another pod'}"
        return str(loop.outcome.failure_of(attachment.key) or "") if loop and loop.outcome else ""

    def around(self, lan: Lan) -> Elsewhere:
        """What other nodes have of a LAN, as far as it has been heard."""
        if not self.vteps.known(lan.ref):
            return Elsewhere()
        return planner.elsewhere(lan, self.me.name, self.vteps.of(lan.ref))

    def _vteps_changed(self, ref: LanRef, changes: Collection[Change]) -> None:
        lan = self.lans.get(ref)
        loop = self.loops.get((ref, lan.netns)) if lan else None
        if lan and loop and self.uses(ref):
            others = (change for change in changes if all(vtep is None or vtep.node != self.me.name for vtep in change))
            moved = [move for old, new in others for move in moves(old, new)]
            moved += handovers(changes, self.vteps.of(ref), self.me.name)
            loop.see(self.around(lan), moved)
        elif lan and loop:
            loop.around = self.around(lan)
        for callback in self.on_vteps:
            callback(ref, changes)

    # ------------------------------------------------------------ the node's own links

    def watch_host(self) -> None:
        """Listen to the node's links and addresses: an underlay may go, come back or change. And to its mounts."""
        routes = 0 if self.me.address else sockets.ROUTES
        self._host = _HostWatch(sockets.LINKS | sockets.ADDRESSES | routes, self.host_changed)
        self._look_whether_routed()
        self._mounts = _MountWatch(self._mounts_changed)

    def _look_whether_routed(self) -> None:
        """Listen to routes once the node's address is where they decide: there are nodes where they change all day."""
        if self._host and self.me.address:
            self.underlays.routed = observe.is_routed(self.node, self.me.address)
            if self.underlays.routed:
                self._host.listener.join(sockets.ROUTES)

    def _mounts_changed(self) -> None:
        for loop in self.loops.values():
            try:
                lost = loop.outcome and loop.outcome.desired.exists and not self.node.is_mounted(loop.netns)
            except OSError:  # no descriptor left: a pass will say so
                lost = True
            if lost:
                loop.wake()

    def host_changed(self, heard: Heard) -> None:
        """Wake the LANs whose underlay events are about."""
        if heard.lost or self.me.address in heard.addresses:
            with suppress(KernelError):  # a pass will say so
                self._look_whether_routed()
        concerned = self.underlays.concerned(heard)
        for loop in self.loops.values() if concerned or self._uplinked else ():
            if loop.lan is None or not self.uses(loop.ref):
                continue
            if self.underlays.wanted(loop.lan) in concerned or self._is_about_uplinks(loop.lan, loop.outcome, heard):
                loop.wake()
        if not concerned:
            return
        for callback in self.on_underlays:
            callback(concerned)

    def _is_about_uplinks(self, lan: Lan, outcome: Outcome | None, heard: Heard) -> bool:
        devices = {uplink.device for uplink in lan.uplinks_on(self.me.name)}
        known = {each.nic.index for each in outcome.uplinks if each.nic} if outcome else set()
        return bool(devices) and (
            heard.lost or not heard.names.isdisjoint(devices) or not known.isdisjoint(heard.indexes)
        )

    async def close(self) -> None:
        """Let go of everything; what is on the node stays as it is."""
        for watch in (self._host, self._mounts):
            if watch:
                watch.close()
        for loop in tuple(self.loops.values()):  # a pass may end a loop meanwhile
            await loop.rest()
            loop.close()
        self.node.close()


class _HostWatch:
    """Listens to the node's own namespace."""

    def __init__(self, groups: int, on_change: Callable[[Heard], None]) -> None:
        self.listener = Listener(groups)
        self._on_change = on_change
        asyncio.get_running_loop().add_reader(self.listener.fileno(), self._read)

    def _read(self) -> None:
        messages, lost = self.listener.read()
        if messages or lost:
            self._on_change(netlink.heard(messages, lost=lost))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.listener.fileno())
        self.listener.close()


class _MountWatch:
    """Listens to mounts; what comes in a burst, as at the start of a pod, is looked at once."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._listener = MountListener()
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._listener.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        self._listener.clear()
        if self._due is None:
            self._due = self._loop.call_later(_GATHER_SECONDS, self._look)

    def _look(self) -> None:
        self._due = None
        self._on_change()

    def close(self) -> None:
        if self._due:
            self._due.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()


def check_rights() -> None:
    """Whether this process may do an agent's work.

    Raises:
        KernelError: it may not.

    """
    try:
        fd = netns.own()
        with netns.inside(fd):
            pass
    except PermissionError as error:
        hint = "run it as root, or in a user namespace of your own"
        raise KernelError(error.errno or 1, "the agent needs CAP_SYS_ADMIN and CAP_NET_ADMIN", hint=hint) from error
