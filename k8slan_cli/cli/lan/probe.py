"""``k8slan lan probe``: every class of frames between attachments of a LAN that is in use."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import Exit
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan import output as out

if TYPE_CHECKING:
    from k8slan_cli.diagnose.agents import Agents, Attachments
    from k8slan_cli.diagnose.exchange import Site, Way
    from k8slan_cli.diagnose.protocol import Plugged
    from k8slan_cli.lan.vtep import Vtep
    from k8slan_cli.plan.occupancy import Occupant

MOST = 6
"""As many attachments are probed by themselves: fifteen pairs, a few seconds."""
_WIDE = 4
"""As many ways get a column each."""
_MANY, _ABREAST = MOST * (MOST - 1) // 2, 8
"""Of more pairs than that, so many are probed at a time."""


@in_cluster
def probe(
    here: Here,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The LAN.", autocompletion=completion.lans)],
    src: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="POD[:IFACE]",
            help="Only pairs with this pod, VM or spoke; frames go both ways.",
            autocompletion=completion.pods,
        ),
    ] = "",
    dst: Annotated[
        str,
        typer.Option("--to", metavar="POD[:IFACE]", help="The other end of the pair.", autocompletion=completion.pods),
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", help=f"All pairs, also of more than {MOST} attachments.")
    ] = False,
    count: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Frames of each class, each way.")] = 3,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="KEY", help="Only this class; repeatable.", autocompletion=completion.frame_classes
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Probe again and again, until Ctrl-C.")] = False,
    output: out.Option = "table",
) -> None:
    """Send every class of frames between attachments of a LAN, and say what became of them.

    The nodes' agents send and listen at the pods' own interfaces; nothing runs in the pods. No host acts on the frames,
    so a LAN can be probed while it is in use. Exit status 1 if a class fails.

    Examples:
      # Between two pods
      k8slan lan probe blue --from router --to firewall

      # One class, between all
      k8slan lan probe blue --all --class lacp

      # What passes while something is changed
      k8slan lan probe blue -w
    """
    from k8slan_cli.diagnose import exchange
    from k8slan_cli.diagnose.agents import Agents

    wanted = out.Output.read(output, named=False)
    here, name = here.lan(name)
    keys = _keys(classes or [])
    agents = Agents(here.cluster)
    seen, notes = attached(agents, here, name)
    pairs, more = choose(seen, here.namespace, src, dst, everything=everything)
    notes += more
    ends = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
    with contextlib.ExitStack() as stack:
        sites = open_sites(stack, agents, ends)
        while True:
            found = across(
                pairs,
                lambda a, b: exchange.cross(sites[a.place], sites[b.place], keys, count),
                lambda item: short(item, here),
            )
            said = [*notes, found.interrupted] if found.interrupted else notes
            if wanted.for_programs:
                typer.echo(wanted.text(document(name, here.namespace, found.ways, found.faults, said)), nl=False)
            else:
                lines = report(found.ways, found.faults, said, keys, limit=wanted.limit(), again=watch)
                typer.echo("\n".join(lines))
            if not watch or found.interrupted or not found.ways:
                break
            notes = []
    if found.interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    if found.faults or not all(way.ok for way in found.ways):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of pairs: ``faults`` are those that could not be probed, ``interrupted`` says how far it came."""

    ways: list[Way]
    faults: list[str]
    interrupted: str = ""


def across(
    pairs: Sequence[Pair], cross: Callable[[Plugged, Plugged], tuple[Way, Way]], called: Callable[[Plugged], str]
) -> Outcome:
    """Probe pairs until Ctrl-C: one after the other, so that none disturbs the times of another.

    Of very many, several at a time, but at no attachment more than one.
    """
    from k8slan_cli.cli.lan.text import progress
    from k8slan_cli.errors import K8slanError

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


def _keys(wanted: Sequence[str]) -> list[str]:
    from k8slan_cli.errors import AbsentError
    from k8slan_cli.probe.frames import CLASSES

    known = [c.key for c in CLASSES]
    for key in wanted:
        if key not in known:
            hint = f"the classes are {', '.join(known)}"
            raise AbsentError(f"there is no class of frames {key!r}", name=key, known=known, hint=hint)
    return [key for key in known if key in wanted] if wanted else known


def short(item: Plugged, here: Here) -> str:
    """An attachment as the user would call it."""
    return item.name.removeprefix(f"{here.namespace}/")


# ---------------------------------------------------------------- what to probe


def attached(agents: Agents, here: Here, name: str) -> tuple[Attachments, list[str]]:
    """Who is attached to a LAN, and what there is to say about it.

    Its VTEPs say which nodes take part. Without the right to see it or them, all agents are asked.
    """
    from k8slan_cli.errors import AbsentError
    from k8slan_cli.inventory import lans, occupancy
    from k8slan_cli.kube.client import MissingError
    from k8slan_cli.lan import faults

    notes: list[str] = []
    vteps: Sequence[Vtep] = ()
    nodes: list[str] | None = None
    socket = name
    idle: list[Occupant] = []
    try:
        lan = lans.one(here.cluster, here.namespace, name)
    except MissingError as error:
        if error.status != 403:
            raise
    else:
        if lan.lan and lan.lan.spokes and not lan.lan.dynamic:
            socket = f"{name}/{lan.lan.spokes[0]}"
        users = occupancy.read(here.cluster, [lan], waiting=False)
        on = users.of(lan)
        idle = [item for item in on.attached if item.idle]
        vteps, nodes = on.vteps, None if users.blind else [vtep.node for vtep in on.nodes]
        notes += [fault.message for fault in on.faults if fault.reason in (faults.SPOKE_SHARED, faults.MAC_SHARED)]
    seen = agents.plugged(f"{here.namespace}/{name}", nodes).with_vms(vteps).without(item.plug for item in idle)
    notes += [
        f"{item.place} is left out: the VM migrates, and runs on node {item.end.other}" for item in idle if item.end
    ]
    notes += [f"node {node} is left out: {error.message}" for node, error in seen.unreachable.items()]
    if not seen.items and not seen.unreachable:
        raise AbsentError(
            f"LAN {here.namespace}/{name} has no attachments",
            hint=f"to print a pod for it: k8slan lan example pod {socket}{f' -n {here.namespace}' * here.given}",
        )
    return seen, notes


Pair = tuple["Plugged", "Plugged"]


def choose(seen: Attachments, space: str, src: str, dst: str, *, everything: bool) -> tuple[list[Pair], list[str]]:
    """The pairs to probe, and what there is to say about the choice.

    Raises:
        AbsentError: an end is not attached, or there is no second one.

    """
    from k8slan_cli.cli.exits import UsageError
    from k8slan_cli.errors import AbsentError

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
    words = f"{len(chosen)} of {len(items)} attachments are probed, of every node and kind if they suffice (--all: all)"
    return [item for item in items if item in chosen], [words]


def open_sites(stack: contextlib.ExitStack, agents: Agents, wanted: Sequence[Plugged]) -> dict[Any, Site]:
    """A session at each place, ready.

    Raises:
        K8slanError: there is none to be had at one of them.

    """
    from k8slan_cli.diagnose import protocol
    from k8slan_cli.diagnose.exchange import Site

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


# ---------------------------------------------------------------- what came of it


def report(
    ways: Sequence[Way],
    faults: Sequence[str],
    notes: Sequence[str],
    keys: Sequence[str],
    *,
    limit: int | None,
    again: bool = False,
) -> Iterator[str]:
    """All of it, for people; of a probe that is done ``again`` and again no table, but the time."""
    from k8slan_cli.cli.lan import text

    for note in notes:
        yield from text.paragraph(note, limit, "note: ", "      ")
    if any(not _silent(way) for way in ways) and not again:
        yield from (_by_class(ways, limit) if len(ways) <= _WIDE else _by_way(ways, limit))
        yield ""
    for way in ways:
        yield from _failures(way, limit)
    for fault in faults:
        yield from text.paragraph(fault, limit, "not probed: ", "  ")
    now = f"{datetime.now():%H:%M:%S}  " if again else ""
    failed = {result.key for way in ways for result in way.results if not result.ok}
    if failed:
        yield f"{now}{len(failed)} of {len(keys)} frame classes failed"
    elif ways:
        frames = sum(result.sent for way in ways for result in way.results)
        classes = "the one class" if len(keys) == 1 else f"all {len(keys)} classes"
        yield f"{now}{classes} of frames passed on {text.plural(len(ways), 'way')} ({frames} frames)"


def _by_class(ways: Sequence[Way], limit: int | None) -> Iterator[str]:
    """A row for each class, a column for each way."""
    from k8slan_cli.cli.lan.text import Column, Table
    from k8slan_cli.probe.frames import CLASSES

    marks = [chr(ord("A") + i) for i in range(len(ways))]
    for mark, way in zip(marks, ways, strict=True):
        yield f"{mark}  {way.src} → {way.dst}"
    yield ""
    by_key = [{result.key: result for result in way.results} for way in ways]
    rows = [
        [kind.title, *(_cell(results[kind.key]) for results in by_key)] for kind in CLASSES if kind.key in by_key[0]
    ]
    yield from Table([Column("FRAMES"), *(Column(mark) for mark in marks)], rows, limit).lines()
    yield ""
    yield "Median microseconds on the way; a class passes only if each frame arrives unchanged, once."


def _cell(result: Any) -> str:
    if not result.ok:
        return str(result.verdict)
    return "passed" if result.latency is None else f"{max(result.latency, 0):.0f}"


def _by_way(ways: Sequence[Way], limit: int | None) -> Iterator[str]:
    """A row for each way."""
    from statistics import median

    from k8slan_cli.cli.lan.text import Column, Table

    rows = []
    for way in ways:
        passed = sum(result.ok for result in way.results)
        times = [result.latency for result in way.results if result.latency is not None]
        middle = f"{max(median(times), 0):.0f}" if times else ""
        rows.append([way.src, way.dst, f"{passed}/{len(way.results)}", middle])
    columns = [Column("FROM", middle=True), Column("TO", middle=True), Column("PASSED"), Column("MEDIAN µs", 1)]
    yield from Table(columns, rows, limit).lines()


def _silent(way: Way) -> bool:
    """Whether nothing at all passes."""
    return len(way.results) > 1 and not any(result.arrived for result in way.results)


def _failures(way: Way, limit: int | None) -> Iterator[str]:
    """What did not pass, and why it matters. Where nothing passed, a line is enough."""
    from k8slan_cli.cli.lan import text
    from k8slan_cli.probe.frames import CLASSES

    known = {c.key: c for c in CLASSES}
    bad = [result for result in way.results if not result.ok]
    if _silent(way):
        reason = bad[0].detail or bad[0].verdict
        yield from text.paragraph(f"{way.src} → {way.dst}: nothing arrives ({reason})", limit, "", "  ")
        return
    for result in bad:
        kind = known[result.key]
        words = f"{way.src} → {way.dst}: {kind.title}: {result.detail or result.verdict} ({kind.why})"
        yield from text.paragraph(words, limit, "", "  ")


def document(name: str, space: str, ways: Sequence[Way], faults: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "lan": f"{space}/{name}",
        "passed": not faults and all(way.ok for way in ways),
        "paths": [
            {
                "from": way.src,
                "to": way.dst,
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
