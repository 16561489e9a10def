"""What runs behind a VM's tap in the tests: a program that speaks raw frames there, and real guests.

The program (``tap.c``) is static, so that it runs in any container, and in a guest. The guest is Debian's kernel for
clouds and an initramfs of busybox, the kernel's virtio drivers, that program and ``init``. For VMs that boot from a
disk there is one with iPXE, which asks for an address at each of its interfaces. They are made once and kept in the
cache.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.harness import archive, build
from tests.cluster.harness.archive import Entry, Image
from tests.cluster.harness.build import BuildError
from tests.cluster.harness.versions import BUSYBOX

QEMU = "/usr/bin/qemu-system-x86_64"
PACKAGES = {"qemu-system-x86": QEMU, "busybox-static": BUSYBOX}
"""What a guest needs on the machine."""

BOOT_IMAGE = "localhost/k8slan-guest:1"
"""The image of a kernel and an initramfs, /boot/vmlinuz and /boot/initramfs in it."""
DISK_IMAGE = "localhost/k8slan-disk:1"
EXAMPLE_IMAGE = "docker.io/kubevirt/cirros-container-disk-demo:latest"
"""The image of a disk, also by the name that manifests/vm-example.yaml has: a guest that needs little memory."""
QEMU_USER = 107
"""Whom KubeVirt's launchers run as."""

_HERE = Path(__file__).parent
_KERNEL = "linux-image-cloud-amd64"
_MODULES = (
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/net/virtio_net.ko",
)
"""Drivers that the kernel has as modules, in the order in which they load."""


def tap_program(folder: Path) -> Path:
    """Compile ``tap`` into a folder."""
    program = folder / "tap"
    command = ["cc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(_HERE / "tap.c")]
    _run(*command)
    return program


def virtiofsd() -> Path:
    """What shows a guest files of the machine. Raises BuildError where it is not to be had."""
    own, beside = Path("/usr/lib/qemu/virtiofsd"), Path("/usr/libexec/virtiofsd")  # Debian 12's, and newer ones'
    if not own.exists():
        build.packages({"virtiofsd": str(beside)})
    return own if own.exists() else beside


def kernel(say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of ``vmlinuz`` and ``modules``, made if it is not there. Raises BuildError with what is missing."""
    build.packages(PACKAGES, say)
    place = build.artefact("guest-kernel", "1", _KERNEL, _make_kernel, say)
    build.prune("guest-kernel", 1, place)
    return place


def image(say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of ``vmlinuz`` and ``initramfs``, made if it is not there. Raises BuildError with what is missing."""
    build.packages(PACKAGES, say)
    sources = (Path(__file__), _HERE / "init", _HERE / "tap.c", Path(BUSYBOX))
    recipe = " ".join(hashlib.sha256(source.read_bytes()).hexdigest() for source in sources)
    place = build.artefact("guest", "1", recipe, _make, say)
    build.prune("guest", 1, place)
    return place


def boot_image(say: Callable[[str], None] = lambda _: None) -> Path:
    """The archive of BOOT_IMAGE, from which KubeVirt boots the guest. Raises BuildError with what is missing."""
    made = image(say)
    recipe = f"{made}\n{Path(archive.__file__).read_text()}"
    place = build.artefact("guest-image", "1", recipe, lambda folder: _make_image(folder, made), say)
    build.prune("guest-image", 1, place)
    return place / "image.tar"


def disk_image(say: Callable[[str], None] = lambda _: None) -> Path:
    """The archive of DISK_IMAGE and EXAMPLE_IMAGE. Raises BuildError with what is missing."""
    recipe = f"{Path(__file__).read_text()}{Path(archive.__file__).read_text()}"
    place = build.artefact("guest-disk", "1", recipe, _make_disk, say)
    build.prune("guest-disk", 1, place)
    return place / "image.tar"


def _make_image(folder: Path, made: Path) -> None:
    contents = {f"boot/{name}": (made / name).read_bytes() for name in ("vmlinuz", "initramfs")}
    _pack(folder, (BOOT_IMAGE,), contents)


def _make_disk(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k8slan-guest-") as scratch:
        disk = _fetch("ipxe", scratch) / "usr/lib/ipxe/ipxe.iso"
        _pack(folder, (DISK_IMAGE, EXAMPLE_IMAGE), {"disk/ipxe.img": disk.read_bytes()})


def _pack(folder: Path, names: Sequence[str], contents: Mapping[str, bytes]) -> None:
    """Write the archive of an image, by some names, with files for KubeVirt, which runs programs of its own in it."""
    folders = [Entry(name=each) for each in ("boot", "dev", "disk", "etc", "proc", "run", "sys", "tmp")]
    files = [Entry(name=path, content=data, mode=0o644, owner=QEMU_USER) for path, data in contents.items()]
    layer = archive.layer(folder / "layer.tar", folders + files)
    images = [Image(name=name, layers=(layer,), entrypoint=("/none",)) for name in names]
    archive.write(folder / "image.tar", images)
    layer.unlink()


def _fetch(package: str, folder: str) -> Path:
    """Download a Debian package into a folder, and return where it is unpacked."""
    _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package, cwd=folder)
    (file,) = Path(folder).glob("*.deb")
    _run("dpkg-deb", "--extract", str(file), folder)
    return Path(folder)


def _make_kernel(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k8slan-guest-") as scratch:
        depends = _run("apt-cache", "depends", "--important", _KERNEL).split()
        package = next((word for word in depends if word.startswith("linux-image-") and word != _KERNEL), None)
        if package is None:
            raise BuildError(f"apt knows no {_KERNEL}, the guest's kernel")
        unpacked = _fetch(package, scratch)
        (vmlinuz,) = (unpacked / "boot").glob("vmlinuz-*")
        (modules,) = (unpacked / "lib" / "modules").iterdir()
        _run(BUSYBOX, "depmod", "-b", str(unpacked), modules.name)
        shutil.copy(vmlinuz, folder / "vmlinuz")
        shutil.copytree(modules, folder / "modules")


def _make(folder: Path) -> None:
    source = kernel()
    shutil.copy(source / "vmlinuz", folder)
    entries = [("bin", None), ("dev", None), ("proc", None), ("lib", None)]
    with tempfile.TemporaryDirectory(prefix="k8slan-guest-") as scratch:
        entries += [("bin/busybox", Path(BUSYBOX)), ("bin/tap", tap_program(Path(scratch))), ("init", _HERE / "init")]
        modules = source / "modules/kernel"
        entries += [(f"lib/{n}-{Path(name).name}", modules / name) for n, name in enumerate(_MODULES)]
        (folder / "initramfs").write_bytes(initramfs(entries))


def initramfs(entries: list[tuple[str, Path | None]]) -> bytes:
    """A cpio archive in the form that Linux takes (its documentation: "initramfs buffer format"); None: a folder."""
    out = bytearray()
    for number, (name, source) in enumerate([*entries, ("TRAILER!!!", None)], start=1):
        content = source.read_bytes() if source else b""
        mode = 0o100755 if source else 0o040755
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def _run(*command: str, cwd: str | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
