"""Virtual machines of KubeVirt for tests: a guest that pings for ever, looked at and moved."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8slan_cli.net.netlink import mac_bytes
from k8slan_cli.net.sockets import open_packet
from tests.cluster import guest, probing
from tests.cluster.harness import Kubectl, Node
from tests.cluster.harness.kubectl import Object

NAME = "vm"
_MACHINE = "kubevirt.io/domain"
_START_SECONDS, _MOVE_SECONDS = 120.0, 90.0


def manifest(spoke: str, *, address: str, ping: str, mac: str = "", node: Node | None = None) -> Object:
    """A VM on a spoke. ``node``: where it starts; it may be moved from there."""
    interface: dict[str, Any] = {"name": "lan", "binding": {"name": "macvtap"}}
    if mac:
        interface["macAddress"] = mac
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 0,
        "domain": {
            "cpu": {"model": "Nehalem"},  # by which a migration finds its target
            "resources": {"requests": {"memory": "128Mi"}},
            "firmware": {
                "kernelBoot": {
                    "kernelArgs": f"console=ttyS0 quiet guest.address={address} guest.ping={ping} guest.stays=1",
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
                "interfaces": [interface],
            },
        },
        "networks": [{"name": "lan", "multus": {"networkName": f"k8slan-mac-{spoke}"}}],
    }
    if node:
        wish = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]}
        prefer = [{"weight": 100, "preference": wish}]
        spec["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": prefer}}
    metadata = {"name": NAME, "labels": {_MACHINE: NAME}}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": metadata, "spec": spec}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The VM of a test's namespace."""

    kubectl: Kubectl

    @classmethod
    def start(cls, kubectl: Kubectl, wanted: Object) -> Machine:
        """Make it and wait until its guest runs."""
        kubectl.create(wanted)
        self = cls(kubectl=kubectl)
        try:
            kubectl.until("vmi", NAME, holds=_is_ready, timeout=_START_SECONDS, what="Ready")
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self._events()}") from None
        return self

    @property
    def node(self) -> str:
        """Where it runs."""
        found: str = self.kubectl.get("vmi", NAME)["status"]["nodeName"]
        return found

    @property
    def launcher(self) -> Object:
        """The pod that runs it."""
        running = [pod for pod in self._launchers() if pod["status"]["phase"] == "Running"]
        (pod,) = [pod for pod in running if pod["spec"]["nodeName"] == self.node]
        return pod

    def says(self, text: str, seconds: float = _START_SECONDS) -> None:
        """Wait until a new line on its guest's console holds ``text``. Raises TimeoutError with what it says."""
        name = self.launcher["metadata"]["name"]
        log = self.kubectl.command("logs", name, "--container=guest-console-log", "--follow", "--tail=1")
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

    def move(self) -> str:
        """Migrate it while it runs; returns the node that it is on then, once the pod that ran it has ended."""
        before, launcher = self.node, self.launcher["metadata"]["name"]
        migration = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstanceMigration",
            "metadata": {"generateName": "move-"},
            "spec": {"vmiName": NAME},
        }
        self.kubectl.create(migration)

        def moved(vmi: Object) -> bool:
            state = vmi["status"].get("migrationState", {})
            assert not state.get("failed"), state
            done = bool(state.get("completed")) and state["sourceNode"] == before
            return done and vmi["status"]["nodeName"] != before

        def over(pod: Object) -> bool:
            return pod["status"]["phase"] in ("Succeeded", "Failed")

        try:
            vmi = self.kubectl.until("vmi", NAME, holds=moved, timeout=_MOVE_SECONDS, what="moved")
            self.kubectl.until("pod", launcher, holds=over, timeout=_MOVE_SECONDS, what="over")
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self._events()}") from None
        found: str = vmi["status"]["nodeName"]
        return found

    def delete(self) -> None:
        """Delete it, and wait until it and its launchers are gone."""
        self.kubectl.delete("vmi", NAME)
        self.kubectl.delete("pods", f"--selector={_MACHINE}={NAME}")

    def _launchers(self) -> list[Object]:
        return self.kubectl.items("pods", f"--selector={_MACHINE}={NAME}")

    def _events(self) -> str:
        columns = "custom-columns=OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message"
        return self.kubectl("get", "events", "-o", columns)


def _is_ready(vmi: Object) -> bool:
    conditions = {each["type"]: each["status"] for each in vmi.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True"


# ---------------------------------------------------------------- frames


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame of the VM's MAC that came in at a port of a LAN on a node, and when (``time.monotonic``)."""

    at: float
    frame: bytes


class Watch:
    """Frames with one MAC that come in at one port of a LAN's namespace on each of some nodes, also if that comes late.

    The test's process is on the same machine as the nodes, and sees their namespaces.
    """

    def __init__(self, nodes: tuple[Node, ...], netns: str, port: str, mac: str) -> None:
        self._paths = {node.name: Path(f"/proc/{node.machine.pid}/root{probing.NETNS}/{netns}") for node in nodes}
        self._port, self._mac = port, mac_bytes(mac)
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
                sock.settimeout(0.1)
                while not self._over.is_set():
                    try:
                        frame, (port, _protocol, kind, *_rest) = sock.recvfrom(1 << 16)
                    except TimeoutError:
                        continue
                    if port == self._port and kind != socket.PACKET_OUTGOING and frame[6:12] == self._mac:
                        self.seen[name].append(Seen(time.monotonic(), frame))
