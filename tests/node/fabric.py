"""Several nodes on one switch, each a namespace with the agent's own code in this process, on an API server in memory.

The namespaces, links and frames are real; what is played is the Kubernetes API alone. A node can be cut off from it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.attach import Attacher
from k8slan_cli.agent.passes import Self
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.publish import Publisher
from k8slan_cli.agent.uplinks import Uplinks
from k8slan_cli.cni import request as cni
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import LANS
from k8slan_cli.kube.lans import ApiSource
from k8slan_cli.kube.lease import UplinkLeases
from k8slan_cli.kube.vteps import VtepWatch, VtepWriter
from k8slan_cli.net import netns
from tests.support import names
from tests.support.agents import Inside, document, veth
from tests.support.netns import Namespace, command
from tests.unit.kube.fake_api import FakeApi

SECONDS = 10.0


class Line:
    """A node's connection to the API server, which can be ``cut``."""

    def __init__(self, api: FakeApi) -> None:
        self.cut = False
        self._api = api

    def _check(self) -> None:
        if self.cut:
            raise ApiError("no answer")

    async def call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """Pass a request on."""
        self._check()
        return await self._api.call(method, path, **more)

    @asynccontextmanager
    async def watch(self, path: str, query: Mapping[str, str], seconds: float) -> AsyncIterator[Any]:
        """Pass a watch on, whose events stop at a cut."""
        self._check()

        async def events(source: Any) -> AsyncIterator[Any]:
            async for event in source:
                self._check()
                yield event

        async with self._api.watch(path, query, seconds) as source:
            yield events(source)


class Node:
    """A node: its namespace, its run directory, and the agent that runs on it now."""

    def __init__(self, number: int, namespace: Namespace, folder: Path, api: FakeApi) -> None:
        self.name = f"n{number}"
        self.number = number
        self.line = Line(api)
        self.namespace = namespace
        self.folder = folder

    @asynccontextmanager
    async def agent(self, handover: float = 0.0) -> AsyncIterator[None]:
        """Run an agent for the length of a block."""
        paths = Paths(self.folder / "run")
        paths.private.mkdir(parents=True, exist_ok=True)
        paths.create()
        vteps, source = VtepWatch(self.line, pause=lambda _: asyncio.sleep(0.02)), ApiSource(self.line)
        with netns.inside(self.namespace.fd()):
            me = Self(name=self.name, address=ip_address(f"192.0.2.{self.number}"))
            self.running = Agent(paths, me, vteps=vteps)
            self.running.watch_host()
        self.attacher = Attacher(self.running, handover)
        self.running.take_part()
        writer: Any = VtepWriter(self.line, self.name)  # type: ignore[arg-type]
        self.running.migrates = writer.migrates
        publisher = Publisher(self.running, writer, lambda seconds: asyncio.sleep(min(seconds, 0.1)))
        leases = UplinkLeases(self.line, "system", self.name)  # type: ignore[arg-type]
        uplinks = Uplinks(self.running, leases)
        parts = (self.running.follow(source), publisher.run(), uplinks.run())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            if not self.line.cut:
                await self.running.lans.heard.wait()
            await self.running.settle()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await vteps.close()
            await source.close()
            await self.running.close()

    async def plug(
        self,
        pod: Namespace,
        spoke: str,
        uid: str = "uid",
        name: str = "",
        kind: Callable[[str], Any] = veth,
        ifname: str = "eth1",
    ) -> None:
        """Plug a pod, which says nothing of its own, into a spoke; it is called as the spoke by default.

        ``kind`` is ``veth``, or ``macvtap`` for a VM.
        """
        pod.run("sh", "-c", "for d in all default; do echo 1 >/proc/sys/net/ipv6/conf/$d/disable_ipv6; done")
        request: Any = self._request("ADD", pod, spoke, uid, name, kind, ifname)
        await self.attacher.add(request, pod.fd())

    async def unplug(self, pod: Namespace, spoke: str, ifname: str = "eth1") -> None:
        """Unplug it."""
        await self.attacher.delete(self._request("DEL", pod, spoke, ifname=ifname))  # type: ignore[arg-type]

    def _request(
        self,
        verb: str,
        pod: Namespace,
        spoke: str,
        uid: str = "",
        name: str = "",
        kind: Callable[[str], Any] = veth,
        ifname: str = "eth1",
    ) -> cni.Request:
        environ = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod.name,
            "CNI_NETNS": str(pod.path),
            "CNI_IFNAME": ifname,
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"K8S_POD_NAMESPACE=lab;K8S_POD_NAME={name or spoke};K8S_POD_UID={uid}",
        }
        return cni.parse(environ, json.dumps(kind(spoke)).encode())

    def inside(self, lan: str) -> Inside:
        """The LAN's namespace on this node."""
        return Inside(self.folder / "run" / "netns" / lan)


@contextmanager
def fabric(api: FakeApi, *mtus: int) -> Iterator[list[Node]]:
    """Nodes on one switch, one for each MTU of their underlay."""
    with ExitStack() as stack:
        switch = stack.enter_context(Namespace.create("sw"))
        switch.ip("link", "add", "br0", "mtu", str(max(mtus)), "type", "bridge")
        switch.ip("link", "set", "br0", "up")
        nodes = []
        for number, mtu in enumerate(mtus, 1):
            namespace = stack.enter_context(Namespace.create("n"))
            port, wide = f"port{number}", ("mtu", str(mtu))
            switch.ip(
                "link", "add", port, *wide, "type", "veth", "peer", "name", "eth0", *wide, "netns", namespace.name
            )
            switch.ip("link", "set", port, "master", "br0", "up")
            namespace.ip("link", "set", "eth0", "up")
            namespace.ip("address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            nodes.append(Node(number, namespace, stack.enter_context(_folder()), api))
        yield nodes


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"{names.unique()}-", dir="/tmp"))
    try:
        yield folder
    finally:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for path in mounts:
            if path.startswith(f"{folder}/"):
                command("umount", "--lazy", path)
        shutil.rmtree(folder)


def lan(api: FakeApi, name: str, vni: int, *spokes: str) -> None:
    """Make a LAN in the API server."""
    found = document(name, namespace="lab", peers=(), vni=vni, ns=name, spokes=list(spokes), defaultVxlanDev="eth0")
    api.put(LANS.path("lab", name), found)


def configure(pods: Mapping[str, Namespace], hosts: Mapping[str, int]) -> None:
    """Give each pod its address, and all others' MAC addresses: none has to ask."""
    macs = {name: pod.links()["eth1"]["address"] for name, pod in pods.items()}
    for name, pod in pods.items():
        pod.ip("address", "add", f"198.51.100.{hosts[name]}/24", "dev", "eth1")
        for other, mac in macs.items():
            if other != name:
                pod.ip("neigh", "add", f"198.51.100.{hosts[other]}", "lladdr", mac, "dev", "eth1", "nud", "permanent")


async def reaches(sender: Namespace, receiver: Namespace, host: int, size: int = 1) -> bool:
    """Whether a datagram from one pod reaches another within a second; the other pod says nothing to it."""
    with _udp(receiver) as to, _udp(sender) as out:
        to.bind(("", 9999))
        out.sendto(bytes(size), (f"198.51.100.{host}", 9999))
        try:
            async with asyncio.timeout(1):
                return await asyncio.get_running_loop().sock_recv(to, 2048) == bytes(size)
        except TimeoutError:
            return False


def _udp(pod: Namespace) -> socket.socket:
    with netns.inside(pod.fd()):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


async def eventually(what: str, condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Look until a condition holds, in a loop that the agents share."""
    until = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < until, f"{what}: not within {seconds} s"
        await asyncio.sleep(0.02)
