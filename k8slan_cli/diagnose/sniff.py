"""Captures frames at bridge ports, a stream of pcapng to a socket: what goes to and comes from a pod or VM.

It listens on the LAN's end of an attachment, so that it works for VMs as for pods and is invisible in the pod. What
has not been sent waits in the kernel's queue of each port, and nowhere else: a reader that is too slow costs the agent
no memory, and the kernel as much as one capture may have (``ROOM``), which its ports share. Frames that find the queue
full are lost, and counted.

Ports come and go while it runs. Somebody else knows which there are (``Watched``) and when to look again; each gets an
interface of its own in the stream, described where it begins and with its statistics where it ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from k8slan_cli import limits
from k8slan_cli.capture import SNAPLEN, pcapng
from k8slan_cli.capture.pcapng import Counters, Direction
from k8slan_cli.diagnose import filters
from k8slan_cli.errors import K8slanError, KernelError
from k8slan_cli.net import netns, sockets
from k8slan_cli.net.sockets import Netlink

_ALL = 0x0003  # ETH_P_ALL
ROOM = 32 << 20
"""Bytes of the kernel's memory that the waiting frames of one capture may take."""
_QUEUE = 16 << 20  # of them for one port, at most
_TURN, _TURN_BYTES = 64, 256 << 10  # frames of a port, and bytes, before the others have their turn
_TURNS = 16  # ports of which frames are held at a time
MOST = 256
"""So many ports at a time in one capture: each has a socket, with a queue of its own."""

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

Key = tuple[str, ...]
"""What tells a port from any other, before and after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturePort:
    """A bridge port to listen at, in the namespace that is mounted at ``path``, and how its interface is described."""

    path: Path
    name: str
    interface: pcapng.Interface

    @contextlib.contextmanager
    def namespace(self) -> Iterator[int]:
        """A descriptor of the namespace, for as short as can be: it keeps the namespace from going.

        Raises:
            KernelError: it is not there.

        """
        fd = netns.open_at(self.path)
        if fd is None:
            raise KernelError(errno.ENODEV, f"the LAN of {self.interface.name} is not on this node (any more)")
        try:
            yield fd
        finally:
            os.close(fd)

    def index(self, fd: int) -> int:
        """The port's link index, 0 if it is not there."""
        with Netlink(fd) as asking:
            link = sockets.link(asking, self.name)
        return link.index if link else 0


class Watched(Protocol):
    """What a capture is about. Looked at again whenever there is word of a change; called in threads."""

    lasting: bool
    """Whether it goes on where there is no port (yet)."""

    def ports(self) -> Mapping[Key, CapturePort]:
        """The ports that there are now."""

    def why(self, key: Key) -> str:
        """Why a port is none of them any more."""


class _Tap:
    """A socket at one port; ``program`` is its filter, compiled."""

    def __init__(self, number: int, port: CapturePort, program: bytes, room: bytearray) -> None:
        self.number = number
        self.port = port
        self.began = time.time_ns()
        self.shaken = False
        """Whether the port has gone down since it was looked at: perhaps it is another one that has its name now."""
        self._accepted = self._dropped = 0
        self._room = room
        wanted = port.interface
        with port.namespace() as fd:
            self._index = port.index(fd)
            if not self._index:
                raise KernelError(errno.ENODEV, f"the port {port.name} of {wanted.name} is not there")
            self.socket = sockets.open_packet(fd, 0)  # nothing arrives before it is bound, with the filter in place
        try:
            self._open(port, program)
        except OSError as error:
            self.socket.close()
            raise limits.kernel_error(f"cannot capture at {wanted.name}", error) from error

    def _open(self, port: CapturePort, program: bytes) -> None:
        self.socket.setblocking(False)
        self.socket.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        filters.attach(self.socket, program)
        self.socket.bind((port.name, _ALL))

    def close(self) -> None:
        self.socket.close()

    def share(self, number: int) -> None:
        """Have the queue that each of so many ports may have; the kernel takes twice what it is told."""
        size = min(_QUEUE, ROOM // number) // 2
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:  # it wants CAP_NET_ADMIN in the machine's own user namespace
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def take(self) -> Iterator[tuple[int, bytes]]:
        """Frames that have come, each with its time, as blocks; not more than are one turn."""
        room, number, taken = self._room, self.number, 0
        for _ in range(_TURN):
            if taken >= _TURN_BYTES:
                return
            try:
                length, beside, _flags, address = self.socket.recvmsg_into([room], _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in (errno.ENETDOWN, errno.ENXIO):
                    raise
                self.shaken = True  # it may come up again
                continue
            taken += length
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

    def moved(self) -> bool:
        """Whether the port that is listened at is gone, and another one has its name, or none."""
        if not self.shaken:
            return False
        self.shaken = False
        try:
            with self.port.namespace() as fd:
                return self.port.index(fd) != self._index
        except KernelError:
            return True

    def rest(self) -> Iterator[bytes]:
        """The frames that still wait, as blocks; none come after them."""
        filters.attach(self.socket, filters.accept_all(0))
        while frames := [block for _, block in self.take()]:
            yield b"".join(frames)

    def statistics(self, why: str = "") -> bytes:
        """What has become of its frames, and why it has ended, if by itself."""
        with contextlib.suppress(OSError):
            accepted, dropped = _STATS.unpack(self.socket.getsockopt(_SOL_PACKET, _STATISTICS, _STATS.size))
            self._accepted += accepted
            self._dropped += dropped
        counters = Counters(accepted=self._accepted, dropped=self._dropped, comment=why)
        return pcapng.statistics(self.number, self.began, time.time_ns(), counters)


class _Taps:
    """The sockets of one capture, kept in step with the ports that there are."""

    def __init__(self, watched: Watched, program: bytes, waiting: select.epoll) -> None:
        self._room = bytearray(SNAPLEN)
        self.wanted: Mapping[Key, CapturePort] = {}
        self.by_fd: dict[int, _Tap] = {}
        self._by_key: dict[Key, _Tap] = {}
        self._watched = watched
        self._program = program
        self._waiting = waiting
        self._numbers = 0
        self._excused: set[Key] = set()

    def close(self) -> None:
        for tap in self.by_fd.values():
            tap.close()

    def look(self, *, strict: bool = False) -> Iterator[bytes]:
        """Follow what there is now; what is to be sent about it.

        Raises:
            K8slanError: one cannot be listened at, if ``strict``.

        """
        self.wanted = self._watched.ports()
        for key, tap in list(self._by_key.items()):
            if key not in self.wanted:
                yield from self._end(key, self._watched.why(key))
            elif tap.moved():
                yield from self._end(key, "its port has been made anew")
        self._excused &= self.wanted.keys()
        new = [(key, port) for key, port in self.wanted.items() if key not in self._by_key]
        number = min(MOST, len(self._by_key) + len(new))
        for tap in self.by_fd.values():
            tap.share(number)
        for key, port in new:
            yield from self._begin(key, port, strict, number)

    def _begin(self, key: Key, port: CapturePort, strict: bool, number: int) -> Iterator[bytes]:
        try:
            if len(self.by_fd) >= MOST:
                raise KernelError(errno.EMFILE, f"a capture takes {MOST} attachments of a node at a time")
            tap = _Tap(self._numbers, port, self._program, self._room)
        except (K8slanError, OSError) as error:
            if strict:
                raise
            # A port that is not there is about to be made or to go; there is word of it again.
            if key not in self._excused and getattr(error, "errno", 0) != errno.ENODEV:
                self._excused.add(key)
                yield from self._excuse(port, str(error))
            return
        tap.share(number)
        self._numbers += 1
        self.by_fd[tap.socket.fileno()] = self._by_key[key] = tap
        self._waiting.register(tap.socket, select.EPOLLIN)
        yield pcapng.interface(port.interface)

    def _excuse(self, port: CapturePort, words: str) -> Iterator[bytes]:
        """An interface at which nothing is captured, and why: so that the reader of the stream knows."""
        now = time.time_ns()
        counters = Counters(comment=f"not captured: {words}")
        yield pcapng.interface(port.interface) + pcapng.statistics(self._numbers, now, now, counters)
        self._numbers += 1

    def _end(self, key: Key, why: str) -> Iterator[bytes]:
        tap = self._by_key.pop(key)
        try:
            yield from tap.rest()
            yield tap.statistics(why)
        finally:
            del self.by_fd[tap.socket.fileno()]
            tap.close()


def serve(begin: Callable[[str], socket.socket], watched: Watched, news: int, program: bytes, application: str) -> None:
    """Capture until the client says a byte or goes away, or nothing is left; then say what was lost.

    ``begin`` begins the answer to the client, of a media type; ``news`` is an eventfd(2) by which there is word of a
    change, ``program`` the compiled filter of every port.

    Raises:
        KernelError: a port is not there or cannot be listened at, unless ``watched`` is lasting. Nothing has been
            sent then.
        OSError: the client is gone.

    """
    with select.epoll() as waiting, contextlib.closing(_Taps(watched, program, waiting)) as taps:
        described = b"".join(taps.look(strict=not watched.lasting))
        client = begin(pcapng.MEDIA_TYPE)
        client.sendall(pcapng.section(application) + described)
        waiting.register(client, select.EPOLLIN)
        waiting.register(news, select.EPOLLIN)
        while watched.lasting or taps.wanted:
            ready = [fd for fd, _ in waiting.poll(maxevents=_TURNS)]
            frames = [frame for fd in ready if fd in taps.by_fd for frame in taps.by_fd[fd].take()]
            if len(taps.by_fd) > 1:
                frames.sort(key=lambda frame: frame[0])
            if frames:
                client.sendall(b"".join(block for _, block in frames))
            if client.fileno() in ready:
                break
            if news in ready:
                os.eventfd_read(news)
                for data in taps.look():
                    client.sendall(data)
        client.sendall(b"".join(tap.statistics() for tap in taps.by_fd.values()))
