"""The only place where netlink sockets are opened: one for requests, one for listening, each in one namespace."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

from k8slan_cli.errors import KernelError
from k8slan_cli.net import netlink, netns
from k8slan_cli.net.netlink import Message, Reply

_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK, _ADD_MEMBERSHIP = 270, 11, 12, 1
_BUFFER = 1 << 18
_PIECE = 128
"""How many requests are sent at once: the kernel drops answers that the receive buffer has no room for."""
_RECEIVE_BUFFER, _LISTEN_BUFFER = 1 << 20, 1 << 20
_SO_RCVBUFFORCE = 33
_ANSWER_SECONDS = 10.0
"""How long an answer may take. The kernel answers within the request, so one that does not come then was dropped."""
_DUMPS = 10
"""How often a dump is begun anew because the kernel's list changed under it."""


def _open(fd: int | None) -> socket.socket:
    if fd is None:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    with netns.inside(fd):
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)


def _make_room(sock: socket.socket, size: int) -> None:
    """Give a socket a receive buffer of ``size`` bytes, or of as many as the node lets anybody have."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:  # it wants CAP_NET_ADMIN in the machine's own user namespace
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def open_packet(fd: int, protocol: int) -> socket.socket:
    """An AF_PACKET socket in the namespace of ``fd`` (packet(7)); the caller binds and closes it."""
    with netns.inside(fd):
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)


class Netlink:
    """A request socket in one namespace. Threads may share it; requests take turns."""

    def __init__(self, fd: int | None = None) -> None:
        """Open it in the namespace of ``fd``, or in the calling thread's."""
        self._socket = _open(fd)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._socket.settimeout(_ANSWER_SECONDS)
        _make_room(self._socket, _RECEIVE_BUFFER)
        self._sequence = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _turn(self, doing: str) -> Iterator[None]:
        """Have the socket to oneself; what fails of it becomes a KernelError in the words of ``doing``."""
        with self._lock:
            try:
                yield
            except OSError as error:
                self._drain()
                text = error.strerror or str(error)
                if isinstance(error, TimeoutError):
                    text = f"the kernel has given no answer for {_ANSWER_SECONDS:g} s"
                raise KernelError(error.errno or errno.ETIMEDOUT, f"{doing}: {text}") from error

    def _drain(self) -> None:
        """Take out what is left of a failed request: after an overflow nothing comes in before all is out."""
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):
            while self._socket.recv(_BUFFER):
                pass
        self._socket.settimeout(_ANSWER_SECONDS)

    def apply(self, messages: Sequence[Message], *, doing: str, ignore: frozenset[int] = frozenset()) -> None:
        """Send changes and wait for the acknowledgement of each.

        The kernel works through all of them, also past one that fails.

        Raises:
            KernelError: the first refusal that is not in ``ignore``, in the words of ``doing``; or there is no answer.

        """
        failure: KernelError | None = None
        with self._turn(doing):
            for start in range(0, len(messages), _PIECE):
                for code, words in self._change(messages[start : start + _PIECE]):
                    if code not in ignore and failure is None:
                        failure = KernelError(code, f"{doing}: {words or os.strerror(code)}")
        if failure:
            raise failure

    def _change(self, messages: Sequence[Message]) -> Iterator[tuple[int, str]]:
        """Send changes in one datagram; what is refused comes out as errno and the kernel's own words."""
        first = self._sequence + 1
        self._sequence += len(messages)
        self._socket.send(b"".join(m.encode(first + i) for i, m in enumerate(messages)))
        waiting = len(messages)
        while waiting:
            for reply in netlink.replies(self._socket.recv(_BUFFER)):
                if reply.type != netlink.NLMSG_ERROR or not first <= reply.sequence <= self._sequence:
                    continue
                waiting -= 1
                code, words = netlink.error_of(reply)
                if code:
                    yield code, words

    def ask(self, message: Message, *, doing: str) -> list[Reply]:
        """Send a question and return the answers: one, or all of a dump.

        Raises:
            KernelError: the kernel refused; ``errno`` is ENODEV for a link that is not there.

        """
        with self._turn(doing):
            for _ in range(_DUMPS):
                found, whole = self._ask(message, doing)
                if whole:
                    return found
        raise KernelError(errno.EAGAIN, f"{doing}: it changes faster than it can be read")

    def _ask(self, message: Message, doing: str) -> tuple[list[Reply], bool]:
        """The answers, and whether nothing has changed while the kernel told them (netlink.h, NLM_F_DUMP_INTR)."""
        dump = message.flags & netlink.NLM_F_DUMP == netlink.NLM_F_DUMP
        found: list[Reply] = []
        whole = True
        self._sequence += 1
        self._socket.send(message.encode(self._sequence, ack=False))
        while True:
            for reply in netlink.replies(self._socket.recv(_BUFFER)):
                if reply.sequence != self._sequence:
                    continue
                whole = whole and not (dump and reply.flags & netlink.NLM_F_DUMP_INTR)
                if reply.type == netlink.NLMSG_DONE:
                    return found, whole
                if reply.type == netlink.NLMSG_ERROR:
                    code, words = netlink.error_of(reply)
                    raise KernelError(code, f"{doing}: {words or os.strerror(code)}")
                found.append(reply)
            if found and not dump:
                return found, True


def link(sock: Netlink, which: str | int) -> netlink.RawLink | None:
    """The link of a name or an index in a socket's namespace, or None."""
    try:
        (reply,) = sock.ask(netlink.get_link(which), doing=f"look for link {which}")
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return netlink.parse_link(reply)


class Listener:
    """Netlink events of one namespace, for an event loop: ``fileno`` gets readable, ``events`` reads all there is."""

    def __init__(self, groups: Sequence[int], fd: int | None = None) -> None:
        """Listen to multicast ``groups`` (netlink.GROUP_*) in the namespace of ``fd``, or in the thread's."""
        self._socket = _open(fd)
        self._socket.setblocking(False)
        _make_room(self._socket, _LISTEN_BUFFER)
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def events(self, on_overrun: Callable[[], None]) -> Iterator[Reply]:
        """All events that have come in; ``on_overrun`` is called if the kernel dropped some (netlink(7), ENOBUFS)."""
        while True:
            try:
                data = self._socket.recv(_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                on_overrun()
                continue
            yield from netlink.replies(data)
