"""A real Kubernetes on one machine, without Docker: what the cluster tests, benchmarks and ``make cluster`` run on.

::

    versions   what is built, pinned in this one place; where the cache lies
    build      Debian packages, Kubernetes and multus from their Go modules, the test image: once, atomically
    stock      containerd's folder with the images in it, shared by new nodes
    archive    the writer of image archives
    pki        the cluster's certificates and kubeconfigs
    process    one process, known by pid and start time
    machine    namespaces that are a computer of their own; init is process 1 in them
    node       a worker: containerd, kubelet, multus
    control    etcd, apiserver, controller manager, scheduler
    kubectl    kubectl, its answers parsed, its watches waited on
    kubevirt   KubeVirt, for clusters that run VMs: its programs, its images, its start
    cluster    all of it together: up, down, and what a crashed run left

Every machine, the control plane's too, has a PID, network, mount, UTS and IPC namespace of its own. Killing its process
1 therefore ends all that ever ran in it, containers included, and frees its mounts and links: what ``down`` and
a node's "reboot" rely on. On the host itself there are only the cluster's folder, one veth and one cgroup.

Needs root and the standard library, PyYAML and cryptography; knows nothing of k8slan.
"""

from __future__ import annotations

from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Kubectl, KubectlError
from tests.cluster.harness.node import Node

__all__ = ["Cluster", "Kubectl", "KubectlError", "Node"]
