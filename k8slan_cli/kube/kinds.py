"""The kinds of objects that agent and controller speak of, each with the place where its API has it. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from k8slan_cli.lan.model import API_VERSION


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object."""

    api_version: str
    plural: str

    def path(self, namespace: str = "", name: str = "", part: str = "") -> str:
        """The path of an object, of its subresource ``part``, or of all objects in a namespace or in the cluster."""
        root = "apis" if "/" in self.api_version else "api"
        steps = [root, self.api_version, *(("namespaces", namespace) if namespace else ()), self.plural, name, part]
        return "/" + "/".join(quote(step, safe="/") for step in steps if step)


LANS = Kind(API_VERSION, "lans")
NADS = Kind("k8s.cni.cncf.io/v1", "network-attachment-definitions")
PODS = Kind("v1", "pods")
NODES = Kind("v1", "nodes")
SECRETS = Kind("v1", "secrets")
LEASES = Kind("coordination.k8s.io/v1", "leases")
EVENTS = Kind("events.k8s.io/v1", "events")
WEBHOOKS = Kind("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations")
