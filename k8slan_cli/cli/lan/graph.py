"""``k8slan lan graph``: LANs as people draw them, from what the cluster says of nodes and pods.

Two views: the devices and the LANs that join them, as network engineers draw a lab; or each LAN over the nodes of the
cluster, with bridges, tunnels and the underlay.
"""

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
from k8slan_cli.cli.lan.listing import All, none

if TYPE_CHECKING:
    from k8slan_cli.picture import Topology
    from k8slan_cli.picture import topology as devices
    from k8slan_cli.picture.topology import Seen

_WIDE = 160  # columns of a picture that goes into a file


class Picture(enum.StrEnum):
    """What ``-o`` takes here."""

    TERMINAL = "terminal"
    MERMAID = "mermaid"
    SVG = "svg"
    HTML = "html"
    DOT = "dot"
    JSON = "json"
    YAML = "yaml"


class View(enum.StrEnum):
    """What ``--by`` takes."""

    DEVICE = "device"
    NODE = "node"


Drawn = Annotated[Picture, typer.Option("--output", "-o", help="How to draw.")]
Unfolded = Annotated[bool, typer.Option("--unfold", help="Draw each pod, also of controllers that have many.")]
Watched = Annotated[bool, typer.Option("--watch", "-w", help="Go on, and draw again after each change.")]


@in_cluster
def graph(
    here: Here,
    name: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME…",
            help="LANs (default: all of the namespace).",
            show_default=False,
            autocompletion=completion.lans,
        ),
    ] = None,
    everywhere: All = False,
    selector: Annotated[str, typer.Option("--selector", "-l", metavar="K=V,…", help="Only LANs with labels.")] = "",
    output: Drawn = Picture.TERMINAL,
    by: Annotated[
        View | None,
        typer.Option(
            "--by",
            show_default=False,
            help="device: pods and VMs, and the LANs that join them, as one graph. node: each LAN over the nodes of the"
            " cluster. (default: node for one LAN that is drawn, else device)",
        ),
    ] = None,
    unfold: Unfolded = False,
    watch: Watched = False,
) -> None:
    """Draw LANs and who is on them. Without a name, all of the namespace.

    Several LANs are one graph of devices; one LAN is drawn over the nodes of the cluster; --by says otherwise.

    Examples:
      k8slan lan graph blue

      # A whole lab, as a page that needs nothing beside it
      k8slan lan graph -l lab.k8slan.io/name=clos -o html > lab.html

      # For Graphviz
      k8slan lan graph -A -o dot
    """
    show(here, name or [], output, everywhere=everywhere, selector=selector, by=by, unfold=unfold, watch=watch)


def show(
    here: Here,
    name: Sequence[str],
    output: Picture,
    *,
    everywhere: bool = False,
    selector: str = "",
    by: View | None,
    unfold: bool,
    watch: bool,
    of: str = "",
) -> None:
    """Print a picture of LANs, once or after each change; ``of`` is what they have in common.

    Raises:
        UsageError: options contradict each other.

    """
    from k8slan_cli.cli import live

    if name and (everywhere or selector):
        raise UsageError("names cannot be combined with -A or -l")
    if watch and output is not Picture.TERMINAL:
        raise UsageError("-w is for pictures in a terminal: leave -o out")
    if by is View.NODE and output is Picture.DOT:
        raise UsageError("-o dot is of devices", hint="leave --by out, or take -o mermaid")
    look = functools.partial(
        _drawn, here, name, output, everywhere=everywhere, selector=selector, by=by, unfold=unfold, of=of
    )
    if not watch:
        typer.echo(look(), nl=False)
        return
    places = [(there.namespace, each) for there, each in map(here.lan, name)]
    sources = live.sources(places or [("" if everywhere else here.namespace, "")])
    live.screens(live.after_changes(here.cluster, sources, lambda: look().rstrip("\n")))


def _drawn(
    here: Here,
    name: Sequence[str],
    output: Picture,
    *,
    everywhere: bool,
    selector: str,
    by: View | None,
    unfold: bool,
    of: str,
) -> str:
    from k8slan_cli.diagnose.drawing import seen
    from k8slan_cli.inventory import lans, occupancy

    namespace = "" if everywhere else here.namespace
    items = here.lans(name) if name else lans.several(here.cluster, namespace, selector)
    users = occupancy.explained(here.cluster, occupancy.read(here.cluster, items))
    for sentence in users.blind:
        typer.echo(f"warning: {sentence}", err=True)
    for item in items:
        if item.lan is None:
            typer.echo(f"warning: LAN {item.ref} is not valid, and left out", err=True)
    drawn = [seen(item, users) for item in items if item.lan]
    if not drawn and output not in (Picture.JSON, Picture.YAML):
        typer.echo("There is no LAN to draw." if items else none(namespace, selector), err=True)
        return ""
    return drawing(drawn, output, by=by, of=of, made=made(here), unfold=unfold)


def made(here: Here) -> str:
    """Return when a picture was made, and of which cluster, for people."""
    access = here.cluster.access
    cluster = f"context {access.context}" if access.context else access.url
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {cluster}"


def drawing(
    found: Sequence[Seen],
    output: Picture,
    *,
    by: View | None = None,
    of: str = "",
    made: str = "",
    unfold: bool = False,
) -> str:
    """Return LANs and who is on them in a picture of the wanted kind, as text that ends with a newline.

    ``of`` is what they have in common, their namespace if it is not said; ``made`` says when and of which cluster.
    """
    from k8slan_cli.picture.fold import folded, folded_devices
    from k8slan_cli.picture.lans import topology as over_nodes
    from k8slan_cli.picture.topology import of as devices_of

    for_devices = output in (Picture.JSON, Picture.YAML, Picture.DOT) or len(found) != 1
    if (by or (View.DEVICE if for_devices else View.NODE)) is View.NODE:
        pictures = [over_nodes(each) for each in found]
        return draw(pictures if unfold else list(map(folded, pictures)), output, made)
    topology = devices_of(found)
    spaces = {each.lan.ref.namespace for each in found}
    of = of or (f"namespace {spaces.pop()}" if len(spaces) == 1 else "all namespaces" if spaces else "")
    whole = unfold or output in (Picture.JSON, Picture.YAML)
    return draw_devices(topology if whole else folded_devices(topology), output, of=of, made=made)


def draw_devices(topology: devices.Topology, output: Picture, *, of: str = "", made: str = "") -> str:
    """Devices and the LANs that join them in a picture of the wanted kind."""
    from k8slan_cli.picture.devices import dot, heading, mermaid, page, svg
    from k8slan_cli.picture.topology import document

    title = heading(topology, of)
    if output in (Picture.JSON, Picture.YAML):
        from k8slan_cli.cli.lan.output import Output

        return Output.read(output).text(document(topology))
    if output is Picture.SVG:
        return svg.write(topology, title, made)
    if output is Picture.HTML:
        return page.write(topology, title, made)
    if output is Picture.MERMAID:
        return mermaid.write(topology, title)
    if output is Picture.DOT:
        return dot.write(topology, title)
    return _devices_in_terminal(topology, title)


def _devices_in_terminal(topology: devices.Topology, title: str) -> str:
    from k8slan_cli.cli.lan import text
    from k8slan_cli.picture.devices.text import draw as draw_text

    rows = draw_text(topology, title, width=_columns(), unicode=_boxes())
    colour = {"down": text.removed, "ill": text.removed, "waiting": text.quiet}
    lines = [colour[row.state](row.text) if row.state in colour else row.text for row in rows]
    return "\n".join([text.strong(lines[0]), *lines[1:]]) + "\n"


def draw(topologies: Sequence[Topology], output: Picture, made: str = "") -> str:
    """LANs in a picture of the wanted kind; ``made`` says when and of which cluster."""
    from k8slan_cli.picture import several

    if output in (Picture.JSON, Picture.YAML):
        from k8slan_cli.cli.lan.output import Output

        plain = json.loads(json.dumps([dataclasses.asdict(each) for each in topologies]))
        return Output.read(output).text({"lans": plain})
    if output is Picture.SVG:
        return several.write_svg(topologies, made)
    if output is Picture.HTML:
        return several.write_page(topologies, made)
    if output is Picture.MERMAID:
        return several.write_mermaid(topologies)
    return _terminal(topologies)


def _terminal(topologies: Sequence[Topology]) -> str:
    from k8slan_cli.picture.fold import legend
    from k8slan_cli.picture.text import ASCII
    from k8slan_cli.picture.text import draw as draw_text

    boxes = _boxes()
    pictures = [draw_text(each, width=_columns(), unicode=boxes) for each in topologies]
    for each, lines in zip(topologies, pictures, strict=True):
        if not each.nodes:
            lines.append(f"  {each.underlay}")
    signs = "   ".join(f"{sign} {words}" for sign, words in legend(topologies))
    if signs:
        pictures.append([signs if boxes else signs.translate(ASCII)])
    return "\n\n".join("\n".join(map(_coloured, lines)) for lines in pictures) + "\n"


def _columns() -> int:
    """How many columns a picture may have here."""
    from k8slan_cli.cli.lan.text import width

    return max(width() or _WIDE, 32)


def _boxes() -> bool:
    """Whether lines and corners can be shown here."""
    import sys

    try:
        "┌╿╧┨…║┣".encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _coloured(line: str) -> str:
    """A line of a picture with what is wrong in it in its colour, where colours are seen."""
    from k8slan_cli.cli.lan import text

    line = re.sub(r"╳.*?╳+(?=┨)", lambda found: text.removed(found[0]), line)
    line = re.sub(r"┄.*?┄+(?=┃)", lambda found: text.quiet(found[0]), line)
    line = line.replace("(waiting)", text.quiet("(waiting)"))
    return re.sub(
        r"\b(Degraded|lost|link down|in use (?:twice|\d+ times))\b", lambda found: text.removed(found[0]), line
    )
