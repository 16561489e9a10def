"""``k8slan lan graph``: LANs as people draw them, from what the cluster says of nodes and pods."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan.listing import All

if TYPE_CHECKING:
    from k8slan_cli.cli.lan.found import Found
    from k8slan_cli.cli.topology import Member, Node, Topology
    from k8slan_cli.plan.attached import Attached, Shared

_WIDE = 160  # columns of a picture that goes into a file
_NOTE = 48  # characters of a note: inspect has all of it
_NOWHERE = "no node yet"


class Picture(enum.StrEnum):
    """What ``-o`` takes here."""

    TERMINAL = "terminal"
    MERMAID = "mermaid"
    SVG = "svg"
    HTML = "html"


@in_cluster
def graph(
    here: Here,
    name: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", show_default=False, autocompletion=completion.lans)
    ] = None,
    everywhere: All = False,
    output: Annotated[Picture, typer.Option("--output", "-o", help="How to draw.")] = Picture.TERMINAL,
) -> None:
    """Draw LANs: nodes, who is plugged in where, and what joins them. Without a name, all of the namespace.

    An HTML page needs nothing beside it: k8slan lan graph -A -o html > lans.html
    """
    from k8slan_cli.cli.lan import found as lans

    if name and everywhere:
        raise UsageError("-A draws all LANs: give no name beside it")
    if name:
        items = [lans.one(here.cluster, here.namespace, each) for each in dict.fromkeys(name)]
    else:
        items = lans.several(here.cluster, "" if everywhere else here.namespace)
    seen = lans.pods(here.cluster, "" if everywhere else here.namespace)
    if seen.blind:
        typer.echo(f"warning: {seen.blind}", err=True)
    drawn = [item for item in items if item.lan]
    for item in items:
        if item.lan is None:
            typer.echo(f"warning: LAN {item.ref} is not valid, and left out", err=True)
    if not drawn:
        typer.echo("There is no LAN to draw.", err=True)
        return
    attached = lans.on(drawn, seen)
    typer.echo(draw([topology(item, attached) for item in drawn], output), nl=False)


def draw(topologies: Sequence[Topology], output: Picture) -> str:
    """LANs in a picture of the wanted kind."""
    from k8slan_cli.cli.topology import mermaid, several

    if output is Picture.SVG:
        return several.write_svg(topologies)
    if output is Picture.HTML:
        return several.write_page(topologies)
    if output is Picture.MERMAID:
        return mermaid.write(topologies[0]) if len(topologies) == 1 else several.write_mermaid(topologies)
    return _terminal(topologies)


def _terminal(topologies: Sequence[Topology]) -> str:
    import sys

    from k8slan_cli.cli.lan.text import width
    from k8slan_cli.cli.topology.text import draw as draw_text

    try:
        "┌╿╧┨…║".encode(sys.stdout.encoding or "utf-8")
        boxes = True
    except (UnicodeEncodeError, LookupError):
        boxes = False
    pictures = [draw_text(each, width=max(width() or _WIDE, 32), unicode=boxes) for each in topologies]
    for each, lines in zip(topologies, pictures, strict=True):
        if not each.nodes:
            lines += ["  nobody is attached"]
    return "\n\n".join("\n".join(lines) for lines in pictures) + "\n"


# ---------------------------------------------------------------- the model of a picture


def topology(item: Found, attached: Iterable[Attached]) -> Topology:
    """A LAN's nodes: those that say that they take part, and those of its pods."""
    from k8slan_cli.cli.lan.found import sound
    from k8slan_cli.cli.topology import Topology
    from k8slan_cli.plan.attached import shared

    lan = sound(item)
    own = [each for each in attached if each.socket.lan == lan.ref]
    shares = shared(own)
    names = {node.name for node in lan.nodes} | {each.pod.node for each in own if each.pod.node}
    nodes = [_node(item, name, [each for each in own if each.pod.node == name], shares) for name in sorted(names)]
    if homeless := [each for each in own if not each.pod.node]:
        nodes.append(_waiting(homeless))
    flooding = f"multicast {lan.group}" if lan.group else "unicast"
    state = ", not ready" if item.ready and not item.ready.status else ""
    return Topology(
        title=f"LAN {lan.ref}: VNI {lan.vni}, {flooding}{', dynamic' if lan.dynamic else ''}{state}",
        underlay=f"underlay, UDP port {lan.port}" if nodes else "nobody is attached",
        nodes=tuple(nodes),
    )


def _node(item: Found, name: str, attached: Iterable[Attached], shares: Sequence[Shared]) -> Node:
    from k8slan_cli.cli.lan.found import sound
    from k8slan_cli.cli.lan.text import cut
    from k8slan_cli.cli.topology import Node
    from k8slan_cli.kube.status import NODE_READY

    lan = sound(item)
    said = next((node for node in lan.nodes if node.name == name), None)
    if said is None:
        note = "nothing heard of it yet"
    elif said.state != NODE_READY:
        note = f"{said.state}: {said.message}" if said.message else said.state
    else:
        note = ""
    return Node(
        name=name,
        bridge=lan.bridge,
        tunnel=lan.vxlan if said else "",
        uplink=" ".join(filter(None, (said.device, str(said.vtep or "")))) if said else "",
        members=tuple(_member(each, shares) for each in attached),
        note=cut(note, _NOTE),
    )


def _member(each: Attached, shares: Iterable[Shared]) -> Member:
    from k8slan_cli.cli.topology import Member

    network, pod = each.network, each.pod
    first = " ".join((network.interface, *network.ips)) if network.present else f"{network.interface} (waiting)"
    notes = [f"{share.kind} in use {share.times}" for share in shares if each in share.holders]
    place = f"{pod.namespace}/" if pod.namespace != each.socket.lan.namespace else ""
    return Member(
        name=place + (pod.vm or pod.name),
        port=each.socket.spoke or "dynamic",
        lines=tuple(filter(None, (first, network.mac, *notes))),
        vm=bool(pod.vm),
    )


def _waiting(homeless: Sequence[Attached]) -> Node:
    from k8slan_cli.cli.lan.text import cut
    from k8slan_cli.cli.topology import Node

    return Node(name=_NOWHERE, note=cut("waiting: " + ", ".join(each.who for each in homeless), _NOTE))
