"""``k8slan lan top``: what goes through attachments at this moment, as their nodes' agents count it."""

from __future__ import annotations

import enum
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import Exit
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan import output as out

if TYPE_CHECKING:
    from k8slan_cli.diagnose.traffic import Flow, Rate, Streams

_AGAIN_SECONDS = 10.0
"""How often nodes that a LAN has come to, and agents that did not answer, are looked for."""


class Order(enum.StrEnum):
    """What ``--sort`` takes."""

    RATE = "rate"
    DROPPED = "dropped"
    NAME = "name"


@in_cluster
def top(
    here: Here,
    name: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME…", help="LANs (default: all of the namespace).", autocompletion=completion.lans),
    ] = None,
    every: Annotated[int, typer.Option(metavar="SECONDS", min=1, max=60, help="From one look to the next.")] = 2,
    count: Annotated[
        int, typer.Option("--count", "-c", metavar="N", min=0, help="End after so many; in a pipe it is one.")
    ] = 0,
    sort: Annotated[Order, typer.Option("--sort", help="Which come first.")] = Order.RATE,
    output: out.Nameless = "table",
) -> None:
    """Show what goes through the attachments of LANs, again and again: rates, drops, links.

    Exit status 3 if agents cannot be reached, and none of the attachments is seen.

    Examples:
      # All LANs of the namespace, the busiest attachments first
      k8slan lan top

      # One look for a program
      k8slan lan top blue -o json
    """
    from k8slan_cli.cli import live
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.diagnose.traffic import Streams

    wanted = out.Output.read(output, named=False)
    for_people = not wanted.for_programs
    rounds = count or (0 if for_people and sys.stdout.isatty() else 1)
    places = _places(here, name or [])
    lan = places[0] if len(places) == 1 else ""
    with Streams(Agents(here.cluster), lan, every) as streams:
        looks = _looks(here, places, streams, rounds, sort)
        if for_people:
            live.screens(
                "\n".join(table(flows, streams.troubles, unseen, limit=wanted.limit())) for flows, unseen in looks
            )
        else:
            for flows, _ in looks:
                typer.echo(wanted.text(document(flows, streams.troubles)), nl=False)
        if streams.troubles and not any(flow.item.lan in places for flow in streams.meter.flows):
            raise typer.Exit(Exit.MISSING)


def _places(here: Here, names: Sequence[str]) -> list[str]:
    """The LANs that are meant, ``namespace/name``; a user who may see none of them may still ask agents."""
    from k8slan_cli.inventory import lans

    found = here.lans(names) if names else lans.several(here.cluster, here.namespace)
    return [str(item.ref) for item in found]


def _looks(
    here: Here, places: Sequence[str], streams: Streams, rounds: int, sort: Order
) -> Iterator[tuple[list[Flow], int]]:
    """Look again and again; the first look has no rates, and is not shown.

    Beside what is seen is how many are attached at nodes that tell nothing.
    """
    tried = 0.0
    ports: Mapping[str, int] = {}
    for number in itertools.count():
        if time.monotonic() - tried >= _AGAIN_SECONDS or not number:
            tried = time.monotonic()
            ports = _ports(here, places)
            streams.open(ports)
        flows = [flow for flow in streams.flows() if flow.item.lan in places]
        if number:
            yield ordered(flows, sort), sum(ports.get(node, 0) for node in tuple(streams.troubles))
        if rounds and number == rounds:
            return


def _ports(here: Here, places: Sequence[str]) -> Mapping[str, int]:
    """The number of attachments of each node that takes part; 0 of all that have an agent, if VTEPs cannot be seen."""
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.inventory import occupancy

    spaces = sorted({place.partition("/")[0] for place in places})
    seen = [occupancy.vteps(here.cluster, space).vteps for space in spaces]
    if any(vteps is None for vteps in seen):
        return dict.fromkeys(Agents(here.cluster).pods, 0)
    ports = Counter[str]()
    for vtep in itertools.chain.from_iterable(vteps or () for vteps in seen):
        if str(vtep.lan) in places and vtep.ports:
            ports[vtep.node] += len(vtep.ports)
    return ports


def ordered(flows: Sequence[Flow], sort: Order) -> list[Flow]:
    """The order in which they are shown."""
    from k8slan_cli.plan.occupancy import natural

    def dropped(flow: Flow) -> int:
        return flow.item.sent.dropped + flow.item.received.dropped

    by_name = sorted(flows, key=lambda flow: (flow.item.lan, natural(flow.item.spoke), natural(flow.item.name)))
    if sort is Order.NAME:
        return by_name
    return sorted(by_name, key=dropped if sort is Order.DROPPED else lambda flow: flow.busy, reverse=True)


# ---------------------------------------------------------------- printing


def table(flows: Sequence[Flow], troubles: dict[str, str], unseen: int, *, limit: int | None) -> Iterator[str]:
    """All of it, for people, with how many more there are ``unseen``; on a terminal as many rows as it has lines."""
    from k8slan_cli.cli import live
    from k8slan_cli.cli.lan import text
    from k8slan_cli.cli.lan.inspect import link

    columns = [
        text.Column("LAN", 3),
        text.Column("WHO", middle=True),
        text.Column("NODE", 2),
        text.Column("SPOKE", 1),
        text.Column("LINK"),
        text.Column("SENT/S"),
        text.Column("RECEIVED/S"),
        text.Column("FRAMES/S", 1),
        text.Column("DROPPED"),
        text.Column("ERRORS", 4),
    ]
    down = sum(link(flow.item) != "up" for flow in flows)
    sent = sum(flow.sent.bytes for flow in flows if flow.sent)
    received = sum(flow.received.bytes for flow in flows if flow.received)
    seen = f", {len(flows) or 'none'} seen" if unseen else ""
    if troubles and not flows:
        yield f"{text.plural(unseen, 'attachment')}{seen}" if unseen else "who is attached cannot be seen"
    else:
        yield (
            f"{text.plural(len(flows) + unseen, 'attachment')}{seen}, {down} without a link; "
            f"{text.size(round(sent))}/s sent, {text.size(round(received))}/s received"
        )
    rows = [
        [
            flow.item.lan,
            flow.item.name.partition("/")[2] or flow.item.name,
            flow.item.node,
            flow.item.spoke or "-",
            link(flow.item),
            _rate(flow.sent),
            _rate(flow.received),
            f"{sum(rate.packets for rate in (flow.sent, flow.received) if rate):.0f}",
            str(flow.item.sent.dropped + flow.item.received.dropped),
            str(flow.item.sent.errors + flow.item.received.errors),
        ]
        for flow in flows
    ]
    room = live.height() - len(troubles) - 4 if sys.stdout.isatty() else len(rows)
    yield from text.Table(columns, rows[:room], limit).lines()
    if len(rows) > room:
        yield f"{len(rows) - room} more: a higher terminal, or -o json, shows them"
    for node, why in sorted(troubles.items()):
        yield from text.paragraph(f"node {node} is not seen: {why}", limit, "", "  ")


def _rate(rate: Rate | None) -> str:
    from k8slan_cli.cli.lan.text import size

    return size(round(rate.bytes)) if rate else "-"


def document(flows: Sequence[Flow], troubles: dict[str, str]) -> dict[str, Any]:
    """All of it, for programs."""
    from k8slan_cli.cli.lan.inspect import link

    return {
        "attachments": [
            {
                "lan": flow.item.lan,
                "pod": flow.item.pod,
                "interface": flow.item.ifname,
                "spoke": flow.item.spoke,
                "node": flow.item.node,
                "mac": flow.item.mac,
                "link": link(flow.item),
                "sent": asdict(flow.item.sent),
                "received": asdict(flow.item.received),
                "sentPerSecond": flow.sent and asdict(flow.sent),
                "receivedPerSecond": flow.received and asdict(flow.received),
            }
            for flow in flows
        ],
        "notVisible": [f"node {node}: {why}" for node, why in sorted(troubles.items())],
    }
