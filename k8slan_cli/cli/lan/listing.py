"""``k8slan lan list``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan import output as out

if TYPE_CHECKING:
    from k8slan_cli.cli.lan.text import Table
    from k8slan_cli.inventory.lans import Found
    from k8slan_cli.lan.model import Lan

_ONCE = datetime(1, 1, 1, tzinfo=UTC)
"""A time at which every LAN has the same age, so that rows differ by all else."""

All = Annotated[bool, typer.Option("--all-namespaces", "-A", help="The LANs of all namespaces.")]


@in_cluster
def listing(
    here: Here,
    name: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME…", help="Only these.", autocompletion=completion.lans, show_default=False),
    ] = None,
    everywhere: All = False,
    output: out.Option = "table",
    headers: Annotated[bool, typer.Option(" /--no-headers", help="Print rows alone.")] = True,
    sort_by: Annotated[
        str, typer.Option("--sort-by", metavar="PATH", help="Sort by a field of LANs, as kubectl: .spec.vni")
    ] = "",
    selector: Annotated[str, typer.Option("--selector", "-l", metavar="K=V,…", help="Only LANs with labels.")] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and print each change.")] = False,
) -> None:
    """List LANs.

    Examples:
      # Those with a label, in all namespaces
      k8slan lan list -A -l lab=one

      # One field alone
      k8slan lan list blue -o jsonpath=.status.vni
    """
    from k8slan_cli.cli.lan import text
    from k8slan_cli.inventory import lans

    if name and (everywhere or selector or watch):
        raise UsageError("names cannot be combined with -A, -l or -w")
    wanted, order = out.Output.read(output), _order(sort_by)
    namespace = "" if everywhere else here.namespace
    items = here.lans(name) if name else lans.several(here.cluster, namespace, selector)
    if order:
        items = sorted(items, key=order)
    if wanted.for_programs:
        documents = [item.document for item in items]
        if not watch:
            typer.echo(wanted.objects(documents[0] if name and len(documents) == 1 else documents), nl=False)
            return
        for item in items:
            _print_object(item, wanted)
        for item, _ in _changes(here, namespace, selector, items):
            _print_object(item, wanted)
        return
    shown = table(items, everywhere=everywhere, wide=wanted.wide, limit=text.width(), links=watch)
    if items or watch:
        typer.echo("\n".join(shown.lines() if headers else shown.body()))
        for line in text.left_out(shown.left_out, text.width()):
            typer.echo(line, err=True)
    else:
        advice = f" Make one: k8slan lan create NAME{'' if everywhere else here.option}"
        typer.echo(none(namespace, selector) + advice * (not selector), err=True)
    if watch:
        before = {item.ref: shown.shown(_row(item, everywhere=everywhere, now=_ONCE)) for item in items}
        for item, gone in _changes(here, namespace, selector, items):
            now = shown.shown(_row(item, everywhere=everywhere, gone=gone, now=_ONCE))
            if before.get(item.ref) != now:  # much that changes in an object is in no column
                typer.echo("\n".join(shown.line(_row(item, everywhere=everywhere, gone=gone))))
            before[item.ref] = now


def none(namespace: str, selector: str) -> str:
    """Say that there are no LANs in a namespace, "" for all, or none with the labels of a selector."""
    where = f"in namespace {namespace}" if namespace else "in the cluster"
    return f"No LANs match selector {selector!r} {where}." if selector else f"There is no LAN {where}."


def _order(sort_by: str) -> Callable[[Found], Any] | None:
    """Return what LANs are sorted by: those without the field first, numbers before texts.

    Raises:
        UsageError: it is no path.

    """
    if not sort_by:
        return None
    from k8slan_cli.cli import jsonpath
    from k8slan_cli.plan.occupancy import natural

    try:
        values = jsonpath.path(sort_by)
    except ValueError as error:
        raise UsageError(f"--sort-by: {error}", hint="such as --sort-by=.spec.vni") from None

    def key(item: Found) -> Any:
        first = next(iter(values(item.document)), None)
        if first is None or isinstance(first, int | float):
            return (first is not None, first or 0)
        return (2, natural(first if isinstance(first, str) else str(first)))

    return key


def _print_object(item: Found, output: out.Output) -> None:
    typer.echo("---\n" * (output.form is out.Format.YAML) + output.objects(item.document), nl=False)


def table(
    items: Sequence[Found],
    *,
    everywhere: bool,
    wide: bool,
    limit: int | None,
    links: bool = False,
    now: datetime | None = None,
) -> Table:
    """The LANs as a table; a ``wide`` one has all columns, however narrow the terminal is.

    Links that were pulled out have a column if there are some, or with ``links``.
    """
    from k8slan_cli.cli.lan.text import Column, Table

    heads = [
        Column("NAMESPACE") if everywhere else None,
        Column("NAME"),
        Column("VNI"),
        Column("SPOKES", 2),
        Column("ATTACHED", 1),
        Column("NODES", 2),
        Column("READY"),
        Column("AGE", 3),
    ]
    if wide or links or any(item.lan and (item.lan.pulled or item.lan.links) for item in items):
        heads.append(Column("LINKS"))
    more = [Column("REASON"), Column("NETNS"), Column("UNDERLAY"), Column("FLOODING"), Column("MTU"), Column("UPLINK")]
    columns = [head for head in heads if head] + (more if wide else [])
    rows = [_row(item, everywhere=everywhere, now=now) for item in items]
    return Table(columns, [row[: len(columns)] for row in rows], None if wide else limit)


def _row(item: Found, *, everywhere: bool, now: datetime | None = None, gone: bool = False) -> list[str]:
    """A LAN's cells, all that there are; a narrow table takes the first of them."""
    from k8slan_cli.cli.lan import text

    lan, status, ready = item.lan, item.status, item.ready
    state = "Deleted" if gone else "Deleting" if item.deleting else str(ready.status) if ready else "unknown"
    cells = [item.ref.namespace] if everywhere else []
    cells += [
        item.ref.name,
        str(lan.vni or "-" if lan else (item.document.get("spec") or {}).get("vni", "")),
        _spokes(item),
        str(status.attached),
        str(status.nodes),
        state,
        text.age(item.created, now),
        _links(lan),
    ]
    if lan is None:
        return [*cells, ready.reason if ready else "Invalid", "", "", "", "", ""]
    devices = [lan.underlay or "node's own", *(f"{node}={device}" for node, device in lan.underlays)]
    return [
        *cells,
        ready.reason if ready else "NotSeen",
        lan.netns,
        ",".join(devices),
        str(lan.group) if lan.group else "unicast",
        str(lan.wanted_mtu or "largest"),
        status.uplink or ("none active" if lan.uplinks else "-"),
    ]


def _links(lan: Lan | None) -> str:
    """How many links are pulled out, and how many do more than pass frames on."""
    shaped = sum(1 for _, link in lan.links if link.words) if lan else 0
    told = [f"{len(lan.pulled)} down"] if lan and lan.pulled else []
    return ", ".join([*told, *([f"{shaped} shaped"] if shaped else [])]) or "-"


def _spokes(item: Found) -> str:
    """How many spokes, and whether any number of pods may attach besides."""
    lan = item.lan
    if lan is None:
        return str(item.status.spokes)
    return "+".join([*([str(len(lan.spokes))] if lan.spokes or not lan.dynamic else []), *["dynamic"] * lan.dynamic])


def _changes(here: Here, namespace: str, selector: str, before: Sequence[Found]) -> Iterator[tuple[Found, bool]]:
    """Each LAN that has changed, as it is now, and whether it is gone; one that is, as it was last."""
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube import apply, kinds

    known = {str(item.ref): item for item in before}
    source = apply.Selection(kinds.LANS, namespace, label_selector=selector)
    for state in here.cluster.follow({"lans": source}):
        for name in [name for name in known if name not in state["lans"]]:
            yield known.pop(name), True
        for name, document in sorted(state["lans"].items()):
            version = document["metadata"]["resourceVersion"]
            if name not in known or known[name].version != version:
                known[name] = lans.read(document)
                yield known[name], False
