"""Every error that k8slan raises on purpose.

::

    K8slanError                     what is wrong, and what to do about it
    ├── Invalid                     a document that breaks rules: all of its problems, with field paths
    ├── CniError                    a CNI error object (CNI spec 1.1.0, "Error"): code, msg, details
    │   └── agent.PluginRefused     an IPAM plugin ended with an error, or is not there
    ├── KernelError                 the kernel refused an operation: errno and the operation's own words
    │   ├── UnderlayMissing         the underlay device is not there (yet)
    │   └── PodGone                 a pod's namespace is not there any more
    ├── StoreError                  a record under the run directory could not be read or written
    ├── AbsentError                 what a person named does not exist
    ├── UsageError                  what a person asks for does not go together, or cannot be
    ├── kube.ApiError               the API server refused a request
    │   └── kube.MissingError       it does not answer, or a kubeconfig, a right or k8slan itself is missing
    ├── serve.AddressTaken          another program listens where k8slan is to
    ├── diagnose.AgentError         an agent's diagnostics endpoint refused a request, or did not answer
    └── cli.exits                   what has an exit status of its own

An edge (CNI answer, exit code, gRPC status, admission verdict) maps this tree once; everything below an edge
raises from it and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One broken rule: the field's path as a user writes it (``spec.spokes[2]``), and what is wrong with it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class K8slanError(Exception):
    """What is wrong, in a sentence; ``hint`` says what to do, where that is known."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Invalid(K8slanError):
    """A document breaks rules; ``problems`` holds every one of them, never only the first."""

    def __init__(self, subject: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(f"{subject}: " + "; ".join(map(str, problems)))
        self.subject = subject
        self.problems = problems


class CniError(K8slanError):
    """An error to be answered to a container runtime (CNI spec 1.1.0, "Error")."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg, hint=details)
        self.code = code
        self.msg = msg
        self.details = details


class KernelError(K8slanError):
    """The kernel refused an operation."""

    def __init__(self, errno: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = errno


class UnderlayMissing(KernelError):
    """The device that should carry VXLAN is not there; it may come back."""


class PodGone(KernelError):
    """The namespace of a pod is not there any more, and no DEL has come yet."""


class StoreError(K8slanError):
    """A record under the run directory could not be read or written."""


class AbsentError(K8slanError):
    """What a command names does not exist; ``known`` are the names that do."""

    def __init__(self, message: str, *, name: str = "", known: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=near(name, known) or hint)


class UsageError(K8slanError):
    """Options that do not go together, or arguments that cannot be what they should."""


def yaml_fault(error: Exception) -> str:
    """What is wrong with a text that is not YAML, and where, of an error of PyYAML."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return str(error).splitlines()[0]
    said = " ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None))))
    return f"line {mark.line + 1}, column {mark.column + 1}: " + re.sub("'<(.*?)>'", r"\1", said)


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
