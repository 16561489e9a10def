"""Documents that a user names with ``-f``: files, folders and standard input, each as kubectl reads it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k8slan_cli.errors import Invalid, K8slanError, Problem, yaml_fault
from k8slan_cli.lan import names
from k8slan_cli.lan.model import KIND

if TYPE_CHECKING:
    from k8slan_cli.cli.here import Here
    from k8slan_cli.lan.model import Lan

STDIN = "-"
_ENDINGS = (".yaml", ".yml", ".json")

Placed = tuple[str, Any]
"""What to call a document in an error, and the document."""
Draft = tuple[Any, str, list[Problem]]
"""A document that is to be a LAN, what to call it, and what is known to be wrong with it."""


# ---------------------------------------------------------------- LANs


def drafts(files: Sequence[str], here: Here | None = None) -> list[Draft]:
    """All documents of all files. One that names no namespace is in that of ``here``.

    Raises:
        K8slanError: as ``read`` does.

    """
    found: list[Draft] = []
    for place, document in read(files):
        subject, problems = place, list[Problem]()
        if isinstance(document, dict) and document.get("kind") not in (None, KIND):
            problems.append(Problem(field="kind", message=f"is {names.shown(str(document['kind']))}, not {KIND}"))
        elif isinstance(document, dict) and isinstance(document.get("metadata"), dict):
            metadata = document["metadata"]
            if here:
                metadata["namespace"] = metadata.get("namespace") or here.namespace
                if here.given and metadata["namespace"] != here.namespace:
                    message = f"is {metadata['namespace']}, but -n says {here.namespace}"
                    problems.append(Problem(field="metadata.namespace", message=message))
            whole = "/".join(str(metadata[key]) for key in ("namespace", "name") if metadata.get(key))
            subject = f"LAN {whole} ({place})" if whole else place
        found.append((document, subject, problems))
    return found


def decoded(given: Iterable[Draft], problems: dict[str, list[Problem]]) -> Iterator[tuple[Any, str, Lan]]:
    """Yield each document that is a LAN, what to call it, and the LAN; all that is wrong goes into ``problems``."""
    from k8slan_cli.lan import codec

    for document, subject, wrong in given:
        problems[subject] = list(wrong)
        if any(problem.field == "kind" for problem in wrong):
            continue
        try:
            lan = codec.decode(document, new=True)
        except Invalid as error:
            problems[subject] += error.problems
        else:
            yield document, subject, lan


def lans(given: Iterable[Draft], done: str) -> list[Lan]:
    """The LANs of drafts, all of which have to be one; ``done`` is what is not done then.

    Raises:
        Invalid: with all problems of all drafts.

    """
    problems: dict[str, list[Problem]] = {}
    found = [lan for _, _, lan in decoded(given, problems)]
    refuse(problems, done)
    return found


def refuse(problems: Mapping[str, Iterable[Problem]], done: str) -> None:
    """Raise what there is of problems, those of several documents under the names of each.

    Raises:
        Invalid: there are some; ``done`` is what is not done then.

    """
    found = {subject: tuple(dict.fromkeys(items)) for subject, items in problems.items() if items}
    if len(found) == 1:
        for subject, items in found.items():
            raise Invalid(subject, items)
    if found:
        every = [
            Problem(field=f"{subject}: {problem.field}".removesuffix(": "), message=problem.message)
            for subject, items in found.items()
            for problem in items
        ]
        raise Invalid(f"nothing is {done}, as some of it", tuple(every))


# ---------------------------------------------------------------- files


def read(files: Sequence[str]) -> list[Placed]:
    """Read all documents of all files; those of a List one by one.

    Raises:
        K8slanError: one of them cannot be read, is not YAML, or holds nothing.

    """
    return [placed for name in dict.fromkeys(files) for file in _files(name) for placed in _documents(file)]


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
    except OSError as error:
        raise K8slanError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise K8slanError(f"{name} is not YAML: it is no text") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise K8slanError(f"{name} is not YAML: {yaml_fault(error)}") from error
