"""A probe of a LAN that is in use: which attachments take part, in which order, and what became of their frames."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.exchange import Site, Way
from k8slan_cli.errors import AbsentError, K8slanError, UsageError
from k8slan_cli.inventory import lans, occupancy
from k8slan_cli.kube.client import MissingError
from k8slan_cli.lan import faults

if TYPE_CHECKING:
    from k8slan_cli.diagnose.agents import Agents, Attachments
    from k8slan_cli.diagnose.protocol import Plugged
    from k8slan_cli.kube.apply import Cluster
    from k8slan_cli.lan.vtep import Vtep
    from k8slan_cli.plan.occupancy import Occupant

MOST = 6
"""As many attachments are probed by themselves: fifteen pairs, a few seconds."""
_MANY, _ABREAST = MOST * (MOST - 1) // 2, 8
"""Of more pairs than that, so many are probed at a time."""


Pair = tuple["Plugged", "Plugged"]


# ---------------------------------------------------------------- what to probe


def attached(agents: Agents, cluster: Cluster, namespace: str, name: str) -> tuple[Attachments, list[str]]:
    """Who is attached to a LAN, and what there is to say about it.

    Its VTEPs say which nodes take part. Without the right to see it or them, all agents are asked.
    """
    notes: list[str] = []
    vteps: Sequence[Vtep] = ()
    nodes: list[str] | None = None
    socket = name
    idle: list[Occupant] = []
    try:
        lan = lans.one(cluster, namespace, name)
    except MissingError as error:
        if error.status != 403:
            raise
    else:
        if lan.lan and lan.lan.spokes and not lan.lan.dynamic:
            socket = f"{name}/{lan.lan.spokes[0]}"
        users = occupancy.read(cluster, [lan], waiting=False)
        on = users.of(lan)
        idle = [item for item in on.attached if item.idle]
        vteps, nodes = on.vteps, None if users.blind else [vtep.node for vtep in on.nodes]
        notes += [fault.message for fault in on.faults if fault.reason in (faults.SPOKE_SHARED, faults.MAC_SHARED)]
    seen = agents.plugged(f"{namespace}/{name}", nodes).with_vms(vteps).without(item.plug for item in idle)
    notes += [
        f"{item.place} is left out: the VM migrates, and runs on node {item.end.other}" for item in idle if item.end
    ]
    notes += [f"node {node} is left out: {error.message}" for node, error in seen.unreachable.items()]
    if not seen.items and not seen.unreachable:
        raise AbsentError(
            f"LAN {namespace}/{name} has no attachments",
            hint=f"to print a pod for it: k8slan lan example pod {socket} -n {namespace}",
        )
    return seen, notes


def choose(seen: Attachments, space: str, src: str, dst: str, *, everything: bool) -> tuple[list[Pair], list[str]]:
    """The pairs to probe, and what there is to say about the choice.

    Raises:
        AbsentError: an end is not attached, or there is no second one.

    """
    notes = [f"{item.name} has its link down (k8slan lan link)" for item in seen.items if not item.up]
    ends = [seen.named(text, space) for text in (src, dst) if text]
    if len(ends) == 2:
        if ends[0] == ends[1]:
            raise UsageError(f"--from and --to are both {ends[0].name}")
        return [(ends[0], ends[1])], notes
    if len(seen.items) < 2:
        known = f" but {seen.items[0].name}" if seen.items else ""
        raise AbsentError(
            f"there are no attachments on the LAN{known}{seen.blind}", hint="a probe takes two attachments"
        )
    items, words = spread(seen.items, ends[0] if ends else None, len(seen.items) if everything else MOST)
    notes += words
    if ends:
        return [(ends[0], other) if src else (other, ends[0]) for other in items if other != ends[0]], notes
    return list(itertools.combinations(items, 2)), notes


def spread(items: Sequence[Plugged], first: Plugged | None, most: int) -> tuple[list[Plugged], list[str]]:
    """Not more than ``most`` of them, of as many nodes and kinds as can be; ``first`` is among them."""
    if len(items) <= most:
        return list(items), []
    groups: dict[tuple[str, str], list[Plugged]] = {}
    once = {item.pod or item.container: item for item in reversed(items)}.values()
    for item in dict.fromkeys([*reversed(once), *items]):  # different pods rather than several interfaces of one
        groups.setdefault((item.node, item.kind), []).append(item)
    in_turn = (item for turn in itertools.zip_longest(*groups.values()) for item in turn if item)
    chosen = list(dict.fromkeys([*([first] if first else []), *in_turn]))[:most]
    words = f"{len(chosen)} of {len(items)} attachments are probed, of every node and kind if they suffice"
    return [item for item in items if item in chosen], [f"{words} (k8slan lan probe --all: all)"]


def open_sites(stack: contextlib.ExitStack, agents: Agents, wanted: Sequence[Plugged]) -> dict[Any, Site]:
    """A session at each place, ready.

    Raises:
        K8slanError: there is none to be had at one of them.

    """
    agents.token()  # once, before several threads want it
    by_name = {item.name: item for item in wanted}
    calls = agents.each(
        by_name,
        lambda name: agents.call(
            by_name[name].node,
            protocol.SESSION,
            {"place": {"container": by_name[name].container, "ifname": by_name[name].ifname}},
        ),
    )
    sites = {
        by_name[name].place: stack.enter_context(Site(name, by_name[name].node, call)) for name, call in calls.items()
    }
    for site in sites.values():
        site.ready()
    return sites


# ---------------------------------------------------------------- probing


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of pairs: ``faults`` are those that could not be probed, ``interrupted`` says how far it came."""

    ways: list[Way]
    faults: list[str]
    interrupted: str = ""


def across(
    pairs: Sequence[Pair],
    cross: Callable[[Plugged, Plugged], tuple[Way, Way]],
    called: Callable[[Plugged], str],
    progress: Callable[[str], None],
) -> Outcome:
    """Probe pairs until Ctrl-C: one after the other, so that none disturbs the times of another.

    Of very many, several at a time, but at no attachment more than one.
    """
    results: dict[Pair, tuple[Way, Way]] = {}
    faults: list[str] = []
    begun, done, interrupted = time.monotonic(), 0, ""
    abreast = _ABREAST if len(pairs) > _MANY else 1
    pool = ThreadPoolExecutor(abreast)
    try:
        for together in _rounds(pairs, abreast):
            left = f", {_duration((time.monotonic() - begun) / done * (len(pairs) - done))} left" if done else ""
            progress(f"{done + 1} of {len(pairs)}{left}: {called(together[0][0])} and {called(together[0][1])}")
            for (a, b), future in [(pair, pool.submit(cross, *pair)) for pair in together]:
                try:
                    results[a, b] = future.result()
                except K8slanError as error:
                    faults.append(f"{called(a)} and {called(b)}: {error}")
                done += 1
    except KeyboardInterrupt:
        interrupted = f"interrupted after {done} of {len(pairs)} pairs"
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    progress("")
    ways = list(itertools.chain.from_iterable(results[pair] for pair in pairs if pair in results))
    return Outcome(ways=ways, faults=faults, interrupted=interrupted)


def _rounds(pairs: Sequence[Pair], abreast: int) -> Iterator[list[Pair]]:
    """All pairs, so many at a time at the most, none of which share an end."""
    left = list(pairs)
    while left:
        chosen: list[Pair] = []
        busy: set[Plugged] = set()
        later: list[Pair] = []
        for pair in left:
            if len(chosen) == abreast or not busy.isdisjoint(pair):
                later.append(pair)
            else:
                chosen.append(pair)
                busy.update(pair)
        yield chosen
        left = later


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def document(name: str, space: str, ways: Sequence[Way], faults: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "lan": f"{space}/{name}",
        "passed": not faults and all(way.ok for way in ways),
        "paths": [
            {
                "from": way.src,
                "to": way.dst,
                "fromNode": way.nodes[0],
                "toNode": way.nodes[1],
                "passed": way.ok,
                "classes": [
                    {
                        "class": result.key,
                        "verdict": result.verdict.value,
                        "sent": result.sent,
                        "arrived": result.arrived,
                        "latencyMicroseconds": None if result.latency is None else round(result.latency, 1),
                        "detail": result.detail,
                    }
                    for result in way.results
                ],
            }
            for way in ways
        ],
        "notProbed": list(faults),
        "notes": list(notes),
    }
