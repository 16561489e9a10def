"""All that LANs need, looked at from the workstation to the wires between nodes, and what to do where it is not there.

Every check is a sentence. What a user may not see is said too, as a warning: it may be in order. Nothing is changed:
what has to be tried out is tried with a dry run, or by the agents in namespaces of their own.

Areas come in the order in which one thing needs another: ``cluster`` is what the API tells, ``nodes`` what the agents
find.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from k8slan_cli.diagnose import between, nodes
from k8slan_cli.diagnose import cluster as api
from k8slan_cli.diagnose.agents import Agents
from k8slan_cli.diagnose.protocol import FAIL, Check
from k8slan_cli.errors import K8slanError
from k8slan_cli.kube.apply import Cluster


@dataclass(frozen=True, slots=True)
class Area:
    """Checks under a heading."""

    name: str
    checks: tuple[Check, ...]


def examine(cluster: Cluster, namespace: str) -> Iterator[Area]:
    """All areas, as far as one can get: nothing can be looked at behind what is not there."""
    try:
        version = tuple(api.version(cluster))
    except K8slanError as error:
        yield Area("cluster", (Check(what="API server", state=FAIL, words=error.message, advice=error.hint),))
        return
    yield Area("cluster", (*version, *api.multus(cluster), *api.kubevirts(cluster)))
    known = tuple(api.crd(cluster))
    yield Area("k8slan", (*known, *api.controller(cluster), *api.webhook(cluster, namespace)))
    if any(check.state == FAIL for check in known):
        return
    found, users, checks = api.lans(cluster, namespace)
    yield Area("LANs", (*checks, *api.chains(cluster, namespace)))
    lans = [(item.lan, users.of(item)) for item in found if item.lan]
    agents, ways = Agents(cluster), between.ways(lans)
    facts, checks = nodes.examine(agents, cluster, ways, lans)
    yield Area("agents", checks)
    for node, said in sorted(facts.items()):
        yield Area(f"node {node}", said.checks)
    if len(facts) > 1:
        yield Area("between nodes", tuple(nodes.between(agents, facts, ways, {lan.vni for lan, _ in lans})))


def document(areas: Iterable[Area]) -> dict[str, Any]:
    """All of it, for programs."""
    checks = [
        {
            "area": area.name,
            "check": check.what,
            "state": check.state,
            "message": check.words,
            "advice": check.advice,
        }
        for area in areas
        for check in area.checks
    ]
    return {"ok": all(check["state"] != FAIL for check in checks), "checks": checks}
