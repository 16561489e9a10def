"""Which commit this k8slan is of, and when it was built: for ``k8slan --version`` and reports of bugs.

A wheel has it in a file that the build has written (tools/build_hook.py). A checkout asks git, only when somebody wants
to know, and no other command waits for that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("build.json")
DIGITS = 12  # of a commit, for people
_PATIENCE = 5.0  # seconds for git, which waits for the disk only


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the running code comes from; what is not known is empty."""

    commit: str = ""
    """The commit's whole name."""
    changed: bool = False
    """Whether files differ from that commit."""
    built: str = ""
    """The day of the build, as 2026-11-27; empty in a checkout, of which nothing was built."""

    def __str__(self) -> str:
        commit = f"commit {self.commit[:DIGITS] or 'unknown'}{' with changes' if self.changed else ''}"
        return f"{commit}, built {self.built}" if self.built else commit


def origin(file: Path = FILE) -> Origin:
    """Where the running code comes from: what the build has written, or what git says of the checkout around it."""
    try:
        found = json.loads(file.read_text())
        return Origin(commit=str(found["commit"]), changed=bool(found["changed"]), built=str(found["built"]))
    except (OSError, ValueError, KeyError, TypeError):
        return checkout(file.parents[1])


def checkout(folder: Path) -> Origin:
    """What git says of a folder; nothing is known where it is no checkout, or there is no git."""
    import subprocess

    if not (folder / ".git").exists():  # and not one that some folder above belongs to
        return Origin()
    # A checkout of another user's is read all the same; nothing of it is run.
    git = ["git", "-C", str(folder), "-c", f"safe.directory={folder}", "-c", "core.fsmonitor=false"]
    try:
        said = subprocess.run(  # noqa: S603 - no shell, and the folder is our own
            [*git, "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return Origin()
    return Origin(commit=said.removesuffix("-dirty"), changed=said.endswith("-dirty"))
