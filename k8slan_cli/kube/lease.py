"""Leader election on a Lease (coordination.k8s.io/v1): of several processes, one at a time leads.

``step`` is the rule, without I/O or clock. It goes by when this process saw a lease change, not by the times written
in it, so clocks need not agree. Who leads renews in time, or stops in time: ``RENEW_BEFORE`` is well below the
duration that the others wait. The lease is watched; timers are for renewing, and for the moment it runs out. The
``kubernetes`` package's own election cannot create a lease (37.0.2), and does not give one back at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from k8slan_cli.kube.client import ApiError, Client
from k8slan_cli.kube.kinds import LEASES, Document
from k8slan_cli.kube.watch import Cache, Informer
from k8slan_cli.lan import names
from k8slan_cli.lan.model import LanRef

log = logging.getLogger(__name__)

DURATION = 15.0
"""How long a leader that is not heard of keeps its lease, in seconds."""
RENEW_AFTER = 5.0
RENEW_BEFORE = 10.0
"""Who has not managed to renew so long after the last time leads no more, in seconds."""
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseState:
    """A Lease as it was seen: ``holder`` "" means that it is free."""

    holder: str = ""
    duration: float = DURATION
    renewed: str = ""
    acquired: str = ""
    transitions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a candidate knows: the lease (None: there is none), since when it is so, its own last successful renewal.

    Times are of this process's monotonic clock, in seconds.
    """

    lease: LeaseState | None = None
    since: float = 0.0
    renewed: float | None = None


@dataclass(frozen=True, slots=True)
class Acquire:
    """Take the lease now."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew the own lease now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until``, or before the lease changes."""

    until: float


@dataclass(frozen=True, slots=True)
class Lost:
    """Lead no more."""

    why: str


Step = Acquire | Renew | Wait | Lost


def step(sight: Sight, me: str, now: float) -> Step:
    """What a candidate has to do at ``now``. It leads if ``sight.renewed`` is not None."""
    lease = sight.lease
    if sight.renewed is not None:
        if lease is not None and lease.holder != me:
            return Lost(f"the lease is held by {lease.holder or 'no replica'}")
        if now >= sight.renewed + RENEW_BEFORE:
            return Lost(f"the lease could not be renewed for {RENEW_BEFORE:.0f} s")
        return Renew() if now >= sight.renewed + RENEW_AFTER else Wait(sight.renewed + RENEW_AFTER)
    if lease is None or lease.holder in ("", me):
        return Acquire()
    runs_out = sight.since + lease.duration
    return Acquire() if now >= runs_out else Wait(runs_out)


def read(document: Document) -> LeaseState:
    """A Lease's state."""
    spec = document.get("spec") or {}
    return LeaseState(
        holder=spec.get("holderIdentity") or "",
        duration=float(spec.get("leaseDurationSeconds") or DURATION),
        renewed=spec.get("renewTime") or "",
        acquired=spec.get("acquireTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
    )


class Election:
    """One candidate for one Lease."""

    def __init__(self, client: Client, namespace: str, name: str, me: str) -> None:
        """``me`` tells this candidate from every other; usually from one before it in the same pod, too."""
        self.leading = False
        self.keep = False
        """Whether the lease stays held at the end, for this candidate's successor of the same name."""
        self.decided = asyncio.Event()
        """Set once it is known whether this one leads or another does."""
        self._client = client
        self._namespace, self._name = namespace, name
        self._me = me
        self._clock = asyncio.get_running_loop().time
        self._changed = asyncio.Event()
        self._since = self._clock()
        self._renewed: float | None = None
        self._trouble = ""
        self._cache: Cache[LeaseState] = Cache(read, self._saw)
        self._informer = Informer(
            client,
            LEASES.path(namespace),
            self._cache,
            select={"fieldSelector": f"metadata.name={name}"},
            on_synced=self._changed.set,
        )

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Stand for election until cancelled; whenever it is won, run ``lead``, which is cancelled when it is lost.

        When this ends, for whatever reason, the lease is free for the next, and ``lead`` has ended before.
        If ``lead`` ends by itself, or the lease cannot be watched any more, so does this, with the error.
        """
        watching = asyncio.create_task(self._informer.run(), name="lease")
        work: asyncio.Task[None] | None = None
        try:
            while True:
                self._changed.clear()
                until = await self._stand() if self._informer.synced.is_set() else None
                if self.leading and work is None:
                    log.info("leads now")
                    work = asyncio.ensure_future(lead())
                elif not self.leading and work is not None:
                    await _end(work)
                    work = None
                await self._pause(until, {watching, *({work} if work else ())})
                for task in (watching, work):
                    if task is not None and task.done():
                        await task
                        return
        finally:
            await _end(work)
            await _end(watching)
            await self._release()

    async def _stand(self) -> float:
        """Do what is to be done; returns when to look again."""
        key = (self._namespace, self._name)
        sight = Sight(lease=self._cache.get(key), since=self._since, renewed=self._renewed)
        now = self._clock()
        match step(sight, self._me, now):
            case Wait(until):
                self.decided.set()
                return until
            case Lost(why):
                log.warning("leads no more: %s", why)
                self.leading, self._renewed = False, None
                return now
            case _:
                return await self._take(sight.lease, now)

    async def _take(self, lease: LeaseState | None, now: float) -> float:
        """Acquire or renew; returns when to look again."""
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = lease is not None and lease.holder == self._me
        spec = {
            "holderIdentity": self._me,
            "leaseDurationSeconds": int(DURATION),
            "renewTime": moment,
            "acquireTime": lease.acquired if lease and mine else moment,
            "leaseTransitions": lease.transitions + (not mine) if lease else 0,
        }
        lasts = now if self._renewed is None else self._renewed + RENEW_AFTER
        try:
            async with asyncio.timeout_at(lasts + RENEW_BEFORE - RENEW_AFTER):
                await self._write(spec)
        except (ApiError, TimeoutError) as error:
            # Somebody else was quicker, and the watch will say so; or the API server is away.
            told = self._trouble == str(error) or (isinstance(error, ApiError) and error.status == 409)
            self._trouble = str(error)
            log.log(logging.DEBUG if told else logging.WARNING, "lease: %s", error or "no answer in time")
            return now + _RETRY_SECONDS
        self._trouble = ""
        # What counts is when it was asked for: others count from when they see the answer, which is later.
        self.leading, self._renewed = True, now
        self.decided.set()
        return now + RENEW_AFTER

    async def _write(self, spec: dict[str, Any]) -> None:
        key = (self._namespace, self._name)
        metadata = {"name": self._name, "namespace": self._namespace}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        if version := self._cache.version(key):
            metadata["resourceVersion"] = version
            path = LEASES.path(self._namespace, self._name)
            written = await self._client.call("PUT", path, body=body)
        else:
            written = await self._client.call("POST", LEASES.path(self._namespace), body=body)
        self._cache.learn(written)

    async def _pause(self, until: float | None, tasks: set[asyncio.Task[None]]) -> None:
        """Wait until a moment, a change of the lease, or the end of a task."""
        changed = asyncio.create_task(self._changed.wait())
        left = None if until is None else max(0.0, until - self._clock())
        try:
            await asyncio.wait({changed, *tasks}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    def _saw(self, _key: object, _old: LeaseState | None, new: LeaseState | None) -> None:
        self._since = self._clock()
        if new is None or new.holder != self._me:
            self._changed.set()

    async def _release(self) -> None:
        if self._renewed is None or self.keep:
            return
        self.leading, self._renewed = False, None
        lease = self._cache.get((self._namespace, self._name))
        if lease is None or lease.holder != self._me:
            return
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": lease.transitions}
        with contextlib.suppress(ApiError, TimeoutError):  # then the next has to wait until it runs out
            async with asyncio.timeout(RENEW_BEFORE - RENEW_AFTER):
                await self._write(spec)


class UplinkLeases:
    """The Leases by which nodes settle whose uplink of a LAN is active, in one namespace, which tenants cannot write.

    A node's agent has the node's name as a candidate, so that a new one goes on where the one before it has ended.
    """

    def __init__(self, client: Client, namespace: str, node: str) -> None:
        self._client = client
        self._namespace = namespace
        self._node = node

    def candidate(self, lan: LanRef) -> Election:
        """Return a candidate for a LAN's Lease."""
        return Election(self._client, self._namespace, names.uplink_lease(lan.namespace, lan.name), self._node)

    async def remove(self, lan: LanRef) -> None:
        """Delete the Lease of a LAN that has no uplinks any more.

        Raises:
            ApiError: it could not be done.

        """
        await self._remove(names.uplink_lease(lan.namespace, lan.name))

    async def remove_left(self, lans: Iterable[LanRef]) -> None:
        """Delete the Leases that this node holds, or no node, but for those of ``lans``, which have uplinks.

        Raises:
            ApiError: it could not be done.

        """
        wanted = {names.uplink_lease(lan.namespace, lan.name) for lan in lans}
        listed = await self._client.call("GET", LEASES.path(self._namespace))
        for item in listed["items"]:
            name = item["metadata"]["name"]
            mine = name.startswith(names.LEASE_PREFIX) and read(item).holder in ("", self._node)
            if mine and name not in wanted:
                await self._remove(name)

    async def _remove(self, name: str) -> None:
        try:
            await self._client.call("DELETE", LEASES.path(self._namespace, name))
        except ApiError as error:
            if error.status != 404:
                raise


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task})
