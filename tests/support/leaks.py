"""The leak guard: what tests make on the machine has to be gone after them.

Two snapshots, before and after, are compared. Other people may use the same machine, so only what carries
this run's prefix (names.py) or lies under its temporary folder counts; in CI the machine is ours alone and
everything counts. Processes are known by descent: the test run makes itself the reaper of its orphans
(``adopt_orphans``), so a process that a test started and forgot ends up among its children.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from tests.support import names

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


_RUN = re.compile(r"k8t[a-z0-9]{3}")
"""How the names of a test run begin (names.PREFIX)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What there is of each kind that a test can leave behind."""

    namespaces: frozenset[str]
    links: frozenset[str]
    mounts: frozenset[str]
    folders: frozenset[str]
    processes: frozenset[str]

    @classmethod
    def take(cls, temporary: Path, *, everything: bool) -> Snapshot:
        """Look at the machine: at ``everything``, or at what is ours by name or lies under ``temporary``."""

        def ours(name: str) -> bool:
            run = _RUN.search(name)
            if run and run[0] != names.PREFIX:
                return False  # another test run is at work on this machine
            return everything or bool(run) or name.startswith(f"{temporary}/")

        mounts = {_unescaped(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        return cls(
            namespaces=frozenset(filter(ours, _entries(Path("/run/netns")))),
            links=frozenset(filter(ours, (name for _, name in socket.if_nameindex()))),
            mounts=frozenset(filter(ours, mounts)) - {"/run/netns"},  # iproute2 makes it one for good
            folders=frozenset(
                name
                for parent in (Path("/run"), Path(tempfile.gettempdir()))
                for name in _entries(parent)
                if names.PREFIX in name or (everything and name.startswith("k8slan") and ours(name))
            ),
            processes=frozenset(_descendants(os.getpid())),
        )

    def since(self, before: Snapshot) -> list[str]:
        """What is here and was not before, a line for each kind."""
        lines = []
        for kind in fields(self):
            new = getattr(self, kind.name) - getattr(before, kind.name)
            if new:
                lines.append(f"{kind.name}: {', '.join(sorted(new))}")
        return lines


def _entries(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in directory.iterdir()]
    except FileNotFoundError:
        return []


def _unescaped(text: str) -> str:
    """A path as mountinfo writes it: space, tab, newline and backslash in octal (proc(5))."""
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _descendants(pid: int) -> list[str]:
    """Every living process below ``pid``, as "number (name)"; a zombie has left nothing but its number."""
    found: list[str] = []
    try:
        children = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in _children(task)]
    except FileNotFoundError:
        return found
    for child in children:
        try:
            name, _, rest = Path(f"/proc/{child}/stat").read_text().partition("(")[2].rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if rest.split()[0] not in "ZX":
            found.append(f"{child} ({name})")
            found.extend(_descendants(child))
    return found


def _children(task: Path) -> list[int]:
    try:
        return [int(word) for word in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
