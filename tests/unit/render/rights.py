"""What each part of k8slan may do, by role: for the templates here, and for a real API server in tests/cluster.

A right more or less is a decision, and so it is written here a second time. A key is a resource with its group, then
the names of the objects that the right is limited to.
"""

from __future__ import annotations

RIGHTS = {
    ("ClusterRole", "k8slan-node-agent"): {
        "lans.lan.k8slan.io": "get list watch patch",
        "lans/status.lan.k8slan.io": "get patch",
        "vteps.lan.k8slan.io": "get list watch create patch delete",
        "pods": "get",
        "virtualmachineinstances.kubevirt.io": "get",
        "tokenreviews.authentication.k8s.io": "create",
    },
    ("Role", "k8slan-node-agent"): {
        "events.events.k8s.io": "create patch",
        "leases.coordination.k8s.io": "list watch create update delete",
    },
    ("ClusterRole", "k8slan-controller"): {
        "pods": "get",
        "lans.lan.k8slan.io": "get list watch patch",
        "lans/status.lan.k8slan.io": "get patch",
        "vteps.lan.k8slan.io": "get list watch patch delete",
        "network-attachment-definitions.k8s.cni.cncf.io": "list watch create patch delete",
        "nodes": "list watch",
        "events.events.k8s.io": "create patch",
        "validatingwebhookconfigurations.admissionregistration.k8s.io k8slan": "list watch patch",
    },
    ("Role", "k8slan-controller"): {
        "pods": "list watch",
        "leases.coordination.k8s.io": "create",
        "leases.coordination.k8s.io k8slan-controller": "list watch update",
        "secrets k8slan-webhook": "list watch patch",
    },
    ("ClusterRole", "k8slan-view"): {
        "lans.lan.k8slan.io": "get list watch",
        "lans/status.lan.k8slan.io": "get list watch",
        "vteps.lan.k8slan.io": "get list watch",
    },
    ("ClusterRole", "k8slan-edit"): {
        "lans.lan.k8slan.io": "create update patch delete deletecollection",
    },
    ("ClusterRole", "k8slan-underlay"): {
        "lans.lan.k8slan.io": "get list watch create update patch delete deletecollection",
        "lans/status.lan.k8slan.io": "get list watch",
        "vteps.lan.k8slan.io": "get list watch",
        "lans/underlay.lan.k8slan.io": "set",
    },
    ("Role", "k8slan-operator"): {
        "pods": "list watch",
        "pods/portforward": "get create",
        "serviceaccounts/token k8slan-operator": "create",
    },
}
