"""``status`` of a LAN, less ``status.nodes``: what the controller writes, as values, and their form in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

READY, CONFLICT, DEGRADED = "Ready", "Conflict", "Degraded"
CONDITIONS = (READY, CONFLICT, DEGRADED)
NODE_READY = "Ready"
"""``state`` of a node on which all is as it should be; every other word says that it is not."""
MAX_MESSAGE = 32768


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


def decode(status: Mapping[str, Any]) -> LanStatus:
    """The controller's part of a ``status``; conditions of types that are not its own are passed over."""
    found = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    return LanStatus(
        generation=status.get("observedGeneration", 0),
        spokes=status.get("spokeCount", 0),
        attached=status.get("attached", 0),
        nodes=status.get("nodeCount", 0),
        conditions=tuple(_decode_condition(found[kind]) for kind in CONDITIONS if kind in found),
    )


def _decode_condition(found: Mapping[str, Any]) -> Condition:
    return Condition(
        type=found["type"],
        status=found.get("status") == "True",
        reason=found.get("reason", ""),
        message=found.get("message", ""),
        generation=found.get("observedGeneration", 0),
        since=found.get("lastTransitionTime", ""),
    )


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
                "message": condition.message[:MAX_MESSAGE],
                "observedGeneration": condition.generation,
                "lastTransitionTime": condition.since,
            }
            for condition in status.conditions
        ],
    }
