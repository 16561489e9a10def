"""What pods ask multus for, and what multus says that they got: their annotations as values.

The annotations are those of the Network Plumbing Working Group's "Kubernetes Network Custom Resource Definition
De-facto Standard": ``networks`` (section 4.1.2) and ``network-status`` (section 4.1.3). Users write the former by hand,
so what cannot be read counts as not there, and nothing raises. Who is on a LAN is another matter: see ``occupancy``.

Pure: a pod's document in, values out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
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
    ``node`` is "" for a pod that waits for one. ``host_network``: it has its node's network, and multus adds nothing.
    ``lab`` and ``lab_node`` are the lab that it belongs to and its name there, "" for none.
    """

    namespace: str
    name: str
    uid: str = ""
    node: str = ""
    phase: str = ""
    vm: str = ""
    vmi: str = ""
    deleting: bool = False
    host_network: bool = False
    lab: str = ""
    lab_node: str = ""
    networks: tuple[Network, ...] = ()

    @property
    def over(self) -> bool:
        """Whether all its containers have ended for good: then its interfaces are gone too."""
        return self.phase in _OVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """A place of a LAN to plug into: its kind (``veth`` or ``macvtap``), and its spoke, "" for a dynamic LAN's.

    A StatefulSet's pods have one together: ``names.spoke_of`` tells the spoke of each.
    """

    lan: LanRef
    kind: str
    spoke: str = ""


def sockets(lan: Lan, forms: names.Forms = names.Forms.BOTH) -> Iterator[tuple[LanRef, Socket]]:
    """The sockets of a LAN, each by its NetworkAttachmentDefinitions; without ``forms``, by all that it may have."""
    before = forms.of(lan.ref.name)
    offered = frozenset(lan.offered)
    for spoke, form in product(lan.spokes, before):
        if spoke in offered:
            yield _nad(lan, names.mac_nad(spoke, form)), Socket(lan=lan.ref, kind=MACVTAP, spoke=spoke)
        yield _nad(lan, names.veth_nad(spoke, form)), Socket(lan=lan.ref, kind=VETH, spoke=spoke)
    for name, form in product(names.sets(lan.spokes), before):
        yield _nad(lan, names.set_nad(name, form)), Socket(lan=lan.ref, kind=VETH, spoke=names.of_set(name))
    if lan.dynamic:
        yield _nad(lan, names.lan_nad(lan.ref.name)), Socket(lan=lan.ref, kind=VETH)


def _nad(lan: Lan, name: str) -> LanRef:
    return LanRef(namespace=lan.ref.namespace, name=name)


# ---------------------------------------------------------------- documents


def decode_pod(document: Mapping[str, Any]) -> Pod:
    """The pod of an API server's document."""
    metadata, status = document["metadata"], document.get("status") or {}
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    spec = document.get("spec") or {}
    namespace = _printable(metadata.get("namespace", ""))
    return Pod(
        namespace=namespace,
        name=_printable(metadata["name"]),
        uid=metadata.get("uid") or "",
        node=_printable(spec.get("nodeName") or ""),
        phase=status.get("phase") or "",
        vm=_printable(next((found for key in _VM_KEYS if (found := annotations.get(key) or labels.get(key))), "")),
        vmi=labels.get(_VMI_KEY) or "",
        deleting="deletionTimestamp" in metadata,
        host_network=spec.get("hostNetwork") is True,
        lab=labels.get(names.LAB_LABEL) or "",
        lab_node=labels.get(names.LAB_NODE_LABEL) or "",
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
