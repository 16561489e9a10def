"""``k8slan doctor``: the areas of diagnose/doctor.py, each printed as soon as it is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan import output as out
from k8slan_cli.diagnose.protocol import FAIL, OK, WARN

if TYPE_CHECKING:
    from k8slan_cli.diagnose.doctor import Area


@in_cluster
def doctor(
    here: Here,
    output: out.Nameless = "table",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is not in order.")] = False,
) -> None:
    """Check the cluster, its nodes and the network between them for all that LANs need.

    Nodes try out what their kernels can do, and send each other VXLAN frames of full size. Exit status 1 if a check
    fails.

    Examples:
      k8slan doctor

      # Only what is not in order
      k8slan doctor -q
    """
    from k8slan_cli.diagnose.doctor import document, examine

    wanted = out.Output.read(output, named=False)
    areas: list[Area] = []
    for area in examine(here.cluster, here.namespace):
        areas.append(area)
        if not wanted.for_programs:
            for line in lines(area, quiet=quiet, limit=wanted.limit()):
                typer.echo(line)
    failed = [check for area in areas for check in area.checks if check.state == FAIL]
    warned = [check for area in areas for check in area.checks if check.state == WARN]
    if wanted.for_programs:
        typer.echo(wanted.text(document(areas)), nl=False)
    else:
        typer.echo(conclusion(len(failed), len(warned)))
    raise typer.Exit(1 if failed else 0)


# ---------------------------------------------------------------- printing


def lines(area: Area, *, quiet: bool, limit: int | None) -> Iterator[str]:
    """An area for people."""
    from k8slan_cli.cli.lan import text

    shown = [check for check in area.checks if not quiet or check.state != OK]
    if not shown:
        return
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
