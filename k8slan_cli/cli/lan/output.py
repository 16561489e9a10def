"""What a command prints for programs: objects as JSON, YAML or names, as kubectl would."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from typing import Any

from k8slan_cli.cli.terminal import visible
from k8slan_cli.lan.model import GROUP

Document = Mapping[str, Any]


class Format(enum.StrEnum):
    """What ``-o`` takes where a table is the rule."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class ReportFormat(enum.StrEnum):
    """What ``-o`` takes where what is printed is no object."""

    TABLE = "table"
    JSON = "json"


def for_programs(output: Format) -> bool:
    """Whether it is for programs rather than for people."""
    return output not in (Format.TABLE, Format.WIDE)


def dump(found: Document | Iterable[Document], output: Format) -> str:
    """One object, or a list of them, as text that ends with a newline unless it is empty."""
    if output is Format.NAME:
        items = [found] if isinstance(found, Mapping) else found
        return "".join(f"lan.{GROUP}/{item['metadata']['name']}\n" for item in items)
    whole = tidy(found) if isinstance(found, Mapping) else _list(found)
    if output is Format.JSON:
        return json_text(whole)
    return yaml_text(whole)


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
