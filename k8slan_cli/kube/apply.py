"""A cluster as the commands of a workstation use it: each call blocks until it is done.

It is the client of agent and controller (client.py, watch.py) on a transport that blocks. Here is what only commands
do: applying and removing manifests, asking for rights, following several kinds of objects at once.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8slan_cli.kube.client import APPLY, JSON, ApiError, Client, Request
from k8slan_cli.kube.kinds import DAEMON_SETS, DEPLOYMENTS, Document, Kind, Ref, ref
from k8slan_cli.kube.kubeconfig import Access, access
from k8slan_cli.kube.transport import Blocking, drive

FIELD_MANAGER = "k8slan"
_A_YEAR = 365 * 86400.0
_END_SECONDS = 1.0
"""How long threads that watch are waited for: one that connects to a server that is silent takes longer to end."""
State = dict[str, dict[str, Document]]
"""What ``Cluster.follow`` sees: objects by the name of their source and by their own."""
Change = tuple[str, dict[str, Document] | ApiError]


# ---------------------------------------------------------------- the cluster


class Cluster:
    """A connection to a cluster.

    Every call raises ``ApiError`` if the request is refused, ``MissingError`` if there is no answer.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self.transport = Blocking(access)
        self._client = Client(self.transport, FIELD_MANAGER)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        seconds: float = 30,
    ) -> dict[str, Any]:
        """Send one request and return its answer."""
        return drive(
            self._client.call(method, path, query=query, body=body, content_type=content_type, seconds=seconds)
        )

    def data(self, path: str, query: Mapping[str, str], seconds: float = 30) -> bytes:
        """Return an answer that is no document: a log, for instance."""

        async def whole() -> bytes:
            async with self._client.answer(Request(method="GET", path=path, query=query, seconds=seconds)) as answer:
                return await answer.read()

        return drive(whole())

    def headers(self, path: str, seconds: float) -> Mapping[str, str]:
        """Return what the head of an answer says."""

        async def head() -> Mapping[str, str]:
            async with self._client.answer(Request(method="GET", path=path, seconds=seconds)) as answer:
                return answer.headers

        return drive(head())

    def get(self, wanted: Ref) -> dict[str, Any] | None:
        """The object, or None if there is none, or no such kind."""
        try:
            return self.call("GET", wanted.path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def objects(self, kind: Kind, namespace: str = "") -> list[dict[str, Any]]:
        """All objects of a kind, none if the cluster does not know it."""
        try:
            found: list[dict[str, Any]] = self.call("GET", kind.path(namespace))["items"]
        except ApiError as error:
            if error.status == 404:
                return []
            raise
        return found

    def applied(self, document: Document, *, dry_run: bool = False) -> tuple[Document | None, Document]:
        """Server-side apply; k8slan's fields become k8slan's.

        Returns what of the object matters, before (None for one that was not there) and after.
        """
        target = ref(document)
        before = self.get(target)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        after = self.call("PATCH", target.path, query=query, body=document, content_type=APPLY)
        return (_content(before) if before else None), _content(after)

    def delete(self, target: Ref, *, dry_run: bool = False) -> bool:
        """Ask for an object to be deleted, its pods before it; false if it was not there."""
        first = "Foreground" if target.kind in (DEPLOYMENTS, DAEMON_SETS) else "Background"
        query = {"propagationPolicy": first} | ({"dryRun": "All"} if dry_run else {})
        try:
            self.call("DELETE", target.path, query=query)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def lacking(self, verbs: Iterable[str], kind: Kind, namespace: str) -> str:
        """Those of the ``verbs`` that this user may not do with a kind, as text; "" if none."""
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

    def follow(
        self,
        sources: Mapping[str, Selection],
        seconds: float = _A_YEAR,
        *,
        together: bool = False,
        optional: Container[Kind] = (),
    ) -> Generator[State, None, None]:
        """Yield what the ``sources`` hold, by source and name: now, and again after each change.

        Changes that came meanwhile count as one if ``together``. It ends after ``seconds``, or in effect never. Each
        source is listed once and watched from there. Of an ``optional`` kind that may not be watched there is nothing.
        """
        deadline = time.monotonic() + seconds
        changes: queue.Queue[Change] = queue.Queue()
        state: State = {}
        with self.watched(sources, lambda name, found: changes.put((name, found))):
            while (left := deadline - time.monotonic()) > 0:
                try:
                    name, found = changes.get(timeout=left)
                except queue.Empty:
                    return
                if isinstance(found, ApiError):
                    if sources[name].kind not in optional:
                        raise found
                    found = {}
                state[name] = found
                if together and not changes.empty():
                    continue
                if state.keys() == sources.keys():
                    yield dict(state)

    @contextlib.contextmanager
    def watched(
        self,
        sources: Mapping[str, Selection],
        changed: Callable[[str, dict[str, Document] | ApiError], object],
        unheard: Callable[[str, str], object] = lambda _name, _why: None,
    ) -> Iterator[None]:
        """Tell ``changed``, in threads, all that a source holds: now, and again after each change of it.

        It is told an error instead where a source may not be watched, which ends that one. ``unheard`` is told why one
        is not heard for now, and "" when it is again.
        """
        stop, transport = threading.Event(), self.transport.branch()
        threads = []
        for name, source in sources.items():
            follow = functools.partial(_follow, Client(transport, FIELD_MANAGER), name, source, stop, changed, unheard)
            threads.append(threading.Thread(target=follow, name=f"watch {name}", daemon=True))
            threads[-1].start()
        try:
            yield
        finally:
            stop.set()
            transport.end()
            until = time.monotonic() + _END_SECONDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))

    def gone(self, targets: Sequence[Ref], seconds: float) -> list[Ref]:
        """Wait until none of the ``targets`` is there any more; returns those that still are after ``seconds``."""
        if not targets:
            return []
        left = list(targets)
        sources = {
            str(target): Selection(target.kind, target.namespace, f"metadata.name={target.name}") for target in targets
        }
        for state in self.follow(sources, seconds):
            left = [target for target in targets if state[str(target)]]
            if not left:
                break
        return left


@dataclass(frozen=True, slots=True)
class Selection:
    """What ``Cluster.follow`` looks at: a kind, in a namespace or everywhere, all or some of its objects."""

    kind: Kind
    namespace: str = ""
    field_selector: str = ""
    label_selector: str = ""

    @property
    def select(self) -> dict[str, str]:
        """The selectors, as a query has them."""
        selectors = {"fieldSelector": self.field_selector, "labelSelector": self.label_selector}
        return {name: selector for name, selector in selectors.items() if selector}


def _content(found: Document) -> dict[str, Any]:
    """What of an object matters: not who wrote it when."""
    own = ("managedFields", "resourceVersion", "generation")
    metadata = {k: v for k, v in found["metadata"].items() if k not in own}
    return {**found, "metadata": metadata}


class _StoppedError(Exception):
    """Following has ended."""


def _follow(
    client: Client,
    name: str,
    source: Selection,
    stop: threading.Event,
    changed: Callable[[str, dict[str, Document] | ApiError], object],
    unheard: Callable[[str, str], object],
) -> None:
    """Tell all objects of a source after each change, until it may not be watched or ``stop`` is set."""
    from k8slan_cli.kube.watch import Cache, Informer

    told: dict[str, Document] | None = None

    def tell(*_: object) -> None:
        nonlocal told
        if stop.is_set():
            raise _StoppedError
        if not informer.synced.is_set():
            return
        found = {"/".join(filter(None, key)): document for key, document in cache.items()}
        if found != told:
            told = found
            changed(name, found)

    def on_trouble(error: ApiError) -> None:
        if not error.passing and error.status != 404:  # 404: the kind itself is gone, with everything of it
            raise error
        if error.passing:
            unheard(name, error.message)

    def on_live() -> None:
        unheard(name, "")
        tell()

    async def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise _StoppedError

    cache: Cache[Document] = Cache(lambda document: document, tell)
    informer = Informer(
        client,
        source.kind.path(source.namespace),
        cache,
        select=source.select,
        optional=True,
        on_synced=tell,
        on_live=on_live,
        on_trouble=on_trouble,
        pause=pause,
    )
    try:
        drive(informer.run())
    except ApiError as error:
        changed(name, error)
    except _StoppedError:
        pass


def connect(kubeconfig: str | None = None, context: str | None = None, as_user: str | None = None) -> Cluster:
    """Connect to the cluster of a kubeconfig or of the pod's own account (``kubeconfig.access``).

    Raises:
        MissingError: there is none, it has no such context, or it cannot be used.

    """
    return Cluster(access(kubeconfig, context, as_user))


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
    if found["kind"] == DAEMON_SETS.name if "kind" in found else "desiredNumberScheduled" in status:
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
