"""gRPC over HTTP/2 on unix sockets, as much of it as the device plugin API needs. The HTTP/2 is the library h2's.

Server: unary calls, and streams that send when there is something to send. Client: unary calls, any number over one
connection. See the gRPC project's "gRPC over HTTP2" for the framing: each message has a byte for compression
(always 0 here) and four for its length; the outcome travels in trailers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from urllib.parse import quote, unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from k8slan_cli.errors import K8slanError

log = logging.getLogger(__name__)

OK, UNKNOWN, INVALID_ARGUMENT, UNIMPLEMENTED, UNAVAILABLE = 0, 2, 3, 12, 14
_MAX_MESSAGE = 1 << 20

Headers = list[tuple[bytes, bytes]]


class RpcError(K8slanError):
    """A call that failed, with its gRPC status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Stream:
    """A call whose answers come over time: ``send`` one whenever there is one."""

    def __init__(self, connection: ServerConnection, stream_id: int) -> None:
        self._connection = connection
        self._id = stream_id

    def send(self, message: bytes) -> None:
        """Send one answer."""
        self._connection.send_message(self._id, message)


class Service:
    """What a server answers. Subclasses say what the calls mean; paths are ``/package.Service/Method``."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self.connections: set[ServerConnection] = set()

    async def listen(self, path: Path) -> None:
        """Serve on the unix socket ``path``, in place of a socket that is there."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: ServerConnection(self), str(path))

    def close(self) -> None:
        """Serve no more: streams are ended properly, then clients disconnected."""
        if self._server:
            self._server.close()
        for connection in tuple(self.connections):
            connection.end()

    async def call(self, path: str, _request: bytes) -> bytes:
        """Answer a unary call.

        Raises:
            RpcError: with the status to answer.

        """
        raise RpcError(UNIMPLEMENTED, f"there is no {path}")

    def is_stream(self, _path: str) -> bool:
        """Whether a call is a stream of answers."""
        return False

    def opened(self, stream: Stream) -> None:
        """A client has begun such a call."""

    def closed(self, stream: Stream) -> None:
        """It has ended."""


def _frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _message(data: bytes) -> bytes:
    if len(data) < 5 or data[0] or int.from_bytes(data[1:5], "big") != len(data) - 5:
        raise RpcError(INVALID_ARGUMENT, "the call does not hold one uncompressed message")
    return data[5:]


class _Connection(asyncio.Protocol):
    """One HTTP/2 connection: bytes in, events to ``on_event``, bytes out."""

    def __init__(self, *, client: bool) -> None:
        config = H2Configuration(client_side=client, header_encoding=None, validate_inbound_headers=False)
        self._h2 = H2Connection(config)
        self._bodies: dict[int, bytearray] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio promises it for stream sockets
        self._transport = transport
        self._h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            for event in self._h2.receive_data(data):
                if isinstance(event, DataReceived):
                    self._take(event)
                elif isinstance(event, ConnectionTerminated):
                    self.close()
                else:
                    self.on_event(event)
        except ProtocolError as error:
            log.debug("a gRPC peer broke HTTP/2: %s", error)
            self.close()
        self.flush()

    def _take(self, event: DataReceived) -> None:
        body = self._bodies.setdefault(event.stream_id, bytearray())
        body += event.data
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if len(body) > _MAX_MESSAGE:
            self._h2.reset_stream(event.stream_id, ErrorCodes.ENHANCE_YOUR_CALM)
            del self._bodies[event.stream_id]

    def flush(self) -> None:
        """Send what h2 has ready."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(self._h2.data_to_send())

    def close(self) -> None:
        """Close the socket."""
        if self._transport:
            self._transport.close()

    def on_event(self, event: Event) -> None:
        """Whatever h2 tells beside data."""
        raise NotImplementedError


class ServerConnection(_Connection):
    """A client's connection to a service."""

    def __init__(self, service: Service) -> None:
        super().__init__(client=False)
        self._service = service
        service.connections.add(self)
        self._paths: dict[int, str] = {}
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def on_event(self, event: Event) -> None:
        """A call begins, is complete, or is given up."""
        if isinstance(event, RequestReceived):
            self._paths[event.stream_id or 0] = dict(event.headers or ()).get(b":path", b"").decode(errors="replace")
        elif isinstance(event, StreamEnded):
            self._begin(event.stream_id)
        elif isinstance(event, StreamReset):
            self._drop(event.stream_id)

    def _begin(self, stream_id: int) -> None:
        path, body = self._paths.pop(stream_id, ""), bytes(self._bodies.pop(stream_id, b""))
        if self._service.is_stream(path):
            self._start(stream_id)
            stream = self._streams[stream_id] = Stream(self, stream_id)
            self._service.opened(stream)
            return
        task = asyncio.get_running_loop().create_task(self._answer(stream_id, path, body), name=f"gRPC {path}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, stream_id: int, path: str, body: bytes) -> None:
        try:
            answer = await self._service.call(path, _message(body))
        except K8slanError as error:
            status = error.status if isinstance(error, RpcError) else UNKNOWN
            log.warning("gRPC %s is answered with status %d: %s", path, status, error)
            self._start(stream_id)
            self.finish(stream_id, status, str(error))
        else:
            self._start(stream_id)
            self.send_message(stream_id, answer)
            self.finish(stream_id)

    def _start(self, stream_id: int) -> None:
        with contextlib.suppress(ProtocolError):  # a client that has gone takes no answer
            self._h2.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])

    def send_message(self, stream_id: int, message: bytes) -> None:
        """One answer."""
        with contextlib.suppress(ProtocolError):
            self._h2.send_data(stream_id, _frame(message))
        self.flush()

    def finish(self, stream_id: int, status: int = OK, message: str = "") -> None:
        """The outcome, and the end of the call."""
        with contextlib.suppress(ProtocolError):
            trailers = [("grpc-status", str(status)), ("grpc-message", quote(message, safe=" "))]
            self._h2.send_headers(stream_id, trailers, end_stream=True)
        self.flush()

    def end(self) -> None:
        """End every stream, and the connection."""
        for stream_id in list(self._streams):
            self.finish(stream_id)
        self.close()

    def _drop(self, stream_id: int) -> None:
        self._paths.pop(stream_id, None)
        self._bodies.pop(stream_id, None)
        stream = self._streams.pop(stream_id, None)
        if stream:
            self._service.closed(stream)

    def connection_lost(self, _error: Exception | None) -> None:
        """The client has gone, and with it its calls."""
        self._service.connections.discard(self)
        for stream_id in list(self._streams):
            self._drop(stream_id)


class Client(_Connection):
    """A connection to a gRPC server. Make one with ``connect``."""

    def __init__(self) -> None:
        super().__init__(client=True)
        self._calls: dict[int, tuple[asyncio.Future[bytes], dict[bytes, bytes]]] = {}

    async def call(self, path: str, request: bytes) -> bytes:
        """A unary call.

        Raises:
            RpcError: it failed, or the connection did.

        """
        if self._transport is None or self._transport.is_closing():
            raise RpcError(UNAVAILABLE, f"{path}: the connection is closed")
        stream_id = self._h2.get_next_available_stream_id()
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[stream_id] = (future, {})
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._h2.send_headers(stream_id, headers)
        self._h2.send_data(stream_id, _frame(request), end_stream=True)
        self.flush()
        try:
            return await future
        finally:
            self._calls.pop(stream_id, None)

    def on_event(self, event: Event) -> None:
        """Headers, trailers and the end of answers."""
        if isinstance(event, ResponseReceived | TrailersReceived):
            if call := self._calls.get(event.stream_id or 0):
                call[1].update(event.headers or ())
        elif isinstance(event, StreamEnded):
            self._end(event.stream_id)
        elif isinstance(event, StreamReset):
            self._fail(event.stream_id, "the call was reset")

    def _end(self, stream_id: int) -> None:
        body = bytes(self._bodies.pop(stream_id, b""))
        future, headers = self._calls.get(stream_id, (None, {}))
        if future is None or future.done():
            return
        status = headers.get(b"grpc-status", b"2").decode()
        if status != "0":
            words = unquote(headers.get(b"grpc-message", b"").decode(errors="replace"))
            future.set_exception(RpcError(int(status) if status.isdigit() else UNKNOWN, words or f"status {status}"))
            return
        try:
            future.set_result(_message(body))
        except RpcError as error:
            future.set_exception(error)

    def _fail(self, stream_id: int, why: str) -> None:
        future, _ = self._calls.get(stream_id, (None, {}))
        if future and not future.done():
            future.set_exception(RpcError(UNAVAILABLE, why))

    def connection_lost(self, _error: Exception | None) -> None:
        """The server has gone: every call fails."""
        for stream_id in list(self._calls):
            self._fail(stream_id, "the connection was lost")


async def connect(path: Path) -> Client:
    """Connect to the gRPC server on a unix socket.

    Raises:
        OSError: nobody listens there.

    """
    _, client = await asyncio.get_running_loop().create_unix_connection(Client, str(path))
    return client
