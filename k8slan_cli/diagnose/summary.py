"""What runs where: the versions of k8slan's parts in a cluster, and how its LANs are, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from k8slan_cli import __version__
from k8slan_cli.diagnose import cluster as api
from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.agents import Agents, namespace
from k8slan_cli.diagnose.protocol import FAIL, OK, Check
from k8slan_cli.errors import K8slanError
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.kube import apply, kinds
from k8slan_cli.kube.apply import Cluster

PART_OF = "app.kubernetes.io/part-of=k8slan"
_NAME = "app.kubernetes.io/name"
_CONTROLLER, _AGENT = "k8slan-controller", "k8slan-node-agent"
_SECONDS = 5.0
"""How long agents are waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A pod of k8slan's: its ``image``, the ``version`` that it says it is, why it is not ready ("" if it is)."""

    name: str
    node: str
    image: str
    version: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What runs: ``notes`` are sentences about what cannot be seen."""

    client: str = __version__
    kubernetes: str = ""
    controllers: tuple[Part, ...] = ()
    agents: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def mixed(self) -> bool:
        """Whether agents are of another version than this command."""
        return any(part.version not in ("", self.client) for part in self.agents)


def versions(cluster: Cluster) -> Versions:
    """Ask a cluster and its agents.

    Raises:
        MissingError: there is no answer.

    """
    kubernetes = str(cluster.call("GET", "/version").get("gitVersion") or "")
    path, query = kinds.PODS.path(namespace()), {"labelSelector": PART_OF}
    try:
        pods = cluster.call("GET", path, query=query)["items"]
    except K8slanError as error:
        return Versions(kubernetes=kubernetes, notes=(f"k8slan's pods cannot be seen: {error.message}",))
    notes = [] if pods else [f"k8slan is not in namespace {namespace()}"]
    parts = {name: [_part(pod) for pod in pods if _name(pod) == name] for name in (_CONTROLLER, _AGENT)}
    told, unseen = _told(cluster) if parts[_AGENT] else ({}, "")
    notes += [unseen] if unseen else []
    agents = [
        Part(name=p.name, node=p.node, image=p.image, version=told.get(p.node, ""), trouble=p.trouble)
        for p in sorted(parts[_AGENT], key=lambda part: part.node)
    ]
    return Versions(
        kubernetes=kubernetes, controllers=tuple(parts[_CONTROLLER]), agents=tuple(agents), notes=tuple(notes)
    )


def _told(cluster: Cluster) -> tuple[dict[str, str], str]:
    """The versions that agents tell by their nodes; and why they do not, "" if they do."""
    agents = Agents(cluster).within(_SECONDS)
    nothing = {"lan": "-"}  # of no LAN: the version is all that is wanted
    unreachable: dict[str, K8slanError] = {}
    try:
        agents.token()
        answers = agents.each(
            agents.pods, lambda node: agents.ask(node, protocol.ATTACHMENTS, nothing), unreachable=unreachable
        )
    except K8slanError as error:
        return {}, f"agents cannot be asked: {error.message}"
    why = "; ".join(f"node {node}: {error.message}" for node, error in list(unreachable.items())[:1])
    return {node: str(answer.get("version") or "") for node, answer in answers.items()}, why


def _name(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(_NAME) or "")


def _part(pod: Mapping[str, Any]) -> Part:
    spec = pod.get("spec") or {}
    return Part(
        name=pod["metadata"]["name"],
        node=spec.get("nodeName") or "",
        image=next((container.get("image") or "" for container in spec.get("containers") or ()), ""),
        trouble=apply.waits_for(pod),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A cluster on one screen: ``wrong`` needs a look, ``hidden`` is whether some who are attached cannot be seen."""

    versions: Versions
    lans: int = 0
    ready: int = 0
    attached: int = 0
    waiting: int = 0
    nodes: int = 0
    links_down: int = 0
    hidden: bool = False
    wrong: tuple[Check, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Whether k8slan itself is at work everywhere: LANs may have troubles of their own."""
        found = self.versions
        return bool(found.controllers and found.agents) and not any(
            part.trouble for part in (*found.controllers, *found.agents)
        )


def summary(cluster: Cluster, space: str) -> Summary:
    """Look at a cluster, its LANs in ``space`` at least.

    Raises:
        MissingError: there is no answer.

    """
    found = versions(cluster)
    crd = tuple(api.crd(cluster))
    items, users, checks = api.lans(cluster, space) if all(check.state != FAIL for check in crd) else ([], Users(), ())
    return Summary(
        versions=found,
        lans=len(items),
        ready=sum(bool(item.ready and item.ready.status) for item in items),
        attached=len(users.attached),
        waiting=len(users.waiting),
        nodes=len({item.node for item in users.attached}),
        hidden=users.hidden,
        links_down=sum(len(item.lan.pulled) for item in items if item.lan),
        wrong=tuple(check for check in (*crd, *checks) if check.state != OK),
    )
