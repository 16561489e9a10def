"""The agent's endpoint for people who operate LANs: HTTP on the node's loopback address, for those who have a token.

Nobody reaches it over the network. The way in is the API server's port-forward to the agent's pod, and who may take it
is a matter of RBAC. As every program on the node can connect to a loopback address, each request has to carry a token
too: one of the service account ``k8slan-operator``, which the API server gives to those who may ask for it and tells
the agent about. Without a cluster the token is one that lies in a file only root can read.

Here are the socket and its bounds. Who may ask is in guard.py, what becomes of a request in answers.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.answers import Answer, Answers, Refused, Request, refuse
from k8slan_cli.agent.guard import Guard
from k8slan_cli.errors import Invalid, K8slanError
from k8slan_cli.operate import protocol

log = logging.getLogger(__name__)

_REQUEST_SECONDS = 10.0
"""How long a client may take to state its request."""
_LINGER_SECONDS = 1.0
"""How long a client may take to see the end of an answer."""
_CONNECTIONS = 64
"""So many requests at a time, streams among them; each takes a thread once its token is found good."""
_CLOSE_SECONDS = 3.0


class Operator:
    """Serves one address, ``HOST:PORT``, for the clients that ``guard`` admits."""

    def __init__(self, agent: Agent, address: str, guard: Guard) -> None:
        """Start listening.

        Raises:
            K8slanError: the address is malformed, not a loopback address, or taken.

        """
        host, _, port = address.rpartition(":")
        if host not in ("127.0.0.1", "[::1]", "localhost") or not port.isdigit():
            words = f"--operate: {address!r} is not a loopback address and port"
            raise K8slanError(words, hint=f"it is 127.0.0.1:{protocol.PORT} by default")
        self._agent = agent
        self._guard = guard
        self._answers = Answers(agent)
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._clients: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="operate")
        try:
            where, family = ("::1", socket.AF_INET6) if ":" in host else ("127.0.0.1", socket.AF_INET)
            self._listening = socket.create_server((where, int(port)), family=family)
        except (OSError, OverflowError) as error:
            words = f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}"
            raise K8slanError(words, hint="choose another --operate") from error
        self._listening.setblocking(False)
        self.address = f"{host}:{self._listening.getsockname()[1]}"

    async def serve(self) -> None:
        """Accept clients until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._slots.acquire()
                client, _ = await loop.sock_accept(self._listening)
                self._clients.add(client)
                task = loop.create_task(self._converse(client), name="operate")
                self._tasks.add(task)
                task.add_done_callback(functools.partial(self._done, client))
        finally:
            self._listening.close()
            for client in self._clients:  # a thread that waits for its client sees the end of it
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_CLOSE_SECONDS)
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        client.close()
        self._clients.discard(client)
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()):
            log.error("a request to the operator's endpoint ended in a fault of the agent", exc_info=error)

    async def _converse(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        client.setblocking(False)
        answer: Answer
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await _read(client)
                await self._admit(request)
            answer = self._answers.answer(request)
        except Refused as refused:
            answer = functools.partial(refuse, refused)
        except (OSError, TimeoutError):
            return
        client.setblocking(True)
        await loop.run_in_executor(self._threads, _carry_out, answer, client)

    async def _admit(self, request: Request) -> None:
        if not request.token:
            raise Refused(401, "this wants a token", f"one of the service account {protocol.ACCOUNT}")
        try:
            good = await self._guard.admits(request.token)
        except K8slanError as error:
            log.warning("whether an operator's token is good cannot be found out: %s", error)
            raise Refused(503, f"the agent cannot check the token: {error.message}") from error
        if not good:
            log.warning("somebody without a good token asked for %s", request.path[:80])
            raise Refused(403, "the agent does not take this token")


async def _read(client: socket.socket) -> Request:
    """A request, by the HTTP that the protocol needs and no more."""
    loop = asyncio.get_running_loop()
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > protocol.MAX_HEAD:
            raise Refused(400, "the head of the request is too long")
        part = await loop.sock_recv(client, 4096)
        if not part:
            raise ConnectionResetError
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refused(400, "this is not HTTP/1.1")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 9 or int(length) > protocol.MAX_BODY:
        raise Refused(400, f"the body may have {protocol.MAX_BODY} bytes, and Content-Length has to say how many")
    while len(body) < int(length):
        part = await loop.sock_recv(client, int(length) - len(body))
        if not part:
            raise ConnectionResetError
        body += part
    if len(body) > int(length):
        raise Refused(400, "there is more than the body before there was an answer")
    try:
        document = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return Request(words[0], words[1], token.strip() if scheme.lower() == "bearer" else "", document)


def _carry_out(answer: Answer, client: socket.socket) -> None:
    """In a thread: answer, or say why not. A client that is gone is nobody's fault."""
    try:
        try:
            answer(client)
        except Invalid as error:
            refuse(Refused(400, "; ".join(map(str, error.problems))), client)
        except K8slanError as error:
            refuse(Refused(409, error.message, error.hint), client)
        # What the client has said meanwhile has to be read, or the kernel would break the connection off, and what is
        # still on its way would be lost.
        client.settimeout(_LINGER_SECONDS)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    except OSError as error:
        log.debug("an operator's client is gone: %s", error)
