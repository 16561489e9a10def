"""What the page shows, as JSON; and what makes one such document of another. Pure.

A document has objects by their keys, and lists only where all of a list is another when something of it is: so the
difference of two is a merge patch (RFC 7386), and small. It has no null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from k8slan_cli.diagnose.drawing import seen
from k8slan_cli.diagnose.lan import Event
from k8slan_cli.diagnose.traffic import Flow, Rate
from k8slan_cli.inventory.lans import Found
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.lan import links
from k8slan_cli.picture import topology
from k8slan_cli.picture.layout.plan import Plan
from k8slan_cli.picture.topology import ATTACHED, End, Segment, Topology

Document = dict[str, Any]
_EVENTS = 50
_ROOM = "999 Mbit/s"
_NONE = Rate()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is seen of LANs.

    ``cluster``  which cluster it is, and ``scope`` which LANs, for people
    ``wanted``   what is wanted of links, as ``spec.links`` has it, by the key of the end
    ``plan``     where devices, wires and buses are drawn
    ``flows``    what goes through attachments, as their agents say
    ``events``   with the LAN that each is about, the latest first
    ``missing``  sentences about what cannot be seen, by what it is
    ``fixed``    why links cannot be changed, "" if they can
    """

    cluster: str = ""
    scope: str = ""
    topology: Topology = field(default_factory=Topology)
    wanted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    flows: tuple[Flow, ...] = ()
    events: tuple[tuple[str, Event], ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    fixed: str = ""


def key(lan: str, device: str, interface: str) -> str:
    """Return what an end is called in documents."""
    return f"{lan} {device} {interface}"


def joined(items: Iterable[Found], users: Users) -> tuple[Topology, dict[str, Mapping[str, Any]]]:
    """Return the topology of valid LANs, and what is wanted of the links that are not as plain cables are."""
    found = [item for item in items if item.lan]
    wanted: dict[str, Mapping[str, Any]] = {}
    for item in found:
        on = users.by_lan[item.ref]
        for each in (*on.attached, *on.waiting):
            port, pod = each.port, each.port.pod
            if item.lan is None or pod is None:
                continue
            link = links.document(item.lan.link(port.spoke or None, each.plug))
            if (port.spoke or each.plug) in item.lan.pulled:  # by the annotation, maybe
                link["state"] = "down"
            if link:
                name = port.vm.name if port.vm else pod.name
                wanted[key(str(item.ref), f"{pod.namespace}/{name}", port.interface)] = link
    return topology.of(seen(item, users) for item in found), wanted


def still(found: Topology) -> Topology:
    """Return a topology without what changes while nobody comes or goes, and with room for it, to be laid out."""
    return Topology(
        devices=tuple(replace(device, state=ATTACHED) for device in found.devices),
        lans=tuple(
            Segment(
                ref=lan.ref,
                ends=tuple(End(device=end.device, interface=end.interface, note=_ROOM) for end in lan.ends),
            )
            for lan in found.lans
        ),
    )


# ---------------------------------------------------------------- as JSON


def document(view: View) -> Document:
    """Return the JSON form."""
    plain = topology.document(view.topology)
    ends: Document = {}
    lans: Document = {}
    for lan in plain["lans"]:
        name = f"{lan['namespace']}/{lan['name']}"
        lans[name] = {field: value for field, value in lan.items() if field != "ends"}
        for end in lan["ends"]:
            place = key(name, end["device"], end["interface"])
            ends[place] = {**end, "lan": name, "addresses": " ".join(end["addresses"])}
            if wanted := view.wanted.get(key(name, end["device"].removesuffix(" (VM)"), end["interface"])):
                ends[place]["wanted"] = wanted
    return {
        "cluster": view.cluster,
        "scope": view.scope,
        "fixed": view.fixed,
        "missing": dict(view.missing),
        "devices": {each["key"]: each for each in plain["devices"]},
        "lans": lans,
        "ends": ends,
        "picture": _picture(view.plan),
        "flows": dict(_flows(view.flows, ends)),
        "events": [_event(lan, event) for lan, event in view.events[:_EVENTS]],
    }


def _picture(plan: Plan) -> Document:
    """Return where things are drawn; of a wire, its labels are in the order of its ends."""
    return {
        "size": [round(plan.width), round(plan.height)],
        "boxes": {
            box.device.key: [round(box.x), round(box.y), round(box.width), round(box.height)] for box in plan.boxes
        },
        "wires": [
            {
                "lan": str(wire.segment.ref),
                "ends": [key(str(wire.segment.ref), end.device, end.interface) for end in wire.ends],
                "points": [[round(x), round(y)] for x, y in wire.points],
                "labels": [[round(label.x), round(label.y), label.right] for label in wire.labels],
            }
            for wire in plan.wires
        ],
        "buses": [
            {
                "lan": str(bus.segment.ref),
                "at": [round(bus.x), round(bus.y)],
                "bars": [[round(x) for point in bar for x in point] for bar in bus.bars],
            }
            for bus in plan.buses
        ],
    }


def _flows(flows: Iterable[Flow], ends: Document) -> Iterable[tuple[str, Document]]:
    """Yield what goes through each end. A VM that migrates has two attachments: the busier counts."""
    busiest: dict[str, Flow] = {}
    for flow in flows:
        item = flow.item
        device = f"{item.pod.partition('/')[0]}/{item.vm}" if item.vm else item.pod
        names = (key(item.lan, device, item.ifname), key(item.lan, f"{device} (VM)", item.ifname))
        for name in names:
            if name in ends and (name not in busiest or flow.busy > busiest[name].busy):
                busiest[name] = flow
    for name, flow in busiest.items():
        item, sent, received = flow.item, flow.sent or _NONE, flow.received or _NONE
        yield (
            name,
            {
                "carrier": item.carrier,
                "fault": item.fault,
                "frames": round(sent.packets + received.packets),
                "sent": round(sent.bytes * 8),
                "received": round(received.bytes * 8),
                "errors": item.sent.errors + item.received.errors,
                "dropped": item.sent.dropped + item.received.dropped,
            },
        )


def _event(lan: str, event: Event) -> Document:
    return {
        "lan": lan,
        "last": event.last,
        "warning": event.warning,
        "reason": event.reason,
        "message": event.message,
        "count": event.count,
    }


# ---------------------------------------------------------------- differences


def patch(before: Document, after: Document) -> Document:
    """Return the merge patch (RFC 7386) that makes ``after`` of ``before``; empty if they are the same."""
    found: Document = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := patch(old, value):
                found[name] = inner
        elif name not in before or old != value:
            found[name] = value
    return found
