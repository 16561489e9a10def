"""LANs and pods as the cluster has them: the reading that all commands share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k8slan_cli.errors import AbsentError, Invalid, K8slanError, Problem, UsageError
from k8slan_cli.kube import client, kinds
from k8slan_cli.kube.status import READY, Condition, LanStatus
from k8slan_cli.kube.status import decode as decode_status
from k8slan_cli.lan import codec, names
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.plan.pods import Pod, decode_pod

if TYPE_CHECKING:
    from k8slan_cli.kube.apply import Cluster

LIVE = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of pods that are not over."""
SEE_SYSTEM = "kubectl -n k8slan-system get pods -o wide"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A LAN object: its ``document``, and what of it k8slan reads.

    ``lan`` is None for an object that breaks rules; ``problems`` says which. ``generation`` is the spec's own,
    ``status.generation`` the one that the controller has seen.
    """

    document: Mapping[str, Any]
    ref: LanRef
    status: LanStatus
    lan: Lan | None = None
    problems: tuple[Problem, ...] = ()
    generation: int = 0
    created: str = ""
    version: str = ""
    deleting: bool = False

    @property
    def ready(self) -> Condition | None:
        """The condition Ready, if the controller has written it."""
        return self.status.condition(READY)


def read(document: Mapping[str, Any]) -> Found:
    """What an object says, but of links for which its time is over. It never raises for what is in it."""
    metadata, status = document["metadata"], plain(document.get("status"))
    lan: Lan | None = None
    problems: tuple[Problem, ...] = ()
    try:
        lan = codec.decode({**document, "status": status}, strict=False).at(time.time())
    except Invalid as error:
        problems = error.problems
    return Found(
        document=document,
        ref=LanRef(namespace=metadata["namespace"], name=metadata["name"]),
        status=decode_status(status if isinstance(status, dict) else {}),
        lan=lan,
        problems=problems,
        generation=metadata.get("generation") or 0,
        created=metadata.get("creationTimestamp") or "",
        version=metadata.get("resourceVersion") or "",
        deleting="deletionTimestamp" in metadata,
    )


def plain(found: Any) -> Any:
    """What a document has, without line breaks in its texts: whoever wrote them, they are shown within lines."""
    match found:
        case str():
            return names.one_line(found)
        case dict():
            return {key: plain(value) for key, value in found.items()}
        case list():
            return [plain(value) for value in found]
    return found


# ---------------------------------------------------------------- asking


def target(namespace: str, name: str) -> kinds.Ref:
    """Which object a name on the command line means.

    Raises:
        AbsentError: nothing can have this name.

    """
    if fault := names.subdomain_fault(name):
        raise AbsentError(f"there is no such LAN: {fault}")
    return kinds.Ref(kinds.LANS, namespace, name)


def one(cluster: Cluster, namespace: str, name: str) -> Found:
    """A LAN.

    Raises:
        AbsentError: there is none of this name; names that are like it are in the hint.
        MissingError: the cluster does not know LANs, or this user may not see them.

    """
    document = cluster.get(target(namespace, name))
    if document is None:
        raise absent(cluster, namespace, name)
    return read(document)


def absent(cluster: Cluster, namespace: str, name: str) -> AbsentError:
    """The error that says that there is no such LAN, with the best that the cluster has to offer instead."""
    here = [lan.ref.name for lan in several(cluster, namespace)]
    words = f"there is no LAN {name!r} in namespace {namespace}"
    try:
        places = sorted(lan.ref.namespace for lan in several(cluster) if lan.ref.name == name)
    except client.MissingError:  # only this namespace may be seen
        places = []
    if places:
        hint = f"there is one in namespace {' and '.join(places)}: give -n {places[0]}"
        return AbsentError(words, hint=hint)
    return AbsentError(words, name=name, known=here, hint="there is no LAN at all in it" if not here else "")


def several(cluster: Cluster, namespace: str = "", selector: str = "") -> list[Found]:
    """The LANs of a namespace, or of all, in the order of namespace and name.

    Raises:
        MissingError: the cluster does not know LANs, or this user may not see them.
        UsageError: the selector is none.

    """
    query = {"labelSelector": selector} if selector else {}
    try:
        items = cluster.call("GET", kinds.LANS.path(namespace), query=query)["items"]
    except client.ApiError as error:
        if selector and error.status == 400:
            raise UsageError(f"{selector!r} is not a label selector", hint="such as app=web,tier!=test") from error
        raise not_installed(error) from error
    return sorted(map(read, items), key=lambda found: found.ref)


def not_installed(error: client.ApiError) -> client.ApiError:
    """What it means that the place of all LANs is not there."""
    if error.status != 404:
        return error
    return client.MissingError(
        "this cluster does not know LANs: k8slan is not installed in it", hint="install it with: k8slan install"
    )


# ---------------------------------------------------------------- pods


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """The pods that this user can see. ``blind`` says, in a sentence, which cannot be seen; "" if all can."""

    pods: tuple[Pod, ...] = ()
    blind: str = ""


def pods(cluster: Cluster, namespace: str) -> Pods:
    """All pods that are not over; where not all may be seen, those of one namespace."""
    query = {"fieldSelector": LIVE}
    blind = ""
    for place in dict.fromkeys(("", namespace)):
        try:
            items = cluster.call("GET", kinds.PODS.path(place), query=query)["items"]
        except client.ApiError as error:
            if error.status != 403:
                raise
            where = f"namespace {place}" if place else "other namespaces"
            blind = f"pods of {where} cannot be seen: {error.message}"
            continue
        return Pods(pods=tuple(map(decode_pod, items)), blind=blind)
    return Pods(blind=blind)


def sound(found: Found) -> Lan:
    """The LAN of an object.

    Raises:
        Invalid: the object breaks rules.

    """
    if found.lan is None:
        raise Invalid(f"LAN {found.ref}", found.problems)
    return found.lan


def as_error(error: client.ApiError, subject: str) -> K8slanError:
    """A refusal by the API server as the error to show: with all fields if it names them."""
    if error.problems and error.status == 422:
        return Invalid(subject, error.problems)
    return error
