"""YAML as a value that knows its lines: each field of it by its path, and where it is in the text.

PyYAML knows lines while it parses and forgets them when it makes values. Here both are kept. Variables are replaced as
containerlab replaces them: ``$NAME``, ``${NAME}``, ``${NAME:-other}``, and ``$$`` for a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from k8slan_cli.errors import Invalid, Problem, yaml_fault

Path = tuple[str | int, ...]
"""Where a field is: keys of mappings, positions in lists."""
Place = tuple[int, int]
"""Line and column, from 1."""

MAX_TEXT = 1 << 20
"""Characters of a topology file: one of 1,000 nodes has a fifth of it."""
MAX_VALUES = 100_000
"""Values in it, those of aliases counted each time: a few lines of aliases can stand for millions."""

_TEXT = "tag:yaml.org,2002:str"
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<sign>:?[-=+])(?P<other>[^}]*))?\})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What a text says, and where each field of it is.

    ``unset`` are variables that it names, that are not set and have no other value: each with the first place.
    """

    value: Any
    places: Mapping[Path, Place]
    unset: Mapping[str, Place]

    def field(self, path: Path) -> str:
        """Return what to call a field in a message: ``topology.nodes.r1.image (7:5)``, line and column if known."""
        if not self.places:
            return written(path)
        known = path
        while known and known not in self.places:
            known = known[:-1]
        line, column = self.places.get(known, (1, 1))
        return f"{written(path)} ({line}:{column})" if path else f"({line}:{column})"


def written(path: Path) -> str:
    """Return a path as people write it: ``topology.links[2].endpoints[0]``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


class _Loader(yaml.SafeLoader):
    """Takes all for text but nothing at all: ``010`` and ``yes`` are what was written; the schema knows numbers."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the class above has it
        sign: [pair for pair in pairs if pair[0] in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")]
        for sign, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read(text: str, subject: str, environment: Mapping[str, str]) -> Text:
    """Read a text of one document.

    Raises:
        Invalid: it is not YAML, has a key twice, or is more than a topology can be; ``subject`` is what to call it.

    """
    if len(text) > MAX_TEXT:
        raise Invalid(subject, (Problem(field="", message=f"is longer than {MAX_TEXT} characters"),))
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise Invalid(subject, (Problem(field="", message="is empty"),))
        walk = _Walk(environment)
        walk.see(root, (), ())
        if walk.problems:
            raise Invalid(subject, tuple(walk.problems))
        value = loader.construct_document(root)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Invalid(subject, (Problem(field="", message=f"is not YAML: {yaml_fault(error)}"),)) from error
    except RecursionError as error:
        raise Invalid(subject, (Problem(field="", message="is nested too deeply"),)) from error
    return Text(value=value, places=walk.places, unset=walk.unset)


class _Walk:
    """Goes through the nodes of a document once: places, variables, and keys that are there twice."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.places: dict[Path, Place] = {}
        self.unset: dict[str, Place] = {}
        self.problems: list[Problem] = []
        self._environment = environment
        self._seen = 0
        self._expanded: set[int] = set()

    def see(self, node: yaml.Node, path: Path, above: tuple[int, ...]) -> None:
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.places.setdefault(path, place)
        self._seen += 1
        if self._seen > MAX_VALUES:
            raise yaml.YAMLError(f"it has more than {MAX_VALUES} values, those of aliases counted each time")
        if id(node) in above:
            raise yaml.YAMLError(f"line {place[0]}, column {place[1]}: a value contains itself")
        if isinstance(node, yaml.ScalarNode):
            self._expand(node, place)
        elif isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self.see(item, (*path, position), (*above, id(node)))
        elif isinstance(node, yaml.MappingNode):
            self._mapping(node, path, (*above, id(node)))

    def _mapping(self, node: yaml.MappingNode, path: Path, above: tuple[int, ...]) -> None:
        own: dict[str, Place] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                    self.see(merged, path, above)
                continue
            key.tag = _TEXT
            if name in own:
                message = f"is there already, in line {own[name][0]}"
                field = f"{written((*path, name))} ({place[0]}:{place[1]})"
                self.problems.append(Problem(field=field, message=message))
            own[name] = place
            self.places[(*path, name)] = place
            self.see(value, (*path, name), above)

    def _expand(self, node: yaml.ScalarNode, place: Place) -> None:
        if "$" not in node.value or id(node) in self._expanded:
            return
        self._expanded.add(id(node))

        def of(found: re.Match[str]) -> str:
            if found["dollar"]:
                return "$"
            name = found["bare"] or found["name"]
            value, sign, other = self._environment.get(name), found["sign"] or "", found["other"] or ""
            there = bool(value) if sign.startswith(":") else value is not None
            if sign.endswith("+"):
                return other if there else ""
            if sign:
                return value or "" if there else other
            if value is None:
                self.unset.setdefault(name, place)
            return value or ""

        node.value = _VARIABLE.sub(of, node.value)
