"""``status`` of a LAN, less ``status.nodes``: what the controller writes, as values, and their form in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8slan_cli.lan import codec
from k8slan_cli.lan.model import CONFLICT, Grant
from k8slan_cli.lan.names import Forms

READY, DEGRADED = "Ready", "Degraded"
CONDITIONS = (READY, CONFLICT, DEGRADED)
MAX_MESSAGE = 32768
"""Characters of a condition's message, as the CRD has it."""
MAX_DEGRADED = 10
"""How many nodes in trouble the status names: all of it goes to every agent with each write."""
MAX_NODE_MESSAGE = 256
"""Characters of what it says of each; the node's VTEP has all of them."""


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
class NodeTrouble:
    """One of ``status.degradedNodes``: a node on which the LAN is not as specified."""

    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanStatus:
    """What the controller says of a LAN: ``vni``, ``granted``, ``forms``, ``resources``, ``bare`` are as in ``Lan``.

    ``uplink`` is the one that is active, for people: ``eth1 of node worker1``.
    """

    vni: int = 0
    granted: Grant | None = None
    generation: int = 0
    spokes: int = 0
    attached: int = 0
    nodes: int = 0
    uplink: str = ""
    degraded: tuple[NodeTrouble, ...] = ()
    forms: Forms = Forms.SHORT
    resources: tuple[tuple[str, str], ...] = ()
    bare: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """The condition of a type, if it has been written."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


def decode(status: object) -> LanStatus:
    """The controller's part of a ``status``; what is not its own or cannot be read is passed over."""
    said = status if isinstance(status, dict) else {}
    found = {condition.get("type"): condition for condition in _items(said, "conditions")}
    counts = ("vni", "observedGeneration", "spokeCount", "attached", "nodeCount")
    vni, generation, spokes, attached, nodes = (_number(said.get(key)) for key in counts)
    return LanStatus(
        vni=vni,
        granted=codec.grant(said),
        generation=generation,
        spokes=spokes,
        attached=attached,
        nodes=nodes,
        uplink=str(said.get("uplink", "")),
        degraded=tuple(
            NodeTrouble(name=str(item.get("name", "")), message=str(item.get("message", "")))
            for item in _items(said, "degradedNodes")
        ),
        forms=Forms.stated(said.get("names")),
        resources=tuple(sorted(_texts(said.get("resources")).items())),
        bare=tuple(map(str, said.get("withoutResources") or ())),
        conditions=tuple(_decode_condition(kind, found[kind]) for kind in CONDITIONS if kind in found),
    )


def _decode_condition(kind: str, found: Mapping[str, Any]) -> Condition:
    return Condition(
        type=kind,
        status=found.get("status") == "True",
        reason=str(found.get("reason", "")),
        message=str(found.get("message", "")),
        generation=_number(found.get("observedGeneration")),
        since=str(found.get("lastTransitionTime", "")),
    )


def _items(status: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    items = status.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _texts(value: object) -> dict[str, str]:
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def encode(status: LanStatus) -> dict[str, Any]:
    """The controller's part of a ``status``, as server-side apply wants it."""
    degraded = [{"name": node.name, "message": node.message} for node in status.degraded]
    return {
        **({"vni": status.vni} if status.vni else {}),
        "granted": codec.encode_grant(status.granted),
        "observedGeneration": status.generation,
        "spokeCount": status.spokes,
        "attached": status.attached,
        "nodeCount": status.nodes,
        **({"uplink": status.uplink} if status.uplink else {}),
        **({"degradedNodes": degraded} if degraded else {}),
        **({"names": str(status.forms)} if status.forms is not Forms.SHORT else {}),
        **({"resources": dict(status.resources)} if status.resources else {}),
        **({"withoutResources": list(status.bare)} if status.bare else {}),
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
