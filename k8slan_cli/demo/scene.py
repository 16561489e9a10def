"""What the demo plays, and what it tells of it, as values. Pure: the lab acts by them, the command shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from k8slan_cli.lan import names
from k8slan_cli.lan.model import API_VERSION, KIND, LanRef
from k8slan_cli.plan.objects import MACVTAP_PLUGIN, VETH_PLUGIN
from k8slan_cli.probe.run import ClassResult

LAN = LanRef(namespace="default", name="demo")
NETNS = "demo"
UPLINK = "eth0"
VNI = 7
UNDERLAY_MTU = 1500
_GROUPS = {4: "239.18.0.7", 6: "ff02::1807"}  # administratively scoped (RFC 2365), link-local (RFC 4291)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What a person can choose; ``commands`` are run inside before the probe, ``spare`` makes the VM's name unique.

    The VM's name decides the number of its ``/dev/tap``, and two demos on one machine share ``/dev``.
    """

    nodes: int = 2
    ipv6: bool = False
    multicast: bool = False
    keep: bool = False
    commands: tuple[str, ...] = ()
    spare: str = "0000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A pod or VM: ``spoke`` is its name too, ``node`` where it is, ``address`` for people who look inside."""

    spoke: str
    node: str
    address: str
    vm: bool = False
    interface: str = "net1"

    @property
    def plugin(self) -> str:
        """The CNI plugin that attaches it."""
        return MACVTAP_PLUGIN if self.vm else VETH_PLUGIN

    @property
    def container(self) -> str:
        """CNI_CONTAINERID."""
        return f"demo-{self.spoke}"

    def config(self) -> str:
        """The CNI configuration, as in the NetworkAttachmentDefinition of the spoke."""
        nad = names.mac_nad(self.spoke) if self.vm else names.veth_nad(self.spoke)
        spoke = {"spoke" if self.vm else "veth": self.spoke}
        return json.dumps({"cniVersion": "1.1.0", "name": nad, "type": self.plugin, "lan": str(LAN), **spoke})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A way to probe, by the names of its ends; ``kind`` is a word for the table."""

    kind: str
    src: str
    dst: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A node: its name and its address on the underlay."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who is where: the nodes, the guests in the order in which they are attached, the pairs to probe."""

    machines: tuple[Machine, ...]
    guests: tuple[Guest, ...]
    pairs: tuple[Pair, ...]
    group: str = ""
    ipv6: bool = False

    def document(self) -> dict[str, Any]:
        """The LAN, as a user would write it; ``peers`` stands in for what the nodes tell each other in a cluster."""
        spec: dict[str, Any] = {"ns": NETNS, "vni": VNI, "defaultVxlanDev": UPLINK}
        spec |= {"vxlanGrp": self.group} if self.group else {}
        spec["spokes"] = [guest.spoke for guest in self.guests]
        metadata = {"name": LAN.name, "namespace": LAN.namespace}
        document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        return document if self.group else document | {"peers": [m.address for m in self.machines]}


def scene(options: DemoOptions) -> Scene:
    """Two pods on the first node, one on each other, and a VM on the last."""
    machines = tuple(
        Machine(f"node{n}", f"fe80::{n:x}" if options.ipv6 else f"198.18.0.{n}") for n in range(1, options.nodes + 1)
    )
    places = ["node1", *(m.name for m in machines)]
    pods = [Guest(spoke=f"pod{n}", node=node, address=f"10.18.0.{n}/24") for n, node in enumerate(places, 1)]
    vm = Guest(spoke=f"vm{options.spare}", node=places[-1], address="", vm=True)
    pairs = [
        Pair(kind="same node", src="pod1", dst="pod2"),
        *(Pair(kind="across nodes", src="pod1", dst=pod.spoke) for pod in pods[2:]),
        Pair(kind="to VM", src="pod1", dst=vm.spoke),
        Pair(kind="from VM", src=vm.spoke, dst="pod1"),
    ]
    group = _GROUPS[6 if options.ipv6 else 4] if options.multicast else ""
    return Scene(machines=machines, guests=(*pods, vm), pairs=tuple(pairs), group=group, ipv6=options.ipv6)


# ---------------------------------------------------------------- what is told


@dataclass(frozen=True, slots=True)
class Doing:
    """What is going on now."""

    words: str


@dataclass(frozen=True, slots=True)
class Done:
    """What has been done, and how long it took in seconds."""

    words: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A CNI call that succeeded: its verb, for whom, how long it took in seconds."""

    verb: str
    guest: Guest
    seconds: float


@dataclass(frozen=True, slots=True)
class Remark:
    """What a person should know."""

    words: str


@dataclass(frozen=True, slots=True)
class Unable:
    """A guest that cannot take part in the probe, and why."""

    spoke: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltGuest:
    """A guest as it is found in the kernel: its bridge port, MAC and tap."""

    guest: Guest
    port: str
    mac: str
    tap: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltNode:
    """A node's part of the LAN, as it is found in the kernel; without a bridge there is none."""

    machine: Machine
    bridge: str = ""
    vxlan: str = ""
    guests: tuple[BuiltGuest, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """All is attached."""

    scene: Scene
    mtu: int
    parts: tuple[BuiltNode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What became of each class of frames between a pair."""

    pair: Pair
    results: tuple[ClassResult, ...]


@dataclass(frozen=True, slots=True)
class Ran:
    """A person's command has run: the end of what it printed."""

    command: str
    output: str


@dataclass(frozen=True, slots=True)
class Over:
    """The play has come to its end."""
