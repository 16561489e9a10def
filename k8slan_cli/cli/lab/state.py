"""A lab as a cluster has it: its objects, what of it is not ready, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k8slan_cli.errors import AbsentError
from k8slan_cli.kube import apply, client, kinds
from k8slan_cli.kube.kinds import Document, Kind, Ref
from k8slan_cli.lan import names
from k8slan_cli.lan.names import LAB_LABEL, LAB_NODE_LABEL

if TYPE_CHECKING:
    from k8slan_cli.cli.here import Here
    from k8slan_cli.kube.apply import Cluster

KINDS = (kinds.DEPLOYMENTS, kinds.VMS, kinds.SERVICES, kinds.CONFIG_MAPS, kinds.LANS)
"""Kinds of a lab's objects, in the order in which they go."""
FOLLOWED = (kinds.LANS, kinds.DEPLOYMENTS, kinds.VMS)


def objects(cluster: Cluster, namespace: str, lab: str = "", each: Iterable[Kind] = KINDS) -> dict[Ref, Document]:
    """Return all objects of a lab, or of all labs of a namespace.

    Raises:
        MissingError: this user may not see them.

    """
    from k8slan_cli.inventory import lans

    found: dict[Ref, Document] = {}
    for kind in each:
        query = {"labelSelector": f"{LAB_LABEL}={lab}" if lab else LAB_LABEL}
        try:
            items = cluster.call("GET", kind.path(namespace), query=query)["items"]
        except client.ApiError as error:
            if kind == kinds.VMS and error.status in (403, 404):  # there is no KubeVirt, or none for this user
                continue
            raise lans.not_installed(error) from error
        found |= {Ref(kind, namespace, item["metadata"]["name"]): item for item in items}
    return found


def of(here: Here, lab: str) -> dict[Ref, Document]:
    """Return all objects of a lab that is up.

    Raises:
        AbsentError: there is none.

    """
    found = objects(here.cluster, here.namespace, names.lab(lab))
    if not found:
        there = {item["metadata"]["labels"][LAB_LABEL] for item in objects(here.cluster, here.namespace).values()}
        words = f"there is no lab {lab!r} in namespace {here.namespace}"
        raise AbsentError(words, name=lab, known=there, hint="" if there else "to bring one up: k8slan lab up TOPOLOGY")
    return found


def selections(namespace: str, lab: str, each: Iterable[Kind]) -> dict[str, apply.Selection]:
    """Return what to follow to see objects of a lab, by the names of their kinds."""
    return {kind.name: apply.Selection(kind, namespace, label_selector=f"{LAB_LABEL}={lab}") for kind in each}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is not ready yet: an object, and why."""

    what: Ref
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


def waiting(wanted: Iterable[Ref], state: Mapping[str, Mapping[str, Document]]) -> Iterator[Waiting]:
    """Yield what of wanted objects is not ready, by what ``Cluster.follow`` sees."""
    for target in wanted:
        if target.kind not in FOLLOWED:
            continue
        found = state[target.kind.name].get(f"{target.namespace}/{target.name}")
        why = "is not there" if found is None else _waits(target.kind, found)
        if why:
            yield Waiting(what=target, why=why)


def _waits(kind: Kind, found: Document) -> str:
    if kind == kinds.DEPLOYMENTS:
        return "" if apply.rollout(found).done else "its pod is not ready"
    if kind == kinds.VMS:
        status = found.get("status") or {}
        return "" if status.get("ready") else str(status.get("printableStatus") or "waits for KubeVirt")
    from k8slan_cli.inventory import lans

    lan = lans.read(found)
    if lan.ready is None or lan.status.generation < lan.generation:
        return "waits for the controller"
    return "" if lan.ready.status else lan.ready.message or lan.ready.reason


def pods(cluster: Cluster, namespace: str, lab: str) -> list[dict[str, Any]]:
    """Return the pods of a lab, those of VMs too, without those that are over."""
    query = {"labelSelector": f"{LAB_LABEL}={lab}", "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
    found: list[dict[str, Any]] = cluster.call("GET", kinds.PODS.path(namespace), query=query)["items"]
    return found


def reasons(cluster: Cluster, namespace: str, lab: str) -> dict[str, str]:
    """Return why nodes are not ready, by their labels, as their pods have it."""
    found = {}
    for pod in pods(cluster, namespace, lab):
        if why := apply.waits_for(pod):
            found[pod["metadata"]["labels"].get(LAB_NODE_LABEL, "")] = why
    return found
