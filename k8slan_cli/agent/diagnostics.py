"""The agent's diagnostics endpoint: HTTP on the node's loopback address, for those who have a token.

It cannot be reached over the network. The way in is the API server's port-forward to the agent's pod, and RBAC says
who may take it. As every program on the node can connect to a loopback address, each request has to carry a token
too: one of the service account ``k8slan-operator``, which the API server gives to those who may ask for it and tells
the agent about. Without a cluster the token is one that lies in a file only root can read.

Who may ask is in guard.py, what becomes of a request in answers.py.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from concurrent.futures import ThreadPoolExecutor

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.answers import Answers, Refused, Stream
from k8slan_cli.agent.guard import Guard
from k8slan_cli.diagnose import protocol
from k8slan_cli.errors import Invalid, K8slanError
from k8slan_cli.net import holders
from k8slan_cli.serve.server import Answer, Limits, Request, Server, split

log = logging.getLogger(__name__)

_LIMITS = Limits(connections=96, streams=64, head=protocol.MAX_HEAD, body=protocol.MAX_BODY)
_OTHER = "choose another --diagnostics-address; in a cluster: k8slan install --agent-diagnostics-port"
_AT_ONCE = 4
"""So many answers are worked out at a time, beside streams; the others wait."""


class Diagnostics:
    """Serves one address, ``HOST:PORT``, for the clients that ``guard`` admits."""

    def __init__(self, agent: Agent, address: str, guard: Guard) -> None:
        """Listen.

        Raises:
            AddressTaken: another program has the port.
            K8slanError: the address is malformed, or not a loopback address.

        """
        host, _ = split(address)
        if host not in ("127.0.0.1", "::1", "localhost"):
            words = f"--diagnostics-address: {address!r} is not a loopback address and port"
            raise K8slanError(words, hint=f"it is 127.0.0.1:{protocol.PORT} by default")
        self._guard = guard
        self._answers = Answers(agent)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="diagnose")
        self._server = Server(address, self._answer, limits=_LIMITS, hint=_OTHER)

    async def serve(self) -> None:
        """Answer until cancelled."""
        self._server.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self._server.close()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, request: Request) -> Answer | None:
        try:
            await self._admit(request)
            work = self._answers.work(request.method, request.path, _document(request.body))
            if isinstance(work, Stream):
                return await request.hand_over(work.carry_out)
            found = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Refused as refused:
            return _json({"error": refused.words, "hint": refused.hint}, refused.status)
        except Invalid as error:
            return _json({"error": "; ".join(map(str, error.problems)), "hint": ""}, 400)
        except K8slanError as error:
            return _json({"error": error.message, "hint": error.hint}, 409)
        return _json(found)

    async def _admit(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        if not token:
            raise Refused(401, "this wants a token", f"one of the service account {protocol.ACCOUNT}")
        try:
            good = await self._guard.admits(token)
        except K8slanError as error:
            log.warning("whether a token is good cannot be found out: %s", error)
            raise Refused(503, f"the agent cannot check the token: {error.message}") from error
        if not good:
            log.warning("somebody without a good token asked for %s", request.path[:80])
            raise Refused(403, "the agent does not take this token")


async def serve(agent: Agent, address: str, guard: Guard) -> None:
    """Serve an address until cancelled, once no other program has its port."""
    holder = functools.partial(holders.holder, agent.node, "tcp", split(address)[1])
    found = await agent.troubles.until_free("diagnostics", lambda: Diagnostics(agent, address, guard), holder)
    await found.serve()


def _document(body: bytes) -> object:
    try:
        return json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None


def _json(document: object, status: int = 200) -> Answer:
    return Answer(status=status, body=json.dumps(document).encode(), media="application/json")
