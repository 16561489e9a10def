"""What is wrong with a LAN, as its conditions and the events of pods say it: pure, from one LAN's ``View``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from k8slan_cli.controller.view import View, some
from k8slan_cli.errors import Problem
from k8slan_cli.kube.status import MAX_NODE_MESSAGE, NodeTrouble
from k8slan_cli.lan import faults, validate, vnis
from k8slan_cli.lan.faults import Fault
from k8slan_cli.lan.model import INVALID, Lan
from k8slan_cli.lan.vtep import READY, holdings


def found(view: View, foreign: Collection[str]) -> tuple[Fault, ...]:
    """Return all that is wrong, the worst first; ``foreign`` are NADs that are in the way."""
    return tuple(_found(view, foreign))


def _found(view: View, foreign: Collection[str]) -> Iterator[Fault]:
    lan = view.found.lan
    if lan is None:
        yield Fault(reason=INVALID, message=listed(view.found.problems))
    if view.failure:
        yield Fault(reason="Refused", message=view.failure)
    if foreign:
        words = f"not made by k8slan, so left alone, but in the way: {some(sorted(foreign))}"
        yield Fault(reason="ForeignNAD", message=words)
    if view.lan and not view.lan.vni and not view.found.deleting:
        words = f"no VNI of {vnis.shown(view.allotting)} is free: delete a LAN, or see --vni-range of k8slan install"
        yield Fault(reason="NoVNI", message=words)
    claims = holdings(view.vteps)
    yield from faults.shared_spokes(claims, ", ".join)
    yield from faults.shared_macs(faults.linked(view.vteps, claims), ", ".join)
    if bad := degraded(view):
        yield Fault(reason="NodesDegraded", message=some(list(map(str, bad)), "; "))
    yield from faults.too_large(view.vteps, some)
    if view.lan:
        yield from faults.bare(view.lan, some)
    yield from faults.agents(view.vteps, some)
    if lan and not view.clashes:
        yield from faults.removed(lan, view.vteps)
        yield from faults.too_small(lan, view.vteps, some)
        yield from faults.remote_nodes(lan, view.vteps)
        yield from faults.uplinks(lan, view.vteps, some)
        yield from _uplinks_of_no_node(lan, view.nodes)


def _uplinks_of_no_node(lan: Lan, nodes: Collection[str]) -> Iterator[Fault]:
    """Yield the uplinks of nodes that are not there, as far as it is known which are: no agent says so."""
    for position, uplink in enumerate(lan.uplinks):
        if nodes and uplink.node not in nodes:
            field = f"{validate.uplink_field(position)}.node"
            message = (
                f"{field}: the cluster has no node {uplink.node}: see kubectl get nodes, and name one, or take it out"
            )
            yield Fault(reason="UplinkNodeMissing", about=f"{field}:", message=message, ready=True)


def degraded(view: View) -> tuple[NodeTrouble, ...]:
    """Return the nodes on which the LAN is not as specified, by name."""
    said = [(vtep.node, vtep.state, vtep.message) for vtep in view.vteps]
    said += [(entry.name, entry.state, entry.message) for entry in view.entries]
    return tuple(
        NodeTrouble(name=node, message=(message or state)[:MAX_NODE_MESSAGE])
        for node, state, message in sorted(said)
        if state not in ("", READY)
    )


def listed(problems: Iterable[Problem]) -> str:
    """Return problems as one message."""
    return some([str(problem) for problem in problems], "; ")
