"""All that the controller knows of one LAN, as a value: what it decides from. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from k8slan_cli.errors import Problem
from k8slan_cli.kube.lans import LanObject
from k8slan_cli.kube.nads import FoundNad
from k8slan_cli.kube.nodes import ClusterNode
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Grant, Lan, NodeStatus
from k8slan_cli.lan.vnis import DEFAULT_VNIS
from k8slan_cli.lan.vtep import Vtep


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that matters for one LAN.

    ``found``       the LAN; without a uid there is none of that name, and only VTEPs that name it
    ``lan``         the LAN as it may be had: the spokes and resources that are its own; None if it breaks rules
    ``granted``     what is its own from now on
    ``allotting``   the VNIs from which LANs get one that name none
    ``clashes``     what other LANs have of it
    ``nads``        the NADs that it wants, whosever they are, and all that it owns; all in its namespace
    ``vteps``       its VTEPs, by node
    ``nodes``       the nodes of the cluster
    ``old_agents``  whether agents of 0.1.0 run, on any node
    ``fresh``       whether LANs, VTEPs, nodes and agents are known as they are now: only then is anything let go
    ``failure``     what the API server has against what was tried last, "" if it is well
    """

    found: LanObject
    now: datetime
    lan: Lan | None = None
    granted: Grant | None = None
    allotting: range = DEFAULT_VNIS
    clashes: tuple[Problem, ...] = ()
    nads: Mapping[str, FoundNad] = field(default_factory=dict)
    vteps: tuple[Vtep, ...] = ()
    nodes: Mapping[str, ClusterNode] = field(default_factory=dict)
    old_agents: bool = False
    fresh: bool = True
    failure: str = ""

    @property
    def entries(self) -> tuple[NodeStatus, ...]:
        """Return ``status.nodes`` of the nodes that have no VTEP: those whose agents are of 0.1.0."""
        told = {vtep.node for vtep in self.vteps}
        return tuple(e for e in self.found.entries if e.name not in told and not self.is_gone(e.name))

    @property
    def node_finalizers(self) -> tuple[str, ...]:
        """Return the finalizers of nodes, as agents of 0.1.0 wrote them."""
        return tuple(f for f in self.found.finalizers if f.startswith(names.FINALIZER_PREFIX))

    def is_gone(self, node: str) -> bool:
        """Return whether a node is known not to exist."""
        return self.fresh and node not in self.nodes


def some(items: list[str], separator: str = ", ", most: int = 10) -> str:
    """Return a list for a message, which names no more than some of them."""
    more = f"{separator}and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + more


def node_of(finalizer: str) -> str:
    """Return the node that a finalizer is of."""
    return finalizer.removeprefix(names.FINALIZER_PREFIX)
