"""The frame that finds a loop behind an uplink. It is sent out of the uplink, and so must not come back.

::

    uplink ──► switch ──► …a second way… ──► LAN ──► bridge     heard: there is a loop
    VXLAN ──► …a second way… ──► switch ──► uplink              heard while it is closed: there would be one

The other way round it is sent only before an uplink is opened: a node whose agent is gone may pass frames one way
alone, as it does not know a node that has come since.

It goes to a group of its own, locally administered, so that every switch floods it, with the first of the EtherTypes
that IEEE 802 sets aside for local experiments (IEEE 802, 9.2.3). What it holds is random each time: a frame that was
recorded is none.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Iterable

from k8slan_cli.net import sockets
from k8slan_cli.net.netlink import mac_bytes

ETHERTYPE = 0x88B5
GROUP = "03:6b:38:6c:75:70"  # "k8lup" behind the bits of a group and of local administration
_MARK = b"k8slan uplink\0"
_TOKEN = 16
_REMEMBERED = 8
"""Frames that may still be on their way."""
_MOST = 64
"""Frames that are read at a time."""
_SHORTEST = 60
_RARP = 0x8035
_RARP_REQUEST = bytes.fromhex("0001080006040003")  # RFC 903: Ethernet, IPv4, "request reverse"


class Echo:
    """A socket in the LAN's namespace that sends such frames from the address ``mac``, and hears those that return."""

    def __init__(self, fd: int, mac: str) -> None:
        """Open it in the namespace of ``fd``."""
        self._source = mac_bytes(mac)
        self._sent: deque[tuple[str, bytes]] = deque(maxlen=_REMEMBERED)
        self._socket = sockets.open_packet(fd, socket.htons(ETHERTYPE))
        self._socket.setblocking(False)

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def send(self, port: str) -> None:
        """Send one out of a port.

        Raises:
            OSError: it cannot be sent.

        """
        token = os.urandom(_TOKEN)
        self._sent.append((port, token))
        head = mac_bytes(GROUP) + self._source + ETHERTYPE.to_bytes(2, "big")
        self._socket.sendto((head + _MARK + token).ljust(_SHORTEST, b"\0"), (port, ETHERTYPE))

    def heard(self) -> set[tuple[str, str]]:
        """Return which frames of this socket's own have been heard: out of which link they were sent, at which heard.

        Raises:
            OSError: the socket is of no use any more.

        """
        where: set[tuple[str, str]] = set()
        for _ in range(_MOST):
            try:
                frame, (link, *_) = self._socket.recvfrom(128)
            except BlockingIOError:
                break
            start = 14 + len(_MARK)
            if frame[14:start] == _MARK:
                where.update((out, link) for out, token in self._sent if token == frame[start : start + _TOKEN])
        return where

    def announce(self, port: str, macs: Iterable[str]) -> None:
        """Send a frame of each MAC address out of a port (RARP): so switches learn that they are behind it now.

        Raises:
            OSError: it cannot be sent.

        """
        with contextlib.suppress(BlockingIOError):  # so many that the rest has to do without
            for mac in map(mac_bytes, macs):
                head = b"\xff" * 6 + mac + _RARP.to_bytes(2, "big")
                frame = head + _RARP_REQUEST + mac + bytes(4) + mac + bytes(4)
                self._socket.sendto(frame.ljust(_SHORTEST, b"\0"), (port, _RARP))
