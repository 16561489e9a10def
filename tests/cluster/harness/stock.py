"""Nodes' images, loaded into containerd once: new nodes begin with a copy of its folder instead of an empty one.

Unpacking an image of many files takes a node longer than everything else of its start. The snapshots and blobs of
containerd are never written again once they are there (containers write beside them), so that nodes can share them by
hard links; only its databases are copied.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cluster.harness import build
from tests.cluster.harness.machine import Machine, MachineError, Setup

_SHARED = ("io.containerd.snapshotter.v1.overlayfs/snapshots", "io.containerd.content.v1.content/blobs")
_KEPT = 3


def stocked(archives: Sequence[Path], say: Callable[[str], None] = lambda _: None) -> Path:
    """A folder for containerd's root that has these image archives; made if it is not there.

    To be called from the main thread (see Machine.boot).
    """
    recipe = [subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout]
    for archive in archives:
        status = archive.stat()
        recipe.append(f"{archive} {status.st_size} {status.st_mtime_ns}")

    def make(folder: Path) -> None:
        older = build.kept("images")
        if older:
            folder.rmdir()
            lay_in(older[-1], folder)  # most layers will be in there
            with contextlib.suppress(MachineError):  # containerd may just collect one that is needed again
                _load(folder, archives)
                return
            shutil.rmtree(folder)
            folder.mkdir()
        _load(folder, archives)

    place = build.artefact("images", "1", "\n".join(recipe), make, say)
    build.prune("images", _KEPT, place)
    return place


def lay_in(stock: Path, root: Path) -> None:
    """Make ``root``, which does not exist, a folder for containerd with what ``stock`` has."""
    if stock.stat().st_dev != root.parent.stat().st_dev:
        subprocess.run(["cp", "-a", "--reflink=auto", str(stock), str(root)], check=True)
        return
    subprocess.run(["cp", "-al", str(stock), str(root)], check=True)
    shared = tuple(str(root / folder) for folder in _SHARED)
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not f"{folder}/{name}".startswith(shared)]
        for name in files:
            file = Path(folder, name)
            own = file.with_name(f".{name}.own")
            shutil.copy2(file, own)
            own.rename(file)


def _load(root: Path, archives: Sequence[Path]) -> None:
    """Let a containerd of its own load the archives into ``root``."""
    with tempfile.TemporaryDirectory(prefix="k8slan-stock-") as scratch:
        setup = Setup(name="stock", folder=Path(scratch), binds={"/var/lib/containerd": root})
        machine = Machine(setup, keep=False, changed=lambda: None)
        settings = Path(scratch) / "containerd.toml"
        settings.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        machine.boot()
        try:
            machine.start("containerd", "containerd", f"--config={settings}")
            wait_containerd(machine)
            for archive in archives:
                import_image(machine, archive)
            machine.stop("containerd")
        finally:
            machine.kill()


def wait_containerd(machine: Machine, seconds: float = 30) -> None:
    """Return when a machine's containerd answers; nothing but asking tells. Raises MachineError."""
    machine.until(lambda: machine.run("ctr", "version", check=False).returncode == 0, "containerd", seconds)


def import_image(machine: Machine, archive: Path) -> None:
    """Load an image archive into a machine's containerd, for Kubernetes to use."""
    machine.run("ctr", "--namespace=k8s.io", "images", "import", str(archive), timeout=300)
