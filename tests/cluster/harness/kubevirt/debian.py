"""The root file system that KubeVirt's images share: a small Debian with libvirt and qemu, as one layer.

Its packages are fetched by apt, which has a state of its own for that, and unpacked. Nothing in them is run: what their
scripts would set up, images.py writes itself.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cluster.harness import archive, build
from tests.cluster.harness.archive import Entry
from tests.cluster.harness.build import BuildError
from tests.cluster.harness.versions import KUBEVIRT_DEBIAN, KUBEVIRT_PACKAGES

_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
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
        packages = sorted(_fetch(Path(scratch)), key=lambda path: not path.name.startswith("base-files_"))
        for package in packages:  # base-files first: it has /bin and its like as links into /usr
            _run("dpkg-deb", "--extract", str(package), str(root))
        with tarfile.open(folder / "layer.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(root.iterdir()):
                tar.add(path, path.name, filter=_wanted)
            archive.add(tar, [Entry(name=name) for name in ("dev", "proc", "sys") if not (root / name).exists()])
            archive.add(tar, [Entry(name=name, target=target) for name, target in _LINKS.items()])


def _wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    info.uname = info.gname = ""
    return None if info.name.startswith(_UNWANTED) else info


def _fetch(folder: Path) -> list[Path]:
    """Download the packages, what they depend on, and what Debian calls essential."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources").write_text(f"deb [signed-by={_KEYS}] {_mirror()} {KUBEVIRT_DEBIAN} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Binary::apt-get::APT::Keep-Downloaded-Packages": "true",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    _run("apt-get", *options, "-qq", "update")
    _run("apt-get", *options, "-qq", "--yes", "--download-only", "install", "?essential", *KUBEVIRT_PACKAGES)
    return list((folder / "cache" / "archives").glob("*.deb"))


def _mirror() -> str:
    """Where this machine gets Debian from."""
    targets = _run("apt-get", "indextargets", "--format=$(SITE) $(ORIGIN) $(LABEL)", "Created-By: Packages")
    for line in targets.splitlines():
        site, *whose = line.split()
        if whose == ["Debian", "Debian"]:
            return site
    raise BuildError("apt knows no source of Debian, and the base of KubeVirt's images comes from there")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
