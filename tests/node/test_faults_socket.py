"""The agent's socket under clients that mean no good, or are broken: it answers with words, or hangs up, and lives.

None of these clients is k8slan's own. After each the agent has no descriptor more than before, and serves.
"""

from __future__ import annotations

import array
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from tests.support.agents import AT_ONCE, Agent, Node, eventually, pods, veth
from tests.support.netns import Namespace

SECONDS = 20.0


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Node, Agent]]:
    with Node.create() as node, node.agent() as agent:
        node.lan(name="lan", spokes=["a", "b"])
        yield node, agent


@pytest.fixture
def node(served: tuple[Node, Agent]) -> Iterator[Node]:
    """The node; afterwards its agent serves, and holds no descriptor more than before."""
    node, agent = served
    warm(node)
    before = agent.descriptors()
    yield node
    with Namespace.create("pod") as pod:
        node.add(pod, veth("a")).result()
        node.delete(pod, veth("a")).ok()
    node.assert_nothing_left()
    eventually("no descriptor is left over", lambda: agent.descriptors() <= before)
    assert "Traceback" not in str(agent.log)


def warm(node: Node) -> None:
    """An attachment and its end: what the agent opens once and keeps is open then."""
    with Namespace.create("pod") as pod:
        node.add(pod, veth("a")).result()
        node.delete(pod, veth("a")).ok()


@contextmanager
def connected(node: Node) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(node.run / "agent" / "cni.sock"))  # which waits while the queue is full
        client.settimeout(SECONDS)
        yield client


def answer(client: socket.socket) -> dict[str, Any] | None:
    """The error object that comes, or None if the agent hangs up without a word."""
    data = b""
    try:
        while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
            piece = client.recv(1 << 16)
            if not piece:
                break
            data += piece
    except ConnectionResetError:
        pass
    if not data:
        return None
    assert data[4] == 1, data
    found: dict[str, Any] = json.loads(data[5:])
    return found


def request(payload: bytes) -> bytes:
    return b"k8s1" + struct.pack(">I", len(payload)) + payload


def payload(config: object, **environ: str) -> bytes:
    given = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_IFNAME": "net1", "CNI_NETNS": "/x", "CNI_PATH": "/p"}
    variables = "".join(f"{name}={value}\0" for name, value in (given | environ).items())
    return variables.encode() + b"\0" + (config if isinstance(config, bytes) else json.dumps(config).encode())


def send_with(client: socket.socket, data: bytes, descriptors: list[int]) -> None:
    client.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


# ---------------------------------------------------------------- what is no request


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"k8s2" + bytes(4),
        b"\0" * 100,
        bytes(range(256)) * 1000,
        b"k8s1" + struct.pack(">I", (1 << 32) - 1),
        b"k8s1" + struct.pack(">I", (1 << 20) + (64 << 10) + 1),
        request(b"x") + b"more",
        request(b""),
        request(b"\0"),
        request(b"no variable\0\0{}"),
        request(b"PATH=/bin\0\0{}"),
        request(b"CNI_COMMAND=ADD"),
        request(b"CNI_COMMAND=\xff\0\0{}"),
    ],
)
def test_garbage_gets_an_error_object(node: Node, data: bytes) -> None:
    with connected(node) as client:
        with suppress(BrokenPipeError):  # the agent may have seen enough of it
            client.sendall(data)
        said = answer(client)
    assert said
    assert (said["cniVersion"], said["code"]) == ("1.1.0", said["code"])
    assert said["code"] in (4, 6)
    assert said["msg"]


def test_ten_megabytes_are_refused_at_once(node: Node) -> None:
    with connected(node) as client:
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(b"k8s1" + struct.pack(">I", 10 << 20) + bytes(10 << 20))
        said = answer(client)
        assert said
        assert "larger than" in said["msg"]
        assert time.monotonic() - began < 5 * AT_ONCE


@pytest.mark.parametrize("which", ["c", "python"])
def test_ten_megabytes_on_a_clients_stdin(node: Node, which: str) -> None:
    with Namespace.create("pod") as pod:
        huge = json.dumps(veth("a")).encode() + b" " * (10 << 20)
        assert "larger than" in node.cni("ADD", pod, huge, which=which).error(6)
        assert pod.links() == {}


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (b"", 6),
        (b"{", 6),
        (b"[]", 6),
        (b"[" * 100_000, 6),
        (b'{"a":' * 50_000, 6),
        (b"\xff", 6),
        (b'{"cniVersion": NaN}', 6),
        (b'{"cniVersion":"1.1.0","mtu":' + b"9" * 5000 + b"}", 6),
        ({}, 1),
        ({"cniVersion": "0.2.0"}, 1),
        ({"cniVersion": ["1.0.0"]}, 1),
        ({"cniVersion": "1.0.0"}, 7),
        (veth("a") | {"type": "bridge"}, 7),
        (veth("a") | {"name": "../x"}, 7),
        (veth("a") | {"veth": 5}, 7),
        (veth("../../etc"), 7),
        (veth("fourteen-chars"), 7),
        (veth("a\0b"), 7),
        (veth("a") | {"spoke": "b"}, 7),
        (veth("a", mtu="1400"), 7),
        (veth("a", mtu=67), 7),
        (veth("a", mtu=1 << 40), 7),
        (veth("a", runtimeConfig=[]), 7),
        (veth("a", runtimeConfig={"ips": ["x"]}), 7),
        (veth("a", runtimeConfig={"ips": ["fe80::1%eth0/64"]}), 7),
        (veth("a", ipam={"type": "a/b"}), 7),
        (veth("a", ipam=[]), 7),
    ],
)
def test_a_configuration_that_makes_no_sense(node: Node, config: object, code: int) -> None:
    """Before anything is looked at, least of all a pod: /x is no namespace."""
    with connected(node) as client:
        client.sendall(request(payload(config)))
        said = answer(client)
    assert said
    assert (said["code"], bool(said["msg"])) == (code, True)
    assert len(json.dumps(said)) < 2000


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CNI_COMMAND", ""),
        ("CNI_COMMAND", "add"),
        ("CNI_COMMAND", "A\nB"),
        ("CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "../../etc/passwd"),
        ("CNI_CONTAINERID", "a\nb"),
        ("CNI_CONTAINERID", "x" * 300),
        ("CNI_IFNAME", ""),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "sixteen-bytes-xx"),
        ("CNI_IFNAME", "a b"),
        ("CNI_NETNS", ""),
        ("CNI_NETNS", "/a\nb"),
        ("CNI_ARGS", "nonsense"),
        ("CNI_ARGS", "UNKNOWN=1"),
        ("CNI_ARGS", "MAC=nonsense"),
    ],
)
def test_a_variable_that_makes_no_sense(served: tuple[Node, Agent], node: Node, variable: str, value: str) -> None:
    mark = served[1].log.mark()
    with connected(node) as client:
        client.sendall(request(payload(veth("a"), **{variable: value})))
        said = answer(client)
    assert said
    assert said["code"] == 4
    served[1].log.wait("is answered with error 4: .*CNI_", since=mark)
    assert all(re.match(r"\d{4}-", line) for line in served[1].log.lines)  # one event, one line, whatever is in it


# ---------------------------------------------------------------- descriptors


def test_a_descriptor_that_is_no_namespace(node: Node) -> None:
    with ExitStack() as stack:
        pipe = os.pipe()
        stack.callback(os.close, pipe[0])
        stack.callback(os.close, pipe[1])
        for path in ("/dev/null", "/etc", "/proc/self/ns/uts", "/proc/self/ns/mnt"):
            pipe = (*pipe, os.open(path, os.O_RDONLY))
            stack.callback(os.close, pipe[-1])
        for fd in pipe:
            with connected(node) as client:
                send_with(client, request(payload(veth("a"))), [fd])
                said = answer(client)
                assert said
                assert (said["code"], said["msg"]) == (3, "the network namespace '/x' is not there")


def test_many_descriptors_with_one_request(node: Node) -> None:
    """The first counts; the others are closed by the kernel before the agent ever has them."""
    with pods(2) as (first, second):
        for number in (2, 50, 253):
            with connected(node) as client:
                send_with(client, request(payload(b"{")), [first.fd()] * number)
                said = answer(client)
                assert said
                assert said["code"] == 6
        result = veth("a")
        with connected(node) as client:
            send_with(client, request(payload(result)), [first.fd(), second.fd()])
            data = client.recv(1 << 16)
            assert data[4] == 0
        assert set(first.links()) == {"net1"}
        assert second.links() == {}
        node.delete(first, result, container="c").ok()


def test_descriptors_with_every_piece(node: Node) -> None:
    with Namespace.create("pod") as pod:
        for _ in range(20):
            with connected(node) as client:
                for byte in request(payload(b"{")):
                    send_with(client, bytes([byte]), [pod.fd()] * 3)
                said = answer(client)
                assert said
                assert said["code"] == 6


def test_a_client_that_sends_a_descriptor_and_goes(served: tuple[Node, Agent], node: Node) -> None:
    with Namespace.create("pod") as pod:
        for length in (1, 8, 20):
            for _ in range(20):
                with connected(node) as client:
                    send_with(client, request(payload(veth("a")))[:length], [pod.fd()])
    assert served[1].process.poll() is None


def test_a_client_that_does_not_wait_for_its_answer(node: Node) -> None:
    """The ADD is done all the same; the runtime, which got no answer, will DEL it."""
    with Namespace.create("pod") as pod:
        with connected(node) as client:
            send_with(client, request(payload(veth("a"))), [pod.fd()])
        eventually("it is attached", lambda: [r for r in node.records() if r["complete"]])
        node.delete(pod, veth("a"), container="c").ok()


# ---------------------------------------------------------------- silence


def test_silent_clients_do_not_keep_others_out(node: Node) -> None:
    """Three hundred that connect and say nothing, or stop halfway; an ADD beside them is as quick as ever."""
    with ExitStack() as stack, Namespace.create("pod") as pod:
        for number in range(300):
            client = stack.enter_context(connected(node))
            client.sendall(request(payload(veth("a")))[: number % 3 * 10])
        outcome = node.add(pod, veth("a"))
        outcome.result()
        assert outcome.seconds < 2 * AT_ONCE
        node.delete(pod, veth("a")).ok()


def test_silent_clients_are_sent_away(served: tuple[Node, Agent], node: Node) -> None:
    """Beyond its bound clients wait in the socket's queue, and get their turn once the silent have had their time."""
    with ExitStack() as stack, Namespace.create("pod") as pod:
        began = time.monotonic()
        silent = [stack.enter_context(connected(node)) for _ in range(600)]
        silent[1].sendall(b"k8s1\0")
        outcome = node.add(pod, veth("a"))
        outcome.result()
        assert outcome.seconds < 15 * AT_ONCE
        for one in silent[:2]:
            said = answer(one)
            assert said
            assert (said["code"], said["msg"]) == (6, "the request did not come in time")
        assert 5 < time.monotonic() - began < 15 * AT_ONCE
        node.delete(pod, veth("a")).ok()
    assert served[1].process.poll() is None


def test_a_client_that_sends_byte_by_byte_and_reads_nothing(node: Node) -> None:
    with connected(node) as client:
        for byte in request(payload(b"{")):
            client.send(bytes([byte]))
        assert answer(client)


# ---------------------------------------------------------------- who may ask


def test_only_root_may_ask(node: Node) -> None:
    """By the socket's mode, and if somebody changes that, by who is at its other end."""
    path = node.run / "agent" / "cni.sock"
    script = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "client = socket.socket(socket.AF_UNIX); client.settimeout(20)\n"
        "try:\n    client.connect(sys.argv[1])\n"
        "except PermissionError:\n    print('refused'); sys.exit()\n"
        "try:\n    client.sendall(bytes.fromhex(sys.argv[2]))\n"
        "except BrokenPipeError:\n    pass\n"  # it has been told already
        "print(client.recv(65536)[5:].decode())\n"
    )
    argv = (sys.executable, "-c", script, str(path), request(payload(veth("a"))).hex())

    def ask() -> str:
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    folders = (node.folder, node.run, node.run / "agent", path)
    modes = [folder.stat().st_mode & 0o7777 for folder in folders]
    node.folder.chmod(0o755)
    assert ask() == "refused"
    try:
        for folder in folders:
            folder.chmod(0o777)
        said = json.loads(ask())
        assert (said["code"], said["msg"]) == (4, "user 65534 may not ask k8slan's agent: only root may")
    finally:
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)


def test_a_hundred_kinds_of_trouble_and_real_work_at_once(node: Node) -> None:
    with ExitStack() as stack, pods(2) as both:
        for number in range(100):
            client = stack.enter_context(connected(node))
            client.sendall((b"k8s1", b"garbage!", request(payload(b"{")), b"")[number % 4])
        calls = [node.start("ADD", pod, veth(spoke)) for pod, spoke in zip(both, "ab", strict=True)]
        for call in calls:
            call().result()
        for pod, spoke in zip(both, "ab", strict=True):
            node.delete(pod, veth(spoke)).ok()
