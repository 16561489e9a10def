"""The CNI server: requests of the CNI clients on a unix socket, answered as the CNI spec has it.

The protocol is in cni/wire.py, what a request does in attach.py. Here are the socket and its bounds: only root (or the
agent's own user) may ask, a request has a size and a time, a broken one ends its connection and nothing else. This is
one edge of the project: every error becomes a CNI error object here, and only here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from k8slan_cli import limits
from k8slan_cli.agent.attach import Attacher
from k8slan_cli.cni import request as cni
from k8slan_cli.cni import result, versions, wire
from k8slan_cli.errors import CniError, Invalid, K8slanError, KernelError, StoreError, UnderlayMissing

log = logging.getLogger(__name__)

_REQUEST_SECONDS = 10.0
"""How long a client may take to state its request, and to take its answer."""
_PAUSE_SECONDS = 0.5
_CLOSE_SECONDS = 5.0
"""How long requests may go on once the agent is to end; a kubelet gives it 30 s."""
_CONNECTIONS = 512
_CHUNK = 256 << 10
_MAX_SOCKET_PATH = 107  # unix(7)


class CniServer:
    """Serves one socket. ``on_answer`` is told verb, CNI error code (0: none) and seconds of every request."""

    def __init__(self, path: Path, attacher: Attacher, on_answer: Callable[[str, int, float], None]) -> None:
        self.path = path
        self._attacher = attacher
        self._on_answer = on_answer
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        # Bound aside and renamed: a client finds the old socket or the new one, and the new one is listening.
        aside = path.with_name(f".{path.name}.new")
        if len(os.fsencode(aside)) > _MAX_SOCKET_PATH:
            raise K8slanError(
                f"{path.parent.parent} is too long for the path of a socket", hint="choose another --run-dir"
            )
        aside.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._listening.bind(str(aside))
        finally:
            os.umask(before)
        self._listening.listen(_CONNECTIONS)
        aside.replace(path)

    async def serve(self) -> None:
        """Accept clients until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._slots.acquire()
            try:
                client, _ = await loop.sock_accept(self._listening)
            except OSError as error:  # no descriptor left, for one; meanwhile clients wait in the queue
                log.error("cannot take a CNI client: %s", limits.shortage(error) or error.strerror)
                self._slots.release()
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            task = loop.create_task(self._converse(client), name="cni client")
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()):
            log.error("a CNI request ended in a fault of the agent", exc_info=error)

    async def close(self) -> None:
        """Take no more clients, and let those that are served be served; an ADD that takes long is undone."""
        self._listening.close()
        if self._tasks:
            _, slow = await asyncio.wait(self._tasks, timeout=_CLOSE_SECONDS)
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

    async def _converse(self, client: socket.socket) -> None:
        started = time.monotonic()
        with client:
            client.setblocking(False)
            descriptor: int | None = None
            verb, version, code = "?", versions.NEWEST, 0
            try:
                _check_peer(client)
                payload, descriptor = await _receive_in_time(client)
                if payload is None:
                    return
                environ, stdin = wire.decode_payload(payload)
                verb, version = _verb(environ.get("CNI_COMMAND", "")), versions.asked(stdin)
                body = await self._answer(cni.parse(environ, stdin), descriptor)
                answer = wire.encode_answer(0, body)
            except (K8slanError, OSError, MemoryError, RuntimeError) as error:
                known = error if isinstance(error, K8slanError | OSError) else limits.shortage(error)
                if known is None:
                    raise
                problem = to_cni_error(known)
                code = problem.code
                log.warning("%s is answered with error %d: %s", verb, code, " ".join(str(problem).split()))
                answer = wire.encode_answer(1, result.to_json(result.encode_error(problem, version)))
            finally:
                if descriptor is not None:
                    os.close(descriptor)
            with contextlib.suppress(OSError, TimeoutError):  # a client that has gone takes no answer
                async with asyncio.timeout(_REQUEST_SECONDS):
                    await asyncio.get_running_loop().sock_sendall(client, answer)
        self._on_answer(verb, code, time.monotonic() - started)

    async def _answer(self, request: cni.Request, descriptor: int | None) -> bytes:
        attacher = self._attacher
        match request:
            case cni.Add():
                made = await attacher.add(request, descriptor)
                return result.to_json(result.encode(made, request.config.version))
            case cni.Del():
                await attacher.delete(request)
            case cni.Check():
                await attacher.check(request, descriptor)
            case cni.Status():
                await attacher.status(request)
            case cni.Gc():
                await attacher.collect(request)
            case cni.Version():
                return result.to_json(result.encode_versions(request.version))
        return b""


def _verb(text: str) -> str:
    """A request's verb for log and metrics, where only those that there are have a place."""
    return text if text in ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION") else "?"


def to_cni_error(error: K8slanError | OSError) -> CniError:
    """Any error of k8slan as a CNI error object (CNI spec 1.1.0, "Error")."""
    match error:
        case CniError():
            return error
        case UnderlayMissing():
            return CniError(wire.TRY_AGAIN, error.message, error.hint)
        case KernelError():
            return CniError(wire.KERNEL_REFUSED, error.message, error.hint)
        case StoreError():
            return CniError(wire.IO_FAILURE, error.message, error.hint)
        case Invalid():
            return CniError(wire.INVALID_CONFIG, error.message, error.hint)
        case OSError():  # no descriptor or memory left
            return CniError(wire.IO_FAILURE, limits.describe(error), limits.advice(error))
    return CniError(wire.TRY_AGAIN, error.message, error.hint)


def _check_peer(client: socket.socket) -> None:
    """Root may ask, and whom the agent runs as. The socket's mode says the same; this holds if someone changes that."""
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    if uid not in (0, os.geteuid()):
        raise CniError(wire.INVALID_ENVIRONMENT, f"user {uid} may not ask k8slan's agent: only root may")


async def _receive_in_time(client: socket.socket) -> tuple[bytes | None, int | None]:
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            return await _receive(client)
    except TimeoutError:
        raise CniError(wire.DECODE_FAILURE, "the request did not come in time") from None


async def _receive(client: socket.socket) -> tuple[bytes | None, int | None]:
    """A request's payload and the descriptor that came with it; no payload if the client just hangs up.

    Raises:
        CniError: it is not a request.

    """
    decoder = wire.RequestDecoder()
    loop = asyncio.get_running_loop()
    descriptors: list[int] = []
    try:
        data = b""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(client, _CHUNK, 1, socket.MSG_CMSG_CLOEXEC)
                break
            except BlockingIOError:
                await _readable(client)
        payload = decoder.feed(data) if data else None
        while payload is None:
            if not data:
                return None, None
            data = await loop.sock_recv(client, _CHUNK)
            payload = decoder.feed(data) if data else None
        return payload, descriptors.pop() if descriptors else None
    finally:
        for fd in descriptors:
            os.close(fd)


async def _readable(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(client, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(client)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
