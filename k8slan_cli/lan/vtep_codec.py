"""VTEP documents to ``Vtep`` values and back: the one place that knows this custom resource's keys.

Agents write VTEPs and nobody else may, so a document breaks no rule that a user could mend. What cannot be read of one
is left out, and the rest counts: an agent of another version must not blind the readers to its ports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, TypeVar

from k8slan_cli.lan import names
from k8slan_cli.lan.model import API_VERSION, GROUP, IpAddress, LanRef
from k8slan_cli.lan.vtep import VTEP_KIND, PodRef, VmRef, Vtep, VtepPort, VtepUplink

LAN_LABEL, NODE_LABEL = f"{GROUP}/lan", f"{GROUP}/node"
"""Labels of every VTEP, with the names of its LAN and node, or digests of such as are longer than a label's value."""
HELD = f"{GROUP}/in-use"
"""The finalizer of a VTEP that has ports: no deletion takes it from under running pods."""
MAX_MESSAGE = 4096
"""Characters of ``status.message``, as the CRD has it."""
MAX_UPLINK_MESSAGE = 512
"""Characters of an uplink's message, as the CRD has it."""
MAX_ADDRESSES = 64
"""Addresses of a port that are told, as the CRD has it."""
T = TypeVar("T")


def decode(document: Mapping[str, Any]) -> Vtep | None:
    """Return the VTEP of an API server's document, or None if it is not what its name says, and so no agent's."""
    metadata, spec, status = (_typed(dict, document.get(part), {}) for part in ("metadata", "spec", "status"))
    lan, node = _text(spec, "lan"), _text(spec, "node")
    if not lan or not node or _text(metadata, "name") != names.vtep(lan, node):
        return None
    return Vtep(
        lan=LanRef(namespace=_text(metadata, "namespace"), name=lan),
        node=node,
        address=address(_text(status, "address")),
        device=_text(status, "device"),
        port=_number(status, "port"),
        vni=_number(status, "vni"),
        mtu=_number(status, "mtu"),
        state=_text(status, "state"),
        message=_text(status, "message"),
        ports=tuple(_ports(status.get("ports"))),
        uplinks=tuple(_uplinks(status.get("uplinks"))),
        lost=lost if isinstance(lost := status.get("lost"), bool) else None,
        uid=_text(metadata, "uid"),
        version=int(version) if (version := _text(metadata, "resourceVersion")).isdecimal() else 0,
        deleting=metadata.get("deletionTimestamp") is not None,
    )


def _ports(found: object) -> Iterator[VtepPort]:
    for item in _typed(list, found, []):
        if not isinstance(item, dict) or not (name := _text(item, "name")):
            continue
        pod, vm = _typed(dict, item.get("pod"), {}), _typed(dict, item.get("vm"), {})
        yield VtepPort(
            name=name,
            spoke=_text(item, "spoke"),
            kind=_text(item, "kind"),
            pod=PodRef(namespace=_text(pod, "namespace"), name=_text(pod, "name"), uid=_text(pod, "uid"))
            if pod
            else None,
            vm=VmRef(name=_text(vm, "name"), uid=_text(vm, "uid")) if vm else None,
            interface=_text(item, "interface"),
            mac=_text(item, "mac").lower(),
            addresses=tuple(a for a in _typed(list, item.get("addresses"), []) if isinstance(a, str)),
            mtu=_number(item, "mtu"),
            since=_text(item, "since"),
            migrating=item.get("migrating") is True,
            claim=_number(item, "claim"),
        )


def _uplinks(found: object) -> Iterator[VtepUplink]:
    for item in _typed(list, found, []):
        if isinstance(item, dict) and (device := _text(item, "device")):
            yield VtepUplink(
                device=device,
                vlan=_number(item, "vlan"),
                carrier=item.get("carrier") is True,
                active=item.get("active") is True,
                message=_text(item, "message"),
            )


def encode(vtep: Vtep) -> dict[str, Any]:
    """Return the document by which an agent makes or replaces its VTEP; ``lost`` is the controller's, and not in it."""
    finalizers = [HELD] if vtep.ports else []
    return {
        "apiVersion": API_VERSION,
        "kind": VTEP_KIND,
        "metadata": {
            "name": names.vtep(vtep.lan.name, vtep.node),
            "namespace": vtep.lan.namespace,
            "labels": labels(vtep.lan, vtep.node),
            "finalizers": finalizers,
        },
        "spec": {"lan": vtep.lan.name, "node": vtep.node},
        "status": _filled(
            address=str(vtep.address or ""),
            device=vtep.device,
            port=vtep.port,
            vni=vtep.vni,
            mtu=vtep.mtu,
            state=vtep.state,
            message=vtep.message[:MAX_MESSAGE],
            ports=[_encode_port(port) for port in vtep.ports],
            uplinks=[_encode_uplink(uplink) for uplink in vtep.uplinks],
        )
        | {"portCount": len(vtep.ports)},
    }


def labels(lan: LanRef, node: str) -> dict[str, str]:
    """Return the labels of a VTEP, by which readers select those of a LAN or of a node."""
    return {LAN_LABEL: names.label_value(lan.name), NODE_LABEL: names.label_value(node)}


def selector(lan: LanRef) -> str:
    """Return the label selector of a LAN's VTEPs."""
    return f"{LAN_LABEL}={names.label_value(lan.name)}"


def _encode_port(port: VtepPort) -> dict[str, Any]:
    return _filled(
        name=port.name,
        spoke=port.spoke,
        kind=port.kind,
        pod=_filled(namespace=port.pod.namespace, name=port.pod.name, uid=port.pod.uid) if port.pod else {},
        vm=_filled(name=port.vm.name, uid=port.vm.uid) if port.vm else {},
        interface=port.interface,
        mac=port.mac,
        addresses=list(port.addresses)[:MAX_ADDRESSES],
        mtu=port.mtu,
        since=port.since,
        migrating=port.migrating,
        claim=port.claim,
    )


def _encode_uplink(uplink: VtepUplink) -> dict[str, Any]:
    return _filled(
        device=uplink.device,
        vlan=uplink.vlan,
        carrier=uplink.carrier,
        active=uplink.active,
        message=uplink.message[:MAX_UPLINK_MESSAGE],
    )


def _filled(**found: object) -> dict[str, Any]:
    """Return what has a value: an absent key takes no bytes, and reads back as the empty value."""
    return {key: value for key, value in found.items() if value}


def _typed(kind: type[T], value: object, default: T) -> T:
    return value if isinstance(value, kind) else default


def _text(found: Mapping[str, Any], key: str) -> str:
    return _typed(str, found.get(key), "")


def _number(found: Mapping[str, Any], key: str) -> int:
    value = found.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def address(text: str) -> IpAddress | None:
    """Return the address of a text, None if it is none."""
    try:
        return ip_address(text)
    except ValueError:
        return None
