"""``k8slan lan macs``: which MAC addresses a LAN's nodes have learned, where each is; and forgetting them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan import output as out

if TYPE_CHECKING:
    from k8slan_cli.diagnose.protocol import KnownMac
    from k8slan_cli.lan.vtep import Vtep


@in_cluster
def macs(
    here: Here,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The LAN.", autocompletion=completion.lans)],
    mac: Annotated[str, typer.Option(metavar="MAC", help="Only this one.")] = "",
    flush: Annotated[
        bool, typer.Option("--flush", help="Have all nodes forget what they learned; frames teach it anew.")
    ] = False,
    output: out.Nameless = "table",
) -> None:
    """List the MAC addresses that a LAN's nodes have learned: who sends with each, on which node, when last.

    Pods and VMs may send with any; an address that is at two places moves, or two have it.

    Examples:
      k8slan lan macs blue

      # Have all nodes learn anew where an address is
      k8slan lan macs blue --mac 02:a1:00:00:00:01 --flush
    """
    from k8slan_cli.cli.exits import UsageError
    from k8slan_cli.diagnose import protocol
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.errors import K8slanError
    from k8slan_cli.inventory import lans, occupancy

    wanted = out.Output.read(output, named=False)
    if mac and not _is_mac(mac):
        raise UsageError(f"--mac: {mac!r} is not a MAC address", hint="such as 02:00:5e:00:53:01")
    here, name = here.lan(name)
    found = lans.one(here.cluster, here.namespace, name)
    users = occupancy.read(here.cluster, [found], waiting=False)
    vteps = users.of(found).vteps
    agents = Agents(here.cluster)
    nodes = list(agents.pods) if users.blind else [vtep.node for vtep in vteps if vtep.node in agents.pods]
    asked = protocol.Macs(lan=str(found.ref), mac=mac.lower(), flush=flush).encode()
    unreachable: dict[str, K8slanError] = {}
    agents.token()  # once, before several threads want it
    answers = agents.each(nodes, lambda node: agents.ask(node, protocol.MACS, asked), unreachable=unreachable)
    for node, error in unreachable.items():
        typer.echo(f"warning: node {node} is left out: {error.message}", err=True)
    if flush:
        number = sum(answer["flushed"] for answer in answers.values())
        typer.echo(f"LAN {found.ref}: {_entries(number)} forgotten on {len(answers)} of {len(nodes)} nodes")
        raise typer.Exit(1 if unreachable else 0)
    known = [protocol.KnownMac.decode(item) for answer in answers.values() for item in answer["macs"]]
    more = sum(answer["more"] for answer in answers.values())
    rows = located(known, vteps)
    if wanted.for_programs:
        typer.echo(wanted.text({"lan": str(found.ref), "macs": [_document(row) for row in rows]}), nl=False)
    else:
        typer.echo("\n".join(table(rows, limit=wanted.limit(), wide=wanted.wide)))
    if more:
        typer.echo(f"warning: {_entries(more)} more are left out", err=True)


def _is_mac(text: str) -> bool:
    parts = text.split(":")
    return len(parts) == 6 and all(len(part) == 2 and part.isalnum() and part.isascii() for part in parts)


def _entries(number: int) -> str:
    return f"{number} {'entry' if number == 1 else 'entries'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A MAC address at a place: of an attachment on ``node``, or else behind an address outside (``who``).

    ``seen`` are the nodes that have learned it; ``age`` is in seconds.
    """

    mac: str
    who: str
    spoke: str
    node: str
    age: int
    seen: tuple[str, ...]


def located(known: Sequence[KnownMac], vteps: Iterable[Vtep]) -> list[Row]:
    """Put together what nodes have learned: an address is where a port has it, and elsewhere only behind that node."""
    names: dict[str, str] = {}
    at: Mapping[str, str] = {str(vtep.address): vtep.node for vtep in vteps if vtep.address}
    for vtep in vteps:
        for port in vtep.ports:
            who = f"VM {port.pod.namespace}/{port.vm.name}" if port.vm and port.pod else f"pod {port.pod}"
            names[f"{port.pod}:{port.interface}"] = who
    seen: dict[str, set[str]] = {}
    for item in known:
        seen.setdefault(item.mac, set()).add(item.node)
    rows: dict[tuple[str, str, str], Row] = {}
    for item in sorted(known, key=lambda item: (bool(item.peer or not item.plug), item.age)):
        node = at.get(item.peer, "") if item.peer else item.node
        if not item.plug and any(key[0] == item.mac for key in rows):
            continue  # where it is, is known better
        who = names.get(item.plug, item.plug) or (f"behind {item.peer}" if item.peer else item.port)
        row = Row(mac=item.mac, who=who, spoke=item.spoke, node=node, age=item.age, seen=tuple(sorted(seen[item.mac])))
        rows.setdefault((item.mac, node, who), row)
    return sorted(rows.values(), key=lambda row: (row.mac, row.node, row.who))


def table(rows: Sequence[Row], *, limit: int | None, wide: bool) -> Iterator[str]:
    """All of it, for people."""
    from k8slan_cli.cli.lan.text import Column, Table, duration

    if not rows:
        yield "No MAC addresses are known: nobody has sent anything lately."
        return
    columns = [Column("MAC"), Column("WHO", middle=True), Column("SPOKE", 1), Column("NODE"), Column("AGE", 2)]
    cells = [[row.mac, row.who, row.spoke or "-", row.node or "outside", duration(row.age)] for row in rows]
    if wide:
        columns.append(Column("KNOWN TO"))
        cells = [[*cell, ",".join(row.seen)] for cell, row in zip(cells, rows, strict=True)]
    yield from Table(columns, cells, limit).lines()


def _document(row: Row) -> dict[str, Any]:
    return {
        "mac": row.mac,
        "who": row.who,
        "spoke": row.spoke,
        "node": row.node,
        "ageSeconds": row.age,
        "knownTo": list(row.seen),
    }
