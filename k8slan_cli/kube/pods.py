"""Pods as far as they use LANs: what the controller keeps of them, which is little, for there may be very many."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from k8slan_cli.kube.kinds import Document
from k8slan_cli.kube.watch import Key
from k8slan_cli.plan.attached import Network, asked, granted

RUNNING = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of the pods that may be attached to something: on a node, and not over."""
_PREFIX = "k8slan-"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodUse:
    """A pod on a ``node`` that uses NADs of k8slan: those it ``wants``, and one for each interface it ``has``."""

    node: str
    wants: tuple[Key, ...] = ()
    has: tuple[Key, ...] = ()

    @property
    def nads(self) -> frozenset[Key]:
        """All NADs that it wants or has."""
        return frozenset((*self.wants, *self.has))


def read(document: Document) -> PodUse | None:
    """What NADs of k8slan a pod uses; None if it uses none."""
    metadata = document["metadata"]
    annotations, namespace = metadata.get("annotations") or {}, metadata["namespace"]
    wants, has = _ours(asked(annotations, namespace)), _ours(granted(annotations, namespace))
    if not wants and not has:
        return None
    return PodUse(node=sys.intern((document.get("spec") or {}).get("nodeName") or ""), wants=wants, has=has)


def _ours(networks: Iterable[Network]) -> tuple[Key, ...]:
    nads = (network.nad for network in networks)
    return tuple((nad.namespace, nad.name) for nad in nads if nad.name.startswith(_PREFIX))
