"""A worker: containerd, kubelet and multus on a machine of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.harness import cgroups, network, pki, stock
from tests.cluster.harness.build import Artefacts, release
from tests.cluster.harness.kubectl import Kubectl, KubectlError, Object
from tests.cluster.harness.machine import Machine, MachineError, Setup, copy_into
from tests.cluster.harness.versions import MULTUS_THICK, TEST_IMAGE

_CONTAINERD = "/run/containerd/containerd.sock"
_PLUGINS = Path("/usr/lib/cni")
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

_COVERS = {
    "/proc/sys/vm/overcommit_memory": "1\n",
    "/proc/sys/vm/panic_on_oom": "0\n",
    "/proc/sys/kernel/panic": "10\n",
    "/proc/sys/kernel/panic_on_oops": "1\n",
    "/proc/sys/kernel/keys/root_maxkeys": "1000000\n",
    "/proc/sys/kernel/keys/root_maxbytes": "25000000\n",
}
"""What the kubelet wants of the kernel (its kernel defaults); covered, since these are the host's as well."""

_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/default/accept_dad": "0",  # a link-local address is good at once, not after a second
}


class Node:
    """One worker. Its number gives its name and addresses."""

    def __init__(
        self,
        number: int,
        *,
        folder: Path,
        artefacts: Artefacts,
        cgroup: str,
        control: Machine,
        kubectl: Kubectl,
        keep: bool,
        changed: Callable[[], None],
    ) -> None:
        self.number = number
        self.name = f"worker{number}"
        self.address = network.node_address(number)
        self.cgroup = f"{cgroup}/{self.name}"
        self.others: tuple[int, ...] = ()
        self._artefacts = artefacts
        self._control = control
        self._kubectl = kubectl
        self._folder = folder
        binds = {
            "/var/lib/containerd": folder / "containerd",  # not on the overlay: it makes overlays itself
            "/var/lib/kubelet": folder / "kubelet",
            "/opt/cni/bin": folder / "cni" / "bin",
            "/etc/cni/net.d": folder / "cni" / "conf",
        }
        setup = Setup(name=self.name, folder=folder, binds=binds, covers=_COVERS, sysctls=_SYSCTLS)
        self.machine = Machine(setup, keep=keep, changed=changed)

    # --- coming up ----------------------------------------------------------------------------------------------

    def prepare(self, authority: pki.Authority, images: Path) -> None:
        """Write the files of a node that is to be: identity, settings, CNI plugins, images from a stock."""
        server = f"https://{network.CONTROL}:6443"
        user, groups = f"system:node:{self.name}", ["system:nodes"]
        settings = self._folder / "settings"
        settings.mkdir(parents=True)
        plugins, configuration = self._folder / "cni" / "bin", self._folder / "cni" / "conf"
        (configuration / "multus.d").mkdir(parents=True)
        for path, client in (
            (settings / "kubelet.kubeconfig", authority.client(self.name, user, groups)),
            (configuration / "multus.d" / "multus.kubeconfig", authority.client("multus", "multus")),
        ):
            pki.kubeconfig(path, server, authority.certificate, client)
        copy_into(plugins, [*_PLUGINS.iterdir(), self._artefacts.multus])
        if MULTUS_THICK:  # it writes 00-multus.conf itself, of the one that it finds
            (configuration / "10-pods.conf").write_text(json.dumps(self._pods()))
            (configuration / "multus.d" / "daemon-config.json").write_text(json.dumps(self._multus_daemon()))
            copy_into(settings, [authority.certificate])
        else:
            (configuration / "00-multus.conf").write_text(json.dumps(self._multus()))
        stock.lay_in(images, self._folder / "containerd")
        (settings / "containerd.toml").write_text(_containerd())
        kubelet = _kubelet(self.address, f"/{self.cgroup}", authority.certificate)
        (settings / "kubelet.json").write_text(json.dumps(kubelet))

    def boot(self) -> None:
        """Switch the machine on and start containerd. To be called from the main thread (see Machine.boot)."""
        cgroups.make(self.cgroup)
        self.machine.boot()
        network.join_node(self._control, self.machine, self.number, self.others)
        self.start_containerd()

    def start_containerd(self) -> None:
        """Start containerd; ``wait_containerd`` says when it serves."""
        self.machine.start("containerd", "containerd", f"--config={self._folder}/settings/containerd.toml")

    def wait_containerd(self) -> None:
        """Return when containerd answers."""
        stock.wait_containerd(self.machine)

    def start_kubelet(self) -> None:
        """Start the kubelet, after multus' daemon if there is one; ``wait_ready`` says when the node takes pods."""
        settings = self._folder / "settings"
        if MULTUS_THICK and not self.machine.running("multus-daemon"):
            self._start_multus()
        self.machine.start(
            "kubelet",
            str(self._artefacts.kubernetes / "kubelet"),
            f"--config={settings}/kubelet.json",
            f"--kubeconfig={settings}/kubelet.kubeconfig",
            f"--node-ip={self.address}",
            f"--hostname-override={self.name}",
        )

    def wait_ready(self, seconds: float = 60) -> None:
        """Return when the node is Ready since its last boot, and no taint keeps pods away."""

        def ready(node: Object) -> bool:
            conditions = {each["type"]: each["status"] for each in node.get("status", {}).get("conditions", ())}
            taints = [each["key"] for each in node["spec"].get("taints", ())]
            booted = node.get("status", {}).get("nodeInfo", {}).get("bootID") == self.machine.boot_id
            return booted and conditions.get("Ready") == "True" and not taints

        try:
            self._kubectl.wait_created("nodes", self.name, seconds)
            self._kubectl.until("node", self.name, holds=ready, timeout=seconds, what="Ready")
        except (KubectlError, TimeoutError) as late:
            self.machine.check()
            raise MachineError(f"{late}\n{self.machine.last_words('kubelet')}") from late

    # --- what befalls nodes -------------------------------------------------------------------------------------

    def kill_kubelet(self) -> None:
        """End the kubelet as a crash would; pods go on."""
        self.machine.stop("kubelet", signal.SIGKILL)

    def restart_kubelet(self) -> None:
        """End the kubelet and start it again; returns before the node is Ready."""
        self.machine.stop("kubelet")
        self.start_kubelet()

    def restart_containerd(self) -> None:
        """End containerd and start it again; containers go on, held by their shims."""
        self.machine.stop("containerd")
        self.start_containerd()
        self.wait_containerd()

    def power_off(self) -> None:
        """End all processes of the node, its containers' too, on the spot; with them go its links and mounts."""
        self.machine.kill()
        cgroups.remove(self.cgroup)

    def power_on(self) -> None:
        """Bring it back with its disk as it was and an empty /run; returns before the node is Ready."""
        self.boot()
        self.wait_containerd()
        self.start_kubelet()

    def reboot(self) -> None:
        """Off and on again."""
        self.power_off()
        self.power_on()

    # --- looking and doing --------------------------------------------------------------------------------------

    def run(
        self, *command: str, stdin: str | None = None, timeout: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the node's namespaces. Raises MachineError if it fails and ``check``."""
        return self.machine.run(*command, stdin=stdin, timeout=timeout, check=check)

    def ip(self, *arguments: str, netns: Path | str | None = None) -> Any:
        """What ``ip -json`` says on the node, or in the namespace mounted at a path of it."""
        inside = ["nsenter", f"--net={netns}"] if netns else []
        text = self.run(*inside, "ip", "-json", "-details", *arguments).stdout
        return json.loads(text) if text.strip() else []

    def import_image(self, archive: Path) -> None:
        """Load an image archive into containerd."""
        stock.import_image(self.machine, archive)

    def name_by_digest(self, image: str) -> None:
        """Let an image that was loaded be found by its digest, too, as one is that was pulled."""
        images = ["ctr", "--namespace=k8s.io", "images"]
        listed = (line.split() for line in self.run(*images, "list").stdout.splitlines())
        digest = next(words[2] for words in listed if words[0] == image)
        self.run(*images, "tag", "--force", image, f"{image.rpartition(':')[0]}@{digest}")

    def container_run(self, container_id: str, *command: str, timeout: float = 60) -> str:
        """Run a command in a container without asking the API server; the id may begin with ``containerd://``."""
        name = container_id.removeprefix("containerd://")
        task = ["ctr", "--namespace=k8s.io", "tasks", "exec", f"--exec-id=t{time.monotonic_ns()}", name]
        return self.run(*task, *command, timeout=timeout).stdout

    def logs(self, program: str, lines: int = 50) -> str:
        """The end of the log of ``kubelet`` or ``containerd``."""
        return self.machine.last_words(program, lines)

    # --- settings -----------------------------------------------------------------------------------------------

    def _start_multus(self) -> None:
        """Start multus' daemon as its DaemonSet would: with a service account, and the node's own folders."""
        token = self._kubectl("create", "token", "multus", "--duration=24h")
        authority = (self._folder / "settings" / "ca.crt").read_text()
        for name, text in (("token", token), ("ca.crt", authority)):
            self.run("install", "-D", "-m", "600", "/dev/stdin", f"{_ACCOUNT}/{name}", stdin=text)
        self.machine.start(
            "multus-daemon",
            str(self._artefacts.multus.with_name("multus-daemon")),
            environment={
                "MULTUS_NODE_NAME": self.name,
                "KUBERNETES_SERVICE_HOST": network.CONTROL,
                "KUBERNETES_SERVICE_PORT": "6443",
            },
        )
        written = self._folder / "cni" / "conf" / "00-multus.conf"
        self.machine.until(written.exists, "multus-daemon", 30)

    def _multus_daemon(self) -> Object:
        return {
            "cniVersion": "1.0.0",
            "logLevel": "verbose",
            "logFile": f"{self._folder}/log/multus",
            "cniConfigDir": "/etc/cni/net.d",
            "multusAutoconfigDir": "/etc/cni/net.d",
            "multusConfigFile": "auto",
            "socketDir": "/run/multus/",
        }

    def _pods(self) -> Object:
        return {
            "cniVersion": "1.0.0",
            "name": "pods",
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": network.pods(self.number)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }

    def _multus(self) -> Object:
        return {
            "cniVersion": "1.0.0",
            "name": "multus-cni-network",
            "type": "multus",
            "kubeconfig": "/etc/cni/net.d/multus.d/multus.kubeconfig",
            "logLevel": "verbose",
            "logFile": f"{self._folder}/log/multus",
            "capabilities": {"mac": True, "ips": True, "portMappings": True},
            "delegates": [self._pods()],
        }


def _containerd() -> str:
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = "{_CONTAINERD}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{TEST_IMAGE}"
restrict_oom_score_adj = true # without CAP_SYS_RESOURCE runc could not lower it

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def _kubelet(address: str, cgroup: str, authority: Path) -> Object:
    never = {f"{what}.{how}": "0%" for what in ("nodefs", "imagefs") for how in ("available", "inodesFree")}
    old_cgroups = {"failCgroupV1": False} if release() >= 31 else {}  # a test machine may have no others
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "address": address,
        "containerRuntimeEndpoint": f"unix://{_CONTAINERD}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "0%"} | never,
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": False,
        **old_cgroups,
        "maxPods": 200,
        "nodeLeaseDurationSeconds": 4,  # renewed each second; the control plane's grace period fits it
        "nodeStatusUpdateFrequency": "2s",
        "resolvConf": "",
        "clusterDNS": [network.DNS],
        "clusterDomain": "cluster.local",
        "makeIPTablesUtilChains": False,
    }
