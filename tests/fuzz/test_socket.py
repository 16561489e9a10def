"""The agent's CNI socket under inputs that nobody would write: 2,000 of them, 100,000 with HYPOTHESIS_PROFILE=long.

A real agent, a real LAN and a real pod: some of the inputs are requests that work, others nearly are. Each gets an
answer of the protocol or, where it ends early, none; and in the end the agent lives, logs no fault, holds no more
descriptors than before and has nothing attached.
"""

from __future__ import annotations

import array
import json
import os
import shutil
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.agents import Agent, Node, dynamic, eventually, veth
from tests.support.netns import Namespace
from tests.support.require import require

INPUTS = 100_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 2_000
SECONDS = 30.0
VERBS = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")
NAMES = ("c1", "c2", "net1", "eth0", "lo", "a", "b", "..", "", "x" * 300, "a\nb", "é")


@dataclass(frozen=True)
class Target:
    """The agent that is shot at, with a pod to attach."""

    node: Node
    agent: Agent
    pod: Namespace
    strange: int
    """A descriptor of something that is no namespace."""
    came: Counter[str]
    """What came of the inputs, and how often."""

    def connect(self) -> socket.socket:
        """A new connection."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(SECONDS)
        client.connect(str(self.node.run / "agent" / "cni.sock"))
        return client


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    require("fuzz", os.geteuid() == 0, "needs root: it runs an agent in a network namespace")
    require("fuzz", shutil.which("ip") is not None, "needs ip of iproute2")
    with Node.create() as node, Namespace.create("pod") as pod:
        node.lan(name="fuzz", spokes=["a", "b"], dynamic=True)
        strange = os.open("/dev/null", os.O_RDONLY)
        try:
            with node.agent("--log-level", "error") as agent:
                yield Target(node, agent, pod, strange, Counter())
        finally:
            os.close(strange)


# ---------------------------------------------------------------- what is sent

words = st.sampled_from(NAMES) | st.text(max_size=20)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words
anything = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))
addresses = st.sampled_from(["198.51.100.1/24", "2001:db8::1/64", "::/0", "1.2.3.4", "fe80::1%x/64", "x"])
FIELDS = {
    "cniVersion": st.sampled_from(["0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.2.0", "2.0.0"]) | anything,
    "name": words | anything,
    "type": st.sampled_from(["k8slanveth", "k8slanmacvtap", "bridge"]) | anything,
    "veth": st.sampled_from(["a", "b", "zz"]) | anything,
    "spoke": st.sampled_from(["a", "zz"]) | anything,
    "lan": st.sampled_from(["default/fuzz", "default/none", "x"]) | anything,
    "mtu": st.integers(-1, 70000) | anything,
    "mac": st.sampled_from(["02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff"]) | anything,
    "ipam": st.fixed_dictionaries({"type": st.sampled_from(["nowhere", "../x", ""]) | anything}) | anything,
    "runtimeConfig": st.fixed_dictionaries({}, optional={"mac": anything, "ips": st.lists(addresses) | anything}),
    "args": anything,
    "dns": anything,
    "prevResult": st.fixed_dictionaries({}, optional={"interfaces": anything, "ips": anything}) | anything,
    "cni.dev/valid-attachments": st.just([]) | anything,
}
WORKING = (veth("a"), veth("a"), veth("b", "0.3.1"), dynamic("default/fuzz", mtu=1000), veth("none"))
free = st.fixed_dictionaries({}, optional=FIELDS)
near = st.tuples(st.sampled_from(WORKING), st.dictionaries(st.sampled_from(sorted(FIELDS)), anything, max_size=2)).map(
    lambda pair: pair[0] | pair[1]
)
configs = (st.sampled_from(WORKING) | near | free | anything).map(
    lambda value: json.dumps(value).encode()
) | st.binary()
variables = st.fixed_dictionaries(
    {"CNI_COMMAND": st.sampled_from(VERBS) | words},
    optional={
        "CNI_CONTAINERID": st.sampled_from(["c1", "c2"]) | words,
        "CNI_IFNAME": st.sampled_from(["net1", "net2"]) | words,
        "CNI_NETNS": st.just("/proc/self/ns/net") | words,
        "CNI_ARGS": st.sampled_from(["IgnoreUnknown=1;K8S_POD_NAME=x", "MAC=02:00:00:00:00:09", "x"]) | words,
        "CNI_PATH": st.just("/nowhere"),
        "CNI_OTHER": words,
    },
)
usual = st.fixed_dictionaries(
    {
        "CNI_COMMAND": st.sampled_from(["ADD", *VERBS]),
        "CNI_CONTAINERID": st.sampled_from(["c1", "c2"]),
        "CNI_IFNAME": st.just("net1"),
        "CNI_NETNS": st.just("/proc/self/ns/net"),
        "CNI_PATH": st.just("/nowhere"),
    }
)


def _payload(environ: dict[str, str], config: bytes) -> bytes:
    head = "".join(f"{name}={value}\0" for name, value in environ.items())
    return head.encode(errors="surrogatepass") + b"\0" + config


working = st.sampled_from(WORKING).map(lambda value: json.dumps(value).encode())
payloads = (
    st.builds(_payload, usual, working) | st.builds(_payload, usual | variables, configs) | st.binary(max_size=200)
)
headers = st.just(b"k8s1") | st.binary(min_size=4, max_size=4)


@dataclass(frozen=True)
class Shot:
    """One connection: what is sent, in pieces of what size, with how many descriptors of what, and how it ends."""

    data: bytes
    piece: int
    descriptors: tuple[bool, ...]
    waits: bool


@st.composite
def shots(draw: st.DrawFn) -> Shot:
    payload = draw(payloads)
    wrong = draw(st.integers(0, 9)) == 0
    magic = draw(headers) if wrong else b"k8s1"
    length = draw(st.integers(0, 1 << 32) if wrong else st.just(len(payload))) & 0xFFFFFFFF
    data = magic + struct.pack(">I", length) + payload
    if draw(st.integers(0, 9)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    return Shot(
        data=data,
        piece=draw(st.sampled_from([1 << 20, 1 << 20, 7, 100])),
        descriptors=tuple(draw(st.just([True]) | st.lists(st.integers(0, 4).map(bool), max_size=3))),
        waits=draw(st.integers(0, 19)) > 0,
    )


# ---------------------------------------------------------------- what comes back


@settings(
    max_examples=INPUTS,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(shot=shots())
def _fire(target: Target, shot: Shot) -> None:
    with target.connect() as client:
        fds = [target.pod.fd() if good else target.strange for good in shot.descriptors]
        with suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(shot.data), shot.piece):
                beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds and start == 0 else []
                client.sendmsg([shot.data[start : start + shot.piece]], beside)
            client.shutdown(socket.SHUT_WR)
        target.came[_judge(_receive(client)) if shot.waits else "went away"] += 1


def _receive(client: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionResetError):
        while piece := client.recv(1 << 16):
            data += piece
    return data


def _judge(answer: bytes) -> str:
    """What an answer says, which is one of the protocol, whole, with a JSON object where one is due; or none at all."""
    if not answer:
        return "no answer"
    assert len(answer) == 4 + struct.unpack(">I", answer[:4])[0], answer
    status, body = answer[4], answer[5:]
    assert status in (0, 1)
    document: dict[str, Any] = json.loads(body) if body else {}
    if status == 0:
        return "success"
    assert isinstance(document["code"], int)
    assert document["msg"]
    assert isinstance(document["msg"], str)
    assert set(document) <= {"cniVersion", "code", "msg", "details"}
    return f"error {document['code']}"


def _clean(target: Target) -> None:
    for record in target.node.records():
        target.node.cni("DEL", "", {}, container=record["container"], ifname=record["ifname"]).ok()


def test_whatever_comes_the_agent_answers_and_lives(target: Target) -> None:
    node, agent = target.node, target.agent
    with Namespace.create("pod") as other:  # so that what the agent opens once is open
        node.add(other, veth("b")).result()
        node.delete(other, veth("b")).ok()
    before = agent.descriptors()
    _fire(target)
    assert agent.process.poll() is None
    eventually("requests without a client are through", lambda: agent.descriptors() < before + 50)
    _clean(target)
    eventually("no descriptor is left over", lambda: agent.descriptors() <= before)
    node.assert_nothing_left()
    assert target.pod.links() == {}
    assert agent.log.lines == [], "\n".join(agent.log.lines[:50])
    print(dict(target.came))
    # Something of everything: an input that never gets past the first check would prove little.
    assert set(target.came) >= {"success", "no answer", "went away", *(f"error {n}" for n in (1, 3, 4, 6, 7, 100, 101))}
