"""What the agents find: each on its node, and all together on the network between their nodes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from k8slan_cli import __version__
from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.agents import Agents, namespace
from k8slan_cli.diagnose.between import VxlanPath, groups, trial, verdict
from k8slan_cli.diagnose.cluster import unseen
from k8slan_cli.diagnose.protocol import FAIL, OK, WARN, Check, NodeFacts, UnderlayFacts
from k8slan_cli.errors import Invalid, K8slanError
from k8slan_cli.kube import apply, kinds
from k8slan_cli.kube.apply import Cluster
from k8slan_cli.lan.model import Lan
from k8slan_cli.plan.occupancy import Occupancy, some

_CLOCKS_SECONDS = 1.0
"""How far nodes' clocks may be from each other."""
_MANY = 5


# ---------------------------------------------------------------- nodes


def examine(
    agents: Agents, cluster: Cluster, tried: Sequence[VxlanPath], lans: Sequence[tuple[Lan, Occupancy]]
) -> tuple[dict[str, NodeFacts], tuple[Check, ...]]:
    """What each agent says of its node, and checks about the agents."""
    what, where, checks = "agents", namespace(), list[Check]()
    try:
        pods = agents.pods
        agents.token()
    except K8slanError as error:
        state = WARN if getattr(error, "status", 0) == 403 else FAIL
        return {}, (Check(what=what, state=state, words=error.message, advice=" ".join(error.hint.split())),)
    checks += _nodes(cluster, set(pods), [lan for lan, _ in lans])
    idle = [lan for lan, on in lans if not on.nodes]
    unreachable: dict[str, K8slanError] = {}
    clocks: dict[str, float] = {}

    def ask(node: str) -> NodeFacts:
        own = [way.on(node) for way in tried if way.takes_part(node) or way.names(node)]
        others = [VxlanPath(lan.port, lan).on(node) for lan in idle if names_device(lan)]
        reaches = [reach.encode() for reach in dict.fromkeys((*own, *others))]
        found = NodeFacts.decode(agents.ask(node, protocol.NODE, {"reaches": reaches}))
        found = _without(found, {reach.device for reach in others} - {reach.device for reach in own})
        clocks[node] = found.time / 1e9 - time.time()
        return found

    try:
        facts = agents.each(pods, ask, unreachable=unreachable)
    except K8slanError as error:
        return {}, (*checks, unseen(what, error))
    for failure in unreachable.values():
        advice = failure.hint or f"see: kubectl -n {where} get pods -o wide, and kubectl -n {where} logs POD"
        checks.append(Check(what=what, state=FAIL, words=failure.message, advice=advice))
    if facts and not unreachable:
        checks.insert(0, Check(what=what, state=OK, words=f"{len(facts)} agents answer"))
    checks += [*versions(facts), *agreement(clocks), *nowhere({} if unreachable else facts, idle), *unfit(facts, idle)]
    return facts, tuple(checks)


def _without(facts: NodeFacts, devices: set[str]) -> NodeFacts:
    """The same without a word about devices that a node need not have."""
    unneeded = {f"underlay {device}" for device in devices - facts.underlays.keys()}
    return replace(facts, checks=tuple(check for check in facts.checks if check.what not in unneeded))


def names_device(lan: Lan) -> bool:
    """Whether a LAN says which device carries it, which may be on no node."""
    return bool(lan.underlay or lan.underlays)


def nowhere(facts: Mapping[str, NodeFacts], idle: Iterable[Lan]) -> Iterator[Check]:
    """LANs that nobody is on yet, and whose underlay device is on no node: a slip of the pen, most likely.

    ``facts`` are those of all nodes, or none.
    """
    for lan in idle:
        if facts and names_device(lan) and not any(_underlay(found, lan) for found in facts.values()):
            words = (
                f"LAN {lan.ref} wants the underlay device {lan.underlay or lan.underlays[0][1]}, which is on no node"
            )
            advice = "correct its spec.defaultVxlanDev or spec.vxlanDevMap"
            yield Check(what="underlay", state=FAIL, words=words, advice=advice)


def unfit(facts: Mapping[str, NodeFacts], idle: Iterable[Lan]) -> Iterator[Check]:
    """LANs that nobody is on yet, and whose MTU is more than underlays carry: pods would be refused there."""
    for lan in idle:
        there = {node: underlay for node, found in sorted(facts.items()) if (underlay := _underlay(found, lan))}
        wrong = {node: words for node, underlay in there.items() if (words := _misfit(lan, underlay))}
        if wrong:
            words = f"LAN {lan.ref} cannot be had on {some(wrong)}: {next(iter(wrong.values()))}"
            state = FAIL if len(wrong) == len(there) else WARN
            advice = "correct its spec.mtu, or raise the MTU of the underlay"
            yield Check(what="MTU", state=state, words=words, advice=advice)


def _misfit(lan: Lan, underlay: UnderlayFacts) -> str:
    """Why a LAN cannot be had over an underlay, in the words of the agents; "" if it can."""
    from k8slan_cli.plan.desired import lan_mtu
    from k8slan_cli.plan.state import Underlay

    address = lan.group or underlay.vtep
    try:
        if address:
            device = Underlay(name=underlay.device, index=0, mtu=underlay.mtu, up=underlay.up)
            lan_mtu(lan, device, address.version)
    except Invalid as error:
        return "; ".join(map(str, error.problems))
    return ""


def _nodes(cluster: Cluster, there: set[str], lans: Iterable[Lan]) -> Iterator[Check]:
    """Nodes that pods may go to without an agent (those with one are ``there``), and nodes that only LANs know."""
    try:
        nodes = cluster.objects(kinds.NODES)
    except K8slanError as error:
        yield unseen("nodes", error)
        return
    down = [n for n in nodes if apply.conditions(n).get("Ready", {}).get("status") != "True"]
    for node in down:
        words = f"node {node['metadata']['name']} is not ready"
        yield Check(what="nodes", state=WARN, words=words, advice=f"kubectl describe node {node['metadata']['name']}")
    open_to_pods = {n["metadata"]["name"] for n in nodes if not (n.get("spec") or {}).get("unschedulable")}
    for name in sorted(open_to_pods - there):
        words = f"node {name} takes pods, but has no agent: they cannot attach there"
        advice = "does the DaemonSet k8slan-node-agent lack a toleration, or its node selector leave the node out?"
        yield Check(what="agents", state=WARN, words=words, advice=advice)
    known = {name for node in nodes for name in apply.node_names(node)}
    for lan in lans:
        devices, uplinks = {node for node, _ in lan.underlays}, {uplink.node for uplink in lan.uplinks}
        for field, what, named in (("vxlanDevMap", "underlay device", devices), ("uplinks", "uplink", uplinks)):
            if unknown := sorted(named - known):
                words = f"LAN {lan.ref} names an {what} of {some(unknown)}: there is no such node"
                yield Check(what="nodes", state=WARN, words=words, advice=f"correct its spec.{field}")


def versions(facts: Mapping[str, NodeFacts]) -> Iterator[Check]:
    """Whether agents are of the same version as this command."""
    others = sorted({f"{found.version} on {node}" for node, found in facts.items() if found.version != __version__})
    if others:
        words = f"this k8slan is {__version__}, but agents are {', '.join(others[:_MANY])}"
        yield Check(what="versions", state=WARN, words=words, advice="k8slan install brings the cluster up to date")
    elif facts:
        yield Check(what="versions", state=OK, words=f"all agents are {__version__}, as this is")


def agreement(clocks: Mapping[str, float]) -> Iterator[Check]:
    """``clocks`` says how far each node's clock is ahead of this machine's, in seconds."""
    if len(clocks) < 2:
        return

    middle = median(clocks.values())
    off = {node: ahead - middle for node, ahead in clocks.items() if abs(ahead - middle) > _CLOCKS_SECONDS}
    if not off:
        spread = max(clocks.values()) - min(clocks.values())
        yield Check(what="clocks", state=OK, words=f"nodes' clocks agree within {max(spread, 0.01):.2f} s")
    for node, ahead in sorted(off.items()):
        words = f"that of node {node} is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the others"
        yield Check(what="clocks", state=WARN, words=words, advice="synchronise it by NTP (chrony, systemd-timesyncd)")


# ---------------------------------------------------------------- between nodes


def between(
    agents: Agents, facts: Mapping[str, NodeFacts], tried: Sequence[VxlanPath], taken: set[int]
) -> Iterator[Check]:
    """Whether nodes reach each other in every way; ``taken`` are the VNIs of LANs."""
    for way in tried:
        part = {node: _underlay(facts[node], way.lan) for node in sorted(facts) if way.takes_part(node)}
        able = {node: underlay for node, underlay in part.items() if underlay}
        vteps = {node: underlay.vtep for node, underlay in able.items() if underlay.vtep}
        if len(vteps) < 2:
            continue
        try:
            found = [item for some in groups(list(vteps)) for item in trial(agents, way, vteps, some, taken)]
        except K8slanError as error:
            yield Check(what=str(way), state=FAIL, words=error.message, advice=error.hint)
            continue
        if checks := tuple(verdict(way, found)):
            yield from checks
        else:
            words = f"{len(vteps)} nodes reach each other, with frames of full size"
            yield Check(what=str(way), state=OK, words=words)
        yield from sizes({able[node].mtu for node in vteps})


def sizes(mtus: set[int]) -> Iterator[Check]:
    """Whether underlays are of different MTUs, of which a LAN has the least."""
    if len(mtus) > 1:
        words = f"nodes have underlays of MTU {', '.join(map(str, sorted(mtus)))}: a LAN has what the least allows"
        advice = f"give all underlays the same MTU of {max(mtus)}, or set spec.mtu of LANs to what all allow"
        yield Check(what="MTU", state=WARN, words=words, advice=advice)


def _underlay(facts: NodeFacts, lan: Lan | None) -> UnderlayFacts | None:
    return facts.underlays.get((lan and lan.underlay_on(facts.node)) or "")
