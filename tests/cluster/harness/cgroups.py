"""The control groups of a cluster: one subtree, ``<cluster>/<node>``, in each hierarchy (v1) or in the one (v2)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def _unified() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    """The folders that hold one hierarchy each; two names of the same one count once."""
    if _unified():
        return [_ROOT]
    return [path for path in _ROOT.iterdir() if not path.is_symlink() and (path / "cgroup.procs").exists()]


def make(path: str) -> None:
    """Make a group, and those above it, everywhere, with all that a kubelet asks of its root."""
    hierarchies = _hierarchies()
    if not hierarchies:
        raise FileNotFoundError(f"no control groups at {_ROOT}")
    for hierarchy in hierarchies:
        group = hierarchy
        for part in Path(path).parts:
            if (group / "cgroup.subtree_control").exists():
                _hand_down(group)
            group /= part
            group.mkdir(exist_ok=True)
            if hierarchy.name == "cpuset":  # v1: empty at first, and then nothing may run in it
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (group / file).write_text((group.parent / file).read_text())


def _hand_down(group: Path) -> None:
    """Let the groups below have all controllers (v2); one at a time, since not each can be had everywhere."""
    for controller in (group / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(path: str) -> None:
    """Remove a group and all below it everywhere. No process may be left in them."""
    for hierarchy in _hierarchies():
        for folder, _, _ in os.walk(hierarchy / path, topdown=False):
            Path(folder).rmdir()


def present(path: str) -> bool:
    """Whether a group is there in any hierarchy."""
    return any((hierarchy / path).exists() for hierarchy in _hierarchies())
