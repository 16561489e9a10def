"""Laying out what people read: tables that fit, ages, colours where they are seen. No rich, whose import is a wait.

Where the output is not a terminal (a pipe, a file) nothing is wrapped, cut or left out, so that grep and awk find all
of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from k8slan_cli.cli.terminal import BOLD, GREEN, GREY, PLAIN, RED, YELLOW, past_filter
from k8slan_cli.lan.names import one_line
from k8slan_cli.picture.text import cut

_GAP = 2
_SHORTEST = 6  # columns that a cell keeps
_PROSE = 32  # columns that prose is given before others are left out
TICK = "✓"
"""What goes before all that is as it should be."""
_GOOD, _BAD, _QUIET = GREEN, RED, GREY
_COLOURS = {
    "True": _GOOD,
    "Ready": _GOOD,
    "False": _BAD,
    "Degraded": _BAD,
    "Warning": _BAD,
    "Deleting": _BAD,
    "Deleted": _QUIET,
    "waiting": _QUIET,
    "ok": _GOOD,
    "warn": YELLOW,
    "fail": _BAD,
    "dropped": _BAD,
    "changed": _BAD,
    "duplicated": _BAD,
    "unsent": _BAD,
    "link down": _BAD,
    "link down at the other end": _BAD,
    "1 down": _BAD,
    "up": _GOOD,
    "down": _BAD,
    "no carrier": _BAD,
    "broken": _BAD,
}


def width(stream: TextIO | None = None) -> int | None:
    """The columns of the terminal that a stream is, stdout by itself; None if it is none."""
    stream = stream or sys.stdout
    if not stream.isatty():
        return None
    with contextlib.suppress(ValueError, OSError):
        if not os.environ.get("COLUMNS") and (columns := os.get_terminal_size(stream.fileno()).columns):
            return columns
    return shutil.get_terminal_size().columns


def progress(words: str) -> None:
    """Print a line on the terminal that the next one replaces, if stderr is one; one that is wrapped could not be."""
    if sys.stderr.isatty():
        past_filter(sys.stderr).write("\r\x1b[K")  # never a mark: text from elsewhere could have it
        sys.stderr.write(cut(words, (width(sys.stderr) or 80) - 1))
        sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Those with the highest ``rank`` are left out first, those with 0 never; ``prose`` may be wrapped.

    What is too long loses its end, or its ``middle``: names of pods differ at their ends.
    """

    head: str
    rank: int = 0
    prose: bool = False
    middle: bool = False


class Table:
    """Rows under headings. Its columns are chosen for the first rows; what comes later goes under the same ones.

    In a terminal of ``limit`` columns it loses its least important columns until it fits, then prose is wrapped, and
    at last the longest cells are cut. None is no limit.
    """

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], limit: int | None) -> None:
        rows = [[one_line(cell) for cell in row] for row in rows]
        full = [max(len(c.head), *(len(row[i]) for row in rows), 0) for i, c in enumerate(columns)]
        wide = [min(full[i], _PROSE) if limit is not None and c.prose else full[i] for i, c in enumerate(columns)]
        chosen = list(range(len(columns)))
        if limit is not None:
            while _total(wide, chosen) > limit and any(columns[i].rank for i in chosen):
                chosen.remove(max(reversed(chosen), key=lambda i: columns[i].rank))
            while (excess := _total(wide, chosen) - limit) > 0:
                longest = max(chosen, key=lambda i: wide[i])
                if wide[longest] <= _SHORTEST:
                    break
                wide[longest] -= min(excess, wide[longest] - _SHORTEST, 8)
            for i in chosen:
                if columns[i].prose:
                    wide[i] = min(full[i], max(wide[i], wide[i] + limit - _total(wide, chosen)))
        self._columns, self._rows = columns, rows
        self._wide, self._chosen, self._limited = wide, chosen, limit is not None

    @property
    def left_out(self) -> list[str]:
        """The headings of the columns that the terminal is too narrow for."""
        return [column.head for i, column in enumerate(self._columns) if i not in self._chosen]

    @property
    def width(self) -> int:
        """How wide it is, in columns of the terminal."""
        return _total(self._wide, self._chosen)

    def shown(self, row: Sequence[str]) -> list[str]:
        """What of a row is shown."""
        return [row[i] for i in self._chosen]

    def lines(self) -> Iterator[str]:
        """All of it."""
        yield from self.line([column.head for column in self._columns])
        yield from self.body()

    def body(self) -> Iterator[str]:
        """The rows without their headings."""
        for row in self._rows:
            yield from self.line(row)

    def line(self, row: Sequence[str]) -> Iterator[str]:
        """One row; more than one line only if it has prose that is wrapped."""
        cells = [self._cell(one_line(text), i) for text, i in zip(self.shown(row), self._chosen, strict=True)]
        for number in range(max(map(len, cells))):
            parts = []
            for i, cell in zip(self._chosen, cells, strict=True):
                text = cell[number] if number < len(cell) else ""
                parts.append(coloured(text) + " " * (max(self._wide[i] - len(text), 0) + _GAP))
            yield "".join(parts).rstrip()

    def _cell(self, text: str, i: int) -> list[str]:
        if len(text) <= self._wide[i] or not self._limited:
            return [text]
        if self._columns[i].prose:
            return textwrap.wrap(text, self._wide[i], break_on_hyphens=False)
        return [(cut_middle if self._columns[i].middle else cut)(text, self._wide[i])]


def cut_middle(text: str, room: int) -> str:
    """Return ``text``, or its beginning and its end around an ellipsis."""
    if len(text) <= room:
        return text
    end = room // 2
    return f"{text[: room - end - 1]}…{text[len(text) - end :]}"


def _total(wide: Sequence[int], chosen: Sequence[int]) -> int:
    return sum(wide[i] + _GAP for i in chosen) - _GAP


def left_out(heads: Iterable[str], limit: int | None) -> Iterator[str]:
    """Say which columns are not there, if any, and how to see them."""
    if heads := list(dict.fromkeys(heads)):
        yield from paragraph(f"Too narrow for {', '.join(heads)}: -o wide shows all columns.", limit)


def coloured(text: str) -> str:
    """A word or a mark that says how something is, in its colour."""
    colour = _GOOD if text.startswith(TICK) else _COLOURS.get(text)
    return f"{colour}{text}{PLAIN}" if colour and _colours() else text


def strong(text: str) -> str:
    """A heading."""
    return f"{BOLD}{text}{PLAIN}" if _colours() else text


def added(line: str) -> str:
    """A line of a diff that is new."""
    return f"{GREEN}{line}{PLAIN}" if _colours() else line


def removed(line: str) -> str:
    """A line of a diff that is no more."""
    return f"{RED}{line}{PLAIN}" if _colours() else line


def quiet(line: str) -> str:
    """What there is little to say of."""
    return f"{GREY}{line}{PLAIN}" if _colours() else line


def _colours() -> bool:
    """Whether a person sees colours here, and wants them (no-color.org, force-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stdout.isatty() and os.environ.get("TERM") != "dumb")


def fields(pairs: Iterable[tuple[str, str]], limit: int | None, indent: str = "  ") -> Iterator[str]:
    """Names and values beside each other, the values wrapped; those without a value are left out."""
    known = [(name, value) for name, value in pairs if value]
    room = max((len(name) for name, _ in known), default=0) + _GAP
    for name, value in known:
        yield from paragraph(value, limit, indent + name.ljust(room), indent + " " * room)


def paragraph(text: str, limit: int | None, first: str = "", rest: str | None = None) -> Iterator[str]:
    """``text`` wrapped into the terminal, if it is one; ``first`` and ``rest`` go before its lines."""
    text = one_line(text)
    if limit is None:
        yield first + text
        return
    yield from textwrap.wrap(
        text,
        max(limit, len(first) + 20),
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def age(since: str, now: datetime | None = None) -> str:
    """How long ago a time of the API (RFC 3339) was, in its two largest units at the most; "" for none."""
    try:
        then = datetime.fromisoformat(since)
    except ValueError:
        return ""
    return duration(max(0, int(((now or datetime.now(UTC)) - then).total_seconds())))


def duration(seconds: int) -> str:
    """Some time, in its two largest units at the most."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if days < 2:
        return f"{hours}h"
    return f"{days}d"


def plural(number: int, word: str) -> str:
    """``1 pod``, ``2 pods``."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def size(number: int) -> str:
    """Bytes in the largest unit (SI) that leaves at least one: ``60 B``, ``1.2 kB``."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if number >= 1000**power:
            return f"{number / 1000**power:.1f} {unit}"
    return f"{number} B"
