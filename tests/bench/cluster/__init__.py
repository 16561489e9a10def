"""What k8slan costs in a cluster: how long pods and resources take, and what an agent needs (``make bench-cluster``).

The cluster is the tests' own (tests/cluster/harness) with one node, so that what is measured shares the machine with
one kubelet, as everywhere else, and not with those of other nodes. It is made for this and removed afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.bench.cluster import agent, pods, resources
from tests.bench.rows import Row
from tests.cluster import product
from tests.cluster.harness import Cluster
from tests.support import names


def rows() -> Iterator[Row]:
    """The figures of a cluster."""
    cluster = Cluster.up(names.PREFIX, nodes=1, images=(product.image(_say),), say=_say)
    try:
        product.install(cluster)
        yield from resources.rows(cluster)  # while the kubelet knows no others
        yield from agent.rows(cluster)
        yield from pods.rows(cluster)
    finally:
        cluster.down()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
