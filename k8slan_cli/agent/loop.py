"""The loops: one for each LAN. Events and requests only wake them; a pass reads everything it needs again.

Requests that come while a pass is under way share the next one: a hundred ADDs at once are a handful of passes, and
the kernel's wait at the deletion of links is paid once for all of them.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from k8slan_cli import limits
from k8slan_cli.agent.passes import Aim, Outcome, Self, run_pass, run_quick_pass
from k8slan_cli.agent.store import AttachmentRecords, Key
from k8slan_cli.errors import K8slanError, KernelError, PodGone
from k8slan_cli.lan import names
from k8slan_cli.lan.links import next_end
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.net import netlink, observe, sockets
from k8slan_cli.net.netlink import OURS, RawLink
from k8slan_cli.net.node import Handle, Node
from k8slan_cli.net.sockets import Listener
from k8slan_cli.plan import desired as planner
from k8slan_cli.plan.desired import Elsewhere
from k8slan_cli.plan.moves import Move
from k8slan_cli.plan.state import ALL_BUT_PAUSE, Attachment, Bridge, LanState, Port
from k8slan_cli.plan.uplinks import opened_in

log = logging.getLogger(__name__)

_MOST_MOVES = 1024
"""Moves of MAC addresses that are kept for a pass that succeeds; learned entries end by themselves in five minutes."""

_GATHER_SECONDS = 0.02
"""How long the events of a LAN's links are gathered: what comes in a burst is looked at once."""


_CLOCK_SECONDS = 10.0
"""How often the clock is looked at while something is to end: it may be set, and timers do not go by it."""

_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.5, 60.0
"""How long to wait before a LAN in trouble is looked at again: twice as long each time."""


class LanLoop:
    """Reconciles one LAN's part of this node."""

    def __init__(
        self,
        ref: LanRef,
        netns: str,
        node: Node,
        me: Self,
        attachments: AttachmentRecords,
        on_outcome: Callable[[LanLoop], None],
    ) -> None:
        """For the LAN ``ref`` in the namespace ``netns``; ``on_outcome`` is called after each pass."""
        self.ref = ref
        self.netns = netns
        self.lan: Lan | None = None
        self.around = Elsewhere()
        self.opened: str | None = None
        """The port of the uplink that is active here, "" for none; None: not known, so the one that is there stays."""
        self.blocked = ""
        """Why the uplink that would be active here is closed, if it is."""
        self.outcome: Outcome | None = None
        self._node = node
        self._me = me
        self._attachments = attachments
        self._on_outcome = on_outcome
        self._pods: dict[Key, int] = {}
        self._dead: set[Key] = set()  # attachments whose pods are gone: their DELs are still to come
        self._wanted: set[str] | None = set()  # ports to look at; None: all
        self._moves: list[Move] = []
        self._addressed: set[Key] = set()  # attachments whose interfaces are there and are to get addresses
        self._waiting: list[asyncio.Future[Outcome]] = []
        self._running = False
        self._task: asyncio.Task[None] | None = None
        self._watch: _Watch | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._followed: Lan | None = None
        """The LAN as it was to be when the last pass began."""
        self._end: asyncio.TimerHandle | None = None  # when what is wanted of a link is over
        self._pause = _FIRST_RETRY_SECONDS

    @property
    def finished(self) -> bool:
        """Whether the LAN is gone, and nothing of it is left to look after."""
        return self.lan is None and not self._waiting and self._watch is None and self._retry is None

    async def rest(self) -> None:
        """Wait until no pass is under way."""
        if self._task:
            await asyncio.wait([self._task])

    @contextmanager
    def pod(self, key: Key, fd: int | None) -> Iterator[None]:
        """Let passes use a descriptor of a pod's namespace while the body runs."""
        if fd is not None:
            self._pods[key] = fd
        try:
            yield
        finally:
            self._pods.pop(key, None)

    def wake(self, ports: Iterable[str] | None = None) -> asyncio.Future[Outcome]:
        """Ask for a pass over these ports, or over everything; the future is done when a pass that covers it is."""
        if ports is None:
            self._wanted = None
        elif self._wanted is not None:
            self._wanted.update(ports)
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if not self._running:
            self._start()
        return done

    def address(self, attachment: Attachment) -> asyncio.Future[Outcome]:
        """Ask for a pass that gives an interface, which is there already, the addresses of its attachment."""
        self._addressed.add(attachment.key)
        return self.wake([attachment.port])

    def see(self, around: Elsewhere, moves: Iterable[Move] = ()) -> None:
        """Take in what other nodes have of the LAN and which MAC addresses have moved; ask for a pass if need be."""
        before, self.around = self.around, around
        come = list(moves)
        self._moves += come
        recabled = self.lan is not None and self.lan.cable and before.plugged != around.plugged
        if (before.losers is None) != (around.losers is None) or recabled:
            self.wake()
        elif before.peers != around.peers or before.losers != around.losers or come:
            self.wake((before.losers or frozenset()) ^ (around.losers or frozenset()))

    @property
    def dead(self) -> frozenset[Key]:
        """Attachments whose pods are gone though no DEL has come."""
        return frozenset(self._dead)

    def close(self) -> None:
        """Stop listening; what is on the node stays."""
        self._unwatch()
        for timer in (self._retry, self._end):
            if timer:
                timer.cancel()
        self._retry = self._end = None

    def _unwatch(self) -> None:
        if self._watch:
            self._watch.close()
            self._watch = None

    def _start(self) -> None:
        self._running = True
        self._task = asyncio.get_running_loop().create_task(self._passes(), name=f"lan {self.ref}")
        self._task.add_done_callback(_must_not_fail)

    async def _passes(self) -> None:
        while self._waiting:
            waiting, wanted, self._waiting, self._wanted = self._waiting, self._wanted, [], set()
            try:
                outcome = self._bury(await self._pass(wanted))
                self._follow(outcome)
            except (K8slanError, OSError, MemoryError, RuntimeError) as error:
                if (known := _known(error)) is None:
                    self._give_up(waiting)
                    raise
                outcome = Outcome(desired=LanState(netns=self.netns), unplanned=known)
            except BaseException:
                self._give_up(waiting)
                raise
            self._tell(outcome)
            self.outcome = outcome
            for done in waiting:
                if not done.cancelled():
                    done.set_result(outcome)
            self._try_again(outcome)
            self._wait_for_end()
            self._on_outcome(self)
        self._running = False
        if self._watch:
            self._watch.resume()

    def _give_up(self, waiting: Iterable[asyncio.Future[Outcome]]) -> None:
        self._running = False
        for done in (*waiting, *self._waiting):
            done.cancel()

    async def _pass(self, ports: Collection[str] | None) -> Outcome:
        attachments = self._attachments.of(self.ref)
        self._dead &= {a.key for a in attachments} - self._pods.keys()
        # One whose ADD has only begun, or was cut short, is not to be made.
        due = [a for a in attachments if a.key not in self._dead and (a.complete or a.key in self._pods)]
        addressed, self._addressed = self._addressed, set()
        moves, self._moves = self._moves, []
        self._followed = self._lan_now()
        aim = Aim(
            lan=self._followed,
            netns=self.netns,
            me=self._me,
            attachments=due,
            addressed=addressed,
            around=self.around,
            moves=moves,
            opened=self.opened,
        )
        last = self.outcome
        if ports is None or last is None or last.trouble or self._watch is None:
            outcome = await asyncio.to_thread(run_pass, self._node, aim, self._pods)
        else:
            outcome = await asyncio.to_thread(run_quick_pass, self._node, aim, self._pods, ports, last)
        if outcome.trouble:  # learned entries have not been looked at
            self._moves = [*moves, *self._moves][-_MOST_MOVES:]
        return outcome

    def _tell(self, outcome: Outcome) -> None:
        """Log why the LAN cannot be kept, and that it can again; what operations come to is logged with them."""
        before = str(self.outcome.unplanned or "") if self.outcome else ""
        now = str(outcome.unplanned or "")
        if now and now != before:
            log.warning("LAN %s stays as it is for now: %s", self.ref, now)
        elif before and not now:
            log.info("LAN %s is looked after again", self.ref)

    def _bury(self, outcome: Outcome) -> Outcome:
        """Take note of attachments whose pods are gone: they are no fault of the LAN, and not tried again."""
        gone = {op.attachment.key for op, e in outcome.failures if isinstance(e, PodGone) and hasattr(op, "attachment")}
        if not gone:
            return outcome
        self._dead |= gone
        self.wake()  # without them there may be nothing left to keep
        return replace(outcome, failures=tuple((op, e) for op, e in outcome.failures if not isinstance(e, PodGone)))

    def _try_again(self, outcome: Outcome) -> None:
        """After a while, look again at a LAN that is in trouble: what is in its way may go without an event."""
        if self._retry:
            self._retry.cancel()
            self._retry = None
        if outcome.trouble:
            self._retry = asyncio.get_running_loop().call_later(self._pause, self.wake)
            self._pause = min(2 * self._pause, _LAST_RETRY_SECONDS)
        else:
            self._pause = _FIRST_RETRY_SECONDS

    def _lan_now(self) -> Lan | None:
        return self.lan.at(time.time()) if self.lan else None

    def _wait_for_end(self) -> None:
        """Look again at the LAN when the time of what is wanted of one of its links is over."""
        if self._end:
            self._end.cancel()
            self._end = None
        if self._followed and (end := next_end(self._followed.links)):
            left = min(max(end - time.time(), 0), _CLOCK_SECONDS)
            self._end = asyncio.get_running_loop().call_later(left, self._look_at_clock)

    def _look_at_clock(self) -> None:
        if self._lan_now() != self._followed:
            self.wake()
        else:
            self._wait_for_end()

    def _follow(self, outcome: Outcome) -> None:
        """Listen where the LAN is now, and look whether it still is as the pass has left it."""
        handle = self._node.lan(self.netns) if outcome.desired.exists else None
        if self._watch and self._watch.handle is not handle:
            self._unwatch()
        if handle and self._watch is None:
            self._watch = _Watch(handle, self._look)
            self.wake()  # for what has happened before the watch was there

    def _look(self) -> None:
        """Read the events that have come and ask for a pass if one of them tells of a link that has drifted.

        During a pass the events of its own doing come in; they are read after it, when the last one of each link
        counts.
        """
        if self._watch is None or self._running:
            return  # when the pass is through, it resumes the watch
        links, masks, shaped, features, lost = self._watch.read()
        self._watch.resume()
        if lost:
            self.wake()
        plan, lan = self.outcome.desired if self.outcome else None, self._lan_now()
        if not (links or masks or shaped) or lan is None or plan is None or plan.bridge is None or plan.vxlan is None:
            return
        members = {a.port: a for a in self._attachments.of(self.ref)}
        joint = {plan.joint.port.name: plan.joint.port} if plan.joint else {}
        fixed = {plan.vxlan.link.name: plan.vxlan.link, **joint}
        dark = planner.without_carrier(lan, members.values(), self.around)
        strange = [
            name
            for name, link in links.items()
            if (
                not _is_uplink(plan, name, link)
                if name in plan.uplinks
                else not _fits(name, link, plan.bridge, fixed, members, dark)
            )
        ]
        passing = (*members, opened_in(plan.uplinks.values()), *fixed)
        strange += [name for name, mask in masks.items() if mask != ALL_BUT_PAUSE and name in passing]
        strange += [name for name in shaped if names.port_of(name) in members or (joint and name in fixed)]
        strange += features & members.keys()  # which they have only a look can tell, and that may wait for a lock
        ports = {names.port_of(name) for name in strange}
        if not ports <= members.keys():  # bridge or VXLAN device, or a link that goes by another name now
            self.wake()
        elif ports:
            self.wake(ports)


def _fits(
    name: str,
    link: RawLink | None,
    bridge: Bridge,
    fixed: Mapping[str, Port],
    members: Mapping[str, Attachment],
    dark: Collection[str] | None,
) -> bool:
    """Return whether a link is as planned; None is one that is gone.

    ``fixed`` are the ports that are no attachment's. While it is not known which ports are ``dark``, one that is down
    may be one.
    """
    if name == names.JOINT_END:  # it comes and goes with the port
        return link is None or link.up
    owner = members.get(names.port_of(name))
    if name not in (bridge.name, *fixed) and owner is None:
        return link is None or link.group != OURS
    if link is None:
        return False
    if name == bridge.name:
        return observe.bridge_of(link) == bridge
    if owner is not None and names.port_of_ifb(name):
        return link.up
    if owner is not None and names.port_of_stub(name):
        return observe.stub_of(link) == planner.stub_of(owner)
    up = link.up if dark is None else name not in dark
    wanted = fixed[name] if owner is None else planner.port_of(bridge, owner, up=up)
    return observe.port_of(link, {link.master: bridge.name} if link.master else {}) == wanted


def _is_uplink(plan: LanState, name: str, link: RawLink | None) -> bool:
    """Return whether a link is the port of an uplink, as planned."""
    if link is None or plan.bridge is None:
        return False
    by_index = {link.master: plan.bridge.name} if link.master else {}
    return observe.uplink_of(link, by_index) == plan.uplinks[name]


class _Watch:
    """Listens to the links of a LAN's namespace."""

    def __init__(self, handle: Handle, look: Callable[[], None]) -> None:
        self.handle = handle
        self._listener = Listener(sockets.LINKS | sockets.TRAFFIC, handle.fd)
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.TimerHandle | None = None
        self.resume()

    def resume(self) -> None:
        """Call ``look`` once events have come."""
        self._loop.add_reader(self._listener.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._due = self._loop.call_later(_GATHER_SECONDS, self._look)

    def read(self) -> tuple[dict[str, RawLink | None], dict[str, int], list[str], frozenset[str], bool]:
        """What was told last of links and forwarding masks; where traffic is kept back otherwise, or features changed.

        The last says whether the kernel had to drop something.
        """
        messages, lost = self._listener.read()
        links, masks, shaped = netlink.last_told(messages)
        known = (sockets.link(self.handle.netlink, index) for index in shaped)
        return links, masks, [link.name for link in known if link], netlink.features_changed(messages), lost

    def close(self) -> None:
        if self._due:
            self._due.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()


def _known(error: Exception) -> K8slanError | None:
    """An error that is no fault of the program: for want of memory, threads or descriptors, a pass is tried again."""
    if isinstance(error, K8slanError):
        return error
    if isinstance(error, OSError):
        return KernelError(error.errno or errno.EIO, limits.describe(error), hint=limits.advice(error))
    return limits.shortage(error)


def _must_not_fail(task: asyncio.Task[None]) -> None:
    """A fault in a loop is a fault of the program: it ends the agent, and the next one starts from what is there."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("the loop %s has failed", task.get_name(), exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)
