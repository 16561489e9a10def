"""Pods as KubeVirt's launchers are built: what runs a VM, in a container with no rights but a tap."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import guest
from tests.cluster.guest import QEMU_USER

QEMU = """\
exec /usr/bin/qemu-system-x86_64 -M q35 -m 256 -accel tcg -nodefaults -nographic -serial stdio -no-reboot \
    -kernel /guest/vmlinuz -initrd /guest/initramfs -append '{arguments}' \
    -netdev tap,id=lan,fd=3,vhost=off -device virtio-net-pci,netdev=lan,mac={mac},romfile= 3<>{tap}
"""
"""A shell's command that runs a guest (guest/__init__.py) on a tap, which the shell opens, as libvirt does for qemu.

Its processor is emulated: it takes a few seconds more, and no container needs /dev/kvm.
"""

_QEMU_NEEDS = {"usr": "/usr", "lib": "/usr/lib", "lib64": "/usr/lib64"}


@pytest.fixture
def tap_program(tmp_path: Path) -> Path:
    """The folder of the program that speaks at a tap, for a launcher to see."""
    tmp_path.chmod(0o755)
    guest.tap_program(tmp_path)
    return tmp_path


def launcher(spoke: str, folder: Path) -> dict[str, Any]:
    """What a pod on ``k8slan-mac-<spoke>`` is made with, beside node and networks; sees ``folder`` at /guest."""
    rights = {
        "runAsUser": QEMU_USER,
        "runAsGroup": QEMU_USER,
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
        "spec": {"volumes": [{"name": "guest", "hostPath": {"path": str(folder), "type": "Directory"}}]},
    }


def with_qemu(made: dict[str, Any]) -> dict[str, Any]:
    """A launcher that has the machine's own qemu, with all that it needs."""
    wanted = copy.deepcopy(made)
    for name, path in _QEMU_NEEDS.items():
        mount = {"name": name, "mountPath": path if name == "usr" else f"/{name}", "readOnly": True}
        wanted["container"]["volumeMounts"].append(mount)
        wanted["spec"]["volumes"].append({"name": name, "hostPath": {"path": path, "type": "Directory"}})
    return wanted
