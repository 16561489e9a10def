"""containerlab's files as labs: the schema held against a text, then nodes made of their levels, and links joined.

All problems of a file are found before any is raised, each with its path, its line and its column. What is valid and
not done here is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lab import levels, links, nodes, schema, yaml_text
from k8slan_cli.lab.files import NodeFiles
from k8slan_cli.lab.model import Lab
from k8slan_cli.lab.remarks import Remarks
from k8slan_cli.lan import names

if TYPE_CHECKING:
    from k8slan_cli.lab.files import Files
    from k8slan_cli.lab.schema import FileFields
    from k8slan_cli.lab.yaml_text import Place, Text

MAX_NODES = 1000


def read(text: str, subject: str, *, files: Files, environment: Mapping[str, str]) -> Lab:
    """Read a file's text.

    Raises:
        Invalid: with all that is wrong with it; ``subject`` is what to call the file.

    """
    return translate(yaml_text.read(text, subject, environment), subject, files=files)


def name(text: str, subject: str, environment: Mapping[str, str]) -> str:
    """Return the name of the lab of a file's text, whatever else is wrong with it.

    Raises:
        Invalid: it is not YAML, or has no name.

    """
    found = yaml_text.read(text, subject, environment)
    named = found.value.get("name") if isinstance(found.value, dict) else None
    if not isinstance(named, str) or not named:
        raise Invalid(subject, (Problem(field=found.field(("name",)), message="is missing"),))
    return named


def translate(found: Text, subject: str, *, files: Files, warnings: Iterable[str] = ()) -> Lab:
    """Make a lab of a file's value; ``warnings`` are what is known already not to be used.

    Raises:
        Invalid: with all that is wrong with it.

    """
    try:
        whole = schema.FileFields.model_validate(found.value)
    except ValidationError as error:
        raise Invalid(subject, tuple(_shape(error, found))) from None
    remarks = Remarks(found, warnings)
    lab = _lab(whole, found.unset, files, remarks)
    if remarks.problems:
        raise Invalid(subject, tuple(dict.fromkeys(remarks.problems)))
    return replace(lab, subject=subject)


def _lab(whole: FileFields, unset: Mapping[str, Place], files: Files, remarks: Remarks) -> Lab:
    """Read all of a file whose shape is right; where there are problems, what comes back is not to be used."""
    topology, at = whole.topology, ("topology",)
    remarks.unread((), whole, schema.FILE_UNUSED)
    remarks.unread(at, topology, {})
    if not names.lab(whole.name):
        remarks.wrong(("name",), "must have a letter or a digit")
    for variable, (line, column) in unset.items():
        remarks.warnings.append(f"({line}:{column}): the variable {variable} is not set, and so empty")
    remarks.unread((*at, "defaults"), topology.defaults, schema.NODE_UNUSED)
    for level in ("kinds", "groups", "nodes"):
        for each, fields in getattr(topology, level).items():
            remarks.unread((*at, level, each), fields, schema.NODE_UNUSED)
    if len(topology.nodes) > MAX_NODES:
        remarks.wrong((*at, "nodes"), f"has {len(topology.nodes)} nodes, {MAX_NODES} at the most")
        return Lab(name=whole.name)
    found = [levels.of(topology, each) for each in topology.nodes]
    node_files = NodeFiles(whole.name, files, remarks)
    made = [nodes.read(each, node_files, remarks) for each in found]
    segments = links.segments(topology.links, {each.name: each.kind for each in found}, remarks)
    return Lab(
        name=whole.name,
        nodes=tuple(node for node in made if node),
        segments=segments,
        warnings=tuple(dict.fromkeys(remarks.warnings)),
    )


def _shape(error: ValidationError, text: Text) -> Iterator[Problem]:
    """What pydantic says of a shape, in our words, once for each field."""
    said: set[str] = set()
    for each in error.errors(include_url=False, include_context=False):
        path = tuple(step for step in each["loc"] if step not in ("str", "EndFields"))
        where = text.field(path)
        if where not in said:
            said.add(where)
            yield Problem(field=where, message=_WORDS.get(each["type"]) or _plain(each["msg"]))


_WORDS = {
    "missing": "is missing",
    "model_type": "must be fields with values",
    "dict_type": "must be fields with values",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
}


def _plain(message: str) -> str:
    return message.removeprefix("Input ").replace("should be", "must be")
