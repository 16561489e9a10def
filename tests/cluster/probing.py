"""Real frames between pods of a cluster: endpoints in pods, and whether every class passes from one to another.

The test's process is on the same machine as the nodes, so it opens a pod's interface itself, in the pod's network
namespace (``interface``). A VM's tap is another matter: that it can be used from inside a container, with no more
rights than a hypervisor has there, is part of what is to be shown; so a small program in the container speaks there,
and the frames travel to and from it as ``kubectl exec`` carries them (``tap``).
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from k8slan_cli.errors import KernelError
from k8slan_cli.lan import names
from k8slan_cli.probe.endpoint import Endpoint, PacketSocket, Received
from k8slan_cli.probe.run import Collector, Probe, cross, sending
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.kubectl import Object
from tests.cluster.harness.pods import Pod

NETNS = Path("/run/k8slan/netns")
"""Where a node has its LANs' namespaces."""

_STATUS = "k8s.v1.cni.cncf.io/network-status"
_CONTACT_SECONDS = 10.0
_AGAIN_SECONDS = 0.05
_LATE_SECONDS = 3.0


def process(node: Node, container_id: str) -> Path:
    """The folder under /proc, of the host, of a container's first process. Raises LookupError if there is none."""
    wanted = container_id.removeprefix("containerd://")
    for line in node.run("ctr", "--namespace=k8s.io", "tasks", "list").stdout.splitlines():
        identity, pid, *_status = line.split()
        if identity == wanted:
            return Path(f"/proc/{node.machine.pid}/root/proc/{pid}")
    raise LookupError(f"{node.name} runs no container {container_id}")


def network_status(pod: Pod, network: str) -> dict[str, Any]:
    """What multus says of a pod's attachment to a network, ``namespace/name``. Raises KeyError."""
    every = json.loads(pod.get()["metadata"]["annotations"][_STATUS])
    return {each["name"]: each for each in every}[network]


class Endpoints:
    """Opens endpoints in pods; a context manager that closes them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def interface(self, pod: Pod, name: str) -> PacketSocket:
        """The pod's interface."""
        found = pod.get()
        node = self._cluster.node(found["spec"]["nodeName"])
        container = found["status"]["containerStatuses"][0]["containerID"]
        fd = os.open(process(node, container) / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return self._open.enter_context(PacketSocket(fd, name))
        finally:
            os.close(fd)

    def tap(self, pod: Pod, network: str) -> Relayed:
        """The tap of a pod's attachment to a network, by the program /guest/tap in its container."""
        device = tap_device(pod)
        mac = bytes.fromhex(network_status(pod, network)["mac"].replace(":", ""))
        command = pod.kubectl.command("exec", "--stdin", pod.name, "--", "/guest/tap", device)
        return self._open.enter_context(Relayed(command, mac))


def tap_device(pod: Pod) -> str:
    """The path of the one tap that a container was given."""
    (device,) = pod.run("sh", "-c", "ls /dev/tap[0-9]*").split()
    return device


class Relayed:
    """Frames by way of the streams of a command: the program ``tap`` in a launcher's container, or in a VM's guest."""

    def __init__(self, command: Sequence[str], mac: bytes) -> None:
        self.mac = mac
        self._buffer = bytearray()
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe)
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        first = self._stdout.read(2)
        if first != b"\0\0":
            self._fail()
        os.set_blocking(self.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when there is something to receive."""
        return self._stdout.fileno()

    def send(self, frame: bytes) -> None:
        """Send a frame."""
        self._stdin.write(len(frame).to_bytes(2, "big") + frame)

    def receive(self) -> Iterator[Received]:
        """All frames that have come in since the last call. Raises KernelError when the program has ended."""
        while True:
            try:
                data = os.read(self.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not data:
                self._fail()
            self._buffer += data
        now = time.monotonic_ns()
        while len(self._buffer) >= 2:
            end = 2 + int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < end:
                break
            yield Received(bytes(self._buffer[2:end]), now)
            del self._buffer[:end]

    def close(self) -> None:
        """End the program."""
        if self._process.poll() is None:
            self._stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._stdin, self._stdout, self._process.stderr):
            if stream:
                stream.close()

    def _fail(self) -> None:
        assert self._process.stderr
        words = self._process.stderr.read().decode(errors="replace").strip()
        self.close()
        raise KernelError(errno.EIO, f"the program at the tap has ended: {words}")


def contact(sender: Endpoint, receiver: Endpoint, mtu: int, seconds: float = _CONTACT_SECONDS) -> float:
    """Send broadcasts until one arrives and return how long that took, in seconds.

    Nodes hear of each other by the API, so a LAN that is new to a node has its other nodes a moment later. Raises
    TimeoutError.
    """
    started = time.monotonic()
    while (waited := time.monotonic() - started) < seconds:
        probe = Probe(src=sender.mac, dst=receiver.mac, mtu=mtu, count=1, keys=("ipv4-broadcast",))
        collector = Collector(probe)
        for _one in sending(sender, probe):
            collector.wait(receiver, _AGAIN_SECONDS)
        if collector.complete:
            return time.monotonic() - started
    raise TimeoutError(f"nothing arrived in {waited:.0f} s")


def failures(sender: Endpoint, receiver: Endpoint, mtu: int) -> list[str]:
    """Send every class of frames and say which do not arrive, each once and as it was sent."""
    probe = Probe(src=sender.mac, dst=receiver.mac, mtu=mtu)
    results = cross(sender, receiver, probe, seconds=_LATE_SECONDS)
    return [f"{result.key}: {result.verdict} {result.detail}" for result in results if not result.ok]


# ---------------------------------------------------------------- LANs


def lan(name: str, namespace: str, **spec: Any) -> Object:
    """A LAN's manifest."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": metadata, "spec": spec}


def until_ready(kubectl: Kubectl, name: str, timeout: float = 60) -> None:
    """Wait until a LAN is Ready, and so its NADs are there."""
    kubectl.wait("--for=condition=Ready", f"lan/{name}", timeout=timeout)


def until_allocatable(cluster: Cluster, *resources: str, timeout: float = 60) -> None:
    """Wait until every node can give each of the resources, by its own status."""

    def offered(node: Object) -> bool:
        return all(node["status"]["allocatable"].get(resource, "0") != "0" for resource in resources)

    for node in cluster.nodes:
        cluster.kubectl.until("node", node.name, holds=offered, timeout=timeout, what=f"{resources} to be allocatable")


def remove(kubectl: Kubectl, name: str, timeout: float = 60) -> None:
    """Delete the namespace's pods and a LAN, and wait until nothing of the LAN is left anywhere."""
    kubectl.delete("pods", "--all", timeout=timeout)
    kubectl.delete("lan", name, timeout=timeout)


def netns_of(kubectl: Kubectl, name: str) -> str:
    """The namespace that a LAN has on its nodes."""
    spec = kubectl.get("lan", name)["spec"]
    return spec.get("ns") or names.netns(kubectl.namespace, name)


def ports(node: Node, netns: str) -> list[str]:
    """The ports that pods have in a LAN on a node; none if the node has no part in it."""
    if node.run("test", "-e", f"{NETNS}/{netns}", check=False).returncode != 0:
        return []
    links = node.ip("link", "show", "type", "veth", netns=NETNS / netns)
    return [link["ifname"] for link in links if "master" in link]
