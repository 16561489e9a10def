"""Applying and removing manifests with a user's kubeconfig: server-side apply, rights, watches; all of it blocking.

This is the workstation's way to the Kubernetes API, for commands that run once. The agent and the controller have
their own, asynchronous one. Paths come from a small table instead of discovery: the kinds are k8slan's own and known,
and a table also tells which right is missing before anything has been changed.
"""

from __future__ import annotations

import functools
import json
import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlencode

from k8slan_cli.errors import Problem
from k8slan_cli.kube import kubeconfig as kubeconfigs
from k8slan_cli.kube.connection import Access, Connection
from k8slan_cli.kube.connection import ClusterError as ClusterError
from k8slan_cli.kube.connection import MissingError as MissingError

FIELD_MANAGER = "k8slan"
_A_YEAR = 365 * 86400.0
_PAUSE = 0.2
"""Seconds between the end of a watch and the next, so that a server that ends each at once is not run over."""
_WATCH_SECONDS = 300
"""The longest watch: a connection that died without a word is noticed after so long, and a little."""
Document = Mapping[str, Any]
State = dict[str, dict[str, dict[str, Any]]]
"""What ``Cluster.follow`` sees: objects by the name of their source and by their own."""


# ---------------------------------------------------------------- kinds


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: where its API has it."""

    api_version: str
    name: str
    plural: str
    namespaced: bool

    @property
    def group(self) -> str:
        """The API group; "" is the core's."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of one object, or of all of them in a namespace or in the cluster."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        place = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{place}/{self.plural}{'/' + name if name else ''}"


_RBAC = "rbac.authorization.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io/v1"
NAMESPACE = Kind("v1", "Namespace", "namespaces", False)
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", False)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments", True)
DAEMON_SET = Kind("apps/v1", "DaemonSet", "daemonsets", True)
POD = Kind("v1", "Pod", "pods", True)
NODE = Kind("v1", "Node", "nodes", False)
EVENT = Kind("v1", "Event", "events", True)
LAN = Kind("lan.k8slan.io/v1beta1", "LAN", "lans", True)

KINDS = {
    (kind.api_version, kind.name): kind
    for kind in (
        NAMESPACE,
        CRD,
        DEPLOYMENT,
        DAEMON_SET,
        POD,
        LAN,
        Kind("v1", "ServiceAccount", "serviceaccounts", True),
        Kind("v1", "Service", "services", True),
        Kind("v1", "Secret", "secrets", True),
        Kind(_RBAC, "ClusterRole", "clusterroles", False),
        Kind(_RBAC, "ClusterRoleBinding", "clusterrolebindings", False),
        Kind(_RBAC, "Role", "roles", True),
        Kind(_RBAC, "RoleBinding", "rolebindings", True),
        Kind(_ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False),
        Kind(_ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", False),
        Kind(_ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", False),
        Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", True),
    )
}


@dataclass(frozen=True, slots=True)
class Ref:
    """One object by its kind and names. Printed as people say it: ``Deployment k8slan-system/k8slan-controller``."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.name} {self.namespace + '/' if self.namespace else ''}{self.name}"

    @property
    def path(self) -> str:
        """The object's path."""
        return self.kind.path(self.namespace, self.name)


def ref(document: Document) -> Ref:
    """Which object a document is of."""
    kind = KINDS[document["apiVersion"], document["kind"]]
    metadata = document["metadata"]
    return Ref(kind, metadata.get("namespace", "") if kind.namespaced else "", metadata["name"])


# ---------------------------------------------------------------- the cluster


class Cluster:
    """A connection to a cluster.

    Every call raises ``MissingError`` if nobody answers and ``ClusterError`` if the request is refused.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self._connection = Connection(access)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        seconds: float = 30,
    ) -> dict[str, Any]:
        """Send one request and return its answer."""
        response = self._send(method, path, query, body, content_type, seconds)
        text = self._read(response)
        if not 200 <= response.status <= 299:
            raise refusal(response.status, text, f"{method} {path}")
        found: dict[str, Any] = json.loads(text)
        return found

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "",
        seconds: float = 30,
        *,
        alone: bool = False,
    ) -> HTTPResponse:
        headers = [("Accept", "application/json"), ("User-Agent", FIELD_MANAGER)]
        if body is not None:
            headers.append(("Content-Type", content_type))
        data = None if body is None else json.dumps(body).encode()
        target = f"{path}?{urlencode(query)}" if query else path
        return self._connection.send(method, target, tuple(headers), data, seconds=seconds, alone=alone)

    def _read(self, response: HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, HTTPException) as error:
            raise self._connection.lost(error) from error

    def get(self, wanted: Ref) -> dict[str, Any] | None:
        """The object, or None if there is none, or no such kind."""
        try:
            return self.call("GET", wanted.path)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def objects(self, kind: Kind, namespace: str = "") -> list[dict[str, Any]]:
        """All objects of a kind, none if the cluster does not know it."""
        try:
            found: list[dict[str, Any]] = self.call("GET", kind.path(namespace))["items"]
        except ClusterError as error:
            if error.status == 404:
                return []
            raise
        return found

    def apply(self, document: Document, *, dry_run: bool = False) -> str:
        """Server-side apply; k8slan's fields become k8slan's. Returns ``created``, ``changed`` or ``unchanged``."""
        target = ref(document)
        before = self.get(target)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        after = self.call("PATCH", target.path, query=query, body=document, content_type="application/apply-patch+yaml")
        if before is None:
            return "created"
        return "unchanged" if _content(before) == _content(after) else "changed"

    def delete(self, target: Ref, *, dry_run: bool = False) -> bool:
        """Ask for an object to be deleted, its pods before it; false if it was not there."""
        first = "Foreground" if target.kind in (DEPLOYMENT, DAEMON_SET) else "Background"
        query = {"propagationPolicy": first} | ({"dryRun": "All"} if dry_run else {})
        try:
            self.call("DELETE", target.path, query=query)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    def lacking(self, verbs: Iterable[str], kind: Kind, namespace: str) -> str:
        """Those of the ``verbs`` that this user may not do with a kind, in words; "" if none."""
        refused = [verb for verb in verbs if not self._may(verb, kind, namespace)]
        if not refused:
            return ""
        where = f" in namespace {namespace}" if namespace else ""
        return f"the right to {', '.join(refused)} {kind.plural}{'.' + kind.group if kind.group else ''}{where}"

    def _may(self, verb: str, kind: Kind, namespace: str) -> bool:
        asked = {"verb": verb, "group": kind.group, "resource": kind.plural, "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self.call("POST", path, body=review)["status"].get("allowed"))

    # ------------------------------------------------------------ watching

    def follow(self, sources: Mapping[str, Source], seconds: float = _A_YEAR) -> Iterator[State]:
        """What the ``sources`` hold, by source and name: now, and again after each change.

        It ends after ``seconds``, or in effect never. Each source is listed once and watched from there; nothing is
        asked twice as long as the connection holds.
        """
        deadline = time.monotonic() + seconds
        changes: queue.Queue[tuple[str, dict[str, dict[str, Any]] | ClusterError]] = queue.Queue()
        stop = threading.Event()
        for name, source in sources.items():
            run = functools.partial(self._watch, name, source, deadline, stop, changes)
            threading.Thread(target=run, name=f"watch {name}", daemon=True).start()
        state: State = {}
        try:
            while (left := deadline - time.monotonic()) > 0:
                try:
                    name, found = changes.get(timeout=left)
                except queue.Empty:
                    return
                if isinstance(found, ClusterError):
                    raise found
                state[name] = found
                if state.keys() == sources.keys():
                    yield dict(state)
        finally:
            stop.set()

    def _watch(
        self,
        name: str,
        source: Source,
        deadline: float,
        stop: threading.Event,
        changes: queue.Queue[tuple[str, dict[str, dict[str, Any]] | ClusterError]],
    ) -> None:
        while not stop.is_set() and time.monotonic() < deadline:
            try:
                for found in self._snapshots(source, deadline):
                    if stop.is_set():
                        return
                    changes.put((name, found))
            except ClusterError as error:
                # Not by a broken connection or an API server that is about to begin or end, nor by a list that is too
                # old to be watched from (Gone): all mean to list again, until the deadline.
                if error.status not in (0, 410) and error.status < 500:
                    changes.put((name, error))
                    return
            stop.wait(_PAUSE)

    def _snapshots(self, source: Source, deadline: float) -> Iterator[dict[str, dict[str, Any]]]:
        selectors = {"fieldSelector": source.field_selector, "labelSelector": source.label_selector}
        query = {name: selector for name, selector in selectors.items() if selector}
        path = source.kind.path(source.namespace)
        try:
            listed = self.call("GET", path, query=query)
        except ClusterError as error:
            if error.status != 404:
                raise
            listed = {"items": [], "metadata": {}}  # the kind itself is gone, with everything of it
        found = {_key(item): item for item in listed["items"]}
        yield dict(found)
        left = max(1, int(min(deadline - time.monotonic(), _WATCH_SECONDS)) + 1)
        query |= {"watch": "true", "timeoutSeconds": str(left)}
        if version := listed["metadata"].get("resourceVersion"):
            query["resourceVersion"] = version
        response = self._send("GET", path, query, seconds=left + 5, alone=True)
        try:
            if response.status != 200:
                raise refusal(response.status, self._read(response), f"watch {path}")
            for line in response:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ClusterError(status.get("message", ""), status=status.get("code", 0))
                if event["type"] == "DELETED":
                    found.pop(_key(event["object"]), None)
                else:
                    found[_key(event["object"])] = event["object"]
                yield dict(found)
        except (OSError, HTTPException) as error:
            raise self._connection.lost(error) from error
        finally:
            response.close()

    def gone(self, targets: Sequence[Ref], seconds: float) -> list[Ref]:
        """Wait until none of the ``targets`` is there any more; returns those that still are after ``seconds``."""
        if not targets:
            return []
        left = list(targets)
        sources = {
            str(target): Source(target.kind, target.namespace, f"metadata.name={target.name}") for target in targets
        }
        for state in self.follow(sources, seconds):
            left = [target for target in targets if state[str(target)]]
            if not left:
                break
        return left


@dataclass(frozen=True, slots=True)
class Source:
    """What ``Cluster.follow`` looks at: a kind, in a namespace or everywhere, all or some of its objects."""

    kind: Kind
    namespace: str = ""
    field_selector: str = ""
    label_selector: str = ""


def _key(item: Document) -> str:
    metadata = item["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else str(metadata["name"])


def _content(found: Document) -> dict[str, Any]:
    """What of an object matters: not who wrote it when."""
    own = ("managedFields", "resourceVersion", "generation")
    metadata = {k: v for k, v in found["metadata"].items() if k not in own}
    return {**found, "metadata": metadata}


_FORBIDDEN = re.compile(
    r'.* is forbidden: User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<what>[^"]*)" in API group "[^"]*"'
    r'(?: in the namespace "(?P<namespace>[^"]*)"| at the cluster scope)?(?P<more>.*)',
    re.DOTALL,
)
"""What the API server says of a right that is missing."""


def refusal(status: int, text: bytes, what: str) -> ClusterError:
    """What an answer of the API server means that is not a success; ``what`` was asked."""
    try:
        answer = json.loads(text)
        message = str(answer.get("message") or "")
        causes = (answer.get("details") or {}).get("causes") or ()
        problems = tuple(Problem(field=c.get("field") or "", message=c.get("message") or "") for c in causes)
    except (ValueError, AttributeError):
        message, problems = text.decode(errors="replace").strip(), ()
    if status == 401:
        hint = "the kubeconfig's credentials are wrong or have expired"
        return MissingError("the cluster does not know this user", hint=hint, status=status)
    if status == 403 and (found := _FORBIDDEN.fullmatch(message)):
        where = f"in namespace {found['namespace']}" if found["namespace"] else "in all of the cluster"
        namespace = f" -n {found['namespace']}" if found["namespace"] else ""
        return MissingError(
            f"user {found['user']} may not {found['verb']} {found['what']} {where}",
            hint=f"what this user may do says: kubectl auth can-i --list{namespace}",
            status=status,
        )
    return ClusterError(message or f"{what}: HTTP status {status}", status=status, problems=problems)


# ---------------------------------------------------------------- connecting


def connect(kubeconfig: str | None = None, context: str | None = None) -> Cluster:
    """Connect with a kubeconfig: the one given, else ``$KUBECONFIG``, else ``~/.kube/config``.

    Raises:
        MissingError: there is none, it has no such context, or it cannot be used.

    """
    return Cluster(kubeconfigs.load(kubeconfig, context))


# ---------------------------------------------------------------- is it ready?


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a Deployment or DaemonSet is: ``ready`` of ``wanted`` pods run what was applied last."""

    name: str
    ready: int
    wanted: int
    seen: bool

    @property
    def done(self) -> bool:
        """All of it is there."""
        return self.seen and self.ready >= self.wanted

    def __str__(self) -> str:
        return f"{self.name} {self.ready}/{self.wanted if self.seen else '?'}"


def rollout(found: Document) -> Rollout:
    """Read the status of a Deployment or DaemonSet."""
    status = found.get("status") or {}
    seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 1)
    if found["kind"] == DAEMON_SET.name if "kind" in found else "desiredNumberScheduled" in status:
        wanted = status.get("desiredNumberScheduled", 0)
        counts = (status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0))
    else:
        wanted = found["spec"].get("replicas", 1)
        counts = (status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
        seen = seen and status.get("replicas", 0) <= wanted  # none of the old ones is left
    return Rollout(found["metadata"]["name"], min(counts), wanted, seen)


def conditions(found: Document) -> dict[str, Document]:
    """The conditions of an object by type. A list that is empty may come as null from the API, or not at all."""
    return {condition["type"]: condition for condition in (found.get("status") or {}).get("conditions") or ()}


STARTING = "is starting"


def node_names(node: Mapping[str, Any]) -> Iterator[str]:
    """What a LAN may call a node: by its name, or by its host name."""
    yield node["metadata"]["name"]
    if label := (node["metadata"].get("labels") or {}).get("kubernetes.io/hostname"):
        yield label


def waits_for(pod: Document) -> str:
    """What a pod that is not ready waits for, in a few words: ``STARTING`` if only for itself, "" if it is ready."""
    found = conditions(pod)
    if found.get("Ready", {}).get("status") == "True":
        return ""
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or ():
            if words := _halt(container):
                return words
    scheduled = found.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"no node for it: {scheduled.get('message', '')}"
    return STARTING


def _halt(container: Document) -> str:
    state = container.get("state") or {}
    for halt in (state.get("waiting"), state.get("terminated")):
        if halt and halt.get("reason") not in (None, "PodInitializing", "ContainerCreating", "Completed"):
            message = halt.get("message", "").strip().splitlines()
            return f"{container['name']}: {halt['reason']}{': ' + message[-1] if message else ''}"
    return ""
