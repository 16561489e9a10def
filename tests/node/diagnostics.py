"""Talking to a node's agent as the workstation does, without a cluster: its port from inside the node's namespace."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from k8slan_cli.capture.pcapng import Block, BlockType, Reader
from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.client import Call
from k8slan_cli.diagnose.exchange import Site
from k8slan_cli.diagnose.protocol import Capture, Check, NodeFacts, Place, Plugged, Reach
from k8slan_cli.errors import K8slanError
from k8slan_cli.net import netns
from tests.support.agents import SECONDS, Node
from tests.support.tshark import frames


class SocketWire:
    """A plain connection."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise K8slanError(f"the agent is gone: {error.strerror or error}") from error

    def receive(self) -> bytes:
        """What has come, nothing at the end."""
        try:
            return self._socket.recv(1 << 18)
        except OSError as error:
            raise K8slanError(f"the agent is gone: {error.strerror or error}") from error

    def close(self) -> None:
        """Give it up."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def connect(node: Node, host: str = "127.0.0.1", port: int = protocol.PORT) -> socket.socket:
    """A connection to the endpoint of a node's agent."""
    with netns.inside(node.namespace.fd()):
        made = socket.create_connection((host, port), SECONDS)
    made.settimeout(SECONDS)
    return made


def token(node: Node) -> str:
    """The token that the node's agent takes."""
    return (node.run / "agent" / "token").read_text().strip()


def call(node: Node, path: str, body: Mapping[str, Any]) -> Call:
    """A request that the agent has taken."""
    return Call(SocketWire(connect(node)), path, token(node), body)


def plugged(node: Node, lan: str = "") -> dict[str, Plugged]:
    """The node's attachments by their spokes, or their names."""
    with call(node, protocol.ATTACHMENTS, {"lan": lan} if lan else {}) as asked:
        items = map(Plugged.decode, asked.document()["attachments"])
        return {item.spoke or item.name: item for item in items}


def examined(node: Node) -> tuple[Check, ...]:
    """What the agent says of its node to ``k8slan doctor``."""
    with call(node, protocol.NODE, {"reaches": []}) as asked:
        return NodeFacts.decode(asked.document()).checks


def site(node: Node, place: Place) -> Site:
    """A session at an attachment."""
    body = {"place": {"container": place.container, "ifname": place.ifname}}
    return Site(f"{place.container} on {node.name}", node.name, call(node, protocol.SESSION, body))


def trial(node: Node, reach: Reach) -> Site:
    """A session over a VXLAN of its own."""
    return Site(node.name, node.name, call(node, protocol.SESSION, {"reach": reach.encode()}))


class Recording:
    """A capture that runs, and what has come of it."""

    def __init__(self, asked: Call) -> None:
        self.data = b""
        self.blocks: list[Block] = []
        self.fault: K8slanError | None = None
        self._call = asked
        self._reader = Reader()
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for data in self._call.data():
                with self._news:
                    self.data += data
                    self.blocks += self._reader.feed(data)
                    self._news.notify_all()
        except K8slanError as error:
            self.fault = error
        with self._news:
            self._ended = True
            self._news.notify_all()

    def of(self, kind: BlockType) -> list[Block]:
        """The blocks of a kind so far."""
        return [block for block in self.blocks if block.kind == kind]

    def begun(self) -> None:
        """Wait until everything that there is is listened to: the agent says nothing before."""
        self._wait(lambda: bool(self.of(BlockType.SECTION)))

    def names(self) -> list[str]:
        """The interfaces so far."""
        return [block.name() for block in self.of(BlockType.INTERFACE)]

    def interfaces(self, number: int) -> None:
        """Wait until so many have been described."""
        self._wait(lambda: len(self.of(BlockType.INTERFACE)) >= number)

    def ends(self, number: int) -> list[tuple[int, str]]:
        """Wait until so many interfaces have ended; which, and why."""
        self._wait(lambda: len(self.of(BlockType.STATISTICS)) >= number)
        return [(block.number, block.counters().comment) for block in self.of(BlockType.STATISTICS)]

    def packets(self, number: int) -> None:
        """Wait for so many frames."""
        self._wait(lambda: len(self.of(BlockType.PACKET)) >= number)

    def ended(self) -> bytes:
        """Wait until the agent has ended it, and return all of it."""
        self._wait(lambda: self._ended)
        assert self.fault is None, self.fault
        return self.data

    def stop(self) -> bytes:
        """Ask for the end, and return all of it."""
        self._call.stop()
        return self.ended()

    def _wait(self, condition: Any) -> None:
        with self._news:
            assert self._news.wait_for(condition, SECONDS), f"it did not come, {len(self.blocks)} blocks did"


@contextmanager
def recording(node: Node, *places: Place, **options: Any) -> Iterator[Recording]:
    """A capture for the length of a block."""
    wanted = Capture(places=places, **options)
    with call(node, protocol.CAPTURE, wanted.encode()) as asked:
        found = Recording(asked)
        found.begun()
        yield found


def tshark(data: bytes, folder: Path, *fields: str) -> list[list[str]]:
    """What tshark reads in a capture, frame by frame."""
    path = folder / "capture.pcapng"
    path.write_bytes(data)
    return frames("node", path, *fields)
