"""``k8slan status``, ``k8slan version`` and ``k8slan sysdump``: what runs, how it is, and all of it in a file."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli import __version__
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan import output as out

if TYPE_CHECKING:
    from k8slan_cli.diagnose.protocol import Check
    from k8slan_cli.diagnose.summary import Part, Summary, Versions
    from k8slan_cli.origin import Origin

_MANY = 10


@in_cluster
def version(
    here: Here,
    client: Annotated[bool, typer.Option("--client", help="Ask no cluster.")] = False,
    output: out.Nameless = "table",
) -> None:
    """Print the versions of this command, of Kubernetes, and of k8slan's controller and agents in the cluster.

    Examples:
      k8slan version

      # Of this command alone
      k8slan version --client
    """
    from k8slan_cli.diagnose import summary
    from k8slan_cli.origin import origin

    wanted = out.Output.read(output, named=False)
    found, build = summary.Versions() if client else summary.versions(here.cluster), origin()
    if wanted.for_programs:
        typer.echo(wanted.text(dataclasses.asdict(found) | {"build": dataclasses.asdict(build)}), nl=False)
    else:
        typer.echo("\n".join(version_lines(found, build, wanted.limit())))


def version_lines(found: Versions, build: Origin, limit: int | None) -> Iterator[str]:
    """Versions, for people."""
    from k8slan_cli.cli.lan import text

    (name, client), *rows = _rows(found)
    yield from text.fields([(name, f"{client} ({build})"), *rows], limit, "")
    yield from _notes(found, limit)


def _rows(found: Versions) -> list[tuple[str, str]]:
    return [
        ("k8slan", found.client),
        ("Kubernetes", found.kubernetes),
        ("Controller", _summed(found.controllers)),
        ("Agents", _summed(found.agents)),
    ]


def _notes(found: Versions, limit: int | None) -> Iterator[str]:
    from k8slan_cli.cli.lan import text

    if found.mixed:
        yield from text.paragraph("Agents are not of this version: k8slan install brings them to it.", limit)
    for note in found.notes:
        yield from text.paragraph(f"Note: {note}", limit)


def _summed(parts: Sequence[Part]) -> str:
    """``2 of 2 ready, 0.2.0``; pods of another version are counted by version."""
    if not parts:
        return ""
    counts: dict[str, int] = {}
    for part in parts:
        what = part.version or part.image
        counts[what] = counts.get(what, 0) + 1
    ready = sum(not part.trouble for part in parts)
    kinds = ", ".join(f"{what}{f' ({n})' if len(counts) > 1 else ''}" for what, n in sorted(counts.items()))
    return f"{ready} of {len(parts)} ready, {kinds}"


@in_cluster
def status(here: Here, output: out.Nameless = "table") -> None:
    """Show on one screen how k8slan is in the cluster: its parts, its LANs, and what needs a look.

    Exit status 1 if the controller or an agent is not at work. More, and slower: k8slan doctor

    Examples:
      k8slan status

      # For a program
      k8slan status -o json
    """
    from k8slan_cli.diagnose.summary import summary

    wanted = out.Output.read(output, named=False)
    found = summary(here.cluster, here.namespace)
    if wanted.for_programs:
        typer.echo(wanted.text(status_document(found)), nl=False)
    else:
        typer.echo("\n".join(status_lines(found, wanted.limit())))
    raise typer.Exit(0 if found.ok else 1)


def status_lines(found: Summary, limit: int | None) -> Iterator[str]:
    """All of it, for people."""
    from k8slan_cli.cli.lan import text

    nothing = "cannot be seen" if found.hidden else "none"
    lans = f"{found.ready} of {found.lans} ready" if found.lans else nothing
    attached = f"{found.attached} on {text.plural(found.nodes, 'node')}" if found.attached else nothing
    if found.attached and found.hidden:
        attached = f"at least {attached}"
    if found.waiting:
        attached += f", {found.waiting} waiting"
    if found.links_down:
        lans += f", {text.plural(found.links_down, 'link')} pulled out"
    yield from text.fields([*_rows(found.versions), ("LANs", lans), ("Attached", attached)], limit, "")
    yield from _notes(found.versions, limit)
    parts = (*found.versions.controllers, *found.versions.agents)
    wrong = [f"{part.name}{f' on {part.node}' * bool(part.node)}: {part.trouble}" for part in parts if part.trouble]
    wrong += [_line(check) for check in found.wrong]
    if wrong:
        yield ""
        for line in wrong[:_MANY]:
            yield from text.paragraph(line, limit, "- ", "  ")
        if len(wrong) > _MANY:
            yield f"and {len(wrong) - _MANY} more: k8slan doctor"


def _line(check: Check) -> str:
    return check.words + (f"; {check.advice}" if check.advice else "")


def status_document(found: Summary) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "ok": found.ok,
        "versions": dataclasses.asdict(found.versions),
        "lans": {"total": found.lans, "ready": found.ready, "linksDown": found.links_down},
        "attachments": {
            "attached": found.attached,
            "waiting": found.waiting,
            "nodes": found.nodes,
            "hidden": found.hidden,
        },
        "wrong": [{"check": c.what, "state": c.state, "message": c.words, "advice": c.advice} for c in found.wrong],
    }


@in_cluster
def sysdump(
    here: Here,
    write: Annotated[
        str,
        typer.Option("--write", "-w", metavar="FILE", help="Where to write (default: k8slan-sysdump-TIME.tar.gz)."),
    ] = "",
) -> None:
    """Write what a report of a bug needs into a file: versions, LANs, VTEPs, events, agents' state and logs, checks.

    There are no secrets in it: none is asked for, and environments of containers are left out. There are names and
    addresses in it: look through it before you give it away.

    Examples:
      k8slan sysdump -w report.tar.gz
    """
    from k8slan_cli.cli import files
    from k8slan_cli.cli.lan.text import plural, progress
    from k8slan_cli.diagnose import bundle

    here.cluster.call("GET", "/version")  # without a cluster there is nothing to write
    now = datetime.now(UTC)
    name = f"k8slan-sysdump-{now:%Y%m%d-%H%M%S}"
    path = write or f"{name}.tar.gz"
    number, missing = 0, b""
    with files.writing(Path(path)) as file, tarfile.open(fileobj=_Sink(file), mode="w|gz") as archive:
        for inside, data in bundle.files(here.cluster, here.namespace):
            progress(inside)
            entry = tarfile.TarInfo(f"{name}/{inside}")
            entry.size, entry.mtime = len(data), int(time.time())
            archive.addfile(entry, io.BytesIO(data))
            number, missing = number + 1, data
    progress("")
    typer.echo(f"{path}: {plural(number, 'file')} of k8slan {__version__}", err=True)
    for line in missing.decode().splitlines():
        typer.echo(f"warning: not in it: {line}", err=True)


class _Sink(io.RawIOBase):
    """A file for tarfile, which only writes."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write all of it."""
        self._file.write(bytes(data))
        return len(data)
