"""LAN documents to ``Lan`` values and back: the one place that knows the custom resource's keys.

A document is what a YAML file or the Kubernetes API gives: nested dicts, of any shape. ``decode`` either makes a valid
``Lan`` of it or raises with every problem there is, each under its path in the document.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import date
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeVar

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lan import links, names, validate
from k8slan_cli.lan.links import Impairment, Link, Links
from k8slan_cli.lan.model import (
    API_VERSION,
    CONFLICT,
    DEFAULT_BRIDGE,
    DEFAULT_PORT,
    DEFAULT_VXLAN,
    INVALID,
    KIND,
    LINKS_DOWN,
    Grant,
    IpAddress,
    Lan,
    LanRef,
    NodeStatus,
    Uplink,
)
from k8slan_cli.lan.names import Forms
from k8slan_cli.lan.vnis import MAX_VNI

DEFAULT_NAMESPACE = "default"

_TOP = frozenset({"apiVersion", "kind", "metadata", "spec", "status", "peers"})
_SPEC = frozenset(
    {
        "ns",
        "bridge",
        "vxlan",
        "vni",
        "vxlanGrp",
        "vxlanPort",
        "vxlanTTL",
        "defaultVxlanDev",
        "vxlanDevMap",
        "remotes",
        "uplinks",
        "allowedNamespaces",
        "mtu",
        "fragment",
        "spokes",
        "vmSpokes",
        "dynamic",
        "offload",
        "cable",
        "links",
    }
)
_LINK = frozenset({"state", "until", "toPod", "fromPod", *links.PROPERTIES})
_UPLINK = frozenset({"node", "device", "vlan"})
_WORDS = {str: "text", int: "a whole number", bool: "true or false", dict: "a mapping", list: "a list"}
_BROADCAST = IPv4Address("255.255.255.255")
T = TypeVar("T")
_MOST = 5000
"""A list or mapping that is longer is wrong as a whole, whatever is in it: no field may have so much. Of a document's
problems, so many are told: what it takes to read one is bounded, whoever has written it."""


def items(document: object) -> Iterator[object]:
    """The objects of a document: those of a List one by one, as ``kubectl get -o yaml`` writes it."""
    if isinstance(document, dict) and str(document.get("kind")).endswith("List"):
        found = document.get("items")
        yield from found if isinstance(found, list) else ()
    else:
        yield document


_THEIRS = frozenset({"uid", "resourceVersion", "generation", "deletionTimestamp", "managedFields", "selfLink"})


def as_written(document: Any) -> Any:
    """A document without what it has of a cluster that it was read from; when it was made there may be of use."""
    if not isinstance(document, dict):
        return document
    found = {key: value for key, value in document.items() if key != "status"}
    if isinstance(metadata := found.get("metadata"), dict):
        found["metadata"] = {key: value for key, value in metadata.items() if key not in _THEIRS}
    return found


class _Reader:
    """Takes typed values out of a document and gathers what is wrong with it."""

    def __init__(self, *, strict: bool = True) -> None:
        self.problems: list[Problem] = []
        self._strict = strict

    def complain(self, field: str, message: str) -> None:
        if len(self.problems) < _MOST:
            self.problems.append(Problem(field=field, message=message))

    def typed(self, kind: type[T], value: object, field: str, default: T) -> T:
        """``value`` if it is of ``kind``, ``default`` if it is None or of another."""
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.complain(field, f"must be {_WORDS[kind]}, not {_named(value)}")
            return default
        if isinstance(value, int) and value.bit_length() > 63:
            self.complain(field, "is not a number of 64 bits")
            return default
        if isinstance(value, list | dict) and len(value) > _MOST:
            self.complain(field, f"has {len(value)} entries, too many")
            return default
        return value

    def mapping(self, value: object, field: str) -> dict[str, Any]:
        found: dict[object, Any] = self.typed(dict, value, field, {})
        for key in found:
            if not isinstance(key, str):
                self.complain(f"{field}[{_shown(key)}]", "must be text, as every key")
        return {k: v for k, v in found.items() if isinstance(k, str)}

    def texts(self, value: object, field: str) -> tuple[str, ...]:
        found: list[object] = self.typed(list, value, field, [])
        return tuple(self.typed(str, item, f"{field}[{i}]", "") for i, item in enumerate(found))

    def address(self, value: object, field: str) -> IpAddress | None:
        text = self.typed(str, value, field, "")
        if not text:
            return None
        try:
            found = ip_address(text)
        except ValueError:
            self.complain(field, f"{names.shown(text)} is not an IP address")
            return None
        if isinstance(found, IPv6Address) and (found.scope_id is not None or found.ipv4_mapped):
            self.complain(field, f"{names.shown(text)} must be without a zone, and IPv4 not dressed as IPv6")
            return None
        return found

    def host(self, value: object, field: str) -> IpAddress | None:
        """An address that a node can have."""
        found = self.address(value, field)
        if found is not None and (found.is_multicast or found.is_unspecified or found == _BROADCAST):
            self.complain(field, f"{found} is not the address of a node")
            return None
        return found

    def hosts(self, value: object, field: str) -> tuple[IpAddress, ...]:
        found = []
        for position, item in enumerate(self.typed(list, value, field, [])):
            if item is None or item == "":
                self.complain(f"{field}[{position}]", "is empty")
            elif address := self.host(item, f"{field}[{position}]"):
                found.append(address)
        return tuple(found)

    def uplinks(self, value: object, field: str) -> tuple[Uplink, ...]:
        found = []
        for position, item in enumerate(self.typed(list, value, field, [])):
            place = f"{field}[{position}]"
            entry = self.mapping(item, place)
            for key in ("node", "device"):
                if entry.get(key) is None:
                    self.complain(f"{place}.{key}", "is missing")
            uplink = Uplink(
                node=self.typed(str, entry.get("node"), f"{place}.node", ""),
                device=self.typed(str, entry.get("device"), f"{place}.device", ""),
                vlan=self.typed(int, entry.get("vlan"), f"{place}.vlan", 0),
            )
            if entry.get("vlan") == 0:
                self.complain(f"{place}.vlan", "0 is not in 1..4094: leave it out for the device as it is")
            found.append(uplink)
        return tuple(found)

    def moment(self, value: object, field: str) -> str:
        """A time as RFC 3339 writes it; YAML makes a value of its own of one without quotes."""
        if isinstance(value, date):
            value = value.isoformat().replace("+00:00", "Z")
        return self.typed(str, value, field, "")

    def unknown(self, found: Mapping[str, object], known: frozenset[str], prefix: str) -> None:
        if not self._strict or len(self.problems) >= _MOST:
            return
        for key in found:
            if key not in known:
                plain = key if key.isprintable() and 0 < len(key) < names.MAX_SUBDOMAIN else names.shown(key)
                self.complain(prefix + plain, f"is unknown; known are {', '.join(sorted(known))}")


def _named(value: object) -> str:
    return _WORDS.get(type(value), type(value).__name__)


def _shown(value: object) -> str:
    """A value for a message: itself if it is short, its kind otherwise."""
    if isinstance(value, str):
        return names.shown(value)
    short = value is None or isinstance(value, bool | float) or (isinstance(value, int) and value.bit_length() < 64)
    return str(value) if short else _named(value)


def decode(document: object, *, strict: bool = True, new: bool = False) -> Lan:
    """The LAN of a document.

    Without ``strict``, unknown fields are passed over: an object from the API server may have been written for a
    newer k8slan than this one. A ``new`` one is not from there, and what is tolerated there is not of it.

    Raises:
        Invalid: with all problems of the document.

    """
    read = _Reader(strict=strict)
    top = read.mapping(document, "")
    if not isinstance(document, dict):
        read.complain("", "is empty" if document is None else "is not a mapping")
        raise Invalid("LAN", tuple(read.problems[-1:]))
    metadata = read.mapping(top.get("metadata"), "metadata")
    spec = read.mapping(top.get("spec"), "spec")
    read.unknown(top, _TOP, "")
    read.unknown(spec, _SPEC, "spec.")
    for position, item in enumerate(uplinks if isinstance(uplinks := spec.get("uplinks"), list) else ()):
        read.unknown(item if isinstance(item, dict) else {}, _UPLINK, f"spec.uplinks[{position}].")
    if top.get("apiVersion") != API_VERSION:
        read.complain("apiVersion", f"must be {API_VERSION}, not {_shown(top.get('apiVersion'))}")
    if top.get("kind") != KIND:
        read.complain("kind", f"must be {KIND}, not {_shown(top.get('kind'))}")
    for field in ("metadata", "spec"):
        if top.get(field) is None:
            read.complain(field, "is missing")
    if isinstance(top.get("metadata"), dict) and metadata.get("name") is None:
        read.complain("metadata.name", "is missing")
    lan = _lan(read, top, metadata, spec)
    if problems := tuple(dict.fromkeys((*read.problems, *_broken(lan, read, spec, new=new)))):
        ref = str(lan.ref)
        raise Invalid(f"LAN {ref if ref.isprintable() and len(ref) < 320 else names.shown(ref)}", problems)
    return lan


def remains(document: Mapping[str, Any]) -> Lan:
    """The LAN of a document that breaks rules, as far as it takes part among others, which may not take what it has.

    That is what it has been granted. One without a grant comes last, with all that can be read of what it wants.
    """
    read = _Reader()
    lan = _lan(read, dict(document), *(read.mapping(document.get(part), part) for part in ("metadata", "spec")))
    return validate.as_granted(lan) if lan.granted else validate.as_newest(lan)


def _broken(lan: Lan, read: _Reader, spec: dict[str, Any], *, new: bool) -> Iterator[Problem]:
    """The rules that a document breaks, without a second word on what is missing, of a wrong type, or not written."""
    silent = {problem.field for problem in read.problems}
    silent |= {f"spec.{key}" for key in ("ns", "vni") if spec.get(key) is None}
    for problem in validate.rules(lan, new=new):
        part = problem.field.partition(".")[0]
        if problem.field not in silent and part not in silent:
            yield problem


def _lan(read: _Reader, top: dict[str, Any], metadata: dict[str, Any], spec: dict[str, Any]) -> Lan:
    namespace = read.typed(str, metadata.get("namespace"), "metadata.namespace", DEFAULT_NAMESPACE)
    name = read.typed(str, metadata.get("name"), "metadata.name", "")
    devices = read.mapping(spec.get("vxlanDevMap"), "spec.vxlanDevMap")
    lan = Lan(
        ref=LanRef(namespace=namespace, name=name),
        netns=read.typed(str, spec.get("ns"), "spec.ns", names.netns(namespace, name)),
        bridge=read.typed(str, spec.get("bridge"), "spec.bridge", DEFAULT_BRIDGE),
        vxlan=read.typed(str, spec.get("vxlan"), "spec.vxlan", DEFAULT_VXLAN),
        vni=read.typed(int, spec.get("vni"), "spec.vni", _allotted(top.get("status"))),
        allotted=spec.get("vni") is None,
        group=read.address(spec.get("vxlanGrp"), "spec.vxlanGrp"),
        port=read.typed(int, spec.get("vxlanPort"), "spec.vxlanPort", DEFAULT_PORT),
        ttl=read.typed(int, spec.get("vxlanTTL"), "spec.vxlanTTL", 0),
        underlay=read.typed(str, spec.get("defaultVxlanDev"), "spec.defaultVxlanDev", "") or None,
        underlays=tuple(
            (node, read.typed(str, device, validate.device_field(node), "")) for node, device in sorted(devices.items())
        ),
        remotes=read.hosts(spec.get("remotes"), "spec.remotes"),
        uplinks=read.uplinks(spec.get("uplinks"), "spec.uplinks"),
        allowed_namespaces=read.texts(spec.get("allowedNamespaces"), "spec.allowedNamespaces"),
        mtu=read.typed(int, spec["mtu"], "spec.mtu", 0) if spec.get("mtu") is not None else None,
        fragment=read.typed(bool, spec.get("fragment"), "spec.fragment", False),
        spokes=read.texts(spec.get("spokes"), "spec.spokes"),
        vm_spokes=None if spec.get("vmSpokes") is None else read.texts(spec["vmSpokes"], "spec.vmSpokes"),
        dynamic=read.typed(bool, spec.get("dynamic"), "spec.dynamic", False),
        offload=read.typed(bool, spec.get("offload"), "spec.offload", True),
        cable=read.typed(bool, spec.get("cable"), "spec.cable", False),
        links=_links(read, spec.get("links")),
        created=read.moment(metadata.get("creationTimestamp"), "metadata.creationTimestamp"),
        uid=read.typed(str, metadata.get("uid"), "metadata.uid", ""),
        deleting=metadata.get("deletionTimestamp") is not None,
        down=_links_down(metadata.get("annotations")),
        attached=_attached(top.get("status")),
        forms=_forms(top.get("status")),
        resources=_resources(top.get("status")),
        bare=_bare(top.get("status")),
        finalizers=_finalizers(metadata.get("finalizers")),
        nodes=(*nodes(top.get("status")), *_peers(read, top.get("peers"))),
    )
    return replace(lan, granted=_granted(top.get("status"), lan))


def _links(read: _Reader, value: object) -> Links:
    return tuple(
        (name, _link(read, found, links.field(name)))
        for name, found in sorted(read.mapping(value, "spec.links").items())
    )


def _link(read: _Reader, value: object, field: str) -> Link:
    found = read.mapping(value, field)
    read.unknown(found, _LINK, f"{field}.")
    state = read.typed(str, found.get("state"), f"{field}.state", "up")
    if state not in ("up", "down"):
        read.complain(f"{field}.state", f"must be up or down, not {names.shown(state)}")
    both = _impairment(read, {key: item for key, item in found.items() if key in links.PROPERTIES}, field)
    return Link(
        down=state == "down",
        until=_until(read, found.get("until"), f"{field}.until"),
        to_pod=_way(read, found, "toPod", both, field),
        from_pod=_way(read, found, "fromPod", both, field),
    )


def _way(read: _Reader, link: dict[str, Any], way: str, both: dict[str, int], field: str) -> Impairment:
    """One direction: what the link has for both, and in its place what it has for this one."""
    found = read.mapping(link.get(way), f"{field}.{way}")
    read.unknown(found, frozenset(links.PROPERTIES), f"{field}.{way}.")
    return Impairment(**both | _impairment(read, found, f"{field}.{way}"))


def _impairment(read: _Reader, found: Mapping[str, object], field: str) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for name, value in found.items():
        if name in links.PROPERTIES and value is not None:
            got = links.read(name, value)
            if isinstance(got, int):
                wanted[name] = got
            else:
                read.complain(f"{field}.{name}", got)
    return wanted


def _until(read: _Reader, value: object, field: str) -> str:
    text = read.moment(value, field)
    try:
        if text:
            links.moment(text)
    except ValueError:
        read.complain(field, f"{names.shown(text)} is not a time such as 2030-01-31T18:30:00Z")
        return ""
    return text


def _granted(status: object, lan: Lan) -> Grant | None:
    """Return what ``status`` says that the LAN has been granted.

    Controllers of before have only said by conditions that it is in no conflict, which they also said of one that
    breaks rules. Its ns and vni cannot have been edited since then.
    """
    if not isinstance(status, dict):
        return None
    if "granted" in status:
        return grant(status, lan.spokes)
    listed = status.get("conditions")
    conditions = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
    settled = any((c.get("type"), c.get("status")) == (CONFLICT, "False") for c in conditions)
    broken = any((c.get("type"), c.get("reason")) == ("Ready", INVALID) for c in conditions)
    return validate.grant(lan) if settled and (lan.in_use or not broken) else None


def grant(status: Mapping[str, Any], known: Collection[str] = ()) -> Grant | None:
    """``status.granted``, but for what is no name: agents make files and devices of these. ``known`` are spokes."""
    found = status.get("granted")
    netns, spokes = (found.get("ns"), found.get("spokes")) if isinstance(found, dict) else (None, None)
    if not isinstance(found, dict) or not isinstance(netns, str) or names.file_fault(netns):
        return None
    good = frozenset(known)
    return Grant(
        netns=netns,
        vni=_allotted(found),
        spokes=tuple(
            spoke
            for spoke in (spokes if isinstance(spokes, list) else [])
            if isinstance(spoke, str) and (spoke in good or not names.label_fault(spoke, names.MAX_INTERFACE))
        ),
        uplinks=tuple(
            uplink
            for uplink in _Reader().uplinks(found.get("uplinks"), "")
            if not names.subdomain_fault(uplink.node) and not names.interface_fault(uplink.device, 15)
        ),
        forms=_forms(status),
    )


def encode_grant(granted: Grant | None) -> dict[str, Any]:
    """``status.granted``: empty, and not absent, if nothing is, so that conditions do not count in its place."""
    if granted is None:
        return {}
    vni = {"vni": granted.vni} if granted.vni else {}
    lists = {"spokes": list(granted.spokes), "uplinks": list(map(_encode_uplink, granted.uplinks))}
    return {"ns": granted.netns, **vni, **{key: found for key, found in lists.items() if found}}


def _allotted(status: object) -> int:
    vni = status.get("vni") if isinstance(status, dict) else None
    return vni if isinstance(vni, int) and 1 <= vni <= MAX_VNI else 0


def _attached(status: object) -> bool:
    count = status.get("attached") if isinstance(status, dict) else None
    return isinstance(count, int) and count > 0


def _forms(status: object) -> Forms:
    return Forms.stated(status.get("names")) if isinstance(status, dict) else Forms.SHORT


def _resources(status: object) -> tuple[tuple[str, str], ...]:
    """Return ``status.resources``, but for what names no resource: agents make files of these names."""
    found = status.get("resources") if isinstance(status, dict) else None
    pairs = found.items() if isinstance(found, dict) else ()
    return tuple((nad, name) for nad, name in pairs if isinstance(name, str) and not names.resource_fault(name))


def _bare(status: object) -> frozenset[str]:
    found = status.get("withoutResources") if isinstance(status, dict) else None
    return frozenset(spoke for spoke in found if isinstance(spoke, str)) if isinstance(found, list) else frozenset()


def _links_down(annotations: object) -> frozenset[str]:
    text = annotations.get(LINKS_DOWN) if isinstance(annotations, dict) else None
    return frozenset(filter(None, map(str.strip, text.split(",")))) if isinstance(text, str) else frozenset()


def _finalizers(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _peers(read: _Reader, value: object) -> tuple[NodeStatus, ...]:
    """VTEPs that a file names: nodes of which nothing but the address is known."""
    return tuple(NodeStatus(name="", vtep=address) for address in read.hosts(value, "peers"))


def nodes(status: object) -> tuple[NodeStatus, ...]:
    """``status.nodes``. It is agents that write it, so what cannot be read is passed over and not a user's fault."""
    found = status.get("nodes") if isinstance(status, dict) else None
    lenient = _Reader()
    return tuple(
        NodeStatus(
            name=lenient.typed(str, node.get("name"), "", ""),
            state=lenient.typed(str, node.get("state"), "", ""),
            device=lenient.typed(str, node.get("device"), "", ""),
            vtep=lenient.host(node.get("vtep"), ""),
            mtu=lenient.typed(int, node.get("mtu"), "", 0),
            message=lenient.typed(str, node.get("message"), "", ""),
        )
        for node in (found if isinstance(found, list) else [])
        if isinstance(node, dict)
    )


def encode(lan: Lan) -> dict[str, Any]:
    """The document of a LAN as a user would write it: ``decode`` of it gives the same LAN, its status left out."""
    spec: dict[str, Any] = {"ns": lan.netns, "bridge": lan.bridge, "vxlan": lan.vxlan}
    optional = {
        "vni": None if lan.allotted else lan.vni,
        "vxlanGrp": str(lan.group) if lan.group else None,
        "vxlanPort": lan.port if lan.port != DEFAULT_PORT else None,
        "vxlanTTL": lan.ttl or None,
        "defaultVxlanDev": lan.underlay,
        "vxlanDevMap": dict(lan.underlays) or None,
        "remotes": list(map(str, lan.remotes)) or None,
        "uplinks": [_encode_uplink(uplink) for uplink in lan.uplinks] or None,
        "allowedNamespaces": list(lan.allowed_namespaces) or None,
        "mtu": lan.mtu,
        "fragment": lan.fragment or None,
        "spokes": list(lan.spokes) or None,
        "vmSpokes": None if lan.vm_spokes is None else list(lan.vm_spokes),
        "dynamic": lan.dynamic or None,
        "offload": None if lan.offload else False,
        "cable": lan.cable or None,
        "links": {name: links.document(link) for name, link in lan.links} or None,
    }
    spec |= {key: value for key, value in optional.items() if value is not None}
    metadata: dict[str, Any] = {"name": lan.ref.name, "namespace": lan.ref.namespace}
    if lan.down:
        metadata["annotations"] = {LINKS_DOWN: ",".join(sorted(lan.down))}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


def _encode_uplink(uplink: Uplink) -> dict[str, Any]:
    vlan = {"vlan": uplink.vlan} if uplink.vlan else {}
    return {"node": uplink.node, "device": uplink.device, **vlan}


def encode_node(node: NodeStatus) -> dict[str, Any]:
    """One entry of ``status.nodes``."""
    found = {
        "name": node.name,
        "state": node.state,
        "device": node.device,
        "vtep": str(node.vtep) if node.vtep else "",
        "mtu": node.mtu,
        "message": node.message,
    }
    return {key: value for key, value in found.items() if value}
