"""Names for what tests make on the machine: never the same twice, and told at sight from anybody else's.

Each begins with ``k8t`` and three characters of this test run, so that the leak guard (leaks.py) finds what
a run left behind, also while another run is at work on the same machine.
"""

from __future__ import annotations

import itertools
import secrets
import string

_DIGITS = string.digits + string.ascii_lowercase
PREFIX = "k8t" + "".join(secrets.choice(_DIGITS) for _ in range(3))
"""How every name of this test run begins."""

MAX_BYTES = 13
"""What k8slan takes as a name of a link or a spoke; the kernel takes 15."""

_ends = map("".join, itertools.product(_DIGITS, repeat=3))
"""Of one length, so that no word makes a name that another word has; 46,656 are more than a test run needs."""


def unique(word: str = "") -> str:
    """A new name of at most 13 characters, good for a namespace, a link, a spoke or a DNS label.

    ``word`` (lower-case letters and digits, up to 4) is for people who read it.
    """
    name = f"{PREFIX}{word}{next(_ends)}"
    if len(name) > MAX_BYTES:
        raise ValueError(f"{name!r} is longer than {MAX_BYTES} characters: shorten {word!r}")
    return name
