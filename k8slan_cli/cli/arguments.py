"""Words of a command line as kubectl takes them, put the way that typer takes them.

kubectl's global options may stand anywhere, also before the command, and its ``--dry-run`` has a value. Every dry run
here asks the API server where there is something to ask, so ``client`` and ``server`` are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

_GLOBAL = ("-n", "--namespace", "--context", "--kubeconfig", "--as")
_GROUPS = ("lan", "lab")
_DRY_RUNS = {"--dry-run=client": ["--dry-run"], "--dry-run=server": ["--dry-run"], "--dry-run=none": []}


def usual(words: Sequence[str]) -> list[str]:
    """Return the words with global options behind the command, and ``--dry-run`` without a value."""
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
    options = [item for word in rest[:end] for item in _DRY_RUNS.get(word, [word])]
    return [*command, *options, *before, *rest[end:]]
