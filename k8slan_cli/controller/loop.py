"""The leader's loop: look at each LAN that something has happened to, decide, carry it out.

Events only mark LANs; a look reads everything about one LAN anew, and no two looks at the same LAN overlap. The only
timers are deadlines: a retry after an error, a node whose minute runs out, a count that was written just now.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime

from k8slan_cli.controller import links
from k8slan_cli.controller.actions import (
    Action,
    CreateNad,
    DeleteNad,
    MarkFound,
    MarkLost,
    Protect,
    RemoveFinalizers,
    RemoveLinks,
    RemoveNodes,
    RemoveVtep,
    RepairNad,
    Tell,
    WriteNodes,
    WriteStatus,
)
from k8slan_cli.controller.decide import decide
from k8slan_cli.controller.view import View
from k8slan_cli.controller.world import World
from k8slan_cli.kube import lans, marks, nads
from k8slan_cli.kube.client import ApiError, Client
from k8slan_cli.kube.events import Events
from k8slan_cli.kube.kinds import PODS
from k8slan_cli.kube.lans import LanObject
from k8slan_cli.kube.watch import Backoff
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.resources import DEFAULT_NAMING, Naming
from k8slan_cli.lan.vnis import DEFAULT_VNIS
from k8slan_cli.plan.pods import decode_pod

log = logging.getLogger(__name__)

_LOOKS = 16
"""How many LANs are looked at at the same time."""
_WRITES = 16
"""How many requests are under way at the same time."""
SELDOM = 10.0
"""Seconds between two writes of a LAN's counts, each of which goes to all agents, and of what others undo."""
_NEWS_SECONDS = 2.0
"""Seconds between two tellings of who has attached to a LAN and detached from it."""
_SOON = 0.01
"""The shortest timer, in seconds: one that came a hair too early must not be set again and again."""
_PODS = 16
"""Pods that are asked for at one look at a LAN."""
_LOOSE_SECONDS = 60.0
"""How long until pods that are on no node of a LAN are looked for again."""
_GOING_SECONDS = 10.0
"""How long until a pod that is being deleted is looked for again."""
_STATUS_STAGE = WriteStatus.stage


class Loop:
    """Carries out what ``decide`` says, for all LANs of a ``World``."""

    def __init__(
        self,
        client: Client,
        events: Events,
        fresh: Callable[[], bool] = lambda: True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        naming: Naming = DEFAULT_NAMING,
        vnis: range = DEFAULT_VNIS,
        *,
        telling: bool = False,
    ) -> None:
        """``fresh`` says whether LANs, VTEPs, nodes and agents are known as they are now.

        ``telling`` is whether there are events about the course of things, who attaches for instance, besides those
        about what is wrong.
        """
        self.world = World(self._wake_up, naming, vnis)
        self._telling = telling
        self.done: Counter[tuple[str, str]] = Counter()
        """Actions carried out, by kind and by "done" or "failed"."""
        self.resting = asyncio.Event()
        """Set while there is nothing to look at, nor anything under way; timers may be set."""
        self._client = client
        self._events = events
        self._fresh = fresh
        self._now = now
        self._wake = asyncio.Event()
        self._busy: dict[LanRef, asyncio.Task[None]] = {}
        self._writes = asyncio.Semaphore(_WRITES)
        self._backoffs: dict[LanRef, Backoff] = {}
        self._timers: dict[LanRef, asyncio.TimerHandle] = {}
        self._recent: dict[Hashable, float] = {}
        """When what was done just now may be done again."""

    def _wake_up(self) -> None:
        self._wake.set()
        self.resting.clear()

    async def run(self) -> None:
        """Look at LANs until cancelled; all of them, and their NADs, are known."""
        self.world.learn()
        try:
            while True:
                if not self._busy and not self._wake.is_set():
                    self.resting.set()
                await self._wake.wait()
                self._wake.clear()
                while len(self._busy) < _LOOKS and (ref := self.world.take(self._busy)):
                    task = asyncio.create_task(self._look(ref), name=f"LAN {ref}")
                    self._busy[ref] = task
                for ref, task in list(self._busy.items()):
                    if task.done():
                        del self._busy[ref]
                        self._wake.set()
                        await task
        finally:
            for timer in self._timers.values():
                timer.cancel()
            for task in self._busy.values():
                task.cancel()
            if self._busy:
                await asyncio.wait(self._busy.values())

    async def _look(self, ref: LanRef) -> None:
        try:
            if timer := self._timers.pop(ref, None):
                timer.cancel()
            view = self._view(ref)
            if view is None:
                self._backoffs.pop(ref, None)
                self.world.news.pop(ref, None)
                return
            decision = decide(view)
            if decision.again:
                self._later(ref, (decision.again - view.now).total_seconds())
            actions = [action for action in decision.actions if not self._too_early(ref, action)]
            actions += await self._links_of_the_gone(view)
            actions = sorted([*actions, *self._news(view.found)], key=lambda action: action.stage)
            await self._carry_out(ref, actions)
        except Exception:  # a fault of this program that one LAN brings out must not stop the others
            log.exception("LAN %s: cannot be tended", ref)
            self.done["Look", "failed"] += 1
            self._later(ref, self._backoffs.setdefault(ref, Backoff()).next())
        finally:
            self._wake.set()

    def _view(self, ref: LanRef, failure: str = "") -> View | None:
        return self.world.view(ref, self._now(), fresh=self._fresh(), failure=failure)

    async def _links_of_the_gone(self, view: View) -> list[Action]:
        """Return the removal of what was wanted of pods that are no more; a pod that goes is asked for again.

        Of a pod that never attaches nothing tells that it is gone, so others are asked for again, too, by turns.
        """
        gone: list[str] = []
        loose = list(links.loose(view))
        if loose:
            self._later(view.found.ref, _LOOSE_SECONDS)
        for name, namespace, pod in random.sample(loose, min(len(loose), _PODS)):
            try:
                found = decode_pod(await self._client.call("GET", PODS.path(namespace, pod)))
            except ApiError as error:
                if error.status == 404:
                    gone.append(name)
                elif not error.passing:
                    log.warning("cannot see whether pod %s/%s is there: %s", namespace, pod, error)
            else:
                if found.over:
                    gone.append(name)
                elif found.deleting:
                    self._later(view.found.ref, _GOING_SECONDS)
        return [RemoveLinks(view.found.ref, view.found.uid, tuple(gone))] if gone else []

    def _news(self, found: LanObject) -> list[Tell]:
        """Return what has happened to a LAN, to be told; after what was told just now it is gathered for a while."""
        news = self.world.news.pop(found.ref, None)
        if not news or not found.uid or not self._telling:
            return []
        loop, what = asyncio.get_running_loop(), ("news", found.ref)
        if (due := self._recent.get(what, 0.0)) > loop.time():
            self.world.news[found.ref] = news
            self._later(found.ref, due - loop.time())
            return []
        self._recent[what] = loop.time() + _NEWS_SECONDS
        loop.call_later(_NEWS_SECONDS, self._recent.pop, what, None)
        return [Tell(event) for event in news.events(found)]

    def _too_early(self, ref: LanRef, action: Action) -> bool:
        """Return whether an action has been carried out just now and must not be so often; if not, it is from now on.

        An agent that outlives its node makes the VTEP that is taken from it anew, until it ends itself.
        """
        match action:
            case WriteStatus(counts=True):
                what: Hashable = ref
            case RemoveVtep(vtep):
                what = marks.key(vtep)
            case _:
                return False
        loop = asyncio.get_running_loop()
        if (due := self._recent.get(what, 0.0)) > loop.time():
            self._later(ref, due - loop.time())
            return True
        self._recent[what] = loop.time() + SELDOM
        loop.call_later(SELDOM, self._recent.pop, what, None)
        return False

    async def _carry_out(self, ref: LanRef, actions: Sequence[Action]) -> None:
        """Carry out actions stage by stage, those of a stage at once; after a failure, only say what it was."""
        for _, stage in itertools.groupby(actions, key=lambda action: action.stage):
            if error := await self._together(ref, list(stage)):
                await self._failed(ref, error)
                return
        self._backoffs.pop(ref, None)

    async def _failed(self, ref: LanRef, error: ApiError) -> None:
        self._later(ref, self._backoffs.setdefault(ref, Backoff()).next())
        if error.passing:
            return
        view = self._view(ref, failure=str(error))
        if view is not None:
            await self._together(ref, [action for action in decide(view).actions if action.stage == _STATUS_STAGE])

    async def _together(self, ref: LanRef, actions: Sequence[Action]) -> ApiError | None:
        """Carry out actions at once; returns the worst error, None if all are done."""
        if not actions:
            return None
        more = f" and {len(actions) - 1} more" if len(actions) > 1 else ""
        log.info("LAN %s: %s%s", ref, actions[0].describe(), more)
        errors = [error for error in await asyncio.gather(*map(self._one, actions)) if error]
        return min(errors, key=lambda error: error.passing, default=None)

    async def _one(self, action: Action) -> ApiError | None:
        async with self._writes:
            try:
                await self._do(action)
            except ApiError as error:
                expected = error.passing or error.status == 404
                log.log(logging.INFO if expected else logging.ERROR, "cannot %s: %s", action.describe(), error)
                self.done[type(action).__name__, "failed"] += 1
                return error
        log.debug("done: %s", action.describe())
        self.done[type(action).__name__, "done"] += 1
        return None

    async def _do(self, action: Action) -> None:
        """Carry out one action. What the API server answers is known at once, without waiting for the watch."""
        world, client = self.world, self._client
        match action:
            case Protect(ref, uid):
                world.lans.learn(await lans.add_protection(client, ref, uid))
            case CreateNad(nad):
                world.nads.learn(await nads.create(client, nad))
            case RepairNad(nad):
                version = world.nads.version((nad.namespace, nad.name))
                world.nads.learn(await nads.repair(client, nad, version))
            case DeleteNad(ref):
                key = (ref.namespace, ref.name)
                await nads.delete(client, key, world.nads.version(key))
                world.nads.forget(key)
            case MarkLost(vtep):
                world.vteps.learn(await marks.mark(client, vtep, lost=True))
            case MarkFound(vtep):
                world.vteps.learn(await marks.mark(client, vtep, lost=False))
            case RemoveVtep(vtep):
                await marks.remove(client, vtep)
                world.vteps.forget(marks.key(vtep))
            case WriteNodes(ref, uid, entries):
                world.lans.learn(await lans.write_nodes(client, ref, uid, entries))
            case WriteStatus(ref, uid, status):
                world.lans.learn(await lans.write_status(client, ref, uid, status))
            case RemoveNodes(ref, uid, nodes):
                if document := await lans.remove_nodes(client, ref, uid, frozenset(nodes)):
                    world.lans.learn(document)
            case RemoveFinalizers(ref, uid, finalizers):
                if document := await lans.remove_finalizers(client, ref, uid, frozenset(finalizers)):
                    world.lans.learn(document)
            case RemoveLinks(ref, uid, names):
                version = world.lans.version((ref.namespace, ref.name))
                world.lans.learn(await lans.remove_links(client, ref, uid, version, names))
            case Tell(event):
                await self._events.tell(event)

    def _later(self, ref: LanRef, seconds: float) -> None:
        """Look at a LAN again when some time is over, unless something makes it sooner."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(seconds, _SOON)
        if (timer := self._timers.get(ref)) and timer.when() <= when:
            return
        if timer:
            timer.cancel()
        self._timers[ref] = loop.call_at(when, self.world.mark, ref)
