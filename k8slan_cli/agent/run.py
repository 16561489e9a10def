"""The agent's life: start, serve, stop. The order here is what makes a restart at any moment harmless."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import fcntl
import functools
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8slan_cli import limits
from k8slan_cli.agent.agent import Agent, check_rights
from k8slan_cli.agent.attach import Attacher
from k8slan_cli.agent.cni_server import CniServer
from k8slan_cli.agent.metrics import Metrics
from k8slan_cli.agent.passes import Aim, Self, plan_pass
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.sources import Source
from k8slan_cli.agent.vteps import Vteps
from k8slan_cli.errors import K8slanError
from k8slan_cli.net import holders
from k8slan_cli.plan.desired import Elsewhere
from k8slan_cli.plan.diff import diff
from k8slan_cli.serve import health
from k8slan_cli.serve.server import split

log = logging.getLogger(__name__)

_FIRST_SIGHT_SECONDS = 3.0
"""How long to wait for the source at the start; after that, what was known last has to do."""

_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 1.0, 300.0
"""How long to wait before what is left of a DEL is tried again."""

_BEAT_SECONDS, _STUCK_SECONDS = 5.0, 60.0
"""How often the event loop says that it runs, and for how long it may say nothing before the agent ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """How an agent is to run; ``http`` None means no HTTP server, ``handover`` is for the ``Attacher``, in seconds."""

    paths: Paths
    me: Self
    host_root: Path
    http: str | None
    handover: float


Edge = Callable[[Agent], Awaitable[None]]
"""What an agent does for the world beside CNI, as long as it runs: device plugins, its status in the cluster."""


async def run(options: AgentOptions, source: Source, edges: Sequence[Edge] = (), vteps: Vteps | None = None) -> None:
    """Run an agent until SIGTERM or SIGINT. What is on the node stays, and so does the traffic.

    Raises:
        K8slanError: it cannot run here.

    """
    check_rights()
    limits.raise_own()
    asyncio.get_running_loop().set_exception_handler(_say)
    with locked(options.paths):
        agent = Agent(options.paths, options.me, options.host_root, vteps)
        attacher = Attacher(agent, options.handover)
        metrics = Metrics(agent)
        missing = ["the first pass over all LANs"]
        beside = {asyncio.create_task(stay_awake(), name="watch over the loop")}
        if options.http:
            serving_health = _serve_health(agent, options.http, metrics, lambda: missing[0])
            beside.add(asyncio.create_task(serving_health, name="metrics"))
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        agent.watch_host()
        agent.take_part()
        following = asyncio.create_task(agent.follow(source), name="source")
        await _first_sight(agent, following)
        await attacher.recover()
        await agent.settle()
        server = CniServer(options.paths.socket, attacher, metrics.answered)
        spool = asyncio.create_task(_watch_spool(options.paths.spool, attacher), name="spool")
        releasing = asyncio.create_task(_again(attacher.release, attacher.owing), name="releasing addresses")
        serving = asyncio.create_task(server.serve(), name="CNI server")
        beside |= {asyncio.ensure_future(edge(agent)) for edge in edges}
        missing[0] = ""
        log.info(
            "ready: %d LANs, %d attachments, socket %s", len(agent.lans.all()), len(agent.attachments), server.path
        )
        notify("READY=1")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        tasks = {following, spool, releasing, serving, stopping, *beside}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        for task in tasks - done:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.close()
        await source.close()
        await agent.close()
        for task in done - {stopping}:
            await task  # a task that ends by itself has failed: its error ends the agent


def _say(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio has nobody to tell of, as that there is no descriptor for a kubelet that calls a plugin."""
    if (error := context.get("exception")) and (shortage := limits.shortage(error)):
        log.error("%s: %s", context["message"], shortage)
    else:
        loop.default_exception_handler(context)


async def stay_awake(beat: float = _BEAT_SECONDS, longest: float = _STUCK_SECONDS) -> None:
    """End this process, with the stacks of its threads on stderr, if the event loop stands still for ``longest``."""
    try:
        while True:
            faulthandler.dump_traceback_later(longest, exit=True, file=2)
            await asyncio.sleep(beat)
    finally:
        faulthandler.cancel_dump_traceback_later()


async def _serve_health(agent: Agent, address: str, metrics: Metrics, missing: Callable[[], str]) -> None:
    """Serve health and metrics until cancelled, once no other program has the port."""
    hint = "choose another --http; in a cluster: k8slan install --agent-metrics-port"
    holder = functools.partial(holders.holder, agent.node, "tcp", split(address)[1])
    server = await agent.troubles.until_free(
        "metrics", lambda: health.serve(address, metrics.registry, missing, hint), holder
    )
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()


async def _first_sight(agent: Agent, following: asyncio.Task[None]) -> None:
    """Wait until the source has been heard, or for a while, or until it fails."""
    heard = asyncio.create_task(agent.lans.heard.wait())
    await asyncio.wait({heard, following}, timeout=_FIRST_SIGHT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    heard.cancel()
    if following.done():
        await following
    if not agent.lans.synced:
        log.warning("no word of LANs yet: going on with the %d known before", len(agent.lans.all()))


async def _watch_spool(folder: Path, attacher: Attacher) -> None:
    """Carry out DELs that clients leave because an answer took too long."""
    from asyncinotify import Mask

    with limits.watch("the spool", folder, Mask.MOVED_TO) as inotify:
        await _again(attacher.empty_spool, inotify.get)


async def _again(work: Callable[[], Awaitable[int]], news: Callable[[], Awaitable[object]]) -> None:
    """Do some work at once and at all news; while something is left of it, also after pauses, each twice as long."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        left = await work()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause if left else None):
                await news()
        pause = min(2 * pause, _LAST_PAUSE_SECONDS) if left else _FIRST_PAUSE_SECONDS


@contextlib.contextmanager
def locked(paths: Paths) -> Iterator[None]:
    """Hold the run directory for one agent alone.

    Raises:
        K8slanError: another has it, or it cannot be made.

    """
    with contextlib.ExitStack() as held:
        try:
            paths.private.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(paths.lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            held.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            paths.create()
        except BlockingIOError:
            hint = "stop it, or choose another --run-dir"
            raise K8slanError(f"another agent runs with {paths.run}", hint=hint) from None
        except OSError as error:
            words = f"cannot use the run directory {paths.run}: {limits.describe(error)}"
            raise K8slanError(words, hint=limits.advice(error, paths.run)) from error
        yield


def notify(state: str) -> None:
    """Tell a service manager of a change (sd_notify(3)), where there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.send(state.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an agent would do if it started now: descriptions of operations, by the namespaces of LANs concerned.

    ``lans`` and ``attachments`` are how many it knows of.
    """

    lans: int
    attachments: int
    operations: Mapping[str, Sequence[str]]


async def preview(options: AgentOptions, source: Source, vteps: Vteps | None = None) -> Preview:
    """Return what an agent would do if it started now.

    Raises:
        K8slanError: what is there cannot be read.

    """
    agent = Agent(options.paths, options.me, options.host_root, vteps)
    agent.lans.preview(await source.next())
    await source.close()
    lans = {lan.netns: lan for lan in agent.lans.all().values()}
    found: dict[str, list[str]] = {}
    for name in sorted(agent.node.present() | {n for n, lan in lans.items() if agent.uses(lan.ref)}):
        lan = lans.get(name)
        complete = [a for a in agent.attachments.of(lan.ref) if a.complete] if lan else []
        around = agent.around(lan) if lan else Elsewhere()
        aim = Aim(lan=lan, netns=name, me=options.me, attachments=complete, around=around, opened=None)
        outcome, observed = plan_pass(agent.node, aim)
        underlay = outcome.underlay.name if outcome.underlay else ""
        words = [operation.describe() for operation in diff(outcome.desired, observed, underlay=underlay)]
        found[name] = [f"cannot be planned: {outcome.unplanned}"] if outcome.unplanned else words
    agent.node.close()
    return Preview(lans=len(lans), attachments=len(agent.attachments), operations=found)
