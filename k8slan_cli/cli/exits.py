"""What every command ends with: errors that only commands have, and the one place where errors become exit statuses.

::

      0  done
      1  it could not be done: refused, or what was given is not valid
      2  the command line is wrong
      3  something has to be there first: a kubeconfig, an answer from the cluster, a right, k8slan or multus in it
      4  it has not come about in time
      5  something is in use, or in the way
      6  what a command names does not exist
    130  interrupted
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from k8slan_cli.errors import Invalid, K8slanError


class Exit(enum.IntEnum):
    """Exit statuses."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    LATE = 4
    IN_USE = 5
    ABSENT = 6
    INTERRUPTED = 130


class UsageError(K8slanError):
    """Options that do not go together, or arguments that cannot be what they should."""


class LateError(K8slanError):
    """Something has not come about in time."""


class InUseError(K8slanError):
    """Something cannot go because it is in use."""


class AbsentError(K8slanError):
    """What a command names does not exist; ``known`` are the names that do."""

    def __init__(self, message: str, *, name: str = "", known: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=near(name, known) or hint)


def near(name: str, known: Iterable[str]) -> str:
    """A question that suggests the names most like ``name``; if none is, the few that there are; else ""."""
    import difflib

    ordered = sorted(set(known))
    folded = {item.lower(): item for item in ordered}
    alike = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.6)]
    if not alike and name:
        alike = [item for item in ordered if item.startswith(name) or name.startswith(item)][:3]
    if alike:
        return f"did you mean {_listed(alike, 'or')}?"
    verb = "is" if len(ordered) == 1 else "are"
    return f"there {verb} {_listed(ordered, 'and')}" if 0 < len(ordered) <= _FEW else ""


_FEW = 6


def _listed(items: list[str], word: str) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def status(error: K8slanError) -> Exit:
    """The exit status of an error."""
    from k8slan_cli.kube.connection import MissingError

    statuses: dict[type[K8slanError], Exit] = {
        UsageError: Exit.USAGE,
        MissingError: Exit.MISSING,
        LateError: Exit.LATE,
        InUseError: Exit.IN_USE,
        AbsentError: Exit.ABSENT,
    }
    return next((found for kind, found in statuses.items() if isinstance(error, kind)), Exit.FAILED)


def words(error: K8slanError) -> str:
    """An error for people: one sentence, then all problems or what to do, each on a line of its own."""
    if isinstance(error, Invalid):
        return "\n  ".join([f"{error.subject} is not valid:", *map(str, error.problems)])
    return error.message + (f"\n  {error.hint}" if error.hint else "")
