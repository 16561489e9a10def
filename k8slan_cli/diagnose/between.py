"""Whether nodes reach each other as their LANs would have them: by VXLAN frames, small ones and those of full size."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from k8slan_cli.diagnose import exchange, protocol
from k8slan_cli.diagnose.agents import Agents
from k8slan_cli.diagnose.client import Call
from k8slan_cli.diagnose.exchange import Reached, Site
from k8slan_cli.diagnose.protocol import FAIL, WARN, Check, Reach
from k8slan_cli.lan.model import DEFAULT_PORT, IpAddress, Lan
from k8slan_cli.plan.occupancy import Occupancy

SITES = 24
"""As many nodes at a time try to reach each other."""
_TRIAL_VNIS = range(0xFF0000, 0xFFFFFF)
_MANY = 5


@dataclass(frozen=True, slots=True)
class VxlanPath:
    """A way in which nodes carry LANs: a UDP port, a group or unicast, a device on each node; ``lan`` is one of them.

    Without a LAN it is the default, which the next LAN will have. ``nodes`` are those that take part in such LANs.
    """

    port: int
    lan: Lan | None = None
    nodes: frozenset[str] = frozenset()

    def takes_part(self, node: str) -> bool:
        """Whether a node has anything to do with it."""
        return self.lan is None or node in self.nodes

    def names(self, node: str) -> bool:
        """Whether the LAN names a device of this very node."""
        return self.lan is not None and any(name == node for name, _ in self.lan.underlays)

    def on(self, node: str) -> Reach:
        """What to try on a node; its VNI and peers are still to be said."""
        if self.lan is None:
            return Reach(vni=1, port=self.port)
        device = self.lan.underlay_on(node) or ""
        return Reach(vni=1, port=self.port, device=device, group=self.lan.group, ttl=self.lan.ttl)

    def __str__(self) -> str:
        group = f" to group {self.lan.group}" if self.lan and self.lan.group else ""
        return f"VXLAN at UDP port {self.port}{group}" + (f", as for LAN {self.lan.ref}" if self.lan else "")


def ways(lans: Iterable[tuple[Lan, Occupancy]]) -> list[VxlanPath]:
    """The default, and each other way that LANs have beside it, once, with the nodes of all that have it."""
    found: dict[object, VxlanPath] = {(DEFAULT_PORT, None, (), None, 0): VxlanPath(DEFAULT_PORT)}
    for lan, on in lans:
        key = (lan.port, lan.underlay, lan.underlays, lan.group, lan.ttl)
        way = found.setdefault(key, VxlanPath(lan.port, lan))
        found[key] = replace(way, nodes=way.nodes.union(vtep.node for vtep in on.nodes))
    return list(found.values())


def groups(nodes: Sequence[str]) -> list[list[str]]:
    """All nodes at once; of very many so many at a time, each group with a node of the one before."""
    if len(nodes) <= SITES:
        return [list(nodes)]
    return [list(nodes[i : i + SITES]) for i in range(0, len(nodes) - 1, SITES - 1)]


def trial(
    agents: Agents, way: VxlanPath, vteps: Mapping[str, IpAddress], nodes: Sequence[str], taken: Container[int]
) -> list[Reached]:
    """Have some nodes, whose addresses are ``vteps``, send to each other; ``taken`` are the VNIs of LANs.

    Raises:
        K8slanError: a node's agent does not take part.

    """
    vni = next(vni for vni in iter(lambda: secrets.choice(_TRIAL_VNIS), 0) if vni not in taken)

    def call(node: str) -> Call:
        peers = tuple(vteps[other] for other in nodes if other != node)
        reach = way.on(node)
        body = replace(reach, vni=vni, peers=() if reach.group else peers).encode()
        return agents.call(node, protocol.SESSION, {"reach": body})

    with contextlib.ExitStack() as stack:
        calls = agents.each(nodes, call)
        sites = [stack.enter_context(Site(f"node {node}", node, one)) for node, one in calls.items()]
        for site in sites:
            site.ready()
        return exchange.reach(sites)


def verdict(way: VxlanPath, found: Sequence[Reached]) -> Iterator[Check]:
    """What is wrong with the network that carries a trial's frames, or nothing."""
    what = str(way)
    silent = [r for r in found if not r.small and not r.full]
    narrow = [r for r in found if r.small and not r.full]
    lossy = [r for r in found if 0 < r.small < r.sent or 0 < r.full < r.sent]
    if silent:
        advice = f"a firewall drops UDP {way.port}: on the nodes (nft list ruleset), or between them (security groups)"
        yield Check(what=what, state=FAIL, words=f"nothing gets {_pairs(silent, found)}", advice=advice)
    if narrow:
        advice = "something on the way carries less than the nodes' devices say: raise its MTU, or set spec.mtu lower"
        words = f"only small frames get {_pairs(narrow, found)}, none of full size"
        yield Check(what=what, state=FAIL, words=words, advice=advice)
    if lossy:
        words = f"some frames are lost {_pairs(lossy, found)}"
        yield Check(what=what, state=WARN, words=words, advice="is the network, or a node, overloaded?")


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
