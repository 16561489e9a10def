"""The only place where sockets of a namespace are opened: for netlink requests, for listening, for raw frames.

A netlink socket is pyroute2's ``IPRSocket``, opened by a thread that has switched to the namespace and kept. Nothing
else of pyroute2 may open one: its ``netns=`` forks a child of the agent, and ``IPRoute`` opens a socket for each thread
that uses it, silently in the wrong namespace.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator, Sequence

from pyroute2.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, nlmsg
from pyroute2.netlink.rtnl import (
    RTM_DELLINK,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    RTMGRP_TC,
)
from pyroute2.netlink.rtnl.iprsocket import IPRSocket

from k8slan_cli import limits
from k8slan_cli.errors import KernelError
from k8slan_cli.net import netlink, netns

LINKS, ADDRESSES = RTMGRP_LINK, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
TRAFFIC = RTMGRP_TC
ROUTES = RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE

_BUFFER = 1 << 18
_PIECE = 128
"""How many requests are sent at once: the kernel drops answers that the receive buffer has no room for."""
_ROOM = 1 << 20
"""Bytes of answers or events that may wait to be received."""
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1  # linux/socket.h, linux/netlink.h
_ANSWER_SECONDS = 10.0
"""How long an answer may take. The kernel answers within the request, so one that does not come then was dropped."""
_DUMPS = 10
"""How often a dump is begun anew because the kernel's list changed under it."""


def _open(fd: int | None) -> IPRSocket:
    """A netlink socket in the namespace of ``fd``, or in the calling thread's."""
    opened = IPRSocket(rcvbuf=_ROOM, ext_ack=True, strict_check=True)
    opened.register_policy({RTM_NEWLINK: netlink.LinkMessage, RTM_DELLINK: netlink.LinkMessage})
    with netns.inside(fd) if fd is not None else contextlib.nullcontext():
        plain = opened.socket  # it is opened when it is first asked for
    with contextlib.suppress(PermissionError):  # it wants CAP_NET_ADMIN in the machine's own user namespace
        plain.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    return opened


def open_packet(fd: int, protocol: int) -> socket.socket:
    """An AF_PACKET socket in the namespace of ``fd`` (packet(7)); the caller binds and closes it."""
    with netns.inside(fd):
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)


class Netlink:
    """A request socket in one namespace. Threads may share it; requests take turns."""

    def __init__(self, fd: int | None = None) -> None:
        """Open it in the namespace of ``fd``, or in the calling thread's."""
        self._netlink = _open(fd)
        self._socket = self._netlink.socket
        self._socket.settimeout(_ANSWER_SECONDS)
        self._sequence = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

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
                if isinstance(error, TimeoutError):
                    text = f"{doing}: the kernel has given no answer for {_ANSWER_SECONDS:g} s"
                    raise KernelError(error.errno or errno.ETIMEDOUT, text) from error
                raise limits.kernel_error(doing, error) from error

    def _drain(self) -> None:
        """Take out what is left of a failed request: after an overflow nothing comes in before all is out."""
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):
            while self._socket.recv(_BUFFER):
                pass
        self._socket.settimeout(_ANSWER_SECONDS)

    def apply(self, messages: Sequence[nlmsg], *, doing: str, ignore: frozenset[int] = frozenset()) -> None:
        """Send changes and wait for the acknowledgement of each.

        The kernel works through all of them, also past one that fails.

        Raises:
            KernelError: the first refusal that is not in ``ignore``, in the words of ``doing``; or there is no answer.

        """
        failure: KernelError | None = None
        with self._turn(doing):
            for start in range(0, len(messages), _PIECE):
                for error in self._change(messages[start : start + _PIECE], doing):
                    if error.errno not in ignore:
                        failure = failure or error
        if failure:
            raise failure

    def _change(self, messages: Sequence[nlmsg], doing: str) -> Iterator[KernelError]:
        """Send changes in one datagram; give those that are refused."""
        first = self._sequence + 1
        self._send(messages)
        waiting = len(messages)
        while waiting:
            for reply in self._receive(first):
                if reply["header"]["type"] == NLMSG_ERROR:
                    waiting -= 1
                    if reply["error"]:
                        yield _refusal(reply, doing)

    def ask(self, message: nlmsg, *, doing: str) -> list[nlmsg]:
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

    def _ask(self, message: nlmsg, doing: str) -> tuple[list[nlmsg], bool]:
        """The answers, and whether nothing has changed while the kernel told them (netlink.h, NLM_F_DUMP_INTR)."""
        dump = message["header"]["flags"] & NLM_F_DUMP == NLM_F_DUMP
        found: list[nlmsg] = []
        whole = True
        self._send([message])
        while True:
            for reply in self._receive(self._sequence):
                header = reply["header"]
                whole = whole and not (dump and header["flags"] & NLM_F_DUMP_INTR)
                if header["type"] == NLMSG_DONE:
                    return found, whole
                if header["type"] == NLMSG_ERROR:
                    raise _refusal(reply, doing)
                found.append(reply)
            if found and not dump:
                return found, True

    def _send(self, messages: Sequence[nlmsg]) -> None:
        data = b""
        for message in messages:
            self._sequence += 1
            message["header"]["sequence_number"] = self._sequence
            message.reset()
            message.encode()
            data += message.data
        self._socket.send(data)

    def _receive(self, first: int) -> Iterator[nlmsg]:
        """What has come in answer to the requests from ``first`` on."""
        for reply in self._netlink.marshal.parse(self._socket.recv(_BUFFER)):
            if first <= reply["header"]["sequence_number"] <= self._sequence:
                yield reply


def _refusal(reply: nlmsg, doing: str) -> KernelError:
    """What the kernel refuses, in its own words where it has any."""
    code = -reply["error"]
    hint = limits.advice(MemoryError()) if code == errno.ENOMEM else ""
    return KernelError(code, f"{doing}: {reply.get_attr('NLMSGERR_ATTR_MSG') or os.strerror(code)}", hint=hint)


def link(sock: Netlink, which: str | int) -> netlink.RawLink | None:
    """The link of a name or an index in a socket's namespace, or None."""
    try:
        (reply,) = sock.ask(netlink.get_link(which), doing=f"look for link {which}")
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return netlink.parse_link(reply)


def existing_link(sock: Netlink, name: str) -> netlink.RawLink:
    """Return the link of a name in a socket's namespace.

    Raises:
        KernelError: there is none.

    """
    found = link(sock, name)
    if found is None:
        raise KernelError(errno.ENODEV, f"there is no link {name}")
    return found


def links(sock: Netlink) -> list[netlink.RawLink]:
    """All links of a socket's namespace."""
    return [netlink.parse_link(reply) for reply in sock.ask(netlink.get_links(), doing="list links")]


class Listener:
    """Netlink events of one namespace, for an event loop: ``fileno`` gets readable, ``read`` takes all there is."""

    def __init__(self, groups: int, fd: int | None = None) -> None:
        """Listen to ``groups`` (LINKS, ADDRESSES, ROUTES, TRAFFIC) in the namespace of ``fd``, or in the thread's."""
        self._netlink = _open(fd)
        self._socket = self._netlink.socket
        self._socket.setblocking(False)
        self._netlink.bind(groups)

    def join(self, groups: int) -> None:
        """Listen to more groups."""
        for bit in (1 << place for place in range(groups.bit_length())):
            if groups & bit:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, bit.bit_length())

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return int(self._socket.fileno())

    def close(self) -> None:
        """Stop listening."""
        self._netlink.close()

    def read(self) -> tuple[list[nlmsg], bool]:
        """All messages that have come, and whether the kernel dropped some (netlink(7), ENOBUFS): then look anew."""
        messages: list[nlmsg] = []
        lost = False
        while True:
            try:
                messages += self._netlink.marshal.parse(self._socket.recv(_BUFFER))
            except BlockingIOError:
                return messages, lost
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
