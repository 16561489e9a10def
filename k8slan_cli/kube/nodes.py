"""Nodes of the cluster: their addresses, and what matters for whether their agents can still do their part."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from k8slan_cli.kube.kinds import Document
from k8slan_cli.lan.model import IpAddress
from k8slan_cli.lan.vtep_codec import address


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """Since when a node is not ready (None: it is, or has not said so far), and the addresses that it has."""

    down_since: datetime | None = None
    addresses: frozenset[IpAddress] = frozenset()


def read(document: Document) -> ClusterNode:
    """What matters of a node."""
    status = document.get("status") or {}
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    down = ready is not None and ready.get("status") != "True"
    since = ready.get("lastTransitionTime") if ready else None
    return ClusterNode(
        down_since=moment(since or "1970-01-01T00:00:00Z") if down else None,
        addresses=frozenset(
            filter(None, (address(each.get("address") or "") for each in status.get("addresses") or ()))
        ),
    )


def moment(text: str) -> datetime:
    """A time as the API writes it."""
    return datetime.fromisoformat(text).astimezone(UTC)


def written(time: datetime) -> str:
    """A time as the API wants it, in whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
