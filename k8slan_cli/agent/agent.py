"""The agent of one node: LANs and attachments come in here, and a loop for each LAN makes them real."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from k8slan_cli.agent.lans import Lans
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.agent.passes import Outcome, Self, mtu_inside
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.sources import Source
from k8slan_cli.agent.store import AttachmentRecords, KnownLans, Unreleased
from k8slan_cli.errors import KernelError
from k8slan_cli.lan.model import Lan, LanRef, Snapshot
from k8slan_cli.net import netlink, netns, sockets
from k8slan_cli.net.mounts import MountListener
from k8slan_cli.net.node import Node
from k8slan_cli.net.sockets import Listener

log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.1


class Agent:
    """All that a node's agent knows and does, without its edges (CNI socket, device plugins, HTTP, status)."""

    def __init__(self, paths: Paths, me: Self, host_root: Path = Path("/")) -> None:
        """Read the records of an agent before this one.

        ``host_root`` is where the node's own file system is seen, in a container elsewhere than at ``/``.

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
        self.loops: dict[tuple[LanRef, str], LanLoop] = {}
        self.observers: list[Callable[[LanLoop], None]] = []
        """Called after each pass of a LAN, with its loop."""
        self.on_change: list[Callable[[], None]] = []
        """Called when LANs, or links and addresses of the node that they use, have changed."""
        self._host: _HostWatch | None = None
        self._mounts: _MountWatch | None = None

    # ------------------------------------------------------------ LANs

    def loop_of(self, lan: Lan) -> LanLoop:
        """The loop of a LAN, made if there is none yet."""
        key = (lan.ref, lan.netns)
        loop = self.loops.get(key)
        if loop is None:
            loop = LanLoop(lan.ref, lan.netns, self.node, self.me, self.attachments, self._after_pass)
            self.loops[key] = loop
        loop.lan = lan
        return loop

    async def mtu_of(self, lan: Lan) -> int:
        """The MTU inside a LAN on this node, in bytes.

        Raises:
            Invalid: the LAN cannot be had here.
            UnderlayMissing: there is no underlay device.

        """
        outcome = self.loop_of(lan).outcome
        if outcome and not outcome.unplanned and outcome.desired.bridge:
            return outcome.desired.bridge.mtu
        return await asyncio.to_thread(mtu_inside, self.node, lan, self.me)

    def take_in(self, snapshot: Snapshot) -> None:
        """Follow what the source sees now."""
        changed = self.lans.update(snapshot)
        for ref in changed:
            self._follow(ref)
        if changed:
            self._tell()

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
        if lan is not None and self.attachments.of(ref):
            self.loop_of(lan).wake()

    async def settle(self) -> Mapping[LanRef, Outcome]:
        """One pass over every LAN that has attachments, or has a namespace here without."""
        futures = {lan.ref: self.loop_of(lan).wake() for lan in self._present()}
        return {ref: await future for ref, future in futures.items()}

    def _present(self) -> list[Lan]:
        in_use, there = self.attachments.lans(), self.node.present()
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
        for observer in self.observers:
            observer(loop)
        if loop.finished:
            self.loops.pop((loop.ref, loop.netns), None)

    # ------------------------------------------------------------ the node's own links

    def watch_host(self) -> None:
        """Listen to the node's links and addresses: an underlay may go, come back or change. And to its mounts."""
        self._host = _HostWatch(self._host_changed)
        self._mounts = _MountWatch(self._mounts_changed)

    def _mounts_changed(self) -> None:
        for loop in self.loops.values():
            try:
                lost = loop.outcome and loop.outcome.desired.exists and not self.node.is_mounted(loop.netns)
            except OSError:  # no descriptor left: a pass will say so
                lost = True
            if lost:
                loop.wake()

    def _host_changed(self, names: frozenset[str], indexes: frozenset[int], lost: bool) -> None:
        wanted = {lan.underlay_on(self.me.name, *self.me.aliases) for lan in self.lans.all().values()}
        used = {loop.outcome.underlay.index for loop in self.loops.values() if loop.outcome and loop.outcome.underlay}
        if not (lost or None in wanted or wanted & names or used & indexes):
            return
        for loop in self.loops.values():
            if loop.lan is not None and self.attachments.of(loop.ref):
                loop.wake()
        self._tell()

    def _tell(self) -> None:
        for callback in self.on_change:
            callback()

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
    """Listens to links and addresses of the node's own namespace."""

    def __init__(self, on_change: Callable[[frozenset[str], frozenset[int], bool], None]) -> None:
        self._listener = Listener(sockets.LINKS | sockets.ADDRESSES)
        self._on_change = on_change
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._read)

    def _read(self) -> None:
        messages, lost = self._listener.read()
        if messages or lost:
            self._on_change(*netlink.concerned(messages), lost)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()


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
