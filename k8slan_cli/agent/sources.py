"""Where LANs come from: a folder of YAML files here; the Kubernetes API is the other source (kube/lans.py).

A source gives snapshots: all LANs it sees, each with its origin, and the origins that it cannot read now. Whatever
woke it, it reads everything again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Protocol

import yaml

from k8slan_cli.errors import Invalid, K8slanError, Problem
from k8slan_cli.lan import codec
from k8slan_cli.lan.model import Lan, LanRef, Snapshot

log = logging.getLogger(__name__)


class Source(Protocol):
    """Gives snapshots, one at the start and one whenever something has changed."""

    async def next(self) -> Snapshot:
        """Wait for a change (the first time: for the first sight) and return all that there is."""

    async def close(self) -> None:
        """Stop watching."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen when it runs
    """YAML without dates: ``creationTimestamp`` is text, as the Kubernetes API has it."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


MAX_FILE = 4 << 20


def read_documents(text: str, origin: str) -> list[object]:
    """The documents of a YAML text; empty ones are left out.

    Raises:
        Invalid: it is not YAML.

    """
    try:
        return [d for d in yaml.load_all(text, Loader=_Loader) if d is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Invalid(origin, (Problem(field="", message=f"is not YAML: {' '.join(str(error).split())}"),)) from error


def read_folder(folder: Path) -> Snapshot:
    """All LANs of a folder's ``*.yaml`` and ``*.yml`` files. A broken file takes only itself out.

    Raises:
        K8slanError: the folder cannot be read.

    """
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and not p.name.startswith("."))
    except OSError as error:
        raise K8slanError(f"cannot read the LAN folder {folder}: {error.strerror}") from error
    lans: dict[LanRef, tuple[Lan, str]] = {}
    broken: dict[str, tuple[Problem, ...]] = {}
    for path in paths:
        try:
            found = [codec.decode(document) for document in read_documents(_read(path), path.name)]
            twice = [lan.ref for lan in found if lan.ref in lans]
            if twice:
                first = lans[twice[0]][1]
                raise Invalid(path.name, (Problem(field="metadata.name", message=f"LAN {twice[0]} is in {first} too"),))
        except FileNotFoundError:
            continue  # gone since it was listed
        except Invalid as error:
            broken[path.name] = error.problems
        except OSError as error:
            broken[path.name] = (Problem(field="", message=f"cannot be read: {error.strerror}"),)
        else:
            lans |= {lan.ref: (lan, path.name) for lan in found}
    return Snapshot(lans=lans, broken=broken)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise Invalid(path.name, (Problem(field="", message=f"is larger than {MAX_FILE} bytes"),))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Invalid(path.name, (Problem(field="", message=f"is not UTF-8: {error.reason}"),)) from error


class FolderSource:
    """LANs from a folder, watched by inotify(7)."""

    def __init__(self, folder: Path) -> None:
        """Start watching.

        Raises:
            K8slanError: there is no such folder.

        """
        from asyncinotify import Inotify, Mask

        self._folder = folder
        self._inotify = Inotify(sync_timeout=0)
        mask = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.DELETE_SELF | Mask.MOVE_SELF
        try:
            self._inotify.add_watch(folder, mask | Mask.ONLYDIR)
        except OSError as error:
            raise K8slanError(f"cannot watch the LAN folder {folder}: {error.strerror}") from error
        self._gone = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.IGNORED
        self._first = True

    async def next(self) -> Snapshot:
        """Wait for a change (the first time: for the first sight) and return all that there is."""
        while not self._first:
            events = [await self._inotify.get()]
            while (event := self._inotify.sync_get()) is not None:  # all that has come so far is one change
                events.append(event)
            if any(event.mask & self._gone for event in events):
                # A folder that vanishes is an accident and no wish that all its LANs go: what is known stays.
                log.error("the LAN folder %s is gone: its LANs stay as they are", self._folder)
                await asyncio.get_running_loop().create_future()
            if any(event.name is not None and event.name.suffix in (".yaml", ".yml") for event in events):
                break
        self._first = False
        return read_folder(self._folder)

    async def close(self) -> None:
        """Stop watching."""
        self._inotify.close()


def with_birth(lan: Lan, known: Lan | None, now: str) -> Lan:
    """A LAN from a file with a time of creation, so that of two that clash the one that was there first works on."""
    return lan if lan.created else replace(lan, created=known.created if known and known.created else now)
