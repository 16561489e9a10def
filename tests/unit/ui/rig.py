"""A lab for the page of ``k8slan ui``: a cluster that stands in for a real one, and agents that a test speaks for."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.agents import Attachments
from k8slan_cli.diagnose.protocol import Plugged, Traffic
from k8slan_cli.errors import K8slanError
from k8slan_cli.kube import apply
from k8slan_cli.ui.actions import Actions
from k8slan_cli.ui.server import Page
from k8slan_cli.ui.watching import Board, Scope, Watching
from tests.support import scene
from tests.unit.cli.cluster import Workstation
from tests.unit.render.api import Api, serve

SPACE = Scope(spaces=("lab",))


class Telling:
    """An agent's answer to who wants to know what goes through attachments."""

    def __init__(self) -> None:
        self.lines: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def events(self) -> Iterator[dict[str, Any]]:
        """What it tells, until it is given up."""
        while (line := self.lines.get()) is not None:
            yield line

    def close(self) -> None:
        """Give it up."""
        self.lines.put(None)


class Session:
    """A place at which frames are sent and received, on a LAN that loses some classes of them."""

    def __init__(self, lan: list[Session], lost: set[str]) -> None:
        self._lan, self._lost = lan, lost
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._expected: set[str] = set()
        lan.append(self)
        self._said.put({"ready": {"mac": f"0200000000{len(lan):02x}", "mtu": 1446}})

    def events(self) -> Iterator[dict[str, Any]]:
        """What it says, until it is given up."""
        while (line := self._said.get()) is not None:
            yield line

    def close(self) -> None:
        """Give it up."""
        self._said.put(None)

    def say(self, **command: Any) -> None:
        """Do what it is told."""
        if wanted := command.get("expect"):
            self._expected.add(wanted["id"])
            self._said.put({"expecting": wanted["id"]})
        elif wanted := command.get("send"):
            frames = [[key, number, 1000, ""] for key in wanted["keys"] for number in range(wanted["count"])]
            came = [[wanted["id"], *frame] for frame in frames if frame[0] not in self._lost]
            for other in self._lan:
                if wanted["id"] in other._expected:
                    other._said.put({"arrived": came})
            self._said.put({"sent": {"id": wanted["id"], "frames": frames}})


@dataclass
class Agents:
    """The agents of all nodes.

    ``refuse`` is what they say instead, ``captures`` what they answer to captures, ``lost`` which frames a probe loses.
    """

    items: list[Plugged] = field(default_factory=list)
    refuse: K8slanError | None = None
    captures: list[Any] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    pods: dict[str, object] = field(default_factory=dict)
    _telling: dict[str, Telling] = field(default_factory=dict)
    _sessions: list[Session] = field(default_factory=list)
    _at: int = 0

    def token(self) -> str:
        """A token."""
        if self.refuse:
            raise self.refuse
        return "token"

    def forget(self) -> None:
        """Nothing is remembered."""

    def each(
        self, nodes: Iterable[str], act: Callable[[str], Any], *, unreachable: dict[str, K8slanError] | None = None
    ) -> dict[str, Any]:
        """Ask several; ``unreachable`` are none."""
        assert unreachable is None or not unreachable
        return {node: act(node) for node in nodes}

    def call(self, node: str, path: str, body: Mapping[str, Any]) -> Any:
        """Ask one."""
        if self.refuse:
            raise self.refuse
        self.asked.append((node, path, body))
        if path == protocol.TRAFFIC:
            self._telling[node] = Telling()
            self._tell(node, self._at)
            return self._telling[node]
        if path == protocol.SESSION:
            return Session(self._sessions, self.lost)
        return self.captures.pop(0)

    def plugged(self, lan: str, nodes: Sequence[str] | None = None) -> Attachments:
        """Who is attached to a LAN."""
        if self.refuse:
            raise self.refuse
        return Attachments(tuple(i for i in self.items if i.lan == lan and (nodes is None or i.node in nodes)))

    def tick(self, frames: Callable[[int], int] = lambda number: 100 * (number + 1)) -> None:
        """A second goes by, in which so many frames of 125 bytes go through each attachment, by its number."""
        self._at += 1
        self.items = [
            replace(
                item,
                carrier=item.up,
                sent=Traffic(packets=item.sent.packets + n, bytes=item.sent.bytes + 125 * n),
                received=Traffic(packets=item.received.packets + n, bytes=item.received.bytes + 125 * n),
            )
            for item, n in zip(self.items, map(frames, range(len(self.items))), strict=True)
        ]
        for node in self._telling:
            self._tell(node, self._at)

    def _tell(self, node: str, at: int) -> None:
        told = [item.encode() for item in self.items if item.node == node]
        self._telling[node].lines.put({"at": float(at), "attachments": told})


class Lab:
    """Cluster, agents, and what the page is made of."""

    def __init__(self, api: Api, kubeconfig: Path) -> None:
        self.api = api
        self.kubeconfig = kubeconfig
        self.agents = Agents()
        self.cluster = apply.connect(str(kubeconfig))
        self.put = Workstation(api, kubeconfig).put

    def watching(self, scope: Scope = SPACE) -> Watching:
        """What keeps a document of it up to date."""
        return Watching(self.cluster, self.agents, scope)  # type: ignore[arg-type]

    @property
    def actions(self) -> Actions:
        """What can be asked for."""
        return Actions(self.cluster, self.agents)  # type: ignore[arg-type]

    def lan(self, name: str, *ends: tuple[str, str, str], vni: int, ready: bool = True, **spec: Any) -> None:
        """A LAN with ends: device, interface, node; a device that begins with ``vm`` is a VM."""
        state = (
            scene.READY if ready else scene.condition("Ready", False, "NodesDegraded", "on node worker2: eth1 is down")
        )
        spokes = [f"{device}-{interface}"[:13] for device, interface, _ in ends]
        status = scene.status(state, spokes=len(spokes), attached=len(spokes), nodes=2)
        self.put(scene.lan(name, spokes=spokes, vni=vni, status=status, **spec))
        nodes: dict[str, list[Any]] = {}
        for number, ((device, interface, node), spoke) in enumerate(zip(ends, spokes, strict=True)):
            vm = device if device.startswith("vm") else ""
            pod = f"virt-launcher-{device}-x7k2p" if vm else device
            mac = f"02:{vni % 256:02x}:00:00:{number // 256:02x}:{number % 256:02x}"
            nodes.setdefault(node, []).append(scene.port(pod, spoke, mac, interface=interface, vm=vm))
            self.put(scene.pod(pod, "", node=node, vm=vm))
            self.agents.items.append(
                Plugged(
                    node=node, lan=f"lab/{name}", container=f"c-{pod}", ifname=interface, kind="veth",
                    port=spoke, mac=mac, mtu=1446, spoke=spoke, pod=f"lab/{pod}", carrier=True,
                )
            )  # fmt: skip
        self.put(*(scene.vtep(node, *ports, lan=name) for node, ports in nodes.items()))


@contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """A cluster without LANs."""
    api = Api()
    with serve(api, folder / "kubeconfig"):
        yield Lab(api, folder / "kubeconfig")


@contextmanager
def served(board: Board, actions: Actions) -> Iterator[Page]:
    """The page, served."""
    began: queue.Queue[tuple[Page, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def run() -> None:
        page, ended = Page(board, actions), asyncio.Event()
        page.start()
        began.put((page, asyncio.get_running_loop(), ended))
        await ended.wait()
        await page.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    page, loop, ended = began.get(timeout=30)
    try:
        yield page
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


def until(board: Board, holds: Callable[[dict[str, Any]], object], seconds: float = 20.0) -> dict[str, Any]:
    """The document once something of it holds."""
    end, number = time.monotonic() + seconds, -1
    while True:
        number, found = board.wait(number, end - time.monotonic())
        if found and holds(found):
            return found
        assert time.monotonic() < end, found


def routers(found: Lab) -> None:
    """Put three routers and the cables between them there, and a LAN of hosts and a VM."""
    for number, (one, two) in enumerate((("r1", "r2"), ("r2", "r3"), ("r1", "r3"))):
        ends = ((one, f"to-{two}", "worker1"), (two, f"to-{one}", "worker2"))
        found.lan(f"{one}-{two}", *ends, vni=101 + number)
    hosts = [(f"host{number}", "eth0", f"worker{number % 2 + 1}") for number in range(1, 4)]
    found.lan("meadow", ("r3", "eth9", "worker2"), *hosts, ("vm-firewall", "eth0", "worker2"), vni=110)


def crowd(found: Lab, number: int) -> None:
    """Put a LAN of so many pods there."""
    found.lan("crowd", *((f"p{each}", "eth0", f"worker{each % 4 + 1}") for each in range(number)), vni=200)
