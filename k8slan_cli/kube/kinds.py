"""The kinds of objects that k8slan speaks of, each with the place where its API has it. Values only.

A table instead of discovery: the kinds are known, and a table also tells which right is missing before anything is
changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from k8slan_cli.lan.model import API_VERSION, KIND
from k8slan_cli.lan.vtep import VTEP_KIND

Document = Mapping[str, Any]

MIN_MINOR = 30
"""Kubernetes 1.30: there are admission policies, and the API server knows which node an agent speaks from."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; "" is the core's."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "", part: str = "") -> str:
        """The path of an object, of its subresource ``part``, or of all objects in a namespace or in the cluster."""
        root = "apis" if self.group else "api"
        place = ("namespaces", namespace) if namespace and self.namespaced else ()
        steps = [root, self.api_version, *place, self.plural, name, part]
        return "/" + "/".join(quote(step, safe="/") for step in steps if step)


@dataclass(frozen=True, slots=True)
class Ref:
    """One object by its kind and names. Printed as people say it: ``Deployment k8slan-system/k8slan-controller``."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.name} {self.namespace + '/' if self.namespace else ''}{self.name}"

    @property
    def path(self) -> str:
        """The object's path."""
        return self.kind.path(self.namespace, self.name)


_RBAC = "rbac.authorization.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io/v1"
LANS = Kind(API_VERSION, KIND, "lans")
VTEPS = Kind(API_VERSION, VTEP_KIND, "vteps")
NADS = Kind("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", "network-attachment-definitions")
PODS = Kind("v1", "Pod", "pods")
NODES = Kind("v1", "Node", "nodes", namespaced=False)
NAMESPACES = Kind("v1", "Namespace", "namespaces", namespaced=False)
SECRETS = Kind("v1", "Secret", "secrets")
SERVICE_ACCOUNTS = Kind("v1", "ServiceAccount", "serviceaccounts")
LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases")
EVENTS = Kind("events.k8s.io/v1", "Event", "events")
CORE_EVENTS = Kind("v1", "Event", "events")
WEBHOOKS = Kind(_ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", namespaced=False)
CRDS = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
DEPLOYMENTS = Kind("apps/v1", "Deployment", "deployments")
DAEMON_SETS = Kind("apps/v1", "DaemonSet", "daemonsets")
SERVICES = Kind("v1", "Service", "services")
CONFIG_MAPS = Kind("v1", "ConfigMap", "configmaps")
VMS = Kind("kubevirt.io/v1", "VirtualMachine", "virtualmachines")
VMIS = Kind("kubevirt.io/v1", "VirtualMachineInstance", "virtualmachineinstances")
KUBEVIRTS = Kind("kubevirt.io/v1", "KubeVirt", "kubevirts")

_MANIFESTS = (
    *(LANS, VTEPS, PODS, NAMESPACES, SECRETS, SERVICE_ACCOUNTS, WEBHOOKS, CRDS, DEPLOYMENTS, DAEMON_SETS, KUBEVIRTS),
    *(SERVICES, CONFIG_MAPS, VMS),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind(_RBAC, "ClusterRole", "clusterroles", namespaced=False),
    Kind(_RBAC, "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    Kind(_RBAC, "Role", "roles"),
    Kind(_RBAC, "RoleBinding", "rolebindings"),
    Kind(_ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False),
    Kind(_ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", namespaced=False),
    Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
)
_BY_NAME = {(kind.api_version, kind.name): kind for kind in _MANIFESTS}


def ref(document: Document) -> Ref:
    """Return which object a document of a manifest is."""
    kind = _BY_NAME[document["apiVersion"], document["kind"]]
    metadata = document["metadata"]
    return Ref(kind, metadata.get("namespace", "") if kind.namespaced else "", metadata["name"])
