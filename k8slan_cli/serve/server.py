"""The one HTTP server: of metrics and health, the admission webhook, the agents' diagnostics, and the page of the ui.

Those that answer see requests and answers as values; connections, TLS and HTTP are aiohttp's. What a client can take is
bounded, so that one that is slow or greedy costs only itself: the time in which a request has to come and an answer be
taken, the size of heads and bodies, how many large bodies there are at a time, and connections. When there are too many
of those, the one that has been idle for longest makes room. Running out of descriptors ends nothing: clients wait in
the kernel's queue until there is one again.

An answer that lasts (``Request.hand_over``) is written by a thread, on the client's socket itself: no frame of a
capture passes through the event loop, and a client that does not read stops its own thread and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from k8slan_cli.errors import K8slanError
from k8slan_cli.limits import advice, describe, shortage

log = logging.getLogger(__name__)
_http_log = logging.getLogger(f"{__name__}.http")
# What is not HTTP is answered with 400, and no fault that anybody has to hear of.
_http_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))

_RETRY_SECONDS = 1.0
"""How long to wait for a descriptor, unless one of the server's own gets free before."""
_CLOSE_SECONDS = 3.0
_LINGER_SECONDS = 1.0
"""How long a client may take to see the end of an answer."""
_BACKLOG = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may take of a server.

    ``connections``  at a time, streams among them        ``streams``  answers that last, at a time
    ``head``         bytes of one header                  ``headers``  of a request
    ``body``         bytes of a body                      ``large``    bytes from which on a body is a large one
    ``large_bodies`` at a time
    ``request``      seconds from a connection, or the answer before, to the whole request
    ``answer``       seconds to work an answer out, and again for the client to take it, unless it lasts
    """

    connections: int = 64
    streams: int = 0
    head: int = 8 << 10
    headers: int = 32
    body: int = 0
    large: int = 64 << 10
    large_bodies: int = 4
    request: float = 10.0
    answer: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client is told."""

    status: int = 200
    body: bytes = b""
    media: str = "text/plain; charset=utf-8"

    @classmethod
    def text(cls, words: str, status: int = 200) -> Self:
        """A line of text."""
        return cls(status=status, body=f"{words}\n".encode())


Begin = Callable[[str], socket.socket]
"""Begins an answer that lasts, of a media type: sends its head, and gives the client's socket, which blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks; the names of ``headers`` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    _hand_over: Callable[[Callable[[Begin], None]], Awaitable[bool]] | None = None

    async def hand_over(self, work: Callable[[Begin], None]) -> Answer | None:
        """Have the answer given by ``work``, in a thread that has the connection to itself.

        Returns what is left to answer: None once it has been given.

        Raises:
            K8slanError: by ``work``, before it has begun to answer.

        """
        assert self._hand_over is not None  # noqa: S101 - the server sets it
        if not await self._hand_over(work):
            return Answer.text("too many others ask at the moment", status=503)
        return None


Handler = Callable[[Request], Awaitable[Answer | None]]


def split(address: str) -> tuple[str, int]:
    """The two halves of ``HOST:PORT``. An IPv6 address is in brackets, another host may be; no host is all addresses.

    Raises:
        K8slanError: it is malformed.

    """
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in bare and bare == host):
        raise K8slanError(f"{address!r} is not HOST:PORT", hint="an IPv6 address is in brackets: [::1]:9402")
    return bare, int(port)


def join(host: str, port: int) -> str:
    """``HOST:PORT``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(address: str) -> socket.socket:
    host, port = split(address)
    if not host and socket.has_dualstack_ipv6():
        host = "::"
    family, _, _, _, where = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(where, family=family, backlog=_BACKLOG, dualstack_ipv6=where[0] == "::")


@dataclass(eq=False, slots=True)
class _Client:
    """A connection; without ``transport`` in the middle of its TLS handshake."""

    connection: socket.socket
    transport: asyncio.Transport | None = None
    stream: _Stream | None = None
    busy: bool = False
    gone: bool = False

    def hang_up(self) -> None:
        """End the connection at once."""
        if self.transport:
            self.transport.abort()
        else:  # in the middle of a TLS handshake, which fails by that
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


class _Http(web.Server):
    """aiohttp's half, which says when a connection has ended."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], limits: Limits) -> None:
        super().__init__(
            handler,
            logger=_http_log,
            access_log=None,
            keepalive_timeout=limits.request,  # for the first request too, and until the whole of its head is there
            max_line_size=limits.head,
            max_field_size=limits.head,
            max_headers=limits.headers,
            lingering_time=_LINGER_SECONDS,
            auto_decompress=False,
        )
        self.clients: dict[web.RequestHandler, _Client] = {}
        self.on_end: Callable[[_Client], None] = lambda _client: None

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take note of a connection that is ready, its TLS handshake done."""
        super().connection_made(handler, transport)
        self.clients[handler].transport = transport

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Take note of the end of one."""
        super().connection_lost(handler, exc)
        if client := self.clients.pop(handler, None):
            self.on_end(client)


class AddressTaken(K8slanError):
    """Another program listens at an address; it may end."""


class Server:
    """Serves one address, ``HOST:PORT``; with ``tls`` as HTTPS."""

    def __init__(
        self,
        address: str,
        handler: Handler,
        *,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        admits: Callable[[str, str], bool] = lambda _method, _path: True,
    ) -> None:
        """Listen; clients wait until ``start``. ``hint`` says what to do where that cannot be.

        ``headers`` go with every answer that comes from here, whatever its status.
        Requests whose method and path ``admits`` does not admit get status 404, and their bodies are not read.

        Raises:
            AddressTaken: another program has the port.
            K8slanError: the address is malformed, or not one of this machine.

        """
        self._handler = handler
        self._limits = limits
        self._tls = tls
        self._admits = admits
        self._headers = dict(headers or {})
        try:
            self._listening = _listen(address)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            kind = AddressTaken if error.errno == errno.EADDRINUSE else K8slanError
            raise kind(f"cannot listen on {address}: {why}", hint=hint) from error
        self._listening.setblocking(False)
        self.host, self.port = split(address)[0], int(self._listening.getsockname()[1])
        self._http = _Http(self._handle, limits)
        self._http.on_end = self._ended
        self._clients: dict[_Client, None] = {}  # in the order in which they became idle
        self._freed = asyncio.Event()
        self._large = asyncio.Semaphore(limits.large_bodies)
        self._threads = ThreadPoolExecutor(max(limits.streams, 1), thread_name_prefix="stream")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where it listens; the port is the true one, also if 0 was asked for."""
        return join(self.host, self.port)

    def start(self) -> None:
        """Accept clients from now on."""
        self._run(self._accept(), "HTTP server")

    async def close(self) -> None:
        """Answer what has been asked, and stop; answers that last are cut."""
        for task in self._tasks:
            task.cancel()
        self._listening.close()
        for client in tuple(self._clients):
            if client.stream:
                client.stream.cut()
            elif not client.transport:
                client.hang_up()
        self._http.pre_shutdown()
        await self._http.shutdown(_CLOSE_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, part: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(part, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------ connections

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError as error:  # no descriptor or memory left, most of all
                why = shortage(error) or error.strerror
                log.warning("cannot accept a client on %s for now: %s", self.address, why)
                self._freed.clear()
                self._make_room()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._freed.wait(), _RETRY_SECONDS)
                continue
            client = _Client(connection)
            if len(self._clients) >= self._limits.connections and not self._make_room():
                connection.close()
                continue
            self._clients[client] = None
            self._run(self._connect(client), "HTTP connection")

    async def _connect(self, client: _Client) -> None:
        handshake = self._limits.request if self._tls else None
        protocol = self._http()
        self._http.clients[protocol] = client
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, client.connection, ssl=self._tls, ssl_handshake_timeout=handshake
            )
        except (OSError, asyncio.CancelledError):  # TLS errors are OSErrors
            client.connection.close()
            self._http.clients.pop(protocol, None)  # it is not told that the connection ended: it never had one
            self._ended(client)

    def _make_room(self) -> bool:
        """End the connection that has been idle for longest; return whether there was one."""
        idle = next((client for client in self._clients if not client.busy), None)
        if idle is None:
            return False
        del self._clients[idle]
        idle.hang_up()
        return True

    def _ended(self, client: _Client) -> None:
        client.gone = True
        if not client.busy:  # or else it counts until what it has asked for is done
            self._clients.pop(client, None)
        self._freed.set()

    @contextlib.contextmanager
    def _busy(self, client: _Client) -> Iterator[None]:
        """Work for a client, which cannot make room for another meanwhile."""
        client.busy = True
        try:
            yield
        finally:
            client.busy = False
            if self._clients.pop(client, 0) is None and not client.gone:
                self._clients[client] = None

    # ------------------------------------------------------------ requests

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, and its answer up to the last byte, in time or not at all."""
        client = self._http.clients.get(request.protocol)
        if client is None:  # it is gone already
            return web.Response()
        try:
            if not self._admits(request.method, request.path):
                return await self._send(request, Answer.text("there is no such path", status=404))
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(self._limits.request):
                    body = await self._body(request, stack)
                if body is None:
                    words = f"a body may have {self._limits.body} bytes"
                    return await self._send(request, Answer.text(words, status=413))
                if response := await self._answer(request, client, body):
                    return response
        except (TimeoutError, ConnectionError, web.RequestPayloadError) as error:
            log.debug("a client does not get its answer: %r", error)
        client.hang_up()
        return web.Response()  # which goes nowhere

    async def _body(self, request: web.BaseRequest, stack: contextlib.AsyncExitStack) -> bytes | None:
        """The body, None if it is too large; ``stack`` holds the place of a large one."""
        length = request.content_length
        if length is None and not request.can_read_body:
            return b""
        if length is not None and length > self._limits.body:
            return None
        if length is None or length > self._limits.large:
            await stack.enter_async_context(self._large)
        body = bytearray()
        async for part in request.content.iter_any():
            body += part
            if len(body) > self._limits.body:
                return None
        return bytes(body)

    async def _answer(self, request: web.BaseRequest, client: _Client, body: bytes) -> web.StreamResponse | None:
        async with asyncio.timeout(self._limits.answer) as deadline:

            async def hand_over(work: Callable[[Begin], None]) -> bool:
                deadline.reschedule(None)
                return await self._stream(request, client, work)

            asked = Request(
                method=request.method,
                path=request.path,
                headers={name.lower(): value for name, value in request.headers.items()},
                body=body,
                _hand_over=hand_over,
            )
            with self._busy(client):
                answer = await self._handler(asked)
        return await self._send(request, answer) if answer else None

    async def _send(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        headers = {"Content-Type": answer.media, **self._headers}
        response = web.Response(status=answer.status, body=answer.body, headers=headers)
        if answer.status >= 400:
            response.force_close()
        async with asyncio.timeout(self._limits.answer):
            await response.prepare(request)
            await response.write_eof()
        return response

    # ------------------------------------------------------------ answers that last

    async def _stream(self, request: web.BaseRequest, client: _Client, work: Callable[[Begin], None]) -> bool:
        """Lend the connection to ``work``; return whether there was a thread for it."""
        transport = request.transport
        if sum(one.stream is not None for one in self._clients) >= self._limits.streams:
            return False
        if transport is None or transport.is_closing():
            return True
        transport.pause_reading()
        client.stream = stream = _Stream(os.dup(transport.get_extra_info("socket").fileno()), self._headers)
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, stream.carry_out, work)
        except K8slanError:
            transport.resume_reading()
            raise
        finally:
            stream.cut()
            client.stream = None
        return True


class _Stream:
    """An answer that lasts: the client's connection in the hands of a thread."""

    def __init__(self, descriptor: int, headers: Mapping[str, str]) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._headers = headers
        self._begun = False

    def begin(self, media: str) -> socket.socket:
        self._begun = True
        self._socket.setblocking(True)
        headers = {"Content-Type": media, "Connection": "close", **self._headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._socket.sendall(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode())
        return self._socket

    def cut(self) -> None:
        """End it, if it has begun; what waits for the client in the thread sees the end of it."""
        if self._begun:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def carry_out(self, work: Callable[[Begin], None]) -> None:
        """In the thread: all of it.

        Raises:
            K8slanError: it has not begun, and why.

        """
        try:
            work(self.begin)
            # What the client has said meanwhile has to be read, or the kernel would break the connection off, and what
            # is still on its way would be lost.
            self._socket.settimeout(_LINGER_SECONDS)
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(4096):
                pass
        except K8slanError as error:
            if not self._begun:
                raise
            log.warning("an answer is cut short: %s", error)
        except OSError as error:
            if not self._begun:
                raise K8slanError(f"this cannot be done now: {describe(error)}", hint=advice(error)) from error
            log.debug("a client is gone: %s", error)
        finally:
            self._socket.close()
