"""Where LANs come from: a folder of YAML files here; the Kubernetes API is the other source (kube/lans.py).

A source gives snapshots: all LANs it sees, each with its origin, and the origins that it cannot read now. Whatever
woke it, it reads everything again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NoReturn, Protocol

import yaml

from k8slan_cli import limits
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


_RETRY_SECONDS = 1.0
MAX_FILE = 1 << 20
"""As much as a ConfigMap holds; parsing a MiB of YAML takes seconds, during part of which nothing else runs."""


def read_documents(text: str, origin: str) -> list[object]:
    """The documents of a YAML text, those of a List one by one; empty ones are left out.

    Raises:
        Invalid: it is not YAML.

    """
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, OverflowError) as error:
        # The last four come from scalars that do not fit their explicit tags.
        raise Invalid(origin, (Problem(field="", message=f"is not YAML: {' '.join(str(error).split())}"),)) from error
    return [item for document in documents if document is not None for item in codec.items(document)]


def read_folder(folder: Path) -> Snapshot:
    """All LANs of a folder's ``*.yaml`` and ``*.yml`` files. A broken file takes only itself out.

    Raises:
        K8slanError: the folder cannot be read, or not all of it for want of descriptors or memory.

    """
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and not p.name.startswith("."))
    except OSError as error:
        words = f"cannot read the LAN folder {folder}: {error.strerror}"
        raise limits.shortage(error) or K8slanError(words) from error
    lans: dict[LanRef, tuple[Lan, str]] = {}
    broken: dict[str, tuple[Problem, ...]] = {}
    for path in paths:
        try:
            found = _read_file(path)
            if taken := [ref for ref in found if ref in lans]:
                words = f"LAN {taken[0]} is in {lans[taken[0]][1]} too"
                raise Invalid(path.name, (Problem(field="metadata.name", message=words),))
        except FileNotFoundError:
            continue  # gone since it was listed
        except Invalid as error:
            broken[path.name] = error.problems
        except OSError as error:
            if shortage := limits.shortage(error):
                raise shortage from error
            broken[path.name] = (Problem(field="", message=f"cannot be read: {error.strerror}"),)
        else:
            lans |= {ref: (lan, path.name) for ref, lan in found.items()}
    return Snapshot(lans=lans, broken=broken)


def _read_file(path: Path) -> dict[LanRef, Lan]:
    """The LANs of a file.

    Raises:
        Invalid: with the problems of all documents in it.
        OSError: it cannot be read.

    """
    documents = read_documents(_read(path), path.name)
    lans: dict[LanRef, Lan] = {}
    problems: list[Problem] = []
    for number, document in enumerate(documents, 1):
        try:
            lan = codec.decode(codec.as_written(document), new=True)
        except Invalid as error:
            where = f"document {number}: " if len(documents) > 1 else ""
            problems += [Problem(field=where + p.field, message=p.message) for p in error.problems]
            continue
        if not lan.vni:
            problems.append(Problem(field="spec.vni", message="is missing: in a cluster alone is one allotted"))
        if lan.ref in lans:
            problems.append(Problem(field="metadata.name", message=f"LAN {lan.ref} is in {path.name} twice"))
        lans[lan.ref] = lan
    if problems:
        raise Invalid(path.name, tuple(problems))
    return lans


def _read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold the agent up
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Invalid(path.name, (Problem(field="", message="is not a file"),))
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_FILE + 1)
    finally:
        os.close(fd)
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
        from asyncinotify import Mask

        self._folder = folder
        mask = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.DELETE_SELF | Mask.MOVE_SELF
        self._inotify = limits.watch("the LAN folder", folder, mask | Mask.ONLYDIR)
        self._gone = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.IGNORED
        self._lost = Mask.Q_OVERFLOW
        self._first = True

    async def next(self) -> Snapshot:
        """Wait for a change (the first time: for the first sight) and return all that there is."""
        while not self._first:
            events = [await self._inotify.get()]
            while (event := self._inotify.sync_get()) is not None:  # all that has come so far is one change
                events.append(event)
            if any(event.mask & self._gone for event in events):
                await self._rest()
            if any(event.mask & self._lost or _concerns(event.name) for event in events):
                break
        while True:
            try:
                found = await asyncio.to_thread(read_folder, self._folder)  # a large file takes its time
            except K8slanError as error:
                if self._first:
                    raise
                if not self._folder.is_dir():
                    return await self._rest()
                log.error("the LANs stay as they are for now: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._first = False
                return found

    async def _rest(self) -> NoReturn:
        """Never return: a folder that vanishes is an accident, not a request to delete its LANs."""
        log.error("the LAN folder %s is gone: its LANs stay as they are", self._folder)
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def close(self) -> None:
        """Stop watching."""
        self._inotify.close()


def _concerns(name: Path | None) -> bool:
    """Whether a change of this name may be one of LANs; ``..data`` is the link through which Kubernetes' volumes go."""
    return name is not None and (name.suffix in (".yaml", ".yml") or name.name == "..data")


def with_birth(lan: Lan, known: Lan | None, now: str) -> Lan:
    """A LAN from a file with a time of creation, so that of two that clash the one that was there first works on."""
    return lan if lan.created else replace(lan, created=known.created if known and known.created else now)
