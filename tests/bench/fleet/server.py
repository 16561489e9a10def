"""The API server and etcd of the fleet: the tests' own control plane, without nodes and without their controllers.

Nodes are objects here, each Ready for good, and an agent is known by its service account and the name of its node: the
API server gives it the rights that it has in a cluster, and holds it to the admission policy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml

from k8slan_cli.kube import kubeconfig
from k8slan_cli.kube.kubeconfig import Access
from k8slan_cli.render import manifests
from k8slan_cli.render.manifests import Part
from k8slan_cli.render.settings import Settings
from tests.cluster.harness import Cluster
from tests.support import names

SYSTEM = "k8slan-system"
_ACCOUNTS = "system:serviceaccount:"
_GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{SYSTEM}", "system:authenticated")
_PROGRAMS = ("kube-apiserver", "etcd")
_PARTS = (Part.NAMESPACE, Part.CRD, Part.VTEP_CRD, Part.RBAC)


class Server:
    """An API server with k8slan's kinds and rights, and nothing else that writes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Start it; only in the main thread, with which it ends."""
        self._cluster = Cluster.up(f"{names.PREFIX}fleet", nodes=0, say=say)
        self.control = self._cluster.control
        self.kubeconfig = self._cluster.kubeconfig
        self._spent = 0.0
        try:
            for program in ("kube-controller-manager", "kube-scheduler"):  # nodes without a kubelet stay Ready
                self.control.machine.stop(program)
            self._cluster.kubectl.within(SYSTEM).apply(
                *(manifests.render(part, Settings(namespace=SYSTEM)) for part in _PARTS)
            )
            crds = ("customresourcedefinitions/lans.lan.k8slan.io", "customresourcedefinitions/vteps.lan.k8slan.io")
            self._cluster.kubectl.wait("--for=condition=Established", *crds)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it without a trace."""
        self._cluster.down()

    def as_account(self, account: str, folder: Path) -> Path:
        """Write a kubeconfig for one of k8slan's service accounts; return where it is."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"][0]["user"] |= {"as": f"{_ACCOUNTS}{SYSTEM}:{account}", "as-groups": list(_GROUPS)}
        path = folder / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    # ------------------------------------------------------------ what it takes

    def cpu(self) -> float:
        """Seconds of CPU that API server and etcd have had so far."""
        return self._spent + sum(cpu(self.control.machine.program(name)) for name in _PROGRAMS)

    def memory(self) -> float:
        """Resident memory of the API server, in MB."""
        return memory(self.control.machine.program("kube-apiserver"))

    def stop(self) -> None:
        """End the API server on the spot."""
        self._spent += cpu(self.control.machine.program("kube-apiserver"))
        self.control.stop_api()

    def start(self) -> None:
        """Start it again; only in the main thread. ``wait`` returns when it serves."""
        self.control.start_api()

    def wait(self) -> None:
        """Return when it serves."""
        self.control.wait_api()


def as_admin(config: Path) -> Access:
    """The way in of the one who may do all."""
    return kubeconfig.load(str(config))


def as_agent(config: Path, node: str) -> Access:
    """The way in of a node's agent, as its token would have the API server know it."""
    account = [("User", f"{_ACCOUNTS}{SYSTEM}:k8slan-node-agent"), *(("Group", group) for group in _GROUPS)]
    account.append(("Extra-authentication.kubernetes.io%2Fnode-name", node))
    return replace(as_admin(config), headers=tuple((f"Impersonate-{name}", value) for name, value in account))


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has had so far (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Resident memory of a process, in MB (proc_pid_status(5))."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6
