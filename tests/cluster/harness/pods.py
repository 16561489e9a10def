"""Pods as tests make them: a few words in, a running pod out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.cluster.harness.kubectl import Kubectl, Object
from tests.cluster.harness.node import Node
from tests.cluster.harness.versions import TEST_IMAGE

NETWORKS = "k8s.v1.cni.cncf.io/networks"
"""The annotation by which a pod asks multus for networks."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that was asked for."""

    name: str
    kubectl: Kubectl
    """Bound to the pod's namespace."""

    def get(self) -> Object:
        """The pod as the API has it now."""
        return self.kubectl.get("pod", self.name)

    @property
    def address(self) -> str:
        """Its address on the pod network. Raises KeyError before it has one."""
        address: str = self.get()["status"]["podIP"]
        return address

    @property
    def container_id(self) -> str:
        """Its container, as Node.container_run takes it."""
        container: str = self.get()["status"]["containerStatuses"][0]["containerID"]
        return container

    def run(self, *command: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run a command in its container and return what it printed. Raises KubectlError if that fails."""
        interactive = ["--stdin"] if stdin is not None else []
        return self.kubectl("exec", *interactive, self.name, "--", *command, stdin=stdin, timeout=timeout)

    def ready(self, timeout: float = 60) -> Pod:
        """Wait until it is Ready and return it. Raises TimeoutError with its events."""
        try:
            self.kubectl.until("pod", self.name, holds=is_ready, timeout=timeout, what="Ready")
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self.events()}") from None
        return self

    def restarted(self, container_id: str, timeout: float = 60) -> Pod:
        """Wait until it is Ready in another container than this one."""

        def anew(pod: Object) -> bool:
            statuses = pod["status"].get("containerStatuses", ())
            return is_ready(pod) and all(each.get("containerID") != container_id for each in statuses)

        self.kubectl.until("pod", self.name, holds=anew, timeout=timeout, what="restarted")
        return self

    def delete(self, timeout: float = 60) -> None:
        """Delete it and wait until it is gone."""
        self.kubectl.delete("pod", self.name, timeout=timeout)

    def events(self) -> str:
        """What happened to it, for messages."""
        columns = "custom-columns=REASON:.reason,MESSAGE:.message"
        return self.kubectl("get", "events", f"--field-selector=involvedObject.name={self.name}", "-o", columns)


def is_ready(pod: Object) -> bool:
    """Whether a pod object says Ready and is not on its way out."""
    conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def manifest(
    name: str,
    *,
    node: Node | str = "",
    networks: str | Iterable[str] = (),
    image: str = TEST_IMAGE,
    command: Sequence[str] = (),
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    resources: Mapping[str, int | str] | None = None,
    container: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> Object:
    """A pod of one container.

    ``networks``: names for multus, ``e1`` or ``e1@eth1`` or JSON. ``resources``: limits. ``container`` and ``spec``
    are laid over what this makes. It has no service account token unless ``spec`` says so, and ends at once.
    """
    asked = networks if isinstance(networks, str) else ",".join(networks)
    main: Object = {"name": "main", "image": image, "imagePullPolicy": "Never"}
    if command:
        main["command"] = list(command)
    if resources:
        main["resources"] = {"limits": {key: str(value) for key, value in resources.items()}}
    body: Object = {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "containers": [main | dict(container or {})],
    }
    if node:
        # A selector, not nodeName: the scheduler has its part, as with everybody's pods.
        body["nodeSelector"] = {"kubernetes.io/hostname": node if isinstance(node, str) else node.name}
    metadata: Object = {"name": name, "annotations": dict(annotations or {}), "labels": dict(labels or {})}
    if asked:
        metadata["annotations"][NETWORKS] = asked
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body | dict(spec or {})}


class Pods:
    """Makes pods in one namespace."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def __call__(self, node: Node | str = "", *, name: str = "", ready: bool = True, **wanted: Any) -> Pod:
        """Make a pod, of the form that ``manifest`` says, and wait until it is Ready unless told not to."""
        name = name or f"pod{next(_numbers)}"
        self._kubectl.create(manifest(name, node=node, **wanted))
        pod = Pod(name=name, kubectl=self._kubectl)
        return pod.ready() if ready else pod
