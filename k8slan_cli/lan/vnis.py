"""Which VNIs the controller may allot to LANs that name none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

MAX_VNI = (1 << 24) - 1
"""RFC 7348, section 5: 24 bits."""
DEFAULT_VNIS = range(10_000, MAX_VNI + 1)
"""Below are the numbers that other overlays give themselves."""


def parse(text: str) -> range:
    """Return the range that a text as ``10000-19999`` names.

    Raises:
        ValueError: it is none, which the error says in words.

    """
    found = re.fullmatch(r"([0-9]{1,8})-([0-9]{1,8})", text)
    first, last = map(int, found.groups()) if found else (0, 0)
    if not 1 <= first <= last <= MAX_VNI:
        raise ValueError(f"{text!r} is no range of VNIs, as {shown(DEFAULT_VNIS)} is")
    return range(first, last + 1)


def shown(vnis: range) -> str:
    """Return a range as ``parse`` takes it."""
    return f"{vnis.start}-{vnis.stop - 1}"


def free(vnis: Iterable[int], taken: Callable[[int], bool]) -> int:
    """Return the first of some VNIs that is not taken, 0 if all are."""
    return next((vni for vni in vnis if not taken(vni)), 0)
