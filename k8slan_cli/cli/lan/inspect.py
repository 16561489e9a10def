"""``k8slan lan inspect``: all there is to know of one LAN, and why it is not ready if it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan import output as out

if TYPE_CHECKING:
    from k8slan_cli.cli.lan.text import Table
    from k8slan_cli.diagnose.lan import Event, LanDetails
    from k8slan_cli.diagnose.protocol import Plugged
    from k8slan_cli.inventory.lans import Found
    from k8slan_cli.lan.model import Lan, Uplink
    from k8slan_cli.lan.vtep import Vtep
    from k8slan_cli.plan.occupancy import Clash, Occupancy, Occupant

_EVENTS = 10  # how many are shown
_UNSEEN = "cannot be seen"
_LIVE = (("LINK", 0), ("SENT", 3), ("RECEIVED", 3), ("FRAMES", 10), ("DROPPED", 2), ("ERRORS", 4))
"""Columns of what agents say of attachments, and how soon a narrow terminal loses each."""


@in_cluster
def inspect(
    here: Here,
    name: Annotated[list[str], typer.Argument(metavar="NAME…", help="The LANs.", autocompletion=completion.lans)],
    output: out.Option = "table",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and show it again after each change.")] = False,
) -> None:
    """Show a LAN: what it should be, what it is on every node, who is on it, and why it is not ready.

    Examples:
      k8slan lan inspect blue

      # Who is attached, for a program
      k8slan lan inspect blue -o json | jq .attached
    """
    from k8slan_cli.cli import live

    wanted = out.Output.read(output)
    places = [(there.namespace, each) for there, each in map(here.lan, dict.fromkeys(name))]
    if watch:
        sources = live.sources(places)
        live.screens(live.after_changes(here.cluster, sources, lambda: _shown(here, places, wanted).rstrip("\n")))
    else:
        typer.echo(_shown(here, places, wanted), nl=False)


def _shown(here: Here, places: Sequence[tuple[str, str]], wanted: out.Output) -> str:
    from k8slan_cli.diagnose.lan import look_at

    views = look_at(here.cluster, places)
    if wanted.for_programs:
        found = [as_document(view) for view in views]
        names = [out.lan_name(view.found.document) for view in views]
        return wanted.text(found[0] if len(found) == 1 else {"items": found}, names)
    reports = ["\n".join(report(view, limit=wanted.limit(), wide=wanted.wide)) for view in views]
    return "\n\n".join(reports) + "\n"


# ---------------------------------------------------------------- for people


def report(view: LanDetails, *, limit: int | None, wide: bool, now: datetime | None = None) -> Iterator[str]:
    """All of it as text; ``limit`` is the terminal's width, None for none."""
    from k8slan_cli.cli.lan import text
    from k8slan_cli.diagnose.lan import why

    found = view.found
    state = _state(found)
    yield f"{text.strong(f'LAN {found.ref}')}  {text.coloured(state)}"
    yield from text.fields(_spec(view, now), limit)
    if reasons := why(view):
        yield from ("", text.strong("Why"))
        for reason in reasons:
            yield from text.paragraph(reason, limit, "  - ", "    ")
    sections = (
        ("Nodes", _nodes(view, limit, wide=wide)),
        ("Attached", _attachments(view, limit, wide=wide, now=now)),
        *([("Waiting", _waiting(view, limit, wide=wide))] if view.on.waiting else []),
        ("Events", _events(view.events, limit, wide=wide, now=now)),
    )
    narrow: list[str] = []
    for heading, parts in sections:
        yield from ("", text.strong(heading))
        for part in parts:
            if isinstance(part, str):
                yield f"  {part}".rstrip()
            else:
                narrow += part.left_out
                yield from (f"  {line}".rstrip() for line in part.lines())
    if narrow:
        yield from ("", *text.left_out(narrow, limit))
    for sentence in view.blind:
        yield ""
        yield from text.paragraph(f"Note: {sentence}", limit)


def _state(found: Found) -> str:
    if found.deleting:
        return "Deleting"
    if found.ready is None:
        return "unknown"
    return "Ready" if found.ready.status else f"not ready ({found.ready.reason})"


def _spec(view: LanDetails, now: datetime | None) -> Iterator[tuple[str, str]]:
    from k8slan_cli.cli.lan import text
    from k8slan_cli.lan import names
    from k8slan_cli.lan.model import ANY

    found, on = view.found, view.on
    lan, ready = found.lan, found.ready
    if ready and ready.since:
        yield "Ready", f"{'yes' if ready.status else 'no'}, for {text.age(ready.since, now)}"
    if lan is None:
        yield "VNI", str((found.document.get("spec") or {}).get("vni", ""))
        yield "Age", text.age(found.created, now)
        return
    flooding = f"multicast to {lan.group}" if lan.group else "unicast to each node that takes part"
    yield "VNI", f"{lan.vni or 'none yet'}, UDP port {lan.port}, {flooding}"
    taken = {item.port.spoke for item in on.attached}.intersection(lan.spokes)
    count = "" if view.hidden else f" ({len(taken)} of {len(lan.spokes)} taken)"
    yield "Spokes", f"{', '.join(lan.spokes)}{count}" if lan.spokes else ""
    yield "Dynamic", f"any number of pods may attach, by network {names.lan_nad(lan.ref.name)}" if lan.dynamic else ""
    yield "Underlay", ", ".join(_underlays(lan))
    yield "Remotes", ", ".join(map(str, lan.remotes))
    yield "Uplinks", ", ".join(f"{uplink} ({_uplink_state(uplink, on)})" for uplink in lan.uplinks)
    yield "Open to", "all namespaces" if ANY in lan.allowed_namespaces else ", ".join(lan.allowed_namespaces)
    yield "MTU", _mtu(lan, on.mtu)
    yield "On a node", f"network namespace {lan.netns}, bridge {lan.bridge}, VXLAN device {lan.vxlan}"
    yield "Age", text.age(found.created, now)


def _uplink_state(uplink: Uplink, on: Occupancy) -> str:
    here = [vtep for vtep in on.vteps if vtep.node == uplink.node]
    told = [each for vtep in here for each in vtep.uplinks if (each.device, each.vlan) == (uplink.device, uplink.vlan)]
    if here and here[0].lost:
        return "node lost"
    return told[0].state if told else "not seen by its node"


def _mtu(lan: Lan, reached: int) -> str:
    """What interfaces may have: ``reached`` on all nodes that take part, 0 if none does."""
    if wanted := lan.wanted_mtu:
        fragments = ", by fragments where the underlay has less" if lan.fragment else ""
        return f"{wanted} wanted" + (f", {reached} reached" if 0 < reached < wanted else "") + fragments
    return f"{reached}, " * bool(reached) + "the largest that the underlay allows"


def _underlays(lan: Lan) -> Iterator[str]:
    yield lan.underlay or "the device of the node's own address"
    for node, device in lan.underlays:
        yield f"{device} on {node}"


def _nodes(view: LanDetails, limit: int | None, *, wide: bool) -> Iterator[str | Table]:
    from k8slan_cli.cli.lan.text import Column, Table

    vteps = view.on.vteps
    if not vteps:
        yield _UNSEEN if view.hidden else "no node takes part: there are no attachments"
        return
    columns = [
        Column("NODE"),
        Column("STATE"),
        Column("DEVICE"),
        Column("ADDRESS", 2),
        Column("MTU", 1),
        Column("PEERS", 3),
        Column("MESSAGE", prose=True),
    ]
    rows = [
        [
            vtep.node,
            "Lost" if vtep.lost else vtep.state,
            vtep.device,
            str(vtep.address or ""),
            str(vtep.mtu or ""),
            _peers(view, vtep.node),
            vtep.message,
        ]
        for vtep in vteps
    ]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    yield Table(columns, rows, _inside(limit, wide=wide))


def _peers(view: LanDetails, node: str) -> str:
    """How many of the other nodes that take part a node's frames of full size reach; or, untried, are known to it."""
    names = {other.node for other in view.on.nodes}
    others = [other for other in view.on.nodes if other.node != node]
    if not others or node not in names:
        return "-"
    if mine := [way for way in view.reached or () if way.src == node]:
        return f"{sum(way.full > 0 for way in mine)} of {len(others)} reached"
    if view.found.lan and view.found.lan.group:
        return "by multicast"
    return f"{sum(other.address is not None for other in others)} of {len(others)} known"


def _attachments(view: LanDetails, limit: int | None, *, wide: bool, now: datetime | None) -> Iterator[str | Table]:
    from k8slan_cli.cli.lan.text import Column, Table, age

    if not view.on.attached:
        yield _UNSEEN if view.hidden else "no attachments"
        return
    columns = [
        Column("WHO", middle=True),
        Column("NODE", 2),
        Column("SPOKE"),
        Column("KIND", 6),
        Column("INTERFACE", 1),
        Column("MAC", 5),
        Column("ADDRESSES", 7),
        Column("MTU", 8),
        Column("SINCE", 9),
        *(Column(*each) for each in _LIVE if view.plugged),
        Column("STATE"),
    ]
    rows = [
        [
            item.who,
            item.node,
            item.port.spoke or "-",
            item.port.kind,
            item.port.interface,
            item.port.mac or "-",
            ",".join(item.port.addresses) or "-",
            str(item.port.mtu or "-"),
            age(item.port.since, now) or "-",
            *(_counters(view.plugged_at(item)) if view.plugged else ()),
            state(item, view.found.lan, view.on) + _limit(view.plugged_at(item)),
        ]
        for item in view.on.attached
    ]
    yield Table(columns, rows, _inside(limit, wide=wide))


def _waiting(view: LanDetails, limit: int | None, *, wide: bool) -> Iterator[str | Table]:
    from k8slan_cli.cli.lan.text import Column, Table

    columns = [
        Column("WHO"),
        Column("NODE", 1),
        Column("SPOKE"),
        Column("KIND", 3),
        Column("INTERFACE", 2),
        Column("REASON", prose=True),
    ]
    rows = [
        [
            item.who,
            item.node or "-",
            item.port.spoke or "-",
            item.port.kind,
            item.port.interface,
            item.why,
        ]
        for item in view.on.waiting
    ]
    yield Table(columns, rows, _inside(limit, wide=wide))


def _counters(plugged: Plugged | None) -> list[str]:
    """What an agent says of an attachment, a cell for each of ``_LIVE``; dashes if it cannot be seen."""
    from k8slan_cli.cli.lan.text import size

    if plugged is None:
        return ["-"] * len(_LIVE)
    both = (plugged.sent, plugged.received)
    return [
        link(plugged),
        *(size(way.bytes) for way in both),
        f"{plugged.sent.packets} sent, {plugged.received.packets} received",
        str(sum(way.dropped for way in both)),
        str(sum(way.errors for way in both)),
    ]


def _limit(plugged: Plugged | None) -> str:
    return f", {plugged.bandwidth} by the runtime" if plugged and plugged.bandwidth else ""


def link(plugged: Plugged) -> str:
    """How an attachment's link is: as the LAN wants it, and as it is."""
    if plugged.fault:
        return "broken"
    if not plugged.up:
        return "down"
    return "up" if plugged.carrier else "no carrier"


def state(item: Occupant, lan: Lan | None, on: Occupancy) -> str:
    """How an attachment is, in a few words."""
    from k8slan_cli.plan.occupancy import REMOVED, pulled

    if item.leaving:
        return "leaving"
    if item.lost:
        return "node lost"
    if item.holder:
        return "link down, spoke taken"
    if item.removed:
        return REMOVED
    if down := pulled(lan, item):
        return down
    if item.end:
        place = {True: ", runs here", False: f", runs on {item.end.other}", None: ""}
        return f"migrating{place[item.end.runs]}"
    shaped = lan.link(item.port.spoke or None, item.plug).words if lan else ""
    return "MTU too large" if on.oversized(item) else f"attached, {shaped}" if shaped else "attached"


def _events(events: Sequence[Event], limit: int | None, *, wide: bool, now: datetime | None) -> Iterator[str | Table]:
    from k8slan_cli.cli.lan.text import Column, Table, age

    if not events:
        yield "no recent events"
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
    yield Table(columns, rows, _inside(limit, wide=wide))


def _inside(limit: int | None, *, wide: bool) -> int | None:
    """The width of a table that is set in by two columns."""
    return None if wide or limit is None else limit - 2


# ---------------------------------------------------------------- for programs


def as_document(view: LanDetails) -> dict[str, Any]:
    """All of it as one document: the LAN, and beside it what is read from elsewhere."""
    from k8slan_cli.diagnose.lan import why

    return {
        "lan": out.tidy(view.found.document),
        "why": list(why(view)),
        "nodes": [_node(vtep) for vtep in view.on.vteps],
        "mtu": view.on.mtu,
        "attached": [
            _interface(item)
            | {
                "mac": item.port.mac,
                "addresses": list(item.port.addresses),
                "mtu": item.port.mtu,
                "since": item.port.since,
                "port": item.port.name,
                "state": state(item, view.found.lan, view.on),
                "migration": item.end and {"otherEnd": item.end.other, "runsHere": item.end.runs},
                "live": _live(view.plugged_at(item)),
            }
            for item in view.on.attached
        ],
        "waiting": [_interface(item) | {"reason": item.reason} for item in view.on.waiting],
        "shared": [_clash(clash) for clash in view.on.clashes],
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
        "notVisible": list(view.blind),
    }


def _node(vtep: Vtep) -> dict[str, Any]:
    return {
        "node": vtep.node,
        "address": str(vtep.address or ""),
        "device": vtep.device,
        "port": vtep.port,
        "mtu": vtep.mtu,
        "state": vtep.state,
        "message": vtep.message,
        "lost": bool(vtep.lost),
        "ports": len(vtep.ports),
        "uplinks": [
            {
                "device": each.device,
                "vlan": each.vlan,
                "state": each.state,
                "carrier": each.carrier,
                "message": each.message,
            }
            for each in vtep.uplinks
        ],
    }


def _interface(item: Occupant) -> dict[str, Any]:
    return {
        "pod": str(item.port.pod or ""),
        "vm": item.port.vm.name if item.port.vm else "",
        "node": item.node,
        "spoke": item.port.spoke,
        "kind": item.port.kind,
        "interface": item.port.interface,
    }


def _clash(clash: Clash) -> dict[str, Any]:
    """What several interfaces have; of a spoke, one holds it and the others lose it."""
    first, *others = map(_interface, clash.interfaces)
    if clash.spoke:
        return {"spoke": clash.spoke, "holder": first, "losers": others}
    return {"mac": clash.mac, "interfaces": [first, *others]}


def _live(plugged: Plugged | None) -> dict[str, Any] | None:
    """What its agent says of an attachment; None if it cannot be seen."""
    if plugged is None:
        return None
    return {
        "link": link(plugged),
        "fault": plugged.fault,
        "bandwidth": plugged.bandwidth,
        "sent": asdict(plugged.sent),
        "received": asdict(plugged.received),
    }
