"""Which entries of ``spec.links`` are to go: those whose time is over, and those of pods that are no more. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from k8slan_cli.controller.actions import RemoveLinks
from k8slan_cli.controller.view import View
from k8slan_cli.lan.links import due, next_end


def over(view: View) -> Iterator[RemoveLinks]:
    """Yield the removal of what is over."""
    found = view.found
    if found.lan and found.lan.links:
        now = view.now.timestamp()
        kept = dict(due(found.lan.links, now))
        if gone := tuple(name for name, _ in found.lan.links if name not in kept):
            yield RemoveLinks(found.ref, found.uid, gone)


def next_over(view: View) -> datetime | None:
    """Return when the next entry will be over."""
    lan = view.found.lan
    end = next_end(due(lan.links, view.now.timestamp())) if lan else None
    return datetime.fromtimestamp(end, UTC) if end is not None else None


def loose(view: View) -> Iterator[tuple[str, str, str]]:
    """Yield entries of pods that no node has on the LAN, each with the pod's namespace and name."""
    lan = view.found.lan
    if lan is None or not view.fresh or view.found.deleting:
        return
    there = {f"{port.pod}:{port.interface}" for vtep in view.vteps for port in vtep.ports}
    for name, _ in lan.links:
        if name not in lan.spokes and name not in there:
            namespace, _, rest = name.partition("/")
            yield name, namespace, rest.partition(":")[0]
