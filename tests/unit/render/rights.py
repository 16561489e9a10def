"""What each part of k8slan may do, by role: for the templates here, and for a real API server in tests/cluster.

A right more or less is a decision, and so it is written here a second time. A key is a resource with its group, then
the names of the objects that the right is limited to.
"""

from __future__ import annotations

RIGHTS = {
    ("ClusterRole", "k8slan-node-agent"): {
        "lans.lan.k8slan.io": "get list watch patch",
        "lans/status.lan.k8slan.io": "get patch",
        "nodes": "get",
        "events.events.k8s.io": "create patch",
    },
    ("ClusterRole", "k8slan-controller"): {
        "lans.lan.k8slan.io": "get list watch patch",
        "lans/status.lan.k8slan.io": "get patch",
        "network-attachment-definitions.k8s.cni.cncf.io": "get list watch create patch delete",
        "pods": "get list watch",
        "nodes": "get list watch",
        "events.events.k8s.io": "create patch",
        "validatingwebhookconfigurations.admissionregistration.k8s.io k8slan": "get list watch patch",
    },
    ("Role", "k8slan-controller"): {
        "leases.coordination.k8s.io": "create",
        "leases.coordination.k8s.io k8slan-controller": "get list watch update patch",
        "secrets k8slan-webhook": "get list watch update patch",
    },
}
