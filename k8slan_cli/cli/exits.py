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

from k8slan_cli.errors import AbsentError, Invalid, K8slanError, UsageError

__all__ = ["Exit", "InUseError", "LateError", "UsageError", "status", "words"]


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


class LateError(K8slanError):
    """Something has not come about in time."""


class InUseError(K8slanError):
    """Something cannot go because it is in use."""


def status(error: K8slanError) -> Exit:
    """The exit status of an error."""
    from k8slan_cli.kube.client import MissingError

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
        are = "are" if error.subject == "settings" else "is"
        return "\n  ".join([f"{error.subject} {are} not valid:", *map(str, error.problems)])
    return error.message + (f"\n  {error.hint}" if error.hint else "")
