"""The shape of a containerlab file, as pydantic's models: which fields there are, and what can be in each.

What a field means is the matter of ``nodes``, ``files`` and ``links``. Fields that containerlab has and that mean
nothing here are in the tables, with the reason; they are warned of, and a field that is in neither is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _dashed(name: str) -> str:
    return name.replace("_", "-")


NOTHING: tuple[Any, ...] = (None, (), {}, "")
"""What a field is that is not there, or says nothing."""


class _Fields(BaseModel):
    model_config = ConfigDict(alias_generator=_dashed, extra="allow", frozen=True)


def _nothing_is_empty(found: Any) -> Any:
    return {} if found is None else found


def _listed(found: Any) -> Any:
    """One item may stand for a list of it."""
    return [] if found is None else [found] if isinstance(found, str) else found


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Pairs = Annotated[dict[str, str | None], BeforeValidator(_nothing_is_empty)]


class NodeFields(_Fields):
    """A node, or what nodes of a kind or group have unless they say otherwise."""

    kind: str | None = None
    group: str | None = None
    image: str | None = None
    image_pull_policy: str | None = None
    restart_policy: str | None = None
    entrypoint: str | None = None
    cmd: str | None = None
    exec: Texts = ()
    env: Pairs = {}
    env_files: Texts = ()
    binds: Texts = ()
    ports: Texts = ()
    labels: Pairs = {}
    sysctls: Pairs = {}
    cap_add: Texts = ()
    user: str | None = None
    cpu: Annotated[float, Field(gt=0, le=1024)] | None = None
    memory: str | None = None
    network_mode: str | None = None
    startup_config: str | None = None
    extras: dict[str, Any] | None = None
    template: str | None = None


Nodes = Annotated[
    dict[str, Annotated[NodeFields, BeforeValidator(_nothing_is_empty)]], BeforeValidator(_nothing_is_empty)
]


class EndFields(_Fields):
    """An end of a link, in full."""

    node: str
    interface: str
    mac: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None


class ImpairmentFields(_Fields):
    """What is done to frames on a link, in both directions: a field of k8slan's own."""

    delay: str | None = None
    jitter: str | None = None
    correlation: str | None = None
    loss: str | None = None
    duplicate: str | None = None
    corrupt: str | None = None
    reorder: str | None = None
    rate: str | None = None
    burst: str | None = None
    limit: int | None = None


class LinkFields(_Fields):
    """A link in either form: a brief one has no ``type``, and its ends are ``node:interface``."""

    type: str | None = None
    endpoints: tuple[str | EndFields, ...] | None = None
    endpoint: str | EndFields | None = None
    host_interface: str | None = None
    mode: str | None = None
    remote: str | None = None
    vni: int | None = None
    udp_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    mtu: Annotated[int, Field(ge=68, le=65461)] | None = None
    ipv4: Texts = ()
    ipv6: Texts = ()
    impairment: ImpairmentFields | None = None


class TopologyFields(_Fields):
    """All that is in a topology."""

    defaults: Annotated[NodeFields, BeforeValidator(_nothing_is_empty)] = NodeFields()
    kinds: Nodes = {}
    groups: Nodes = {}
    nodes: Nodes
    links: Annotated[tuple[LinkFields, ...], BeforeValidator(lambda found: () if found is None else found)] = ()


class FileFields(_Fields):
    """A file."""

    name: str
    topology: TopologyFields


FILE_UNUSED: Mapping[str, str] = {
    "prefix": "objects are named after the lab and the node",
    "mgmt": "the first interface of a node is on the cluster's pod network, which has its own addresses",
    "settings": "certificates are not made",
    "debug": "see --debug",
}
_ORDER = "nodes start all at once"
_ADDRESS = "the cluster gives a pod its address"
_CERTIFICATES = "certificates are not made"
_RUNTIME = "the cluster chooses what runs a pod"
NODE_UNUSED: Mapping[str, str] = {
    "type": "k8slan does not know the types of a kind",
    "license": "use binds, if you know where this kind looks for it",
    "suppress-startup-config": "nothing is written where startup-config is not given",
    "enforce-startup-config": "startup-config is what a node has at each start",
    "startup-delay": _ORDER,
    "wait-for": _ORDER,
    "stages": f"{_ORDER}; exec is run after a start",
    "auto-remove": "a pod that ends is started again",
    "position": "it is of containerlab's graph",
    "config": "it is of containerlab's own templates",
    "SANs": _CERTIFICATES,
    "certificate": _CERTIFICATES,
    "credentials": "it is for containerlab's own logins",
    "mgmt-ipv4": _ADDRESS,
    "mgmt-ipv6": _ADDRESS,
    "mgmt_ipv4": _ADDRESS,
    "mgmt_ipv6": _ADDRESS,
    "publish": "see ports, which make a Service",
    "sandbox": _RUNTIME,
    "kernel": _RUNTIME,
    "runtime": _RUNTIME,
    "cpu-set": "Kubernetes gives CPUs to pods by the kubelet's CPU manager",
    "dns": "pods have the cluster's DNS",
    "aliases": "a node goes by the name of its Service, which it has if it has ports",
    "healthcheck": "a pod is ready when it runs",
    "devices": "a pod gets devices from a device plugin",
    "shm-size": "a pod has 64 MiB",
    "ulimits": _RUNTIME,
    "components": "k8slan does not know the parts of a kind",
}
POD_UNUSED: Mapping[str, str] = {"template": "only a node of kind vm is made of one"}
VM_UNUSED: Mapping[str, str] = dict.fromkeys(
    ("entrypoint", "cmd", "exec", "env", "env-files", "sysctls", "binds", "cap-add", "user", "extras"),
    "a VM has its own; startup-config becomes its cloud-init user data",
)
TEMPLATE_UNUSED: Mapping[str, str] = {
    **VM_UNUSED,
    **dict.fromkeys(("image", "image-pull-policy"), "the template has its own"),
}
BRIDGE_UNUSED: Mapping[str, str] = dict.fromkeys(
    (_dashed(name) for name in NodeFields.model_fields if name not in ("kind", "group")),
    "a bridge is a LAN, and no pod",
)
LINK_UNUSED: Mapping[str, str] = {
    "labels": "they are of containerlab's templates",
    "vars": "they are of containerlab's templates",
}
_ADDRESSES = ("ipv4", "ipv6")
END_UNUSED: Mapping[str, str] = dict.fromkeys(("mac", *_ADDRESSES), "no pod and no VM is at this end")
_TUNNEL = ("remote", "vni", "udp-port")
LINK_TYPES: Mapping[str, tuple[str, ...]] = {
    "veth": (),
    "mgmt-net": (),
    "macvlan": ("host-interface", "mode"),
    "host": ("host-interface",),
    "vxlan": _TUNNEL,
    "vxlan-stitch": _TUNNEL,
    "dummy": (),
}
"""Types of links, and which of the fields that are of some types alone each has a use for."""


def link_unused(kind: str, *, brief: bool) -> Mapping[str, str]:
    """Return what a link of a type has no use for; a brief one has two ends, and names the host's interface in one."""
    used = [name for name in LINK_TYPES[kind] if not (brief and name == "host-interface")]
    names = ("host-interface", "mode", *_TUNNEL)
    unused = {name: f"a link of type {kind} has no use for it" for name in names if name not in used}
    return unused if brief else unused | dict.fromkeys(_ADDRESSES, "write it into endpoint")
