"""What tests of a LAN's life share: LANs that leave nothing, frames counted while something happens, agents that go.

Import the fixtures ``lans``, ``agents`` and ``flow`` where they are used.
"""

from __future__ import annotations

import itertools
import json
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.errors import KernelError
from k8slan_cli.lan import vtep_codec
from k8slan_cli.probe.endpoint import PacketSocket
from tests.cluster import probing, product
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.kubectl import KubectlError, Object
from tests.cluster.harness.pods import Pod, is_ready
from tests.support import names
from tests.support.agents import Outcome, eventually

# ---------------------------------------------------------------- LANs

_vnis = itertools.count(70000)


@dataclass(frozen=True, kw_only=True)
class Lan:
    """A LAN that was asked for, in the namespace of ``kubectl``."""

    name: str
    netns: str
    vni: int
    spokes: tuple[str, ...]
    kubectl: Kubectl

    def tap_index(self, spoke: str) -> int:
        """The link index that the tap of a VM on a spoke has, and so its ``/dev/tap<index>``."""
        return probing.names.tap_index(f"{self.kubectl.namespace}/{self.name}", spoke)

    def get(self) -> Object:
        """The object as the API has it now."""
        return self.kubectl.get("lan", self.name)

    def until(self, holds: Callable[[Object], bool], what: str, timeout: float = 60) -> Object:
        """Wait for a state of the object."""
        return self.kubectl.until("lan", self.name, holds=holds, timeout=timeout, what=what)

    def until_ready(self, timeout: float = 60) -> None:
        """Wait until the controller says that it is Ready as it is wanted now, be one of its requests lost (30 s)."""
        generation = self.get()["metadata"]["generation"]

        def ready(lan: Object) -> bool:
            found = condition(lan, "Ready")
            return found.get("status") == "True" and found.get("observedGeneration", 0) >= generation

        self.until(ready, "Ready", timeout)

    def until_on(self, *nodes: Node, timeout: float = 60) -> None:
        """Wait until exactly these nodes take part, all is well on each, and they know of each other."""
        wanted = {node.name: "Ready" for node in nodes}
        eventually(f"{self.name} is on {sorted(wanted)}", lambda: self.states() == wanted, timeout)
        for node in nodes:
            others = {other.address for other in nodes if other is not node}
            eventually(f"{node.name} sends to {others}", lambda n=node, o=others: self.peers(n) == o, timeout)

    def vteps(self) -> dict[str, Object]:
        """The status of each of its VTEPs, by node; version 0.1.0 knows none."""
        try:
            found = self.kubectl.items("vteps", "-l", f"{vtep_codec.LAN_LABEL}={self.name}")
        except KubectlError as error:
            if "could not find the requested resource" in str(error) or "have a resource type" in str(error):
                return {}
            raise
        return {vtep["spec"]["node"]: vtep.get("status", {}) for vtep in found}

    def states(self) -> dict[str, str]:
        """How it is on the nodes that take part, also on those whose agents are of 0.1.0 and write no VTEP."""
        vteps = self.vteps()
        first = {entry["name"]: entry.get("state", "") for entry in entries(self.get()) if entry["name"] not in vteps}
        return first | {node: status.get("state", "") for node, status in vteps.items() if status.get("ports")}

    def peers(self, node: Node) -> set[str]:
        """Where a node sends what has no known place."""
        vxlan = self.get()["spec"]["vxlan"]
        command = ["bridge", "-json", "fdb", "show", "dev", vxlan]
        found = node.run("nsenter", f"--net={probing.NETNS}/{self.netns}", *command, check=False).stdout
        return {
            entry["dst"] for entry in json.loads(found or "[]") if "dst" in entry and int(entry["mac"][:2], 16) == 0
        }

    def patch(self, change: Object) -> None:
        """Change it as ``kubectl patch --type=merge`` does."""
        self.kubectl("patch", "lan", self.name, "--type=merge", "-p", json.dumps(change))

    def edit(self, **spec: Any) -> None:
        """Change fields of the spec and wait until the controller is through."""
        self.patch({"spec": spec})
        self.until_ready()

    def delete(self) -> None:
        """Ask for its deletion and do not wait."""
        self.kubectl("delete", "lan", self.name, "--wait=false")

    def until_gone(self, timeout: float = 60) -> None:
        """Wait until it is gone from the API."""
        self.kubectl.wait("--for=delete", f"lan/{self.name}", timeout=timeout)

    def veth(self, spoke: int = 0, interface: str = "net1") -> str:
        """What a pod asks multus for to have a veth on the spoke of that number."""
        return f"k8slan-veth-{self.spokes[spoke]}@{interface}"

    def any(self, interface: str = "net1") -> str:
        """What a pod asks multus for to have any port of a dynamic LAN."""
        return f"k8slan-lan-{self.name}@{interface}"


def condition(lan: Object, kind: str = "Ready") -> dict[str, Any]:
    """A condition of a LAN; empty if it has not been written."""
    found = lan.get("status", {}).get("conditions", ())
    return next((each for each in found if each["type"] == kind), {})


def entries(lan: Object) -> list[dict[str, Any]]:
    """``status.nodes`` of a LAN."""
    return list(lan.get("status", {}).get("nodes", ()))


def events(kubectl: Kubectl, lan: str) -> list[tuple[str, str]]:
    """Reason and note of the events about a LAN."""
    found = kubectl.items("events.events.k8s.io", f"--field-selector=regarding.kind=LAN,regarding.name={lan}")
    return [(event["reason"], event["note"]) for event in found]


def until_event(kubectl: Kubectl, lan: str, reason: str, timeout: float = 60) -> str:
    """Wait for an event about a LAN; returns its note."""
    selector = f"--field-selector=regarding.kind=LAN,regarding.name={lan}"
    found = kubectl.until(
        "events.events.k8s.io", selector, holds=lambda e: e["reason"] == reason, timeout=timeout, what=reason
    )
    return str(found["note"])


class Lans:
    """Makes LANs in the test's namespace and, at the end, shows that nothing of any is left."""

    def __init__(self, cluster: Cluster, kubectl: Kubectl) -> None:
        self._cluster = cluster
        self._kubectl = kubectl
        self.made: list[Lan] = []

    def __call__(self, name: str = "life", *, spokes: int | Sequence[str] = 2, ready: bool = True, **spec: Any) -> Lan:
        """A LAN with ``spokes`` spokes (or these) and a VNI and namespace of its own, and what else ``spec`` says."""
        which = tuple(names.unique("e") for _ in range(spokes)) if isinstance(spokes, int) else tuple(spokes)
        defaults = {"ns": names.unique("n"), "bridge": "br0", "vxlan": "vx0", "vni": next(_vnis), "spokes": list(which)}
        document = probing.lan(name, self._kubectl.namespace, **{**defaults, **spec})
        wanted = document["spec"]
        lan = Lan(name=name, netns=wanted["ns"], vni=wanted["vni"], spokes=which, kubectl=self._kubectl)
        self.made.append(lan)
        self._kubectl.create(document)
        if ready:
            lan.until_ready()
        return lan

    def end(self) -> None:
        """Delete all pods and LANs, and assert that nothing is left."""
        self._kubectl.delete("deployments,pods", "--all", timeout=120)
        self._kubectl.delete("lans", "--all", timeout=60)
        for node in self._cluster.nodes:
            until_nothing_left(node, *self.made)


@pytest.fixture
def lans(k8slan: Cluster, kubectl: Kubectl) -> Iterator[Lans]:
    """Makes LANs: ``lans("one", spokes=3, dynamic=True)``."""
    lans = Lans(k8slan, kubectl)
    yield lans
    lans.end()


# ---------------------------------------------------------------- on a node


def root(node: Node) -> Path:
    """The root of a node's file system, seen from the host."""
    return Path(f"/proc/{node.machine.pid}/root")


def leftovers(node: Node, lan: Lan) -> list[str]:
    """What a node still has of a LAN."""
    run = root(node) / "run/k8slan"
    found = [f"namespace {lan.netns}"] if (run / "netns" / lan.netns).exists() else []
    for folder in ("attachments", "lans"):
        texts = {path.name: _text(path) for path in (run / folder).glob("*")}
        marks = (f'"{lan.kubectl.namespace}/{lan.name}"', f'"ns": "{lan.netns}"')
        found += [f"{folder}/{name}" for name, text in texts.items() if any(mark in text for mark in marks)]
    found += [f"spool/{path.name}" for path in (run / "spool").glob("*")]
    found += [f"tap of {spoke}" for spoke in lan.spokes if lan.tap_index(spoke) in taps(node)]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def taps(node: Node) -> set[int]:
    """The link indexes of all tap devices that a node shows."""
    return {int(path.name[3:]) for path in (root(node) / "dev").glob("tap[0-9]*")}


def until_nothing_left(node: Node, *lans: Lan, timeout: float = 20) -> None:
    """Wait until a node has nothing of LANs any more; it hears of their end a moment after everybody else."""
    deadline = time.monotonic() + timeout
    for lan in lans:
        while (found := leftovers(node, lan)) and time.monotonic() < deadline:
            time.sleep(0.02)  # nobody tells of a file that goes on another machine
        assert not found, f"{node.name} still has of LAN {lan.name}: {found}"


def links(node: Node, lan: Lan) -> dict[str, int]:
    """The links in a LAN's namespace with their indexes: the same index is the same link, never made anew."""
    return {link["ifname"]: link["ifindex"] for link in node.ip("link", "show", netns=probing.NETNS / lan.netns)}


# ---------------------------------------------------------------- traffic


_FRAME = struct.Struct(">6s6sHIQ")
_ETHERTYPE = 0x88B5  # IEEE 802: for local experiments
_EVERY = 0.004  # seconds between two frames of a direction
_LATE = 3.0  # seconds that the last frames may take


@dataclass
class Way:
    """One direction: who sends, who hears, which numbers were sent, and which came in how often."""

    sender: PacketSocket
    receiver: PacketSocket
    mark: int = field(default_factory=lambda: int.from_bytes(os.urandom(4)))
    sent: int = 0
    came: dict[int, int] = field(default_factory=dict)

    def send(self) -> None:
        """Send the next frame."""
        frame = _FRAME.pack(self.receiver.mac, self.sender.mac, _ETHERTYPE, self.mark, self.sent)
        self.sender.send(frame.ljust(60, b"\0"))
        self.sent += 1

    def hear(self) -> None:
        """Count what has come in."""
        for received in self.receiver.receive():
            if len(received.frame) >= _FRAME.size:
                *_macs, kind, mark, number = _FRAME.unpack_from(received.frame)
                if (kind, mark) == (_ETHERTYPE, self.mark):
                    self.came[number] = self.came.get(number, 0) + 1

    @property
    def lost(self) -> list[int]:
        """Numbers of the frames that did not arrive."""
        return [number for number in range(self.sent) if number not in self.came]


class Flow:
    """Numbered frames between two interfaces, both ways, about 250 a second each, from ``start`` to ``stop``."""

    def __init__(self, one: PacketSocket, other: PacketSocket) -> None:
        self.ways = (Way(one, other), Way(other, one))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flow")
        self._fault: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(_EVERY):
                for way in self.ways:
                    way.send()
                for way in self.ways:
                    way.hear()
        except (OSError, KernelError) as error:
            self._fault = error

    def stop(self, least: int) -> None:
        """End once ``least`` frames have been sent, and wait for the last ones."""
        while self._thread.is_alive() and min(way.sent for way in self.ways) < least:
            self._stop.wait(_EVERY)
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + _LATE
        while self._fault is None and any(way.lost for way in self.ways) and time.monotonic() < deadline:
            self._stop.wait(_EVERY)
            for way in self.ways:
                way.hear()

    def check(self) -> None:
        """Assert that all frames have arrived, each once."""
        if self._fault:
            raise AssertionError(f"the traffic broke off: {self._fault}")
        for way in self.ways:
            path = f"{way.sender.name} → {way.receiver.name}"
            assert not way.lost, f"{path}: of {way.sent} frames {len(way.lost)} are lost: {_runs(way.lost)}"
            twice = [number for number, count in way.came.items() if count > 1]
            assert not twice, f"{path}: of {way.sent} frames {len(twice)} came more than once: {_runs(twice)}"


def _runs(numbers: Sequence[int]) -> str:
    """Numbers as runs: ``3-17, 40``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in runs[:10])


Undisturbed = Callable[..., AbstractContextManager[Flow]]


@pytest.fixture
def undisturbed(cluster: Cluster) -> Iterator[Undisturbed]:
    """Shows that the traffic of two pods loses nothing while a block runs, and until ``least`` frames are sent."""
    with probing.Endpoints(cluster) as endpoints:

        @contextmanager
        def undisturbed(one: Pod, other: Pod, interface: str = "net1", least: int = 50) -> Iterator[Flow]:
            ends = endpoints.interface(one, interface), endpoints.interface(other, interface)
            for sender, receiver in (ends, ends[::-1]):
                probing.contact(sender, receiver, sender.mtu)
            flow = Flow(*ends)
            flow.start()
            try:
                yield flow
            finally:
                flow.stop(least)
            flow.check()

        yield undisturbed


# ---------------------------------------------------------------- agents

DAEMON_SET = "daemonset/k8slan-node-agent"
_AWAY = "k8slan.io/test-away"


class Agents:
    """The node agents, and what may befall them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.kubectl = cluster.kubectl.within(product.NAMESPACE)

    def pod(self, node: Node) -> Pod:
        """The agent's pod on a node."""
        found = self.kubectl.items("pods", *_on(node))
        (name,) = [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return Pod(name=name, kubectl=self.kubectl)

    def folder(self, node: Node) -> Path:
        """The folder under /proc of the agent's process on a node."""
        return probing.process(node, self.pod(node).container_id)

    def crash(self, node: Node) -> str:
        """End the agent as a crash would; returns the container that has ended."""
        container = self.pod(node).container_id
        node.run("kill", "-KILL", probing.process(node, container).name)
        return container

    def until_another(self, node: Node, container: str, timeout: float = 60) -> None:
        """Wait until a node has a ready agent in another container than this one."""

        def anew(pod: Object) -> bool:
            statuses = pod.get("status", {}).get("containerStatuses", ())
            return is_ready(pod) and all(each.get("containerID") != container for each in statuses)

        self.kubectl.until("pods", *_on(node), holds=anew, timeout=timeout, what=f"an agent on {node.name} again")

    def kill(self, node: Node) -> None:
        """Let the agent crash, and return when the kubelet has started another that is ready."""
        self.until_another(node, self.crash(node))

    def fresh(self, node: Node) -> None:
        """Give a node a new agent's pod, with which the kubelet's patience with crashes begins anew."""
        pod = self.pod(node)
        container = pod.container_id
        pod.delete()
        self.until_another(node, container)

    def log(self, node: Node) -> str:
        """What the agent of now has logged."""
        return self.kubectl("logs", self.pod(node).name)

    def until_ready(self, timeout: float = 90) -> None:
        """Wait until every node has a ready agent of the newest template."""
        self.kubectl("rollout", "status", DAEMON_SET, f"--timeout={timeout:.0f}s", timeout=timeout + 5)

    def patch(self, template: Object) -> None:
        """Change the DaemonSet's pod template."""
        self.kubectl("patch", DAEMON_SET, "--type=strategic", "-p", json.dumps({"spec": {"template": template}}))

    @contextmanager
    def away(self) -> Iterator[None]:
        """No agent on any node while the block runs."""
        pods = [self.pod(node).name for node in self._cluster.nodes]
        self.patch({"spec": {"nodeSelector": {_AWAY: "true"}}})
        try:
            for pod in pods:
                self.kubectl.wait("--for=delete", f"pod/{pod}")
            yield
        finally:
            self.patch({"spec": {"nodeSelector": {_AWAY: None}}})
            self.until_ready()


def _on(node: Node) -> tuple[str, ...]:
    return "-l", "app.kubernetes.io/name=k8slan-node-agent", f"--field-selector=spec.nodeName={node.name}"


@pytest.fixture
def agents(k8slan: Cluster) -> Agents:
    """The node agents."""
    return Agents(k8slan)


def controller_on(cluster: Cluster, node: Node) -> None:
    """Let the controller run on a node, and wait until it leads there."""
    kubectl = cluster.kubectl.within(product.NAMESPACE)
    others = [other.name for other in cluster.nodes if other is not node]
    kubectl("cordon", *others)
    try:
        kubectl("rollout", "restart", "deployment/k8slan-controller")
        kubectl("rollout", "status", "deployment/k8slan-controller", "--timeout=60s", timeout=65)
    finally:
        kubectl("uncordon", *others)
    found = kubectl.items("pods", "-l", "app.kubernetes.io/name=k8slan-controller")
    (name,) = [pod["metadata"]["name"] for pod in found if pod["spec"]["nodeName"] == node.name and is_ready(pod)]
    kubectl.until(
        "lease",
        "k8slan-controller",
        holds=lambda lease: str(lease["spec"].get("holderIdentity", "")).startswith(name),
        what=f"held by {name}",
    )


# ---------------------------------------------------------------- CNI calls without a kubelet

PLUGINS = {"veth": "k8slanveth", "macvtap": "k8slanmacvtap"}


class Sandbox:
    """A network namespace on a node that is plugged in by the node's own CNI executables, as a runtime does."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.name = names.unique("sb")
        self.container = f"{self.name}{os.urandom(16).hex()}"
        node.run("ip", "netns", "add", self.name)

    def call(self, verb: str, config: Object, *, interface: str = "net1", pod: str = "") -> Outcome:
        """Call the executable that the configuration names."""
        environ = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": f"/run/netns/{self.name}",
            "CNI_IFNAME": interface,
            "CNI_PATH": "/opt/cni/bin",
        }
        if pod:
            namespace, _, name = pod.partition("/")
            environ["CNI_ARGS"] = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}"
        command = ["env", "-i", *(f"{key}={value}" for key, value in environ.items()), f"/opt/cni/bin/{config['type']}"]
        began = time.monotonic()
        done: subprocess.CompletedProcess[str] = self.node.run(*command, stdin=json.dumps(config), check=False)
        return Outcome(status=done.returncode, stdout=done.stdout.encode(), seconds=time.monotonic() - began)

    def interface(self, name: str = "net1") -> PacketSocket:
        """One of its interfaces; to be closed."""
        fd = os.open(root(self.node) / "run/netns" / self.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return PacketSocket(fd, name)
        finally:
            os.close(fd)

    def end(self) -> None:
        """Take the namespace away."""
        self.node.run("ip", "netns", "delete", self.name)


@pytest.fixture
def sandbox() -> Iterator[Callable[[Node], Sandbox]]:
    """Makes sandboxes: ``sandbox(node1)``."""
    made: list[Sandbox] = []

    def make(node: Node) -> Sandbox:
        made.append(Sandbox(node))
        return made[-1]

    yield make
    for each in made:
        each.end()


# ---------------------------------------------------------------- many pods


def until_pods(kubectl: Kubectl, count: int, selector: str = "", timeout: float = 120) -> None:
    """Wait until as many pods are Ready."""
    ready: set[str] = set()
    for pod in kubectl.watch("pods", *(["-l", selector] if selector else []), timeout=timeout):
        name = pod["metadata"]["name"]
        (ready.add if is_ready(pod) and not pod.get("deleted") else ready.discard)(name)
        if len(ready) >= count:
            return
    raise TimeoutError(f"{len(ready)} of {count} pods are Ready after {timeout:.0f} s")
