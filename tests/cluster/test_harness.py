"""The test cluster itself: what the other tests stand on has to be a real Kubernetes, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster, Kubectl, KubectlError, Node, build
from tests.cluster.harness import cluster as clusters
from tests.cluster.harness.pods import Pods
from tests.cluster.harness.process import Process
from tests.cluster.harness.versions import KUBERNETES
from tests.support import names


def _network(name: str, **config: object) -> dict[str, object]:
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name},
        "spec": {"config": json.dumps({"cniVersion": "1.0.0", "name": name, **config})},
    }


def _ping(address: str) -> list[str]:
    return ["ping", "-c", "1", "-W", "5", address]


def test_two_nodes_of_the_pinned_version_are_ready(cluster: Cluster) -> None:
    nodes = cluster.kubectl.items("nodes")
    assert {node["metadata"]["name"] for node in nodes} == {"worker1", "worker2"}
    for node in nodes:
        assert node["status"]["nodeInfo"]["kubeletVersion"] == f"v{KUBERNETES}"
        assert {"type": "Ready", "status": "True"}.items() <= node["status"]["conditions"][-1].items()


def test_pods_on_both_nodes_reach_each_other_and_the_api(pod: Pods, node1: Node, node2: Node, cluster: Cluster) -> None:
    one, two = pod(node1), pod(node2)
    assert "1 packets received" in one.run(*_ping(two.address))
    assert "1 packets received" in two.run(*_ping(one.address))
    one.run("sh", "-c", "nc -w 5 10.96.0.1 443 </dev/null")  # by the service's address
    cluster.machine("control").run("busybox", *_ping(two.address))  # webhooks: the API server reaches pods


def test_a_service_account_may_what_roles_grant_and_no_more(
    pod: Pods, kubectl: Kubectl, namespace: str, node1: Node
) -> None:
    kubectl("create", "role", "reader", "--verb=list", "--resource=configmaps")
    kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:default")
    kubectl("create", "serviceaccount", "stranger")
    reader, stranger = (
        pod(node1, spec={"automountServiceAccountToken": True, "serviceAccountName": name})
        for name in ("default", "stranger")
    )
    bearer = "$(cat /run/secrets/kubernetes.io/serviceaccount/token)"
    url = f"https://10.96.0.1/api/v1/namespaces/{namespace}/configmaps"
    ask = f'wget -q -O- --no-check-certificate --header "Authorization: Bearer {bearer}" {url}'
    assert json.loads(reader.run("sh", "-c", ask))["kind"] == "ConfigMapList"
    with pytest.raises(KubectlError, match="403 Forbidden"):
        stranger.run("sh", "-c", ask)
    subject = f"--as=system:serviceaccount:{namespace}:default"
    assert kubectl("auth", "can-i", "list", "configmaps", subject).strip() == "yes"
    assert "configmaps" in kubectl("auth", "can-i", "--list", subject)
    with pytest.raises(KubectlError, match="no"):
        kubectl("auth", "can-i", "list", "secrets", subject)


def test_a_kubelet_may_touch_its_own_node_only(cluster: Cluster) -> None:
    as_worker1 = ["--as=system:node:worker1", "--as-group=system:nodes"]
    cluster.kubectl("label", "node", "worker1", "harness=own", "--overwrite", *as_worker1)
    with pytest.raises(KubectlError, match="only its own Node object"):
        cluster.kubectl("label", "node", "worker2", "harness=foreign", *as_worker1)


@pytest.mark.parametrize("plugin", [{"type": "bridge", "bridge": "br-test"}, {"type": "macvlan", "master": "eth0"}])
def test_multus_attaches_a_second_network(
    plugin: dict[str, str], pod: Pods, kubectl: Kubectl, node1: Node, node2: Node
) -> None:
    ipam = {"type": "static"}
    kubectl.create(_network("second", ipam=ipam, capabilities={"ips": True}, **plugin))
    other = node1 if plugin["type"] == "bridge" else node2  # a bridge is one node's, macvlan is on the wire
    addresses = ("10.99.0.1/24", "10.99.0.2/24")
    one, two = (
        pod(node, networks=json.dumps([{"name": "second", "interface": "e1", "ips": [address]}]))
        for node, address in zip((node1, other), addresses, strict=True)
    )
    assert "10.99.0.1/24" in one.run("ip", "address", "show", "dev", "e1")
    assert "1 packets received" in two.run("ping", "-c", "1", "-W", "5", "-I", "e1", "10.99.0.1")
    status = json.loads(one.get()["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])
    assert [each.get("interface") for each in status] == ["eth0", "e1"]


def test_pods_outlive_their_kubelet_and_containerd(pod: Pods, node1: Node) -> None:
    there = pod(node1)
    before = there.container_id
    node1.restart_containerd()
    node1.restart_kubelet()
    later = pod(node1)  # it takes new pods
    assert there.container_id == before
    assert "1 packets received" in later.run(*_ping(there.address))
    node1.kill_kubelet()
    assert node1.container_run(before, "hostname").strip() == there.name
    node1.start_kubelet()
    pod(node1)


def test_a_node_comes_back_from_a_reboot_with_its_pods(pod: Pods, node1: Node, node2: Node) -> None:
    there, witness = pod(node1), pod(node2)
    before, boot = there.container_id, node1.machine.boot_id
    node1.run("touch", "/run/volatile", "/var/lib/durable")
    shim = next(pid for pid in _pids(node1.machine.pid) if "containerd-shim" in Process.of(pid).command())
    process = Process.of(shim)
    node1.power_off()
    assert not process.alive()
    node1.power_on()
    node1.wait_ready()
    assert node1.machine.boot_id != boot
    assert node1.run("ls", "/run/volatile", check=False).returncode != 0
    node1.run("rm", "/var/lib/durable")
    there.restarted(before)
    assert "1 packets received" in witness.run(*_ping(there.address))


def test_pods_go_on_while_the_api_server_is_away(pod: Pods, node1: Node, node2: Node, cluster: Cluster) -> None:
    one, two = pod(node1), pod(node2)
    container, address = one.container_id, two.address
    cluster.control.stop_api()
    try:
        with pytest.raises(KubectlError, match="refused"):
            cluster.kubectl("get", "nodes")
        assert "1 packets received" in node1.container_run(container, *_ping(address))
    finally:
        cluster.control.start_api()
        cluster.control.wait_api()
        cluster.control.restart_rest()
    assert one.container_id == container
    pod(node1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """Everything of a kind that a cluster makes on the host, or might by mistake."""

    links: frozenset[str]
    namespaces: frozenset[str]
    mounts: frozenset[str]
    routes: frozenset[str]
    groups: frozenset[str]
    folders: frozenset[str]

    @classmethod
    def look(cls) -> _Host:
        """Others may be at work on this machine, so elsewhere than in CI only what bears our names counts."""
        everything = os.environ.get("CI") == "true"

        def ours(lines: Iterable[str]) -> frozenset[str]:
            return frozenset(line for line in lines if everything or "k8slan-c" in line)

        def said(*command: str) -> frozenset[str]:
            return ours(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        wanted = {f"k8slan-cluster-{name}" for name in (_NAME, f"{_NAME}x")}
        return cls(
            links=said("ip", "-brief", "link"),
            namespaces=said("ip", "netns"),
            mounts=ours(line.split()[4] for line in mounts),
            routes=said("ip", "route"),
            groups=frozenset(str(path) for name in wanted for path in Path("/sys/fs/cgroup").glob(f"**/{name}")),
            folders=frozenset(name for name in wanted if (clusters.folder("").parent / name).exists()),
        )


_NAME = f"{names.PREFIX}b"


def _processes(state: Path) -> list[Process]:
    """The processes of a cluster's machines, by its state file."""
    machines = json.loads(state.read_text())
    return [
        Process(**process)
        for name in ("control", "worker1")
        for process in (machines[name]["init"], *machines[name]["programs"].values())
    ]


@pytest.mark.usefixtures("buildable")
def test_nothing_is_left_after_down() -> None:
    before = _Host.look()
    cluster = Cluster.up(_NAME, nodes=1)
    try:
        Pods(cluster.kubectl)(cluster.nodes[0])
        processes = _processes(cluster.folder / "state.json")
        assert all(process.alive() for process in processes)
        assert _Host.look() != before
    finally:
        cluster.down()
    assert not [process for process in processes if process.alive()]
    assert _Host.look() == before
    cluster.down()  # once more does no harm


_CRASH = """
import os, signal, sys
from tests.cluster.harness import Cluster
from tests.cluster.harness.pods import Pods
cluster = Cluster.up(sys.argv[1], nodes=1)
Pods(cluster.kubectl)(cluster.nodes[0])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("buildable")
def test_a_killed_run_takes_its_machines_with_it_and_the_next_one_sweeps_up() -> None:
    before = _Host.look()
    name = f"{_NAME}x"
    crashed = subprocess.run([sys.executable, "-c", _CRASH, name], capture_output=True, text=True, check=False)
    assert crashed.returncode == -signal.SIGKILL, crashed.stderr
    for process in _processes(clusters.folder(name) / "state.json"):
        process.wait(10)
    clusters.sweep()
    assert _Host.look() == before


def _pids(first: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return []
    return [first, *(pid for child in children for pid in _pids(int(child)))]


def test_what_is_kept_of_one_artefact_is_not_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may begin with another's."""
    monkeypatch.setenv("K8SLAN_CACHE", str(tmp_path))
    made = {name: build.artefact(name, "1.7.0", "recipe", lambda _: None) for name in ("kubevirt", "kubevirt-debian")}
    older = build.artefact("kubevirt", "1.6.0", "recipe", lambda _: None)
    build.prune("kubevirt", 1, made["kubevirt"])
    assert [path.is_dir() for path in (*made.values(), older)] == [True, True, False]
