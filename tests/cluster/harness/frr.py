"""An image with Debian's FRRouting in it, for labs: zebra, ospfd and vtysh on the busybox of the test image.

Its packages are fetched and unpacked as those of KubeVirt's images are, and of them only the daemons, vtysh and their
libraries are taken. None of their scripts is run: what they would set up is written here.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cluster.harness import archive, build, debs
from tests.cluster.harness.archive import Entry, Image
from tests.cluster.harness.versions import BUSYBOX, KUBEVIRT_DEBIAN

FRR_IMAGE = "localhost/k8slan-frr:1"

_DAEMONS = ("mgmtd", "zebra", "staticd", "ospfd")
_UNWANTED = ("gconv", "perl", "perl-base", "systemd", "engines-3", "ossl-modules")
"""Folders of libraries that none of it opens."""
_START = """\
#!/bin/sh
mkdir -p /run/frr /var/lib/frr /var/tmp/frr
. /etc/frr/daemons
for daemon in mgmtd zebra staticd ospfd; do
    eval "wanted=\\${$daemon:-yes}"
    [ "$wanted" = no ] || "/usr/lib/frr/$daemon" -d -u root -g root -A 127.0.0.1
done
vtysh -b
exec sleep 2147483647
"""
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nfrr:x:100:100::/:/bin/false\n",
    "etc/group": "root:x:0:\nfrr:x:100:\nfrrvty:x:101:root\n",
    "etc/pam.d/frr": "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n",
    "start": _START,
}


def image(say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the archive of FRR_IMAGE; made if it is not there."""
    return _made(say) / "image.tar"


def root(say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the folder of what the image has in it, to change the root to; made if it is not there."""
    return _made(say) / "root"


def _made(say: Callable[[str], None]) -> Path:
    made = build.artefact("frr", KUBEVIRT_DEBIAN, Path(__file__).read_text(), _make, say)
    build.prune("frr", 1, made)
    return made


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k8slan-frr-") as scratch:
        root = Path(scratch) / "root"
        for package in debs.fetch(Path(scratch), KUBEVIRT_DEBIAN, "frr"):
            debs.unpack(package, root)
        layer = Path(scratch) / "layer.tar"
        applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
        with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
            folders = ("bin", "dev", "etc", "etc/frr", "etc/pam.d", "proc", "root", "run", "sys", "tmp", "usr", "var")
            archive.add(tar, (Entry(name=name) for name in folders))
            archive.add(tar, [Entry(name="bin/busybox", content=Path(BUSYBOX).read_bytes())])
            archive.add(tar, (Entry(name=f"bin/{name}", target="busybox") for name in applets if name != "busybox"))
            archive.add(tar, (Entry(name=name, content=text.encode()) for name, text in _FILES.items()))
            archive.add(tar, [Entry(name=name, target=f"usr/{name}") for name in ("lib", "lib64")])
            for name in (*(f"usr/lib/frr/{daemon}" for daemon in _DAEMONS), "usr/bin/vtysh", "usr/share/yang"):
                tar.add(root / name, name)
            for path in (*(root / "usr/lib").glob("*-linux-gnu"), root / "usr/lib64"):
                tar.add(path, str(path.relative_to(root)), filter=_wanted)
        shown = Image(name=FRR_IMAGE, layers=(layer,), entrypoint=("/bin/sh", "/start"), path="/bin:/usr/bin")
        archive.write(folder / "image.tar", [shown])
        (folder / "root").mkdir()
        debs.run("tar", "--extract", f"--file={layer}", f"--directory={folder / 'root'}")


def _wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if info.isdir() and Path(info.name).name in _UNWANTED else info
