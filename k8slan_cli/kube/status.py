"""``status`` of a LAN, less ``status.nodes``: what the controller writes, as values, and their form in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8slan_cli.lan.model import CONFLICT

READY, DEGRADED = "Ready", "Degraded"
CONDITIONS = (READY, CONFLICT, DEGRADED)
MAX_MESSAGE = 32768
"""Characters of a condition's message, as the CRD has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One of ``status.conditions``: ``since`` is lastTransitionTime, ``generation`` is observedGeneration."""

    type: str
    status: bool
    reason: str
    message: str = ""
    generation: int = 0
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanStatus:
    """What the controller says of a LAN."""

    generation: int = 0
    spokes: int = 0
    attached: int = 0
    nodes: int = 0
    conditions: tuple[Condition, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """The condition of a type, if it has been written."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


def decode(status: object) -> LanStatus:
    """The controller's part of a ``status``; what is not its own or cannot be read is passed over."""
    found = {condition.get("type"): condition for condition in _items(status, "conditions")}
    counts = ("observedGeneration", "spokeCount", "attached", "nodeCount")
    generation, spokes, attached, nodes = (
        _number(status.get(key)) if isinstance(status, dict) else 0 for key in counts
    )
    return LanStatus(
        generation=generation,
        spokes=spokes,
        attached=attached,
        nodes=nodes,
        conditions=tuple(_decode_condition(kind, found[kind]) for kind in CONDITIONS if kind in found),
    )


def node_names(status: object) -> tuple[str, ...]:
    """The nodes in ``status.nodes``."""
    return tuple(name for node in _items(status, "nodes") if isinstance(name := node.get("name"), str))


def _decode_condition(kind: str, found: Mapping[str, Any]) -> Condition:
    return Condition(
        type=kind,
        status=found.get("status") == "True",
        reason=str(found.get("reason", "")),
        message=str(found.get("message", "")),
        generation=_number(found.get("observedGeneration")),
        since=str(found.get("lastTransitionTime", "")),
    )


def _items(status: object, name: str) -> list[dict[str, Any]]:
    items = status.get(name) if isinstance(status, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def encode(status: LanStatus) -> dict[str, Any]:
    """The controller's part of a ``status``, as server-side apply wants it."""
    return {
        "observedGeneration": status.generation,
        "spokeCount": status.spokes,
        "attached": status.attached,
        "nodeCount": status.nodes,
        "conditions": [
            {
                "type": condition.type,
                "status": "True" if condition.status else "False",
                "reason": condition.reason,
                "message": condition.message,
                "observedGeneration": condition.generation,
                "lastTransitionTime": condition.since,
            }
            for condition in status.conditions
        ],
    }
