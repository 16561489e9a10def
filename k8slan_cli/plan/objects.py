"""The NetworkAttachmentDefinitions by which pods and VMs attach to a LAN, as values.

Everything about them follows from the LAN: nothing here asks what a cluster has. ``document`` is their one codec, for
the controller that keeps them and for ``k8slan render nads`` alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8slan_cli.lan import names
from k8slan_cli.lan.model import API_VERSION, KIND, Lan, LanRef
from k8slan_cli.plan.pods import MACVTAP, Socket, sockets

NAD_API_VERSION = "k8s.cni.cncf.io/v1"
NAD_KIND = "NetworkAttachmentDefinition"
RESOURCE_ANNOTATION = "k8s.v1.cni.cncf.io/resourceName"
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "k8slan"

VETH_PLUGIN = "k8slanveth"
MACVTAP_PLUGIN = "k8slanmacvtap"
PLUGINS = (VETH_PLUGIN, MACVTAP_PLUGIN)
"""The names of the executables on a node, which are "type" in a configuration."""
CNI_VERSION = "1.0.0"
"""Of the configurations: every multus that is still supported knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nad:
    """A NetworkAttachmentDefinition.

    ``config`` is the CNI configuration as JSON text, always the same for the same LAN. ``resource`` is the extended
    resource that multus asks the kubelet about, or None. ``owner`` and ``owner_uid`` are the LAN's name and uid; a
    LAN that is not in a cluster has no uid, and what it owns has no owner then.
    """

    namespace: str
    name: str
    config: str
    resource: str | None = None
    owner: str = ""
    owner_uid: str = ""

    @property
    def ref(self) -> LanRef:
        """Namespace and name, to look it up by."""
        return LanRef(namespace=self.namespace, name=self.name)


def nads(lan: Lan, *, nameless: bool = False) -> tuple[Nad, ...]:
    """All that ``lan`` should have, in the order of its spokes.

    ``nameless`` leaves a spoke's LAN out of the configurations: agents of 0.1.0 do not take them with it.
    """
    resources = dict(lan.resources)
    return tuple(_nad(lan, nad.name, socket, resources, nameless=nameless) for nad, socket in sockets(lan, lan.forms))


def _nad(lan: Lan, name: str, socket: Socket, resources: Mapping[str, str], *, nameless: bool) -> Nad:
    config = {} if nameless and socket.spoke else {"lan": str(lan.ref)}
    if socket.kind == MACVTAP:
        config = {"type": MACVTAP_PLUGIN, **config, "spoke": socket.spoke}
        capabilities, resource = {"mac": True, "bandwidth": True}, resources.get(name, names.resource(name))
    else:
        # No resource here: a pod needs no device for a veth, and may leave the resource line of the seed out.
        config = {"type": VETH_PLUGIN, **config, **({"veth": socket.spoke} if socket.spoke else {})}
        capabilities, resource = {"mac": True, "ips": True, "bandwidth": True}, None
    full = {"cniVersion": CNI_VERSION, "name": name, **config, "capabilities": capabilities}
    return Nad(
        namespace=lan.ref.namespace,
        name=name,
        config=json.dumps(full, separators=(",", ":")),
        resource=resource,
        owner=lan.ref.name if lan.uid else "",
        owner_uid=lan.uid,
    )


def document(nad: Nad) -> dict[str, Any]:
    """The object of the Kubernetes API: exactly the fields that k8slan owns, as server-side apply wants them."""
    metadata: dict[str, Any] = {
        "name": nad.name,
        "namespace": nad.namespace,
        "labels": {MANAGED_BY: MANAGER},
    }
    if nad.resource:
        metadata["annotations"] = {RESOURCE_ANNOTATION: nad.resource}
    if nad.owner_uid:
        # Not blockOwnerDeletion: a cluster may demand a further right for it, and deletion waits for pods, not NADs.
        owner = {"apiVersion": API_VERSION, "kind": KIND, "name": nad.owner, "uid": nad.owner_uid, "controller": True}
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": NAD_API_VERSION,
        "kind": NAD_KIND,
        "metadata": metadata,
        "spec": {"config": nad.config},
    }
