"""Who is on LANs, as a cluster has it: the reading of VTEPs and pods that all commands share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from k8slan_cli.inventory import lans
from k8slan_cli.inventory.lans import Found
from k8slan_cli.kube import client, kinds
from k8slan_cli.lan import vtep_codec
from k8slan_cli.lan.model import LINKS_DOWN, LanRef
from k8slan_cli.lan.vtep import Vtep
from k8slan_cli.plan.occupancy import PULLED, Occupancy, Occupant, cni_reason, occupancies, occupancy, pulled

if TYPE_CHECKING:
    from k8slan_cli.kube.apply import Cluster

FAILED_PODS = "involvedObject.kind=Pod,reason=FailedCreatePodSandBox"
"""The events that say why pods wait, as a field selector."""
_INSTEAD = "who is attached is taken from the annotations of pods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Who is on LANs.

    ``blind`` are sentences about what this user cannot see, ``hidden`` is whether that is who is attached.
    """

    by_lan: Mapping[LanRef, Occupancy] = field(default_factory=dict)
    blind: tuple[str, ...] = ()
    hidden: bool = False

    def of(self, found: Found) -> Occupancy:
        """Return who is on a LAN."""
        return self.by_lan[found.ref]

    @property
    def attached(self) -> tuple[Occupant, ...]:
        """Return all interfaces that are on a LAN."""
        return tuple(item for _, each in sorted(self.by_lan.items()) for item in each.attached)

    @property
    def waiting(self) -> tuple[Occupant, ...]:
        """Return all interfaces that pods wait for."""
        return tuple(item for _, each in sorted(self.by_lan.items()) for item in each.waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenVteps:
    """VTEPs; None if they cannot be read, and ``blind`` says why in a sentence."""

    vteps: tuple[Vtep, ...] | None = None
    blind: str = ""


def vteps(cluster: Cluster, namespace: str = "", lan: str = "") -> SeenVteps:
    """Return the VTEPs of a LAN, of a namespace or of the cluster."""
    query = {"labelSelector": vtep_codec.selector(LanRef(namespace=namespace, name=lan))} if lan else {}
    try:
        items = cluster.call("GET", kinds.VTEPS.path(namespace), query=query)["items"]
    except client.ApiError as error:
        if error.status == 404:
            return SeenVteps(blind=f"this cluster's k8slan is older and has no VTEPs (see k8slan install): {_INSTEAD}")
        if error.status != 403:
            raise
        return SeenVteps(blind=f"VTEPs cannot be seen: {error.message}; {_INSTEAD}")
    return SeenVteps(vteps=decoded(items))


def decoded(documents: Iterable[Mapping[str, Any]]) -> tuple[Vtep, ...]:
    """Return the VTEPs of documents."""
    return tuple(filter(None, (vtep_codec.decode(lans.plain(document)) for document in documents)))


def read(cluster: Cluster, items: Sequence[Found], *, waiting: bool = True) -> Users:
    """Ask the cluster who is on LANs, and with ``waiting`` who waits to be, which takes a look at all pods."""
    if not items:
        return Users()
    spaces = {item.ref.namespace for item in items}
    with ThreadPoolExecutor(1) as beside:
        looking = beside.submit(lans.pods, cluster, items[0].ref.namespace) if waiting else None
        seen = vteps(cluster, spaces.pop() if len(spaces) == 1 else "", items[0].ref.name if len(items) == 1 else "")
        pods = looking.result() if looking else lans.Pods()
    if not waiting and _older_nodes(items, seen):
        pods = lans.pods(cluster, items[0].ref.namespace)
    blind = list(filter(None, (seen.blind, pods.blind)))
    users = Users(by_lan=of(items, seen, pods), blind=tuple(blind), hidden=seen.vteps is None and bool(pods.blind))
    return running(cluster, users)


def running(cluster: Cluster, users: Users) -> Users:
    """Return users with the end at which each VM that migrates runs, by its VMI; not known if that cannot be read."""
    nodes: dict[tuple[str, str], str] = {}
    blind: list[str] = []
    for namespace, vm in sorted(set(filter(None, map(_moving, users.attached)))):
        try:
            vmi = cluster.call("GET", kinds.VMIS.path(namespace, vm))
        except client.ApiError as error:
            blind.append(f"where VM {namespace}/{vm} runs cannot be seen: {error.message}")
        else:
            nodes[namespace, vm] = (vmi.get("status") or {}).get("nodeName") or ""

    def at(item: Occupant) -> Occupant:
        vm = _moving(item)
        node = nodes.get(vm) if vm else None
        return replace(item, end=replace(item.end, runs=node == item.node)) if node and item.end else item

    by_lan = {ref: replace(each, attached=tuple(map(at, each.attached))) for ref, each in users.by_lan.items()}
    return replace(users, by_lan=by_lan if nodes else users.by_lan, blind=(*users.blind, *blind))


def _moving(item: Occupant) -> tuple[str, str] | None:
    """Return namespace and name of the VM of an interface if it migrates."""
    port = item.port
    return (port.pod.namespace, port.vm.name) if item.end and port.pod and port.vm else None


def of(items: Iterable[Found], seen: SeenVteps, pods: lans.Pods) -> dict[LanRef, Occupancy]:
    """Return who is on LANs, of what has been read."""
    return occupancies({item.ref: item.lan for item in items}, seen.vteps, pods.pods)


def _older_nodes(items: Iterable[Found], seen: SeenVteps) -> bool:
    """Return whether nodes take part that write no VTEP."""
    if seen.vteps is None:
        return True
    known = {(vtep.lan, vtep.node) for vtep in seen.vteps}
    return any((item.ref, node.name) not in known for item in items if item.lan for node in item.lan.nodes)


def taking_part(found: Found, vteps: Iterable[Vtep]) -> frozenset[str]:
    """Return the nodes that take part in a LAN, of its VTEPs."""
    return frozenset(vtep.node for vtep in occupancy(found.ref, found.lan, vteps).nodes)


# ---------------------------------------------------------------- what is wrong with them


def unsaid(found: Found, on: Occupancy) -> Iterator[str]:
    """Tell what is wrong on a LAN, in sentences, where its condition Ready does not say so."""
    message = found.ready.message if found.ready and not found.ready.status else ""
    for fault in on.faults:
        if not fault.said(message):
            yield f"{fault.message[0].upper()}{fault.message[1:]}"
    yield from pulled_links(found, on)


def pulled_links(found: Found, on: Occupancy) -> Iterator[str]:
    """Tell which links were pulled out (``k8slan lan link``), and which are to be that no LAN has."""
    lan = found.lan
    for item in on.attached:
        if pulled(lan, item) == PULLED:
            who = (item.port.vm.name if item.port.vm else item.port.pod.name if item.port.pod else "") or item.port.name
            space = f" -n {item.lan.namespace}"
            yield (
                f"The link of {item.place} was pulled out; "
                f"k8slan lan link {who}:{item.port.interface} up{space} puts it back"
            )
    for name in sorted(lan.down) if lan else ():
        if lan and name not in lan.spokes and ":" not in name:
            yield f"The annotation {LINKS_DOWN} names {name!r}, which is no spoke of the LAN: it has no effect"


def explained(cluster: Cluster, users: Users) -> Users:
    """Return users with why pods wait, where it is known: by what the CNI plugin said last."""
    unknown = [item for item in users.waiting if not item.reason and item.port.pod]
    spaces = {item.port.pod.namespace for item in unknown if item.port.pod}
    said = {uid: words for space in sorted(spaces) for uid, words in _said(cluster, space).items()}

    def explain(item: Occupant) -> Occupant:
        return replace(item, reason=item.reason or said.get(item.port.pod.uid if item.port.pod else "", ""))

    by_lan = {ref: replace(each, waiting=tuple(map(explain, each.waiting))) for ref, each in users.by_lan.items()}
    return replace(users, by_lan=by_lan)


def _said(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Return by a pod's uid why it could not be attached; nothing where events may not be seen."""
    query = {"fieldSelector": FAILED_PODS}
    try:
        found = cluster.call("GET", kinds.CORE_EVENTS.path(namespace), query=query)["items"]
    except client.ApiError as error:
        if error.status != 403:
            raise
        return {}
    events = sorted(found, key=event_time)
    return {(each.get("involvedObject") or {}).get("uid", ""): cni_reason(each.get("message") or "") for each in events}


def event_time(document: Mapping[str, Any]) -> str:
    """Return when an event was last seen: each of the two APIs has fields of its own for it."""
    series = document.get("series") or {}
    times = (series.get("lastObservedTime"), document.get("lastTimestamp"), document.get("eventTime"))
    return next((time for time in times if time), document["metadata"].get("creationTimestamp") or "")
