"""What an agent knows of the VTEPs of its LANs: the seam between the agent and the Kubernetes API (kube/vteps.py).

A LAN's VTEPs are ``known`` once all of them have been seen. Before that what an earlier agent has left stays as it is;
after that what was seen last counts, also while the API server is away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import Vtep

Change = tuple[Vtep | None, Vtep | None]
"""A VTEP before and after; None: it is not there."""
Changed = Callable[[LanRef, Collection[Change]], None]
"""Is told what has changed of a LAN's VTEPs; without a change, that they are known now."""


class Vteps(Protocol):
    """The VTEPs of the LANs in which this node takes part."""

    on_change: Changed

    def of(self, lan: LanRef) -> Collection[Vtep]:
        """Return all VTEPs of a LAN that are known, this node's among them."""

    def known(self, lan: LanRef) -> bool:
        """Return whether these are all."""

    def follow(self, lans: Collection[LanRef]) -> None:
        """Keep the VTEPs of these LANs in sight, and soon no others any more."""

    async def look(self, lan: LanRef) -> None:
        """Ask once for the VTEPs of a LAN that is new here, for a moment only."""


class NoVteps:
    """Takes the place of ``Vteps`` where LANs come from files: peers are in the files."""

    def __init__(self) -> None:
        self.on_change: Changed = lambda _lan, _changes: None

    def of(self, _lan: LanRef) -> Collection[Vtep]:
        """Return none."""
        return ()

    def known(self, _lan: LanRef) -> bool:
        """Return that there are no others."""
        return True

    def follow(self, _lans: Collection[LanRef]) -> None:
        """Do nothing."""

    async def look(self, _lan: LanRef) -> None:
        """Do nothing."""
