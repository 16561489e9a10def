"""``k8slan lab down``: nothing of a lab stays."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.dry_run import DryRun, DryRunOption
from k8slan_cli.cli.exits import LateError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lab import source

if TYPE_CHECKING:
    from k8slan_cli.kube.kinds import Document, Kind

_FEW = 5


@in_cluster
def down(
    here: Here,
    lab: source.LabOrTopology,
    absent_ok: Annotated[bool, typer.Option("--ignore-not-found", help="Be content if it is not up.")] = False,
    dry_run: DryRunOption = DryRun.NONE,
    wait: Annotated[bool, typer.Option(" /--no-wait", help="Do not wait until all is gone.")] = True,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait.", min=0)] = 120,
) -> None:
    """Take a lab down: all of its objects.

    What is running in its nodes is lost, but for what k8slan lab save has saved.

    Examples:
      k8slan lab down frr01 -n lab
    """
    from k8slan_cli.cli.lab import state
    from k8slan_cli.errors import AbsentError
    from k8slan_cli.kube import kinds
    from k8slan_cli.lan import names

    name = source.lab(lab)
    try:
        found = state.of(here, name)
    except AbsentError:
        if not absent_ok:
            raise
        return
    for kind in state.KINDS:
        for target in found:
            if target.kind == kind and dry_run is not DryRun.CLIENT:
                here.cluster.delete(target, dry_run=not dry_run.changes)
    if not dry_run.changes:
        for target in found:
            typer.echo(f"{target} would be removed{dry_run.words}")
        return
    if wait:
        followed = {target.kind for target in found}.intersection(state.FOLLOWED)
        _wait(here, names.lab(name), [*followed, kinds.PODS], timeout)
    words = f"{len(found)} objects {'' if wait else 'are being '}removed"
    typer.echo(f"Lab {names.lab(name)} in namespace {here.namespace}: {words}")


def _wait(here: Here, name: str, followed: Sequence[Kind], seconds: float) -> None:
    """Follow all of the lab that is of some kinds until it is gone.

    Raises:
        LateError: something is still there.

    """
    from k8slan_cli.cli.lab import state
    from k8slan_cli.cli.lan import text

    sources = state.selections(here.namespace, name, followed)
    left: list[str] = []
    for seen in here.cluster.follow(sources, seconds, together=True):
        left = _left(seen)
        if sys.stderr.isatty():
            text.progress(f"waiting for {left[0]}, {len(left)} in all" if left else "")
        if not left:
            return
    words = ", ".join(left[:_FEW]) + (f" and {len(left) - _FEW} more" if len(left) > _FEW else "")
    raise LateError(f"still there after {seconds:g} s: {words}", hint="it goes on; to wait again: the same command")


def _left(seen: Mapping[str, Mapping[str, Document]]) -> list[str]:
    return [f"{kind} {name}" for kind, found in seen.items() for name in sorted(found)]
