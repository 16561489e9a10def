"""The archive of KubeVirt's images: the same Debian under all of them, and a thin layer of each one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster.harness import archive as archives
from tests.cluster.harness import build
from tests.cluster.harness.archive import Entry, Image
from tests.cluster.harness.kubevirt import debian, programs
from tests.cluster.harness.versions import KUBEVIRT

_CAP_NET_BIND_SERVICE = 10
_QEMU = 107
_USERS = f"""\
root:x:0:0:root:/root:/bin/bash
qemu:x:{_QEMU}:{_QEMU}::/home/qemu:/bin/bash
libvirt-qemu:x:{_QEMU}:{_QEMU}::/home/qemu:/bin/false
nobody:x:65534:65534::/:/bin/false
"""
_GROUPS = f"""\
root:x:0:
tty:x:5:
kvm:x:36:qemu
qemu:x:{_QEMU}:
libvirt-qemu:x:{_QEMU}:
libvirt:x:108:
nogroup:x:65534:
"""
"""KubeVirt runs VMs as user 107; Debian's libvirt knows that user by a name of its own."""

_VIRTQEMUD = b"""\
#!/bin/sh
mkdir -p /var/run/libvirt
ln -sf libvirt-sock /var/run/libvirt/virtqemud-sock
exec /usr/libexec/virtqemud "$@"
"""
"""Debian's libvirt is one daemon and not one for each hypervisor. KubeVirt looks for a process, and a socket, by the
name of qemu's: so the daemon is there under that name, and what it listens at as well."""


def name(program: str) -> str:
    """What the image of a program is called."""
    return f"localhost/kubevirt/{program}:v{KUBEVIRT}"


_NAME = "kubevirt"


def built() -> bool:
    """Whether ``archive`` would have nothing to do."""
    return programs.place().is_dir() and build.place(_NAME, KUBEVIRT, _recipe()).is_dir()


def archive(say: Callable[[str], None] = lambda _: None) -> Path:
    """The archive; KubeVirt is built if it is not there."""

    def make(folder: Path) -> None:
        _make(folder, programs.folder(say), debian.layer(say))

    made = build.artefact(_NAME, KUBEVIRT, _recipe(), make, say)
    build.prune(_NAME, 1, made)
    return made / "image.tar"


def _recipe() -> str:
    parts = (programs.place(), debian.place(), *(Path(each).read_text() for each in (__file__, archives.__file__)))
    return "\n".join(map(str, parts))


def _make(folder: Path, built: Path, base: Path) -> None:
    users = {"virt-operator": "1001", "virt-api": "1001", "virt-controller": "1001"}
    contents = {program: [_program(built, program)] for program in users}
    contents |= {"virt-handler": list(_handler(built)), "virt-launcher": list(_launcher(built, base))}
    with tempfile.TemporaryDirectory(prefix="k8slan-images-", dir=folder) as scratch:
        images = [
            Image(
                name=name(program),
                layers=(base, archives.layer(Path(scratch) / program, entries)),
                entrypoint=(f"/usr/bin/{program}",),
                user=users.get(program, ""),
            )
            for program, entries in contents.items()
        ]
        archives.write(folder / "image.tar", images)


def _program(built: Path, program: str, capability: int | None = None) -> Entry:
    return Entry(name=f"usr/bin/{program}", content=(built / program).read_bytes(), capability=capability)


def _shipped(built: Path, path: str, place: str, mode: int = 0o644) -> Entry:
    """A file of KubeVirt's module."""
    return Entry(name=place, content=(built / "source" / path).read_bytes(), mode=mode)


def _users() -> Iterator[Entry]:
    yield Entry(name="etc/passwd", content=_USERS.encode(), mode=0o644)
    yield Entry(name="etc/group", content=_GROUPS.encode(), mode=0o644)


def _handler(built: Path) -> Iterator[Entry]:
    yield from _users()
    for program in ("virt-handler", "virt-chroot"):
        yield _program(built, program)
    yield _shipped(built, "cmd/virt-handler/nsswitch.conf", "etc/nsswitch.conf")


def _launcher(built: Path, base: Path) -> Iterator[Entry]:
    yield from _users()
    yield Entry(name="home/qemu", owner=_QEMU)
    yield _program(built, "virt-launcher-monitor", _CAP_NET_BIND_SERVICE)
    for program in ("virt-launcher", "virt-tail", "container-disk"):
        yield _program(built, program)
    for file in ("nsswitch.conf", "libvirt/qemu.conf", "libvirt/virtqemud.conf"):
        yield _shipped(built, f"cmd/virt-launcher/{Path(file).name}", f"etc/{file}")
    yield _shipped(built, "cmd/virt-launcher/qemu", "etc/libvirt/hooks/qemu", 0o755)
    # It says what guests can have here, by which migrations find a node: that is what emulation can do, not KVM.
    labeller = (built / "source/cmd/virt-launcher/node-labeller/node-labeller.sh").read_bytes()
    yield Entry(name="usr/bin/node-labeller.sh", content=labeller.replace(b"VIRTTYPE=kvm", b"VIRTTYPE=qemu"))
    yield Entry(name="usr/libexec/virtqemud", content=debian.file(base, "usr/sbin/libvirtd"))
    yield Entry(name="usr/sbin/virtqemud", content=_VIRTQEMUD)
