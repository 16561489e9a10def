"""``k8slan lan add-spoke``, ``remove-spoke`` and ``edit-spokes``: the spokes of a LAN, changed while it is in use.

A change is made of what was read, and refused by the API server if somebody wrote meanwhile (resourceVersion); then
it is made anew of what is there now. A spoke that a pod holds is not taken away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.dry_run import DryRun, DryRunOption
from k8slan_cli.cli.exits import InUseError
from k8slan_cli.cli.here import Here
from k8slan_cli.errors import AbsentError, Invalid, K8slanError, Problem

if TYPE_CHECKING:
    from k8slan_cli.inventory.lans import Found
    from k8slan_cli.lan.model import Lan
    from k8slan_cli.plan.occupancy import Occupant

ATTEMPTS = 5
"""So often a change is made anew because somebody else has written meanwhile."""
Spokes = tuple[str, ...]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The LAN.", autocompletion=completion.lans)]


@in_cluster
def add_spoke(
    here: Here,
    name: Name,
    spoke: Annotated[list[str], typer.Argument(metavar="SPOKE…", help="Its new spokes.")],
    dry_run: DryRunOption = DryRun.NONE,
) -> None:
    """Add spokes to a LAN. What is attached to the others is not disturbed.

    Examples:
      k8slan lan add-spoke blue firewall router
    """
    _change(here, name, lambda lan: (*lan.spokes, *(s for s in dict.fromkeys(spoke) if s not in lan.spokes)), dry_run)


@in_cluster
def remove_spoke(
    here: Here,
    name: Name,
    spoke: Annotated[
        list[str], typer.Argument(metavar="SPOKE…", help="Which spokes.", autocompletion=completion.spokes)
    ],
    dry_run: DryRunOption = DryRun.NONE,
) -> None:
    """Remove spokes from a LAN; refused while a pod or VM holds one of them.

    Examples:
      k8slan lan remove-spoke blue firewall
    """

    def rest(lan: Lan) -> Spokes:
        for each in spoke:
            if each not in lan.spokes:
                raise AbsentError(f"LAN {lan.ref} has no spoke {each!r}", name=each, known=lan.spokes)
        return tuple(s for s in lan.spokes if s not in spoke)

    _change(here, name, rest, dry_run)


@in_cluster
def edit_spokes(here: Here, name: Name, dry_run: DryRunOption = DryRun.NONE) -> None:
    """Edit the spokes of a LAN in your editor ($VISUAL, $EDITOR), one on each line.

    Examples:
      EDITOR=nano k8slan lan edit-spokes blue
    """
    from k8slan_cli.inventory import lans, occupancy

    here, name = here.lan(name)
    found = lans.one(here.cluster, here.namespace, name)
    lan = lans.sound(found)
    edited = _edit(_as_text(lan, occupancy.read(here.cluster, [found], waiting=False).attached))
    wanted = tuple(line for each in edited.splitlines() if (line := each.partition("#")[0].strip()))

    def unless_changed(now: Lan) -> Spokes:
        if now.spokes != lan.spokes:
            raise K8slanError(f"somebody else has changed the spokes of LAN {lan.ref} meanwhile", hint="edit them anew")
        return wanted

    _change(here, name, unless_changed, dry_run)


# ---------------------------------------------------------------- the editor


def _as_text(lan: Lan, attached: Iterable[Occupant]) -> str:
    """The spokes as lines to edit; who is on one stands behind it."""
    holders: dict[str, list[str]] = {}
    for item in attached:
        holders.setdefault(item.port.spoke, []).append(item.who)
    lines = [f"# The spokes of LAN {lan.ref}, one on each line. What is behind a # does not count."]
    lines += [f"{s}  # held by {', '.join(holders[s])}" if s in holders else s for s in lan.spokes]
    return "\n".join(lines) + "\n"


def _edit(text: str) -> str:
    """Let the user edit a text.

    Raises:
        K8slanError: there is no editor, or it failed.

    """
    import shlex
    import subprocess
    import tempfile

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="k8slan-") as folder:
        file = Path(folder) / "spokes"
        file.write_text(text)
        hint = "name another in $EDITOR, or use add-spoke and remove-spoke"
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)  # noqa: S603 - the user's own choice
            return file.read_text()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise K8slanError(f"the editor {editor!r} cannot be used: {reason}", hint=hint) from error
        except subprocess.CalledProcessError as error:
            raise K8slanError(f"the editor failed with {error.returncode}; nothing is changed", hint=hint) from error


# ---------------------------------------------------------------- the change


def _change(here: Here, name: str, wanted: Callable[[Lan], Spokes], dry_run: DryRun) -> None:
    """Give a LAN the spokes that ``wanted`` makes of it; what else was said of others goes with them.

    Raises:
        InUseError: a pod holds a spoke that would go.
        Invalid: the LAN would break rules, or clash with another.

    """
    from k8slan_cli.inventory import lans

    here, name = here.lan(name)
    for _ in range(ATTEMPTS):
        found = lans.one(here.cluster, here.namespace, name)
        lan = lans.sound(found)
        spokes = wanted(lan)
        if spokes == lan.spokes:
            typer.echo(f"LAN {lan.ref} has these spokes already: {', '.join(spokes) or 'none'}")
            return
        if found.deleting:
            raise InUseError(f"LAN {lan.ref} is being deleted")
        going = set(lan.spokes) - set(spokes)
        _check_free(here, found, going)
        kept = tuple((name, link) for name, link in lan.links if name not in going)
        vms = None if lan.vm_spokes is None else tuple(each for each in lan.vm_spokes if each not in going)
        check_valid(here, replace(lan, spokes=spokes, vm_spokes=vms, links=kept))
        more: dict[str, Any] = {} if vms == lan.vm_spokes else {"vmSpokes": vms}
        if kept != lan.links:
            more["links"] = dict.fromkeys(going & dict(lan.links).keys())
        if write(here, found, {"spokes": list(spokes), **more}, dry_run=dry_run):
            typer.echo(_words(lan, spokes, dry_run=dry_run))
            return
    raise K8slanError(f"others change LAN {here.namespace}/{name} all the time", hint="try again")


def _check_free(here: Here, found: Found, going: set[str]) -> None:
    from k8slan_cli.inventory import occupancy

    if not going:
        return
    users = occupancy.read(here.cluster, [found], waiting=False)
    for sentence in users.blind:
        typer.echo(f"warning: {sentence}", err=True)
    held = [item for item in users.attached if item.port.spoke in going]
    if held:
        which = ", ".join(f"spoke {item.port.spoke} is held by {item.who}" for item in held)
        raise InUseError(f"in LAN {found.ref} {which}", hint="delete what holds it first")


def check_valid(here: Here, lan: Lan) -> None:
    """Raise Invalid if a LAN would break rules, or clash with another."""
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube import client
    from k8slan_cli.lan import validate

    problems: tuple[Problem, ...] = validate.rules(lan)
    try:
        others = [item.lan for item in lans.several(here.cluster) if item.lan and item.ref != lan.ref]
    except client.MissingError:  # others may not be seen; the webhook sees them
        others = []
    # As the newest of all: what others have already, this LAN cannot get.
    problems += validate.settle([*others, validate.as_newest(lan)]).clashes.get(lan.ref, ())
    if problems:
        raise Invalid(f"LAN {lan.ref}", problems)


def write(here: Here, found: Found, spec: Mapping[str, Any], *, dry_run: DryRun) -> bool:
    """Write fields of the spec, None for one that is to go; false if the object is not what was read any more."""
    if dry_run is DryRun.CLIENT:
        return True
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube import apply, client

    body = {"metadata": {"resourceVersion": found.version}, "spec": dict(spec)}
    query = {"fieldManager": apply.FIELD_MANAGER} | dry_run.query
    path = lans.target(found.ref.namespace, found.ref.name).path
    try:
        here.cluster.call("PATCH", path, query=query, body=body, content_type="application/merge-patch+json")
    except client.ApiError as error:
        if error.status == 409:
            return False
        raise lans.as_error(error, f"LAN {found.ref}") from error
    return True


def _words(lan: Lan, spokes: Sequence[str], *, dry_run: DryRun) -> str:
    added = [spoke for spoke in spokes if spoke not in lan.spokes]
    removed = [spoke for spoke in lan.spokes if spoke not in spokes]
    if not added and not removed:
        return f"LAN {lan.ref}: its spokes {'have' if dry_run.changes else 'would have'} another order{dry_run.words}"
    done = "" if dry_run.changes else "would be "
    what = [
        f"spoke{'s' * (len(names) > 1)} {', '.join(names)} {done}{verb}"
        for names, verb in ((added, "added"), (removed, "removed"))
        if names
    ]
    return f"LAN {lan.ref}: {', '.join(what)}{dry_run.words}"
