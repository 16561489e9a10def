"""What commands that print share: a console, and tables that any terminal can show."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table

from k8slan_cli.cli.terminal import past_filter


def console(*, stderr: bool = False) -> Console:
    """Where a command prints; colours only where a person sees them, nothing coloured but what the command says."""
    file = past_filter(sys.stderr if stderr else sys.stdout)
    return Console(file=file, highlight=False, soft_wrap=not Console(file=file).is_terminal)


def draws_boxes(out: Console) -> bool:
    """Whether the terminal's encoding has box-drawing characters."""
    try:
        "┌╿╧┨…→✓".encode(out.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


_ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def table(out: Console) -> Table:
    """An empty table in the style of all tables: a line below the headings, and space."""
    style = box.SIMPLE_HEAD if draws_boxes(out) else _ASCII_HEAD
    return Table(box=style, pad_edge=False, padding=(0, 1, 0, 0))
