"""Image archives, as ``ctr images import`` takes them (docker-archive), written straight from values.

Images of one archive may share layers; each is in it once.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import struct
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """What images call the architecture of this machine."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of a layer, or with ``target`` a symbolic link, or without ``content`` a folder."""

    name: str
    content: bytes | None = None
    target: str = ""
    mode: int = 0o755
    owner: int = 0
    capability: int | None = None
    """The one that the file, once it is run, has and hands down (capabilities(7))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image: its name with its tag, its layers from the lowest to the highest, what it runs and as whom."""

    name: str
    layers: tuple[Path, ...]
    entrypoint: tuple[str, ...]
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    user: str = ""


def layer(path: Path, entries: Iterable[Entry]) -> Path:
    """Write a layer to ``path`` and return that."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, entries)
    return path


def add(tar: tarfile.TarFile, entries: Iterable[Entry]) -> None:
    """Add entries to a layer that is being written."""
    for entry in entries:
        info = tarfile.TarInfo(entry.name)
        info.mode, info.uid, info.gid = entry.mode, entry.owner, entry.owner
        if entry.target:
            info.type, info.linkname = tarfile.SYMTYPE, entry.target
        elif entry.content is None:
            info.type = tarfile.DIRTYPE
        else:
            info.size = len(entry.content)
        if entry.capability is not None:
            # linux/capability.h: revision 2 with the effective bit; permitted and inheritable sets, 32 bits at a time
            value = struct.pack("<IIIII", 0x02000001, 1 << entry.capability, 0, 0, 0)
            info.pax_headers = {"SCHILY.xattr.security.capability": value.decode("latin1")}
        tar.addfile(info, io.BytesIO(entry.content or b""))


def write(path: Path, images: Sequence[Image]) -> Path:
    """Write the archive of some images to ``path`` and return that."""
    digests = {file: _digest(file) for image in images for file in image.layers}
    manifest = []
    with tarfile.open(path, "w") as archive:
        for number, image in enumerate(images):
            config = {
                "architecture": architecture(),
                "os": "linux",
                "config": {
                    "Entrypoint": image.entrypoint,
                    "Env": [f"PATH={image.path}"],
                    "User": image.user,
                    "WorkingDir": "/",
                },
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digests[file]}" for file in image.layers]},
                "history": [{"created_by": "k8slan's test harness"} for _ in image.layers],
            }
            named = f"{number}.json"
            add(archive, [Entry(name=named, content=json.dumps(config).encode(), mode=0o644)])
            layers = [f"{digests[file]}/layer.tar" for file in image.layers]
            manifest.append({"Config": named, "RepoTags": [image.name], "Layers": layers})
        for file, digest in digests.items():
            archive.add(file, f"{digest}/layer.tar")
        add(archive, [Entry(name="manifest.json", content=json.dumps(manifest).encode(), mode=0o644)])
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def busybox(path: Path, name: str, executable: Path, applets: tuple[str, ...]) -> None:
    """Write the archive of an image called ``name`` whose whole content is a static busybox, by all its names.

    Without arguments its container sleeps for good, as the container of a pod's sandbox must.
    """
    folders = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var")
    users = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"} | {"var/run": "../run"}
    entries = [
        *(Entry(name=folder, mode=0o1777 if folder == "tmp" else 0o755) for folder in folders),
        Entry(name="etc/passwd", content=users, mode=0o644),
        Entry(name="bin/busybox", content=executable.read_bytes()),
        *(Entry(name=link, target=target, mode=0o777) for link, target in links.items()),
    ]
    content = layer(path.with_name("layer.tar"), entries)
    write(path, [Image(name=name, layers=(content,), entrypoint=("/bin/sleep", "2147483647"), path="/bin")])
    content.unlink()
