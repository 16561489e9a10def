"""What k8slan has to do with KubeVirt: the network binding ``macvtap``, by which a VM's interface is on a LAN.

The binding is an entry of the KubeVirt object. It is applied server-side, so that the API server knows it as k8slan's:
to take it back is to apply the object without it, and what somebody else has registered as well stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from k8slan_cli.kube.apply import FIELD_MANAGER, Cluster
from k8slan_cli.kube.kinds import KUBEVIRTS, Document, Ref

BINDING = "macvtap"
_ATTACHMENT = {"domainAttachmentType": "tap"}
_NO_CORE_BINDING = (1, 3)
"""Since then KubeVirt has no such binding of its own."""
_PLUGINS = (1, 5)
"""Since then registered bindings need no feature gate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeVirt:
    """One KubeVirt object: which version runs, what is registered as the binding (None: nothing), its feature gates.

    ``ours`` is whether k8slan has registered the binding, alone or with others. ``version`` is () where it is unknown.
    """

    ref: Ref
    version: tuple[int, ...] = ()
    binding: Mapping[str, Any] | None = None
    gates: frozenset[str] = field(default_factory=frozenset)
    ours: bool = False

    @property
    def core(self) -> bool:
        """Whether VMs use the binding that old versions have themselves."""
        return self.binding is None and () < self.version < _NO_CORE_BINDING

    @property
    def another(self) -> str:
        """What else goes by the binding's name; "" if that is free or ours to use."""
        if self.binding is None or _ATTACHMENT.items() <= self.binding.items():
            return ""
        found = self.binding.get("domainAttachmentType")
        return f"domainAttachmentType is {found}, not tap" if found else "it has no domainAttachmentType"

    @property
    def fault(self) -> str:
        """Why VMs cannot be on LANs, "" if they can."""
        if self.core and "Macvtap" in self.gates:
            return ""
        if self.binding is None:
            return f"its network binding {BINDING} is not registered: VMs cannot attach to LANs"
        if self.another:
            return f"its network binding {BINDING} is another: {self.another}"
        if () < self.version < _PLUGINS and "NetworkBindingPlugins" not in self.gates:
            return "its feature gate NetworkBindingPlugins is off, so that it takes no registered binding"
        return ""


def interface(found: Iterable[KubeVirt]) -> dict[str, Any]:
    """Return what a VM's interface on a LAN says in its manifest beside its name, for the KubeVirt that was found."""
    return {BINDING: {}} if any(one.core for one in found) else {"binding": {"name": BINDING}}


def registered(ref: Ref) -> dict[str, Any]:
    """Return the document that, applied, registers the binding."""
    return _document(ref, {"configuration": {"network": {"binding": {BINDING: _ATTACHMENT}}}})


def withdrawn(ref: Ref) -> dict[str, Any]:
    """Return the document that, applied, takes back what ``registered`` did."""
    return _document(ref, {})


def _document(ref: Ref, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": ref.name, "namespace": ref.namespace}
    return {"apiVersion": ref.kind.api_version, "kind": ref.kind.name, "metadata": metadata, "spec": spec}


def every(cluster: Cluster) -> list[KubeVirt]:
    """Return the KubeVirt objects of a cluster: one where KubeVirt is installed.

    Raises:
        ApiError: this user may not list them.

    """
    return [read(found) for found in cluster.objects(KUBEVIRTS)]


def read(found: Document) -> KubeVirt:
    """Read a KubeVirt object."""
    metadata = found["metadata"]
    configuration = (found.get("spec") or {}).get("configuration") or {}
    bindings = (configuration.get("network") or {}).get("binding") or {}
    gates = (configuration.get("developerConfiguration") or {}).get("featureGates") or ()
    version = (found.get("status") or {}).get("observedKubeVirtVersion") or ""
    return KubeVirt(
        ref=Ref(KUBEVIRTS, metadata["namespace"], metadata["name"]),
        version=tuple(int(part) for part in re.findall(r"\d+", version)[:2]),
        binding=bindings.get(BINDING),
        gates=frozenset(gates),
        ours=any(entry.get("manager") == FIELD_MANAGER for entry in metadata.get("managedFields") or ()),
    )
