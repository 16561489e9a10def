"""Topology files and what they name, read from the disk: the lab's own module only sees texts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli.exits import UsageError
from k8slan_cli.errors import K8slanError

if TYPE_CHECKING:
    from k8slan_cli.lab.files import Content
    from k8slan_cli.lab.model import Lab

STDIN = "-"
_ENDINGS = (".clab.yml", ".clab.yaml")
_MOST_FILES = 1000
"""Of a folder: more are not even looked at."""

Topology = Annotated[
    str,
    typer.Argument(
        metavar="TOPOLOGY",
        help="A topology file, a folder with one *.clab.yml, or - (stdin); this folder otherwise.",
        show_default=False,
    ),
]
UplinkNode = Annotated[
    str, typer.Option(metavar="NODE", help="The node of the cluster whose NICs the file's macvlan and host links mean.")
]
Privileged = Annotated[
    bool, typer.Option("--privileged", help="Run all nodes as privileged containers, as containerlab does.")
]


def read(topology: str) -> Lab:
    """Read a lab, and print what of its file is not used.

    Raises:
        K8slanError: the file, or one that it names, cannot be read.
        Invalid: with all that is wrong with it.

    """
    from k8slan_cli.lab import containerlab, kne

    path = find(topology)
    text, folder = _text(path), path.parent if str(path) != STDIN else Path()

    def files(name: str) -> Mapping[str, Content]:
        return named(folder, name)

    if path.name.endswith(kne.ENDINGS):
        found = kne.read(text, _name(path), files=files)
    else:
        found = containerlab.read(text, _name(path), files=files, environment=os.environ)
    for warning in found.warnings:
        typer.echo(f"warning: {_name(path)}: {warning}", err=True)
    return found


LabOrTopology = Annotated[
    str, typer.Argument(metavar="LAB|TOPOLOGY", help="The lab's name, or its topology file.", show_default=False)
]


def lab(text: str) -> str:
    """Return the name of the lab that the command line means: by its name, or by a topology file.

    Raises:
        K8slanError: the file cannot be read.
        Invalid: it has no name.

    """
    from k8slan_cli.lab import containerlab, kne

    if not is_topology(text):
        return text
    path = find(text)
    if path.name.endswith(kne.ENDINGS):
        return kne.name(_text(path), _name(path))
    return containerlab.name(_text(path), _name(path), os.environ)


def is_topology(text: str) -> bool:
    """Return whether a word means a topology and not a lab's name."""
    return text in (STDIN, ".", "..") or os.sep in text or Path(text).is_file()


def find(topology: str) -> Path:
    """Return the file that a word on the command line means.

    Raises:
        UsageError: a folder has none, or several.

    """
    path = Path(topology)
    if topology == STDIN or not path.is_dir():
        return path
    try:
        found = sorted(each for each in path.iterdir() if each.name.endswith(_ENDINGS))
    except OSError as error:
        raise K8slanError(f"{topology} cannot be read: {error.strerror}") from error
    if len(found) != 1:
        has = f"{len(found)} files" if found else "no file"
        raise UsageError(
            f"folder {path.resolve()} has {has} that end in {' or '.join(_ENDINGS)}", hint="name a topology file"
        )
    return found[0]


def _name(path: Path) -> str:
    return "standard input" if str(path) == STDIN else str(path)


def _text(path: Path) -> str:
    from k8slan_cli.lab.yaml_text import MAX_TEXT

    try:
        if str(path) == STDIN:
            return sys.stdin.read(MAX_TEXT + 1)
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_TEXT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise K8slanError(f"{_name(path)} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def named(folder: Path, name: str) -> Mapping[str, Content]:
    """Read a file that a topology names, or all files of a folder: by their paths in it, a file alone by "".

    Raises:
        K8slanError: it cannot be read, or is too much.

    """
    path = folder / Path(name).expanduser()
    try:
        if path.is_dir():
            found = [Path(place, each) for place, _, files in os.walk(path) for each in files]
            if len(found) > _MOST_FILES:
                raise K8slanError(f"{name} has {len(found)} files: a node cannot have as many from outside its image")
            return {str(each.relative_to(path)): _content(each) for each in sorted(found)}
        return {"": _content(path)}
    except (OSError, ValueError, RuntimeError) as error:
        raise K8slanError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _content(path: Path) -> Content:
    from k8slan_cli.lab.model import MAX_FILES_SIZE

    if path.exists() and not path.is_file():
        raise K8slanError(f"{path} is neither a file nor a folder")
    with path.open("rb") as file:
        return file.read(MAX_FILES_SIZE + 1), path.stat().st_mode & 0o777
