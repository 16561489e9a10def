"""Topologies as tests give them: a few lines, or a file of tests/labs, read without a command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k8slan_cli.errors import K8slanError
from k8slan_cli.lab import containerlab, manifests
from k8slan_cli.lab.files import Content
from k8slan_cli.lab.model import Lab

LABS = Path(__file__).parents[2] / "labs"
PUBLIC = ("frr01", "br01", "vlan", "spine-leaf", "mixed")
"""The labs of tests/labs."""
Document = dict[str, Any]


def lab(text: str, *, files: Mapping[str, bytes] | None = None, **environment: str) -> Lab:
    """Read a text whose binds name ``files``; a name that ends in "/" is a folder's."""

    def read(name: str) -> Mapping[str, Content]:
        known = files or {}
        if name in known:
            return {"": (known[name], 0o644)}
        inside = {
            key.removeprefix(f"{name}/"): (found, 0o644) for key, found in known.items() if key.startswith(f"{name}/")
        }
        if not inside:
            raise K8slanError(f"{name} cannot be read: No such file or directory")
        return inside

    return containerlab.read(text, "lab.clab.yml", files=read, environment=environment)


def public(name: str) -> Lab:
    """A lab of tests/labs."""
    everything = {str(path.relative_to(LABS)): path.read_bytes() for path in LABS.rglob("*") if path.is_file()}
    return lab((LABS / f"{name}.clab.yml").read_text(), files=everything)


def documents(found: Lab, **where: Any) -> list[Document]:
    """Its documents in namespace ns."""
    return manifests.documents(found, manifests.Where(**({"namespace": "ns"} | where)))


def of(kind: str, found: list[Document]) -> dict[str, Document]:
    """The documents of a kind, by name."""
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}
