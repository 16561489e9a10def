"""The root file system that KubeVirt's images share: a small Debian with libvirt and qemu, as one layer.

What the scripts of its packages would set up, images.py writes itself.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cluster.harness import archive, build, debs
from tests.cluster.harness.archive import Entry
from tests.cluster.harness.versions import KUBEVIRT_DEBIAN, KUBEVIRT_PACKAGES

_UNWANTED = (
    *(f"usr/share/{name}" for name in ("doc", "info", "man", "locale", "bug", "lintian", "perl", "zoneinfo")),
    *(f"usr/lib/{name}" for name in ("systemd", "udev")),
    *(f"var/{name}" for name in ("cache", "lock", "run")),
)
_LINKS = {"var/run": "../run", "var/lock": "../run/lock"}
"""What scripts of packages would make as absolute links: KubeVirt goes through /proc/PID/root, and those lead out."""


_NAME = "kubevirt-debian"


def place() -> Path:
    """The folder that it is in, or will be."""
    return build.place(_NAME, KUBEVIRT_DEBIAN, _recipe())


def layer(say: Callable[[str], None] = lambda _: None) -> Path:
    """The file of the layer."""
    made = build.artefact(_NAME, KUBEVIRT_DEBIAN, _recipe(), _make, say)
    build.prune(_NAME, 1, made)
    return made / "layer.tar"


def _recipe() -> str:
    return f"{KUBEVIRT_PACKAGES}\n{Path(__file__).read_text()}"


def file(layer: Path, name: str) -> bytes:
    """The content of a file in the layer."""
    with tarfile.open(layer) as tar:
        found = tar.extractfile(name)
        assert found is not None
        return found.read()


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k8slan-debian-") as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        packages = debs.fetch(Path(scratch), KUBEVIRT_DEBIAN, "?essential", *KUBEVIRT_PACKAGES)
        # base-files first: it has /bin and its like as links into /usr
        for package in sorted(packages, key=lambda path: not path.name.startswith("base-files_")):
            debs.unpack(package, root)
        with tarfile.open(folder / "layer.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(root.iterdir()):
                tar.add(path, path.name, filter=_wanted)
            archive.add(tar, [Entry(name=name) for name in ("dev", "proc", "sys") if not (root / name).exists()])
            archive.add(tar, [Entry(name=name, target=target) for name, target in _LINKS.items()])


def _wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    info.uname = info.gname = ""
    return None if info.name.startswith(_UNWANTED) else info
