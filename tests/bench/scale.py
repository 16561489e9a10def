"""A thousand attachments on one node over fifty LANs: time, memory, idle cost, and a restart with all of them."""

from __future__ import annotations

import json
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.node import Agent, cni, inside, lan, pods
from tests.bench.rows import Row, quantile
from tests.support.agents import forwarder
from tests.support.netns import Namespace

LANS, PER_LAN = 50, 20
SAMPLE = 50  # ADDs at the beginning and at the end that are compared
IDLE_SECONDS = 20.0
ETHERTYPE = 0x88B5  # local experiments


def rows() -> Iterator[Row]:
    """Scale of one node."""
    with (
        tempfile.TemporaryDirectory(dir="/run") as folder,
        Namespace.create("node") as node,
        pods(LANS * PER_LAN + 2 * SAMPLE) as all_pods,
    ):
        node.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        node.ip("address", "add", "192.0.2.1/24", "dev", "eth0")
        node.ip("link", "set", "eth0", "up")
        lans = Path(folder, "lans")
        lans.mkdir()
        for number in range(LANS):
            document = lan(
                f"lan{number}", 100 + number, spokes=[f"s{number}-{i}" for i in range(PER_LAN)], dynamic=True
            )
            (lans / f"{number}.yaml").write_text(json.dumps(document))
        agent = Agent(node, Path(folder), lans)
        agent.start()
        try:
            with inside(node):
                yield from _measure(agent, all_pods)
        finally:
            agent.stop()


def _measure(agent: Agent, all_pods: list[Namespace]) -> Iterator[Row]:
    empty = agent.rss()
    crowd, early, late = all_pods[: LANS * PER_LAN], all_pods[-2 * SAMPLE : -SAMPLE], all_pods[-SAMPLE:]
    for number in range(LANS):  # the first attachment of each LAN makes the LAN, and is no measure of an ADD
        _spoke(agent, "ADD", crowd[number], number)
    first = [_dynamic(agent, "ADD", pod, i) for i, pod in enumerate(early)]
    for number in range(LANS, len(crowd)):
        _spoke(agent, "ADD", crowd[number], number)
    last = [_dynamic(agent, "ADD", pod, i) for i, pod in enumerate(late)]
    yield Row("ADD, p50, with 50 attachments", quantile(first, 0.5), " ms")
    yield Row("ADD, p50, with 1,000 / with 50 attachments", quantile(last, 0.5) / quantile(first, 0.5), "×", 1.2)
    yield Row("agent's memory, no attachment", empty, " MB")
    yield Row("agent's memory, 1,100 attachments, 50 LANs", agent.rss(), " MB")
    threading.Event().wait(1)  # for what the last ADDs have set off
    begun, used = time.perf_counter(), agent.cpu()
    threading.Event().wait(IDLE_SECONDS)
    idle = (agent.cpu() - used) / (time.perf_counter() - begun)
    yield Row("agent's idle CPU, 1,100 attachments", idle * 100, " %", 0.2)
    with _Stream(crowd[0], crowd[LANS]) as stream:  # two pods of the LAN lan0
        agent.stop(signal.SIGKILL)
        seconds = agent.start()
        stream.more(1000)
    yield Row("restart after kill -9 to ready, 1,100 attachments", seconds, " s", 2.0)
    yield Row(f"frames lost over the restart, of {stream.sent}", stream.sent - stream.received, "", 0)
    for i, pod in enumerate((*early, *late)):
        _dynamic(agent, "DEL", pod, i % SAMPLE)
    for number in range(len(crowd)):
        _spoke(agent, "DEL", crowd[number], number)
    left = [p.name for p in (agent.run_dir / "netns").iterdir()]
    yield Row("namespaces left after all DELs", len(left), "", 0)


def _spoke(agent: Agent, verb: str, pod: Namespace, number: int) -> float:
    name = f"s{number % LANS}-{number // LANS}"
    config = {"cniVersion": "1.0.0", "name": "scale", "type": "k8slanveth", "veth": name}
    return cni(forwarder(), verb, config, pod, "net1", agent.run_dir)[0]


def _dynamic(agent: Agent, verb: str, pod: Namespace, number: int) -> float:
    config = {"cniVersion": "1.0.0", "name": "scale", "type": "k8slanveth", "lan": f"default/lan{number % LANS}"}
    return cni(forwarder(), verb, config, pod, "net1", agent.run_dir)[0]


class _Stream:
    """Frames from one pod to another without a pause, counted at both ends."""

    def __init__(self, sender: Namespace, receiver: Namespace) -> None:
        self.sent = self.received = 0
        with inside(sender):
            self._out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._out.bind(("net1", 0))
        with inside(receiver):
            self._in = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
            self._in.bind(("net1", ETHERTYPE))
            self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._head = b"\xff" * 6 + self._out.getsockname()[4] + struct.pack(">H", ETHERTYPE)
        self._stop = threading.Event()
        self._goal = 0
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    def __enter__(self) -> _Stream:
        for thread in self._threads:
            thread.start()
        return self

    def more(self, frames: int) -> None:
        """Go on for so many frames, then stop."""
        self._goal = self.sent + frames

    def __exit__(self, *_exc: object) -> None:
        self._goal = self._goal or self.sent
        for thread in self._threads:
            thread.join()
        self._out.close()
        self._in.close()

    def _send(self) -> None:
        while not self._goal or self.sent < self._goal:
            self._out.send(self._head + struct.pack(">Q", self.sent).ljust(46, b"\0"))
            self.sent += 1
            self._stop.wait(0.001)  # a thousand frames a second: the pace of the stream, not a wait for anything
        self._stop.set()

    def _receive(self) -> None:
        self._in.settimeout(1)
        while True:
            try:
                self._in.recv(2048)
            except TimeoutError:
                if self._stop.is_set():
                    return
            else:
                self.received += 1
