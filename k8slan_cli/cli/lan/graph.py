"""``k8slan lan graph``: LANs as people draw them, from what the cluster says of nodes and pods."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan.listing import All

if TYPE_CHECKING:
    from k8slan_cli.picture import Topology

_WIDE = 160  # columns of a picture that goes into a file


class Picture(enum.StrEnum):
    """What ``-o`` takes here."""

    TERMINAL = "terminal"
    MERMAID = "mermaid"
    SVG = "svg"
    HTML = "html"
    JSON = "json"
    YAML = "yaml"


@in_cluster
def graph(
    here: Here,
    name: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", show_default=False, autocompletion=completion.lans)
    ] = None,
    everywhere: All = False,
    output: Annotated[Picture, typer.Option("--output", "-o", help="How to draw.")] = Picture.TERMINAL,
    unfold: Annotated[
        bool, typer.Option("--unfold", help="Draw each pod, also of controllers that have many on a node.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and draw again after each change.")] = False,
) -> None:
    """Draw LANs: nodes, who is plugged in where, and what joins them. Without a name, all of the namespace.

    Examples:
      k8slan lan graph blue

      # A page that needs nothing beside it
      k8slan lan graph -A -o html > lans.html
    """
    from k8slan_cli.cli import live

    if name and everywhere:
        raise UsageError("-A draws all LANs: give no name beside it")
    if watch and output is not Picture.TERMINAL:
        raise UsageError("-w is for pictures in a terminal: leave -o out")
    if not watch:
        typer.echo(_drawn(here, name or [], output, everywhere=everywhere, unfold=unfold), nl=False)
        return
    places = [(there.namespace, each) for there, each in map(here.lan, name or [])]
    sources = live.sources(places or [("" if everywhere else here.namespace, "")])
    look = functools.partial(_drawn, here, name or [], output, everywhere=everywhere, unfold=unfold)
    live.screens(live.after_changes(here.cluster, sources, lambda: look().rstrip("\n")))


def _drawn(here: Here, name: Sequence[str], output: Picture, *, everywhere: bool, unfold: bool) -> str:
    from k8slan_cli.inventory import lans, occupancy
    from k8slan_cli.picture.fold import folded
    from k8slan_cli.picture.lans import topology

    items = here.lans(name) if name else lans.several(here.cluster, "" if everywhere else here.namespace)
    users = occupancy.read(here.cluster, items)
    for sentence in users.blind:
        typer.echo(f"warning: {sentence}", err=True)
    drawn = [item for item in items if item.lan]
    for item in items:
        if item.lan is None:
            typer.echo(f"warning: LAN {item.ref} is not valid, and left out", err=True)
    if not drawn:
        typer.echo("There is no LAN to draw.", err=True)
        return ""
    pictures = [
        topology(lans.sound(item), users.of(item), ready=item.ready is None or item.ready.status) for item in drawn
    ]
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_cluster(here)}"
    return draw(pictures if unfold else list(map(folded, pictures)), output, made)


def _cluster(here: Here) -> str:
    """What to call the cluster."""
    access = here.cluster.access
    return f"context {access.context}" if access.context else access.url


def draw(topologies: Sequence[Topology], output: Picture, made: str = "") -> str:
    """LANs in a picture of the wanted kind; ``made`` says when and of which cluster."""
    from k8slan_cli.picture import several

    if output in (Picture.JSON, Picture.YAML):
        from k8slan_cli.cli.lan.output import Output

        plain = json.loads(json.dumps([dataclasses.asdict(each) for each in topologies]))
        return Output.read(output).text({"lans": plain})
    if output is Picture.SVG:
        return several.write_svg(topologies)
    if output is Picture.HTML:
        return several.write_page(topologies, made)
    if output is Picture.MERMAID:
        return several.write_mermaid(topologies)
    return _terminal(topologies)


def _terminal(topologies: Sequence[Topology]) -> str:
    import sys

    from k8slan_cli.cli.lan.text import width
    from k8slan_cli.picture.fold import legend
    from k8slan_cli.picture.text import ASCII
    from k8slan_cli.picture.text import draw as draw_text

    try:
        "┌╿╧┨…║".encode(sys.stdout.encoding or "utf-8")
        boxes = True
    except (UnicodeEncodeError, LookupError):
        boxes = False
    pictures = [draw_text(each, width=max(width() or _WIDE, 32), unicode=boxes) for each in topologies]
    for each, lines in zip(topologies, pictures, strict=True):
        if not each.nodes:
            lines += ["  no attachments"]
    signs = "   ".join(f"{sign} {words}" for sign, words in legend(topologies))
    if signs:
        pictures.append([signs if boxes else signs.translate(ASCII)])
    return "\n\n".join("\n".join(map(_coloured, lines)) for lines in pictures) + "\n"


def _coloured(line: str) -> str:
    """A line of a picture with what is wrong in it in its colour, where colours are seen."""
    from k8slan_cli.cli.lan import text

    line = re.sub(r"╳.*?╳+(?=┨)", lambda found: text.removed(found[0]), line)
    return re.sub(
        r"\b(Degraded|lost|link down|in use (?:twice|\d+ times))\b", lambda found: text.removed(found[0]), line
    )
