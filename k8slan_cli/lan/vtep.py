"""The VTEP as a value: one node's part of one LAN, as that node's agent reports it to the cluster.

::

    agent of a node ──writes──► VTEP (LAN, node) ──read by──► other agents, controller, workstation

From the VTEPs of a LAN everybody works out the same things with the functions below: which addresses frames are sent
to (``peers``), who holds a spoke (``holdings``), which ports share a MAC address (``same_mac``), and the MTU that
frames may have everywhere (``least_mtu``). A VTEP without ports and uplinks takes no part: it may report a failure.

Pure values. How they are written down is in ``vtep_codec``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter

from k8slan_cli.lan.model import IpAddress, LanRef

VTEP_KIND = "VTEP"
READY = "Ready"
"""``state`` of a VTEP that has no trouble to report."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PodRef:
    """Which pod. ``uid`` tells it from an earlier pod of the same name, as a StatefulSet makes them."""

    namespace: str
    name: str
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRef:
    """Which KubeVirt virtual machine, in the namespace of its launcher pod; ``uid`` is that of its VMI."""

    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VtepPort:
    """A port of a LAN on one node, with the pod or VM that is plugged into it.

    ``name``       the bridge port's link name
    ``spoke``      "" on a dynamic LAN
    ``kind``       ``veth`` or ``macvtap``
    ``pod``        None where no pod stands behind the attachment (the runtime named none)
    ``vm``         the VM that a launcher pod runs, None for other pods
    ``interface``  its name inside the pod
    ``mac``        the interface's address, lower case
    ``addresses``  what IPAM gave, as ``10.0.0.2/24``
    ``mtu``        of the interface, in bytes
    ``since``      RFC 3339 time of the attachment, by the node's clock: for people, never compared
    ``migrating``  the agent has KubeVirt's word that the VM came here from the port that held the spoke then
    ``claim``      version of the VTEP's write that first had this port; 0 in that write itself (see ``Vtep.claim_of``)
    """

    name: str
    interface: str
    kind: str
    spoke: str = ""
    pod: PodRef | None = None
    vm: VmRef | None = None
    mac: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int = 0
    since: str = ""
    migrating: bool = False
    claim: int = 0

    @property
    def who(self) -> str:
        """The pod or VM as people name it: ``pod lab/router``, ``VM lab/firewall``."""
        if self.pod and self.vm:
            return f"VM {self.pod.namespace}/{self.vm.name}"
        return f"pod {self.pod}" if self.pod else f"port {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VtepUplink:
    """An uplink of a LAN on one node.

    ``carrier``  whether its NIC has a link to the hardware
    ``active``   whether it is the one that joins the hardware to the LAN
    ``message``  why it cannot be, "" if it can
    """

    device: str
    vlan: int = 0
    carrier: bool = False
    active: bool = False
    message: str = ""

    @property
    def what(self) -> str:
        """Return device and VLAN for people: ``eth1``, ``eth1 VLAN 100``."""
        return f"{self.device} VLAN {self.vlan}" if self.vlan else self.device

    @property
    def state(self) -> str:
        """Return how it is, in a few words."""
        if self.active:
            return "active"
        return "blocked" if self.message else "standby" if self.carrier else "no carrier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vtep:
    """One node's part of a LAN.

    ``address``  where the other nodes send VXLAN to; None while there is none
    ``device``   the underlay device
    ``port``     UDP port of VXLAN
    ``vni``      that frames of the LAN have on this node; 0 where its agent does not say
    ``mtu``      inside the LAN on this node, in bytes; 0 while unknown
    ``state``    ``Ready``, or one word for what is wrong; ``message`` is the sentence
    ``uplinks``  NICs of the node that are ports of the LAN, or stand by; with one, a node takes part without pods
    ``lost``     the controller's word that the node has not been ready for a minute: its ports hold no spoke and no
                 deletion, but frames are still sent to it (a kubelet that is down does not stop them); False once that
                 has been taken back, None before
    ``version``  the object's resourceVersion, 0 before it was written; versions of one API server can be compared
    """

    lan: LanRef
    node: str
    address: IpAddress | None = None
    device: str = ""
    port: int = 0
    vni: int = 0
    mtu: int = 0
    state: str = READY
    message: str = ""
    ports: tuple[VtepPort, ...] = ()
    uplinks: tuple[VtepUplink, ...] = ()
    lost: bool | None = None
    uid: str = ""
    version: int = 0
    deleting: bool = False

    @property
    def takes_part(self) -> bool:
        """Return whether frames are to come here: it has ports, or an uplink."""
        return bool(self.ports or self.uplinks)

    def claim_of(self, port: VtepPort) -> int:
        """Return the version of the write by which ``port`` came into this VTEP.

        An agent writes down the claims of the ports that it wrote before. A port without one is therefore from the
        last write, whose version is the object's own.
        """
        return port.claim or self.version


def with_claims(vtep: Vtep, written: Vtep | None) -> Vtep:
    """Return a VTEP to be written, its ports with the claims that they have by what was ``written`` last.

    A port is the same as long as the same interface of the same pod has been plugged in without a break. As long as
    the controller calls the node lost, its ports are written without claims: they begin anew with the write by which
    the controller takes that back, so that nothing changes hands to a node that returns.
    """
    known = {_plug(port): written.claim_of(port) for port in written.ports} if written and not written.lost else {}
    return replace(vtep, ports=tuple(replace(port, claim=known.get(_plug(port), 0)) for port in vtep.ports))


def with_known_claims(found: Vtep, known: Vtep) -> Vtep:
    """Return a VTEP as it was ``found``, its ports with the claims that they had by what was ``known`` of it before.

    Somebody else's write raises the version by which a port without a claim counts. Only the controller means that,
    when it takes back that the node was lost.
    """
    if found.uid != known.uid or found.lost != known.lost or found.lost:
        return found
    claims = {_plug(port): known.claim_of(port) for port in known.ports}
    ports = (port if port.claim else replace(port, claim=claims.get(_plug(port), 0)) for port in found.ports)
    return replace(found, ports=tuple(ports))


def _plug(port: VtepPort) -> object:
    return port.name, port.interface, port.pod, port.since


# ---------------------------------------------------------------- what follows from the VTEPs of one LAN


def peers(vteps: Iterable[Vtep], node: str) -> frozenset[IpAddress]:
    """Return the addresses to which ``node`` replicates frames: those of all other nodes that take part."""
    return frozenset(vtep.address for vtep in vteps if vtep.takes_part and vtep.address and vtep.node != node)


def least_mtu(vteps: Iterable[Vtep]) -> int:
    """Return the MTU that frames may have on every node that takes part, in bytes; 0 if no node does."""
    return min((vtep.mtu for vtep in vteps if vtep.takes_part and vtep.mtu), default=0)


def active_uplink(vteps: Iterable[Vtep]) -> str:
    """Return which uplink is active, ``eth1 of node worker1``, "" if none is.

    Of two that say so it is the one that said something last: a node that has gone says so until it is back.
    """
    found = [vtep for vtep in vteps if not vtep.lost and any(uplink.active for uplink in vtep.uplinks)]
    last = max(found, key=attrgetter("version"), default=None)
    return next((f"{uplink.what} of node {last.node}" for uplink in last.uplinks if uplink.active), "") if last else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A port that claims a spoke: on which node, and since which version."""

    node: str
    port: VtepPort
    claim: int

    @property
    def who(self) -> str:
        """The pod or VM and its node, for messages."""
        return f"{self.port.who} on node {self.node}"

    @property
    def place(self) -> str:
        """Return who is plugged in, where and by which interface: ``pod lab/router on node worker1 (net1)``."""
        return f"{self.who} ({self.port.interface})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Who holds a spoke, and who claims it in vain."""

    holders: tuple[Holder, ...]
    losers: tuple[Holder, ...] = ()


def holdings(vteps: Iterable[Vtep]) -> Mapping[str, Holding]:
    """Return for each spoke in use who holds it; every reader of the same VTEPs gets the same answer.

    The first claim wins, by the order in which the API server took the writes, and by no clock; of two in one write,
    the pod with the lesser uid. Claims of nodes that are lost do not count. A VM that migrates holds its spoke at both
    ends.
    """
    claims: dict[str, list[Holder]] = {}
    for holder in holders(vtep for vtep in vteps if not vtep.lost):
        if holder.port.spoke:
            claims.setdefault(holder.port.spoke, []).append(holder)
    return {spoke: _decide(found) for spoke, found in sorted(claims.items())}


def _decide(claims: list[Holder]) -> Holding:
    first, *others = sorted(claims, key=_seniority)
    vm = first.port.vm.uid if first.port.vm else ""
    together = [other for other in others if vm and other.port.migrating and other.port.vm and other.port.vm.uid == vm]
    return Holding(holders=(first, *together), losers=tuple(other for other in others if other not in together))


def _seniority(claim: Holder) -> tuple[int, str, str, str]:
    pod = claim.port.pod
    return claim.claim, pod.uid if pod else "", claim.node, claim.port.name


def same_mac(vteps: Iterable[Vtep]) -> Mapping[str, tuple[Holder, ...]]:
    """Return the MAC addresses that several ports have, each with those ports; a migrating VM's two are one."""
    found: dict[str, list[Holder]] = {}
    for holder in holders(vteps):
        if holder.port.mac:
            found.setdefault(holder.port.mac, []).append(holder)
    shared = {mac: sorted(ports, key=attrgetter("node", "port.name")) for mac, ports in sorted(found.items())}
    return {mac: tuple(ports) for mac, ports in shared.items() if len(_owners(ports)) > 1}


def _owners(ports: Collection[Holder]) -> set[object]:
    moved = {holder.port.vm.uid for holder in ports if holder.port.migrating and holder.port.vm}
    return {vm.uid if (vm := holder.port.vm) and vm.uid in moved else holder.port for holder in ports}


def holders(vteps: Iterable[Vtep]) -> Iterator[Holder]:
    """Yield all ports, each with its node and its claim."""
    return (Holder(node=vtep.node, port=port, claim=vtep.claim_of(port)) for vtep in vteps for port in vtep.ports)
