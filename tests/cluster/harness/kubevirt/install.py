"""KubeVirt into a cluster whose nodes have its images: its operator makes the rest, by the KubeVirt object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.cluster.harness.kubectl import Kubectl, Object
from tests.cluster.harness.kubevirt import programs
from tests.cluster.harness.kubevirt.images import name
from tests.cluster.harness.versions import KUBEVIRT

NAMESPACE = "kubevirt"
_SECONDS = 240.0
_PLACES = {"nodePlacement": {"nodeSelector": {"kubernetes.io/os": "linux"}}}
"""By itself it would wait for a node of the control plane."""


def install(kubectl: Kubectl) -> None:
    """Install it, and return when it runs VMs. Raises KubectlError with what is missing."""
    inside = kubectl.within(NAMESPACE)
    inside.apply(*_operator(programs.folder() / "source" / "manifests" / "generated"))
    inside.established("kubevirts.kubevirt.io")
    inside.apply(_kubevirt())
    inside.wait("--for=condition=Available", "kubevirt/kubevirt", timeout=_SECONDS)


def _kubevirt() -> Object:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": NAMESPACE},
        "spec": {
            "imagePullPolicy": "IfNotPresent",
            "infra": {"replicas": 1, **_PLACES},
            "workloads": _PLACES,
            "configuration": {"developerConfiguration": {"useEmulation": True}},
        },
    }


def _operator(shipped: Path) -> Iterator[Object]:
    """What KubeVirt ships for it: the namespace and the deployment are written here, all else is the module's own."""
    enforce = "pod-security.kubernetes.io/enforce"
    metadata: Object = {"name": NAMESPACE, "labels": {"kubevirt.io": "", enforce: "privileged"}}
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    for file in ("kv-resource.yaml", "kubevirt-priority-class.yaml", "rbac-operator.authorization.k8s.yaml.in"):
        text = (shipped / file).read_text().replace("{{.Namespace}}", NAMESPACE)
        text = re.sub(r"^\s*\{\{.*\}\}\s*$", "", text, flags=re.MULTILINE)
        yield from filter(None, yaml.safe_load_all(text))
    yield _deployment()


def _deployment() -> Object:
    labels = {"kubevirt.io": "virt-operator", "name": "virt-operator", "prometheus.kubevirt.io": "true"}
    image = name("virt-operator")
    version = {"VIRT_OPERATOR_IMAGE": image, "OPERATOR_IMAGE": image, "KUBEVIRT_VERSION": f"v{KUBEVIRT}"}
    watched = {"fieldRef": {"fieldPath": "metadata.annotations['olm.targetNamespaces']"}}
    certificates = "kubevirt-operator-certs"
    container = {
        "name": "virt-operator",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["virt-operator"],
        "args": ["--port", "8443", "-v", "2"],
        "env": [
            *({"name": key, "value": value} for key, value in version.items()),
            {"name": "WATCH_NAMESPACE", "valueFrom": watched},
        ],
        "ports": [{"name": "metrics", "containerPort": 8443}, {"name": "webhooks", "containerPort": 8444}],
        "readinessProbe": {
            "httpGet": {"scheme": "HTTPS", "port": 8443, "path": "/metrics"},
            "initialDelaySeconds": 2,
            "periodSeconds": 2,
        },
        "volumeMounts": [
            {"name": certificates, "mountPath": "/etc/virt-operator/certificates", "readOnly": True},
            {"name": "profile-data", "mountPath": "/profile-data"},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "virt-operator", "namespace": NAMESPACE, "labels": {"kubevirt.io": "virt-operator"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"kubevirt.io": "virt-operator"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": "kubevirt-operator",
                    "priorityClassName": "kubevirt-cluster-critical",
                    "securityContext": {"runAsNonRoot": True},
                    "containers": [container],
                    "volumes": [
                        {"name": certificates, "secret": {"secretName": certificates, "optional": True}},
                        {"name": "profile-data", "emptyDir": {}},
                    ],
                },
            },
        },
    }
