"""Image archives, as ``ctr images import`` takes them (docker-archive): one layer, written straight from values."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """What images call the architecture of this machine."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def busybox(path: Path, name: str, executable: Path, applets: tuple[str, ...]) -> None:
    """Write the archive of an image called ``name`` whose whole content is a static busybox, by all its names.

    Without arguments its container sleeps for good, as the container of a pod's sandbox must.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for folder in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            layer.addfile(entry)
        _add(layer, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        _add(layer, "bin/busybox", executable.read_bytes(), 0o755)
        links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"} | {"var/run": "../run"}
        for path_in, target in links.items():
            link = tarfile.TarInfo(path_in)
            link.type, link.linkname = tarfile.SYMTYPE, target
            layer.addfile(link)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    config = {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "2147483647"], "Env": ["PATH=/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "k8slan's test harness"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        _add(archive, "config.json", json.dumps(config).encode())
        _add(archive, "layer.tar", content)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
