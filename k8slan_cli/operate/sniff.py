"""Captures frames at bridge ports, a stream of pcapng to a socket: what goes to and comes from a pod or VM.

It listens on the LAN's end of an attachment, so that it works for VMs as for pods and nobody in the pod sees it. What
has not been sent waits in the kernel's queue of each port, and nowhere else: a reader that is too slow costs the agent
no memory. Frames that find the queue full are lost, and counted.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from k8slan_cli.capture import pcapng
from k8slan_cli.capture.pcapng import Counters, Direction
from k8slan_cli.errors import KernelError
from k8slan_cli.net import sockets
from k8slan_cli.net.sockets import Netlink
from k8slan_cli.operate import filters

_ALL = 0x0003  # ETH_P_ALL
_QUEUE = 8 << 20  # bytes of each port's frames that may wait
_TURN = 64  # frames of a port before the others have their turn
_LOOK_SECONDS = 1.0
"""How often it is looked whether the attachment is still there: a socket would keep its namespace from going."""

# packet(7), linux/if_packet.h; socket(7)
_SOL_PACKET, _STATISTICS, _AUXDATA = 263, 6, 8
_OUTGOING = 4  # PACKET_OUTGOING
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33
_AUX = struct.Struct("=IIIHHHH")  # tpacket_auxdata: status, length, kept, offsets (2), tag control, tag protocol
_TIME = struct.Struct("@ll")  # timespec
_STATS = struct.Struct("=II")  # tpacket_stats: frames that passed the filter, those of them that found no room
_VLAN_VALID, _TPID_VALID = 1 << 4, 1 << 6
_TAG = struct.Struct(">HH")
_ANCILLARY = socket.CMSG_SPACE(_AUX.size) + socket.CMSG_SPACE(_TIME.size)
_MACS = 12  # bytes before a tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A bridge port to listen at, in the namespace of ``fd``, and how its interface is described."""

    fd: int
    name: str
    interface: pcapng.Interface


class _Tap:
    """A socket at one port."""

    def __init__(self, number: int, port: Port) -> None:
        self.number = number
        self.interface = port.interface
        self.began = time.time_ns()
        self.ended = ""
        self._accepted = self._dropped = 0
        self._room = bytearray(port.interface.snaplen)
        with Netlink(port.fd) as asking:
            link = sockets.link(asking, port.name)
        if link is None:
            raise KernelError(errno.ENODEV, f"the port {port.name} of {port.interface.name} is not there")
        program = filters.compile_for(port.fd, port.name, port.interface.filter, port.interface.snaplen)
        self._index = link.index
        self.socket = sockets.open_packet(port.fd, 0)  # nothing arrives before it is bound, with the filter in place
        try:
            self._open(port, program)
        except OSError as error:
            self.socket.close()
            words = f"cannot capture at {port.interface.name}: {error.strerror}"
            raise KernelError(error.errno or errno.EIO, words) from error

    def _open(self, port: Port, program: bytes) -> None:
        self.socket.setblocking(False)
        self.socket.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE)
        except PermissionError:  # it wants CAP_NET_ADMIN in the machine's own user namespace
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE)
        filters.attach(self.socket, program)
        self.socket.bind((port.name, _ALL))

    def close(self) -> None:
        self.socket.close()

    def take(self) -> Iterator[tuple[int, bytes]]:
        """Frames that have come, each with its time, as blocks; not more than are one turn."""
        room, number = self._room, self.number
        for _ in range(_TURN):
            try:
                length, beside, _flags, address = self.socket.recvmsg_into([room], _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in (errno.ENETDOWN, errno.ENXIO):
                    raise
                continue  # the port went down, and may come up again; if it is gone, ``alive`` will tell
            at, whole, tag = 0, length, b""
            for level, kind, data in beside:
                if level == _SOL_PACKET and kind == _AUXDATA:
                    status, whole, _kept, _mac, _net, tci, tpid = _AUX.unpack(data)
                    if status & _VLAN_VALID:
                        tag = _TAG.pack(tpid if status & _TPID_VALID else 0x8100, tci)
                        whole += len(tag)
                elif kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIME.unpack(data)
                    at = seconds * 1_000_000_000 + nanoseconds
            frame = b"".join((room[:_MACS], tag, room[_MACS:length])) if tag else bytes(room[:length])
            # What leaves the bridge by this port comes in at the pod.
            direction = Direction.IN if address[2] == _OUTGOING else Direction.OUT
            yield at, pcapng.packet(number, at, frame, whole, direction)

    def counters(self) -> Counters:
        """What has become of its frames so far."""
        with contextlib.suppress(OSError):
            accepted, dropped = _STATS.unpack(self.socket.getsockopt(_SOL_PACKET, _STATISTICS, _STATS.size))
            self._accepted += accepted
            self._dropped += dropped
        return Counters(accepted=self._accepted, dropped=self._dropped, comment=self.ended)

    def statistics(self) -> bytes:
        return pcapng.statistics(self.number, self.began, time.time_ns(), self.counters())


def serve(client: socket.socket, ports: Sequence[Port], application: str, alive: Callable[[int], str]) -> None:
    """Capture until the client says a byte or goes away, or no port is left; then say what was lost.

    ``alive`` says of the port of a number why there is nothing more to capture at it, "" if there is.

    Raises:
        Invalid: the filter is none.
        KernelError: a port is not there or cannot be listened at. Nothing has been sent then.
        OSError: the client is gone.

    """
    with contextlib.ExitStack() as stack:
        taps: dict[int, _Tap] = {}
        waiting = select.poll()
        waiting.register(client, select.POLLIN)
        for number, port in enumerate(ports):
            tap = _Tap(number, port)
            stack.callback(tap.close)
            taps[tap.socket.fileno()] = tap
            waiting.register(tap.socket, select.POLLIN)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: " + pcapng.MEDIA_TYPE.encode() + b"\r\nConnection: close\r\n\r\n"
        described = b"".join(pcapng.interface(tap.interface) for tap in taps.values())
        client.sendall(head + pcapng.section(application) + described)
        look = time.monotonic() + _LOOK_SECONDS
        while taps:
            ready = [fd for fd, _ in waiting.poll(_LOOK_SECONDS * 1000)]
            frames = [frame for fd in ready if fd in taps for frame in taps[fd].take()]
            if len(taps) > 1:
                frames.sort(key=lambda frame: frame[0])
            if frames:
                client.sendall(b"".join(block for _, block in frames))
            if client.fileno() in ready:
                break
            if time.monotonic() >= look:
                look = time.monotonic() + _LOOK_SECONDS
                for fd, tap in list(taps.items()):
                    if words := alive(tap.number):
                        tap.ended = words
                        client.sendall(tap.statistics())
                        waiting.unregister(fd)
                        taps.pop(fd).close()
        client.sendall(b"".join(tap.statistics() for tap in taps.values()))
