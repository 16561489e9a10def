"""KubeVirt's programs, built from its Go module, and those of the module's files that its images and manifests need."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cluster.harness import build
from tests.cluster.harness.build import BuildError
from tests.cluster.harness.versions import KUBEVIRT, KUBEVIRT_MODULE

_DYNAMIC = ("virt-operator", "virt-api", "virt-controller", "virt-handler", "virt-launcher")
"""They share most of their packages. The launcher's binding of libvirt needs cgo, hence all do: so each is built once.

With ``libvirt_dlopen`` the binding looks for the library when it runs, and no headers are needed here.
"""
_STATIC = ("virt-chroot", "virt-launcher-monitor", "virt-tail")
"""They run in other root file systems than that of their image, or as the first process of a container."""
_FILES = (
    "cmd/virt-handler/nsswitch.conf",
    "cmd/virt-launcher/node-labeller/node-labeller.sh",
    "cmd/virt-launcher/nsswitch.conf",
    "cmd/virt-launcher/qemu",
    "cmd/virt-launcher/qemu.conf",
    "cmd/virt-launcher/virtqemud.conf",
    "manifests/generated/kubevirt-priority-class.yaml",
    "manifests/generated/kv-resource.yaml",
    "manifests/generated/rbac-operator.authorization.k8s.yaml.in",
)

_CHANGES = {
    "pkg/network/driver/nmstate/spec.go": (b"&vishnetlink.Dummy{}", b'&vishnetlink.Veth{PeerName: "x" + iface.Name}'),
    "pkg/network/driver/nmstate/types.go": (b'"dummy"', b'"veth"'),
    "pkg/safepath/safepath.go": (
        b'fmt.Errorf("failed making the directory %v: %w", path, err)',
        b'&os.PathError{Op: "mkdirat", Path: path.String(), Err: err}',
    ),
}
"""What is changed in KubeVirt, and to what.

A kind of device that kernels of test machines lack, and one that they have: with its ``bridge``, KubeVirt leaves one in
the launcher's pod that has name and addresses of the pod's interface; no frame goes through it.

And an error that its callers look for by os.IsExist, which sees none that is wrapped: where a migration's target is
prepared twice, the folder of the kernel that a VM boots is there already, and the migration did not come to its end.
"""


_NAME = "kubevirt-programs"


def place() -> Path:
    """Where they are, or will be."""
    return build.place(_NAME, KUBEVIRT, _recipe())


def folder(say: Callable[[str], None] = lambda _: None) -> Path:
    """A folder with the programs, and in ``source`` the module's files under their paths there."""
    made = build.artefact(_NAME, KUBEVIRT, _recipe(), _build, say)
    build.prune(_NAME, 1, made)
    return made


def _recipe() -> str:
    return Path(__file__).read_text()


def _build(folder: Path) -> None:
    module = f"{KUBEVIRT_MODULE}@v{KUBEVIRT}"
    source = Path(json.loads(build.go("mod", "download", "-json", module))["Dir"])
    for name in _FILES:
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((source / name).read_bytes())
    with tempfile.TemporaryDirectory(prefix="k8slan-go-") as scratch:
        (Path(scratch) / "go.mod").write_text(_module(source) + f"replace {KUBEVIRT_MODULE} => ./changed\n")
        _change(source, Path(scratch) / "changed")
        (Path(scratch) / "go.sum").write_bytes((source / "go.sum").read_bytes())
        stamp = f"-X kubevirt.io/client-go/version.gitVersion=v{KUBEVIRT}"
        flags = [f"-ldflags=-s -w {stamp}", "-tags=libvirt_dlopen,selinux"]
        build.go_build(Path(scratch), flags, folder, *_packages(_DYNAMIC), cgo=True)
        build.go_build(Path(scratch), flags, folder, *_packages(_STATIC))
    disk = ["cc", "-static", "-O2", "-o", str(folder / "container-disk"), "cmd/container-disk-v2alpha/main.c"]
    done = subprocess.run(disk, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(disk)}: {done.stderr.strip()}")


def _change(source: Path, copy: Path) -> None:
    subprocess.run(["cp", "--recursive", "--no-preserve=mode", str(source), str(copy)], check=True)
    for name, (before, after) in _CHANGES.items():
        text = (copy / name).read_bytes()
        if text.count(before) != 1:
            raise BuildError(f"{name} of KubeVirt {KUBEVIRT} is not as it was")
        (copy / name).write_bytes(text.replace(before, after))


def _packages(names: tuple[str, ...]) -> list[str]:
    return [f"{KUBEVIRT_MODULE}/cmd/{name}" for name in names]


def _module(source: Path) -> str:
    """The go.mod of a module that needs KubeVirt's and makes the same choices.

    KubeVirt replaces its API and its client by folders that are not in the module's archive; they are published as
    modules of the same version. Its other requirements are repeated, as otherwise older versions would do for some.
    """
    own = json.loads(build.go("mod", "edit", "-json", str(source / "go.mod")))
    replaced = [
        f"replace {each['Old']['Path']} => {each['New']['Path']} {each['New']['Version']}"
        for each in own["Replace"]
        if "Version" in each["New"]
    ]
    beside = [each["Old"]["Path"] for each in own["Replace"] if "Version" not in each["New"]]
    required = [f"{path} v{KUBEVIRT}" for path in (KUBEVIRT_MODULE, *beside)]
    required += [f"{each['Path']} {each['Version']}" for each in own["Require"] if each["Path"] not in beside]
    requirements = "\n".join(f"require {each}" for each in required)
    return f"module cluster\n\ngo {own['Go']}\n\n{requirements}\n\n" + "\n".join(replaced) + "\n"
