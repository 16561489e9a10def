"""Documents that a user names with ``-f``: files, folders and standard input, each as kubectl reads it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from k8slan_cli.errors import K8slanError, yaml_fault

STDIN = "-"
_ENDINGS = (".yaml", ".yml", ".json")

Placed = tuple[str, Any]
"""What to call a document in an error, and the document."""


def read(names: Sequence[str]) -> list[Placed]:
    """Read all documents of all files; those of a List one by one.

    Raises:
        K8slanError: one of them cannot be read, is not YAML, or holds nothing.

    """
    return [placed for name in dict.fromkeys(names) for file in _files(name) for placed in _documents(file)]


def _files(name: str) -> list[str]:
    if name == STDIN or not Path(name).is_dir():
        return [name]
    try:
        found = sorted(str(file) for file in Path(name).iterdir() if file.suffix in _ENDINGS)
    except OSError as error:
        raise K8slanError(f"{name} cannot be read: {error.strerror}") from error
    if not found:
        raise K8slanError(f"folder {name} has no file that ends in {', '.join(_ENDINGS)}")
    return found


def _documents(file: str) -> list[Placed]:
    from k8slan_cli.lan import codec

    name = "standard input" if file == STDIN else file
    found = [item for document in _parsed(file, name) if document is not None for item in codec.items(document)]
    if not found:
        raise K8slanError(f"{name} holds no LAN")
    try:
        json.dumps(found)
    except (TypeError, ValueError, RecursionError) as error:
        raise K8slanError(f"{name} holds something that no Kubernetes object can: {error}") from error
    return [(f"document {position} of {name}", document) for position, document in enumerate(found, 1)]


def _parsed(file: str, name: str) -> list[Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes what looks like a time for text, as kubectl does."""

        yaml_implicit_resolvers = {  # noqa: RUF012 - as the class above has it
            sign: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
            for sign, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        text = sys.stdin.read() if file == STDIN else Path(file).read_text()
        return list(yaml.load_all(text, Loader))  # a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise K8slanError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise K8slanError(f"{name} is not YAML: {yaml_fault(error)}") from error
