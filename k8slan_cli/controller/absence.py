"""What becomes of the VTEPs of nodes that are down or gone: pure decisions.

::

    node not ready for LOST_AFTER ──► lost: holds no spoke and no deletion, but stays a peer
    node ready, and its agent has given its claims up ──► lost no more
    node does not exist ──► its VTEP is removed, whatever it has
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from k8slan_cli.controller.actions import Action, MarkFound, MarkLost, RemoveVtep
from k8slan_cli.controller.view import View, node_of
from k8slan_cli.lan.vtep import Vtep

LOST_AFTER = timedelta(seconds=60)
"""How long a node may be not ready before it holds spokes and deletions no longer."""
_NEWEST = 1 << 63
"""After every version: what is said of a VTEP now is younger than all that has been said before."""


def settle(view: View) -> tuple[View, tuple[Action, ...]]:
    """Return the actions on VTEPs, and the view as it is when they have been carried out."""
    if not view.fresh:
        return view, ()
    settled = [_settle(view, vtep) for vtep in view.vteps]
    kept = tuple(vtep for vtep, _ in settled if vtep)
    return replace(view, vteps=kept), tuple(action for _, action in settled if action)


def _settle(view: View, vtep: Vtep) -> tuple[Vtep | None, Action | None]:
    if view.is_gone(vtep.node):
        return None, RemoveVtep(vtep)
    if not vtep.lost and is_lost(view, vtep.node):
        return replace(vtep, lost=True), MarkLost(vtep)
    ready = view.nodes[vtep.node].down_since is None
    if vtep.lost and ready and not any(port.claim for port in vtep.ports):
        return replace(vtep, lost=False, version=_NEWEST), MarkFound(vtep)
    return vtep, None


def is_lost(view: View, node: str) -> bool:
    """Return whether a node exists, and has not been ready for ``LOST_AFTER``."""
    health = view.nodes.get(node)
    return health is not None and health.down_since is not None and view.now >= health.down_since + LOST_AFTER


def next_loss(view: View) -> datetime | None:
    """Return when the next node that matters to the LAN will be lost."""
    return min((time for time in _losses(view) if time > view.now), default=None)


def _losses(view: View) -> Iterator[datetime]:
    waited_for = {vtep.node for vtep in view.vteps}
    if view.found.deleting:
        waited_for |= set(map(node_of, view.node_finalizers))
    for node in waited_for:
        health = view.nodes.get(node)
        if health and health.down_since:
            yield health.down_since + LOST_AFTER
