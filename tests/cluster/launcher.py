"""Pods as KubeVirt's launchers are built: what runs a VM, in a container with no rights but a tap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

QEMU_USER = 107
"""Whom KubeVirt's launchers run as. The other way to have one is as root with no capability."""


def launcher(spoke: str, guest: Path, user: int = 0) -> dict[str, Any]:
    """What a pod on ``k8slan-mac-<spoke>`` is made with, beside node and networks; sees ``guest`` at /guest."""
    rights = {
        "runAsUser": user,
        "runAsGroup": user,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "resources": {f"macvtap.k8slan.io/k8slan-mac-{spoke}": 1},
        "container": {
            "securityContext": rights,
            "volumeMounts": [{"name": "guest", "mountPath": "/guest", "readOnly": True}],
        },
        "spec": {"volumes": [{"name": "guest", "hostPath": {"path": str(guest), "type": "Directory"}}]},
    }
