"""The way to the terminal: all that a command prints passes here, and none of it can command the terminal.

Much of what commands and logs show was written by somebody else: annotations, events, conditions, names of VMs, errors
of plugins. Control characters in it would move the cursor or forge lines; others would hide or reorder text. So a
``Terminal`` stands before stdout and stderr of every command, where no command can forget it. What k8slan itself wants
of a terminal, a colour for instance, is a mark in the text until it is printed.
"""

from __future__ import annotations

import codecs
import io
import re
import sys
import unicodedata
from typing import Any, TextIO, cast

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


class Terminal:
    """A stream that prints what is visible of a text, and marks as what they stand for. All else is the stream's own.

    A terminal whose encoding lacks a sign shows a question mark.
    """

    def __init__(self, stream: TextIO) -> None:
        """Stand before ``stream``."""
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        self.stream.write(_SUSPECT.sub(lambda found: _SEQUENCES.get(found[0]) or _shown(found[0]), text))
        return len(text)

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
    """Let nothing reach stdout and stderr of this process but through a ``Terminal``."""
    sys.stdout, sys.stderr = cast("TextIO", Terminal(sys.stdout)), cast("TextIO", Terminal(sys.stderr))


def past_filter(stream: TextIO) -> TextIO:
    """Return the stream behind a ``Terminal``, for rich and its own sequences: nothing from a cluster may go there."""
    return stream.stream if isinstance(stream, Terminal) else stream
