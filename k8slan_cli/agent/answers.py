"""What requests for diagnostics are about: here they meet the agent's state, and become work for a thread.

The state is looked at in the agent's own loop; the work (diagnose) is done elsewhere, so that the loop never waits for
it. What may be asked and in which words is in diagnose/protocol.py.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from k8slan_cli import __version__
from k8slan_cli.agent import macs, traffic
from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.captures import Attended, News
from k8slan_cli.diagnose import checks, protocol, scratch, session, sniff
from k8slan_cli.diagnose.protocol import FAIL, WARN, Check, NodeFacts, Place, Plugged, Reach
from k8slan_cli.errors import K8slanError, PodGone
from k8slan_cli.lan.model import Lan
from k8slan_cli.net import inspect, netns
from k8slan_cli.plan.state import Attachment
from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.serve.server import Begin

log = logging.getLogger(__name__)

_CAPTURES = 8
"""So many captures at a time: each may take ``sniff.ROOM`` bytes of the kernel's memory."""


_LOOK_SECONDS = 5.0
"""How long a thread waits for a look at the agent's state; it is over sooner unless the agent ends."""


class Refused(Exception):
    """A request is not carried out; ``status`` is HTTP's."""

    def __init__(self, status: int, words: str, hint: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Stream:
    """What is left to do of a request whose answer lasts; it blocks."""

    carry_out: Callable[[Begin], None]


Work = Callable[[], Mapping[str, Any]] | Stream
"""What is left to do of a request once the agent's state has been looked at. It blocks, and returns a document."""


# ---------------------------------------------------------------- what is asked for


class Answers:
    """Looks at the agent's state, in its loop, and leaves the rest of a request to a thread."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._news = News(agent)
        self._captures = threading.BoundedSemaphore(_CAPTURES)
        self._works: Mapping[str, Callable[[Any], Work]] = {
            protocol.ATTACHMENTS: self._attachments,
            protocol.TRAFFIC: self._traffic,
            protocol.MACS: self._macs,
            protocol.NODE: self._node,
            protocol.SESSION: self._session,
            protocol.CAPTURE: self._capture,
        }

    def work(self, method: str, path: str, body: object) -> Work:
        """What is left to do for a request; ``body`` is what its JSON says.

        Raises:
            Refused: it cannot be carried out.
            Invalid: it breaks rules.

        """
        found = self._works.get(path)
        if found is None or method != "POST":
            raise Refused(404, f"there is only POST of {', '.join(self._works)}", "is the agent of another version?")
        return found(body)

    def _attachment(self, place: Place) -> tuple[Attachment, Lan]:
        attachment = self._agent.attachments.get((place.container, place.ifname))
        lan = self._agent.lans.get(attachment.lan) if attachment else None
        if attachment is None or not attachment.complete or lan is None:
            who = f"{place.ifname} of container {place.container}"
            raise Refused(404, f"{who} is not attached on node {self._agent.me.name} (any more)")
        return attachment, lan

    # ------------------------------------------------------------ attachments

    def _attachments(self, body: object) -> Work:
        wanted = protocol.Fields(body, "the request").text("lan")
        node, name, seen = self._agent.node, self._agent.me.name, traffic.look(self._agent, wanted)

        def work() -> Mapping[str, Any]:
            found = [item.encode() for item in traffic.plugged(node, name, seen)]
            return {"node": name, "version": __version__, "attachments": found}

        return work

    def _traffic(self, body: object) -> Stream:
        wanted = protocol.Looking.decode(body)
        loop = asyncio.get_running_loop()

        async def look() -> traffic.Seen:
            return traffic.look(self._agent, wanted.lan)

        def told() -> list[Plugged]:
            seen = asyncio.run_coroutine_threadsafe(look(), loop).result(_LOOK_SECONDS)
            return traffic.plugged(self._agent.node, self._agent.me.name, seen)

        return Stream(lambda begin: traffic.serve(begin, told, wanted.seconds))

    def _macs(self, body: object) -> Work:
        wanted = protocol.Macs.decode(body)
        if wanted.flush:
            log.info("LAN %s: what was learned of %s is forgotten", wanted.lan, wanted.mac or "MAC addresses")
        return macs.work(self._agent, wanted)

    # ------------------------------------------------------------ the node

    def _node(self, body: object) -> Work:
        """``reaches`` are those that the answer is about: see ``Reach``; their peers and VNI do not matter."""
        read = protocol.Fields(body, "the request")
        reaches = [Reach.decode(item) for item in read.several("reaches", protocol.MAX_PROBES)]
        read.check()
        agent = self._agent
        ill = [
            Check(what=f"LAN {loop.ref}", state=FAIL, words=trouble.message, advice=trouble.hint)
            for loop in agent.loops.values()
            if loop.lan and loop.outcome and (trouble := loop.outcome.trouble)
        ]
        ill += [Check(what=what, state=WARN, words=e.message, advice=e.hint) for what, e in agent.troubles]
        if owed := list(agent.unreleased):
            words = f"addresses of {len(owed)} interfaces are not released, first of {owed[0].who}: {owed[0].why}"
            advice = "mend the plugin: it is asked again within five minutes"
            ill.append(Check(what="IPAM", state=WARN, words=words, advice=advice))
        shaped = any(loop.lan and (loop.lan.links or loop.lan.fragment) for loop in agent.loops.values())
        return lambda: _facts(agent, reaches, ill, shaped=shaped).encode()

    # ------------------------------------------------------------ streams

    def _session(self, body: object) -> Stream:
        read = protocol.Fields(body, "the request")
        if read.part("reach") is not None:
            return self._reaching(Reach.decode(read.part("reach")))
        attachment, lan = self._attachment(Place.decode(read.part("place")))
        log.info("probing at %s", attachment.who)

        def carry_out(begin: Begin) -> None:
            fd = netns.open_under(self._agent.host_root, attachment.netns)
            try:
                if fd is None or netns.identity(fd) != attachment.netns_id:
                    raise PodGone(0, f"the network namespace of {attachment.who} is gone")
                endpoint = PacketSocket(fd, inspect.inside(self._agent.node, lan.netns, attachment, fd))
            finally:
                if fd is not None:
                    os.close(fd)
            with endpoint:
                alive = functools.partial(self._missing, attachment)
                session.Session(begin, endpoint, alive).run(endpoint.mtu)

        return Stream(carry_out)

    def _reaching(self, reach: Reach) -> Stream:
        node, address = self._agent.node, self._agent.me.address

        def carry_out(begin: Begin) -> None:
            with scratch.vxlan(node, address, reach) as trial:
                session.Session(begin, trial.endpoint, lambda: "").run(trial.mtu)

        return Stream(carry_out)

    def _capture(self, body: object) -> Stream:
        wanted = protocol.Capture.decode(body)
        places = [self._attachment(place)[0] for place in wanted.places]
        for what in (*(place.who for place in places), *(f"LAN {lan}" for lan in wanted.lans)):
            log.info("capturing at %s", what)
        attended = Attended(self._agent, wanted, places)

        def carry_out(begin: Begin) -> None:
            if not self._captures.acquire(blocking=False):
                words = f"{_CAPTURES} captures run on node {self._agent.me.name}, which are as many as it takes"
                raise K8slanError(words, hint="end one of them")
            try:
                program = attended.program()
                with self._news.of(attended.lans) as news:
                    sniff.serve(begin, attended, news, program, f"k8slan {__version__}")
            finally:
                self._captures.release()

        return Stream(carry_out)

    def _missing(self, attachment: Attachment) -> str:
        """Why a session at an attachment is over, "" while it is not. Called in threads: it only looks."""
        now = self._agent.attachments.get(attachment.key)
        return "" if now and now.netns_id == attachment.netns_id else f"{attachment.who} is detached"


def _facts(agent: Agent, reaches: list[Reach], ill: list[Check], *, shaped: bool) -> NodeFacts:
    node, address = agent.node, agent.me.address
    found = [*checks.kernel(node, shaped=shaped), *checks.netfilter(), *checks.multus(agent.host_root)]
    found += [*checks.run_directory(agent.paths.run), *ill]
    underlays: dict[str, protocol.UnderlayFacts] = {}
    for reach in reaches:
        if reach.device in underlays:
            continue
        try:
            facts = scratch.underlay_facts(node, address, reach.device, reach.group)
        except K8slanError as error:
            named = f"underlay {reach.device}" if reach.device else "underlay"
            found.append(Check(what=named, state=FAIL, words=error.message, advice=error.hint))
            continue
        underlays[reach.device] = facts
        found += checks.underlay(facts.device, facts.mtu, up=facts.up)
    found += checks.ports(node, address, [reach for reach in reaches if reach.device in underlays])
    return NodeFacts(
        node=agent.me.name, version=__version__, time=time.time_ns(), checks=tuple(found), underlays=underlays
    )
