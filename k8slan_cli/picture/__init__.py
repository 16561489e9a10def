"""A LAN as a picture: who is plugged in where, and what joins the nodes.

A small frozen model, and pure functions from it to text: ``text`` draws for a terminal, ``mermaid`` writes Mermaid,
``svg`` writes SVG, ``several`` a page. ``lans`` fills the model from a cluster's LANs, demo/picture.py from the
demo's; no drawing asks the kernel or a cluster anything.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

NOTHING = "nothing of the LAN here"  # what a node without a part says, unless it has a note


class Link(enum.StrEnum):
    """Whether frames pass between who is plugged in and the bridge."""

    UP = "up"
    DOWN = "down"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Who is plugged in, or waits to be.

    ``port`` is its bridge port, ``lines`` is what else to show (interface, MAC, address).
    """

    name: str
    port: str
    lines: tuple[str, ...] = ()
    vm: bool = False
    link: Link = Link.UP


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePart:
    """A node's part of the LAN; a node without one has neither bridge nor tunnel nor members.

    ``tunnel`` names its VXLAN device, ``uplink`` what carries it ("eth0 198.18.0.1"); ``note`` is for what a person
    should know ("Degraded: …"), with ``ill`` of something that is wrong.
    """

    name: str
    bridge: str = ""
    tunnel: str = ""
    uplink: str = ""
    members: tuple[Member, ...] = ()
    note: str = ""
    ill: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A LAN over its nodes; ``title`` names it ("LAN default/demo, VNI 7"), ``underlay`` what joins the nodes."""

    title: str
    underlay: str
    nodes: tuple[NodePart, ...]
