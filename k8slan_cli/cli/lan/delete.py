"""``k8slan lan delete``: asks for it, and says what it still waits for until it is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.dry_run import DryRun, DryRunOption
from k8slan_cli.cli.exits import InUseError, LateError, UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan.listing import none

if TYPE_CHECKING:
    from k8slan_cli.inventory.lans import Found
    from k8slan_cli.plan.occupancy import Occupant

_FEW, _MANY = 3, 10  # names in a sentence of the controller's, and of ours


@in_cluster
def delete(
    here: Here,
    name: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME…", help="The LANs.", autocompletion=completion.lans, show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All LANs of the namespace.")] = False,
    selector: Annotated[str, typer.Option("--selector", "-l", metavar="K=V,…", help="The LANs with labels.")] = "",
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", metavar="FILE", help="The LANs of a file, a folder or - (stdin)."),
    ] = None,
    absent_ok: Annotated[bool, typer.Option("--ignore-not-found", help="Be content if one is not there.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take it from under the pods and VMs that use it; they lose it at once.")
    ] = False,
    dry_run: DryRunOption = DryRun.NONE,
    wait: Annotated[bool, typer.Option(help="Wait until it is gone from every node.")] = True,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait.", min=0)] = 120,
) -> None:
    """Delete LANs.

    A LAN in use stays, and works, until the last pod or VM has left it; what holds it is said.

    Examples:
      k8slan lan delete blue

      # What files created
      k8slan lan delete -f lab.yaml

      # Who would be in the way
      k8slan lan delete blue --dry-run
    """
    from k8slan_cli.inventory import occupancy

    if sum(map(bool, (name, everything, selector, file))) != 1:
        raise UsageError("say which LANs: by NAME…, or else by --all, -l or -f")
    items = _chosen(
        here, name or _named(here, file or ()), everything=everything, selector=selector, absent_ok=absent_ok
    )
    if not items:
        by_name = bool(name or file)
        typer.echo("no LANs to delete" if by_name else none(here.namespace, selector), err=True)
        return
    users = occupancy.read(here.cluster, items, waiting=False)
    for sentence in users.blind:
        typer.echo(f"warning: {sentence}", err=True)
    held = {str(item.ref): users.of(item).holders for item in items}
    try:
        for item in items:
            words = _held(held[str(item.ref)], force=force)
            if dry_run is not DryRun.CLIENT:
                _ask(here, item, force=force, dry_run=dry_run)
            if dry_run.changes:
                typer.echo(f"LAN {item.ref} is being deleted{words}", err=True)
            else:
                typer.echo(f"LAN {item.ref} would be deleted{words}")
        if wait and dry_run.changes:
            _wait(here, items, held, timeout)
    except KeyboardInterrupt:
        if dry_run.changes:
            typer.echo("interrupted; the deletion goes on in the cluster", err=True)
        raise


def _named(here: Here, files: Sequence[str]) -> list[str]:
    """The LANs of files, as a command line would name them. Whatever their specs are, they can be deleted."""
    from k8slan_cli.cli import documents

    if not files:
        return []
    bare = [
        ({**document, "spec": {"dynamic": True}} if isinstance(document, dict) else document, subject, problems)
        for document, subject, problems in documents.drafts(files, here)
    ]
    return [str(lan.ref) for lan in documents.lans(bare, "deleted")]


def _chosen(here: Here, name: Sequence[str], *, everything: bool, selector: str, absent_ok: bool) -> list[Found]:
    """The LANs that are meant."""
    from k8slan_cli.errors import AbsentError
    from k8slan_cli.inventory import lans

    if everything or selector:
        return lans.several(here.cluster, here.namespace, selector)
    found: dict[object, Found] = {}
    for each in name:
        try:
            found |= {item.ref: item for item in here.lans([each])}
        except AbsentError:
            if not absent_ok:
                raise
    return list(found.values())


def _held(holders: Sequence[Occupant], *, force: bool) -> str:
    if not holders:
        return ""
    return f", from under {_names(holders)}" if force else f"; it stays until these have left: {_names(holders)}"


def _names(holders: Iterable[Occupant]) -> str:
    from k8slan_cli.plan.occupancy import some

    return some((item.who for item in holders), _MANY)


def _ask(here: Here, item: Found, *, force: bool, dry_run: DryRun) -> None:
    """Ask for the deletion of just this object, not of one that has been made anew meanwhile."""
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube import client

    path = lans.target(item.ref.namespace, item.ref.name).path
    uid = item.document["metadata"]["uid"]
    try:
        if force:
            from k8slan_cli.kube.lans import FORCE

            # With another object's uid the API server refuses it.
            body = {"metadata": {"uid": uid, "annotations": {FORCE: "true"}}}
            here.cluster.call(
                "PATCH", path, query=dry_run.query, body=body, content_type="application/merge-patch+json"
            )
        here.cluster.call("DELETE", path, body={"preconditions": {"uid": uid}, **dry_run.options})
    except client.ApiError as error:
        if error.status != 404:  # somebody was quicker
            raise


def _wait(here: Here, items: Sequence[Found], held: Mapping[str, Sequence[Occupant]], seconds: float) -> None:
    """Follow the LANs until they are gone, and say what each waits for, in the controller's words.

    Who holds them has been said already (``held``), and is not repeated before it changes.
    """
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube import apply, kinds

    waiting = {str(item.ref): item for item in items}
    sources = {
        name: apply.Selection(kinds.LANS, item.ref.namespace, f"metadata.name={item.ref.name}")
        for name, item in waiting.items()
    }
    said: dict[str, str] = {}
    for state in here.cluster.follow(sources, seconds):
        for name, item in list(waiting.items()):
            document = state[name].get(name)
            if document is None or document["metadata"]["uid"] != item.document["metadata"]["uid"]:
                del waiting[name]
                typer.echo(f"LAN {name} is deleted")
                continue
            waiting[name] = lans.read(document)
            ready = waiting[name].ready
            if ready and ready.reason == "Terminating" and said.get(name) != ready.message:
                repeated = name not in said and _names_all(ready.message, held[name])
                said[name] = ready.message
                if not repeated:
                    typer.echo(f"  LAN {name} {ready.message}", err=True)
        if not waiting:
            return
    raise _late(here, waiting.values(), seconds)


def _names_all(message: str, holders: Sequence[Occupant]) -> bool:
    """Whether a sentence of the controller's names all that hold a LAN; it names only the first few."""
    names = sorted({item.who.partition(" ")[2] for item in holders})
    return bool(names) and all(name in message for name in names[:_FEW])


def _late(here: Here, waiting: Iterable[Found], seconds: float) -> InUseError | LateError:
    """What to say of LANs that are still there."""
    from k8slan_cli.inventory import lans, occupancy

    items = list(waiting)
    users = occupancy.read(here.cluster, items, waiting=False)
    holders = [item for each in items for item in users.of(each).holders]
    which = ", ".join(f"LAN {item.ref}" for item in items)
    still = f"{which} {'is' if len(items) == 1 else 'are'} still there after {seconds:g} s"
    if holders:
        hint = "they go with the last of these, or at once with --force"
        return InUseError(f"{still}, held by {_names(holders)}", hint=hint)
    others = {f for item in items for f in item.document["metadata"].get("finalizers") or ()}
    return LateError(
        f"{still}, waiting for its finalizers: {', '.join(sorted(others)) or 'none'}",
        hint=f"are k8slan's controller and agents running? See: {lans.SEE_SYSTEM}",
    )
