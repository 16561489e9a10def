"""The links of a topology file, to ``model.Segment``: each link read alone, then those that meet somewhere joined.

Links meet at bridges, at interfaces of a host (macvlan, host) and at the lab's management network; each of these is a
hub. A link between two nodes has none, and is a segment of its own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k8slan_cli.errors import near
from k8slan_cli.lab import kinds as known
from k8slan_cli.lab import schema, yaml_text
from k8slan_cli.lab.model import BRIDGES, VM, End, Nic, Segment, Tunnel
from k8slan_cli.lan import links, names
from k8slan_cli.lan.links import CLEAN, Impairment, Link
from k8slan_cli.lan.validate import MAX_SPOKES
from k8slan_cli.lan.vnis import MAX_VNI

if TYPE_CHECKING:
    from k8slan_cli.lab.remarks import Remarks
    from k8slan_cli.lab.schema import EndFields, LinkFields
    from k8slan_cli.lab.yaml_text import Path

WORDS = frozenset({"mgmt-net", "macvlan", "host", "dummy", "vxlan", "vxlan-stitch"})
"""What a brief end may name instead of a node."""
_VXLAN_PORT = 14789
"""The UDP port that containerlab takes where none is given."""
_KERNELS_OWN = ("lo", "all", "default")
_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


@dataclass(slots=True, kw_only=True)
class _Meeting:
    """Ends that hear each other, while links are still joined: what one link says of them, or all links of a hub.

    ``hubs`` are where more ends may come from; the first of them gives the segment its name.
    """

    hubs: list[str] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    mtus: list[int] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    tunnels: list[Tunnel] = field(default_factory=list)

    def take(self, other: _Meeting) -> None:
        """Add what another one has, but for its hubs."""
        self.ends += other.ends
        self.mtus += other.mtus
        self.nics += other.nics
        self.tunnels += other.tunnels


def segments(found: Iterable[LinkFields], kinds: Mapping[str, str], remarks: Remarks) -> tuple[Segment, ...]:
    """Return the segments that links make between nodes, of which ``kinds`` has the kind of each."""
    reader = _Reader(kinds, remarks)
    read = [reader.link(("topology", "links", position), link) for position, link in enumerate(found)]
    bridges = [name for name, kind in kinds.items() if kind in BRIDGES]
    meetings = _joined(bridges, [meeting for meeting in read if meeting])
    for meeting in meetings:
        _check(meeting, kinds, remarks)
    return tuple(
        Segment(
            name=each.hubs[0] if each.hubs else "",
            ends=tuple(each.ends),
            mtu=min(each.mtus, default=0),
            nics=tuple(dict.fromkeys(each.nics)),
            tunnels=tuple(dict.fromkeys(each.tunnels)),
        )
        for each in meetings
        if each.ends
    )


def _joined(bridges: Iterable[str], read: Iterable[_Meeting]) -> list[_Meeting]:
    """Join links that have a hub in common, and hubs that a link connects; a bridge without links has no ends."""
    meetings = {name: _Meeting(hubs=[name]) for name in bridges}
    merged: dict[str, str] = {}
    single: list[_Meeting] = []

    def of(hub: str) -> str:
        while hub in merged:
            hub = merged[hub]
        return hub

    for meeting in read:
        if not meeting.hubs:
            single.append(meeting)
            continue
        first = of(meeting.hubs[0])
        whole = meetings.setdefault(first, _Meeting(hubs=[first]))
        whole.take(meeting)
        for hub in map(of, meeting.hubs[1:]):
            if hub != first:
                whole.take(meetings.pop(hub, _Meeting()))
                merged[hub] = first
    return [*meetings.values(), *single]


def _check(meeting: _Meeting, nodes: Collection[str], remarks: Remarks) -> None:
    """Say what is wrong with all that meets at a hub; a link alone has nothing of this."""
    hub = meeting.hubs[0] if meeting.hubs else ""
    path, at = (("topology", "nodes", hub), "here") if hub in nodes else (("topology", "links"), f"at {hub}")
    if not meeting.ends:
        remarks.warn(path, "nothing is plugged into it: it becomes no LAN")
    elif len({(each.vni, each.port) for each in meeting.tunnels}) > 1:
        remarks.wrong(path, f"all VXLAN tunnels that meet {at} have to have one vni and udp-port")
    elif len(meeting.ends) > MAX_SPOKES:
        remarks.wrong(path, f"{len(meeting.ends)} ends meet {at}, {MAX_SPOKES} at the most")


class _Reader:
    """Reads links one by one, and knows which interfaces of nodes are in use."""

    def __init__(self, kinds: Mapping[str, str], remarks: Remarks) -> None:
        self._kinds = kinds
        self._remarks = remarks
        self._taken: dict[tuple[str, str], Path] = {}

    def link(self, path: Path, link: LinkFields) -> _Meeting | None:
        """Return what a link says of the ends that hear each other; None if it cannot be."""
        self._remarks.unread(path, link, schema.LINK_UNUSED)
        kind = link.type or "veth"
        if kind not in schema.LINK_TYPES:
            self._remarks.wrong((*path, "type"), f"{names.shown(kind)} is not one of {', '.join(schema.LINK_TYPES)}")
            return None
        impairment = _impairment((*path, "impairment"), link, self._remarks)
        if kind == "veth":
            return self._veth(path, link, impairment)
        if link.endpoint is None or link.endpoints is not None:
            self._remarks.wrong(path, f"a link of type {kind} has one endpoint: endpoint")
            return None
        end = self._end((*path, "endpoint"), link.endpoint, impairment)
        return self._alone(path, kind, link.host_interface or "", link, end)

    def _veth(self, path: Path, link: LinkFields, impairment: Impairment) -> _Meeting | None:
        found = link.endpoints
        if found is None or len(found) != 2 or link.endpoint is not None:
            self._remarks.wrong(
                (*path, "endpoints") if found is not None else path, "a link has two endpoints: endpoints"
            )
            return None
        texts = [each if isinstance(each, str) else f"{each.node}:{each.interface}" for each in found]
        special = [text for text in texts if text.partition(":")[0] in WORDS]
        self._unused(path, link, texts)
        if len(special) == 2:
            self._remarks.wrong((*path, "endpoints"), "at least one of the two has to be a node")
            return None
        ends = [
            self._end((*path, "endpoints", position), each, impairment, _addresses(link, position))
            for position, (each, text) in enumerate(zip(found, texts, strict=True))
            if text not in special
        ]
        if special:
            kind, _, device = special[0].partition(":")
            if kind.startswith("vxlan"):
                self._remarks.wrong((*path, "endpoints"), "write it in full: type, endpoint, remote and vni")
                return None
            return self._alone(path, kind, device, link, *ends)
        self._remarks.idle(path, link, schema.link_unused("veth", brief=True))
        return _meeting(link, ends)

    def _unused(self, path: Path, link: LinkFields, texts: Sequence[str]) -> None:
        """Warn of what is said of ends that are at no pod and no VM."""
        plugged = [self._kinds.get(text.partition(":")[0], "bridge") not in BRIDGES for text in texts]
        for position, end in enumerate(link.endpoints or ()):
            if not plugged[position] and not isinstance(end, str):
                self._remarks.idle((*path, "endpoints", position), end, schema.END_UNUSED)
        for name in ("ipv4", "ipv6"):
            for position, address in enumerate(getattr(link, name)):
                if address and not (position < len(plugged) and plugged[position]):
                    self._remarks.warn(
                        (*path, name, position), "is not used: the link has no such end at a pod or a VM"
                    )

    def _alone(self, path: Path, kind: str, device: str, link: LinkFields, end: End | str | None) -> _Meeting | None:
        """A link with a node at one end only."""
        self._remarks.idle(path, link, schema.link_unused(kind, brief=link.endpoints is not None))
        if kind in ("macvlan", "host"):
            if fault := names.interface_fault(device, names.MAX_DEVICE):
                self._remarks.wrong(path, f"host-interface {fault}")
                return None
            if kind == "macvlan" and link.mode not in (None, "bridge"):
                self._remarks.warn(
                    (*path, "mode"), "is not used: all that share a NIC hear each other, as in mode bridge"
                )
            if kind == "host":
                self._remarks.warn(
                    path,
                    f"{device} is not made: have it on the node, an end of a veth pair whose other one is the host's",
                )
            nic = Nic(device=device, written=f"{kind}:{device}", at=self._remarks.field(path))
            return _meeting(link, [end], hubs=[f"macvlan:{device}"], nics=[nic])
        if kind == "mgmt-net":
            self._remarks.warn(path, "its ends share a LAN of their own, which is not the pods' network of eth0")
            return _meeting(link, [end], hubs=["mgmt-net"])
        if kind.startswith("vxlan"):
            tunnel = self._tunnel(path, link)
            return _meeting(link, [end], tunnels=[tunnel]) if tunnel else None
        return _meeting(link, [end])

    def _tunnel(self, path: Path, link: LinkFields) -> Tunnel | None:
        remote, vni = link.remote or "", link.vni or 0
        before = len(self._remarks.problems)
        try:
            ipaddress.ip_address(remote)
        except ValueError:
            self._remarks.wrong((*path, "remote"), f"{names.shown(remote)} is not an IP address")
        if not 1 <= vni <= MAX_VNI:
            self._remarks.wrong((*path, "vni"), f"is not in 1..{MAX_VNI}")
        if len(self._remarks.problems) > before:
            return None
        return Tunnel(remote=remote, vni=vni, port=link.udp_port or _VXLAN_PORT)

    def _end(
        self, path: Path, found: str | EndFields, impairment: Impairment, addresses: tuple[str, ...] = ()
    ) -> End | str | None:
        """An end at a node; of one at a bridge, its name; None if it cannot be."""
        remarks, mac = self._remarks, ""
        if isinstance(found, str):
            node, colon, interface = found.partition(":")
            if not colon:
                remarks.wrong(path, f"{names.shown(found)} is not NODE:INTERFACE")
                return None
        else:
            remarks.unread(path, found, schema.LINK_UNUSED)
            node, interface, mac = found.node, found.interface, found.mac or ""
            addresses = tuple(filter(None, (*addresses, found.ipv4, found.ipv6)))
        if node not in self._kinds:
            hint = near(node, self._kinds)
            remarks.wrong(path, f"there is no node {names.shown(node)}" + (f": {hint}" if hint else ""))
            return None
        kind = self._kinds[node]
        interface = known.interface(kind, interface)
        first = self._taken.setdefault((node, interface), path)
        if first != path:
            remarks.wrong(path, f"{node}:{interface} is in use by {yaml_text.written(first)}")
            return None
        if kind in BRIDGES:
            if impairment != CLEAN:
                remarks.warn(path, "the impairment acts on what comes from the other end alone")
            return node
        if fault := _interface_fault(interface):
            remarks.wrong(path, fault)
        if mac and not _MAC.fullmatch(mac):
            remarks.wrong(path, f"{names.shown(mac)} is not a MAC address")
        for address in addresses:
            if not _is_address(address):
                remarks.wrong(
                    path,
                    f"{names.shown(address)} is not an address with the length of its network, such as 192.0.2.1/24",
                )
        if addresses and kind == VM:
            remarks.warn(path, "the addresses are not used: a VM's guest takes its own")
        return End(node=node, interface=interface, mac=mac.lower(), addresses=addresses, impairment=impairment)


def _meeting(
    link: LinkFields,
    ends: Iterable[End | str | None],
    *,
    hubs: Iterable[str] = (),
    nics: Iterable[Nic] = (),
    tunnels: Iterable[Tunnel] = (),
) -> _Meeting | None:
    """What a link says of its ends; bridges among them are hubs. None if one of them cannot be."""
    found = list(ends)
    if None in found:
        return None
    return _Meeting(
        hubs=[*(end for end in found if isinstance(end, str)), *hubs],
        ends=[end for end in found if isinstance(end, End)],
        mtus=[link.mtu] if link.mtu else [],
        nics=list(nics),
        tunnels=list(tunnels),
    )


def _addresses(link: LinkFields, position: int) -> tuple[str, ...]:
    """The addresses that a brief link gives to one of its ends."""
    return tuple(each[position] for each in (link.ipv4, link.ipv6) if len(each) > position and each[position])


def _interface_fault(interface: str) -> str:
    """What is wrong with the name of a node's interface, "" if nothing."""
    if fault := names.interface_fault(interface, names.MAX_DEVICE):
        return (
            f"the interface {fault}. Name it as Linux does, such as eth1 or e1-1, and not as the node's own commands do"
        )
    if interface == "eth0":
        return "eth0 is a pod's interface on the cluster's pod network: take another, such as eth1"
    if interface in _KERNELS_OWN:
        return f"{interface!r} is a name that the kernel keeps for itself"
    return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True


def _impairment(path: Path, link: LinkFields, remarks: Remarks) -> Impairment:
    if link.impairment is None:
        return CLEAN
    remarks.unread(path, link.impairment, {})
    values: dict[str, int] = {}
    for name in links.PROPERTIES:
        given = getattr(link.impairment, name)
        found = links.read(name, given) if given is not None else 0
        if isinstance(found, str):
            remarks.wrong((*path, name), found)
        else:
            values[name] = found
    wanted = Impairment(**values)
    for problem in links.faults("", Link(to_pod=wanted, from_pod=wanted)):
        remarks.wrong((*path, problem.field.rpartition(".")[2]), problem.message)
    return wanted
