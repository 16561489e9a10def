"""Pods as far as they use LANs, read from the annotations of multus. Nothing of them is written.

``k8s.v1.cni.cncf.io/networks`` says what a pod wants, ``…/network-status`` what it has got (Multi-network
specification 1.3, sections 4.1 and 4.4).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from k8slan_cli.kube.watch import Document, Key

NETWORKS = "k8s.v1.cni.cncf.io/networks"
STATUS = "k8s.v1.cni.cncf.io/network-status"
DEFAULT_NETWORK = "v1.multus-cni.io/default-network"
RUNNING = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of the pods that may be attached to something: on a node, and not over."""
_PREFIX = "k8slan-"
_ITEM = re.compile(r"\s*(?:([^/@\s]+)/)?([^/@\s]+)(?:@[^/@\s]*)?\s*")


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
    annotations = metadata.get("annotations") or {}
    namespace = metadata["namespace"]
    texts = (annotations.get(NETWORKS), annotations.get(DEFAULT_NETWORK))
    wants = [key for text in texts if text for key in requested(text, namespace)]
    has = list(_granted(annotations.get(STATUS) or "", namespace))
    wants, has = ([key for key in keys if key[1].startswith(_PREFIX)] for keys in (wants, has))
    if not wants and not has:
        return None
    node = (document.get("spec") or {}).get("nodeName") or ""
    return PodUse(node=sys.intern(node), wants=tuple(wants), has=tuple(has))


def requested(text: str, namespace: str) -> list[Key]:
    """The NADs that an annotation asks for, ``namespace`` being the pod's; none if multus could not read it either."""
    if text.lstrip().startswith("["):
        found = [(item.get("namespace") or namespace, item.get("name")) for item in _objects(text)]
        return [(place, name) for place, name in found if isinstance(place, str) and isinstance(name, str)]
    matches = [_ITEM.fullmatch(part) for part in text.split(",")]
    return [(match[1] or namespace, match[2]) for match in matches if match]


def _granted(text: str, namespace: str) -> Iterator[Key]:
    for item in _objects(text):
        name = item.get("name")
        if isinstance(name, str):
            place, slash, rest = name.partition("/")
            yield (place, rest) if slash else (namespace, name)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    try:
        found = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return
    for item in found if isinstance(found, list) else ():
        if isinstance(item, dict):
            yield item
