"""The LAN as a value: what a user asked for, with every default filled in.

A ``Lan`` only exists if it is valid: ``codec.decode`` is the way in and raises with all problems otherwise. No
dict from YAML or from the Kubernetes API travels further than the codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Self

from k8slan_cli.errors import Problem
from k8slan_cli.lan import links, names
from k8slan_cli.lan.links import Link, Links
from k8slan_cli.lan.names import Forms

IpAddress = IPv4Address | IPv6Address

GROUP = "lan.k8slan.io"
VERSION = "v1beta1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "LAN"

PROTECTION = f"{GROUP}/protection"
"""The controller's own finalizer: on each LAN before it has its first NAD, so before anything can be attached."""
CONFLICT = "Conflict"
"""The condition that says whether a LAN wants what another has."""
INVALID = "Invalid"
"""The reason of the condition Ready of a LAN that breaks rules."""
NODE_READY = "Ready"
"""``NodeStatus.state`` of a node on which the LAN is as specified; every other word says that it is not."""
LINKS_DOWN = f"{GROUP}/links-down"
"""The annotation that lists the links to have no carrier, separated by commas (see ``Lan.pulled``)."""

ANY = "*"
"""Every namespace, in ``Lan.allowed_namespaces``."""
UNDERLAY_FIELDS = (
    "ns",
    "vni",
    "vxlanPort",
    "vxlanGrp",
    "vxlanTTL",
    "defaultVxlanDev",
    "vxlanDevMap",
    "fragment",
    "uplinks",
    "remotes",
    "allowedNamespaces",
)
"""Fields of the spec that reach beyond the LAN's namespace: who sets, changes or removes one needs a right for it."""

_OVERHEAD = {4: 54, 6: 74}
"""Ethernet 14 + VLAN tag 4 of the inner frame, VXLAN 8, UDP 8, IPv4 20 or IPv6 40 bytes (RFC 7348, 5, and 802.1Q)."""


def overhead(version: int) -> int:
    """Bytes of an underlay's MTU that VXLAN over IP ``version`` takes."""
    return _OVERHEAD[version]


FRAGMENTED_MTU = 1500
"""The MTU of a LAN with ``fragment`` that names none: what Ethernet has, and most programs expect."""
DEFAULT_PORT = 4789  # RFC 7348, section 8: the IANA port of VXLAN
DEFAULT_BRIDGE = "br0"
DEFAULT_VXLAN = "vxlan0"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LanRef:
    """Which LAN: its Kubernetes namespace and its name. Printed as ``namespace/name``."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take it as it is printed; whether such a LAN can be is not looked at."""
        namespace, _, name = text.partition("/")
        return cls(namespace=namespace, name=name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One entry of ``status.nodes``: what a node says of its part in the LAN.

    ``vtep`` is the address other nodes send VXLAN to: IPv4, or IPv6 (a link-local one included). From these entries
    an agent learns its peers, in a cluster and from files alike.
    """

    name: str
    state: str = ""
    device: str = ""
    vtep: IpAddress | None = None
    mtu: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Uplink:
    """A NIC of a node as a port of the LAN there, or with ``vlan`` that VLAN of it; 0 is the NIC as it is."""

    node: str
    device: str
    vlan: int = 0

    @property
    def what(self) -> str:
        """Return device and VLAN for people: ``eth1``, ``eth1 VLAN 100``."""
        return f"{self.device} VLAN {self.vlan}" if self.vlan else self.device

    def __str__(self) -> str:
        return f"{self.what} of node {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What the controller has granted to a LAN, in ``status.granted``: edits of the LAN leave it as it is.

    No other LAN gets any of it before this one has been edited so that it does not want it any more, or is gone.
    ``vni`` is 0 as long as none has been allotted. ``forms`` are those that its NADs have had (``status.names``).
    """

    netns: str
    vni: int = 0
    spokes: tuple[str, ...] = ()
    uplinks: tuple[Uplink, ...] = ()
    forms: Forms = Forms.SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Lan:
    """A valid LAN.

    ``netns``      network namespace of the LAN on every node, a plain file name under ``<run dir>/netns``
    ``vni``        VXLAN network identifier, 1..2^24-1 (RFC 7348, section 5); 0 as long as none has been allotted
    ``allotted``   the user has left ``vni`` out, so that the controller chooses
    ``group``      multicast group of the underlay; None means unicast head-end replication
    ``port``       UDP port of VXLAN
    ``ttl``        how many hops frames to the group may take; 0: the kernel's own choice, which is one
    ``underlay``   device that carries VXLAN where ``underlays`` does not name one; None: the node's own choice
    ``underlays``  (node name or host name, device) pairs
    ``remotes``    VTEPs outside the cluster, to which every node that takes part sends as to other nodes
    ``uplinks``    NICs of nodes through which hardware joins; one at a time is active
    ``allowed_namespaces``  whose pods may attach besides those of the LAN's own namespace; ``*`` means all
    ``mtu``        wanted MTU inside the LAN in bytes; None: as large as the underlay allows, or ``FRAGMENTED_MTU``
    ``fragment``   outer packets that do not fit the underlay are fragmented, so that ``mtu`` holds whatever that has
    ``vm_spokes``  spokes that VMs may be on, and which nodes offer to the kubelet; None: all
    ``dynamic``    any number of pods may attach without a spoke
    ``offload``    False: checksums are filled in and frames cut to the MTU before they enter a pod or VM
    ``cable``      the LAN's two spokes are the ends of a cable: without a carrier while the other end is not plugged in
    ``links``      what is wanted of single links: spokes, or ``namespace/pod:interface`` on a dynamic LAN
    ``created``    RFC 3339 time of creation, "" where unknown: it orders LANs that clash
    ``granted``    what the controller has granted to it; None: nothing yet
    ``down``       links that are to have no carrier by the annotation
    ``attached``   whether the controller counts attachments, on any node
    ``forms``      which names its NADs and resources have, as the installation has chosen
    ``resources``  (NAD, resource) pairs, as the controller has decided: for VMs' NADs that are not called as theirs
    ``bare``       spokes that have no resources, as nodes offer no more
    ``finalizers`` and ``nodes`` are what controller and agents of 0.1.0 have written so far
    """

    ref: LanRef
    netns: str
    bridge: str
    vxlan: str
    vni: int
    allotted: bool = False
    group: IpAddress | None = None
    port: int = DEFAULT_PORT
    ttl: int = 0
    underlay: str | None = None
    underlays: tuple[tuple[str, str], ...] = ()
    remotes: tuple[IpAddress, ...] = ()
    uplinks: tuple[Uplink, ...] = ()
    allowed_namespaces: tuple[str, ...] = ()
    mtu: int | None = None
    fragment: bool = False
    spokes: tuple[str, ...] = ()
    vm_spokes: tuple[str, ...] | None = None
    dynamic: bool = False
    offload: bool = True
    cable: bool = False
    links: Links = ()
    created: str = ""
    uid: str = ""
    deleting: bool = False
    granted: Grant | None = None
    down: frozenset[str] = frozenset()
    attached: bool = False
    forms: Forms = Forms.SHORT
    resources: tuple[tuple[str, str], ...] = ()
    bare: frozenset[str] = frozenset()
    finalizers: tuple[str, ...] = ()
    nodes: tuple[NodeStatus, ...] = field(default=())

    @property
    def wanted_mtu(self) -> int | None:
        """The MTU inside, whatever the underlay has; None: as large as that allows."""
        return self.mtu or (FRAGMENTED_MTU if self.fragment else None)

    @property
    def offered(self) -> tuple[str, ...]:
        """The spokes that have resources and definitions for VMs."""
        if self.vm_spokes is None:
            return self.spokes
        wanted = frozenset(self.vm_spokes)
        return tuple(spoke for spoke in self.spokes if spoke in wanted)

    @property
    def in_use(self) -> bool:
        """Whether it has attachments on some node: only controller and agents write what says so."""
        return self.attached or any(node.name for node in self.nodes)

    @property
    def leaving(self) -> bool:
        """Whether it is being deleted and nothing is attached any more, so that it needs nothing."""
        ours = (f == PROTECTION or f.startswith(names.FINALIZER_PREFIX) for f in self.finalizers)
        return self.deleting and not self.in_use and not any(ours)

    def underlay_on(self, *node_names: str) -> str | None:
        """The underlay device wanted on a node known by any of ``node_names``, or None for the node's own choice.

        The first of the names that is listed decides.
        """
        devices = dict(self.underlays)
        return next((devices[name] for name in node_names if name in devices), self.underlay)

    def uplinks_on(self, *node_names: str) -> tuple[Uplink, ...]:
        """Return the uplinks of a node known by any of ``node_names``."""
        return tuple(uplink for uplink in self.uplinks if uplink.node in node_names)

    def admits(self, namespace: str) -> bool:
        """Whether pods of a namespace may attach. A LAN that is in no cluster has no uid, and admits all."""
        return (
            not self.uid or namespace == self.ref.namespace or not {namespace, ANY}.isdisjoint(self.allowed_namespaces)
        )

    @property
    def pulled(self) -> frozenset[str]:
        """The links that are to have no carrier."""
        return self.down.union(name for name, link in self.links if link.down)

    def at(self, now: float) -> Lan:
        """The LAN as it is to be at a time, in seconds since the epoch: without links whose time is over."""
        due = links.due(self.links, now)
        return self if len(due) == len(self.links) else replace(self, links=due)

    def link(self, spoke: str | None, plug: str) -> Link:
        """What is wanted of a link; ``plug`` is ``namespace/pod:interface``."""
        return dict(self.links).get(spoke or plug) or Link()

    def other_end(self, spoke: str | None) -> str | None:
        """The spoke at the other end of a spoke's cable, if the LAN is one: if it has just two spokes."""
        if spoke not in self.spokes or len(self.spokes) != 2 or self.dynamic:
            return None
        return self.spokes[1 - self.spokes.index(spoke)]

    def is_down(self, spoke: str | None, plug: str) -> bool:
        """Whether a link is to have no carrier; ``plug`` is ``namespace/pod:interface``.

        A LAN of exactly two spokes is a cable: pulled out at one end, the other end sees it too.
        """
        return not self.pulled.isdisjoint((spoke or plug, self.other_end(spoke)))

    def peers_of(self, node_name: str) -> frozenset[IpAddress]:
        """VTEP addresses of the other nodes that take part."""
        return frozenset(n.vtep for n in self.nodes if n.vtep is not None and n.name != node_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The LANs that somebody sees: all at a time, or what has changed since the last look.

    ``lans`` come with their origins (a file's name, ``namespace/name`` in a cluster); ``broken`` are the origins that
    cannot be read as LANs now, each with its problems, and ``remains`` is what they have been granted. ``gone`` are the
    LANs that are not there any more, or not to be read; None: all that are not in ``lans``.
    """

    lans: Mapping[LanRef, tuple[Lan, str]] = field(default_factory=dict)
    broken: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    remains: Mapping[LanRef, Lan] = field(default_factory=dict)
    gone: frozenset[LanRef] | None = None
