"""Nodes of the cluster, as far as it matters whether their agents can still do their part."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from k8slan_cli.kube.kinds import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHealth:
    """Since when a node is not ready; None: it is, or has not said so far."""

    down_since: datetime | None = None


def read(document: Document) -> NodeHealth:
    """The health of a node."""
    conditions = (document.get("status") or {}).get("conditions") or ()
    ready = next((c for c in conditions if c.get("type") == "Ready"), None)
    if ready is None or ready.get("status") == "True":
        return NodeHealth()
    return NodeHealth(down_since=moment(ready.get("lastTransitionTime") or "1970-01-01T00:00:00Z"))


def moment(text: str) -> datetime:
    """A time as the API writes it."""
    return datetime.fromisoformat(text).astimezone(UTC)


def written(time: datetime) -> str:
    """A time as the API wants it, in whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
