"""Virtual machines of KubeVirt for tests, their guest that of tests/cluster/guest: looked at, spoken by, and moved."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8slan_cli.errors import KernelError
from k8slan_cli.lan import names
from k8slan_cli.net.sockets import open_packet
from tests.cluster import guest, probing
from tests.cluster.harness import Cluster, Kubectl, KubectlError, Node
from tests.cluster.harness.kubectl import Object
from tests.cluster.harness.pods import Pod, Pods
from tests.cluster.life import Lan
from tests.support import names as test_names
from tests.support.agents import eventually

NAME = "vm"
MAC = "02:aa:bb:cc:dd:01"
PEER, GUEST = "10.97.0.1", "10.97.0.2"
_MACHINE = "vm.kubevirt.io/name"
_SO_TIMESTAMPNS = 35
"""The kernel's asm-generic/socket.h: when a frame came, which Python hears of later."""
_START_SECONDS, _MOVE_SECONDS = 120.0, 150.0


SILENT = ""
"""What a guest is told that is to say nothing."""
ORDERS = "guest.orders=1"
"""What a guest is told that speaks as tests want it to, by ``Machine.end``; its eth0 is on the pod network."""


def pings(peer: str, address: str) -> str:
    """What a guest is told that has an address and pings for good."""
    return f"guest.address={address}/24 guest.ping={peer} guest.stays=1"


def interface(name: str, spoke: str, mac: str | None = None, *, bridge: bool = False) -> tuple[Object, Object]:
    """A VM's interface on a spoke, and the network that goes with it; ``bridge``: by KubeVirt's own binding."""
    way: Object = {"bridge": {}} if bridge else {"binding": {"name": "macvtap"}}
    nad = f"k8slan-{'veth' if bridge else 'mac'}-{spoke}"
    return {"name": name, **way, **({"macAddress": mac} if mac else {})}, {"name": name, "multus": {"networkName": nad}}


def manifest(
    told: str, *spokes: str, macs: Sequence[str] = (), node: Node | None = None, bridge: bool = False
) -> Object:
    """A VM on some spokes, whose guest is ``told`` what to do.

    ``macs``: of its interfaces there, where it is not to have those of k8slan. ``node``: where it starts; it may be
    moved from there. ``bridge``: see ``interface``.
    """
    plugs = enumerate(itertools.zip_longest(spokes, macs), start=1)
    pairs = [interface(f"lan{number}", spoke, mac, bridge=bridge) for number, (spoke, mac) in plugs]
    interfaces, networks = map(list, zip(*pairs, strict=True))
    if told == ORDERS:
        interfaces.insert(0, {"name": "default", "masquerade": {}})
        networks.insert(0, {"name": "default", "pod": {}})
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 0,
        "domain": {
            "cpu": {"model": "Nehalem"},  # by which a migration finds its target
            "resources": {"requests": {"memory": "128Mi"}},
            "firmware": {
                "kernelBoot": {
                    "kernelArgs": f"console=ttyS0 quiet {told}".strip(),
                    "container": {
                        "image": guest.BOOT_IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "kernelPath": "/boot/vmlinuz",
                        "initrdPath": "/boot/initramfs",
                    },
                }
            },
            "devices": {
                "autoattachGraphicsDevice": False,
                "autoattachMemBalloon": False,
                "logSerialConsole": True,
                "interfaces": interfaces,
            },
        },
        "networks": networks,
    }
    if node:
        wish = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]}
        prefer = [{"weight": 100, "preference": wish}]
        spec["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": prefer}}
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"}
    return {**kind, "metadata": {"name": NAME}, "spec": spec}


def lasting(wanted: Object) -> Object:
    """The VirtualMachine whose instances are as ``wanted``: there is another one when one has ended."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": wanted["metadata"],
        "spec": {"runStrategy": "Always", "template": {"spec": wanted["spec"]}},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The VM of a test's namespace."""

    cluster: Cluster
    kubectl: Kubectl
    name: str = NAME

    def ready(self, *, other_than: str = "") -> Machine:
        """Wait until its guest runs; ``other_than``: in another instance than the one with this UID."""

        def is_ready(vmi: Object) -> bool:
            conditions = {each["type"]: each["status"] for each in vmi.get("status", {}).get("conditions", ())}
            return conditions.get("Ready") == "True" and vmi["metadata"]["uid"] != other_than

        self.until(is_ready, "Ready")
        return self

    def until(self, holds: Callable[[Object], bool], what: str, seconds: float = _START_SECONDS) -> Object:
        """The first state of its instance that ``holds``. Raises TimeoutError with the events there are."""
        try:
            self.kubectl.wait("--for=create", f"vmi/{self.name}", timeout=seconds)
            return self.kubectl.until("vmi", self.name, holds=holds, timeout=seconds, what=what)
        except (KubectlError, TimeoutError) as late:
            raise TimeoutError(f"{late}\n{self._events()}") from None

    @property
    def instance(self) -> Object:
        """Its VirtualMachineInstance."""
        return self.kubectl.get("vmi", self.name)

    @property
    def node(self) -> str:
        """Where it runs."""
        found: str = self.instance["status"]["nodeName"]
        return found

    @property
    def launcher(self) -> Object:
        """The pod that runs it."""
        running = [pod for pod in self._launchers() if pod["status"]["phase"] == "Running"]
        (pod,) = [pod for pod in running if pod["spec"]["nodeName"] == self.node]
        return pod

    def says(self, text: str, *, afresh: bool = True, seconds: float = _START_SECONDS) -> None:
        """Wait until a line on its guest's console holds ``text``; ``afresh``: the last one, or a new one.

        Raises TimeoutError with what it says.
        """
        name = self.launcher["metadata"]["name"]
        log = self.kubectl.command(
            "logs", name, "--container=guest-console-log", "--follow", f"--tail={1 if afresh else -1}"
        )
        until, said = time.monotonic() + seconds, b""
        with subprocess.Popen(log, stdout=subprocess.PIPE) as following:
            assert following.stdout is not None
            try:
                while (left := until - time.monotonic()) > 0:
                    if select.select([following.stdout], [], [], left)[0]:
                        part = os.read(following.stdout.fileno(), 1 << 16)
                        said += part
                        if text.encode() in said:
                            return
                        if not part:
                            break
            finally:
                following.kill()
        raise TimeoutError(f"the guest says no {text!r} in {seconds:.0f} s: {said.decode(errors='replace')[-2000:]}")

    def order(self, verb: str, body: Mapping[str, object] | None = None) -> None:
        """Tell KubeVirt's own API what to do with it, as virtctl does: ``virtualmachineinstances/pause``."""
        kind, _, what = verb.partition("/")
        place = f"/apis/subresources.kubevirt.io/v1/namespaces/{self.kubectl.namespace}/{kind}/{self.name}/{what}"
        self.kubectl("replace", f"--raw={place}", "-f", "-", stdin=json.dumps(body or {}))

    def pause(self) -> None:
        """Stop its guest's time, and wait until KubeVirt knows that it stands."""
        self.order("virtualmachineinstances/pause")
        self.until(_is_paused, "paused")

    def unpause(self) -> None:
        """Let it go on."""
        self.order("virtualmachineinstances/unpause")
        self.until(lambda vmi: not _is_paused(vmi), "unpaused")

    def end(self, number: int) -> probing.Relayed:
        """Its guest's interface ``eth<number>``, to send and receive frames at."""
        mac = bytes.fromhex(self.interfaces[number]["mac"].replace(":", ""))

        def reach() -> probing.Relayed | None:
            return _relayed(self._reach(7000 + number), mac)  # after a move its address is another, by and by

        return eventually(f"eth{number} of the guest can be reached", reach, 60)

    @property
    def interfaces(self) -> list[Object]:
        """Its interfaces, in the order of its spec, once KubeVirt has seen all of them in the VM."""
        instance = self.until(_is_equipped, "seen with all its interfaces")
        found = {each["name"]: each for each in instance["status"]["interfaces"]}
        return [found[each["name"]] for each in instance["spec"]["domain"]["devices"]["interfaces"]]

    def reboot(self) -> None:
        """Let its guest reset the machine, and wait until it has come back."""
        subprocess.run(self._reach(7000), stdin=subprocess.DEVNULL, check=True, timeout=20)

    def _reach(self, port: int) -> list[str]:
        """The command line of a connection to its guest, by way of the pod network, from its node."""
        instance = self.instance
        address = self.interfaces[0]["ipAddress"]
        return self.cluster.node(instance["status"]["nodeName"]).machine.inside(
            "busybox", "nc", "-w", "5", address, str(port)
        )

    def begin_move(self) -> str:
        """Ask for its migration; returns the name of that."""
        name = test_names.unique("mv")
        migration = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstanceMigration",
            "metadata": {"name": name},
            "spec": {"vmiName": self.name},
        }
        self.kubectl.create(migration)
        return name

    def move(self) -> str:
        """Migrate it while it runs; returns the node that it is on then, once the pod that ran it has ended."""
        with self.moving():
            pass
        return self.node

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Migrate it; the block goes on meanwhile, and after it the migration is waited for, and the old pod's end."""
        before, launcher = self.node, self.launcher["metadata"]["name"]
        self.begin_move()
        yield

        def moved(vmi: Object) -> bool:
            state = vmi["status"].get("migrationState", {})
            assert not state.get("failed"), state
            done = bool(state.get("completed")) and state["sourceNode"] == before
            return done and vmi["status"]["nodeName"] != before

        def over(pod: Object) -> bool:
            return pod["status"]["phase"] in ("Succeeded", "Failed")

        self.until(moved, "moved", _MOVE_SECONDS)
        try:
            self.kubectl.until("pod", launcher, holds=over, timeout=_MOVE_SECONDS, what="over")
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self._events()}") from None

    def plug(self, *plug: Object) -> None:
        """Add an interface and its network to its VirtualMachine, and wait until its instance is to have them."""
        place = "/spec/template/spec"
        lists = (f"{place}/domain/devices/interfaces/-", f"{place}/networks/-")
        added = [{"op": "add", "path": path, "value": value} for path, value in zip(lists, plug, strict=True)]
        self.kubectl("patch", "vm", self.name, "--type=json", f"--patch={json.dumps(added)}")
        self.until(lambda vmi: plug[1] in vmi["spec"]["networks"], "told of the interface")

    def stop(self) -> None:
        """Switch it off on the spot, whatever its guest does; it stays off."""
        with contextlib.suppress(KubectlError):  # it does not run
            self.order("virtualmachines/stop", {"gracePeriod": 0})

    def events(self) -> list[tuple[str, str]]:
        """Reason and message of what Kubernetes and KubeVirt say about it and its launchers."""
        uids = {each["metadata"]["uid"] for each in (self.instance, *self._launchers())}
        found = self.kubectl.items("events")
        return [(each["reason"], each["message"]) for each in found if each["involvedObject"].get("uid") in uids]

    def delete(self) -> None:
        """Delete it, and wait until it and its launchers are gone."""
        self.kubectl.delete("vm", self.name)
        self.kubectl.delete("vmi", self.name)
        self.kubectl.delete("pods", f"--selector={_MACHINE}={self.name}")

    def _launchers(self) -> list[Object]:
        return self.kubectl.items("pods", f"--selector={_MACHINE}={self.name}")

    def _events(self) -> str:
        columns = "custom-columns=OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message"
        return self.kubectl("get", "events", "-o", columns)


class Machines:
    """Makes VMs in one namespace."""

    def __init__(self, cluster: Cluster, kubectl: Kubectl) -> None:
        self._cluster = cluster
        self._kubectl = kubectl

    def __call__(self, wanted: Object, *, ready: bool = True) -> Machine:
        """Make the VM of a manifest, and wait until its guest runs unless told not to."""
        networks = _spec(wanted)["networks"]
        nads = [each["multus"]["networkName"] for each in networks if "multus" in each]
        resources = [names.resource(nad) for nad in nads if nad.startswith("k8slan-mac-")]
        if ready:  # so that the scheduler is free to do as the VM wishes
            probing.until_allocatable(self._cluster, *resources)
        self._kubectl.apply(wanted)
        return self.named(wanted["metadata"]["name"], ready=ready)

    def named(self, name: str, *, ready: bool = True) -> Machine:
        """One that was made otherwise."""
        machine = Machine(cluster=self._cluster, kubectl=self._kubectl, name=name)
        return machine.ready() if ready else machine

    def end(self) -> None:
        """Delete all, and wait until their launchers are gone."""
        for found in self._kubectl.items("vm"):
            self.named(found["metadata"]["name"], ready=False).stop()
        self._kubectl.delete("vm,vmi", "--all")
        self._kubectl.delete("pods", "--selector=kubevirt.io=virt-launcher")


def _is_equipped(vmi: Object) -> bool:
    """Whether what is said of each interface is the VM's own word, not that of multus alone, which is sooner there."""
    found = {
        each["name"] for each in vmi.get("status", {}).get("interfaces", ()) if "domain" in each.get("infoSource", "")
    }
    return found >= {each["name"] for each in vmi["spec"]["domain"]["devices"]["interfaces"]}


def _is_paused(vmi: Object) -> bool:
    conditions = {each["type"]: each["status"] for each in vmi["status"].get("conditions", ())}
    return conditions.get("Paused") == "True"


def _spec(wanted: Object) -> dict[str, Any]:
    """What a VM's instance is to be, by the manifest of the one or the other."""
    spec: dict[str, Any] = wanted["spec"]
    found: dict[str, Any] = spec["template"]["spec"] if "template" in spec else spec
    return found


def _relayed(command: list[str], mac: bytes) -> probing.Relayed | None:
    try:
        return probing.Relayed(command, mac)
    except KernelError:  # the guest is not that far yet
        return None


# ---------------------------------------------------------------- VMs that talk


def peer(pod: Pods, node: Node, lan: Lan) -> Pod:
    """A pod with the address PEER, on the LAN's last spoke."""
    return pod(
        node, networks=f'[{{"name": "k8slan-veth-{lan.spokes[-1]}", "interface": "eth1", "ips": ["{PEER}/24"]}}]'
    )


def talking(lan: Lan, vm: Machines, pod: Pods, node: Node, other: Node) -> tuple[Machine, Pod]:
    """A VM with the address GUEST on a node, and a peer on another that answers it."""
    there = peer(pod, other, lan)
    machine = vm(manifest(pings(PEER, GUEST), lan.spokes[0], macs=[MAC], node=node))
    machine.says("guest: answer")
    return machine, there


@dataclass(frozen=True, slots=True, kw_only=True)
class Pings:
    """What came of pings, one by one: the numbers of those that were answered, in the order of the answers."""

    answered: tuple[int, ...]
    pace: float

    @property
    def lost(self) -> list[int]:
        """Those without an answer before the last one with one."""
        return sorted(set(range(max(self.answered))) - set(self.answered))

    @property
    def gap(self) -> float:
        """How many seconds the longest time without an answer was."""
        order = sorted(set(self.answered))
        return max(after - before - 1 for before, after in itertools.pairwise(order)) * self.pace


@contextmanager
def pinging(pod: Pod, address: str, pace: float = 0.1) -> Iterator[list[Pings]]:
    """Ping from a pod each ``pace`` seconds while the block goes on; afterwards the list has what came of it."""
    command = pod.kubectl.command("exec", pod.name, "--", "ping", "-i", str(pace), address)
    found: list[Pings] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield found
        finally:
            pod.run("killall", "-INT", "ping")
            said, _ = running.communicate(timeout=20)
    found.append(Pings(answered=tuple(int(number) for number in re.findall(r"seq=(\d+)", said)), pace=pace))


def told(cluster: Cluster, lan: Lan, name: str, *words: str) -> Any:
    """What a command of the workstation about a LAN prints for programs."""
    said = subprocess.run(
        [sys.executable, "-m", "k8slan_cli", "lan", name, lan.name, "-n", lan.kubectl.namespace, "-o", "json", *words],
        env={"KUBECONFIG": str(cluster.kubeconfig), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said
    return json.loads(said.stdout)


# ---------------------------------------------------------------- frames


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that came in at a port of a LAN on a node, and when by the kernel's clock, in seconds."""

    at: float
    frame: bytes


class Watch:
    """Frames that come in at one port of a LAN's namespace on each of some nodes, also if that comes late.

    The test's process is on the same machine as the nodes, and sees their namespaces.
    """

    def __init__(self, nodes: tuple[Node, ...], netns: str, port: str) -> None:
        self._paths = {node.name: Path(f"/proc/{node.machine.pid}/root{probing.NETNS}/{netns}") for node in nodes}
        self._port = port
        self.seen: dict[str, list[Seen]] = {name: [] for name in self._paths}
        self._over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for as long as the block goes on."""
        threads = [threading.Thread(target=self._watch, args=item) for item in self._paths.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _watch(self, name: str, path: Path) -> None:
        while not self._over.is_set():
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                sock = open_packet(fd, socket.htons(0x0003))  # ETH_P_ALL
            except OSError:  # not there yet: it comes with the first attachment on the node
                time.sleep(0.005)
                continue
            os.close(fd)
            with sock:
                sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                sock.settimeout(0.1)
                while not self._over.is_set():
                    try:
                        frame, [(_, _, stamp)], _, (port, _, kind, *_) = sock.recvmsg(1 << 16, 64)
                    except TimeoutError:
                        continue
                    if port == self._port and kind != socket.PACKET_OUTGOING:
                        seconds, nanoseconds = struct.unpack("qq", stamp)
                        self.seen[name].append(Seen(seconds + nanoseconds / 1e9, frame))
