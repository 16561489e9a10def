"""A command in a pod's container, through the API server: what it prints, and how it ended. No terminal.

The protocol is that of Kubernetes' streaming, ``v5.channel.k8s.io``: the first byte of each message says whether it is
standard input (0), output (1), errors (2) or the end (3), a Status as JSON; 255 closes the channel that follows.
(Kubernetes: staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from k8slan_cli.kube import stream
from k8slan_cli.kube.apply import Cluster
from k8slan_cli.kube.client import ApiError, reason
from k8slan_cli.kube.kinds import PODS

if TYPE_CHECKING:
    from websocket import WebSocket

_IN, _OUT, _ERR, _END, _CLOSE = 0, 1, 2, 3, 255
_PIECE = 1 << 16
Sink = Callable[[bytes], object]


def run(
    cluster: Cluster,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    *,
    stdout: Sink,
    stderr: Sink,
    stdin: bytes | None = None,
    seconds: float = 15,
) -> int:
    """Run a command to its end and return its exit status; ``seconds`` is how long it may take to start.

    Raises:
        MissingError: the API server does not answer, or this user may not do that.
        ApiError: there is no such pod or container, the command cannot be started, or the connection has broken.

    """
    asked = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", word) for word in command)]
    if stdin is not None:
        asked.append(("stdin", "true"))
    path = f"{PODS.path(namespace, pod, 'exec')}?{urlencode(asked)}"
    protocols = ("v5.channel.k8s.io",)
    connected = stream.connect(cluster, path, protocols, what=f"exec in pod {namespace}/{pod}", seconds=seconds)
    try:
        return _talk(connected, stdin, stdout, stderr)
    finally:
        connected.shutdown()


def _talk(connected: WebSocket, stdin: bytes | None, stdout: Sink, stderr: Sink) -> int:
    if stdin is not None:
        pieces = [bytes([_IN]) + stdin[start : start + _PIECE] for start in range(0, len(stdin), _PIECE)]
        for piece in (*pieces, bytes([_CLOSE, _IN])):
            _attempt(connected.send_binary, piece)
    while True:
        data = _message(connected)
        channel, rest = data[0], data[1:]
        if channel == _OUT:
            stdout(rest)
        elif channel == _ERR:
            stderr(rest)
        elif channel == _END:
            return ended(rest)


def _message(connected: WebSocket) -> bytes:
    """The next message that is not empty."""
    from websocket import ABNF

    data = b""
    while not data:
        kind, data = _attempt(connected.recv_data)
        if kind == ABNF.OPCODE_CLOSE:
            raise ApiError("the connection to the pod ended before the command did")
    return bytes(data)


def _attempt(act: Callable[..., Any], *given: object) -> Any:
    from websocket import WebSocketException

    try:
        return act(*given)
    except (WebSocketException, OSError) as error:
        raise ApiError(f"the connection to the pod has broken: {reason(error)}") from error


def ended(status: bytes) -> int:
    """Return the exit status that the end of a command tells.

    Raises:
        ApiError: it could not be run.

    """
    try:
        found = json.loads(status)
        if found.get("status") == "Success":
            return 0
        for cause in (found.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
        message = str(found.get("message") or "")
    except (ValueError, AttributeError, KeyError, TypeError):
        message = status.decode(errors="replace")
    raise ApiError(message or "the command could not be run")
