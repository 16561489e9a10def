"""All there is to know of one LAN, from the cluster and the agents of its nodes; and why it is not ready."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from k8slan_cli.diagnose import between, nodes, protocol
from k8slan_cli.diagnose.agents import Agents
from k8slan_cli.diagnose.exchange import Reached
from k8slan_cli.diagnose.protocol import ACCOUNT, NodeFacts, Plugged
from k8slan_cli.errors import K8slanError
from k8slan_cli.inventory import lans, occupancy
from k8slan_cli.inventory.lans import SEE_SYSTEM, Found
from k8slan_cli.kube import client, kinds
from k8slan_cli.kube.apply import Cluster
from k8slan_cli.kube.client import ApiError
from k8slan_cli.lan.model import Lan
from k8slan_cli.plan.occupancy import Occupancy, Occupant, some

_MANY = 10  # names that hold a deletion, in a sentence
_AT_A_TIME = 8  # LANs
_PATIENCE = 3.0  # seconds for the agents, without whom the rest is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that somebody said about a LAN; ``last`` is when for the last time."""

    last: str
    warning: bool
    reason: str
    source: str
    message: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LanDetails:
    """All that is known of a LAN. ``on`` is who is on it, ``blind`` are sentences about what this user may not see.

    ``plugged`` is what agents say of attachments, by pod (``namespace/name``) and interface; ``reached`` what became of
    frames between the nodes that take part, None if they were not tried. ``unmet`` are sentences about what it wants of
    underlays and no node has; ``hidden`` is whether attachments cannot be seen.
    """

    found: Found
    on: Occupancy
    plugged: Mapping[tuple[str, str], Plugged] = field(default_factory=dict)
    reached: tuple[Reached, ...] | None = None
    events: tuple[Event, ...] = ()
    blind: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    hidden: bool = False

    def plugged_at(self, item: Occupant) -> Plugged | None:
        """What its agent says of an attachment, if it does."""
        return self.plugged.get((str(item.port.pod or ""), item.port.interface))


def look_at(cluster: Cluster, places: Sequence[tuple[str, str]]) -> list[LanDetails]:
    """Ask the cluster about LANs, by namespace and name; what several of them share is asked for once.

    Raises:
        AbsentError: there is no such LAN.
        MissingError: the cluster does not answer, or this user may not see one of the LANs.

    """
    spaces = sorted({space for space, _ in places})
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        names = {space: {name for at, name in places if at == space} for space in spaces}
        told = {space: pool.submit(_events, cluster, space, names[space]) for space in spaces}
        agents = Agents(cluster)
        unable = pool.submit(_unable, agents)  # mostly somebody is on one of the LANs, and it takes as long as the rest
        found = list(pool.map(lambda place: lans.one(cluster, *place), places))
        users = dict(zip(spaces, pool.map(lambda space: _users(cluster, space, found), spaces), strict=True))

        def look(item: Found) -> LanDetails:
            around = users[item.ref.namespace]
            on = around.of(item)
            events, no_events = told[item.ref.namespace].result()
            plugged, reached, unseen = _ask_agents(agents.within(_PATIENCE), item, on, unable.result())
            return LanDetails(
                found=item,
                on=on,
                plugged=plugged,
                reached=reached,
                events=tuple(event for name, event in events if name == item.ref.name),
                blind=(*around.blind, *no_events, *unseen),
                unmet=() if on.nodes else unmet(agents, item.lan),
                hidden=around.hidden,
            )

        return list(pool.map(look, found))


def _users(cluster: Cluster, space: str, found: Sequence[Found]) -> occupancy.Users:
    here = [item for item in found if item.ref.namespace == space]
    return occupancy.explained(cluster, occupancy.read(cluster, here))


def _events(cluster: Cluster, namespace: str, names: Collection[str]) -> tuple[list[tuple[str, Event]], list[str]]:
    """The events of LANs, each with its LAN's name, and why they cannot be seen if so."""
    one = f",involvedObject.name={next(iter(names))}" if len(names) == 1 else ""
    query = {"fieldSelector": f"involvedObject.kind={kinds.LANS.name}{one}"}
    try:
        documents = cluster.call("GET", kinds.CORE_EVENTS.path(namespace), query=query)["items"]
    except client.ApiError as error:
        if error.status != 403:
            raise
        return [], [f"events cannot be seen: {error.message}"]
    found = [((each.get("involvedObject") or {}).get("name", ""), event(each)) for each in documents]
    return sorted(found, key=lambda pair: pair[1].last), []


def _unable(agents: Agents) -> str:
    """Why agents cannot be asked, "" if they can: what that takes is at hand from then on."""
    try:
        _ = agents.pods
        agents.token()
    except ApiError as error:
        role = f"; the role {ACCOUNT} shows them" if error.status == 403 else ""
        return f"links, traffic and peers cannot be seen: {error.message}{role}"
    return ""


def _ask_agents(
    agents: Agents, found: Found, on: Occupancy, unable: str
) -> tuple[dict[tuple[str, str], Plugged], tuple[Reached, ...] | None, list[str]]:
    """What agents say of attachments, how their nodes reach each other, and a sentence about each thing not seen."""
    nodes = sorted({item.node for item in on.attached})
    lan = found.lan
    tunnelled = lan is not None and sum(node.address is not None for node in on.nodes) > 1
    if not nodes and not tunnelled:
        return {}, None, []
    if unable:
        return {}, None, [unable]
    there = agents.pods
    with ThreadPoolExecutor(1) as beside:
        trial = beside.submit(_try_peers, agents, lan, on) if lan and tunnelled else None
        seen = agents.plugged(str(found.ref), nodes)
    reasons = {node: error.message for node, error in seen.unreachable.items()}
    reasons |= {node: f"node {node} has no agent of k8slan" for node in nodes if node not in there}
    unseen = [f"links and traffic on {some(sorted(reasons))} cannot be seen: {why}" for why in [*reasons.values()][:1]]
    reached, untried = trial.result() if trial else (None, "")
    if untried and not reasons:
        unseen.append(untried)
    return {(item.pod, item.ifname): item for item in seen.items}, reached, unseen


def unmet(agents: Agents, lan: Lan | None) -> tuple[str, ...]:
    """Say what a LAN wants of underlays that nodes do not have: a device, an MTU. Very many nodes are not asked."""
    if lan is None or not (nodes.names_device(lan) or lan.wanted_mtu):
        return ()
    way = between.VxlanPath(lan.port, lan)
    agents = agents.within(_PATIENCE)
    unreachable: dict[str, K8slanError] = {}

    def ask(node: str) -> NodeFacts:
        return NodeFacts.decode(agents.ask(node, protocol.NODE, {"reaches": [way.on(node).encode()]}))

    try:
        facts = agents.each(agents.pods, ask, unreachable=unreachable) if len(agents.pods) <= between.SITES else {}
    except K8slanError:  # this user may not ask
        return ()
    found = (*nodes.nowhere({} if unreachable else facts, [lan]), *nodes.unfit(facts, [lan]))
    return tuple(f"{check.words}: {check.advice}" for check in found)


def _try_peers(agents: Agents, lan: Lan, on: Occupancy) -> tuple[tuple[Reached, ...] | None, str]:
    """Have the nodes that take part send to each other, by a VXLAN like the LAN's; else why that cannot be."""
    vteps = {node.node: node.address for node in on.nodes if node.address}
    able = [name for name in sorted(vteps) if name in agents.pods and not agents.pods[name].trouble]
    if len(able) < 2:
        return None, ""
    try:
        found = between.trial(agents, between.VxlanPath(lan.port, lan), vteps, able[: between.SITES], {lan.vni})
    except K8slanError as error:
        return None, f"whether peers are reached cannot be tried: {error.message}"
    return tuple(found), ""


def event(document: Mapping[str, Any]) -> Event:
    """An event of either API: each has its own fields for the same."""
    series = document.get("series") or {}
    source = document.get("reportingComponent") or (document.get("source") or {}).get("component") or ""
    return Event(
        last=occupancy.event_time(document),
        warning=document.get("type") == "Warning",
        reason=document.get("reason") or "",
        source=source.rpartition("/")[2],
        message=document.get("message") or "",
        count=series.get("count") or document.get("count") or 1,
    )


# ---------------------------------------------------------------- why it is not ready


def why(view: LanDetails) -> tuple[str, ...]:
    """Why a LAN is not all that it should be, in sentences, the first cause first; none if all is well."""
    return tuple(_why(view))


def _why(view: LanDetails) -> Iterator[str]:
    found = view.found
    ready = found.ready
    if found.deleting:
        if holders := view.on.holders:
            yield f"It is being deleted, and stays until these are gone: {some((h.who for h in holders), _MANY)}."
        elif ready and ready.reason == "Terminating":
            yield f"It is being deleted: it {ready.message}."
        else:
            yield f"It is being deleted; its finalizers wait for k8slan's controller and agents ({SEE_SYSTEM})."
        return
    if found.problems:
        yield f"Its spec is not valid: {'; '.join(map(str, found.problems))}."
    if ready is None or found.status.generation < found.generation:
        what = "it" if ready is None else "its last change"
        yield f"Waiting for the controller to see {what}: is it running? See: {SEE_SYSTEM}"
    elif not ready.status:
        yield f"{ready.reason}: {ready.message}"
    yield from (f"{sentence}." for sentence in view.unmet)
    yield from occupancy.unsaid(found, view.on)
    yield from _faults(view)
    yield from _unreached(view)


def _faults(view: LanDetails) -> Iterator[str]:
    """Attachments that their nodes' agents find broken."""
    for item in view.on.attached:
        plugged = view.plugged_at(item)
        if plugged and plugged.fault:
            yield f"{plugged.ifname} of {item.who} on {plugged.node} does not work: {plugged.fault}"


def _unreached(view: LanDetails) -> Iterator[str]:
    """Frames that the network between nodes does not carry."""
    if view.found.lan and view.reached:
        way = between.VxlanPath(view.found.lan.port, view.found.lan)
        for check in between.verdict(way, view.reached):
            yield f"Of frames between its nodes, {check.words}: {check.advice}"
