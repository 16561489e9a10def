"""Reads the values of options: flags, text, numbers, choices and paths, which is all that k8slan's commands have.

typer (since it does so by pydantic) would read them as well, but every command, agent and controller too, then pays
70 ms and 12 MB for it. A parameter that is not one of these, or a typer that has no such place, is left to typer.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

_PATHS = ("exists", "resolve_path", "allow_dash", "path_type")
_OWN = ("parser", "click_type")
"""What a parameter may want of typer beyond its type; of a path, and of any."""


def read_ourselves(parameters: Iterable[Any]) -> None:
    """Let typer read parameters by this module where it can."""
    for parameter in parameters:
        if getattr(parameter, "_runtime_param", parameter) is None:
            kind = parameter.type_descriptor.annotation
            several = get_origin(kind) is list
            kind = get_args(kind)[0] if several else kind
            info = parameter.type_descriptor.parameter_info
            if _known(kind, info):
                parameter._runtime_param = _Reader(kind, several, info)
                parameter.get_missing_message = lambda ctx: ""  # noqa: ARG005 - the metavar names all choices


def _known(kind: Any, info: Any) -> bool:
    if not isinstance(kind, type) or any(getattr(info, wish, None) for wish in _OWN):
        return False
    if kind is Path:
        return not any(getattr(info, wish, None) for wish in _PATHS)
    return kind in (bool, str, int, float) or issubclass(kind, enum.StrEnum)


@dataclass(frozen=True, slots=True)
class _Reader:
    """What typer calls with the words of a parameter; ``several`` is whether it may be given again."""

    kind: Any
    several: bool
    info: Any

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value; None for none."""
        if value is None:
            return () if self.several else None
        try:
            return [self._one(item) for item in value] if self.several else self._one(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from None

    def _one(self, value: Any) -> Any:
        if issubclass(self.kind, enum.StrEnum):
            choices = [str(item) for item in self.kind]
            if value not in choices:
                raise ValueError(f"{value!r} is not one of {', '.join(choices)}.")
            return self.kind(value)
        if self.kind in (bool, str, Path):
            return self.kind(value)
        try:
            number = self.kind(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a {'whole ' * (self.kind is int)}number.") from None
        low, high = self.info.min, self.info.max
        if (low is not None and number < low) or (high is not None and number > high) or number != number:
            bounds = [f"at least {low:g}"] if low is not None else []
            bounds += [f"at most {high:g}"] if high is not None else []
            raise ValueError(f"{value} is not {' and '.join(bounds) or 'a number'}.")
        return number
