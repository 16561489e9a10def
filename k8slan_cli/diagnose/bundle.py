"""What a report of a bug needs, as files: versions, LANs, who is on them, events, what agents know, logs, checks.

Secrets are not asked for, and what may hold one is left out: environments of containers, and annotations in which
``kubectl apply`` keeps a copy of an object. Names, addresses and MACs are in it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.agents import Agents, namespace
from k8slan_cli.diagnose.doctor import document, examine
from k8slan_cli.diagnose.summary import PART_OF, versions
from k8slan_cli.errors import K8slanError
from k8slan_cli.kube import kinds
from k8slan_cli.kube.apply import Cluster

LOG_LINES = 5000
LOG_BYTES = 4 << 20
"""Of a container's log, the end of it; all the lines of a busy node would be too much."""
_COPIES = ("kubectl.kubernetes.io/last-applied-configuration",)

File = tuple[str, bytes]


def files(cluster: Cluster, space: str) -> Iterator[File]:
    """Return the files one by one, as far as they are to be had; the last says what was not, and why."""
    missing: list[str] = []

    def attempt(name: str, make: Callable[[], object]) -> Iterator[File]:
        try:
            found = make()
        except K8slanError as error:
            missing.append(f"{name}: {error.message}")
            return
        yield name, found if isinstance(found, bytes) else (json.dumps(found, indent=2) + "\n").encode()

    yield from attempt("versions.json", lambda: dataclasses.asdict(versions(cluster)))
    for kind in (kinds.LANS, kinds.VTEPS, kinds.NADS, kinds.NODES):
        yield from attempt(f"{kind.plural}.json", lambda kind=kind: _objects(cluster, kind, ""))  # type: ignore[misc]
    for kind in (kinds.DEPLOYMENTS, kinds.DAEMON_SETS, kinds.PODS):
        yield from attempt(
            f"{namespace()}/{kind.plural}.json",
            lambda kind=kind: _objects(cluster, kind, namespace()),  # type: ignore[misc]
        )
    yield from attempt("events.json", lambda: _events(cluster))
    yield from attempt("doctor.json", lambda: document(examine(cluster, space)))
    yield from _agents(cluster, attempt)
    yield from _logs(cluster, attempt)
    yield "missing.txt", "".join(f"{line}\n" for line in missing).encode()


def _objects(cluster: Cluster, kind: kinds.Kind, space: str) -> list[Any]:
    found = cluster.call("GET", kind.path(space))["items"]
    if kind is kinds.NADS:  # others' may have credentials in their configuration
        found = [item for item in found if (item["metadata"].get("labels") or {}).get(_BY) == "k8slan"]
    return [plain(item) for item in found]


_BY = "app.kubernetes.io/managed-by"


def plain(found: Any) -> Any:
    """Return a document without what may hold a secret, and without who wrote which field."""
    if isinstance(found, list):
        return [plain(each) for each in found]
    if not isinstance(found, Mapping):
        return found
    kept = {key: plain(value) for key, value in found.items() if key not in ("managedFields", "env", "envFrom")}
    if isinstance(annotations := kept.get("annotations"), dict):
        kept["annotations"] = {key: value for key, value in annotations.items() if key not in _COPIES}
    return kept


def _events(cluster: Cluster) -> list[Any]:
    """Events about LANs, about k8slan's own objects, and of k8slan about pods."""
    found = cluster.call("GET", kinds.CORE_EVENTS.path(""))["items"]

    def ours(event: Mapping[str, Any]) -> bool:
        about = event.get("involvedObject") or {}
        by = f"{event.get('reportingComponent')} {(event.get('source') or {}).get('component')}"
        return about.get("kind") == kinds.LANS.name or about.get("namespace") == namespace() or "k8slan" in by

    return [plain(event) for event in found if ours(event)]


def _agents(cluster: Cluster, attempt: Callable[[str, Callable[[], object]], Iterator[File]]) -> Iterator[File]:
    """What each agent knows: its attachments with their counters, and what it says of its node."""
    agents = Agents(cluster)

    def ask(node: str) -> dict[str, Any]:
        asked = agents.ask(node, protocol.ATTACHMENTS, {})
        return {**asked, "facts": agents.ask(node, protocol.NODE, {"reaches": []})}

    unreachable: dict[str, K8slanError] = {}
    answers: dict[str, dict[str, Any]] = {}

    def everything() -> list[str]:
        agents.token()
        answers.update(agents.each(agents.pods, ask, unreachable=unreachable))
        return sorted(answers)

    yield from attempt("agents/asked.json", everything)
    for node, answer in sorted(answers.items()):
        yield from attempt(f"agents/{node}.json", lambda answer=answer: answer)  # type: ignore[misc]
    for node, error in sorted(unreachable.items()):
        yield from attempt(f"agents/{node}.json", lambda error=error: _raise(error))  # type: ignore[misc]


def _raise(error: K8slanError) -> object:
    raise error


def _logs(cluster: Cluster, attempt: Callable[[str, Callable[[], object]], Iterator[File]]) -> Iterator[File]:
    """The ends of the logs of k8slan's pods, also of containers that have ended."""
    try:
        pods = cluster.call("GET", kinds.PODS.path(namespace()), query={"labelSelector": PART_OF})["items"]
    except K8slanError:  # it is missing, and said to be
        return
    for pod in pods:
        name = pod["metadata"]["name"]
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        for status in statuses:
            for previous in (False, True)[: 1 + bool(status.get("restartCount"))]:
                query = {
                    "container": status["name"],
                    "tailLines": str(LOG_LINES),
                    "limitBytes": str(LOG_BYTES),
                    "timestamps": "true",
                    **({"previous": "true"} if previous else {}),
                }
                path = f"{kinds.PODS.path(namespace())}/{name}/log"
                yield from attempt(
                    f"logs/{name}.{status['name']}{'.previous' * previous}.log",
                    lambda path=path, query=query: cluster.data(path, query),  # type: ignore[misc]
                )
