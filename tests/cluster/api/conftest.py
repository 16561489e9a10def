"""A cluster without nodes, for what concerns the API server alone: up in seconds, and k8slan does not run in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.harness import Cluster
from tests.support import names


@pytest.fixture(scope="session")
def cluster(buildable: None) -> Iterator[Cluster]:  # noqa: ARG001 - comes first
    """The control plane."""
    cluster = Cluster.up(f"{names.PREFIX}api", nodes=0)
    yield cluster
    cluster.down()
