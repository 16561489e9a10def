"""The nodes' agents as a workstation reaches them: through the API server, with rights in k8slan's own namespace only.

``Agents`` finds their pods, asks the API server for a token that they take, and connects by port-forward. The role
``k8slan-operator`` has the rights that this takes.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.client import AgentError, Call, StrangerError, Wire
from k8slan_cli.diagnose.protocol import Plugged
from k8slan_cli.errors import AbsentError, K8slanError
from k8slan_cli.kube import apply, kinds, portforward
from k8slan_cli.kube.client import ApiError, MissingError
from k8slan_cli.plan.occupancy import natural

if TYPE_CHECKING:
    from k8slan_cli.kube.apply import Cluster
    from k8slan_cli.lan.vtep import Vtep

NAMESPACE = "k8slan-system"
"""Where k8slan is, unless the variable K8SLAN_NAMESPACE says otherwise."""
_LABEL = "app.kubernetes.io/name=k8slan-node-agent"
_TOKEN_SECONDS = 600  # the least that the API server gives
_AT_A_TIME = 16
_ANSWER_SECONDS = 20.0
_CONNECT_SECONDS = 15.0
_LEAST_SECONDS = 0.1
T = TypeVar("T")


def namespace() -> str:
    """The namespace that k8slan is installed in."""
    return os.environ.get("K8SLAN_NAMESPACE") or NAMESPACE


@dataclass(frozen=True, slots=True)
class AgentPod:
    """An agent's pod; ``trouble`` is why it cannot be asked at its ``port``, "" if it can."""

    name: str
    node: str
    trouble: str = ""
    port: int = protocol.PORT


class Agents:
    """The agents of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._namespace = namespace()
        self._token: tuple[str, float] = ("", 0.0)
        self._until: float | None = None

    def within(self, seconds: float) -> Agents:
        """The same agents, but that what they have not answered after so long from now they do not answer."""
        other = copy.copy(self)
        other._until = time.monotonic() + seconds
        return other

    @functools.cached_property
    def pods(self) -> dict[str, AgentPod]:
        """The agents' pods by their nodes.

        Raises:
            MissingError: this user may not see them, or there are none.

        """
        query = {"labelSelector": _LABEL}
        try:
            items = self._cluster.call("GET", kinds.PODS.path(self._namespace), query=query)["items"]
        except ApiError as error:
            raise _no_operator(error, self._namespace) from error
        if not (found := _by_node(items)):
            words = f"there is no agent of k8slan in namespace {self._namespace}"
            hint = "install it with k8slan install; if it is in another namespace, set K8SLAN_NAMESPACE"
            raise MissingError(words, hint=hint)
        return found

    def forget(self) -> None:
        """Ask for the pods again when they are needed next."""
        self.__dict__.pop("pods", None)

    def ready(self, node: str) -> Iterator[None]:
        """Each time that the agent of a node may have become ready, now or later. It takes the right to watch pods.

        Raises:
            ApiError: this user may not.

        """
        source = apply.Selection(kinds.PODS, self._namespace, f"spec.nodeName={node}", _LABEL)
        for state in self._cluster.follow({"agent": source}):
            staying = [item for item in state["agent"].values() if "deletionTimestamp" not in item["metadata"]]
            pod = _by_node(staying).get(node)
            if pod and not pod.trouble:
                self.pods[node] = pod
                yield

    def token(self) -> str:
        """A token that agents take.

        Raises:
            MissingError: this user may not have one.

        """
        if time.monotonic() >= self._token[1]:
            path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{protocol.ACCOUNT}/token"
            asked = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": [protocol.AUDIENCE], "expirationSeconds": _TOKEN_SECONDS},
            }
            try:
                found = self._cluster.call("POST", path, body=asked)["status"]["token"]
            except ApiError as error:
                raise _no_operator(error, self._namespace) from error
            self._token = (found, time.monotonic() + _TOKEN_SECONDS / 2)
        return self._token[0]

    def call(self, node: str, path: str, body: Mapping[str, Any]) -> Call:
        """Ask the agent of a node.

        Raises:
            MissingError: this user may not, or there is no agent that answers.
            AgentError: it refuses.

        """
        pod = self.pods.get(node)
        if pod is None:
            raise MissingError(f"node {node} has no agent of k8slan", hint=f"see: {self._see}")
        try:
            token = self.token()
            wire = portforward.forward(
                self._cluster, self._namespace, pod.name, pod.port, min(_CONNECT_SECONDS, self._patience)
            )
            with _impatience(wire, node, self._patience):
                return Call(wire, path, token, body)
        except AgentError as error:
            raise AgentError(f"node {node}: {error.message}", hint=error.hint, status=error.status) from error
        except ApiError as error:
            if error.status == 403:
                raise _no_operator(error, self._namespace) from error
            words = f"the agent of node {node} cannot be reached: {pod.trouble or error.message}"
            raise MissingError(words, hint=f"is it running, and of this version? see: {self._see}") from error

    @property
    def _patience(self) -> float:
        """For how long to wait for one step, in seconds."""
        return _ANSWER_SECONDS if self._until is None else max(_LEAST_SECONDS, self._until - time.monotonic())

    @property
    def _see(self) -> str:
        return f"kubectl -n {self._namespace} get pods -o wide"

    def ask(self, node: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the agent of a node for one document."""
        with self.call(node, path, body) as call, _impatience(call, node, self._patience):
            return call.document()

    def each(
        self, nodes: Iterable[str], act: Callable[[str], T], *, unreachable: dict[str, K8slanError] | None = None
    ) -> dict[str, T]:
        """Call ``act`` for every node, several at a time; those that fail go into ``unreachable``, if it is given.

        Raises:
            K8slanError: the first failure, without ``unreachable``; always, if it is a right that is missing.

        """
        wanted = list(nodes)
        found: dict[str, T] = {}
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            for node, future in [(node, pool.submit(act, node)) for node in wanted]:
                try:
                    found[node] = future.result()
                except K8slanError as error:
                    if unreachable is None or (isinstance(error, MissingError) and error.status == 403):
                        raise
                    unreachable[node] = error
        return found

    def plugged(self, lan: str = "", nodes: Iterable[str] | None = None) -> Attachments:
        """Who is attached, as the agents know it: to one LAN (``namespace/name``) or to all, on some nodes or on all.

        Raises:
            MissingError: this user may not ask.

        """
        unreachable: dict[str, K8slanError] = {}
        body = {"lan": lan} if lan else {}
        asked = self.pods if nodes is None else [node for node in nodes if node in self.pods]
        answers = self.each(asked, lambda node: self.ask(node, protocol.ATTACHMENTS, body), unreachable=unreachable)
        items = [Plugged.decode(item) for answer in answers.values() for item in answer["attachments"]]
        return Attachments(tuple(sorted(items, key=lambda p: (p.lan, natural(p.spoke), natural(p.name)))), unreachable)


def _by_node(items: Iterable[Mapping[str, Any]]) -> dict[str, AgentPod]:
    """Pods of agents by their nodes; of two on one node that which can be asked, or is not about to go."""
    found: dict[str, AgentPod] = {}
    for item in items:
        node = (item.get("spec") or {}).get("nodeName") or ""
        pod = AgentPod(item["metadata"]["name"], node, apply.waits_for(item), _port(item))
        leaving = "deletionTimestamp" in item["metadata"]
        if node and not (leaving and node in found) and not (node in found and not found[node].trouble):
            found[node] = pod
    return found


_ADDRESS = re.compile(r"--diagnostics-address=.*:([0-9]+)")


def _port(item: Mapping[str, Any]) -> int:
    """The port at which an agent is asked, as its pod's arguments have it."""
    arguments = (text for container in item["spec"].get("containers") or () for text in container.get("args") or ())
    return next((int(found[1]) for text in arguments if (found := _ADDRESS.fullmatch(text))), protocol.PORT)


@contextlib.contextmanager
def _impatience(waited_for: Wire | Call, node: str, seconds: float) -> Iterator[None]:
    """Give a connection up if the body takes too long, and say of whose agent something else answers."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        waited_for.close()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except K8slanError as error:
        if late.is_set():
            words = f"the agent of node {node} has not answered for {seconds:.1f} s"
            raise MissingError(words, hint="see its log, and whether its node is well") from error
        if isinstance(error, StrangerError):
            raise StrangerError(f"node {node}: {error.message}") from error
        raise
    finally:
        timer.cancel()


def _no_operator(error: ApiError, where: str) -> ApiError:
    """A missing right, with what to do about it."""
    if error.status == 404:
        words = f"namespace {where} has no {protocol.ACCOUNT}: k8slan is not there, or an older one"
        return MissingError(words, hint="see k8slan install; if it is in another namespace, set K8SLAN_NAMESPACE")
    if error.status != 403:
        return error
    user = error.message.split()[1] if error.message.startswith("user ") else "NAME"
    kind, _, name = user.partition("system:serviceaccount:")
    subject = f"--serviceaccount={name}" if name and not kind else f"--user={user}"
    hint = (
        f"to look into LANs takes the role {protocol.ACCOUNT}; an administrator gives it with:\n"
        f"  kubectl -n {where} create rolebinding {protocol.ACCOUNT}-NAME --role={protocol.ACCOUNT} {subject}"
    )
    return MissingError(error.message, hint=hint, status=403)


# ---------------------------------------------------------------- choosing among attachments


@dataclass(frozen=True, slots=True)
class Attachments:
    """Attachments, and the nodes whose agents did not answer, with the reason of each."""

    items: tuple[Plugged, ...]
    unreachable: Mapping[str, K8slanError] = field(default_factory=dict)

    def named(self, text: str, space: str) -> Plugged:
        """The one that ``text`` means: ``[NAMESPACE/]POD[:INTERFACE]``, where POD may be a KubeVirt VM, or a spoke.

        Raises:
            AbsentError: there is none, or more than one.

        """
        found = matching(self.items, text, space)
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(item.name for item in found)
            raise AbsentError(f"{text} is attached more than once: say which of {several}")
        known = {(item.pod or item.container).removeprefix(f"{space}/") for item in self.items}
        raise AbsentError(f"nothing of the name {text} is attached{self.blind}", name=text, known=known)

    def with_vms(self, vteps: Iterable[Vtep]) -> Attachments:
        """Return the same with the names of VMs, which VTEPs know."""
        vms = {
            (str(port.pod), port.interface): port.vm.name
            for vtep in vteps
            for port in vtep.ports
            if port.pod and port.vm
        }
        named = (replace(item, vm=vms.get((item.pod, item.ifname), item.vm)) for item in self.items)
        return replace(self, items=tuple(named))

    def without(self, plugs: Iterable[str]) -> Attachments:
        """Return the same without these, each ``namespace/pod:interface``."""
        left_out = frozenset(plugs)
        return replace(self, items=tuple(item for item in self.items if item.name not in left_out))

    @property
    def blind(self) -> str:
        """What cannot be seen, for the end of a sentence; "" if nothing."""
        if not self.unreachable:
            return ""
        return f" (but the agents of {', '.join(self.unreachable)} do not answer)"


def matching(items: Iterable[Plugged], text: str, space: str) -> list[Plugged]:
    """Those that ``text`` may mean; see ``Attachments.named``."""
    pod, _, ifname = text.partition(":")
    whole = pod if "/" in pod else f"{space}/{pod}"
    vm = re.compile(rf"{re.escape(whole.replace('/', '/virt-launcher-', 1))}-[a-z0-9]{{5}}")

    def means(item: Plugged) -> bool:
        if item.vm and whole == f"{item.pod.partition('/')[0]}/{item.vm}":
            return True
        return bool(item.pod == whole or vm.fullmatch(item.pod) or item.container == pod)

    return [item for item in items if means(item) and ifname in ("", item.ifname)] or [
        item for item in items if text and item.spoke == text
    ]
