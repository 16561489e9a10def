"""The command: areas in the order in which one thing needs another, each printed as soon as it is known."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here
from k8slan_cli.diagnose.protocol import FAIL, OK, WARN, Check
from k8slan_cli.errors import K8slanError


class Format(enum.StrEnum):
    """What ``-o`` takes."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Area:
    """Checks under a heading."""

    name: str
    checks: tuple[Check, ...]


@in_cluster
def doctor(
    here: Here,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to print it.")] = Format.TABLE,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is not in order.")] = False,
) -> None:
    """Check the cluster, its nodes and the network between them for all that LANs need.

    Nodes try out what their kernels can do, and send each other VXLAN frames of full size. Exit status 1 if a check
    fails.
    """
    areas: list[Area] = []
    for area in examine(here):
        areas.append(area)
        if output is Format.TABLE:
            for line in lines(area, quiet=quiet):
                typer.echo(line)
    failed = [check for area in areas for check in area.checks if check.state == FAIL]
    warned = [check for area in areas for check in area.checks if check.state == WARN]
    if output is Format.JSON:
        found = [{"area": area.name, **check.encode()} for area in areas for check in area.checks]
        typer.echo(json.dumps({"ok": not failed, "checks": found}, indent=2, ensure_ascii=False))
    else:
        typer.echo(conclusion(len(failed), len(warned)))
    raise typer.Exit(1 if failed else 0)


# ---------------------------------------------------------------- printing


def lines(area: Area, *, quiet: bool) -> Iterator[str]:
    """An area for people."""
    from k8slan_cli.cli.lan import text

    shown = [check for check in area.checks if not quiet or check.state != OK]
    if not shown:
        return
    limit = text.width()
    yield text.strong(area.name)
    for check in shown:
        first, *rest = text.paragraph(f"{check.what}: {check.words}", limit, f"  {check.state.ljust(4)}  ", " " * 8)
        yield first.replace(check.state, text.coloured(check.state), 1)
        yield from rest
        if check.advice and check.state != OK:
            yield from text.paragraph(check.advice, limit, " " * 8 + "→ ", " " * 10)
    yield ""


def conclusion(failed: int, warned: int) -> str:
    """The last line."""
    look = "needs a look" if warned == 1 else "need a look"
    if failed:
        return f"{failed} of the checks failed" + (f", and {warned} more {look}" if warned else "")
    return f"nothing failed, but {warned} of the checks {look}" if warned else "all is in order"


# ---------------------------------------------------------------- the order of things


def examine(here: Here) -> Iterator[Area]:
    """All areas, as far as one can get: nothing can be looked at behind what is not there."""
    from k8slan_cli.cli import between
    from k8slan_cli.cli.agents import Agents
    from k8slan_cli.cli.doctor import cluster as api
    from k8slan_cli.cli.doctor import nodes

    try:
        version = tuple(api.version(here.cluster))
    except K8slanError as error:
        yield Area("cluster", (Check(what="API server", state=FAIL, words=error.message, advice=error.hint),))
        return
    yield Area("cluster", (*version, *api.multus(here.cluster)))
    known = tuple(api.crd(here.cluster))
    yield Area("k8slan", (*known, *api.controller(here.cluster), *api.webhook(here)))
    if any(check.state == FAIL for check in known):
        return
    found, checks = api.lans(here)
    yield Area("LANs", checks)
    lans = [item.lan for item in found if item.lan]
    agents, ways = Agents(here.cluster), between.ways(lans)
    facts, checks = nodes.examine(agents, here.cluster, ways)
    yield Area("agents", checks)
    for node, said in sorted(facts.items()):
        yield Area(f"node {node}", said.checks)
    if len(facts) > 1:
        yield Area("between nodes", tuple(nodes.between(agents, facts, ways, {lan.vni for lan in lans})))
