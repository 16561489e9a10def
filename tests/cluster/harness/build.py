"""What a cluster is made of, built once and kept: packages, Go programs, the test image.

Each artefact is a folder in the cache whose name holds a digest of its recipe (versions, flags, sources). It is
made under another name and renamed when it is whole, so a folder that has its name is complete; a lock lets two
runs that need the same wait for each other instead of building twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness import archive
from tests.cluster.harness.versions import (
    BUSYBOX,
    CNITOOL,
    CNITOOL_MODULE,
    HELM,
    HELM_MODULE,
    KUBERNETES,
    MULTUS,
    MULTUS_MODULE,
    MULTUS_THICK,
    PACKAGES,
    STAGING,
    STAGING_BEFORE_31,
    TEST_IMAGE,
    WHEREABOUTS,
    WHEREABOUTS_MODULE,
    cache,
)

_DIGITS = 12  # of a recipe's digest, in a folder's name


class BuildError(Exception):
    """Something needed is not there and could not be made; says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """Where the built things lie."""

    kubernetes: Path
    """Folder of kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kubectl."""
    multus: Path
    """The multus executable; of a thick one the shim, with the daemon beside it."""
    test_image: Path
    """The image archive of TEST_IMAGE."""


def everything(say: Callable[[str], None] = lambda _: None) -> Artefacts:
    """Make what is missing and return all of it; ``say`` hears of steps that take long.

    Raises BuildError with what is missing. Safe to call from several processes at once.
    """
    packages(PACKAGES, say)
    kubernetes = artefact("kubernetes", KUBERNETES, _kubernetes_recipe(), _build_kubernetes, say)
    multus = artefact(_MULTUS_FOLDER, MULTUS, _multus_recipe(), _build_multus, say)
    image = artefact("test-image", "1", _image_recipe(), _build_image, say)
    return Artefacts(kubernetes=kubernetes, multus=multus / _MULTUS_PROGRAMS[0], test_image=image / "image.tar")


def built() -> bool:
    """Whether ``everything`` would have nothing to do."""
    recipes = (
        ("kubernetes", KUBERNETES, _kubernetes_recipe),
        (_MULTUS_FOLDER, MULTUS, _multus_recipe),
        ("test-image", "1", _image_recipe),
    )
    return not _absent(PACKAGES) and all(place(name, version, recipe()).is_dir() for name, version, recipe in recipes)


def packages(wanted: Mapping[str, str], say: Callable[[str], None] = lambda _: None) -> None:
    """Install the Debian packages whose telling file is absent. Raises BuildError where that is impossible."""
    missing = _absent(wanted)
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise BuildError(f"these Debian packages are missing: {' '.join(missing)}")
    with lock("packages"):
        say(f"installing {' '.join(missing)}")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = [
            "apt-get",
            "-o",
            "DPkg::Lock::Timeout=300",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            *missing,
        ]
        for command in (["apt-get", "update", "-qq"], install):
            done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise BuildError(f"{' '.join(command)}: {done.stderr.strip()}")


def _absent(wanted: Mapping[str, str]) -> list[str]:
    return [package for package, telling in wanted.items() if not Path(telling).exists()]


def artefact(
    name: str,
    version: str,
    recipe: str,
    make: Callable[[Path], None],
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """The folder of one artefact: ``make`` fills a new one unless it is there.

    ``recipe`` is a text that changes whenever the outcome should.
    """
    whole = place(name, version, recipe)
    if whole.is_dir():
        return whole
    with lock(name):
        if whole.is_dir():
            return whole
        for half in whole.parent.glob(f".{name}-*"):
            shutil.rmtree(half)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=whole.parent))
        say(f"building {name} {version}")
        started = time.monotonic()
        make(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(whole)
        say(f"built {name} {version} in {time.monotonic() - started:.0f} s")
    return whole


def kept(name: str) -> list[Path]:
    """The folders of an artefact by all its recipes, the one made or used last at the end."""
    own = re.compile(rf"{re.escape(name)}-[^-]+-[0-9a-f]{{{_DIGITS}}}")  # and not those of name-another
    found = (path for path in cache().glob(f"{name}-*") if own.fullmatch(path.name))
    return sorted(found, key=lambda path: path.stat().st_mtime)


def prune(name: str, number: int, used: Path) -> None:
    """Note that one of an artefact's folders is used, and remove those that were not for longest."""
    os.utime(used)
    for old in kept(name)[:-number]:
        shutil.rmtree(old, ignore_errors=True)  # a parallel run may be at it, too


def place(name: str, version: str, recipe: str) -> Path:
    """Where an artefact of this recipe is, or will be."""
    digest = hashlib.sha256(f"{platform.machine()}\n{recipe}".encode()).hexdigest()[:_DIGITS]
    return cache() / f"{name}-{version}-{digest}"


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Be the only one on this machine that does a thing."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f".lock-{name}").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# --- Kubernetes and multus ----------------------------------------------------------------------------------------

_PROGRAM = """\
// The servers of Kubernetes in one executable, which goes by the name it is called by: linked once instead of
// four times.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func main() {
	programs := map[string]func() *cobra.Command{
		"kube-apiserver":          apiserver.NewAPIServerCommand,
		"kube-controller-manager": manager.NewControllerManagerCommand,
		"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
		"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(CONTEXT) },
	}
	name := filepath.Base(os.Args[0])
	program, known := programs[name]
	if !known {
		fmt.Fprintln(os.Stderr, "not a program of Kubernetes:", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(program()))
}
"""


def _program() -> str:
    """The program of this release: before 1.32 the kubelet's command took no context."""
    if release() >= 32:
        return _PROGRAM.replace("CONTEXT", "context.Background()")
    return _PROGRAM.replace("CONTEXT", "").replace('\t"context"\n', "")


_SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")


def release() -> int:
    """Return which release of Kubernetes 1 it is."""
    return int(KUBERNETES.split(".")[1])


def _kubernetes_module() -> str:
    minor = KUBERNETES.partition(".")[2]
    staging = STAGING if release() >= 31 else STAGING + STAGING_BEFORE_31
    replaces = "\n".join(f"replace k8s.io/{name} => k8s.io/{name} v0.{minor}" for name in staging)
    return f"module cluster\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v{KUBERNETES}\n\n{replaces}\n"


def _kubernetes_flags() -> list[str]:
    major, minor, _ = KUBERNETES.split(".")
    version = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    stamps = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in version.items())
    return [f"-ldflags=-s -w {stamps}"]


def _kubernetes_recipe() -> str:
    return "\n".join((_kubernetes_module(), _program(), *_kubernetes_flags()))


def _build_kubernetes(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k8slan-go-") as scratch:
        module = Path(scratch)
        (module / "go.mod").write_text(_kubernetes_module())
        (module / "servers").mkdir()
        (module / "servers" / "main.go").write_text(_program())
        go_build(module, _kubernetes_flags(), folder, "cluster/servers")
        go_build(module, _kubernetes_flags(), folder, "k8s.io/kubernetes/cmd/kubectl")
    for name in _SERVERS:
        (folder / name).symlink_to("servers")


_MULTUS_FOLDER = "multus-thick" if MULTUS_THICK else "multus"
_MULTUS_PROGRAMS = ("multus-shim", "multus-daemon") if MULTUS_THICK else ("multus",)


def _multus_module() -> str:
    return f"module cluster\n\ngo 1.24.0\n\nrequire {MULTUS_MODULE} v{MULTUS}\n"


def _multus_recipe() -> str:
    return _multus_module()


def _build_multus(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k8slan-go-") as scratch:
        (Path(scratch) / "go.mod").write_text(_multus_module())
        for name in _MULTUS_PROGRAMS:
            go_build(Path(scratch), ["-ldflags=-s -w"], folder, f"{MULTUS_MODULE}/cmd/{name}")


def helm(say: Callable[[str], None] = lambda _: None) -> Path:
    """The helm executable. Raises BuildError where that cannot be made."""
    return _program_of("helm", HELM_MODULE, HELM, "cmd/helm", say)


def cnitool(say: Callable[[str], None] = lambda _: None) -> Path:
    """The executable cnitool. Raises BuildError where that cannot be made."""
    return _program_of("cnitool", CNITOOL_MODULE, CNITOOL, "cnitool", say)


def _program_of(name: str, module: str, version: str, package: str, say: Callable[[str], None]) -> Path:
    """The executable of a module's package, whose folder has its name."""
    wanted = f"module cluster\n\ngo 1.24.0\n\nrequire {module} v{version}\n"

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="k8slan-go-") as scratch:
            (Path(scratch) / "go.mod").write_text(wanted)
            go_build(Path(scratch), ["-ldflags=-s -w"], folder, f"{module}/{package}")

    return artefact(name, version, wanted, make, say) / name


def whereabouts(say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of the IPAM plugin whereabouts and of its CRDs. Raises BuildError where that cannot be made."""
    return artefact("whereabouts", WHEREABOUTS, _whereabouts_module(), _build_whereabouts, say)


def _whereabouts_module() -> str:
    return f"module cluster\n\ngo 1.24.0\n\nrequire {WHEREABOUTS_MODULE} v{WHEREABOUTS}\n"


def _build_whereabouts(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k8slan-go-") as scratch:
        (Path(scratch) / "go.mod").write_text(_whereabouts_module())
        go_build(Path(scratch), ["-ldflags=-s -w"], folder, f"{WHEREABOUTS_MODULE}/cmd")
        source = Path(go("list", "-m", "-f={{.Dir}}", WHEREABOUTS_MODULE, cwd=Path(scratch)).strip())
    (folder / "cmd").rename(folder / "whereabouts")
    for path in (source / "doc/crds").glob("whereabouts.cni.cncf.io_*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())


def go_build(module: Path, flags: list[str], folder: Path, *packages: str, cgo: bool = False) -> None:
    """Build programs, without ``cgo`` static ones; the checksums come with the modules (-mod=mod)."""
    wanted = ["-mod=mod", "-trimpath", "-gcflags=all=-dwarf=false", *flags, "-o", f"{folder}/", *packages]
    go("build", *wanted, cwd=module, environment={"CGO_ENABLED": "1" if cgo else "0"})


def go(*arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run the go command, after everything else that the machine has to do; returns what it printed."""
    program = shutil.which("go")
    if program is None:
        raise BuildError("needs Go, 1.24 or newer (https://go.dev/doc/install)")
    done = subprocess.run(
        ["nice", "-n", "5", program, *arguments],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        words = [line for line in done.stderr.splitlines() if not line.startswith("go: downloading")]
        raise BuildError(f"go {arguments[0]} {arguments[-1]}: " + "\n".join(words[-20:]))
    return done.stdout


# --- the test image -----------------------------------------------------------------------------------------------


def _image_recipe() -> str:
    busybox = Path(BUSYBOX)
    present = hashlib.sha256(busybox.read_bytes()).hexdigest() if busybox.exists() else "absent"
    return f"{present}\n{Path(archive.__file__).read_text()}"


def _build_image(folder: Path) -> None:
    busybox = Path(BUSYBOX)
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    archive.busybox(folder / "image.tar", TEST_IMAGE, busybox, tuple(applets))
