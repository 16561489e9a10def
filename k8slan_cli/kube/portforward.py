"""One connection to a port of a pod, through the API server: port-forward over a WebSocket.

The protocol is that of Kubernetes' streaming, ``v4.channel.k8s.io``: the first byte of each message says whether it is
data (0) or what went wrong (1), and the first message of each of these channels holds the port's number. It is a
few lines over the connection that commands have anyway; the ``kubernetes`` package does it with two more packages and a
third of a second at start. (RFC 6455; Kubernetes: staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward.)
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import socket
import struct
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from k8slan_cli.kube.apply import FIELD_MANAGER, POD, Cluster, ClusterError, MissingError, refusal
from k8slan_cli.kube.connection import Connection

_PROTOCOL = "v4.channel.k8s.io"
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_CONTINUED, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FINAL, _MASKED = 0x80, 0x80
_DATA, _ERROR = 0, 1
_PORT_BYTES = 2
_MAX_MESSAGE = 64 << 20
_PING_SECONDS = 20.0
"""A connection that is silent for long is cut off by many a proxy on the way."""


class Forward:
    """A connection to a pod's port. It has what operate/client.py wants of a ``Wire``."""

    def __init__(self, connected: socket.socket, response: http.client.HTTPResponse) -> None:
        self._socket = connected
        self._response = response
        self._file = response.fp
        self._sending = threading.Lock()
        self._closed = threading.Event()
        self._begun: set[int] = set()
        self._trouble = ""
        self._socket.settimeout(None)
        for option, value in ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
            self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        threading.Thread(target=self._keep_alive, name="port-forward", daemon=True).start()

    def send(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises:
            ClusterError: the connection has broken.

        """
        self._send(_BINARY, bytes([_DATA]) + data)

    def receive(self) -> bytes:
        """What has come, at least a byte of it; nothing at the end.

        Raises:
            ClusterError: the connection has broken, or nobody listens at the port.

        """
        while True:
            found = self._message()
            if found is None:
                if self._trouble:
                    raise ClusterError(self._trouble)
                return b""
            channel, data = found
            if channel not in self._begun:
                self._begun.add(channel)
                data = data[_PORT_BYTES:]
            if channel == _DATA and data:
                return data
            if channel == _ERROR and data:
                self._trouble = " ".join(data.decode(errors="replace").split())

    def close(self) -> None:
        """Give it up; a ``receive`` that waits in another thread ends."""
        if self._closed.is_set():
            return
        self._closed.set()
        with contextlib.suppress(ClusterError):
            self._send(_CLOSE, struct.pack(">H", 1000))
        _close(self._socket, self._response)

    def _keep_alive(self) -> None:
        with contextlib.suppress(ClusterError):
            while not self._closed.wait(_PING_SECONDS):
                self._send(_PING, b"")

    # ------------------------------------------------------------ WebSocket

    def _send(self, kind: int, data: bytes) -> None:
        length = len(data)
        if length < 126:
            head = struct.pack(">BB", _FINAL | kind, _MASKED | length)
        elif length < 1 << 16:
            head = struct.pack(">BBH", _FINAL | kind, _MASKED | 126, length)
        else:
            head = struct.pack(">BBQ", _FINAL | kind, _MASKED | 127, length)
        key = os.urandom(4)
        mask = int.from_bytes((key * (length // 4 + 1))[:length], "big")
        masked = (int.from_bytes(data, "big") ^ mask).to_bytes(length, "big")
        try:
            with self._sending:
                self._socket.sendall(head + key + masked)
        except OSError as error:
            raise ClusterError(f"the connection to the pod has broken: {error.strerror or error}") from error

    def _message(self) -> tuple[int, bytes] | None:
        """A message's channel and the rest of it; None at the end."""
        parts: list[bytes] = []
        for final, kind, data in self._frames():
            if kind == _CLOSE:
                return None
            if kind == _PING:
                with contextlib.suppress(ClusterError):
                    self._send(_PONG, data)
            elif kind in (_CONTINUED, _TEXT, _BINARY):
                parts.append(data)
                if final and (message := b"".join(parts)):
                    return message[0], message[1:]
        return None

    def _frames(self) -> Iterator[tuple[bool, int, bytes]]:
        while (head := self._read(2)) is not None:
            length = head[1] & 0x7F
            if length >= 126:
                layout = ">H" if length == 126 else ">Q"
                more = self._read(struct.calcsize(layout))
                if more is None:
                    return
                (length,) = struct.unpack(layout, more)
            if length > _MAX_MESSAGE or head[1] & _MASKED:
                raise ClusterError("what comes through the port-forward is no WebSocket")
            data = self._read(length)
            if data is None:
                return
            yield bool(head[0] & _FINAL), head[0] & 0x0F, data

    def _read(self, length: int) -> bytes | None:
        """So many bytes; None if the connection ends before."""
        try:
            data = self._file.read(length) if length else b""
        except (OSError, ValueError) as error:  # ValueError: it was closed here
            if self._closed.is_set():
                return None
            words = getattr(error, "strerror", None) or str(error)
            raise ClusterError(f"the connection to the pod has broken: {words}") from error
        return data if len(data) == length else None


def forward(cluster: Cluster, namespace: str, pod: str, port: int, seconds: float = 15) -> Forward:
    """Connect to a port of a pod, on its loopback address.

    Raises:
        MissingError: the API server does not answer, or this user may not do that.
        ClusterError: there is no such pod, or it cannot be reached.

    """
    access = cluster.access
    connection = Connection(access)
    made = connection.open(seconds)
    key = base64.b64encode(os.urandom(16)).decode()
    server = urlsplit(access.url)
    headers = {
        "Host": server.netloc,
        "User-Agent": FIELD_MANAGER,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": _PROTOCOL,
    }
    first = f"GET {server.path}{POD.path(namespace, pod)}/portforward?ports={port} HTTP/1.1"
    lines = [first, *(f"{name}: {value}" for name, value in (*access.headers, *headers.items())), "", ""]
    try:
        made.connect()
    except (OSError, http.client.HTTPException) as error:
        raise connection.lost(error) from error
    # Only connecting is http.client's business: what follows the head of the answer is none of HTTP.
    sock, made.sock = made.sock, None
    response = http.client.HTTPResponse(sock, method="GET")
    try:
        sock.sendall("\r\n".join(lines).encode("latin-1"))
        response.begin()
        if response.status != 101:
            raise refusal(response.status, response.read(), f"port-forward to pod {namespace}/{pod}")
        if response.headers.get("Sec-WebSocket-Accept") != _accepted(key):
            words = "what answers for the API server does not speak WebSocket"
            raise MissingError(words, hint="is a proxy on the way?")
    except (OSError, http.client.HTTPException) as error:
        _close(sock, response)
        raise connection.lost(error) from error
    except ClusterError:
        _close(sock, response)
        raise
    return Forward(sock, response)


def _accepted(key: str) -> str:
    """What a server answers to a key (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(f"{key}{_ACCEPT}".encode(), usedforsecurity=False).digest()).decode()


def _close(sock: socket.socket, response: http.client.HTTPResponse) -> None:
    with contextlib.suppress(OSError):  # what waits in another thread ends by this, and only then can be closed
        sock.shutdown(socket.SHUT_RDWR)
    response.close()
    sock.close()
