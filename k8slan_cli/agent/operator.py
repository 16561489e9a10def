"""The agent's endpoint for people who operate LANs: HTTP on the node's loopback address, for those who have a token.

Nobody reaches it over the network. The way in is the API server's port-forward to the agent's pod, and who may take it
is a matter of RBAC. As every program on the node can connect to a loopback address, each request has to carry a token
too: one of the service account ``k8slan-operator``, which the API server gives to those who may ask for it and tells
the agent about. Without a cluster the token is one that lies in a file only root can read.

What is asked for and how is in operate/protocol.py. Here are the socket and its bounds, who may ask, and what of the
agent's state a request is about; the work is done in threads by operate, so that the agent's loop never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import hmac
import json
import logging
import os
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from k8slan_cli import __version__
from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.store import write_whole
from k8slan_cli.capture import pcapng
from k8slan_cli.errors import Invalid, K8slanError, KernelError, PodGone, StoreError
from k8slan_cli.lan.model import Lan
from k8slan_cli.net import netlink, netns
from k8slan_cli.net.node import Node
from k8slan_cli.operate import checks, protocol, scratch, session, sniff
from k8slan_cli.operate.protocol import FAIL, Check, NodeFacts, Place, Plugged, Reach, Traffic
from k8slan_cli.plan.state import Attachment, Kind
from k8slan_cli.probe.endpoint import Interface

log = logging.getLogger(__name__)

_REQUEST_SECONDS = 10.0
"""How long a client may take to state its request, and to take an answer that is not a stream."""
_LINGER_SECONDS = 1.0
"""How long a client may take to see the end of an answer."""
_CONNECTIONS = 64
_THREADS = 32
_CLOSE_SECONDS = 3.0
_REMEMBER_SECONDS = 60.0
"""How long a token that was found good counts as good."""
_REMEMBERED = 256
_MAX_TOKEN = 16 << 10
_STATUS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    503: "Service Unavailable",
}


class _Refused(Exception):
    """A request is not carried out; ``status`` is HTTP's."""

    def __init__(self, status: int, words: str, hint: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.hint = hint


# ---------------------------------------------------------------- who may ask


class Guard(Protocol):
    """Knows a good token."""

    async def admits(self, token: str) -> bool:
        """Whether a token is good.

        Raises:
            K8slanError: that cannot be found out now.

        """


class FileGuard:
    """One token, in a file that only root reads; a new one each time the agent starts."""

    def __init__(self, path: Path) -> None:
        """Write the file. If that fails nobody knows the token, and the agent does the rest of its work."""
        self._token = secrets.token_hex(32)
        try:
            write_whole(path, self._token.encode() + b"\n")
        except StoreError as error:
            log.error("nobody can ask this agent anything: %s", error)

    async def admits(self, token: str) -> bool:
        """Whether it is the one."""
        return hmac.compare_digest(token.encode(), self._token.encode())


class ClusterGuard:
    """Tokens of one user, as the API server knows them; ``user_of`` asks it whose a token is."""

    def __init__(self, user_of: Callable[[str], Awaitable[str]], user: str) -> None:
        self._user_of = user_of
        self._user = user
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._turn = asyncio.Lock()  # one question at a time: nobody floods the API server through an agent

    async def admits(self, token: str) -> bool:
        """Whether it is the user's; one that was good a moment ago is not asked about again."""
        if token.count(".") != 2 or len(token) > _MAX_TOKEN:
            return False  # a service account's token is a JWT
        digest = hashlib.sha256(token.encode()).digest()
        if self._remembers(digest):
            return True
        async with self._turn:
            if self._remembers(digest):
                return True
            if await self._user_of(token) != self._user:
                return False
        self._good[digest] = time.monotonic() + _REMEMBER_SECONDS
        while len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return True

    def _remembers(self, digest: bytes) -> bool:
        return self._good.get(digest, 0.0) > time.monotonic()


# ---------------------------------------------------------------- the socket

Answer = Callable[[socket.socket], None]
"""What is left to do of a request once the agent's state has been looked at; it may block."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    token: str
    body: object


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
        self._requests = _Requests(agent)
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._clients: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="operate")
        try:
            self._listening = socket.create_server(("::1" if ":" in host else "127.0.0.1", int(port)))
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
            answer = self._requests.answer(request)
        except _Refused as refused:
            answer = functools.partial(_refuse, refused)
        except (OSError, TimeoutError):
            return
        client.setblocking(True)
        await loop.run_in_executor(self._threads, _carry_out, answer, client)

    async def _admit(self, request: _Request) -> None:
        if not request.token:
            raise _Refused(401, "this wants a token", f"one of the service account {protocol.ACCOUNT}")
        try:
            good = await self._guard.admits(request.token)
        except K8slanError as error:
            log.warning("whether an operator's token is good cannot be found out: %s", error)
            raise _Refused(503, f"the agent cannot check the token: {error.message}") from error
        if not good:
            log.warning("somebody without a good token asked for %s", request.path[:80])
            raise _Refused(403, "the agent does not take this token")


async def _read(client: socket.socket) -> _Request:
    """A request, by the HTTP that the protocol needs and no more."""
    loop = asyncio.get_running_loop()
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > protocol.MAX_HEAD:
            raise _Refused(400, "the head of the request is too long")
        part = await loop.sock_recv(client, 4096)
        if not part:
            raise ConnectionResetError
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Refused(400, "this is not HTTP/1.1")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 9 or int(length) > protocol.MAX_BODY:
        raise _Refused(400, f"the body may have {protocol.MAX_BODY} bytes, and Content-Length has to say how many")
    while len(body) < int(length):
        part = await loop.sock_recv(client, int(length) - len(body))
        if not part:
            raise ConnectionResetError
        body += part
    if len(body) > int(length):
        raise _Refused(400, "there is more than the body before there was an answer")
    try:
        document = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise _Refused(400, "the body is not JSON") from None
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return _Request(words[0], words[1], token.strip() if scheme.lower() == "bearer" else "", document)


def _carry_out(answer: Answer, client: socket.socket) -> None:
    """In a thread: answer, or say why not. A client that is gone is nobody's fault."""
    try:
        try:
            answer(client)
        except Invalid as error:
            _refuse(_Refused(400, "; ".join(map(str, error.problems))), client)
        except K8slanError as error:
            _refuse(_Refused(409, error.message, error.hint), client)
        # What the client has said meanwhile has to be read, or the kernel would break the connection off, and what is
        # still on its way would be lost.
        client.settimeout(_LINGER_SECONDS)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    except OSError as error:
        log.debug("an operator's client is gone: %s", error)


def _refuse(refused: _Refused, client: socket.socket) -> None:
    _send(client, {"error": refused.words, "hint": refused.hint}, refused.status)


def _send(client: socket.socket, document: object, status: int = 200) -> None:
    data = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status} {_STATUS[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    client.settimeout(_REQUEST_SECONDS)
    client.sendall(head.encode() + data)


# ---------------------------------------------------------------- what is asked for


class _Requests:
    """Looks at the agent's state, in its loop, and leaves the rest of a request to a thread."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._answers: Mapping[str, Callable[[Any], Answer]] = {
            protocol.ATTACHMENTS: self._attachments,
            protocol.NODE: self._node,
            protocol.SESSION: self._session,
            protocol.CAPTURE: self._capture,
        }

    def answer(self, request: _Request) -> Answer:
        """What is left to do.

        Raises:
            _Refused: nothing, and why.

        """
        found = self._answers.get(request.path)
        if found is None or request.method != "POST":
            raise _Refused(404, f"there is only POST of {', '.join(self._answers)}", "is the agent of another version?")
        try:
            return found(request.body)
        except Invalid as error:
            raise _Refused(400, "; ".join(map(str, error.problems))) from error

    def _attachment(self, place: Place) -> tuple[Attachment, Lan]:
        attachment = self._agent.attachments.get((place.container, place.ifname))
        lan = self._agent.lans.get(attachment.lan) if attachment else None
        if attachment is None or not attachment.complete or lan is None:
            who = f"{place.ifname} of container {place.container}"
            raise _Refused(404, f"{who} is not attached on node {self._agent.me.name} (any more)")
        return attachment, lan

    # ------------------------------------------------------------ attachments

    def _attachments(self, body: object) -> Answer:
        wanted = protocol.Fields(body, "the request").text("lan")
        found: list[tuple[Attachment, Lan | None, str]] = []
        for attachment in self._agent.attachments:
            if not attachment.complete or wanted not in ("", str(attachment.lan)):
                continue
            lan = self._agent.lans.get(attachment.lan)
            loop = self._agent.loops.get((attachment.lan, lan.netns)) if lan else None
            error = loop.outcome.failure_of(attachment.key) if loop and loop.outcome else None
            found.append((attachment, lan, str(error) if error else ""))
        node, name = self._agent.node, self._agent.me.name

        def answer(client: socket.socket) -> None:
            plugged = [_plugged(node, name, *item).encode() for item in found]
            _send(client, {"node": name, "version": __version__, "attachments": plugged})

        return answer

    # ------------------------------------------------------------ the node

    def _node(self, body: object) -> Answer:
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
        return lambda client: _send(client, _facts(agent, reaches, ill).encode())

    # ------------------------------------------------------------ streams

    def _session(self, body: object) -> Answer:
        read = protocol.Fields(body, "the request")
        if read.part("reach") is not None:
            return self._reaching(Reach.decode(read.part("reach")))
        attachment, _lan = self._attachment(Place.decode(read.part("place")))
        log.info("an operator probes at %s", attachment.who)

        def answer(client: socket.socket) -> None:
            fd = netns.open_under(self._agent.host_root, attachment.netns)
            try:
                if fd is None or netns.identity(fd) != attachment.netns_id:
                    raise PodGone(0, f"the network namespace of {attachment.who} is gone")
                endpoint = Interface(fd, attachment.ifname)
            finally:
                if fd is not None:
                    os.close(fd)
            with endpoint:
                alive = functools.partial(self._missing, attachment)
                session.Session(client, endpoint, alive).run(endpoint.mtu)

        return answer

    def _reaching(self, reach: Reach) -> Answer:
        node, address = self._agent.node, self._agent.me.address

        def answer(client: socket.socket) -> None:
            with scratch.vxlan(node, address, reach) as trial:
                session.Session(client, trial.endpoint, lambda: "").run(trial.mtu)

        return answer

    def _capture(self, body: object) -> Answer:
        wanted = protocol.Capture.decode(body)
        found = [self._attachment(place) for place in wanted.places]
        for attachment, _ in found:
            log.info("an operator captures at %s", attachment.who)

        def answer(client: socket.socket) -> None:
            with contextlib.ExitStack() as stack:
                opened = [self._port(stack, *item, wanted) for item in found]

                def alive(number: int) -> str:
                    attachment, lan = found[number]
                    return self._missing(attachment, self._path(lan), opened[number][1])

                sniff.serve(client, [port for port, _ in opened], f"k8slan {__version__}", alive)

        return answer

    def _path(self, lan: Lan) -> Path:
        return self._agent.node.path(lan.netns)

    def _port(
        self, stack: contextlib.ExitStack, attachment: Attachment, lan: Lan, wanted: protocol.Capture
    ) -> tuple[sniff.Port, str]:
        fd = netns.open_at(self._path(lan))
        if fd is None:
            raise KernelError(0, f"the LAN {lan.ref} is not on this node (any more)")
        stack.callback(os.close, fd)
        kind = "VM" if attachment.kind is Kind.MACVTAP else "pod"
        spoke = f", spoke {attachment.spoke}" if attachment.spoke else ""
        described = pcapng.Interface(
            name=f"{attachment.pod or attachment.container}:{attachment.ifname}",
            description=f"{kind} on LAN {lan.ref}{spoke}, node {self._agent.me.name}",
            mac=netlink.mac_bytes(attachment.mac),
            filter=wanted.filter,
            snaplen=wanted.snaplen,
        )
        return sniff.Port(fd=fd, name=attachment.port, interface=described), netns.identity(fd)

    def _missing(self, attachment: Attachment, path: Path | None = None, identity: str = "") -> str:
        """Why a stream at an attachment is over, "" while it is not. Called in threads: it only looks."""
        now = self._agent.attachments.get(attachment.key)
        if now is None or now.netns_id != attachment.netns_id:
            return f"{attachment.who} is detached"
        if path is not None:
            try:
                there = path.stat()
            except FileNotFoundError:
                return f"the LAN {attachment.lan} is gone from this node"
            if f"{there.st_dev}:{there.st_ino}" != identity:
                return f"the LAN {attachment.lan} is gone from this node"
        return ""


def _plugged(node: Node, name: str, attachment: Attachment, lan: Lan | None, fault: str) -> Plugged:
    handle = node.lan(lan.netns) if lan else None
    link = None
    if handle:
        with contextlib.suppress(KernelError):  # one that has gone this moment is as one without a link
            asked = netlink.get_link_with_counters(attachment.port)
            link = netlink.parse_link(handle.netlink.ask(asked, doing="read counters")[0])
    flags = link.flags if link else 0
    counters = link.counters if link and link.counters else (0,) * 8
    rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = counters
    return Plugged(
        node=name,
        lan=str(attachment.lan),
        container=attachment.container,
        ifname=attachment.ifname,
        kind=attachment.kind.value,
        port=attachment.port,
        mac=attachment.mac,
        mtu=attachment.mtu,
        spoke=attachment.spoke or "",
        pod=attachment.pod,
        addresses=attachment.addresses,
        up=not (lan and lan.is_down(attachment.spoke, attachment.plug)),
        carrier=bool(flags & netlink.IFF_UP and flags & netlink.IFF_LOWER_UP),
        fault=fault or ("" if link else f"its bridge port {attachment.port} is not there"),
        # What comes in at the port was sent by the pod.
        sent=Traffic(packets=rx_packets, bytes=rx_bytes, errors=rx_errors, dropped=rx_dropped),
        received=Traffic(packets=tx_packets, bytes=tx_bytes, errors=tx_errors, dropped=tx_dropped),
    )


def _facts(agent: Agent, reaches: list[Reach], ill: list[Check]) -> NodeFacts:
    node, address = agent.node, agent.me.address
    found = [*checks.kernel(node), *checks.netfilter(), *checks.multus(agent.host_root)]
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
