"""Who is on a LAN: ports of its VTEPs; and who waits to be: pods that ask for it and have no port.

A port is what a node's agent says that it has made, so it is there whatever the pod's annotations say: by a network of
the user's own, on a spoke that the LAN has no longer. What only asks (a copy of a pod, a pod that was started before
multus) is not on the LAN, and holds neither a spoke nor a deletion.

::

    LAN ─┐
    VTEPs ├──► Occupancy: attached, waiting, and what is wrong between them
    pods ─┘

A node of k8slan 0.1.0 writes no VTEP, only an entry in the LAN's status. A ``Vtep`` without a uid stands in for it,
its ports taken from what multus wrote on pods; so it is for all nodes where VTEPs cannot be read.

Pure: values in, values out. Commands, pictures and checks of the workstation all read this.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from k8slan_cli.lan import faults, names
from k8slan_cli.lan.faults import Fault, linked, offering, shared_macs, shared_spokes, too_large
from k8slan_cli.lan.model import Lan, LanRef, NodeStatus
from k8slan_cli.lan.vtep import (
    READY,
    Holder,
    Holding,
    PodRef,
    VmRef,
    Vtep,
    VtepPort,
    holdings,
    least_mtu,
    same_mac,
)
from k8slan_cli.plan.pods import Network, Pod, Socket, sockets

_MORE = 5  # how many names a sentence has
REMOVED = "removed spoke, still in use"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One of the two ends of a VM that migrates.

    ``other`` is the node of the other end. ``runs``: the VM runs here; None where nobody has said (KubeVirt knows).
    """

    other: str
    runs: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """An interface of a pod or VM on a LAN, or one that a pod waits for.

    ``vtep``     the VTEP that has it; None for one that is waited for, whose ``port`` is what the pod asks for
    ``removed``  the LAN has its spoke no longer, or is no longer dynamic
    ``holder``   who has the spoke instead, so that this one's link is down
    ``leaving``  its pod is being deleted
    ``end``      set while its VM migrates, and so is on its spoke at two nodes
    ``reason``   why a pod waits, as far as it is known
    ``lab``      the lab that its pod belongs to, ``lab_node`` its name there; "" if the pod has none, or is not known
    """

    lan: LanRef
    node: str
    port: VtepPort
    vtep: Vtep | None = None
    removed: bool = False
    holder: Holder | None = None
    leaving: bool = False
    end: End | None = None
    reason: str = ""
    lab: str = ""
    lab_node: str = ""

    @property
    def who(self) -> str:
        """Return the pod or VM as people name it: ``pod lab/router``, ``VM lab/firewall``."""
        return self.port.who

    @property
    def place(self) -> str:
        """Return who, where and by which interface: ``pod lab/router on node worker1 (net1)``."""
        return f"{self.who}{f' on node {self.node}' if self.node else ''} ({self.port.interface})"

    @property
    def plug(self) -> str:
        """Return ``namespace/pod:interface``, as ``Lan.pulled`` has it on a dynamic LAN."""
        return f"{self.port.pod or ''}:{self.port.interface}"

    @property
    def why(self) -> str:
        """Return why a pod waits, or else where that is said."""
        pod = self.port.pod
        return self.reason or (f"see kubectl -n {pod.namespace} describe pod {pod.name}" if pod else "")

    @property
    def lost(self) -> bool:
        """Return whether its node is lost, so that it holds nothing."""
        return self.vtep is not None and bool(self.vtep.lost)

    @property
    def idle(self) -> bool:
        """Return whether its VM runs, or may run, at its other end: frames sent here in its name would mislead."""
        return self.end is not None and not self.end.runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A spoke, or else a MAC address, that several interfaces on a LAN have; of a spoke, the first is its holder."""

    spoke: str = ""
    mac: str = ""
    interfaces: tuple[Occupant, ...]

    @property
    def kind(self) -> str:
        """Return which of the two it is."""
        return "spoke" if self.spoke else "MAC address"

    @property
    def times(self) -> str:
        """Return how often it is in use."""
        return "twice" if len(self.interfaces) == 2 else f"{len(self.interfaces)} times"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """Who is on a LAN. ``vteps`` are in the order of nodes, interfaces in that of spoke, pod and interface.

    ``faults`` are what is wrong, the worst first; the controller says most of it in the same words.
    """

    lan: LanRef
    vteps: tuple[Vtep, ...] = ()
    attached: tuple[Occupant, ...] = ()
    waiting: tuple[Occupant, ...] = ()
    clashes: tuple[Clash, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def nodes(self) -> tuple[Vtep, ...]:
        """Return the nodes that take part, to which frames are sent."""
        return tuple(filter(takes_part, self.vteps))

    @property
    def holders(self) -> tuple[Occupant, ...]:
        """Return what holds the deletion of the LAN."""
        return tuple(item for item in self.attached if not item.lost)

    @property
    def mtu(self) -> int:
        """Return the MTU that frames may have everywhere, 0 if no node takes part."""
        return least_mtu(self.vteps)

    def oversized(self, item: Occupant) -> bool:
        """Return whether an interface has a larger MTU than frames may have."""
        return bool(self.mtu) and item.port.mtu > self.mtu


def takes_part(vtep: Vtep) -> bool:
    """Return whether frames are sent to a node: it has ports, or is of 0.1.0 and says so."""
    return vtep.takes_part or not vtep.uid


def some(items: Iterable[str], limit: int = _MORE) -> str:
    """Return names for a sentence, each once, and how many more there are."""
    found = list(dict.fromkeys(items))
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more


# ---------------------------------------------------------------- from LANs, VTEPs and pods


def occupancies(
    lans: Mapping[LanRef, Lan | None], vteps: Iterable[Vtep] | None, pods: Iterable[Pod]
) -> dict[LanRef, Occupancy]:
    """Return who is on each of ``lans``; see ``occupancy``. Of very many pods, each LAN is shown only its own."""
    by_lan: dict[LanRef, list[Vtep]] = {}
    for vtep in vteps or ():
        by_lan.setdefault(vtep.lan, []).append(vtep)
    by_name: dict[PodRef, Pod] = {}
    by_nad: dict[LanRef, list[Pod]] = {}
    for pod in pods:
        by_name |= dict.fromkeys(_refs(pod), pod)
        for network in pod.networks:
            by_nad.setdefault(network.nad, []).append(pod)
    found: dict[LanRef, Occupancy] = {}
    for ref, lan in lans.items():
        ports = [port for vtep in by_lan.get(ref, ()) for port in vtep.ports]
        own = [by_name[port.pod] for port in ports if port.pod in by_name]
        own += [pod for nad, _ in (sockets(lan) if lan else ()) for pod in by_nad.get(nad, ())]
        found[ref] = occupancy(ref, lan, None if vteps is None else by_lan.get(ref, ()), dict.fromkeys(own))
    return found


def occupancy(ref: LanRef, lan: Lan | None, vteps: Iterable[Vtep] | None, pods: Iterable[Pod] = ()) -> Occupancy:
    """Return who is on a LAN; ``lan`` is None if it breaks rules, ``vteps`` if they cannot be read.

    Without ``pods`` it is not known who waits.
    """
    pods = list(pods)
    known = {name: pod for pod in pods for name in _refs(pod)}
    wanted = list(_wanted(lan, pods)) if lan else []
    found = [vtep for vtep in vteps or () if vtep.lan == ref]
    if lan:
        found += _stand_ins(lan, wanted, {vtep.node for vtep in found}, everywhere=vteps is None)
    found = [replace(vtep, ports=tuple(_with_vm(port, known) for port in vtep.ports)) for vtep in found]
    found.sort(key=lambda vtep: natural(vtep.node))
    real = [vtep for vtep in found if vtep.uid]
    held_by = holdings(real)
    shared = {spoke: held for spoke, held in held_by.items() if held.losers}
    instead = {_plug(loser): held.holders[0] for held in shared.values() for loser in held.losers}
    live = linked(found, shared)
    ends = dict(_ends(held_by.values()))
    offered = offering(lan) if lan else lambda _port: True
    attached = [
        Occupant(
            lan=ref,
            node=vtep.node,
            port=port,
            vtep=vtep,
            removed=not offered(port),
            holder=instead.get((vtep.node, port)),
            leaving=pod is not None and pod.deleting,
            end=ends.get((vtep.node, port)),
            lab=pod.lab if pod else "",
            lab_node=pod.lab_node if pod else "",
        )
        for vtep in found
        for port in vtep.ports
        for pod in (known.get(port.pod) if port.pod else None,)
    ]
    there = {(item.port.pod, item.port.interface) for item in attached}
    waiting = [
        Occupant(lan=ref, node=pod.node, port=port, reason=_stuck(pod, network), lab=pod.lab, lab_node=pod.lab_node)
        for pod, port, network in wanted
        if not pod.deleting and not any((name, network.interface) in there for name in _refs(pod))
    ]
    return Occupancy(
        lan=ref,
        vteps=tuple(found),
        attached=tuple(sorted(attached, key=_order)),
        waiting=tuple(sorted(waiting, key=_order)),
        clashes=tuple(_clashes(shared, same_mac(live), {(item.node, item.port): item for item in attached})),
        faults=(
            *shared_spokes(shared, some),
            *shared_macs(live, some),
            *_ill(found),
            *too_large(found, some),
            *(faults.bare(lan, some) if lan else ()),
            *faults.agents(found, some),
            *(
                (*faults.removed(lan, found), *faults.remote_nodes(lan, found), *faults.too_small(lan, found, some))
                if lan
                else ()
            ),
            *_lost(found),
        ),
    )


def _ill(vteps: Iterable[Vtep]) -> Iterator[Fault]:
    for vtep in vteps:
        if vtep.state not in ("", READY):
            words = f"on node {vtep.node}: {vtep.message or vtep.state}"
            yield Fault(reason="NodesDegraded", about=f"{vtep.node}:", message=words)


def _lost(vteps: Iterable[Vtep]) -> Iterator[Fault]:
    for vtep in vteps:
        if vtep.lost:
            words = f"node {vtep.node} has not been ready for a minute: its ports hold no spoke and no deletion"
            yield Fault(reason="NodeLost", about=f"node {vtep.node}", message=words)


Plug = tuple[str, VtepPort]
"""A node, and a port there."""


def _plug(claim: Holder) -> Plug:
    return claim.node, claim.port


def _ends(holdings: Iterable[Holding]) -> Iterator[tuple[Plug, End]]:
    for held in holdings:
        if len(held.holders) == 2:
            one, two = held.holders
            yield _plug(one), End(other=two.node)
            yield _plug(two), End(other=one.node)


def _clashes(
    shared: Mapping[str, Holding], macs: Mapping[str, tuple[Holder, ...]], by_plug: Mapping[Plug, Occupant]
) -> Iterator[Clash]:
    for spoke, held in shared.items():
        # The second end of a VM that migrates is no other holder, and loses nothing.
        yield Clash(spoke=spoke, interfaces=tuple(by_plug[_plug(each)] for each in (held.holders[0], *held.losers)))
    for mac, ports in macs.items():
        yield Clash(mac=mac, interfaces=tuple(by_plug[_plug(each)] for each in ports))


Wanted = tuple[Pod, VtepPort, Network]
"""A pod, the port that it asks for, and the network by which it does."""


def _wanted(lan: Lan, pods: Iterable[Pod]) -> Iterator[Wanted]:
    """Tell what pods ask for on a LAN. One that is over asks for nothing, nor one in its node's own network."""
    plugs: Mapping[LanRef, Socket] = dict(sockets(lan))
    for pod in pods:
        if pod.over or pod.host_network:
            continue
        for network in pod.networks:
            if socket := plugs.get(network.nad):
                yield pod, _port(pod, socket, network), network


def _port(pod: Pod, socket: Socket, network: Network) -> VtepPort:
    spoke = names.spoke_of(socket.spoke, pod.name)
    return VtepPort(
        name=names.port(spoke) if spoke else "",
        interface=network.interface,
        kind=socket.kind,
        spoke=spoke,
        pod=_refs(pod)[0],
        vm=VmRef(name=pod.vm, uid=pod.vmi) if pod.vm else None,
        mac=network.mac,
        addresses=network.ips,
    )


def _stand_ins(lan: Lan, wanted: Iterable[Wanted], there: Container[str], *, everywhere: bool) -> Iterator[Vtep]:
    """Make VTEPs of nodes that have written none, if these have an entry in the LAN's status or ``everywhere``."""
    entries = {node.name: node for node in lan.nodes if node.name and node.name not in there}
    ports: dict[str, list[VtepPort]] = {name: [] for name in entries}
    for pod, port, network in wanted:
        if network.present and pod.node not in there and (everywhere or pod.node in entries):
            ports.setdefault(pod.node, []).append(port)
    for name, found in ports.items():
        entry = entries.get(name, NodeStatus(name=name))
        yield Vtep(
            lan=lan.ref,
            node=name,
            address=entry.vtep,
            device=entry.device,
            mtu=entry.mtu,
            state=entry.state,
            message=entry.message,
            ports=tuple(found),
        )


def _refs(pod: Pod) -> tuple[PodRef, PodRef]:
    """Return what a port may say of its pod: the runtime, or an agent's older record, may not tell the uid."""
    whole = PodRef(namespace=pod.namespace, name=pod.name, uid=pod.uid)
    return whole, replace(whole, uid="")


def _with_vm(port: VtepPort, pods: Mapping[PodRef, Pod]) -> VtepPort:
    """Return a port with its VM, by the labels of its pod where the agent does not say it."""
    pod = pods.get(port.pod) if port.pod and not port.vm else None
    return replace(port, vm=VmRef(name=pod.vm, uid=pod.vmi)) if pod and pod.vm else port


def _order(item: Occupant) -> tuple[object, ...]:
    pod = item.port.pod
    names = (item.port.spoke, pod.namespace if pod else "", pod.name if pod else "", item.port.interface, item.node)
    return tuple(map(natural, names))


def natural(name: str) -> tuple[object, ...]:
    """Return the key that puts names in the order that people count in: s1, s2, s10."""
    return tuple((part.isdigit(), int(part) if part.isdigit() else part) for part in re.split("([0-9]+)", name))


PULLED, OTHER_PULLED = "link down", "link down at the other end"


def pulled(lan: Lan | None, item: Occupant) -> str:
    """Return which pulled link takes an interface's carrier: its own (``PULLED``), ``OTHER_PULLED``, or "" for none."""
    if lan is None or not lan.is_down(item.port.spoke or None, item.plug):
        return ""
    return PULLED if not lan.pulled.isdisjoint((item.port.spoke, item.plug)) else OTHER_PULLED


def _stuck(pod: Pod, network: Network) -> str:
    """Return why a pod that runs has no port; "" if it is only about to start."""
    if not pod.node:
        return "it has no node yet"
    if pod.phase != "Running":
        return ""
    if network.present:
        return f"multus has attached it, but the agent on node {pod.node} does not report the port"
    return "it runs without this interface, as a pod does that multus was not there for: delete it, and make it anew"


# ---------------------------------------------------------------- why a pod waits

_CNI_ERROR = re.compile(r'failed \(add\): |error adding container to network "[^"]*": ')


def cni_reason(message: str) -> str:
    """Return what a CNI plugin said, of the kubelet's message that wraps it (``FailedCreatePodSandBox``)."""
    return _CNI_ERROR.split(" ".join(message.split()))[-1].rstrip("'\" ")
