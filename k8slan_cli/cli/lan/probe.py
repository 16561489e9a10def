"""``k8slan lan probe``: every class of frames between attachments of a LAN that is in use."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import Exit
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan import output as out

if TYPE_CHECKING:
    from k8slan_cli.diagnose.exchange import Way
    from k8slan_cli.diagnose.protocol import Plugged

_WIDE = 4
"""As many ways get a column each."""


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
    everything: Annotated[bool, typer.Option("--all", help="All pairs, also of more than 6 attachments.")] = False,
    count: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Frames of each class, each way.")] = 3,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="KEY", help="Only this class; repeatable.", autocompletion=completion.frame_classes
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Probe again and again, until Ctrl-C.")] = False,
    output: out.Nameless = "table",
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
    from k8slan_cli.cli.lan.text import progress
    from k8slan_cli.diagnose import exchange, probing
    from k8slan_cli.diagnose.agents import Agents

    wanted = out.Output.read(output, named=False)
    here, name = here.lan(name)
    keys = _keys(classes or [])
    agents = Agents(here.cluster)
    seen, notes = probing.attached(agents, here.cluster, here.namespace, name)
    pairs, more = probing.choose(seen, here.namespace, src, dst, everything=everything)
    notes += more
    ends = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
    with contextlib.ExitStack() as stack:
        sites = probing.open_sites(stack, agents, ends)
        while True:
            found = probing.across(
                pairs,
                lambda a, b: exchange.cross(sites[a.place], sites[b.place], keys, count),
                lambda item: short(item, here),
                progress,
            )
            said = [*notes, found.interrupted] if found.interrupted else notes
            if wanted.for_programs:
                typer.echo(
                    wanted.text(probing.document(name, here.namespace, found.ways, found.faults, said)), nl=False
                )
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
        few = len(ways) <= _WIDE
        yield from _by_class(ways, limit) if few else _by_ends(ways, limit) or _by_way(ways, limit)
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
        here, there = way.nodes
        yield f"{mark}  {way.src} → {way.dst}  ({f'on {here}' if here == there else f'{here} → {there}'})"
    yield ""
    by_key = [{result.key: result for result in way.results} for way in ways]
    rows = [
        [kind.title, *(_cell(results[kind.key]) for results in by_key)] for kind in CLASSES if kind.key in by_key[0]
    ]
    yield from Table([Column("FRAMES"), *(Column(mark) for mark in marks)], rows, limit).lines()
    yield ""
    yield "Median microseconds on the way; a class passes only if each frame arrives unchanged, once."


def _cell(result: Any) -> str:
    from k8slan_cli.cli.lan.text import TICK

    if not result.ok:
        return str(result.verdict)
    return TICK if result.latency is None else f"{TICK} {max(result.latency, 0):.0f}"


def _by_ends(ways: Sequence[Way], limit: int | None) -> list[str]:
    """A row for each sender, a column for each receiver; nothing if that does not fit, or does not go to a terminal."""
    from k8slan_cli.cli.lan.text import TICK, Column, Table

    ends = list(dict.fromkeys(end for way in ways for end in (way.src, way.dst)))
    found = {(way.src, way.dst): way for way in ways}

    def cell(src: str, dst: str) -> str:
        if not (way := found.get((src, dst))):
            return "·" if src == dst else ""
        return TICK if way.ok else f"{sum(result.ok for result in way.results)}/{len(way.results)}"

    rows = [[str(n), src, *(cell(src, dst) for dst in ends)] for n, src in enumerate(ends, start=1)]
    columns = [Column("#"), Column("FROM, TO →", middle=True), *(Column(str(n)) for n in range(1, len(ends) + 1))]
    table = Table(columns, rows, None)
    return list(table.lines()) if limit and table.width <= limit else []


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
