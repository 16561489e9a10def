"""What the agents find: each on its node, and all together on the network between their nodes."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from k8slan_cli import __version__
from k8slan_cli.cli.agents import Agents, namespace
from k8slan_cli.cli.doctor.cluster import unseen
from k8slan_cli.errors import K8slanError
from k8slan_cli.kube import apply
from k8slan_cli.kube.apply import Cluster
from k8slan_cli.lan.model import DEFAULT_PORT, Lan
from k8slan_cli.operate import exchange, protocol
from k8slan_cli.operate.client import Call
from k8slan_cli.operate.exchange import Reached, Site
from k8slan_cli.operate.protocol import FAIL, OK, WARN, Check, NodeFacts, Reach, UnderlayFacts

_CLOCKS_SECONDS = 1.0
"""How far nodes' clocks may be from each other."""
_SITES = 24
"""As many nodes at a time try to reach each other."""
_TRIAL_VNIS = range(0xFF0000, 0xFFFFFF)
_MANY = 5


@dataclass(frozen=True, slots=True)
class Way:
    """A way in which nodes carry LANs: a UDP port, a group or unicast, a device on each node; ``lan`` is one of them.

    Without a LAN it is the default, which the next LAN will have.
    """

    port: int
    lan: Lan | None = None

    def takes_part(self, node: str) -> bool:
        """Whether a node has anything to do with it."""
        return self.lan is None or any(entry.name == node for entry in self.lan.nodes)

    def on(self, node: str) -> Reach:
        """What to try on a node; its VNI and peers are still to be said."""
        if self.lan is None:
            return Reach(vni=1, port=self.port)
        return Reach(vni=1, port=self.port, device=self.lan.underlay_on(node) or "", group=self.lan.group)

    def __str__(self) -> str:
        group = f" to group {self.lan.group}" if self.lan and self.lan.group else ""
        return f"VXLAN at UDP port {self.port}{group}" + (f", as for LAN {self.lan.ref}" if self.lan else "")


def ways(lans: Iterable[Lan]) -> list[Way]:
    """The default, and each other way that a LAN has beside it, once."""
    found: dict[object, Way] = {(DEFAULT_PORT, None, (), None): Way(DEFAULT_PORT)}
    for lan in lans:
        found.setdefault((lan.port, lan.underlay, lan.underlays, lan.group), Way(lan.port, lan))
    return list(found.values())


# ---------------------------------------------------------------- nodes


def examine(agents: Agents, cluster: Cluster, tried: Sequence[Way]) -> tuple[dict[str, NodeFacts], tuple[Check, ...]]:
    """What each agent says of its node, and checks about the agents."""
    what, where, checks = "agents", namespace(), list[Check]()
    try:
        pods = agents.pods
        agents.token()
    except K8slanError as error:
        state = WARN if getattr(error, "status", 0) == 403 else FAIL
        return {}, (Check(what=what, state=state, words=error.message, advice=error.hint),)
    checks += _without_agent(cluster, set(pods))
    unreachable: dict[str, K8slanError] = {}
    clocks: dict[str, float] = {}

    def ask(node: str) -> NodeFacts:
        reaches = [way.on(node).encode() for way in tried if way.takes_part(node)]
        found = NodeFacts.decode(agents.ask(node, protocol.NODE, {"reaches": reaches}))
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
    return facts, (*checks, *versions(facts), *agreement(clocks))


def _without_agent(cluster: Cluster, there: set[str]) -> Iterator[Check]:
    """Nodes that pods may go to, without an agent."""
    try:
        nodes = cluster.objects(apply.NODE)
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


def between(agents: Agents, facts: Mapping[str, NodeFacts], tried: Sequence[Way], taken: set[int]) -> Iterator[Check]:
    """Whether nodes reach each other in every way; ``taken`` are the VNIs of LANs."""
    for way in tried:
        part = {node: _underlay(facts[node], way) for node in sorted(facts) if way.takes_part(node)}
        able = {node: underlay for node, underlay in part.items() if underlay and underlay.vtep}
        if len(able) < 2:
            continue
        vni = next(vni for vni in iter(lambda: secrets.choice(_TRIAL_VNIS), 0) if vni not in taken)
        try:
            found = [item for some in groups(list(able)) for item in _reach(agents, able, way, vni, some)]
        except K8slanError as error:
            yield Check(what=str(way), state=FAIL, words=error.message, advice=error.hint)
            continue
        yield from verdict(str(way), way.port, found, {underlay.mtu for underlay in able.values()})


def groups(nodes: Sequence[str]) -> list[list[str]]:
    """All nodes at once; of very many so many at a time, each group with a node of the one before."""
    if len(nodes) <= _SITES:
        return [list(nodes)]
    return [list(nodes[i : i + _SITES]) for i in range(0, len(nodes) - 1, _SITES - 1)]


def _underlay(facts: NodeFacts, way: Way) -> UnderlayFacts | None:
    return facts.underlays.get(way.on(facts.node).device)


def _reach(
    agents: Agents, underlays: Mapping[str, UnderlayFacts], way: Way, vni: int, nodes: Sequence[str]
) -> list[Reached]:
    """Have some nodes send to each other."""
    addresses = {node: address for node in nodes if (address := underlays[node].vtep)}

    def call(node: str) -> Call:
        peers = tuple(address for other, address in addresses.items() if other != node)
        reach = way.on(node)
        body = replace(reach, vni=vni, peers=() if reach.group else peers).encode()
        return agents.call(node, protocol.SESSION, {"reach": body})

    with contextlib.ExitStack() as stack:
        calls = agents.each(nodes, call)
        sites = [stack.enter_context(Site(f"node {node}", node, one)) for node, one in calls.items()]
        for site in sites:
            site.ready()
        return exchange.reach(sites)


def verdict(what: str, port: int, found: Sequence[Reached], mtus: set[int]) -> Iterator[Check]:
    """What frames between nodes say of the network that carries them."""
    silent = [r for r in found if not r.small and not r.full]
    narrow = [r for r in found if r.small and not r.full]
    lossy = [r for r in found if 0 < r.small < r.sent or 0 < r.full < r.sent]
    if silent:
        advice = f"a firewall drops UDP {port}: on the nodes (nft list ruleset), or between them (security groups)"
        yield Check(what=what, state=FAIL, words=f"nothing gets {_pairs(silent, found)}", advice=advice)
    if narrow:
        advice = "something on the way carries less than the nodes' devices say: raise its MTU, or set spec.mtu lower"
        words = f"only small frames get {_pairs(narrow, found)}, none of full size"
        yield Check(what=what, state=FAIL, words=words, advice=advice)
    if lossy:
        words = f"some frames are lost {_pairs(lossy, found)}"
        yield Check(what=what, state=WARN, words=words, advice="is the network, or a node, overloaded?")
    if len(mtus) > 1:
        words = f"nodes have underlays of MTU {', '.join(map(str, sorted(mtus)))}: LANs differ from node to node"
        advice = f"set spec.mtu of LANs to what all have, or give all underlays the same MTU of {max(mtus)}"
        yield Check(what="MTU", state=WARN, words=words, advice=advice)
    if not (silent or narrow or lossy) and found:
        nodes = {r.src for r in found}
        words = f"{len(nodes)} nodes reach each other, with frames of full size"
        yield Check(what=what, state=OK, words=words)


def _pairs(bad: Sequence[Reached], found: Sequence[Reached]) -> str:
    """``from a to b, …``; nodes that are cut off altogether by their own names."""
    if len(bad) == len(found):
        return "from any node to any other"
    words: list[str] = []
    rest = list(bad)
    for end, of in (("to", "dst"), ("from", "src")):
        for node in sorted({getattr(r, of) for r in rest}):
            mine = [r for r in found if getattr(r, of) == node]
            if len(mine) > 1 and all(r in rest for r in mine):
                words.append(f"{end} {node}")
                rest = [r for r in rest if r not in mine]
    words += [f"from {r.src} to {r.dst}" for r in rest]
    more = f" and {len(words) - _MANY} more" if len(words) > _MANY else ""
    return ", ".join(words[:_MANY]) + more
