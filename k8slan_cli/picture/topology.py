"""Devices and the LANs that join them, as one graph: pods, VMs and hardware, whatever nodes they are on.

The model of the view that network engineers draw: a LAN with two ends is a line, one with more is a bus. It is built
of LANs and of who is on them, and is what ``lan graph -o json`` prints. Pure: no drawing, no cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.plan.occupancy import REMOVED, Occupancy, Occupant, natural, pulled

POD, VM, HOST = "pod", "vm", "host"
"""Kinds of devices; a host is what is behind a node's NIC, or a VTEP outside the cluster."""
ATTACHED, WAITING, MIGRATING = "attached", "waiting", "migrating"
UP, DOWN = "up", "down"
READY, UNKNOWN = "Ready", "unknown"
NOBODY = {False: "no attachments", True: "who is attached cannot be seen"}
"""What to say of a LAN that nobody is seen on, by whether that is hidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What has interfaces on LANs.

    ``key``    tells it from all others of a topology: ``namespace/name`` of a pod, or of a VM
    ``name``   as it is shown: a lab's own name for it, with the namespace where there are several
    ``kind``   ``pod``, ``vm`` or ``host``
    ``node``   the cluster's node that it is on, "" if none or several
    ``lab``    the lab that it belongs to, "" for none
    ``state``  ``attached``, ``migrating``, or ``waiting`` where it has no interface yet
    ``count``  how many pods of one controller it stands for
    """

    key: str
    name: str
    kind: str = POD
    node: str = ""
    lab: str = ""
    state: str = ATTACHED
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """An interface of a device on a LAN.

    ``device``      the key of the device
    ``spoke``       "" on a dynamic LAN
    ``mac``         "" while it is not known
    ``addresses``   what IPAM gave, as ``10.0.0.2/24``
    ``link``        ``up``, ``down``, or ``waiting`` for an interface that is not there yet
    ``impairment``  what is done to its frames: ``delay 20ms to pod``, "" for nothing
    ``note``        what else a person should know: ``link down at the other end``, "" for nothing
    """

    device: str
    interface: str
    spoke: str = ""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    link: str = UP
    impairment: str = ""
    note: str = ""

    @property
    def remarks(self) -> str:
        """Return what there is to say of it."""
        return ", ".join(filter(None, (self.impairment, self.note)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A LAN: two ends make a line, any other number a bus.

    ``state`` is ``Ready``, the reason why it is not, or ``unknown``; ``message`` says more. ``vni`` is 0 while there
    is none. ``apart`` is set where LANs of several namespaces are shown, ``hidden`` where not all who are attached can
    be seen.
    """

    ref: LanRef
    apart: bool = False
    state: str = READY
    message: str = ""
    vni: int = 0
    ends: tuple[End, ...] = ()
    hidden: bool = False

    @property
    def key(self) -> str:
        """Return what tells it from all others, and from devices by their keys."""
        return f"lan:{self.ref}"

    @property
    def name(self) -> str:
        """Return what it is called in a picture."""
        return str(self.ref) if self.apart else self.ref.name

    @property
    def ill(self) -> bool:
        """Return whether it is known not to be ready."""
        return self.state not in (READY, UNKNOWN)

    @property
    def line(self) -> bool:
        """Return whether it is drawn as a line between two devices."""
        return len({end.device for end in self.ends}) == len(self.ends) == 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Devices and the LANs that join them, in the order that people count in."""

    devices: tuple[Device, ...] = ()
    lans: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A LAN with who is on it, or ``hidden``; ``state`` and ``message`` are those of its condition Ready."""

    lan: Lan
    on: Occupancy
    state: str = READY
    message: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plugged:
    """An end of a LAN with what is known of its device."""

    device: Device
    namespace: str
    end: End


def of(lans: Iterable[Seen]) -> Topology:
    """Return the topology of LANs."""
    seen = sorted(lans, key=lambda each: (natural(each.lan.ref.namespace), natural(each.lan.ref.name)))
    found = _told_apart([(each, list(_plugged(each))) for each in seen])
    apart = len({each.lan.ref.namespace for each in seen}) > 1
    spaces = {item.namespace for _, items in found for item in items if item.namespace}
    devices: dict[str, Device] = {}
    for _, items in found:
        for item in items:
            device = item.device
            if len(spaces) > 1 and item.namespace:
                device = replace(device, name=f"{item.namespace}/{device.name}")
            known = devices.setdefault(device.key, device)
            devices[device.key] = replace(known, node=known.node or device.node, state=_state(known, device))
    segments = (
        Segment(
            ref=each.lan.ref,
            apart=apart,
            state=each.state,
            message=" ".join(each.message.split()),
            vni=each.lan.vni,
            ends=tuple(item.end for item in items),
            hidden=each.hidden,
        )
        for each, items in found
    )
    order = sorted(devices.values(), key=lambda device: (device.kind == HOST, natural(device.name), device.key))
    return Topology(devices=tuple(order), lans=tuple(segments))


def _told_apart(found: list[tuple[Seen, list[_Plugged]]]) -> list[tuple[Seen, list[_Plugged]]]:
    """Return the same with another key for a VM that has the name of a pod."""
    devices = {(item.device.kind, item.device.key) for _, items in found for item in items}
    both = {key for kind, key in devices if kind == VM and (POD, key) in devices}

    def apart(item: _Plugged) -> _Plugged:
        if item.device.kind != VM or item.device.key not in both:
            return item
        key = f"{item.device.key} (VM)"
        return replace(item, device=replace(item.device, key=key), end=replace(item.end, device=key))

    return [(each, list(map(apart, items))) for each, items in found] if both else found


def _state(one: Device, other: Device) -> str:
    states = {one.state, other.state}
    return next(state for state in (MIGRATING, ATTACHED, WAITING) if state in states)


def _plugged(seen: Seen) -> Iterator[_Plugged]:
    lan, on = seen.lan, seen.on
    there: dict[tuple[str, str], int] = {}
    found: list[_Plugged] = []
    for item in (*on.attached, *on.waiting):
        plugged = _Plugged(device=_device(item), namespace=_namespace(item), end=_end(item, lan, on))
        # A VM that migrates is on its spoke at two nodes, and is one device.
        place = (plugged.device.key, plugged.end.interface)
        if item.end and place in there:
            if item.end.runs:
                found[there[place]] = plugged
            continue
        there[place] = len(found)
        found.append(plugged)
    yield from found
    for vtep in on.vteps:
        for uplink in vtep.uplinks:
            key = f"host:{vtep.node}/{uplink.device}"
            link = UP if uplink.active else WAITING if uplink.carrier and not uplink.message else DOWN
            yield _Plugged(
                device=Device(key=key, name=f"{uplink.device} of {vtep.node}", kind=HOST, node=vtep.node),
                namespace="",
                end=End(device=key, interface=uplink.what, link=link, note=f"uplink, {uplink.state}"),
            )
    for address in lan.remotes:
        key = f"remote:{address}"
        yield _Plugged(
            device=Device(key=key, name=str(address), kind=HOST),
            namespace="",
            end=End(device=key, interface="VXLAN", note="remote VTEP"),
        )


def _namespace(item: Occupant) -> str:
    return item.port.pod.namespace if item.port.pod else item.lan.namespace


def _device(item: Occupant) -> Device:
    port = item.port
    name = port.vm.name if port.vm else port.pod.name if port.pod else port.name
    return Device(
        key=_key(item),
        name=item.lab_node or name,
        kind=VM if port.vm else POD,
        node=item.node,
        lab=item.lab,
        state=WAITING if item.vtep is None else MIGRATING if item.end else ATTACHED,
    )


def _key(item: Occupant) -> str:
    port = item.port
    name = port.vm.name if port.vm else port.pod.name if port.pod else port.name
    return f"{_namespace(item)}/{name}"


def _end(item: Occupant, lan: Lan, on: Occupancy) -> End:
    port = item.port
    down = item.holder or pulled(lan, item)
    return End(
        device=_key(item),
        interface=port.interface,
        spoke=port.spoke,
        mac=port.mac,
        addresses=port.addresses,
        link=WAITING if item.vtep is None else DOWN if down else UP,
        impairment=lan.link(port.spoke or None, item.plug).words,
        note="; ".join(_notes(item, lan, on)),
    )


def _notes(item: Occupant, lan: Lan, on: Occupancy) -> Iterator[str]:
    """Tell what is wrong with an interface, in few words."""
    if item.vtep is None:
        yield from filter(None, [item.reason])
        return
    for clash in on.clashes:
        if item in clash.interfaces:
            yield f"{clash.kind} in use {clash.times}"
    if not item.holder and (down := pulled(lan, item)):
        yield down
    if item.end:
        yield f"migrating, other end on {item.end.other}"
    if item.removed:
        yield REMOVED
    if on.oversized(item):
        yield f"MTU {item.port.mtu}, the LAN has {on.mtu}"
    if item.lost:
        yield f"node {item.node} is lost"


# ---------------------------------------------------------------- as JSON


def document(topology: Topology) -> dict[str, Any]:
    """Return the JSON form."""
    return {
        "devices": [
            {
                "key": device.key,
                "name": device.name,
                "kind": device.kind,
                "node": device.node,
                "lab": device.lab,
                "state": device.state,
                "count": device.count,
            }
            for device in topology.devices
        ],
        "lans": [
            {
                "namespace": segment.ref.namespace,
                "name": segment.ref.name,
                "state": segment.state,
                "message": segment.message,
                "vni": segment.vni,
                "hidden": segment.hidden,
                "ends": _ends(segment.ends),
            }
            for segment in topology.lans
        ],
    }


def _ends(ends: Sequence[End]) -> list[dict[str, Any]]:
    return [
        {
            "device": end.device,
            "interface": end.interface,
            "spoke": end.spoke,
            "mac": end.mac,
            "addresses": list(end.addresses),
            "link": end.link,
            "impairment": end.impairment,
            "note": end.note,
        }
        for end in ends
    ]
