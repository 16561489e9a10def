"""What the test cluster is made of: the one place where versions are pinned."""

from __future__ import annotations

import os
from pathlib import Path

KUBERNETES = os.environ.get("K8SLAN_KUBERNETES") or "1.34.4"
"""k8s.io/kubernetes; ``make matrix`` takes others. kubelet 1.36 and newer refuse Debian 12's containerd 1.6."""

MULTUS = "4.2.2"
"""gopkg.in/k8snetworkplumbingwg/multus-cni.v4."""

MULTUS_THICK = os.environ.get("K8SLAN_MULTUS", "thin") == "thick"
"""Whether nodes run multus as a daemon, to which its plugin hands each call, and not as a plugin alone."""

MULTUS_MODULE = "gopkg.in/k8snetworkplumbingwg/multus-cni.v4"

HELM = "3.22.0"
HELM_MODULE = "helm.sh/helm/v3"

CNITOOL = "1.3.1"
CNITOOL_MODULE = "github.com/containernetworking/cni"

WHEREABOUTS = "0.9.2"
WHEREABOUTS_MODULE = "github.com/k8snetworkplumbingwg/whereabouts"
"""An IPAM plugin whose addresses are unique in the cluster: it keeps them in objects of its own."""

# fmt: off
STAGING = (
    "api", "apiextensions-apiserver", "apimachinery", "apiserver", "cli-runtime", "client-go",
    "cloud-provider", "cluster-bootstrap", "code-generator", "component-base", "component-helpers",
    "controller-manager", "cri-api", "cri-client", "csi-translation-lib", "dynamic-resource-allocation",
    "endpointslice", "externaljwt", "kms", "kube-aggregator", "kube-controller-manager", "kube-proxy",
    "kube-scheduler", "kubectl", "kubelet", "metrics", "mount-utils", "pod-security-admission",
    "sample-apiserver", "sample-cli-plugin", "sample-controller",
)
# fmt: on
"""Modules that live in Kubernetes' own repository; k8s.io/kubernetes asks for v0.0.0 of each of them."""

STAGING_BEFORE_31 = ("legacy-cloud-providers",)

KUBEVIRT = "1.7.0"
KUBEVIRT_MODULE = "kubevirt.io/kubevirt"

KUBEVIRT_DEBIAN = "trixie"
"""What KubeVirt's images are made of; older ones have a libvirt that KubeVirt was not tried with."""

# fmt: off
KUBEVIRT_PACKAGES = (
    "acl", "ethtool", "iproute2", "libvirt-clients", "libvirt-daemon", "libvirt-daemon-driver-qemu",
    "libvirt-daemon-log", "nftables", "procps", "qemu-system-x86", "qemu-utils", "seabios", "xorriso",
)
# fmt: on
"""Of that Debian: libvirt and qemu, and what KubeVirt calls beside."""

PACKAGES = {
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "etcd-server": "/usr/bin/etcd",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "busybox-static": "/var/lib/dpkg/info/busybox-static.list",  # the dynamic one has the same executable's name
    "nftables": "/usr/sbin/nft",
    "iproute2": "/usr/sbin/ip",
}
"""Debian packages, each with a file that shows it is there."""

BUSYBOX = "/bin/busybox"

IMAGE_PACKAGES = {"buildah": "/usr/bin/buildah", "debootstrap": "/usr/sbin/debootstrap"}
"""What building the product's image needs beyond them."""

TEST_IMAGE = "localhost/k8slan-test:1"
"""busybox: the sandbox of every pod, and the container of those that need no more."""


def cache() -> Path:
    """The folder of everything that is built once: ``$K8SLAN_CACHE``, or ``k8slan`` in the user's cache."""
    if own := os.environ.get("K8SLAN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "k8slan"
