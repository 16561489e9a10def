"""Who is attached to a LAN, read from pods: what they ask multus for, and what multus says they got.

Nothing of this is written anywhere a second time. The annotations are those of the Network Plumbing Working Group's
"Kubernetes Network Custom Resource Definition De-facto Standard": ``networks`` (section 4.1.2) and ``network-status``
(section 4.1.3). Users write the former by hand, so what cannot be read counts as not there, and nothing raises.

Pure: a pod's document in, values out. The controller and the workstation both count by this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan, LanRef

NETWORKS_ANNOTATION = "k8s.v1.cni.cncf.io/networks"
STATUS_ANNOTATION = "k8s.v1.cni.cncf.io/network-status"
DEFAULT_ANNOTATION = "v1.multus-cni.io/default-network"
_VM_KEYS = ("kubevirt.io/domain", "vm.kubevirt.io/name")
"""Annotation and label of a launcher: the VM's name, and its host name, which is mostly the same."""
_VMI_KEY = "kubevirt.io/created-by"
_OVER = ("Succeeded", "Failed")

VETH, MACVTAP = "veth", "macvtap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network of a pod: the NetworkAttachmentDefinition, and the interface in the pod.

    ``present`` is whether multus has said that the interface is there; before, it is what the pod asks for. ``mac``
    is "" until then, unless the pod asks for one.
    """

    nad: LanRef
    interface: str
    mac: str = ""
    ips: tuple[str, ...] = ()
    present: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod, as far as its networks matter. ``vm`` is the virtual machine of a KubeVirt launcher, "" for others.

    ``vmi`` is the UID of the VirtualMachineInstance that it runs: while a VM migrates, two launchers have the same one.
    ``node`` is "" for a pod that waits for one.
    """

    namespace: str
    name: str
    uid: str = ""
    node: str = ""
    phase: str = ""
    vm: str = ""
    vmi: str = ""
    deleting: bool = False
    networks: tuple[Network, ...] = ()

    @property
    def over(self) -> bool:
        """Whether all its containers have ended for good: then its interfaces are gone too."""
        return self.phase in _OVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """A place of a LAN to plug into: its kind (``veth`` or ``macvtap``), and its spoke, "" for a dynamic LAN's."""

    lan: LanRef
    kind: str
    spoke: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A pod that is plugged in, or is about to be: see ``network.present``."""

    socket: Socket
    pod: Pod
    network: Network

    @property
    def who(self) -> str:
        """The pod or VM as people say it: ``pod lab/router``, ``VM lab/firewall``."""
        return f"VM {self.pod.namespace}/{self.pod.vm}" if self.pod.vm else f"pod {self.pod.namespace}/{self.pod.name}"

    @property
    def place(self) -> str:
        """Return who, where and by which interface: ``pod lab/router on worker1 (net1)``."""
        return f"{self.who} on {self.pod.node} ({self.network.interface})"

    @property
    def _holder(self) -> tuple[str, str, str]:
        """Return what tells one holder of a spoke from another; the two launchers of a VM that migrates are one."""
        return self.pod.namespace, self.pod.vmi or self.pod.name, self.network.interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A spoke, or else a MAC address, that several interfaces on a LAN have at the same time."""

    lan: LanRef
    spoke: str = ""
    mac: str = ""
    holders: tuple[Attached, ...]

    @property
    def kind(self) -> str:
        """Return which of the two is shared."""
        return "spoke" if self.spoke else "MAC address"

    @property
    def what(self) -> str:
        """Return what is shared: ``spoke e1``."""
        return f"{self.kind} {self.spoke or self.mac}"

    @property
    def times(self) -> str:
        """Return how often it is in use."""
        return "twice" if len(self.holders) == 2 else f"{len(self.holders)} times"

    def describe(self) -> str:
        """Describe what is wrong, and what to do, as the LAN's condition, events and ``lan inspect`` show it."""
        advice = "delete all but one of them" if self.spoke else "give each interface its own"
        holders = ", ".join(item.place for item in self.holders)
        return f"{self.what} is in use {self.times}, by {holders}: {advice}"


def sockets(lan: Lan) -> Iterator[tuple[LanRef, Socket]]:
    """The sockets of a LAN, each by its NetworkAttachmentDefinition."""
    for spoke in lan.spokes:
        for name, kind in ((names.veth_nad(spoke), VETH), (names.mac_nad(spoke), MACVTAP)):
            yield _nad(lan, name), Socket(lan=lan.ref, kind=kind, spoke=spoke)
    if lan.dynamic:
        yield _nad(lan, names.lan_nad(lan.ref.name)), Socket(lan=lan.ref, kind=VETH)


def _nad(lan: Lan, name: str) -> LanRef:
    return LanRef(namespace=lan.ref.namespace, name=name)


def attached(lans: Iterable[Lan], pods: Iterable[Pod]) -> tuple[Attached, ...]:
    """Everything on one of ``lans``, in the order of LAN, spoke, pod and interface; pods that are over are not."""
    known = dict(pair for lan in lans for pair in sockets(lan))
    found = (
        Attached(socket=known[network.nad], pod=pod, network=network)
        for pod in pods
        if not pod.over
        for network in pod.networks
        if network.nad in known
    )
    return tuple(sorted(found, key=_order))


def shared(items: Iterable[Attached]) -> tuple[Shared, ...]:
    """Find spokes with more than one holder, then MAC addresses that LANs have at more than one port.

    Only interfaces that are there count: a pod that waits for its turn takes nothing from another.
    """
    users: dict[tuple[LanRef, str, str], list[Attached]] = {}
    for item in items:
        if item.network.present:
            for spoke, mac in ((item.socket.spoke, ""), ("", item.network.mac)):
                if spoke or mac:
                    users.setdefault((item.socket.lan, mac, spoke), []).append(item)
    return tuple(
        Shared(lan=lan, spoke=spoke, mac=mac, holders=tuple(users[lan, mac, spoke]))
        for lan, mac, spoke in sorted(users)
        if len({_port(item, mac) for item in users[lan, mac, spoke]}) > 1
    )


def _port(item: Attached, mac: str) -> object:
    """Return what may have a spoke once, or ``mac`` once: those who share a spoke need no second word for their MAC."""
    return (mac and item.socket.spoke) or item._holder


def _order(item: Attached) -> tuple[object, ...]:
    return item.socket.lan, item.socket.spoke, item.pod.namespace, item.pod.name, item.network.interface


# ---------------------------------------------------------------- documents


def decode_pod(document: Mapping[str, Any]) -> Pod:
    """The pod of an API server's document."""
    metadata, status = document["metadata"], document.get("status") or {}
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    namespace = metadata.get("namespace", "")
    return Pod(
        namespace=namespace,
        name=metadata["name"],
        uid=metadata.get("uid") or "",
        node=(document.get("spec") or {}).get("nodeName") or "",
        phase=status.get("phase") or "",
        vm=_printable(next((found for key in _VM_KEYS if (found := annotations.get(key) or labels.get(key))), "")),
        vmi=labels.get(_VMI_KEY) or "",
        deleting="deletionTimestamp" in metadata,
        networks=_networks(annotations, namespace),
    )


def _networks(annotations: Mapping[str, str], namespace: str) -> tuple[Network, ...]:
    """What multus says where it has said it, what is asked for where not."""
    networks = (
        *_requests(annotations.get(DEFAULT_ANNOTATION) or "", namespace, "eth0"),
        *_requests(annotations.get(NETWORKS_ANNOTATION) or "", namespace),
        *_states(annotations.get(STATUS_ANNOTATION) or "", namespace),
    )
    return tuple({(network.nad, network.interface): network for network in networks}.values())


def request(nad: str, interface: str = "", ips: Iterable[str] = ()) -> str:
    """Return the ``networks`` annotation that asks for one network.

    It has the short form where that will do. That has no place for addresses, and multus takes DNS labels alone there:
    of a LAN with a dot in its name, or an interface with one, JSON has to tell.
    """
    more = {"interface": interface} if interface else {}
    addresses = list(ips)
    if addresses or any(names.label_fault(name, names.MAX_SUBDOMAIN) for name in (nad, *more.values())):
        return json.dumps([{"name": nad, **more, **({"ips": addresses} if addresses else {})}])
    return f"{nad}@{interface}" if interface else nad


def _requests(text: str, namespace: str, unnamed: str = "") -> list[Network]:
    """The ``networks`` annotation in either of its forms; multus names what is not named net1, net2, … by position.

    Its own annotation for the pod's first network has the same forms, and that is ``unnamed`` where it has no name.
    """
    if any(sign in text for sign in '[{"'):
        items = _objects(text)
    else:
        items = [_short(part.strip()) for part in text.split(",") if part.strip()]
    return [
        Network(
            nad=LanRef(namespace=_text(item, "namespace") or namespace, name=_text(item, "name")),
            interface=_text(item, "interface") or unnamed or f"net{position}",
            mac=_text(item, "mac").lower(),
            ips=_texts(item.get("ips")),
        )
        for position, item in enumerate(items, 1)
    ]


def _short(text: str) -> dict[str, Any]:
    """``[namespace/]name[@interface]``; nothing of what multus could not read either."""
    rest, _, interface = text.partition("@")
    namespace, _, name = rest.rpartition("/")
    if "/" in namespace or "@" in interface:
        return {}
    return {"namespace": namespace, "name": name, "interface": interface}


def _states(text: str, namespace: str) -> list[Network]:
    """The ``network-status`` annotation."""
    found = []
    for item in _objects(text):
        place, _, name = _text(item, "name").rpartition("/")
        found.append(
            Network(
                nad=LanRef(namespace=place or namespace, name=name),
                interface=_text(item, "interface"),
                mac=_text(item, "mac").lower(),
                ips=_texts(item.get("ips")),
                present=True,
            )
        )
    return found


def _objects(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _text(item: Mapping[str, Any], key: str) -> str:
    found = item.get(key)
    return _printable(found) if isinstance(found, str) else ""


def _texts(found: object) -> tuple[str, ...]:
    return tuple(_printable(item) for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def _printable(text: str) -> str:
    """Text that a terminal and a file can take: everyone who may create pods chooses their annotations."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
