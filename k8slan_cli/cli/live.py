"""What goes on until Ctrl-C: a text that is shown again whenever it is another, and what wakes it."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import typer

from k8slan_cli import garbage
from k8slan_cli.cli.terminal import past_filter

if TYPE_CHECKING:
    from k8slan_cli.kube.apply import Cluster, Selection

_HOME, _END_OF_LINE, _END_OF_SCREEN, _CLEAR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"


def screens(texts: Iterable[str]) -> None:
    """Show texts until Ctrl-C or their end: on a terminal each in place of the one before, elsewhere one below it.

    Elsewhere one that is the same as the one before is not shown.
    """
    garbage.as_usual()
    live = sys.stdout.isatty()
    before: str | None = None
    try:
        for text in texts:
            if live:
                _replace(text, first=before is None)
            elif text != before:
                typer.echo("\n" * (before is not None) + text)
                sys.stdout.flush()
            before = text
    except KeyboardInterrupt:
        return


def _replace(text: str, *, first: bool) -> None:
    """Draw a screen over the one before, which does not flicker; what is below its end is left out, and counted."""
    stream, lines = past_filter(sys.stdout), text.splitlines()
    room = height()
    if len(lines) > room:
        lines[room - 1 :] = [f"{len(lines) - room + 1} more lines"]
    stream.write(_CLEAR * first + _HOME)
    for line in lines:
        sys.stdout.write(line)
        stream.write(_END_OF_LINE + "\n")
    stream.write(_END_OF_SCREEN)
    stream.flush()


def height() -> int:
    """How many lines a screen has room for."""
    return max(shutil.get_terminal_size().lines - 1, 5)


def after_changes(cluster: Cluster, sources: Mapping[str, Selection], look: Callable[[], str]) -> Iterator[str]:
    """Look now, and again after changes of objects; those that come while it looks count as one.

    Raises:
        K8slanError: LANs or VTEPs may not be watched.

    """
    from k8slan_cli.kube import kinds

    optional = (kinds.PODS, kinds.CORE_EVENTS)
    with contextlib.closing(cluster.follow(sources, together=True, optional=optional)) as changes:
        for _ in changes:
            yield look()


def sources(places: Iterable[tuple[str, str]]) -> dict[str, Selection]:
    """What to follow of LANs, each a namespace and a name: the objects, who is on them or waits, and events.

    No name: all there are. Only pods that wait are followed: there may be very many others, and VTEPs tell of those.
    """
    from k8slan_cli.inventory import occupancy
    from k8slan_cli.kube import apply, kinds
    from k8slan_cli.lan import vtep_codec
    from k8slan_cli.lan.model import KIND, LanRef

    found: dict[str, Selection] = {}
    for namespace, name in places:
        of_lan = vtep_codec.selector(LanRef(namespace=namespace, name=name)) if name else ""
        field = f"metadata.name={name}" if name else ""
        found[f"LAN {namespace}/{name}"] = apply.Selection(kinds.LANS, namespace, field)
        found[f"VTEPs {namespace}/{name}"] = apply.Selection(kinds.VTEPS, namespace, label_selector=of_lan)
        found[f"pods {namespace}"] = apply.Selection(kinds.PODS, namespace, "status.phase=Pending")
        for about in (f"involvedObject.kind={KIND}", occupancy.FAILED_PODS):
            found[f"events {namespace} {about}"] = apply.Selection(kinds.CORE_EVENTS, namespace, about)
    return found
