"""CNI versions: which there are, and which one a request asked for.

``asked`` works on any bytes, valid JSON or not, because errors are to be answered in the version asked for and
broken JSON is one of them. It is the same small machine as ``find_version`` in the C forwarder, and the tests hold the
two against each other. Light on imports: the client starts with this.
"""

from __future__ import annotations

import re

SUPPORTED = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = SUPPORTED[-1]

_TOKEN = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"|[":{}\[\]]|[^ \t\n\r":{}\[\]]+', re.DOTALL)
_SAFE = re.compile(rb"[0-9.]{1,31}")


def at_least(version: str, minimum: str) -> bool:
    """Whether a supported version is ``minimum`` or newer."""
    return SUPPORTED.index(version) >= SUPPORTED.index(minimum)


def asked(stdin: bytes) -> str:
    """The top-level ``cniVersion`` of a configuration; the newest when there is none made of digits and dots."""
    version, depth = NEWEST, 0
    key = value = False  # the last string was "cniVersion"; a colon stood behind it
    for token in _TOKEN.finditer(stdin):
        text, string = token[0], token[1]
        if text == b'"':  # a string that never ends
            break
        if string is not None:
            if depth == 1 and value:
                version = string.decode() if _SAFE.fullmatch(string) else NEWEST
            key = depth == 1 and not value and string == b"cniVersion"
            value = False
        elif text == b":":
            value = key and depth == 1
        else:
            depth += (text in b"{[") - (text in b"}]")
            key = value = False
    return version
