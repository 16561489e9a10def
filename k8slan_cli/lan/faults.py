"""What is wrong between the ports of a LAN, in sentences: the same for the controller, its events and the workstation.

Pure, from the LAN and its VTEPs. How many names a sentence has is its reader's to choose: see ``Named``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from k8slan_cli.lan import validate
from k8slan_cli.lan.model import IpAddress, Lan, overhead
from k8slan_cli.lan.vtep import READY, Holder, Holding, Vtep, VtepPort, holders, least_mtu, same_mac

LEAST_IPV6_MTU = 1280  # RFC 8200
SPOKE_SHARED, MAC_SHARED = "SpokeShared", "MacShared"

Named = Callable[[list[str]], str]
"""Makes a list of names a part of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is wrong.

    ``reason``   a word, for conditions and events
    ``message``  a sentence: what is wrong, then what to do
    ``about``    how the sentence begins, whatever else changes in it
    ``holders``  the ports whose pods are to be told; the sentence has their ``place``
    ``ready``    whether the LAN is Ready nonetheless
    """

    reason: str
    message: str
    about: str = ""
    holders: tuple[Holder, ...] = ()
    ready: bool = False

    def names(self, holder: Holder, text: str) -> bool:
        """Return whether a condition's message says this of a port."""
        return any(holder.place in sentence for sentence in self.said(text))

    def said(self, text: str) -> list[str]:
        """Return the sentences of a condition's message that are about this."""
        return [sentence for sentence in text.split("; ") if sentence.startswith(f"{self.about} ")]


def shared_spokes(holdings: Mapping[str, Holding], named: Named) -> Iterator[Fault]:
    """Yield the spokes that some port claims in vain."""
    for spoke, holding in holdings.items():
        if holding.losers:
            first, others = (named([each.place for each in ports]) for ports in (holding.holders, holding.losers))
            yield Fault(
                reason=SPOKE_SHARED,
                about=f"spoke {spoke}",
                message=f"spoke {spoke} is held by {first}, so there is no link for {others}: delete all but one",
                holders=(*holding.holders, *holding.losers),
            )


def linked(vteps: Iterable[Vtep], holdings: Mapping[str, Holding]) -> list[Vtep]:
    """Return the VTEPs of nodes that are not lost, with the ports that have a link: not those that lose their spoke."""
    losers = {(loser.node, loser.port) for holding in holdings.values() for loser in holding.losers}
    return [
        replace(vtep, ports=tuple(port for port in vtep.ports if (vtep.node, port) not in losers))
        for vtep in vteps
        if not vtep.lost
    ]


def shared_macs(vteps: Iterable[Vtep], named: Named) -> Iterator[Fault]:
    """Yield the MAC addresses that several of the ports have; see ``linked`` for which disturb each other."""
    for mac, ports in same_mac(vteps).items():
        yield Fault(
            reason=MAC_SHARED,
            about=f"MAC address {mac}",
            message=f"MAC address {mac} is in use by {named([each.place for each in ports])}: "
            "give each interface its own",
            holders=ports,
        )


def too_large(vteps: Collection[Vtep], named: Named) -> Iterator[Fault]:
    """Yield one fault if interfaces send larger frames than all nodes can take."""
    least = least_mtu(vteps)
    large = tuple(holder for holder in holders(vteps) if least and holder.port.mtu > least)
    if large:
        node = next(vtep.node for vtep in vteps if vtep.takes_part and vtep.mtu == least)
        pods = named([f"{holder.place} has {holder.port.mtu}" for holder in large])
        yield Fault(
            reason="MtuTooLarge",
            about="MTU",
            message=f"MTU of the LAN is {least} bytes, as on node {node}, but {pods}: "
            f"restart these pods, or raise the MTU on node {node} (its underlay's, or spec.mtu)",
            holders=large,
        )


def too_small(lan: Lan, vteps: Iterable[Vtep], named: Named) -> Iterator[Fault]:
    """Yield one fault if underlays leave too little for IPv6, which hosts give up without a word; a wish is none."""
    small = sorted((vtep.mtu, vtep.node, vtep) for vtep in vteps if vtep.takes_part and 0 < vtep.mtu < LEAST_IPV6_MTU)
    if small and not (lan.mtu and lan.mtu < LEAST_IPV6_MTU):
        where = [f"{vtep.device or 'the underlay'} of node {node} (now {mtu} inside)" for mtu, node, vtep in small]
        needed = LEAST_IPV6_MTU + max(overhead(vtep.address.version if vtep.address else 4) for _, _, vtep in small)
        yield Fault(
            reason="MtuTooSmall",
            about="IPv6",
            message=f"IPv6 needs an MTU of {LEAST_IPV6_MTU} in the LAN, so one of {needed} at {named(where)}",
            ready=True,
        )


def bare(lan: Lan, named: Named) -> Iterator[Fault]:
    """Yield one fault if spokes have no resources, without which a VM there stays Pending."""
    if lan.bare:
        about = "nodes offer no more resources,"
        words = f"{about} so no VM can be on spokes {named(sorted(lan.bare))}: see --max-resources of k8slan install"
        yield Fault(reason="NoResources", about=about, message=words, ready=True)


def agents(vteps: Iterable[Vtep], named: Named) -> Iterator[Fault]:
    """Yield one fault for what is wrong with nodes' agents though the LAN works there."""
    said = {vtep.node: vtep.message for vtep in vteps if vtep.state == READY and vtep.message and not vtep.lost}
    if said:
        words = named([f"node {node}: {message}" for node, message in sorted(said.items())])
        yield Fault(reason="AgentTrouble", about="agents", message=f"agents have trouble: {words}", ready=True)


def remote_nodes(lan: Lan, vteps: Iterable[Vtep]) -> Iterator[Fault]:
    """Yield the remotes that are nodes of the cluster, which are sent to anyway: somebody has mistaken an address."""
    for field, remote, node in remotes_among(lan, {vtep.address: vtep.node for vtep in vteps}):
        yield Fault(
            reason="RemoteIsNode",
            about=field,
            message=f"{field} is {remote}, which is node {node}: name hosts outside the cluster alone",
            ready=True,
        )


def remotes_among(lan: Lan, nodes: Mapping[IpAddress | None, str]) -> Iterator[tuple[str, IpAddress, str]]:
    """Yield the remotes that are nodes, whose names are given by their addresses: field, address and name of each."""
    for position, remote in enumerate(lan.remotes):
        if node := nodes.get(remote):
            yield validate.remote_field(position), remote, node


def uplinks(lan: Lan, vteps: Collection[Vtep], named: Named) -> Iterator[Fault]:
    """Yield one fault if hardware cannot reach the LAN, as no NIC has a carrier; what else is wrong nodes say."""
    found = [uplink for vtep in vteps if not vtep.lost for uplink in vtep.uplinks]
    if found and not any(uplink.message or uplink.carrier for uplink in found):
        where = named([str(uplink) for uplink in lan.uplinks])
        message = f"no uplink has a carrier, so hardware does not reach the LAN: look at the cables of {where}"
        yield Fault(reason="NoUplink", about="no uplink", message=message, ready=True)


def removed(lan: Lan, vteps: Iterable[Vtep]) -> Iterator[Fault]:
    """Yield the ports that the LAN no longer offers: what was asked for is so, but for those who stay."""
    offered = offering(lan)
    for holder in holders(vteps):
        if offered(holder.port):
            continue
        what = f"spoke {holder.port.spoke}" if holder.port.spoke else "dynamic: true"
        yield Fault(
            reason="SpokeRemoved",
            about=what,
            message=f"{what} was taken out of the LAN, and {holder.place} still uses it: "
            "delete the pod when it may go, or put it into the LAN again",
            holders=(holder,),
            ready=True,
        )


def offering(lan: Lan) -> Callable[[VtepPort], bool]:
    """Return what tells whether a LAN has a place for a port: its spoke, or any number of pods."""
    spokes = frozenset(lan.spokes)
    return lambda port: port.spoke in spokes if port.spoke else lan.dynamic
