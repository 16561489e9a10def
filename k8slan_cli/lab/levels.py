"""The levels of a topology file that give a node its fields: the defaults, its kind, its group, and the node itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k8slan_cli.lab.schema import NOTHING, NodeFields

if TYPE_CHECKING:
    from k8slan_cli.lab.schema import TopologyFields
    from k8slan_cli.lab.yaml_text import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """A node's fields on each level that applies to it, the most special last. ``kind`` is "" if no level gives one."""

    name: str
    kind: str
    levels: tuple[tuple[Path, NodeFields], ...]

    @property
    def path(self) -> Path:
        """Where the node itself is."""
        return ("topology", "nodes", self.name)

    def all(self, field: str) -> list[tuple[Path, Any]]:
        """Return a field of each level where it is not empty, with its path."""
        alias = field.replace("_", "-")
        return [((*path, alias), found) for path, each in self.levels if (found := getattr(each, field)) not in NOTHING]

    def last(self, field: str) -> tuple[Path, Any]:
        """Return a field of the most special level that has it, with its path; ((), None) if none has."""
        return next(reversed(self.all(field)), ((), None))


def of(topology: TopologyFields, name: str) -> Levels:
    """Return the levels that apply to a node: its group may give its kind, and its kind its group."""
    own = topology.nodes[name]
    group_name = own.group or topology.kinds.get(own.kind or "", NodeFields()).group or topology.defaults.group
    group = topology.groups.get(group_name or "")
    kind_name = own.kind or (group.kind if group else None) or topology.defaults.kind
    found: list[tuple[Path, NodeFields]] = [(("topology", "defaults"), topology.defaults)]
    if kind_name and (kind := topology.kinds.get(kind_name)):
        found.append((("topology", "kinds", kind_name), kind))
    if group_name and group:
        found.append((("topology", "groups", group_name), group))
    found.append((("topology", "nodes", name), own))
    return Levels(name=name, kind=kind_name or "", levels=tuple(found))
