"""Words of a command line as kubectl takes them, put the way that typer takes them.

kubectl's global options may stand anywhere, also before the command, and the value of its ``--dry-run`` may be left
out.
"""

from __future__ import annotations

from collections.abc import Sequence

_GLOBAL = ("-n", "--namespace", "--context", "--kubeconfig", "--as")
_GROUPS = ("lan", "lab")
_OPERATIONS_ALONE = "node-agent"
"""The command whose ``--dry-run`` has no value: it has nothing that an API server could check."""


def usual(words: Sequence[str]) -> list[str]:
    """Return the words with global options behind the command, and a value behind ``--dry-run``."""
    rest = list(words)
    before: list[str] = []
    command: list[str] = []
    while rest:
        word = rest[0]
        if word in _GLOBAL and len(rest) > 1:
            before += [rest.pop(0), rest.pop(0)]
        elif word.partition("=")[0] in _GLOBAL[1:] and "=" in word:
            before.append(rest.pop(0))
        elif word in _GROUPS and not command:
            command.append(rest.pop(0))
        else:
            break
    end = rest.index("--") if "--" in rest else len(rest)
    valued = command or next((word for word in rest if not word.startswith("-")), "") != _OPERATIONS_ALONE
    options = ["--dry-run=server" if valued and word == "--dry-run" else word for word in rest[:end]]
    return [*command, *options, *before, *rest[end:]]
