"""The way to the terminal: all that a command prints passes here, and none of it can command the terminal.

Much of what commands and logs show was written by somebody else: annotations, events, conditions, names of VMs, errors
of plugins. Control characters in it would move the cursor or forge lines; others would hide or reorder text. So a
``Terminal`` stands before stdout and stderr of every command, where no command can forget it. What k8slan itself wants
of a terminal, a colour for instance, is a mark in the text until it is printed.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Any, TextIO, cast

from k8slan_cli.errors import K8slanError

# Unicode's noncharacters (section 23.7): text from elsewhere that has them can colour itself, and do no more.
PLAIN, BOLD, RED, GREEN, YELLOW, GREY = "\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4\ufdd5"
_SEQUENCES = {
    PLAIN: "\x1b[0m",
    BOLD: "\x1b[1m",
    RED: "\x1b[31m",
    GREEN: "\x1b[32m",
    YELLOW: "\x1b[33m",
    GREY: "\x1b[90m",
}
_SUSPECT = re.compile(r"[^\n\t -~]")


def visible(text: str) -> str:
    """Return text with another sign for each that commands a terminal or is not seen; line breaks and tabs stay."""
    return _SUSPECT.sub(lambda found: _shown(found[0]), text)


def _shown(sign: str) -> str:
    if sign.isprintable():
        return sign
    return " " if unicodedata.category(sign) == "Zs" else "\N{REPLACEMENT CHARACTER}"


_ASCII = str.maketrans(
    {"→": "->", "←": "<-", "…": "...", "×": "x", "µ": "u", "·": ".", "–": "-", "—": "-", "✓": "ok", "²": "2"}
)
"""What to show of signs that k8slan itself prints where an encoding lacks them."""


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Encode what an encoding lacks: as the nearest that ASCII has, or as a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ASCII)
    return "".join(sign if sign.isascii() else "?" for sign in text), error.end


codecs.register_error("k8slan-plainer", _plainer)


class Terminal:
    """A stream that prints what is visible of a text, and marks as what they stand for. All else is the stream's own.

    A terminal whose encoding lacks a sign shows the nearest to it, or a question mark. With a ``name``, a text that
    cannot be written is an error that names it, unless the reader of a pipe is gone; without one it is lost: there is
    nowhere to tell it.
    """

    def __init__(self, stream: TextIO, name: str = "") -> None:
        """Stand before ``stream``."""
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="k8slan-plainer")
        self.stream = stream
        self._name = name
        self._broken = False

    def write(self, text: str) -> int:
        """Write a text; returns its length.

        Raises:
            K8slanError: it cannot be written.

        """
        shown = _SUSPECT.sub(lambda found: _SEQUENCES.get(found[0]) or _shown(found[0]), text)
        if shown:  # typer writes nothing to find out what this is, and takes an error for an answer
            self._attempt(lambda: self.stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Write what is kept back.

        Raises:
            K8slanError: it cannot be written.

        """
        self._attempt(self.stream.flush)

    def _attempt(self, act: Callable[[], object]) -> None:
        """Do what may fail, and after that has failed nothing: what is kept back fails again at the very end."""
        if self._broken:
            return
        try:
            act()
        except OSError as error:
            self._broken = True
            if isinstance(error, BrokenPipeError):
                raise
            if self._name:
                raise K8slanError(f"cannot write to {self._name}: {error.strerror}") from error

    def writelines(self, lines: Any) -> None:
        """Write several."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        # typer looks for the bytes below an ASCII stream, to write UTF-8 to them, past this filter.
        if name == "buffer" and codecs.lookup(self.stream.encoding or "utf-8").name == "ascii":
            raise AttributeError(name)
        return getattr(self.stream, name)


def stand_before() -> None:
    """Let nothing reach stdout and stderr of this process but through a ``Terminal``.

    One of them that the caller has closed is one that cannot be written to.
    """
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:  # else the next file that is opened would take its number, and what is printed
            os.open(os.devnull, os.O_RDONLY)
            setattr(sys, ("stdin", "stdout", "stderr")[number], os.fdopen(number, "w" if number else "r"))
    sys.stdout = cast("TextIO", Terminal(sys.stdout, "standard output"))
    sys.stderr = cast("TextIO", Terminal(sys.stderr))


def past_filter(stream: TextIO) -> TextIO:
    """Return the stream behind a ``Terminal``, for rich and its own sequences: nothing from a cluster may go there."""
    return stream.stream if isinstance(stream, Terminal) else stream
