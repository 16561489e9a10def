"""An agent for tests of the CNI clients: a thread behind a real socket that records requests and answers by a script.

::

    with FakeAgent(run_dir, answers(0, b'{"cniVersion":"1.0.0"}')) as agent:
        ... call a client ...
        received = agent.next()

It shares no code with the project's wire module, so that the two can be held against each other.
"""

from __future__ import annotations

import array
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SECONDS = 30.0
"""Deadline of every wait; nothing takes as long unless it hangs."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request: what its header said, the payload, and the descriptors that came with its first byte."""

    magic: bytes
    payload: bytes
    netns: tuple[int, int] | None
    """Device and inode of the descriptor that came."""

    @property
    def variables(self) -> dict[str, str]:
        """The environment in the payload."""
        head, _, _ = self.payload.partition(b"\0\0")
        pairs = (entry.decode().partition("=") for entry in head.split(b"\0") if entry)
        return {name: value for name, _, value in pairs}

    @property
    def stdin(self) -> bytes:
        """What the client read from stdin."""
        return self.payload.partition(b"\0\0")[2]


Script = Callable[[socket.socket, threading.Event], None]
"""What to do once a request has come; the event is set when the test is over."""


def answers(status: int, body: bytes) -> Script:
    """Answer as the protocol says."""
    return sends(struct.pack(">IB", len(body) + 1, status) + body)


def sends(data: bytes) -> Script:
    """Send these bytes, whatever they are, and hang up."""

    def script(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(data)

    return script


def hangs(data: bytes = b"") -> Script:
    """Send these bytes and never anything again, with the connection open."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(data)
        over.wait(SECONDS)

    return script


def dribbles(data: bytes, pause: float) -> Script:
    """Send byte after byte with a pause between them."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        for byte in data:
            connection.sendall(bytes([byte]))
            if over.wait(pause):
                return

    return script


class FakeAgent:
    """Listens at ``<run_dir>/agent/cni.sock`` for the length of a block; connections are served one after the other.

    With ``reads`` false it runs its script without having read a byte of the request.
    """

    def __init__(self, run_dir: Path, script: Script, *, reads: bool = True) -> None:
        self._script = script
        self._reads = reads
        self._received: queue.Queue[Received] = queue.Queue()
        self._over = threading.Event()
        self._path = run_dir / "agent" / "cni.sock"
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve, name="fake agent")

    def __enter__(self) -> Self:
        self._listener.bind(str(self._path))
        self._listener.listen(16)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._thread.join(SECONDS)
        self._listener.close()
        self._path.unlink()
        assert not self._thread.is_alive(), "the fake agent does not end"

    def next(self) -> Received:
        """The next request that has come."""
        return self._received.get(timeout=SECONDS)

    @property
    def idle(self) -> bool:
        """Whether every request has been looked at."""
        return self._received.empty()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(SECONDS)
                try:
                    if self._reads:
                        self._received.put(_receive(connection))
                    self._script(connection, self._over)
                except (BrokenPipeError, ConnectionResetError):
                    continue  # the client had enough


def _receive(connection: socket.socket) -> Received:
    """Read one request: its header in one piece with the descriptor, then what the header announces."""
    room = socket.CMSG_SPACE(4 * array.array("i").itemsize)
    data, ancillary, _, _ = connection.recvmsg(1 << 16, room)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        descriptors.frombytes(content)
    try:
        assert len(descriptors) <= 1, "more than one descriptor came"
        there = [os.fstat(descriptor) for descriptor in descriptors]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    while len(data) < 8 or len(data) < 8 + struct.unpack(">I", data[4:8])[0]:
        piece = connection.recv(1 << 16)
        assert piece, "the client hung up within its request"
        data += piece
    return Received(
        magic=data[:4],
        payload=data[8:],
        netns=(there[0].st_dev, there[0].st_ino) if there else None,
    )
