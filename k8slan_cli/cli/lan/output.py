"""What a command prints: for people, or for programs as JSON, YAML, names or a JSONPath template, as kubectl would.

Every command that reads has ``-o`` with the same forms, and reads it by ``Output.read``.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.terminal import visible
from k8slan_cli.lan.model import GROUP

Document = Mapping[str, Any]


class Format(enum.StrEnum):
    """What ``-o`` takes; JSONPATH is followed by ``=`` and a template."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    JSONPATH = "jsonpath"


_NAMELESS = tuple(form for form in Format if form is not Format.NAME)


def _option(words: str, forms: Iterable[Format] = Format) -> Any:
    metavar, offers = f"{'|'.join(forms)}=PATH", completion.words(*forms)
    return typer.Option("--output", "-o", metavar=metavar, help=words, autocompletion=offers)


Option = Annotated[str, _option("How to print it.")]
"""The option ``-o`` of a command that reads."""
Nameless = Annotated[str, _option("How to print it.", _NAMELESS)]
"""That of one that reads what is no object with a name."""
DryRunOutput = Annotated[str, _option("Print the object instead of advice.")]


@dataclass(frozen=True, slots=True)
class Output:
    """How to print: ``made`` is what a JSONPath template makes of a document."""

    form: Format
    made: Callable[[Any], str] | None = None

    @classmethod
    def read(cls, text: str, *, named: bool = True) -> Output:
        """Return what ``-o`` says; what is printed is about objects with names, unless it is not ``named``.

        Raises:
            UsageError: it says nothing that is known, or nothing that there is.

        """
        from k8slan_cli.cli.exits import UsageError

        name, _, path = text.partition("=")
        if name not in list(Format) or (path and name != Format.JSONPATH):
            raise UsageError(f"-o: {text!r} is not one of {', '.join(Format if named else _NAMELESS)}=PATH")
        if name == Format.NAME and not named:
            raise UsageError("-o name: what this prints is no object with a name", hint="see -o json")
        if name != Format.JSONPATH:
            return cls(Format(name))
        from k8slan_cli.cli import jsonpath

        if not path:
            raise UsageError("-o jsonpath needs a path", hint="-o jsonpath='{.spec.vni}'")
        try:
            return cls(Format.JSONPATH, jsonpath.template(path))
        except ValueError as error:
            raise UsageError(f"-o jsonpath: {error}", hint="such as -o jsonpath='{.spec.vni}'") from None

    @property
    def for_programs(self) -> bool:
        """Whether it is for programs rather than for people."""
        return self.form not in (Format.TABLE, Format.WIDE)

    @property
    def wide(self) -> bool:
        """Whether all columns are wanted, however narrow the terminal is."""
        return self.form is Format.WIDE

    def limit(self) -> int | None:
        """The columns that there are for people, None for any number."""
        from k8slan_cli.cli.lan.text import width

        return None if self.wide else width()

    def text(self, found: Document, names: Sequence[str] = ()) -> str:
        """A document for programs, as text that ends with a newline; ``names`` are those of the objects it is about."""
        if self.form is Format.NAME:
            return "".join(f"{name}\n" for name in names)
        if self.made is not None:
            return self.made(found).removesuffix("\n") + "\n"
        return json_text(found) if self.form is Format.JSON else yaml_text(found)

    def objects(self, found: Document | Iterable[Document]) -> str:
        """LANs as text: one, or a list of them."""
        items = [found] if isinstance(found, Mapping) else list(found)
        whole = tidy(found) if isinstance(found, Mapping) else _list(items)
        return self.text(whole, [lan_name(item) for item in items])


def lan_name(document: Document) -> str:
    """A LAN's name as kubectl takes it."""
    return f"lan.{GROUP}/{document['metadata']['name']}"


def json_text(found: Document) -> str:
    """JSON with all that a terminal would not show escaped, so that nothing of it is lost there."""
    text = json.dumps(found, indent=2, ensure_ascii=False)
    whole = text if visible(text) == text else json.dumps(found, indent=2).replace("\x7f", "\\u007f")
    return whole + "\n"


def yaml_text(found: Document) -> str:
    """YAML as a person would write it: in the given order, and without anchors; escaped as JSON is."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as the class above has it
            return True

    text = yaml.dump(dict(found), Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return text if visible(text) == text else yaml.dump(dict(found), Dumper=Dumper, sort_keys=False)


def tidy(found: Document) -> dict[str, Any]:
    """An object without the API server's book-keeping of who wrote which field."""
    metadata = {key: value for key, value in found.get("metadata", {}).items() if key != "managedFields"}
    return {**found, "metadata": metadata} if "metadata" in found else dict(found)


def _list(found: Iterable[Document]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": [tidy(item) for item in found]}
