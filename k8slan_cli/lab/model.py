"""A lab as a value, whatever file it comes from: nodes, and the links between them, with every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from k8slan_cli.lan.links import CLEAN, Impairment

BRIDGES = frozenset({"bridge", "ovs-bridge"})
"""Kinds of nodes that are no pods, but LANs at which links meet."""
VM = "vm"
MAX_FILES = 100
"""Files of a node: each is a mount of its own."""
MAX_FILES_SIZE = 900_000
"""Bytes of a node's files: a ConfigMap has a MiB at the most."""
MAX_USER_DATA = 2048
"""Bytes of a VM's user data that its manifest can have (KubeVirt: cloudInitNoCloud)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that others of the cluster may use: ``outside`` leads to the node's own ``inside``."""

    outside: int
    inside: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file for a node: where it is there, what is in it, its mode."""

    place: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that is a pod or, of kind ``vm``, a virtual machine.

    ``command`` and ``args`` replace the image's entrypoint and command where they are not (). ``after`` are commands
    to run once it has started, each as words. ``memory`` is in bytes, ``cpu`` in thousandths; 0: no limit. ``volumes``
    are folders that are empty at first. ``template`` is a VM's KubeVirt manifest, ``config`` its cloud-init user data.
    """

    name: str
    kind: str
    image: str = ""
    pull: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    files: tuple[File, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    capabilities: tuple[str, ...] = ()
    privileged: bool = False
    user: int | None = None
    cpu: int = 0
    memory: int = 0
    template: Mapping[str, Any] | None = None
    config: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where a link is plugged in: a node and its interface, as the file names it. ``mac`` is "" for any."""

    node: str
    interface: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    impairment: Impairment = CLEAN
    """What is done to what the node sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """A VTEP outside of the cluster, its VXLAN network and its UDP port."""

    remote: str
    vni: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """An interface of a host, by which hardware joins: ``written`` is how the file has it, and ``at`` where."""

    device: str
    written: str = field(default="", compare=False)
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Ends that hear each other: a link, or all links that meet at a bridge, a NIC or the lab's management network.

    ``name`` is "" for a link between two nodes, which is called after its ends. ``mtu`` is 0 for as much as the cluster
    allows. ``tunnels`` have one VNI and one UDP port.
    """

    name: str = ""
    ends: tuple[End, ...] = ()
    mtu: int = 0
    nics: tuple[Nic, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A lab, and what its file is called. ``warnings`` say what of that is not done, each with its place."""

    name: str
    subject: str = field(default="", compare=False)
    nodes: tuple[Node, ...] = ()
    segments: tuple[Segment, ...] = ()
    warnings: tuple[str, ...] = ()
