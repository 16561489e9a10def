r"""kubectl's JSONPath templates (``-o jsonpath``, ``--sort-by``): what of a document they pick. Pure.

::

    {.spec.vni}  {.items[*].metadata.name}  {.spec.spokes[0]}  {.spec.spokes[-1:]}  {..name}
    {.metadata.annotations.lan\.k8slan\.io/links-down}  {.metadata['name']}
    {.status.conditions[?(@.type=="Ready")].message}
    {range .items[*]}{.metadata.name}{"\t"}{.spec.vni}{"\n"}{end}

A template without braces is one path. What is not there is nothing, as it is for ``kubectl get``. No library knows
this language: those of JSONPath as RFC 9535 has it know neither templates nor escapes.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_PIECE = re.compile(r"""\{((?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^"'{}])*)\}|([^{]+)""")
_STEP = re.compile(
    r"""(?P<deep>\.\.)?(?:
        \[(?P<inside>(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\([^)]*\)|[^\]"'(])*)\]
        | (?(deep)|\.)(?P<name>(?:\\.|[^\\.\[\]\s'"])+)
    )""",
    re.VERBOSE,
)
_FILTER = re.compile(r"\?\(\s*(@[^\s=!<>]*)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?)\s*)?\)")
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d+))?")
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}

Step = Callable[[Any], Iterable[Any]]
"""From one value to those that it leads to."""


def path(text: str) -> Callable[[Any], list[Any]]:
    """Return what picks the values of one path (``.a.b``, with or without braces) from a document.

    Raises:
        ValueError: it is none.

    """
    bare = text[1:-1].strip() if text.startswith("{") and text.endswith("}") else text.strip()
    steps = _steps(bare if bare.startswith((".", "[", "$", "@")) else f".{bare}")
    return lambda document: _follow(document, steps)


def template(text: str) -> Callable[[Any], str]:
    """Return what makes a text of a document.

    Raises:
        ValueError: it is no template.

    """
    parts = _parts(text if "{" in text else "{" + text + "}")
    return lambda document: "".join(_texts(parts, document, document))


# ---------------------------------------------------------------- templates


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of a path, with spaces between them."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class _Range:
    """The same parts for each value of a path."""

    steps: tuple[Step, ...]
    parts: tuple[Any, ...]


def _parts(text: str) -> tuple[Any, ...]:
    """The parts of a template: texts, _Values and _Ranges."""
    open_ranges: list[tuple[tuple[Step, ...], list[Any]]] = [((), [])]
    at = 0
    while at < len(text):
        found = _PIECE.match(text, at)
        if found is None:
            raise ValueError(f"{text!r}: a brace is not closed")
        at = found.end()
        inside = found[1].strip() if found[1] is not None else None
        parts = open_ranges[-1][1]
        if inside is None:
            parts.append(found[2])
        elif inside == "end":
            if len(open_ranges) == 1:
                raise ValueError(f"{text!r}: {{end}} without {{range}}")
            steps, body = open_ranges.pop()
            open_ranges[-1][1].append(_Range(steps, tuple(body)))
        elif inside.startswith("range "):
            open_ranges.append((_steps(inside.removeprefix("range ").strip()), []))
        elif inside[:1] in ("'", '"'):
            parts.append(_literal(inside))
        else:
            parts.append(_Values(_steps(inside if inside.startswith((".", "[", "$", "@")) else f".{inside}")))
    if len(open_ranges) > 1:
        raise ValueError(f"{text!r}: {{range}} without {{end}}")
    return tuple(open_ranges[0][1])


def _texts(parts: Iterable[Any], root: Any, here: Any) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, _Values):
            yield " ".join(map(_text, _follow(here, part.steps)))
        else:
            for each in _follow(here, part.steps):
                yield from _texts(part.parts, root, each)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _literal(text: str) -> str:
    inner = text[1:-1]
    try:
        return str(json.loads(f'"{inner}"' if text[0] == '"' else '"' + inner.replace('"', '\\"') + '"'))
    except ValueError:
        raise ValueError(f"{text} is not a text in quotes") from None


# ---------------------------------------------------------------- paths


def _follow(value: Any, steps: Sequence[Step]) -> list[Any]:
    found = [value]
    for step in steps:
        found = [each for one in found for each in step(one)]
    return found


def _steps(text: str) -> tuple[Step, ...]:
    rest = text.removeprefix("$").removeprefix("@")
    steps: list[Step] = []
    at = 1 if rest == "." else 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None:
            raise ValueError(f"{text!r} is not a JSONPath, at {rest[at:]!r}")
        at = found.end()
        if found["deep"]:
            steps.append(_everything)
        steps.append(_name(found["name"]) if found["name"] is not None else _inside(found["inside"].strip(), text))
    return tuple(steps)


def _name(text: str) -> Step:
    name = re.sub(r"\\(.)", r"\1", text)
    return (
        _children if text == "*" else lambda value: [value[name]] if isinstance(value, dict) and name in value else []
    )


def _inside(text: str, whole: str) -> Step:
    """What is between square brackets."""
    if text == "*":
        return _children
    if text[:1] in ("'", '"'):
        key = _literal(text)
        return lambda value: [value[key]] if isinstance(value, dict) and key in value else []
    if found := _FILTER.fullmatch(text):
        return _filter(found[1], found[2], found[3])
    if found := _SLICE.fullmatch(text):
        start, end, step = (int(each) if each else None for each in found.groups())
        return lambda value: value[start:end:step] if isinstance(value, list) else []
    try:
        numbers = [int(each) for each in text.split(",")]
    except ValueError:
        raise ValueError(f"{whole!r} is not a JSONPath, at {f'[{text}]'!r}") from None
    return lambda value: [value[n] for n in numbers if isinstance(value, list) and -len(value) <= n < len(value)]


def _filter(left: str, order: str | None, right: str | None) -> Step:
    steps = _steps(left)
    if order is None or right is None:
        return lambda value: [each for each in _children(value) if _follow(each, steps)]
    compare = _ORDERS[order]
    other = _steps(right) if right.startswith("@") else None
    wanted = None if other is not None else _constant(right)

    def holds(each: Any) -> bool:
        values = _follow(each, other) if other is not None else [wanted]
        try:
            return any(compare(a, b) for a in _follow(each, steps) for b in values)
        except TypeError:  # a number and a text have no order
            return False

    return lambda value: [each for each in _children(value) if holds(each)]


def _constant(text: str) -> Any:
    if text[:1] in ("'", '"'):
        return _literal(text)
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a text in quotes nor a number") from None


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _everything(value: Any) -> Iterator[Any]:
    """A value and all that is in it, at any depth."""
    yield value
    for child in _children(value):
        yield from _everything(child)
