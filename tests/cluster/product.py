"""k8slan's own image, built from the Containerfile as everybody builds it, and k8slan in a test cluster.

The base is a small Debian made here by debootstrap, as no registry of images can be counted on. Everything lies in the
cache (harness/versions.py): buildah's storage, the packages that pip fetched, one archive per state of the sources.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster.harness import Cluster, KubectlError, build
from tests.cluster.harness.build import BuildError
from tests.cluster.harness.versions import IMAGE_PACKAGES, cache

IMAGE = "localhost/k8slan:test"
FIRST_IMAGE = "localhost/k8slan:first"
NAMESPACE = "k8slan-system"
CHECKOUT = Path(__file__).parents[2]

_SOURCES = (
    "Containerfile",
    ".containerignore",
    "LICENSE",
    "README.md",
    "cni_plugins/Makefile",
    "cni_plugins/forwarder.c",
    "k8slan_cli",
    "manifests",
    "pyproject.toml",
    "templates",
    "tools/build_hook.py",
    "tools/constraints.txt",
)
"""What the image is made from, as .containerignore has it; version 0.1.0 has not all of them."""

_BASE_PACKAGES = "ca-certificates,python3,python3-venv"
_CERTIFICATES = Path("/etc/ssl/certs")
_UNWANTED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    *(f"usr/share/{x}" for x in ("doc", "info", "man", "locale")),
)
"""Folders of the base that nothing in a container reads; emptied."""
_KEPT = 3

Say = Callable[[str], None]


def image(say: Say = lambda _: None) -> Path:
    """The archive of IMAGE for the sources as they are now; built if there is none.

    Raises BuildError with what the build said.
    """
    place = _artefact("product", CHECKOUT, IMAGE, say)
    build.prune("product", _KEPT, place)
    return place / "image.tar"


def first_image(sources: Path, say: Say = lambda _: None) -> Path:
    """The archive of FIRST_IMAGE, from the sources of version 0.1.0.

    Raises BuildError with what the build said.
    """
    return _artefact("product-first", sources, FIRST_IMAGE, say) / "image.tar"


def _artefact(name: str, sources: Path, tag: str, say: Say) -> Path:
    build.packages(IMAGE_PACKAGES, say)
    return build.artefact(name, "1", _fingerprint(sources), lambda folder: _build(folder, sources, tag, say), say)


def _fingerprint(sources: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(_files(sources)):
        digest.update(f"{path.relative_to(sources)}\0{path.stat().st_mode:o}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(sources: Path) -> Iterator[Path]:
    for name in _SOURCES:
        path = sources / name
        if path.is_dir():
            yield from (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        elif path.exists():
            yield path


def _build(folder: Path, sources: Path, tag: str, say: Say) -> None:
    base = _base(say)
    with tempfile.TemporaryDirectory(prefix="k8slan-image-") as scratch:
        settings = Path(scratch) / "pip.conf"
        settings.write_text(_pip_settings())
        _buildah(
            "build",
            "--isolation=chroot",
            "--layers",
            "--pull=never",
            f"--build-arg=BASE={base}",
            f"--secret=id=pip,src={settings}",
            *([f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro"] if _CERTIFICATES.is_dir() else []),
            f"--tag={tag}",
            str(sources),
        )
    _buildah("push", "--quiet", tag, f"docker-archive:{folder}/image.tar:{tag}")


def _pip_settings() -> str:
    """What pip has been told on this machine, by files and environment, as one file."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = {}
    for line in listed.splitlines():  # global.cert='…', :env:.cert='…'; the environment comes last and wins
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = value.strip("'")
    settings.pop("find-links", None)  # a folder of this machine's
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())


def _base(say: Say) -> str:
    """A Debian with Python, in buildah's storage; made by debootstrap if it is not there."""
    site, suite = _debian()
    recipe = hashlib.sha256(f"{suite} {_BASE_PACKAGES} {_UNWANTED}".encode()).hexdigest()[:12]
    name = f"localhost/k8slan-base:{suite}-{recipe}"
    if name in _buildah("images", "--format={{.Name}}:{{.Tag}}").split():
        return name
    say(f"making a base image of Debian {suite}")
    with tempfile.TemporaryDirectory(prefix="k8slan-base-") as scratch:
        root = Path(scratch) / "root"
        _run("debootstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}", suite, str(root), site)
        for unwanted in _UNWANTED:
            for path in (root / unwanted).iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.rmtree(root / "dev")
        (root / "dev").mkdir()
        container = _buildah("from", "scratch").strip()
        _buildah("copy", "--quiet", container, str(root), "/")
        _buildah("commit", "--quiet", "--rm", container, name)
    return name


def _debian() -> tuple[str, str]:
    """Where this machine gets Debian's packages from, and of which release it is."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release.get("VERSION_CODENAME", "").strip('"')
    targets = _run("apt-get", "indextargets", "--format=$(SITE) $(CODENAME)", "Created-By: Packages")
    for line in targets.splitlines():
        site, _, codename = line.partition(" ")
        if codename == suite:
            return site, suite
    raise BuildError(f"apt knows no source of {suite or 'this release'}, and the image's base comes from there")


def _buildah(*arguments: str) -> str:
    storage = cache() / "buildah"
    (storage / "tmp").mkdir(parents=True, exist_ok=True)
    where = [f"--root={storage}/root", f"--runroot={storage}/run", "--storage-driver=overlay"]
    return _run("buildah", *where, *arguments, environment={"TMPDIR": f"{storage}/tmp"})


def _run(*command: str, environment: dict[str, str] | None = None, folder: Path = CHECKOUT) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise BuildError(f"{' '.join(command)}: {words}")
    return done.stdout


def install(cluster: Cluster, *options: str, sources: Path = CHECKOUT, image: str = IMAGE) -> None:
    """Bring k8slan into a cluster that has its image, as a user of ``sources`` does, and wait until it is ready.

    Raises BuildError with what ``k8slan install`` and the pods said.
    """
    command = [sys.executable, "-m", "k8slan_cli", "install", f"--kubeconfig={cluster.kubeconfig}", f"--image={image}"]
    try:
        _run(*command, "--timeout=90", *options, folder=sources)
    except BuildError as error:
        raise BuildError(f"{error}\n{said(cluster)}") from None


def said(cluster: Cluster, lines: int = 15) -> str:
    """The last words of all of k8slan's pods, those of containers that ended too."""
    kubectl = cluster.kubectl.within(NAMESPACE)
    words = []
    for pod in kubectl.items("pods"):
        statuses = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
        for status in statuses:
            before = ["--previous"] if status["restartCount"] and not status["ready"] else []
            log = [pod["metadata"]["name"], f"--container={status['name']}", f"--tail={lines}", *before]
            try:
                words.append(f"== {log[0]} {status['name']}\n{kubectl('logs', *log)}")
            except KubectlError as error:
                words.append(f"== {log[0]} {status['name']}: {error.message}")
    return "\n".join(words)
