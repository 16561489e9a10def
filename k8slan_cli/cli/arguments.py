"""Words of a command line as kubectl takes them, put the way that typer takes them.

kubectl's global options may stand anywhere, also before the command, a short option may have its value after a "=",
and the value of ``--dry-run`` may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_GLOBAL = re.compile("-n|--namespace|--context|--kubeconfig|--as")
_GLOBAL_WITH_VALUE = re.compile("-n.+|(--namespace|--context|--kubeconfig|--as)=.*", re.DOTALL)
_SHORT_WITH_VALUE = re.compile("(-[a-zA-Z])=(.+)", re.DOTALL)
_DEBUG = "--debug"
_GROUPS = ("lan", "lab")
_OPERATIONS_ALONE = "node-agent"
"""The command whose ``--dry-run`` has no value: it has nothing that an API server could check."""
_DRY_RUNS = ("none", "client", "server")


def usual(words: Sequence[str]) -> list[str]:
    """Return the words with global options behind the command, and values where typer looks for them."""
    rest = list(words)
    first: list[str] = []
    before: list[str] = []
    group: list[str] = []
    while rest:
        if rest[0] == _DEBUG:
            first.append(rest.pop(0))
        elif _GLOBAL.fullmatch(rest[0]) and len(rest) > 1:
            before += [rest.pop(0), rest.pop(0)]
        elif _GLOBAL_WITH_VALUE.fullmatch(rest[0]):
            before.append(rest.pop(0))
        elif rest[0] in _GROUPS and not group:
            group.append(rest.pop(0))
        else:
            break
    if not rest or rest[0].startswith("-"):  # there is no command that they could be for: it is about help
        return [*first, *group, *rest]
    end = rest.index("--") if "--" in rest else len(rest)
    options = [*rest[:1], *before, *rest[1:end]]
    if group or rest[0] != _OPERATIONS_ALONE:
        options = list(_dry_run(options))
    return [*first, *group, *(_SHORT_WITH_VALUE.sub(r"\1\2", word) for word in options), *rest[end:]]


def _dry_run(words: Sequence[str]) -> Iterator[str]:
    """The words, each ``--dry-run`` with its value: the next word, if it can be that."""
    left = iter(words)
    for word in left:
        if word != "--dry-run":
            yield word
        elif (after := next(left, "")) in _DRY_RUNS:
            yield f"{word}={after}"
        else:
            yield f"{word}=server"
            yield from [after] if after else ()
