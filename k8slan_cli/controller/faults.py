"""What is wrong with a LAN, as its conditions and the events of pods say it: pure, from one LAN's ``View``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from k8slan_cli.controller.view import View, some
from k8slan_cli.errors import Problem
from k8slan_cli.kube.status import MAX_NODE_MESSAGE, NodeTrouble
from k8slan_cli.lan import vtep as lan_vtep
from k8slan_cli.lan.model import Lan
from k8slan_cli.lan.vtep import READY, Holder, Holding, Vtep, VtepPort


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
        sentences = (each for each in text.split("; ") if each.startswith(f"{self.about} "))
        return any(place(holder) in sentence for sentence in sentences)


def found(view: View, foreign: Collection[str]) -> tuple[Fault, ...]:
    """Return all that is wrong, the worst first; ``foreign`` are NADs that are in the way."""
    return tuple(_found(view, foreign))


def _found(view: View, foreign: Collection[str]) -> Iterator[Fault]:
    lan = view.found.lan
    if lan is None:
        yield Fault(reason="Invalid", message=listed(view.found.problems))
    if view.failure:
        yield Fault(reason="Refused", message=view.failure)
    if foreign:
        words = f"not made by k8slan, so left alone, but in the way: {some(sorted(foreign))}"
        yield Fault(reason="ForeignNAD", message=words)
    holdings = lan_vtep.holdings(view.vteps)
    yield from _shared_spokes(holdings)
    losers = {(loser.node, loser.port.name) for holding in holdings.values() for loser in holding.losers}
    yield from _shared_macs(view.vteps, losers)
    if bad := degraded(view):
        yield Fault(reason="NodesDegraded", message=some(list(map(str, bad)), "; "))
    yield from _too_large(view.vteps)
    if lan and not view.clashes:
        yield from _removed(lan, view.vteps)


def degraded(view: View) -> tuple[NodeTrouble, ...]:
    """Return the nodes on which the LAN is not as specified, by name."""
    said = [(vtep.node, vtep.state, vtep.message) for vtep in view.vteps]
    said += [(entry.name, entry.state, entry.message) for entry in view.entries]
    return tuple(
        NodeTrouble(name=node, message=(message or state)[:MAX_NODE_MESSAGE])
        for node, state, message in sorted(said)
        if state not in ("", READY)
    )


def place(holder: Holder) -> str:
    """Return who is plugged in, where and by which interface: ``pod lab/router on node worker1 (net1)``."""
    return f"{holder.who} ({holder.port.interface})"


def listed(problems: Iterable[Problem]) -> str:
    """Return problems as one message."""
    return some([str(problem) for problem in problems], "; ")


# ---------------------------------------------------------------- ports


def _shared_spokes(holdings: Mapping[str, Holding]) -> Iterator[Fault]:
    for spoke, holding in holdings.items():
        if holding.losers:
            holders, losers = (", ".join(map(place, each)) for each in (holding.holders, holding.losers))
            yield Fault(
                reason="SpokeShared",
                about=f"spoke {spoke}",
                message=f"spoke {spoke} is held by {holders}, so there is no link for {losers}: delete all but one",
                holders=(*holding.holders, *holding.losers),
            )


def _shared_macs(vteps: Iterable[Vtep], losers: Collection[tuple[str, str]]) -> Iterator[Fault]:
    """Yield the MAC addresses that several live ports have: not those of lost nodes, nor of ports without a link."""
    for mac, all_holders in lan_vtep.same_mac(vtep for vtep in vteps if not vtep.lost).items():
        holders = tuple(holder for holder in all_holders if (holder.node, holder.port.name) not in losers)
        if len(holders) < 2:
            continue
        yield Fault(
            reason="MacShared",
            about=f"MAC address {mac}",
            message=f"MAC address {mac} is in use by {', '.join(map(place, holders))}: give each interface its own",
            holders=holders,
        )


def _too_large(vteps: Iterable[Vtep]) -> Iterator[Fault]:
    """Yield one fault if interfaces send larger frames than all nodes can take."""
    vteps = [vtep for vtep in vteps if vtep.ports]
    least = lan_vtep.least_mtu(vteps)
    large = [holder for holder in _ports(vteps) if least and holder.port.mtu > least]
    if large:
        node = next(vtep.node for vtep in vteps if vtep.mtu == least)
        pods = some([f"{place(holder)} has {holder.port.mtu}" for holder in large])
        yield Fault(
            reason="MtuTooLarge",
            about="MTU",
            message=f"MTU of the LAN is {least} bytes, as on node {node}, but {pods}: "
            f"restart these pods, or raise the MTU on node {node} (its underlay's, or spec.mtu)",
            holders=tuple(large),
        )


def _removed(lan: Lan, vteps: Iterable[Vtep]) -> Iterator[Fault]:
    """Yield the ports on spokes that the LAN has no longer: what was asked for is so, but for those who stay."""
    spokes = set(lan.spokes)
    for holder in _ports(vteps):
        if _offered(lan, spokes, holder.port):
            continue
        what = f"spoke {holder.port.spoke}" if holder.port.spoke else "dynamic: true"
        yield Fault(
            reason="SpokeRemoved",
            about=what,
            message=f"{what} was taken out of the LAN, and {place(holder)} still uses it: "
            "delete the pod when it may go, or put it into the LAN again",
            holders=(holder,),
            ready=True,
        )


def _offered(lan: Lan, spokes: Collection[str], port: VtepPort) -> bool:
    return port.spoke in spokes if port.spoke else lan.dynamic


def _ports(vteps: Iterable[Vtep]) -> Iterator[Holder]:
    return (
        Holder(node=vtep.node, port=port, claim=vtep.claim_of(port))
        for vtep in sorted(vteps, key=lambda vtep: vtep.node)
        for port in vtep.ports
    )
