"""One vocabulary for what is wanted and what is there.

A ``LanState`` describes a LAN's part of one node: its namespace, the links in it and the peers of its VXLAN device.
``desired.plan`` makes one from a LAN and its attachments, ``net.observe`` reads one from the kernel, and ``diff``
compares the two. What the kernel shows and k8slan does not care about has no place here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from k8slan_cli.lan.links import UNLIMITED, Bandwidth
from k8slan_cli.lan.model import IpAddress, LanRef
from k8slan_cli.lan.routes import Route

ALL_BUT_PAUSE = 0xFFFD
"""``group_fwd_mask`` of every port: all of 01:80:c2:00:00:0X but X=1, PAUSE, which no bridge passes on."""


Owner = tuple[int, int]
"""User and group."""


class AttachmentKind(enum.StrEnum):
    """The kind of an attachment."""

    VETH = "veth"
    MACVTAP = "macvtap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Underlay:
    """The device that carries VXLAN, as it is on this node; addresses in the order of the kernel.

    ``routed`` says that routes have chosen it, which may lead elsewhere for other peers.
    """

    name: str
    index: int
    mtu: int
    up: bool
    addresses: tuple[IpAddress, ...] = ()
    routed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A bridge; ``quiet`` means no STP, no multicast snooping, no VLAN filtering."""

    name: str
    mtu: int
    up: bool = True
    quiet: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """What every bridge port has: its bridge, MTU in bytes, whether it is up, its ``group_fwd_mask``.

    ``offload`` says that frames may leave the LAN there without checksums, and larger than the MTU.
    ``owner`` is the link's alias: it says to people, and to an agent that has forgotten, who is plugged in.
    """

    name: str
    bridge: str | None
    mtu: int
    up: bool = True
    forwards: int = ALL_BUT_PAUSE
    owner: str = ""
    offload: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How frames are kept back on their way out of a device; not at all, as it is by default.

    ``rate`` in bits a second with ``burst`` and ``room`` in bytes is tbf(8): what may pass at once, and what may wait
    where nothing else lets frames wait. All else is netem(8): times in microseconds, probabilities in millionths,
    ``limit`` in frames, and ``memory`` what it is told of the correlation of jitter, in parts of 2**32. ``foreign`` is
    the kind of what somebody else has put there.
    """

    rate: int = 0
    burst: int = 0
    room: int = 0
    delay: int = 0
    jitter: int = 0
    memory: int = 0
    loss: int = 0
    duplicate: int = 0
    corrupt: int = 0
    reorder: int = 0
    limit: int = 0
    foreign: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaping:
    """What is done to frames at a port, beside passing them on.

    ``from_pod`` is about what comes in, at the device that it is led through, which is there if it is not None;
    ``led`` says that it is.
    """

    to_pod: Queue = Queue()
    from_pod: Queue | None = None
    led: bool = False


UNSHAPED = Shaping()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """What of a VXLAN device can only be chosen when it is made; ``device`` is a link index of the node."""

    vni: int
    port: int
    device: int
    local: IpAddress | None
    group: IpAddress | None
    ttl: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """The VXLAN device: its tunnel, and the peers that unknown frames go to. Without a joint it is a bridge port."""

    link: Port
    tunnel: Tunnel
    peers: frozenset[IpAddress] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """What joins a VXLAN device to the bridge where outer packets are fragmented: a port of its own, with a redirect.

    As a bridge port, the device would take no frame that does not fit the underlay, and would answer those that must
    not be fragmented itself, by ICMP into the pod. So a veth is the port: what the bridge sends to it is led to the
    VXLAN device, which asks for no MTU then, and what comes from there is led in at it. Nothing passes the veth itself.

    ``joined`` says that both redirects are there, and that the veth has a carrier.
    """

    port: Port
    joined: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A pod or VM that is, or is about to be, plugged into a LAN.

    ``container`` and ``ifname`` are CNI_CONTAINERID and CNI_IFNAME, together the identity; ``port`` is the bridge port
    in the LAN's namespace; ``spoke`` is None on a dynamic LAN; ``tap`` is the macvtap's link index, which names its
    ``/dev/tap<index>``, and ``tap_owner`` is who may open that; ``addresses`` (``10.0.0.2/24``) and ``routes`` are what
    IPAM or the configuration gave, but never for a macvtap; ``index`` is the link index of a veth in the pod, by which
    a DHCP client knows it, so that one made anew has it too; 0: any will do; ``offload`` is what the configuration says
    of its port's, None: what the LAN says; ``netns`` and ``netns_id`` are the pod's namespace: its path as the runtime
    wrote it, and its identity. ``network`` is the name in the network configuration, by which GC goes; ``config`` is
    all of it and ``environ`` the CNI_* variables that came with it, kept only where IPAM has to be asked to release.
    ``complete`` is false until the ADD is done, so that one cut short can be told and undone. ``pod_uid`` and
    ``since``, the RFC 3339 time of the ADD, are "" where the runtime or an agent of version 0.1.0 told none.
    ``bandwidth`` is what the runtime asked for.
    ``vm_name`` and ``vm_uid`` are the KubeVirt VM that a migration brought here (the uid is its VMI's), "" for others.
    """

    container: str
    ifname: str
    lan: LanRef
    kind: AttachmentKind
    port: str
    mac: str
    mtu: int
    spoke: str | None = None
    tap: int = 0
    tap_owner: Owner = (0, 0)
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    index: int = 0
    offload: bool | None = None
    netns: str = ""
    netns_id: str = ""
    pod: str = ""
    pod_uid: str = ""
    vm_name: str = ""
    vm_uid: str = ""
    since: str = ""
    network: str = ""
    config: str = ""
    environ: tuple[tuple[str, str], ...] = ()
    bandwidth: Bandwidth = UNLIMITED
    complete: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The identity by the CNI spec: container and interface."""
        return (self.container, self.ifname)

    @property
    def may_be_vm(self) -> bool:
        """Whether a VM may be behind it: a macvtap is made for one, and KubeVirt's pods are named in one way."""
        launcher = self.pod.partition("/")[2].startswith("virt-launcher-")
        return launcher or self.kind is AttachmentKind.MACVTAP

    @property
    def silent(self) -> bool:
        """Whether nothing but a guest may speak at it: at a macvtap, and where a VM is to come that runs elsewhere."""
        return self.kind is AttachmentKind.MACVTAP or bool(self.vm_uid)

    @property
    def plug(self) -> str:
        """``namespace/pod:interface``, by which a link of a dynamic LAN is called; the container's id without a pod."""
        return f"{self.pod or self.container}:{self.ifname}"

    @property
    def owner(self) -> str:
        """The alias of the bridge port: ASCII, so that it reads back as it is, and at most IFALIASZ - 1 = 255 bytes."""
        text = f"{self.container} {self.ifname} {self.pod}".rstrip()[:255]
        return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)

    @property
    def who(self) -> str:
        """For people: the pod's name where the runtime told it, the container's id otherwise."""
        return f"{self.pod or self.container} ({self.ifname})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """The lower device of a macvtap: the other end of its bridge port's veth, in the LAN's namespace as well."""

    name: str
    mtu: int
    up: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkPort:
    """The port of an uplink: a macvlan over a NIC of the node or, with ``vlan``, a VLAN device of it.

    ``lower`` is the NIC's link index on the node. Without a bridge the port joins nothing: another is active.
    """

    port: Port
    lower: int
    vlan: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LanState:
    """A LAN's part of a node, wanted or observed.

    ``exists``       the namespace is there
    ``mounted``      it is where it should be in the file system, so that people and tools find it; of one that is not
                     there: the file that it would be mounted on is
    ``quiet``        IPv6 and bridge-netfilter are off in it
    ``joint``        what the VXLAN device is joined to the bridge by, if it is no port of it
    ``ports``        bridge ports of attachments, by name; on the wanted side each with its attachment
    ``attachments``  by port name; empty on the observed side
    ``stubs``        lower devices of macvtap attachments, by name
    ``shapes``       what is done to frames at ports, by port name; ports at which nothing is done are left out
    ``uplinks``      ports of the node's NICs, by name
    ``taps``         the owners of macvtaps' device files, by link index; None where the agent may not give them away
    """

    netns: str
    exists: bool = True
    mounted: bool = True
    quiet: bool = True
    bridge: Bridge | None = None
    vxlan: Vxlan | None = None
    joint: Joint | None = None
    ports: Mapping[str, Port] = field(default_factory=dict)
    attachments: Mapping[str, Attachment] = field(default_factory=dict)
    stubs: Mapping[str, Stub] = field(default_factory=dict)
    shapes: Mapping[str, Shaping] = field(default_factory=dict)
    uplinks: Mapping[str, UplinkPort] = field(default_factory=dict)
    taps: Mapping[int, Owner] | None = field(default_factory=dict)


def tunnel_port(state: LanState) -> str:
    """The bridge port behind which the other nodes are; "" without one."""
    if state.joint:
        return state.joint.port.name
    return state.vxlan.link.name if state.vxlan else ""


def absent(netns: str) -> LanState:
    """A LAN of which the node has, or should have, nothing."""
    return LanState(netns=netns, exists=False, mounted=False)
