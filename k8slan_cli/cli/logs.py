"""The log of agent and controller: on stderr, a line for each message."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from k8slan_cli.errors import K8slanError
from k8slan_cli.lan.names import one_line

LevelOption = Annotated[
    str,
    typer.Option(metavar="LEVEL", envvar="K8SLAN_LOG_LEVEL", help="How much to log: debug, info, warning or error."),
]


class _Lines(logging.Formatter):
    """Keeps a message on its line, as parts of it are by plugins, pods and the API server; tracebacks have theirs."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = one_line(record.message)
        return super().formatMessage(record)


def begin(level: str) -> None:
    """Log from now on what is at least of ``level``.

    Raises:
        K8slanError: there is no such level.

    """
    levels = logging.getLevelNamesMapping()
    if level.upper() not in levels:
        raise K8slanError(f"{level!r} is not a log level", hint="debug, info, warning or error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(handlers=[handler], level=levels[level.upper()], force=True)
