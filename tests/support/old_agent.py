"""What an agent of version 0.1.0 writes into a LAN: its entry of ``status.nodes`` and its finalizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k8slan_cli.kube.client import ApiError, Client
from k8slan_cli.kube.kinds import Document
from k8slan_cli.kube.lans import ApiSource, _apply, manager, remove_finalizers, remove_nodes
from k8slan_cli.lan import codec
from k8slan_cli.lan.model import Lan, LanRef, NodeStatus


class NodeWriter:
    """Writes one node's part of LANs. Every call raises ApiError if it could not be done.

    What it has written is in the source's next snapshot, without waiting for the watch to tell.
    """

    def __init__(self, client: Client, source: ApiSource, node: str) -> None:
        self._client = client
        self._source = source
        self._manager = manager(node)

    async def put_node(self, ref: LanRef, entry: NodeStatus) -> None:
        """Make ``entry`` this node's one in ``status.nodes``."""
        await self._apply(ref, {"status": {"nodes": [codec.encode_node(entry)]}}, "status")

    async def remove_node(self, ref: LanRef, node: str) -> None:
        """Take a node out of ``status.nodes``; nothing happens if it is not there."""
        self._learn(await remove_nodes(self._client, ref, self._uid(ref), frozenset({node})))

    async def add_finalizer(self, ref: LanRef, finalizer: str) -> None:
        """Add a finalizer; a LAN that is being deleted takes none."""
        await self._apply(ref, {"metadata": {"finalizers": [finalizer]}})

    async def remove_finalizer(self, ref: LanRef, finalizer: str) -> None:
        """Take a finalizer off; nothing happens if it is not there."""
        self._learn(await remove_finalizers(self._client, ref, self._uid(ref), frozenset({finalizer})))

    def _uid(self, ref: LanRef) -> str:
        found = self._source.cache.get((ref.namespace, ref.name))
        return found.uid if isinstance(found, Lan) else ""

    async def _apply(self, ref: LanRef, wanted: Mapping[str, Any], part: str = "") -> None:
        found = self._source.cache.get((ref.namespace, ref.name))
        if not isinstance(found, Lan):
            raise ApiError(f"there is no LAN {ref}", status=404)
        self._learn(await _apply(self._client, ref, found.uid, self._manager, wanted, part))

    def _learn(self, document: Document | None) -> None:
        if document is not None:
            self._source.cache.learn(document)
