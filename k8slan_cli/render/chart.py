"""A Helm chart from the templates that the manifests are made of, so that no second text can differ from them.

A template is run with the chart's values in the place of settings. A value prints as Helm's expression for it, in JSON,
which is YAML too: ``{{ settings.image }}`` becomes ``{{ toJson $.Values.image }}``. An ``{% if %}`` or ``{% for %}``
that asks a setting becomes Helm's own; all others are done here, as everything that no setting has a part in. What
has no counterpart in Helm is an error when the chart is made, and never a chart that says something else.

Nothing of an installation is described here: only how Jinja is said in Helm's words, and what values there are.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NoReturn, cast

import jinja2
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from k8slan_cli.render import manifests
from k8slan_cli.render import settings as known
from k8slan_cli.render.manifests import SWITCHES, Part
from k8slan_cli.render.settings import Settings, Toleration

NAME = "k8slan"

_RELEASE = {"namespace": "$.Release.Namespace"}
"""Settings that Helm gives, and so are no values of the chart."""

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_FOLDER = r"^/[^:\x00-\x1f]*[^:/\x00-\x1f][^:\x00-\x1f]*$"
_PATTERNS = {
    "image": r"^\S+$",
    "pull_secrets": rf"^{_LABEL}(\.{_LABEL})*$",
    "kubelet_dir": _FOLDER,
    "cni_bin_dir": _FOLDER,
    "vni_range": "^[0-9]{1,8}-[0-9]{1,8}$",
    "api_servers": "^[0-9a-fA-F:.]+/[0-9]{1,3}$",
    "metrics_namespaces": f"^{_LABEL}$",
}

_HELP = {
    "pull_secrets": "Secrets to pull the image with",
    "node_selector": "nodes that get an agent, by labels",
    "agent_tolerations": "taints the agent tolerates, as pods have them",
    "controller_tolerations": "taints the controller tolerates, as pods have them",
    "api_servers": "networks that the API server calls the webhook from, ADDRESS/LENGTH; any if there are none",
    "metrics_namespaces": "namespaces whose pods may read the controller's metrics; all if there are none",
}
"""Of settings that are lists and mappings here, and are written otherwise as options."""


def files(settings: Settings, minor: int) -> dict[str, str]:
    """The chart: its files by their paths, with these settings for its defaults.

    ``minor`` is the oldest Kubernetes 1.x that it is for.
    """
    found = {
        "Chart.yaml": _text("chart", minor=minor),
        "values.yaml": _values_yaml(settings),
        "values.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        "templates/NOTES.txt": _text("notes"),
        "templates/checks.yaml": "".join(_checks()),
    }
    # Namespaces are Helm's: a release is kept in its own, which so has to be there before it.
    for number, part in enumerate(part for part in Part if part is not Part.NAMESPACE):
        found[f"templates/{number}0-{part}.yaml"] = _part(part)
    return found


# ---------------------------------------------------------------- values


def names() -> Iterator[str]:
    """The settings that are values of the chart."""
    return (field.name for field in fields(Settings) if field.name not in _RELEASE)


def key(name: str) -> str:
    """What a setting is called among the values: ``pull_policy`` is ``pullPolicy``."""
    first, *more = name.split("_")
    return first + "".join(word.capitalize() for word in more)


def values(settings: Settings) -> dict[str, Any]:
    """Settings as values of the chart; the namespace is none of them."""
    return {key(name): _value(name, getattr(settings, name)) for name in names()}


def _value(name: str, found: Any) -> Any:
    if not isinstance(found, tuple):
        return found
    if name in known.REPEATED:
        return [manifests.toleration(item) if isinstance(item, Toleration) else item for item in found]
    return dict(found)


def _values_yaml(settings: Settings) -> str:
    given = values(settings)
    return "\n".join(f"# {_help(name)}\n{key(name)}: {manifests.to_yaml(given[key(name)])}\n" for name in names())


def _help(name: str) -> str:
    return _HELP.get(name) or known.HELP[name]


def schema() -> dict[str, Any]:
    """The JSON schema of the values, by which Helm refuses what cannot work."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "required": [key(name) for name in names()],
        # Helm itself adds the second where the chart is a part of another one.
        "properties": {key(name): _kind(name) for name in names()} | {"global": {"type": "object"}},
    }


def _kind(name: str) -> dict[str, Any]:
    default = getattr(Settings(), name)
    described = {"description": _help(name)}
    if name.endswith("_tolerations"):
        return described | {"type": "array", "items": _TOLERATION}
    text = {"type": "string"} | ({"pattern": _PATTERNS[name]} if name in _PATTERNS else {})
    if name in known.REPEATED:
        return described | {"type": "array", "items": text}
    if isinstance(default, tuple):
        return described | (_RESOURCES if name.endswith(("_requests", "_limits")) else _LABELS)
    if isinstance(default, bool):
        return described | {"type": "boolean"}
    if isinstance(default, int):
        bounds = known.BOUNDS[name]
        return described | {"type": "integer", "minimum": bounds.least, "maximum": bounds.most}
    return described | text | ({"enum": list(known.CHOICES[name])} if name in known.CHOICES else {})


_TOLERATION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["operator"],
    "properties": {
        "key": {"type": "string"},
        "operator": {"enum": ["Exists", "Equal"]},
        "value": {"type": "string"},
        "effect": {"enum": list(known.EFFECTS)},
        "tolerationSeconds": {"type": "integer"},
    },
}
_LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
_RESOURCES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {name: {"type": "string", "pattern": f"^{known.QUANTITY.pattern}$"} for name in known.RESOURCES},
}


def _checks() -> Iterator[str]:
    """What a schema cannot say, for Helm to fail on; nothing is rendered by it."""
    yield "{{- /* What values.schema.json cannot say. */}}\n"
    for one, other in known.DIFFERENT:
        words = _go(f"{key(other)} is that of {key(one)}")
        yield f"{{{{- if eq (int {_values(one)}) (int {_values(other)}) }}}}{{{{ fail {words} }}}}{{{{ end }}}}\n"


# ---------------------------------------------------------------- Jinja in Helm's words

# Around an expression of Helm's within text: of Unicode's private area, so that no template has them.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKED = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")


def _values(name: str) -> str:
    return _RELEASE.get(name) or f"$.Values.{key(name)}"


class _Value:
    """One of the chart's values, where a template has a setting. It prints, repeats and grows; nothing else."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def __str__(self) -> str:
        return f"{_OPEN}{self.expression}{_CLOSE}"

    def __iter__(self) -> Iterator[_Value]:
        yield _Value("$item")  # the loop itself is Helm's: see _Translator

    def __add__(self, more: list[dict[str, Any]]) -> _Value:
        return _Value(f"(concat {self.expression} (fromJsonArray {_go(json.dumps(more))}))")

    def __bool__(self) -> NoReturn:
        raise TypeError(f"a chart cannot decide by {self.expression} here")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError(f"a chart cannot compare {self.expression} with {other!r}")


class _Values:
    """Every setting as a value of the chart."""

    def __init__(self) -> None:
        for field in fields(Settings):
            setattr(self, field.name, _Value(_values(field.name)))


def _go(text: str) -> str:
    """A text as Go's templates write it, which is as JSON does."""
    return json.dumps(text)


def _literal(text: str) -> str:
    """A text that Helm prints as it is."""
    return text.replace("{{", '{{ "{{" }}')


def _printed(value: object) -> str:
    """What ``{{ value }}`` of a template is in the chart."""
    if isinstance(value, _Value):
        return f"{{{{ toJson {value.expression} }}}}"
    if isinstance(value, str) and _MARKED.search(value):
        given = " ".join(_MARKED.findall(value))
        words = _go("%v".join(text.replace("%", "%%") for text in _MARKED.split(value)[::2]))
        return f"{{{{ printf {words} {given} | toJson }}}}"
    return _literal(manifests.to_yaml(value))


class _Translator(NodeTransformer):
    """Makes conditions and loops that ask a setting text for Helm, around what is within them."""

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.TemplateData:  # noqa: N802 - Jinja's name
        node.data = _literal(node.data)
        return node

    def visit_If(self, node: nodes.If) -> nodes.Node | list[nodes.Node]:  # noqa: N802 - Jinja's name
        asked = _setting(node.test)
        inner = cast("nodes.If", self.generic_visit(node))
        if not asked:
            return inner
        if inner.elif_:
            raise TypeError("a chart has no {% elif %} about settings")
        return [*_lines(f"if {_values(asked)}", inner.body), *_otherwise(inner.else_), _line("end")]

    def visit_For(self, node: nodes.For) -> nodes.Node | list[nodes.Node]:  # noqa: N802 - Jinja's name
        asked = _setting(node.iter)
        inner = cast("nodes.For", self.generic_visit(node))
        if not asked:
            return inner
        once = nodes.For(inner.target, inner.iter, inner.body, [], None, False, lineno=inner.lineno)
        return [*_lines(f"range $item := {_values(asked)}", [once]), *_otherwise(inner.else_), _line("end")]


def _setting(asking: nodes.Node) -> str:
    """The setting that a condition or a loop is about, if any."""
    if isinstance(asking, nodes.Getattr) and isinstance(asking.node, nodes.Name) and asking.node.name == "settings":
        return asking.attr
    if any(name.name == "settings" for name in asking.find_all(nodes.Name)):
        raise TypeError(f"line {asking.lineno}: a chart can ask for a setting alone, and not within an expression")
    return ""


def _line(words: str) -> nodes.Node:
    return nodes.Output([nodes.TemplateData(f"{{{{- {words} }}}}\n")])


def _lines(words: str, body: list[nodes.Node]) -> list[nodes.Node]:
    return [_line(words), *body]


def _otherwise(body: list[nodes.Node]) -> list[nodes.Node]:
    return _lines("else", body) if body else []


class _Environment(jinja2.Environment):
    """Jinja that writes Helm's templates."""

    def compile(self, source: Any, *rest: Any, **named: Any) -> Any:
        """Compile a template's source, after it was translated."""
        tree = _Translator().visit(self.parse(source, *rest[:2]))
        for node in tree.find_all(nodes.Node):
            node.lineno = node.lineno or 1
        return super().compile(tree.set_environment(self), *rest, **named)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = _Environment(**manifests.reading(), finalize=_printed)
    environment.filters["mapping"] = lambda value: value
    environment.filters["tolerations"] = lambda settings, part: getattr(settings, f"{part}_tolerations")
    return environment


def _part(part: Part) -> str:
    template = _environment().get_template(f"{part}.yaml.j2")
    text = template.render(settings=_Values(), **manifests.constants() | {"kept": True})
    switch = SWITCHES.get(part)
    return f"{{{{- if {_values(switch)} }}}}\n{text}{{{{- end }}}}\n" if switch else text


def _text(name: str, **more: object) -> str:
    """One of the chart's own files."""
    template = _environment().get_template(f"{name}.j2")
    return template.render(settings=_Values(), **manifests.constants(), **more)
