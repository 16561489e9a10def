"""One connection to a port of a pod, through the API server: port-forward over a WebSocket.

The protocol is that of Kubernetes' streaming, ``v4.channel.k8s.io``: the first byte of each message says whether it is
data (0) or what went wrong (1), and the first message of each of these channels holds the port's number. The WebSocket
is that of websocket-client, as the ``kubernetes`` package has it; the package's own port-forward drops impersonation,
waits without end for a pod that does not answer, and adds a pair of sockets and a thread to each connection.
(Kubernetes: staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward.)
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from k8slan_cli.kube import stream
from k8slan_cli.kube.apply import Cluster
from k8slan_cli.kube.client import ApiError, reason
from k8slan_cli.kube.kinds import PODS

if TYPE_CHECKING:
    from websocket import WebSocket

_DATA, _ERROR = 0, 1
_PORT_BYTES = 2
_PING_SECONDS = 20.0
"""A connection that is silent for long is cut off by many a proxy on the way."""


class Forward:
    """A connection to a pod's port. It has what diagnose/client.py wants of a ``Wire``."""

    def __init__(self, connected: WebSocket) -> None:
        self._connected = connected
        self._closed = threading.Event()
        self._begun: set[int] = set()
        self._trouble = ""
        threading.Thread(target=self._keep_alive, name="port-forward", daemon=True).start()

    def send(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises:
            ApiError: the connection has broken.

        """
        from websocket import WebSocketException

        try:
            self._connected.send_binary(bytes([_DATA]) + data)
        except (WebSocketException, OSError) as error:
            raise ApiError(f"the connection to the pod has broken: {reason(error)}") from error

    def receive(self) -> bytes:
        """Receive at least one byte; empty at the end.

        Raises:
            ApiError: the connection broke, or nothing listens on the port.

        """
        while message := self._message():
            channel, data = message[0], message[1:]
            if channel not in self._begun:
                self._begun.add(channel)
                data = data[_PORT_BYTES:]
            if channel == _DATA and data:
                return data
            if channel == _ERROR and data:
                self._trouble = " ".join(data.decode(errors="replace").split())
        if self._trouble:
            raise ApiError(self._trouble)
        return b""

    def _message(self) -> bytes:
        """The next message, empty at the end."""
        from websocket import ABNF, WebSocketConnectionClosedException, WebSocketException

        try:
            kind, data = self._connected.recv_data()
        except WebSocketConnectionClosedException:
            return b""
        except (WebSocketException, OSError, ValueError) as error:
            if self._closed.is_set():
                return b""
            raise ApiError(f"the connection to the pod has broken: {reason(error)}") from error
        return b"" if kind == ABNF.OPCODE_CLOSE else bytes(data)

    def close(self) -> None:
        """Give it up; a ``receive`` that waits in another thread ends."""
        from websocket import WebSocketException

        if self._closed.is_set():
            return
        self._closed.set()
        with contextlib.suppress(WebSocketException, OSError):
            self._connected.send_close()
        with contextlib.suppress(OSError, AttributeError):  # the other side may have closed it just now
            self._connected.sock.shutdown(socket.SHUT_RDWR)
        self._connected.shutdown()

    def _keep_alive(self) -> None:
        from websocket import WebSocketException

        with contextlib.suppress(WebSocketException, OSError):
            while not self._closed.wait(_PING_SECONDS):
                self._connected.ping()


def forward(cluster: Cluster, namespace: str, pod: str, port: int, seconds: float = 15) -> Forward:
    """Connect to a port of a pod, on its loopback address.

    Raises:
        MissingError: the API server does not answer, or this user may not do that.
        ApiError: there is no such pod, or it cannot be reached.

    """
    connected = stream.connect(
        cluster,
        f"{PODS.path(namespace, pod, 'portforward')}?ports={port}",
        ("v4.channel.k8s.io",),
        what=f"port-forward to pod {namespace}/{pod}",
        seconds=seconds,
    )
    return Forward(connected)
