"""Which uplink of a LAN is open on this node: at the most one in the cluster, since two would be a loop.

::

    a NIC has a carrier ──► stand for the LAN's Lease ──► held ──► listen ──► open
                                   ▲                       │          │         │ own frame heard
                                   │                       │          └─────────┴──► closed, until it is quiet
                       carrier gone, or the Lease not renewed for RENEW_BEFORE: closed, then let go

A Lease (kube/lease.py) lets one node at a time have its uplink in the bridge: who cannot renew it closes its port
after ``RENEW_BEFORE`` by its own clock, others wait for ``DURATION``, which is longer. A LAN whose uplinks are all of
one node needs none, nor the API server.

What a Lease cannot tell is found by a frame (net/echo.py), sent before a port is opened and then every second: whether
hardware reaches the LAN by another way. It closes the port where somebody has made a loop; and it keeps the port of a
new holder closed as long as the node before it still passes frames, as one does whose agent was stopped or killed. So
an agent that ends leaves everything as it is, and the next one goes on with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Protocol

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.errors import K8slanError
from k8slan_cli.lan import names
from k8slan_cli.lan.model import LanRef
from k8slan_cli.net.echo import Echo
from k8slan_cli.plan.uplinks import alone, choose, opened_in

log = logging.getLogger(__name__)

_LISTEN_SECONDS, _LISTEN_PAUSE = 0.6, 0.2
"""How long a frame is listened for before a port is opened, and how often one is sent then."""
_SEND_SECONDS = 1.0
"""How often one is sent at a port that is open, or closed because one came back."""
_QUIET_SECONDS = 2.5
"""How long none may come back before a port is opened again: two that were sent."""
_FIRST = asyncio.FIRST_COMPLETED
_DECIDED_SECONDS = 10.0
"""How long a port that an agent before this one left open stays so while it is not known who holds the Lease."""


class Candidate(Protocol):
    """Stands for a LAN's Lease: kube.lease.Election."""

    leading: bool
    keep: bool
    """Whether the Lease is not let go at the end."""
    decided: asyncio.Event
    """Set once it is known who holds it."""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Stand until cancelled; run ``lead`` while the Lease is held."""


class Leases(Protocol):
    """The Leases of LANs."""

    def candidate(self, lan: LanRef) -> Candidate:
        """Return a candidate for a LAN's Lease."""

    async def remove(self, lan: LanRef) -> None:
        """Delete the Lease of a LAN that has no uplinks any more.

        Raises:
            K8slanError: it could not be done.

        """

    async def remove_left(self, lans: Iterable[LanRef]) -> None:
        """Delete the Leases that this node holds, or no node, but for those of ``lans``, which have uplinks.

        Raises:
            K8slanError: it could not be done.

        """


class Uplinks:
    """Opens and closes this node's uplinks.

    Without ``leases``, where LANs come from files, the node of a LAN's first uplink has the active one.
    """

    def __init__(self, agent: Agent, leases: Leases | None = None) -> None:
        self._agent = agent
        self._leases = leases
        self._guards: dict[LanLoop, _Guard] = {}
        self._tasks: asyncio.TaskGroup | None = None
        agent.observers.append(self._after_pass)

    async def run(self) -> None:
        """Open and close until cancelled; what is open stays so."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for loop in tuple(self._agent.loops.values()):
                self._after_pass(loop)
            if self._leases:
                tasks.create_task(self._remove_left(self._leases))
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None
                for guard in self._guards.values():
                    guard.leave_as_is()

    def _after_pass(self, loop: LanLoop) -> None:
        if self._tasks is None:
            return
        here = loop.lan is not None and bool(loop.lan.uplinks_on(self._agent.me.name))
        guard = self._guards.get(loop)
        if here and guard is None:
            guard = self._guards[loop] = _Guard(self._agent, loop, self._leases)
            guard.task = self._tasks.create_task(guard.run(), name=f"uplinks of LAN {loop.ref}")
        elif guard and not here:
            del self._guards[loop]
            guard.task.cancel()
            if self._leases and not self._is_listed(loop.ref):
                self._tasks.create_task(self._remove(guard.task, loop.ref, self._leases))
        if guard and here:
            guard.look()

    def _is_listed(self, ref: LanRef) -> bool:
        """Whether a LAN has uplinks, on any node."""
        lan = self._agent.lans.seen(ref)
        return lan is not None and bool(lan.uplinks)

    async def _remove(self, before: asyncio.Task[None], ref: LanRef, leases: Leases) -> None:
        await asyncio.wait({before})
        try:
            await leases.remove(ref)
        except K8slanError as error:
            log.warning("the Lease of the uplinks of LAN %s stays: %s", ref, error)

    async def _remove_left(self, leases: Leases) -> None:
        """Delete what an agent before this one has left of LANs that have lost their uplinks since."""
        lans = self._agent.lans
        await lans.heard.wait()
        known = (*lans.all().items(), *lans.everything().items())
        try:
            await leases.remove_left({ref for ref, lan in known if lan.uplinks})
        except K8slanError as error:
            log.warning("Leases of uplinks that are no more stay: %s", error)


class _Guard:
    """Guards the uplinks of one LAN."""

    task: asyncio.Task[None]

    def __init__(self, agent: Agent, loop: LanLoop, leases: Leases | None) -> None:
        self._agent = agent
        self._loop = loop
        self._leases = leases
        self._port = ""
        """The port that would be open, "" if none can be."""
        self._news = asyncio.Event()
        self._stir = asyncio.Event()
        self._keep = False
        """Whether what is open stays so when the body that opened it ends."""
        self._candidate: Candidate | None = None

    def look(self) -> None:
        """Take in what a pass has found."""
        outcome, before = self._loop.outcome, self._port
        if outcome and outcome.uplinks:  # else nothing could be read
            failed = {operation.uplink.port.name for operation, _ in outcome.failures if hasattr(operation, "uplink")}
            chosen = choose((each for each in outcome.uplinks if each.port not in failed), before)
            self._port = chosen.port if chosen else ""
        self._news.set()
        if self._port != before:
            self._stir.set()

    def leave_as_is(self) -> None:
        """Prepare for the agent's end."""
        self._keep = True
        if self._candidate:
            self._candidate.keep = True

    async def run(self) -> None:
        """Guard until cancelled."""
        task: asyncio.Task[None] | None = None
        current: Callable[[], Coroutine[Any, Any, None]] | None = None
        try:
            while True:
                self._news.clear()
                if (body := self._body()) != current:
                    self._keep = body != self._rest
                    await _end(task)
                    self._keep = False
                    current, task = body, asyncio.create_task(body(), name=f"uplink of LAN {self._loop.ref}")
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait({news, *([task] if task and not task.done() else ())}, return_when=_FIRST)
                news.cancel()
                if task and task.done():
                    task.result()
                    await self._news.wait()
        finally:
            await _end(task)

    def _body(self) -> Callable[[], Coroutine[Any, Any, None]]:
        lan, me = self._loop.lan, self._agent.me.name
        if not self._port or lan is None:
            return self._rest
        if alone(lan, me) or (self._leases is None and lan.uplinks[0].node == me):
            return self._lead
        return self._stand if self._leases else self._rest

    async def _rest(self) -> None:
        """Have none open."""
        await self._open("")

    async def _stand(self) -> None:
        """Stand for the Lease, and lead while it is held."""
        while self._leases:
            candidate = self._candidate = self._leases.candidate(self._loop.ref)
            running = asyncio.create_task(candidate.run(self._lead), name=f"Lease of LAN {self._loop.ref}")
            decided = asyncio.create_task(candidate.decided.wait())
            try:
                await asyncio.wait({running, decided}, timeout=_DECIDED_SECONDS, return_when=_FIRST)
                if not candidate.leading:
                    await self._open("")
                await running
            except K8slanError as error:  # a right is missing, as in the middle of an upgrade
                log.error("LAN %s: the Lease of its uplinks cannot be had: %s", self._loop.ref, error)
            finally:
                decided.cancel()
                await _end(running)
                self._candidate = None
            await asyncio.sleep(_DECIDED_SECONDS)

    async def _lead(self) -> None:
        """Keep an uplink open as long as no frame comes back by another way."""
        try:
            while True:
                try:
                    await self._watch_over()
                except (K8slanError, OSError) as error:  # the port or the namespace is being made anew
                    log.info("LAN %s: the uplink is looked at again: %s", self._loop.ref, error)
                self._stir.clear()
                await self._pause(_SEND_SECONDS)
        finally:
            self._loop.blocked = ""
            if not self._keep:
                await self._open("")

    async def _watch_over(self) -> None:
        """Open the port that is to be, and listen, until there is none or it is not there any more."""
        handle, loop = self._agent.node.lan(self._loop.netns), self._loop
        if handle is None:
            return
        clock = asyncio.get_running_loop()
        with Echo(handle.fd, names.mac("uplink", loop.netns, self._agent.me.name)) as echo:
            clock.add_reader(echo.fileno(), self._stir.set)
            try:
                await self._open(self._port if self._found_open() == self._port else "")
                due, until = clock.time(), clock.time() + _LISTEN_SECONDS
                while port := self._port:
                    self._stir.clear()
                    if came := self._way_back(echo, port):
                        until = clock.time() + _QUIET_SECONDS
                        await self._block(port, came)
                    elif loop.opened not in ("", port):  # that one's NIC has no carrier any more
                        await self._open("")
                        due, until = clock.time(), clock.time() + _LISTEN_SECONDS
                    elif not loop.opened and clock.time() >= until:
                        loop.blocked = ""
                        await self._open(port)
                        echo.announce(port, self._macs())
                    if clock.time() >= due:
                        echo.send(port)
                        if not loop.opened and loop.lan:
                            echo.send(loop.lan.vxlan)
                        listening = not loop.opened and not loop.blocked
                        due = clock.time() + (_LISTEN_PAUSE if listening else _SEND_SECONDS)
                    await self._pause((due if loop.opened else min(due, until)) - clock.time())
            finally:
                clock.remove_reader(echo.fileno())

    def _way_back(self, echo: Echo, port: str) -> str:
        """Return by what a frame has come back: the LAN or the hardware; "" if none has.

        At another NIC of this node that is closed it may be heard: that one stands by at the same switch.
        """
        heard, lan = echo.heard(), self._loop.lan
        if lan and (port, lan.bridge) in heard:
            return "the LAN"
        return "the hardware" if any(link == port for _, link in heard) else ""

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.01)):
                await self._stir.wait()

    async def _block(self, port: str, came: str) -> None:
        words = (
            f"a frame sent to find loops came back through {came}: there is a second way between the LAN and what is "
            f"behind {port.removesuffix('u')}, which is closed until that is gone"
        )
        if self._loop.blocked != words:
            log.warning("LAN %s: %s", self._loop.ref, words)
            self._loop.blocked = words
            await self._open("")

    async def _open(self, port: str) -> None:
        """Have a pass put a port into the bridge, and all others out of it."""
        self._loop.opened = port
        await self._loop.wake()

    def _found_open(self) -> str:
        outcome = self._loop.outcome
        return opened_in(outcome.desired.uplinks.values()) if outcome else ""

    def _macs(self) -> Collection[str]:
        """The MAC addresses of all pods and VMs of the LAN."""
        told = {port.mac for vtep in self._agent.vteps.of(self._loop.ref) for port in vtep.ports if port.mac}
        return told | {attachment.mac for attachment in self._agent.attachments.of(self._loop.ref)}


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task})
