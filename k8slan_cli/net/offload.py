"""What the kernel leaves to a NIC, and a veth has none: transmit checksumming at ports, by ioctl (ethtool(8)).

A frame that one pod sends to another on the same machine has no checksum yet, and may be larger than the MTU: a NIC
would see to both. A receiving kernel does not mind, but a program that reads frames as they come does. Where transmit
checksumming is off, the kernel fills checksums in, and cuts frames to the MTU as well: segments need checksums.

One flag of hundreds of ports is read in each pass, which pyroute2 does by all the features and their names: 80 times as
long. No message about a link tells it; that it has changed is told (netlink.features_changed).
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from array import array
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from k8slan_cli import limits
from k8slan_cli.net import netns

_SIOCETHTOOL = 0x8946  # linux/sockios.h
_GTXCSUM, _STXCSUM = 0x16, 0x17  # linux/ethtool.h


def without(fd: int, links: Collection[str]) -> frozenset[str]:
    """Those of some links in the namespace of ``fd`` at which transmit checksumming is off.

    Raises:
        KernelError: the kernel refused.

    """
    if not links:
        return frozenset()
    with _asking(fd, "read offloads") as sock:
        return frozenset(link for link in links if not _is_on(sock, link))


def switch(fd: int, link: str, *, on: bool, doing: str) -> None:
    """Switch transmit checksumming of a link in the namespace of ``fd``, and what depends on it.

    Raises:
        KernelError: the kernel refused, in the words of ``doing``.

    """
    with _asking(fd, doing) as sock:
        _ask(sock, link, _STXCSUM, int(on))


@contextmanager
def _asking(fd: int, doing: str) -> Iterator[socket.socket]:
    try:
        with netns.inside(fd):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            yield sock
    except OSError as error:
        raise limits.kernel_error(doing, error) from error


def _is_on(sock: socket.socket, link: str) -> bool:
    """Whether it is on; of a link that has just gone, too: the next pass looks again."""
    try:
        return bool(_ask(sock, link, _GTXCSUM))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return True


def _ask(sock: socket.socket, link: str, command: int, value: int = 0) -> int:
    told = array("I", (command, value))  # struct ethtool_value
    fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", link.encode(), told.buffer_info()[0]))  # struct ifreq
    return told[1]
