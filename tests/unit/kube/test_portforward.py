"""Port-forward over a WebSocket, against a server that speaks it byte by byte."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from k8slan_cli.kube import portforward
from k8slan_cli.kube.apply import Cluster
from k8slan_cli.kube.client import ApiError, MissingError
from k8slan_cli.kube.kubeconfig import Access
from k8slan_cli.kube.portforward import Forward

PORT = struct.pack("<H", 9403)
SECONDS = 10.0
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Server:
    """The API server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")
        self.head = b""

    def shake(self) -> None:
        """Take the request, and change to WebSocket."""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self.file.readline()
        key = next(line for line in self.head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
        accept = hashlib.sha1(key.partition(b": ")[2] + _GUID, usedforsecurity=False).digest()
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: v4.channel.k8s.io\r\nSec-WebSocket-Accept: "
            + base64.b64encode(accept)
            + b"\r\n\r\n"
        )

    def send(self, data: bytes, kind: int = 2, *, final: bool = True) -> None:
        """Send a frame."""
        length = len(data)
        head = bytes([0x80 * final | kind])
        if length < 126:
            head += bytes([length])
        else:
            head += (
                bytes([126]) + struct.pack(">H", length) if length < 65536 else bytes([127]) + struct.pack(">Q", length)
            )
        self.sock.sendall(head + data)

    def receive(self) -> tuple[int, bytes]:
        """A frame of the client, unmasked."""
        kind, length = self.file.read(2)
        assert length & 0x80, "a client has to mask"
        size = length & 0x7F
        if size >= 126:
            size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
        mask, data = self.file.read(4), self.file.read(size)
        return kind & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


@contextmanager
def serving(script: Callable[[Server], None]) -> Iterator[Cluster]:
    """An API server that plays a script to its only client; a script that fails fails the test."""
    faults: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def play() -> None:
            sock, _ = listening.accept()
            with sock:
                sock.settimeout(SECONDS)
                server = Server(sock)
                try:
                    script(server)
                except BaseException as fault:  # noqa: BLE001 - shown in the test's own thread
                    faults.append(fault)
                finally:
                    server.file.close()

        thread = threading.Thread(target=play)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/base"
        yield Cluster(Access(url=url, user={"token": "me"}, headers=(("Impersonate-User", "eve"),)))
        thread.join(SECONDS)
    assert not faults, faults[0]
    assert not thread.is_alive()


def connect(cluster: Cluster) -> Forward:
    return portforward.forward(cluster, "k8slan-system", "agent-x", 9403, SECONDS)


def test_bytes_go_both_ways() -> None:
    big = bytes(range(256)) * 1000

    def script(server: Server) -> None:
        server.shake()
        server.send(b"\x00" + PORT)
        server.send(b"\x01" + PORT)
        assert server.receive() == (2, b"\x00hello")
        server.send(b"\x00wor", final=False)
        server.send(b"ld", kind=0)
        assert server.receive() == (2, b"\x00" + big)
        server.send(b"\x00" + big)
        server.send(b"", kind=8)

    with serving(script) as cluster:
        wire = connect(cluster)
        wire.send(b"hello")
        assert wire.receive() == b"world"
        wire.send(big)
        assert wire.receive() == big
        assert wire.receive() == b""
        wire.close()


def test_the_request_is_the_users_and_names_pod_and_port() -> None:
    seen: list[bytes] = []

    def script(server: Server) -> None:
        server.shake()
        seen.append(server.head)

    with serving(script) as cluster:
        wire = connect(cluster)
        assert wire.receive() == b""
        wire.close()
    first, *lines = seen[0].decode().split("\r\n")
    assert first == "GET /base/api/v1/namespaces/k8slan-system/pods/agent-x/portforward?ports=9403 HTTP/1.1"
    assert "Authorization: Bearer me" in lines
    assert "Impersonate-User: eve" in lines
    assert "Sec-WebSocket-Protocol: v4.channel.k8s.io" in lines


def test_a_ping_is_answered() -> None:
    def script(server: Server) -> None:
        server.shake()
        server.send(b"beat", kind=9)
        assert server.receive() == (10, b"beat")
        server.send(b"\x00" + PORT)
        server.send(b"\x00x")

    with serving(script) as cluster:
        wire = connect(cluster)
        assert wire.receive() == b"x"
        wire.close()


def test_it_says_what_the_node_says_if_nobody_listens() -> None:
    def script(server: Server) -> None:
        server.shake()
        server.send(b"\x00" + PORT)
        server.send(b"\x01" + PORT)
        server.send(b"\x01dial tcp4 127.0.0.1:9403:\n connection refused")

    with serving(script) as cluster:
        wire = connect(cluster)
        with pytest.raises(ApiError, match="9403: connection refused"):
            wire.receive()
        wire.close()


@pytest.mark.parametrize(
    ("status", "message", "kind", "words"),
    [
        (
            403,
            'pods "agent-x" is forbidden: User "eve" cannot create resource "pods/portforward" in API group "" '
            'in the namespace "k8slan-system"',
            MissingError,
            "user eve cannot create pods/portforward in namespace k8slan-system",
        ),
        (404, 'pods "agent-x" not found', ApiError, 'pods "agent-x" not found'),
        (401, "Unauthorized", MissingError, "does not know this user"),
    ],
)
def test_a_refusal_is_said_in_words(status: int, message: str, kind: type[ApiError], words: str) -> None:
    def script(server: Server) -> None:
        while not server.head.endswith(b"\r\n\r\n"):
            server.head += server.file.readline()
        body = json.dumps({"kind": "Status", "message": message}).encode()
        server.sock.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    with serving(script) as cluster, pytest.raises(kind, match=words) as caught:
        connect(cluster)
    assert caught.value.status == status


def test_what_speaks_no_websocket_is_named() -> None:
    def script(server: Server) -> None:
        while not server.head.endswith(b"\r\n\r\n"):
            server.head += server.file.readline()
        server.sock.sendall(b"HTTP/1.1 101 Sure\r\nSec-WebSocket-Accept: no\r\n\r\n")

    with serving(script) as cluster, pytest.raises(MissingError, match="Invalid WebSocket Header"):
        connect(cluster)


def test_a_connection_that_breaks_in_the_middle_of_a_frame_is_its_end() -> None:
    def script(server: Server) -> None:
        server.shake()
        server.sock.sendall(b"\x82\x05\x00")

    with serving(script) as cluster:
        wire = connect(cluster)
        assert wire.receive() == b""
        wire.close()


def test_a_wait_in_another_thread_ends_when_it_is_closed() -> None:
    def script(server: Server) -> None:
        server.shake()
        assert server.receive()[0] == 8

    with serving(script) as cluster:
        wire = connect(cluster)
        got: list[bytes] = []
        thread = threading.Thread(target=lambda: got.append(wire.receive()))
        thread.start()
        wire.close()
        thread.join(SECONDS)
        assert got == [b""]
        wire.close()
