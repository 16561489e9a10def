"""Labs as Kubernetes documents: LANs for links, Deployments for nodes, ConfigMaps for files, VMs.

Everything follows from the lab and from where it is to be: the same lab gives the same documents, so that applying them
again changes nothing. VNIs are left to the controller.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lab import kinds
from k8slan_cli.lab.model import VM, End, File, Lab, Node, Segment
from k8slan_cli.lan import codec, links, names
from k8slan_cli.lan.links import CLEAN, Link
from k8slan_cli.lan.model import API_VERSION, DEFAULT_PORT, KIND
from k8slan_cli.lan.names import LAB_LABEL, LAB_NODE_LABEL, Forms
from k8slan_cli.plan.occupancy import natural
from k8slan_cli.plan.pods import NETWORKS_ANNOTATION

Document = dict[str, Any]

CONTAINER = "node"
"""The container of a node's pod that is the node."""
FILES_ANNOTATION = "lab.k8slan.io/files"
"""A digest of a node's files: a pod with other files is another pod."""
KIND_ANNOTATION = "lab.k8slan.io/kind"
"""The kind of a node, on its Deployment."""
_SYSCTLS = "sysctls"
_POD_INTERFACE: Mapping[str, Any] = {"name": "default", "masquerade": {}}
_POD_NETWORK: Mapping[str, Any] = {"name": "default", "pod": {}}
_VM_BINDING: Mapping[str, Any] = {"binding": {"name": "macvtap"}}
_GRACE = 1
"""Seconds that a node has to stop: most are shells that never hear of it, and what they have written is lost anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a lab is to be; without a ``namespace``, in whatever it is applied to.

    ``forms`` are those of the names of NADs there, ``uplink_node`` is the node of the cluster whose NICs the lab's
    file speaks of, ``binding`` what a VM's interface on a LAN says there. ``privileged``: all containers are.
    """

    namespace: str = ""
    forms: Forms = Forms.SHORT
    uplink_node: str = ""
    binding: Mapping[str, Any] = field(default_factory=lambda: dict(_VM_BINDING))
    privileged: bool = False


def documents(lab: Lab, where: Where) -> list[Document]:
    """Return all objects of a lab, in the order in which they are wanted: LANs first.

    Raises:
        Invalid: one of its LANs cannot be, or its file speaks of NICs, and ``where`` does not say of which node.

    """
    return _Maker(lab, where).documents()


def node_label(name: str) -> str:
    """Return what the label of a node's pod or VM says."""
    return name if not names.label_value_fault(name) else names.as_label(name)


class _Maker:
    def __init__(self, lab: Lab, where: Where) -> None:
        self._lab = lab
        self._where = where
        self._name = names.lab(lab.name)
        self._kinds = {node.name: node.kind for node in lab.nodes}
        nodes = [(self._name, node.name) for node in lab.nodes]
        self._objects = {parts[1]: name for parts, name in names.distinct(nodes, names.lab_object).items()}
        segments = [(self._name, *_called(segment)) for segment in lab.segments]
        self._lans = list(names.distinct(segments, names.lab_object).values())
        self._spokes = {
            (end.node, end.interface): names.lab_spoke(lan, end.node, end.interface)
            for segment, lan in zip(lab.segments, self._lans, strict=True)
            for end in segment.ends
        }

    def documents(self) -> list[Document]:
        """Return all of them."""
        if not self._where.uplink_node and (nics := [nic for segment in self._lab.segments for nic in segment.nics]):
            message = "say on which node of the cluster it is, by --uplink-node"
            found = tuple(Problem(field=nic.at, message=f"{nic.written}: {message}") for nic in nics)
            raise Invalid(self._lab.subject, found)
        lans = [self._lan(segment, name) for segment, name in zip(self._lab.segments, self._lans, strict=True)]
        plugs: dict[str, list[tuple[End, str]]] = {}
        for segment, lan in zip(self._lab.segments, self._lans, strict=True):
            for end in segment.ends:
                plugs.setdefault(end.node, []).append((end, lan))
        made: dict[str, list[Document]] = {"ConfigMap": [], "Service": [], "Deployment": [], "VirtualMachine": []}
        for node in self._lab.nodes:
            # By their names: a VM's guest numbers its interfaces in the order of the manifest.
            plugged = sorted(plugs.get(node.name, []), key=lambda plug: natural(plug[0].interface))
            for document in self._node(node, plugged):
                made[document["kind"]].append(document)
        return [*lans, *(document for each in made.values() for document in each)]

    # ------------------------------------------------------------ LANs

    def _lan(self, segment: Segment, name: str) -> Document:
        spokes = [self._spokes[end.node, end.interface] for end in segment.ends]
        at = [self._kinds[end.node] for end in segment.ends]
        # A device plugin for each spoke of a large lab is more than a kubelet takes, and pods need none.
        spec: Document = {
            "spokes": spokes,
            "vmSpokes": [spoke for spoke, kind in zip(spokes, at, strict=True) if kind == VM],
        }
        if len(spokes) == 2 and not (segment.name or segment.nics or segment.tunnels):
            spec["cable"] = True
        if not kinds.USER_SPACE.isdisjoint(at):
            spec["offload"] = False
        if segment.mtu:
            spec["mtu"] = segment.mtu
        if segment.nics:
            spec["uplinks"] = [{"node": self._where.uplink_node, "device": nic.device} for nic in segment.nics]
        for tunnel in segment.tunnels[:1]:
            spec |= {"vni": tunnel.vni, "remotes": [each.remote for each in segment.tunnels]}
            spec |= {"vxlanPort": tunnel.port} if tunnel.port != DEFAULT_PORT else {}
        shaped = {
            spoke: links.document(Link(from_pod=end.impairment))
            for spoke, end in zip(spokes, segment.ends, strict=True)
            if end.impairment != CLEAN
        }
        if shaped:
            spec["links"] = shaped
        found: Document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": self._metadata(name), "spec": spec}
        codec.decode({**found, "metadata": {"namespace": "default", **found["metadata"]}})
        return found

    def _metadata(self, name: str, node: str = "") -> Document:
        place = {"namespace": self._where.namespace} if self._where.namespace else {}
        return {"name": name, **place, "labels": self._labels(node)}

    def _labels(self, node: str = "") -> dict[str, str]:
        return {LAB_LABEL: self._name} | ({LAB_NODE_LABEL: node_label(node)} if node else {})

    def _before(self, lan: str) -> str:
        return self._where.forms.of(lan)[0]

    # ------------------------------------------------------------ nodes

    def _node(self, node: Node, plugs: list[tuple[End, str]]) -> Iterator[Document]:
        name = self._objects[node.name]
        if node.files:
            yield {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": self._metadata(name, node.name),
                **_data(node.files),
            }
        if node.ports:
            ports = [
                {
                    "name": f"{port.protocol.lower()}-{port.outside}",
                    "port": port.outside,
                    "targetPort": port.inside,
                    "protocol": port.protocol,
                }
                for port in node.ports
            ]
            spec = {"selector": self._labels(node.name), "ports": ports}
            yield {"apiVersion": "v1", "kind": "Service", "metadata": self._metadata(name, node.name), "spec": spec}
        yield self._vm(node, name, plugs) if node.kind == VM else self._deployment(node, name, plugs)

    def _deployment(self, node: Node, name: str, plugs: list[tuple[End, str]]) -> Document:
        """A Deployment of one pod, which stops it before it starts another: a spoke takes one at a time."""
        metadata: Document = {"labels": dict(node.labels) | self._labels(node.name)}
        annotations: dict[str, str] = {}
        if plugs:
            annotations[NETWORKS_ANNOTATION] = json.dumps([self._network(end, lan) for end, lan in plugs])
        if node.files:
            annotations[FILES_ANNOTATION] = _digest(node.files)
        if annotations:
            metadata["annotations"] = annotations
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**self._metadata(name, node.name), "annotations": {KIND_ANNOTATION: node.kind}},
            "spec": {
                "replicas": 1,
                "revisionHistoryLimit": 0,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": self._labels(node.name)},
                "template": {"metadata": metadata, "spec": self._pod(node, name)},
            },
        }

    def _network(self, end: End, lan: str) -> Document:
        nad = names.veth_nad(self._spokes[end.node, end.interface], self._before(lan))
        found: Document = {"name": nad, "interface": end.interface}
        if end.mac:
            found["mac"] = end.mac
        return found | ({"ips": list(end.addresses)} if end.addresses else {})

    def _pod(self, node: Node, name: str) -> Document:
        privileged = node.privileged or self._where.privileged
        security: Document = {"privileged": True} if privileged else {"capabilities": {"add": list(node.capabilities)}}
        if node.user is not None:
            security["runAsUser"] = node.user
        container: Document = {"name": CONTAINER, "image": node.image, "securityContext": security}
        if node.pull:
            container["imagePullPolicy"] = node.pull
        if node.command:
            container["command"] = list(map(_dollars, node.command))
        if node.args:
            container["args"] = list(map(_dollars, node.args))
        if node.env:
            container["env"] = [{"name": key, "value": _dollars(value)} for key, value in node.env]
        limits = {key: value for key, value in (("cpu", _cpu(node)), ("memory", _memory(node))) if value}
        if limits:
            container["resources"] = {"limits": limits}
        if node.after:
            container["lifecycle"] = {"postStart": {"exec": {"command": ["/bin/sh", "-c", _script(node.after)]}}}
        mounts = [
            *({"name": "files", "mountPath": file.place, "subPath": _key(i)} for i, file in enumerate(node.files)),
            *({"name": f"volume-{i}", "mountPath": place} for i, place in enumerate(node.volumes)),
        ]
        if mounts:
            container["volumeMounts"] = mounts
        pod: Document = {
            "hostname": names.as_label(node.name),
            "terminationGracePeriodSeconds": _GRACE,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
        }
        if node.sysctls:
            pod["initContainers"] = [_sysctls(node)]
        pod["containers"] = [container]
        volumes: list[Document] = [{"name": f"volume-{i}", "emptyDir": {}} for i, _ in enumerate(node.volumes)]
        if node.files:
            items = [{"key": _key(i), "path": _key(i), "mode": file.mode & 0o777} for i, file in enumerate(node.files)]
            volumes.insert(0, {"name": "files", "configMap": {"name": name, "items": items}})
        return pod | ({"volumes": volumes} if volumes else {})

    # ------------------------------------------------------------ VMs

    def _vm(self, node: Node, name: str, plugs: list[tuple[End, str]]) -> Document:
        found: Document = copy.deepcopy(dict(node.template)) if node.template else _plain_vm(node)
        found["metadata"] = self._metadata(name, node.name) | _kept(
            found.get("metadata") or {}, self._labels(node.name)
        )
        found.pop("status", None)
        template = found["spec"]["template"]
        labels = dict(node.labels) | self._labels(node.name)
        template["metadata"] = _kept(template.get("metadata") or {}, labels)
        spec, domain = template["spec"], template["spec"]["domain"]
        devices = domain["devices"] = domain.get("devices") or {}
        interfaces, networks = devices.get("interfaces") or [], spec.get("networks") or []
        if plugs and not (interfaces or networks) and devices.get("autoattachPodInterface") is not False:
            # What KubeVirt gives to VMs that have no interface of their own, and so not to one on a LAN.
            interfaces, networks = [dict(_POD_INTERFACE)], [dict(_POD_NETWORK)]
        wanted = [("", each["name"]) for each in interfaces] + [("lan", end.interface) for end, _ in plugs]
        called = names.distinct(wanted, lambda _, interface: names.as_label(interface) or "lan")
        for end, lan in plugs:
            interface = called["lan", end.interface]
            nad = names.mac_nad(self._spokes[end.node, end.interface], self._before(lan))
            mac = {"macAddress": end.mac} if end.mac else {}
            interfaces.append({"name": interface, **self._where.binding, **mac})
            networks.append({"name": interface, "multus": {"networkName": nad}})
        if interfaces:
            devices["interfaces"], spec["networks"] = interfaces, networks
        if node.cpu:
            domain["cpu"] = {**(domain.get("cpu") or {}), "cores": max(1, round(node.cpu / 1000))}
        if node.memory:
            domain["memory"] = {**(domain.get("memory") or {}), "guest": _memory(node)}
        if node.config:
            disk = {"name": "startup-config", "disk": {"bus": "virtio"}}
            data = {"name": "startup-config", "cloudInitNoCloud": {"userData": node.config}}
            devices["disks"] = [*(devices.get("disks") or ()), disk]
            spec["volumes"] = [*(spec.get("volumes") or ()), data]
        return found


def _called(segment: Segment) -> tuple[str, ...]:
    """What a segment is called by: its bridge, or its ends."""
    if segment.name:
        return (segment.name,)
    return tuple(part for end in segment.ends for part in (end.node, end.interface))


def _kept(metadata: Document, labels: Mapping[str, str]) -> Document:
    """What is kept of a template's metadata, with these labels: neither its place nor what a server has written."""
    found: Document = {"labels": {**(metadata.get("labels") or {}), **labels}}
    return found | ({"annotations": metadata["annotations"]} if metadata.get("annotations") else {})


def _plain_vm(node: Node) -> Document:
    disk = {"image": node.image, **({"imagePullPolicy": node.pull} if node.pull else {})}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "spec": {
            "runStrategy": "Always",
            "template": {
                "spec": {
                    "domain": {
                        "devices": {
                            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                            "interfaces": [dict(_POD_INTERFACE)],
                        },
                        "memory": {"guest": "1Gi"},
                    },
                    "networks": [dict(_POD_NETWORK)],
                    "volumes": [{"name": "root", "containerDisk": disk}],
                },
            },
        },
    }


# ---------------------------------------------------------------- parts of pods


def _script(commands: Iterable[tuple[str, ...]]) -> str:
    """Run commands one after the other, as containerlab does: each failure is said in the node's log, and no more."""
    lines = [
        'run() { "$@" || echo "exec: $* ended with status $?"; }',
        "{ true >/proc/1/fd/1; } 2>/dev/null && exec >/proc/1/fd/1 2>&1",
        *(f"run {shlex.join(command)}" for command in commands),
        "true",
    ]
    return "\n".join(lines)


def _sysctls(node: Node) -> Document:
    """Set them in the pod's network namespace before the node starts: the kubelet allows a pod hardly any."""
    script = "\n".join(f"{_set(key, value)} || echo {shlex.quote(f'cannot set {key}')}" for key, value in node.sysctls)
    return {
        "name": _SYSCTLS,
        "image": node.image,
        **({"imagePullPolicy": node.pull} if node.pull else {}),
        "command": ["/bin/sh", "-c", _dollars(script)],
        "securityContext": {"privileged": True, "runAsUser": 0},
    }


def _set(key: str, value: str) -> str:
    path = key if "/" in key else key.replace(".", "/")
    return f"echo {shlex.quote(value)} >{shlex.quote('/proc/sys/' + path)}"


def _dollars(value: str) -> str:
    """Kubernetes reads $(NAME) in values and arguments as a variable, and $$ as one sign; containerlab does not."""
    return value.replace("$", "$$")


def _cpu(node: Node) -> str:
    return f"{node.cpu}m" if node.cpu else ""


def _memory(node: Node) -> str:
    if node.memory % (1 << 20):
        return str(node.memory or "")
    return f"{node.memory >> 20}Mi" if node.memory else ""


def _key(position: int) -> str:
    return f"file-{position}"


def _data(files: Iterable[File]) -> Document:
    """The content of a ConfigMap: texts as they are, all else in base64."""
    texts: dict[str, str] = {}
    others: dict[str, str] = {}
    for position, file in enumerate(files):
        try:
            text = file.content.decode()
        except UnicodeDecodeError:
            others[_key(position)] = base64.b64encode(file.content).decode()
        else:
            texts[_key(position)] = text
    return {key: value for key, value in (("data", texts), ("binaryData", others)) if value}


def _digest(files: Iterable[File]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.place}\0{file.mode}\0{len(file.content)}\0".encode() + file.content)
    return digest.hexdigest()[:16]
