"""The Helm chart, by Helm: its objects are those of ``k8slan render all``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.cli import render
from k8slan_cli.render import chart, manifests
from tests.cluster.harness.versions import KUBERNETES

NAMESPACE = "lans"

Document = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart, as a user renders it."""
    folder = tmp_path_factory.mktemp("chart") / "k8slan"
    subprocess.run([sys.executable, "-m", "k8slan_cli", "render", "chart", "-o", str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def template(helm: Path, folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``helm template`` with values."""

    def run(values: Document) -> subprocess.CompletedProcess[str]:
        argv = [helm, "template", "k8slan", folder, f"--namespace={NAMESPACE}", f"--kube-version={KUBERNETES}"]
        given = json.dumps(values)
        return subprocess.run([*argv, "--values=-"], input=given, capture_output=True, text=True, check=False)

    return run


def test_helm_finds_no_fault(helm: Path, folder: Path) -> None:
    done = subprocess.run([helm, "lint", "--strict", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"distribution": "k3s", "image": "registry.example/k8slan:7@sha256:00", "pull_policy": "Always"},
        {"webhook": False, "network_policy": False, "service_monitor": True},
        {"webhook": False, "service_monitor": True, "api_servers": ["192.0.2.0/24"]},
        {
            "pull_secrets": ["one", "two"],
            "api_servers": ["192.0.2.0/24", "fd00::/64"],
            "metrics_namespaces": ["monitoring"],
            "agent_tolerations": ["a=b:NoSchedule", "c"],
            "controller_tolerations": [":"],
            "node_selector": "kubernetes.io/os=linux,role=lan,y=yes,n=0x10",
        },
        {
            "replicas": 2,
            "log_level": "debug",
            "names": "both",
            "max_resources": 12000,
            "max_pods": 250,
            "vni_range": "1-16777215",
            "agent_metrics_port": 1024,
            "agent_diagnostics_port": 65535,
            "controller_metrics_port": 10000,
            "webhook_port": 10443,
            "agent_limits": "cpu=1.5,memory=1Gi",
        },
    ],
    ids=lambda options: ",".join(options) or "defaults",
)
def test_its_objects_are_those_of_the_manifests(
    template: Callable[..., subprocess.CompletedProcess[str]], options: dict[str, Any]
) -> None:
    """All but the namespace, which a release must find; and CRDs have a mark more, by which they stay."""
    settings = render.build(options.pop("distribution", "kubernetes"), {**options, "namespace": NAMESPACE})
    usual, given = chart.values(render.build("kubernetes", {})), chart.values(settings)
    done = template({key: value for key, value in given.items() if value != usual[key]})
    assert done.returncode == 0, done.stderr
    ours = _by_name(manifests.documents(done.stdout))
    theirs = _by_name(manifests.documents(manifests.render_all(settings)))
    del theirs["Namespace", NAMESPACE]
    for (kind, _), document in ours.items():
        if kind == "CustomResourceDefinition":
            assert document["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert ours == theirs


def _by_name(documents: list[Document]) -> dict[tuple[str, str], Document]:
    found = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    assert len(found) == len({str(each) for each in documents})
    return found


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicas": 40}, "/replicas"),
        ({"replica": 2}, "'replica' not allowed"),
        ({"agentMetricsPort": 9403}, "agentDiagnosticsPort is that of agentMetricsPort"),
        ({"webhookPort": 9404}, "webhookPort is that of controllerMetricsPort"),
    ],
    ids=str,
)
def test_values_that_cannot_work_are_refused(
    template: Callable[..., subprocess.CompletedProcess[str]], values: Document, words: str
) -> None:
    done = template(values)
    assert done.returncode != 0
    assert words in done.stderr
