"""``k8slan install`` and ``uninstall`` as a person meets them, in a cluster of their own: with and without trouble.

And the chart, as Helm installs, upgrades and uninstalls it.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import product
from tests.cluster.harness import Cluster
from tests.support import names
from tests.unit.render.lans import SMALLEST, document

ABSENT = ("--image=localhost/k8slan:absent", "--pull-policy=Never")
EVERYTHING = (
    "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,validatingwebhookconfigurations,"
    "validatingadmissionpolicies,validatingadmissionpolicybindings"
)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def cluster(
    buildable: None,  # noqa: ARG001 - comes first
    say: Callable[[str], None],
) -> Iterator[Cluster]:
    """One node, which has k8slan's image."""
    cluster = Cluster.up(f"{names.PREFIX}inst", nodes=1, images=(product.image(say),), say=say)
    yield cluster
    cluster.down()


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path) -> Iterator[Run]:
    """Runs a command of k8slan; afterwards nothing of k8slan is left in the cluster."""

    def run(command: str, *options: str, status: int = 0, user: str = "") -> subprocess.CompletedProcess[str]:
        kubeconfig = cluster.kubeconfig
        if user:
            kubeconfig = tmp_path / "kubeconfig"
            config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json"))
            config["users"][0]["user"] |= {"as": user}
            kubeconfig.write_text(json.dumps(config))
        argv = [sys.executable, "-m", "k8slan_cli", command, f"--kubeconfig={kubeconfig}", *options]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    before = cluster.kubectl("get", EVERYTHING, "-o", "name").split()
    yield run
    run("uninstall", "--force")
    assert cluster.kubectl("get", EVERYTHING, "-o", "name").split() == before


def test_a_pod_that_cannot_start_is_named_with_the_reason(run: Run) -> None:
    done = run("install", *ABSENT, "--timeout=30", status=4)
    assert "k8slan-node-agent 0/1" in done.stderr
    assert "on worker1: install-cni: ErrImageNeverPull" in done.stderr
    assert "not everything is ready in time" in done.stderr


def test_a_second_time_nothing_is_written(run: Run, cluster: Cluster) -> None:
    run("install", *ABSENT, "--no-wait")
    cluster.kubectl.within("k8slan-system").wait("--for=create", "pods", "--all")
    before = _versions(cluster)
    done = run("install", *ABSENT, "--no-wait")
    assert _versions(cluster) == before
    lines = done.stderr.splitlines()
    assert lines
    assert all(line.endswith(" unchanged") for line in lines)


def _versions(cluster: Cluster) -> dict[str, list[str]]:
    """When each object that k8slan has applied was last changed by it."""
    kinds = f"{EVERYTHING},deployments,daemonsets,services,secrets,roles,rolebindings,serviceaccounts"
    found = cluster.kubectl.items(kinds, "-A", "-l", "app.kubernetes.io/part-of=k8slan", "--show-managed-fields")
    return {
        f"{item['kind']} {item['metadata']['name']}": [
            entry["time"] for entry in item["metadata"]["managedFields"] if entry["manager"] == "k8slan"
        ]
        for item in found
    }


def test_a_dry_run_changes_nothing(run: Run, cluster: Cluster) -> None:
    before = cluster.kubectl("get", EVERYTHING, "-o", "name")
    done = run("install", "--dry-run")
    assert "DaemonSet k8slan-system/k8slan-node-agent would be created" in done.stderr
    assert cluster.kubectl("get", EVERYTHING, "-o", "name") == before


def test_a_user_without_rights_hears_which_before_anything_is_changed(run: Run, cluster: Cluster) -> None:
    before = cluster.kubectl("get", EVERYTHING, "-o", "name")
    for command in ("install", "uninstall"):
        done = run(command, status=3, user="visitor")
        verbs = "get, create, patch" if command == "install" else "get, list, watch, delete"
        assert f"  - the right to {verbs} clusterroles.rbac.authorization.k8s.io" in done.stderr
        assert "customresourcedefinitions.apiextensions.k8s.io" in done.stderr
    assert cluster.kubectl("get", EVERYTHING, "-o", "name") == before


def test_lans_are_protected_until_forced(run: Run, cluster: Cluster) -> None:
    run("install", *ABSENT, "--no-wait")
    lan = document(SMALLEST)
    lan["metadata"]["finalizers"] = ["finalizer.k8slan.io/worker9"]
    cluster.kubectl.create(lan)
    assert "default/example" in run("uninstall", status=5).stderr
    assert cluster.kubectl.exists("namespace/k8slan-system")
    done = run("uninstall", "--force", "--timeout=20")
    assert "LAN default/example does not go: taking its finalizers off" in done.stderr


def test_a_namespace_of_somebody_elses_is_used_and_left(run: Run, cluster: Cluster) -> None:
    name = names.unique("own")
    cluster.kubectl("create", "namespace", name)
    run("install", *ABSENT, "--no-wait", f"--namespace={name}")
    assert cluster.kubectl.within(name).exists("daemonset/k8slan-node-agent")
    done = run("uninstall", f"--namespace={name}")
    assert f"Namespace {name} stays" in done.stderr
    assert not cluster.kubectl.within(name).exists("daemonset/k8slan-node-agent")
    cluster.kubectl.delete(f"namespace/{name}")


@pytest.mark.usefixtures("run")
def test_helm_installs_upgrades_and_uninstalls_the_chart(cluster: Cluster, helm: Path, tmp_path: Path) -> None:
    """LANs get ready, an upgrade takes nothing that the controller wrote, and what stays is what docs/helm.md says."""
    kubectl = cluster.kubectl.within("lans")
    run_helm = functools.partial(_helm, helm, cluster, "--namespace=lans")
    chart = tmp_path / "chart"
    argv = [sys.executable, "-m", "k8slan_cli", "render", "chart", f"--image={product.IMAGE}", "-o", str(chart)]
    subprocess.run(argv, check=True, capture_output=True)
    before = set(cluster.kubectl("get", EVERYTHING, "-o", "name").split())
    webhook = "validatingwebhookconfigurations/k8slan"

    run_helm("install", "k8slan", str(chart), "--create-namespace", "--wait", "--timeout=90s")
    cluster.kubectl.create(document(SMALLEST))
    cluster.kubectl.wait("--for=condition=Ready", "lan/example")
    known = cluster.kubectl.until(webhook, holds=lambda found: "caBundle" in found["webhooks"][0]["clientConfig"])

    run_helm("upgrade", "k8slan", str(chart), "--set=logLevel=debug", "--wait", "--timeout=90s")
    assert cluster.kubectl.get(webhook)["webhooks"] == known["webhooks"]
    assert "debug" in kubectl("get", "daemonset/k8slan-node-agent", "-o", "yaml")

    cluster.kubectl.delete("lan/example")
    run_helm("uninstall", "k8slan", "--wait", "--timeout=60s")
    left = set(cluster.kubectl("get", EVERYTHING, "-o", "name").split()) - before
    crds = {f"customresourcedefinition.apiextensions.k8s.io/{kind}.lan.k8slan.io" for kind in ("lans", "vteps")}
    assert left == {"namespace/lans", *crds}
    kubectl.wait("--for=delete", "pods", "--all")
    kinds = "all,secrets,configmaps,serviceaccounts,roles,rolebindings,leases,networkpolicies"
    assert set(kubectl("get", kinds, "-o", "name").split()) == {
        "configmap/kube-root-ca.crt",
        "serviceaccount/default",
        "lease.coordination.k8s.io/k8slan-controller",
    }

    run_helm("install", "k8slan", str(chart))  # it takes the CRDs that have stayed
    run_helm("uninstall", "k8slan", "--wait", "--timeout=60s")
    cluster.kubectl.delete("namespace/lans")


def _helm(program: Path, cluster: Cluster, *arguments: str) -> None:
    argv = [program, *arguments, f"--kubeconfig={cluster.kubeconfig}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, f"{done.stderr}\n{product.said(cluster)}"
