"""The API server and etcd of the fleet: the tests' own control plane, without nodes and without their controllers.

Nodes are objects here, each Ready for good, and an agent is known by its service account and the name of its node: the
API server gives it the rights that it has in a cluster, and holds it to the admission policy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from k8slan_cli.render import manifests
from k8slan_cli.render.manifests import Part
from k8slan_cli.render.settings import Settings
from tests.bench.fleet.access import ACCOUNTS, GROUPS, SYSTEM
from tests.bench.fleet.usage import cpu, memory
from tests.cluster.harness import Cluster
from tests.support import names

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
            self._cluster.kubectl.established("lans.lan.k8slan.io", "vteps.lan.k8slan.io")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it without a trace."""
        self._cluster.down()

    def as_account(self, account: str, folder: Path) -> Path:
        """Write a kubeconfig for one of k8slan's service accounts; return where it is."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"][0]["user"] |= {"as": f"{ACCOUNTS}{SYSTEM}:{account}", "as-groups": list(GROUPS)}
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
