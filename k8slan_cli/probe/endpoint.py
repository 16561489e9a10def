"""Raw Ethernet, sent and received: on an interface as a pod has it, on a tap device as a VM has it.

Both kinds of endpoint give and take whole frames, VLAN tags in their place, without preamble and check sequence.
They never wait: ``fileno`` tells a poll or an event loop when to call ``receive``. What a frame means is not known
here (see frames.py), nor what becomes of it on the way (see run.py).
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from k8slan_cli import limits
from k8slan_cli.errors import KernelError
from k8slan_cli.net import netlink, sockets
from k8slan_cli.probe.frames import Tag, with_tag

_ALL = 0x0003  # ETH_P_ALL (if_ether.h): whatever comes
_LARGEST = 1 << 16  # bytes; above any frame, jumbo and segments not yet cut up included
_BUFFER = 1 << 22  # bytes that may wait to be received

# packet(7), linux/if_packet.h
_SOL_PACKET, _ADD_MEMBERSHIP, _AUXDATA, _IGNORE_OUTGOING = 263, 1, 8, 23
_MR_PROMISC, _MR_ALLMULTI = 1, 2
_MREQ = struct.Struct("=iHH8s")  # packet_mreq: link index, type, length of an address, address
_AUX = struct.Struct("=IIIHHHH")  # tpacket_auxdata: status, lengths (2), offsets (2), tag control, tag protocol
_VLAN_VALID, _TPID_VALID = 1 << 4, 1 << 6
_SO_RCVBUFFORCE = 33

# linux/if_tun.h, linux/virtio_net.h
_TUNSETIFF, _TUNSETVNETHDRSZ, _TUNSETOFFLOAD = 0x400454CA, 0x400454D8, 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_IFREQ = struct.Struct("=16sH22x")
_VNET_HEADER = 12  # bytes of virtio_net_hdr_v1, as hypervisors use it


@dataclass(frozen=True, slots=True)
class Received:
    """A frame as it was on the wire, and when it was taken out of the queue (``time.monotonic_ns``)."""

    frame: bytes
    at: int


class Endpoint(Protocol):
    """Where frames go in and come out. ``mac`` is its own address, six bytes."""

    @property
    def mac(self) -> bytes:
        """Its own address, six bytes."""

    def fileno(self) -> int:
        """Readable when there is something to receive."""

    def send(self, frame: bytes) -> None:
        """Send a frame. Raises OSError if it is not sent: EMSGSIZE if it is too long for the interface."""

    def receive(self) -> Iterator[Received]:
        """All frames that have come in since the last call."""

    def close(self) -> None:
        """Stop sending and receiving."""


class _Closing:
    """Endpoints close at the end of a ``with`` block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class PacketSocket(_Closing):
    """An interface in a network namespace, by AF_PACKET. It hears what is for others too, but not itself."""

    def __init__(self, fd: int, name: str) -> None:
        """Open ``name`` in the namespace of ``fd``.

        Raises:
            KernelError: there is no such interface, it is down, or the namespace is not ours to listen in.

        """
        with sockets.Netlink(fd) as asking:
            link = sockets.link(asking, name)
        if link is None:
            raise KernelError(errno.ENODEV, f"there is no interface {name}")
        if not link.up:
            raise KernelError(errno.ENETDOWN, f"the interface {name} is down")
        self.name, self.mtu = name, link.mtu
        self._mac = netlink.mac_bytes(link.mac)
        try:
            self._socket = sockets.open_packet(fd, 0)  # no protocol yet, so that nothing arrives before it is bound
        except OSError as error:
            raise limits.kernel_error(f"cannot listen on {name}", error) from error
        try:
            self._configure(link.index)
        except OSError as error:
            self._socket.close()
            raise limits.kernel_error(f"cannot listen on {name}", error) from error

    def _configure(self, index: int) -> None:
        self._socket.setblocking(False)
        self._socket.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        for kind in (_MR_PROMISC, _MR_ALLMULTI):
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, _MREQ.pack(index, kind, 0, b""))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:  # it wants CAP_NET_ADMIN in the machine's own user namespace
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind((self.name, _ALL))

    @property
    def mac(self) -> bytes:
        """Its own address, six bytes."""
        return self._mac

    def fileno(self) -> int:
        """Readable when there is something to receive."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop sending and receiving."""
        self._socket.close()

    def send(self, frame: bytes) -> None:
        """Send a frame. Raises OSError if it is not sent: EMSGSIZE if it is too long for the interface."""
        _when_there_is_room(self._socket.fileno(), lambda: self._socket.send(frame))

    def receive(self) -> Iterator[Received]:
        """All frames that have come in since the last call.

        Raises:
            KernelError: the interface has gone down, or away; what had come in before is given first.

        """
        down = ""
        while True:
            try:
                frame, beside, _flags, _address = self._socket.recvmsg(_LARGEST, socket.CMSG_SPACE(_AUX.size))
            except BlockingIOError:
                break
            except OSError as error:  # told once, ahead of the frames still in the queue
                if error.errno not in (errno.ENETDOWN, errno.ENXIO):
                    raise
                down = f"the interface {self.name} has gone down"
                continue
            yield Received(with_tag(frame, _tag(beside)), time.monotonic_ns())
        if down:
            raise KernelError(errno.ENETDOWN, down)


def _tag(beside: list[tuple[int, int, bytes]]) -> Tag | None:
    """The outer VLAN tag that the kernel has taken out of a frame, from what it hands over beside (packet(7))."""
    for level, kind, data in beside:
        if (level, kind) == (_SOL_PACKET, _AUXDATA) and len(data) == _AUX.size:
            status, *_lengths, tci, tpid = _AUX.unpack(data)
            if status & _VLAN_VALID:
                return Tag(tpid if status & _TPID_VALID else 0x8100, tci)
    return None


class Tap(_Closing):
    """A macvtap's device file, as a hypervisor opens it for a VM; ``mac`` is the VM's own address, six bytes."""

    def __init__(self, path: Path, mac: bytes) -> None:
        """Open ``/dev/tap<index>``.

        Raises:
            KernelError: there is no such device, or it may not be opened.

        """
        self._mac = mac
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise limits.kernel_error(f"cannot open {path}", error) from error
        try:
            fcntl.ioctl(self._fd, _TUNSETIFF, _IFREQ.pack(b"", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
            fcntl.ioctl(self._fd, _TUNSETVNETHDRSZ, struct.pack("=i", _VNET_HEADER))
            fcntl.ioctl(self._fd, _TUNSETOFFLOAD, 0)  # nothing left to do by the VM: whole frames, sums filled in
        except OSError as error:
            os.close(self._fd)
            raise limits.kernel_error(f"{path} is not a tap", error) from error

    @property
    def mac(self) -> bytes:
        """The VM's own address, six bytes."""
        return self._mac

    def fileno(self) -> int:
        """Readable when there is something to receive."""
        return self._fd

    def close(self) -> None:
        """Stop sending and receiving."""
        os.close(self._fd)

    def send(self, frame: bytes) -> None:
        """Send a frame. Raises OSError if it is not sent."""
        _when_there_is_room(self._fd, lambda: os.write(self._fd, bytes(_VNET_HEADER) + frame))

    def receive(self) -> Iterator[Received]:
        """All frames that have come in since the last call."""
        while True:
            try:
                data = os.read(self._fd, _LARGEST)
            except BlockingIOError:
                return
            yield Received(data[_VNET_HEADER:], time.monotonic_ns())


_PATIENCE = 1000  # milliseconds for the kernel to make room in a queue


def _when_there_is_room(fd: int, send: Callable[[], int]) -> None:
    try:
        send()
    except BlockingIOError:
        waiting = select.poll()
        waiting.register(fd, select.POLLOUT)
        waiting.poll(_PATIENCE)
        send()
