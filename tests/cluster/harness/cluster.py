"""A cluster: what ``up`` makes, ``down`` removes without a trace, and a crashed run leaves for the next one to sweep.

Its folder ``k8slan-cluster-<name>`` in the folder for temporary files holds everything, also ``state.json``: the
processes, the slot of its link, whose it is. A cluster of a test run belongs to that process: its machines die with
it, and ``sweep`` removes the rest. One that is kept belongs to nobody.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.cluster.harness import build, cgroups, network, pki, stock
from tests.cluster.harness import kubevirt as virt
from tests.cluster.harness.build import Artefacts
from tests.cluster.harness.control import Control
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.machine import Machine, MachineError, Setup
from tests.cluster.harness.node import Node
from tests.cluster.harness.process import Process

_PREFIX = "k8slan-cluster-"
_MANIFEST = Path(__file__).with_name("base.yaml")


class Cluster:
    """One cluster, up or about to be; see ``up`` and ``attach``."""

    def __init__(self, name: str, nodes: int, artefacts: Artefacts, *, keep: bool) -> None:
        if not re.fullmatch(r"[a-z0-9]{1,20}", name):
            raise ValueError(f"a cluster's name is 1 to 20 letters and digits, not {name!r}")
        self.name = name
        self.folder = folder(name)
        self.kubeconfig = self.folder / "pki" / "admin.kubeconfig"
        self.kubectl = Kubectl(artefacts.kubernetes / "kubectl", self.kubeconfig)
        self._artefacts = artefacts
        self._owner = None if keep else Process.of(os.getpid())
        self._slot: int | None = None
        self._cgroup = f"{_PREFIX}{name}"
        setup = Setup(name="control", folder=self.folder / "control")
        self._machine = Machine(setup, keep=keep, changed=self._save)
        self.nodes = tuple(
            Node(
                number,
                folder=self.folder / f"worker{number}",
                artefacts=artefacts,
                cgroup=self._cgroup,
                control=self._machine,
                kubectl=self.kubectl,
                keep=keep,
                changed=self._save,
            )
            for number in range(1, nodes + 1)
        )
        for node in self.nodes:
            node.others = tuple(other.number for other in self.nodes if other is not node)

    # --- from nothing to a cluster, and back --------------------------------------------------------------------

    @classmethod
    def up(
        cls,
        name: str,
        *,
        nodes: int = 2,
        keep: bool = False,
        images: Sequence[Path] = (),
        kubevirt: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> Cluster:
        """Start a cluster and return when its nodes are Ready.

        ``keep``: it outlives this process; otherwise it dies with it, and this must be called from the main thread.
        ``images``: archives that every node has from the start. ``kubevirt``: it runs VMs, too. Raises BuildError,
        MachineError or KubectlError; nothing is left then.
        """
        artefacts = build.everything(say)
        stocked = stock.stocked((artefacts.test_image, *((virt.archive(say),) if kubevirt else ()), *images), say)
        sweep()
        cluster = cls(name, nodes, artefacts, keep=keep)
        if name in names():
            raise MachineError(f"there is a cluster {name!r} already: {cluster.folder}")
        cluster.folder.mkdir(mode=0o755, exist_ok=True)
        try:
            cluster._start(stocked)
            if kubevirt:
                say("starting KubeVirt")
                virt.install(cluster.kubectl)
        except BaseException:
            cluster.down()
            raise
        return cluster

    def _start(self, images: Path) -> None:
        self._save()
        self._machine.boot()
        self._slot = network.join_host(self._machine)
        self._save()
        authority = pki.Authority(self.folder / "pki")
        self.control.issue(authority)
        self.control.start_storage()
        self.control.start_api()
        for node in self.nodes:
            node.prepare(authority, images)
            node.boot()
        self.control.wait_api()
        self.control.start_rest()
        self.kubectl("create", "-f", str(_MANIFEST))
        for node in self.nodes:
            node.wait_containerd()
            node.start_kubelet()
        for node in self.nodes:
            node.wait_ready()
        self.kubectl.wait_created("serviceaccounts", "default")

    def down(self) -> None:
        """Remove the cluster and all traces of it. Safe to repeat, and whatever state it is in."""
        for node in self.nodes:
            node.power_off()
        self._machine.kill()
        if self._slot is not None:
            network.leave_host(self._slot)
        cgroups.remove(self._cgroup)
        shutil.rmtree(self.folder, ignore_errors=not self.folder.exists())

    # --- parts --------------------------------------------------------------------------------------------------

    @property
    def control(self) -> Control:
        """The control plane."""
        if self._slot is None:
            raise MachineError(f"cluster {self.name} is not up")
        return Control(self._machine, self._artefacts.kubernetes, self.folder / "pki", self._slot)

    def node(self, name: str) -> Node:
        """A node by its name. Raises KeyError."""
        return {node.name: node for node in self.nodes}[name]

    def machine(self, name: str) -> Machine:
        """A machine by its name, ``control`` or a node's. Raises KeyError."""
        return {machine.name: machine for machine in (self._machine, *(node.machine for node in self.nodes))}[name]

    @contextmanager
    def namespace(self, name: str) -> Iterator[Kubectl]:
        """A Kubernetes namespace, and kubectl in it.

        Its pods are gone afterwards; the rest goes in its own time, which is seconds.
        """
        self.kubectl("create", "namespace", name)
        inside = self.kubectl.within(name)
        try:
            inside.wait_created("serviceaccounts", "default")
            yield inside
            inside.delete("pods", "--all")
            # In one request: a LAN of many spokes has hundreds, and kubectl would delete them one after the other.
            nads = f"/apis/k8s.cni.cncf.io/v1/namespaces/{name}/network-attachment-definitions"
            self.kubectl("delete", "--raw", nads)
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    def import_image(self, archive: Path) -> None:
        """Load an image archive on every node."""
        with ThreadPoolExecutor(max_workers=len(self.nodes)) as pool:
            for _ in pool.map(lambda node: node.import_image(archive), self.nodes):
                pass

    # --- for other processes ------------------------------------------------------------------------------------

    def _save(self) -> None:
        if not self.folder.exists():
            return
        state = {
            "owner": asdict(self._owner) if self._owner else None,
            "slot": self._slot,
            "nodes": len(self.nodes),
            "kubernetes": str(self._artefacts.kubernetes),
            "multus": str(self._artefacts.multus),
            "test_image": str(self._artefacts.test_image),
            "control": self._machine.state,
            **{node.name: node.machine.state for node in self.nodes},
        }
        fresh = self.folder / ".state.json"
        fresh.write_text(json.dumps(state, indent=1))
        fresh.rename(self.folder / "state.json")

    @classmethod
    def attach(cls, name: str) -> Cluster:
        """A cluster that another process started. Raises FileNotFoundError if there is none of that name."""
        state: dict[str, Any] = json.loads((folder(name) / "state.json").read_text())
        paths = {key: Path(state[key]) for key in ("kubernetes", "multus", "test_image")}
        cluster = cls(name, state["nodes"], Artefacts(**paths), keep=state["owner"] is None)
        cluster._slot = state["slot"]
        cluster._owner = Process(**state["owner"]) if state["owner"] else None
        cluster._machine.state = state["control"]
        for node in cluster.nodes:
            node.machine.state = state[node.name]
        return cluster


def folder(name: str) -> Path:
    """Where a cluster of this name has its files."""
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{name}"


def names() -> list[str]:
    """The clusters that there are on this machine."""
    return sorted(path.parent.name.removeprefix(_PREFIX) for path in folder("").parent.glob(f"{_PREFIX}*/state.json"))


def sweep() -> None:
    """Remove what is left of clusters whose test run is over."""
    with build.lock("sweep"):
        for name in names():
            cluster = Cluster.attach(name)
            if cluster._owner is not None and not cluster._owner.alive():
                cluster.down()
