"""A cluster without nodes, for what concerns the API server alone: up in seconds, and k8slan does not run in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli.render import manifests
from k8slan_cli.render.manifests import Part
from k8slan_cli.render.settings import Settings
from tests.cluster.harness import Cluster, Kubectl
from tests.support import names

As = Callable[..., Kubectl]


@pytest.fixture(scope="session")
def cluster(buildable: None) -> Iterator[Cluster]:  # noqa: ARG001 - comes first
    """The control plane."""
    cluster = Cluster.up(f"{names.PREFIX}api", nodes=0)
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def rights(cluster: Cluster) -> str:
    """CRDs and rights of this checkout; the namespace of the service accounts, which need not exist themselves."""
    space = "kube-system"
    for part in (Part.CRD, Part.VTEP_CRD, Part.RBAC):
        cluster.kubectl.within(space).apply(manifests.render(part, Settings(namespace=space)))
    cluster.kubectl.established("lans.lan.k8slan.io", "vteps.lan.k8slan.io")
    return space


@pytest.fixture
def as_(rights: str, kubectl: Kubectl, tmp_path: Path) -> As:
    """A kubectl as one of the parts sees the cluster: ``as_("node-agent", node="worker1")``."""

    def as_(part: str, node: str = "") -> Kubectl:
        config: dict[str, Any] = yaml.safe_load(kubectl.kubeconfig.read_text())
        user = config["users"][0]["user"]
        user["as"] = f"system:serviceaccount:{rights}:k8slan-{part}"
        user["as-groups"] = ["system:serviceaccounts", "system:authenticated"]
        if node:
            user["as-user-extra"] = {"authentication.kubernetes.io/node-name": [node]}
        path = tmp_path / f"{part}-{node}"
        path.write_text(yaml.safe_dump(config))
        return Kubectl(kubectl.executable, path, kubectl.namespace)

    return as_
