"""``k8slan lan inspect``: all there is to know of one LAN, and why it is not ready if it is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan.listing import Output
from k8slan_cli.cli.lan.output import Format, dump, for_programs, tidy

if TYPE_CHECKING:
    from k8slan_cli.cli.agents import Agents
    from k8slan_cli.cli.lan.found import Found
    from k8slan_cli.diagnose.exchange import Reached
    from k8slan_cli.diagnose.protocol import Plugged, Traffic
    from k8slan_cli.kube.apply import Cluster
    from k8slan_cli.lan.model import Lan
    from k8slan_cli.plan.attached import Attached

_EVENTS = 10  # how many are shown
_MORE = 5  # how many names a sentence has
_PATIENCE = 3.0  # seconds for the agents, without whom the rest is shown


@in_cluster
def inspect(
    here: Here,
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=completion.lans)],
    output: Output = Format.TABLE,
) -> None:
    """Show a LAN: what it should be, what it is on every node, who is on it, and why it is not ready."""
    from k8slan_cli.cli.lan import text

    view = look(here.cluster, here.namespace, name)
    if output is Format.NAME:
        typer.echo(dump(view.found.document, output), nl=False)
    elif for_programs(output):
        typer.echo(dump(as_document(view), output), nl=False)
    else:
        typer.echo("\n".join(report(view, limit=text.width(), wide=output is Format.WIDE)))


# ---------------------------------------------------------------- what is known


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
class View:
    """All that is known of a LAN. ``blind`` are sentences about what this user may not see.

    ``plugged`` is what agents say of attachments, by pod (``namespace/name``) and interface; ``reached`` what became of
    frames between the nodes that take part, None if they were not tried.
    """

    found: Found
    attached: tuple[Attached, ...] = ()
    plugged: Mapping[tuple[str, str], Plugged] = field(default_factory=dict)
    reached: tuple[Reached, ...] | None = None
    events: tuple[Event, ...] = ()
    blind: tuple[str, ...] = ()


def look(cluster: Cluster, namespace: str, name: str) -> View:
    """Ask the cluster.

    Raises:
        AbsentError: there is no such LAN.
        MissingError: the cluster does not answer, or this user may not see the LAN.

    """
    from k8slan_cli.cli.lan import found as lans
    from k8slan_cli.kube import client, kinds

    found = lans.one(cluster, namespace, name)
    seen = lans.pods(cluster, namespace)
    blind = [seen.blind] if seen.blind else []
    query = {"fieldSelector": f"involvedObject.kind={kinds.LANS.name},involvedObject.name={name}"}
    events: list[Event] = []
    try:
        documents = cluster.call("GET", kinds.CORE_EVENTS.path(namespace), query=query)["items"]
        events = sorted(map(_event, documents), key=lambda event: event.last)
    except client.ApiError as error:
        if error.status != 403:
            raise
        blind.append(f"events cannot be seen: {error.message}")
    attached = lans.on([found], seen)
    plugged, reached, unseen = _ask_agents(cluster, found, attached)
    return View(
        found=found,
        attached=attached,
        plugged=plugged,
        reached=reached,
        events=tuple(events),
        blind=(*blind, *unseen),
    )


def _ask_agents(
    cluster: Cluster, found: Found, attached: Iterable[Attached]
) -> tuple[dict[tuple[str, str], Plugged], tuple[Reached, ...] | None, list[str]]:
    """What agents say of attachments, how their nodes reach each other, and a sentence about each thing not seen."""
    from concurrent.futures import ThreadPoolExecutor

    from k8slan_cli.cli.agents import Agents
    from k8slan_cli.diagnose.protocol import ACCOUNT
    from k8slan_cli.kube.client import ApiError

    nodes = sorted({item.pod.node for item in attached if item.network.present} - {""})
    lan = found.lan
    tunnelled = lan is not None and sum(node.vtep is not None for node in lan.nodes) > 1
    if not nodes and not tunnelled:
        return {}, None, []
    agents = Agents(cluster, _PATIENCE)
    try:
        there = agents.pods
        agents.token()
    except ApiError as error:
        role = f"; the role {ACCOUNT} shows them" if error.status == 403 else ""
        return {}, None, [f"links, traffic and peers cannot be seen: {error.message}{role}"]
    with ThreadPoolExecutor(1) as beside:
        trial = beside.submit(_try_peers, agents, lan) if lan and tunnelled else None
        seen = agents.plugged(str(found.ref), nodes)
    reasons = {node: error.message for node, error in seen.unreachable.items()}
    reasons |= {node: f"node {node} has no agent of k8slan" for node in nodes if node not in there}
    unseen = [f"links and traffic on {_some(sorted(reasons))} cannot be seen: {why}" for why in [*reasons.values()][:1]]
    reached, untried = trial.result() if trial else (None, "")
    if untried and not reasons:
        unseen.append(untried)
    return {(item.pod, item.ifname): item for item in seen.items}, reached, unseen


def _try_peers(agents: Agents, lan: Lan) -> tuple[tuple[Reached, ...] | None, str]:
    """Have the nodes that take part send to each other, by a VXLAN like the LAN's; else why that cannot be."""
    from k8slan_cli.cli import between
    from k8slan_cli.errors import K8slanError

    vteps = {node.name: node.vtep for node in lan.nodes if node.vtep}
    able = [name for name in sorted(vteps) if name in agents.pods and not agents.pods[name].trouble]
    if len(able) < 2:
        return None, ""
    try:
        found = between.trial(agents, between.Way(lan.port, lan), vteps, able[: between.SITES], {lan.vni})
    except K8slanError as error:
        return None, f"whether peers are reached cannot be tried: {error.message}"
    return tuple(found), ""


def _event(document: Mapping[str, Any]) -> Event:
    """An event of either API: each has its own fields for the same."""
    series = document.get("series") or {}
    source = document.get("reportingComponent") or (document.get("source") or {}).get("component") or ""
    times = (series.get("lastObservedTime"), document.get("lastTimestamp"), document.get("eventTime"))
    return Event(
        last=next((time for time in times if time), document["metadata"].get("creationTimestamp") or ""),
        warning=document.get("type") == "Warning",
        reason=document.get("reason") or "",
        source=source.rpartition("/")[2],
        message=document.get("message") or "",
        count=series.get("count") or document.get("count") or 1,
    )


# ---------------------------------------------------------------- why it is not ready


def why(view: View) -> tuple[str, ...]:
    """Why a LAN is not all that it should be, in sentences, the first cause first; none if all is well."""
    return tuple(_why(view))


def _why(view: View) -> Iterator[str]:
    from k8slan_cli.cli.lan.found import SEE_SYSTEM, holders

    found = view.found
    ready = found.ready
    if found.deleting:
        if view.attached:
            yield f"It is being deleted, and stays until these are gone: {holders(view.attached)}."
        elif ready and ready.reason == "Terminating":
            yield f"It is being deleted: it {ready.message}."
        else:
            yield f"It is being deleted; its finalizers wait for k8slan's controller and agents ({SEE_SYSTEM})."
        return
    if found.problems:
        yield f"Its spec is not valid: {'; '.join(map(str, found.problems))}."
    if ready is None or found.status.generation < found.generation:
        what = "it" if ready is None else "its last change"
        yield f"k8slan's controller has not seen {what}: is it running? See: {SEE_SYSTEM}"
    elif not ready.status:
        yield f"{ready.reason}: {ready.message}"
    yield from _shared(view)
    yield from _silent_nodes(view)
    yield from _waiting(view.attached)
    yield from _faults(view)
    yield from _unreached(view)


def _shared(view: View) -> Iterator[str]:
    """Spokes and MAC addresses in use more than once, where the controller has not just said so."""
    from k8slan_cli.plan.attached import shared

    said = view.found.ready.message if view.found.ready else ""
    for words in (share.describe() for share in shared(view.attached)):
        if words not in said:
            yield f"{words[0].upper()}{words[1:]}"


def _silent_nodes(view: View) -> Iterator[str]:
    """Nodes that have someone attached, and of which no agent has said anything."""
    from k8slan_cli.cli.lan.found import SEE_SYSTEM

    heard = {node.name for node in view.found.lan.nodes} if view.found.lan else set()
    silent = sorted({item.pod.node for item in view.attached if item.network.present} - heard - {""})
    if silent:
        yield f"The agents on {_some(silent)} have not said how the LAN is there: are they running? See: {SEE_SYSTEM}"


def _waiting(attached: Iterable[Attached]) -> Iterator[str]:
    """Pods that are not on the LAN yet."""
    absent = [item for item in attached if not item.network.present]
    if homeless := sorted({item.who for item in absent if not item.pod.node}):
        yield f"These wait for a node: {_some(homeless)}."
    if starting := sorted({f"{item.who} on {item.pod.node}" for item in absent if item.pod.node}):
        yield f"These have not got their interface yet: {_some(starting)}. Why says: kubectl describe pod"


def _faults(view: View) -> Iterator[str]:
    """Attachments that their nodes' agents find broken."""
    for item in view.attached:
        plugged = _plugged(view, item)
        if plugged and plugged.fault:
            yield f"{plugged.ifname} of {item.who} on {plugged.node} does not work: {plugged.fault}"


def _unreached(view: View) -> Iterator[str]:
    """Frames that the network between nodes does not carry."""
    from k8slan_cli.cli import between

    if view.found.lan and view.reached:
        way = between.Way(view.found.lan.port, view.found.lan)
        for check in between.verdict(way, view.reached):
            yield f"Of frames between its nodes, {check.words}: {check.advice}"


def _plugged(view: View, item: Attached) -> Plugged | None:
    """What its agent says of an attachment, if it does."""
    return view.plugged.get((f"{item.pod.namespace}/{item.pod.name}", item.network.interface))


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _MORE} more" if len(items) > _MORE else ""
    return ", ".join(items[:_MORE]) + more


# ---------------------------------------------------------------- for people


def report(view: View, *, limit: int | None, wide: bool, now: datetime | None = None) -> Iterator[str]:
    """All of it as text; ``limit`` is the terminal's width, None for none."""
    from k8slan_cli.cli.lan import text

    found = view.found
    state = _state(found)
    yield f"{text.strong(f'LAN {found.ref}')}  {text.coloured(state)}"
    yield from text.fields(_spec(found, view.attached, now), limit)
    if reasons := why(view):
        yield from ("", text.strong("Why"))
        for reason in reasons:
            yield from text.paragraph(reason, limit, "  - ", "    ")
    sections = (
        ("Nodes", _nodes(view, limit, wide=wide)),
        ("Attached", _attachments(view, limit, wide=wide)),
        *([("Traffic", _traffic(view, limit, wide=wide))] if view.plugged else []),
        ("Events", _events(view.events, limit, now)),
    )
    for heading, lines in sections:
        yield from ("", text.strong(heading))
        yield from (f"  {line}".rstrip() for line in lines)
    for sentence in view.blind:
        yield ""
        yield from text.paragraph(f"Note: {sentence}", limit)


def _state(found: Found) -> str:
    if found.deleting:
        return "Deleting"
    if found.ready is None:
        return "unknown"
    return "Ready" if found.ready.status else f"not ready ({found.ready.reason})"


def _spec(found: Found, attached: Sequence[Attached], now: datetime | None) -> Iterator[tuple[str, str]]:
    from k8slan_cli.cli.lan import text

    lan, ready = found.lan, found.ready
    if ready and ready.since:
        yield "Ready", f"{'yes' if ready.status else 'no'}, for {text.age(ready.since, now)}"
    if lan is None:
        yield "VNI", str((found.document.get("spec") or {}).get("vni", ""))
        yield "Age", text.age(found.created, now)
        return
    flooding = f"multicast to {lan.group}" if lan.group else "unicast to each node that takes part"
    yield "VNI", f"{lan.vni}, UDP port {lan.port}, {flooding}"
    taken = {item.socket.spoke for item in attached if item.socket.spoke}
    yield "Spokes", f"{', '.join(lan.spokes)} ({len(taken)} of {len(lan.spokes)} taken)" if lan.spokes else ""
    yield "Dynamic", "any number of pods may attach" if lan.dynamic else ""
    yield "Underlay", ", ".join(_underlays(lan))
    yield "MTU", f"{lan.mtu} wanted" if lan.mtu else "the largest that the underlay allows"
    yield "On a node", f"network namespace {lan.netns}, bridge {lan.bridge}, VXLAN device {lan.vxlan}"
    yield "Age", text.age(found.created, now)


def _underlays(lan: Lan) -> Iterator[str]:
    yield lan.underlay or "the device of the node's own address"
    for node, device in lan.underlays:
        yield f"{device} on {node}"


def _nodes(view: View, limit: int | None, *, wide: bool) -> Iterator[str]:
    from k8slan_cli.cli.lan.text import Column, Table

    lan = view.found.lan
    if lan is None or not (nodes := lan.nodes):
        yield "none takes part: nobody is attached"
        return
    columns = [
        Column("NODE"),
        Column("STATE"),
        Column("DEVICE"),
        Column("VTEP", 2),
        Column("MTU", 1),
        Column("PEERS", 3),
        Column("MESSAGE", prose=True),
    ]
    rows = [
        [
            node.name,
            node.state,
            node.device,
            str(node.vtep or ""),
            str(node.mtu or ""),
            _peers(lan, node.name, view.reached),
            node.message,
        ]
        for node in sorted(nodes, key=lambda node: node.name)
    ]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    yield from Table(columns, rows, _inside(limit, wide=wide)).lines()


def _peers(lan: Lan, node: str, reached: Iterable[Reached] | None) -> str:
    """How many of the other nodes that take part a node's frames of full size reach; or, untried, are known to it."""
    others = sum(other.name != node for other in lan.nodes)
    if not others:
        return "-"
    if mine := [way for way in reached or () if way.src == node]:
        return f"{sum(way.full > 0 for way in mine)} of {others} reached"
    if lan.group:
        return "by multicast"
    return f"{sum(other.name != node and other.vtep is not None for other in lan.nodes)} of {others} known"


def _attachments(view: View, limit: int | None, *, wide: bool) -> Iterator[str]:
    from k8slan_cli.cli.lan.text import Column, Table

    if not view.attached:
        yield "nobody"
        return
    columns = [
        Column("WHO"),
        Column("NODE", 1),
        Column("SPOKE"),
        Column("KIND", 3),
        Column("INTERFACE"),
        Column("MAC", 2),
        Column("ADDRESSES", 4),
        Column("STATE"),
    ]
    rows = [
        [
            item.who,
            item.pod.node or "-",
            item.socket.spoke or "-",
            item.socket.kind,
            item.network.interface,
            item.network.mac or "-",
            ",".join(item.network.ips) or "-",
            state(item, view.found.lan),
        ]
        for item in view.attached
    ]
    yield from Table(columns, rows, _inside(limit, wide=wide)).lines()


def _traffic(view: View, limit: int | None, *, wide: bool) -> Iterator[str]:
    from k8slan_cli.cli.lan.text import Column, Table

    columns = [
        Column("WHO"),
        Column("INTERFACE", 2),
        Column("LINK"),
        Column("SENT", 1),
        Column("RECEIVED", 1),
        Column("DROPPED"),
        Column("ERRORS", 3),
    ]
    rows = []
    for item in view.attached:
        plugged = _plugged(view, item)
        cells = ["-"] * 5
        if plugged:
            both = (plugged.sent, plugged.received)
            counts = (sum(way.dropped for way in both), sum(way.errors for way in both))
            cells = [link(plugged), *map(_amount, both), *map(str, counts)]
        rows.append([item.who, item.network.interface, *cells])
    yield from Table(columns, rows, _inside(limit, wide=wide)).lines()


def link(plugged: Plugged) -> str:
    """How an attachment's link is: as the LAN wants it, and as it is."""
    if plugged.fault:
        return "broken"
    if not plugged.up:
        return "down"
    return "up" if plugged.carrier else "no carrier"


def _amount(way: Traffic) -> str:
    """``1 frame, 60 B``."""
    from k8slan_cli.cli.lan.text import plural, size

    return f"{plural(way.packets, 'frame')}, {size(way.bytes)}"


def state(item: Attached, lan: Lan | None) -> str:
    """How an attachment is, in a word or two."""
    pod, network = item.pod, item.network
    if pod.deleting:
        return "leaving"
    if not network.present:
        return "waiting"
    plug = f"{pod.namespace}/{pod.name}:{network.interface}"
    return "link down" if lan and lan.is_down(item.socket.spoke or None, plug) else "attached"


def _events(events: Sequence[Event], limit: int | None, now: datetime | None) -> Iterator[str]:
    from k8slan_cli.cli.lan.text import Column, Table, age

    if not events:
        yield "none lately"
        return
    if len(events) > _EVENTS:
        yield f"{len(events) - _EVENTS} older ones are left out"
    columns = [Column("AGE"), Column("TYPE", 2), Column("REASON"), Column("FROM", 3), Column("MESSAGE", prose=True)]
    rows = [
        [
            age(event.last, now) + (f" (×{event.count})" if event.count > 1 else ""),
            "Warning" if event.warning else "Normal",
            event.reason,
            event.source,
            " ".join(event.message.split()),
        ]
        for event in events[-_EVENTS:]
    ]
    yield from Table(columns, rows, _inside(limit, wide=False)).lines()


def _inside(limit: int | None, *, wide: bool) -> int | None:
    """The width of a table that is set in by two columns."""
    return None if wide or limit is None else limit - 2


# ---------------------------------------------------------------- for programs


def as_document(view: View) -> dict[str, Any]:
    """All of it as one document: the LAN, and beside it what is read from elsewhere."""
    return {
        "lan": tidy(view.found.document),
        "why": list(why(view)),
        "attached": [
            {
                "pod": f"{item.pod.namespace}/{item.pod.name}",
                "vm": item.pod.vm,
                "node": item.pod.node,
                "spoke": item.socket.spoke,
                "kind": item.socket.kind,
                "interface": item.network.interface,
                "mac": item.network.mac,
                "addresses": list(item.network.ips),
                "state": state(item, view.found.lan),
                "live": _live(_plugged(view, item)),
            }
            for item in view.attached
        ],
        "reached": None
        if view.reached is None
        else [
            {"from": way.src, "to": way.dst, "sent": way.sent, "small": way.small, "full": way.full}
            for way in view.reached
        ],
        "events": [
            {
                "last": event.last,
                "type": "Warning" if event.warning else "Normal",
                "reason": event.reason,
                "from": event.source,
                "message": event.message,
                "count": event.count,
            }
            for event in view.events
        ],
        "blind": list(view.blind),
    }


def _live(plugged: Plugged | None) -> dict[str, Any] | None:
    """What its agent says of an attachment; None if it cannot be seen."""
    if plugged is None:
        return None
    return {
        "link": link(plugged),
        "fault": plugged.fault,
        "sent": asdict(plugged.sent),
        "received": asdict(plugged.received),
    }
