"""``k8slan cni``: the CNI executable in Python, for hosts that have it and for people who debug.

It does what ``cni_plugins/forwarder.c`` does, byte for byte on the socket, and one test suite runs both; the protocol
is described in ``cni/wire.py``. As a runtime starts it for every pod, only what every call needs is imported at the
top, and ``__main__`` comes here without a look at any other command.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import struct
import sys
import time
from collections.abc import Mapping

from k8slan_cli.cni import wire
from k8slan_cli.errors import CniError

_DEFAULT_RUN_DIR = "/run/k8slan"
_LOOK_HERE = "see whether the agent runs on this node: kubectl -n k8slan-system get pods -o wide"
_SECONDS = {"ADD": 60.0, "DEL": 20.0, "CHECK": 60.0, "GC": 60.0, "STATUS": 60.0, "VERSION": 60.0}
_MAX_SOCKET_PATH = 107  # sun_path of unix(7), without its NUL
_CHUNK = 256 << 10


def main(environ: Mapping[str, str] | None = None, stdin: int = 0, stdout: int = 1) -> int:
    """Answer one CNI call; ``stdin`` and ``stdout`` are file descriptors. Returns the exit status."""
    environ = os.environ if environ is None else environ
    config = b""
    try:
        verb = environ.get("CNI_COMMAND", "")
        if verb not in _SECONDS:
            said = verb[:64] or "not set"
            raise CniError(
                wire.INVALID_ENVIRONMENT,
                f"CNI_COMMAND is {said}: expected ADD, DEL, CHECK, GC, STATUS or VERSION",
            )
        deadline = time.monotonic() + (_wished_seconds(environ) or _SECONDS[verb])
        config = _read_all(stdin, deadline)
        payload = wire.encode_payload(environ, config)
        status, body = (0, _versions(config)) if verb == "VERSION" else _call(verb, environ, payload, deadline)
    except CniError as error:
        status, body = 1, _error(error, config)
    try:
        while body:
            body = body[os.write(stdout, body) :]
    except OSError:  # the agent has stopped listening
        return 1
    return status


def _wished_seconds(environ: Mapping[str, str]) -> float:
    """``K8SLAN_TIMEOUT``, or 0 where it is not set or makes no sense."""
    try:
        seconds = float(environ.get("K8SLAN_TIMEOUT", ""))
    except ValueError:
        return 0.0
    return seconds if 0 < seconds < 86400 else 0.0


def _read_all(fd: int, deadline: float) -> bytes:
    """Everything up to the end of a descriptor, or one byte more than a client takes."""
    data = b""
    try:
        while len(data) <= wire.MAX_STDIN:
            ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise CniError(wire.IO_FAILURE, "cannot read the configuration from stdin: it does not end")
            piece = os.read(fd, wire.MAX_STDIN + 1 - len(data))
            if not piece:
                break
            data += piece
    except OSError as error:
        raise CniError(wire.IO_FAILURE, f"cannot read the configuration from stdin: {_reason(error)}") from None
    return data


def _call(verb: str, environ: Mapping[str, str], payload: bytes, deadline: float) -> tuple[int, bytes]:
    """The agent's answer, or what is to be said when there is none.

    Raises:
        CniError: 11 or 50 when there is no answer, 5 when a DEL cannot even be left for later.

    """
    run_dir = environ.get("K8SLAN_RUN_DIR") or _DEFAULT_RUN_DIR
    path = f"{run_dir}/agent/cni.sock"
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise CniError(wire.INVALID_ENVIRONMENT, "K8SLAN_RUN_DIR is too long for the path of a socket")
    netns = _open(environ.get("CNI_NETNS", ""))
    try:
        return _exchange(path, payload, netns, wire.AnswerDecoder(mute=verb != "ADD"), deadline)
    except (OSError, ValueError) as error:
        trouble = f"no answer from k8slan's agent at {path}"
        reason = _reason(error)
    finally:
        if netns is not None:
            os.close(netns)
    if verb != "DEL":
        code = wire.NOT_AVAILABLE if verb == "STATUS" else wire.TRY_AGAIN
        raise CniError(code, f"{trouble}: {reason}", _LOOK_HERE)
    try:
        _spool(run_dir, payload)
    except OSError as error:
        text = f"{trouble} ({reason}), nor can this wait in {run_dir}/spool: {_reason(error)}"
        raise CniError(wire.IO_FAILURE, text, _LOOK_HERE) from None
    return 0, b""


def _open(netns: str) -> int | None:
    """A descriptor of the namespace, or None: whether it is needed is for the agent to say."""
    try:
        return os.open(netns, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if netns else None
    except (OSError, ValueError):
        return None


def _exchange(
    path: str, payload: bytes, netns: int | None, decoder: wire.AnswerDecoder, deadline: float
) -> tuple[int, bytes]:
    """One request and its answer, all of it before the deadline.

    Raises:
        OSError: the agent cannot be reached, or went away, or took too long.
        ValueError: what it sent is not an answer.

    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        # A connect to a full queue waits in the kernel only, and only as long as this says.
        agent.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(_left(deadline)))
        agent.connect(path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # if it hangs up early, it may say why
            _send(agent, wire.encode_request(payload), netns, deadline)
        while True:
            agent.settimeout(_left(deadline))
            piece = agent.recv(_CHUNK)
            if not piece:
                raise ConnectionError("it hung up before its answer was complete")
            answer = decoder.feed(piece)
            if answer is not None:
                return answer


def _send(agent: socket.socket, request: bytes, netns: int | None, deadline: float) -> None:
    """Send a request; the namespace's descriptor travels with its first byte."""
    agent.settimeout(_left(deadline))
    sent = agent.send(request) if netns is None else socket.send_fds(agent, [request], [netns])
    while sent < len(request):
        agent.settimeout(_left(deadline))
        sent += agent.send(memoryview(request)[sent:])


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000) or 1)


def _spool(run_dir: str, payload: bytes) -> None:
    """Leave a request where the agent finds it when it is there: written aside, then renamed.

    Raises:
        OSError: there is no room, or no folder of the agent's and none can be made.

    """
    name = f"del-{os.urandom(8).hex()}"
    with contextlib.ExitStack() as opened:
        folder: int | None = None
        for part, mode in ((run_dir, 0o755), ("spool", 0o700)):
            folder = _enter(folder, part, mode)
            opened.callback(os.close, folder)
        fd = os.open(f".{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(payload)
            os.rename(f".{name}", name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f".{name}", dir_fd=folder)
            raise


def _enter(parent: int | None, name: str, mode: int) -> int:
    """Open a folder of the agent's below another, or make it: after a boot the first DELs come before the agent does.

    Raises:
        OSError: it cannot be had, or another user could change it.

    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=parent)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    found = os.fstat(fd)
    if found.st_uid == os.geteuid() and (not found.st_mode & 0o022 or found.st_mode & stat.S_ISVTX):
        return fd
    os.close(fd)
    raise PermissionError(errno.EPERM, "it or its parent belongs to another user, or others may write to it: remove it")


def _versions(config: bytes) -> bytes:
    from k8slan_cli.cni import result, versions

    return result.to_json(result.encode_versions(versions.asked(config)))


def _error(error: CniError, config: bytes) -> bytes:
    from k8slan_cli.cni import result, versions

    return result.to_json(result.encode_error(error, versions.asked(config)))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


if __name__ == "__main__":
    sys.exit(main())
