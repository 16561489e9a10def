"""How often Python looks for garbage: seldom while a command starts and runs, as usual in what stays."""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
_SELDOM = 10_000
"""Objects between two looks. A start makes many and drops none: with Python's own 700 it takes a tenth longer."""


def seldom() -> None:
    """Look seldom, from now on."""
    gc.set_threshold(_SELDOM)


def as_usual() -> None:
    """Look as often as Python does by itself, from now on: what stays would pile garbage up."""
    gc.set_threshold(*_USUAL)


def no_more() -> None:
    """Leave all there is alone: at its end Python would look through it, for two bare Pythons' time."""
    gc.freeze()
