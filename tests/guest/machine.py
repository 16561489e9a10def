"""The guest: qemu with Debian's kernel for clouds, and virtiofsd, which shows it the machine's files.

It is emulated, by TCG: KVM is not everywhere, and below another hypervisor it may be one that boots no kernel of
Debian's. A program takes ten times as long in it. Its clock counts instructions, and ``init`` sees to it that there
always are some: so what is measured by it does not depend on what else the machine has to do.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import guest
from tests.cluster.harness import frr
from tests.cluster.harness.build import BuildError
from tests.support import names
from tests.support.require import require

BOOT_SECONDS = 180
"""Deadline of the first report, which comes after some ten seconds of a processor."""
TEST_SECONDS = 240
"""Deadline of any other."""
MEMORY = "1G"

_CHECKOUT = Path(__file__).parents[2]
_MODULES = (
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/char/virtio_console.ko",
    "fs/fuse/fuse.ko",
    "fs/fuse/virtiofs.ko",
    "fs/overlayfs/overlay.ko",
)
"""What it takes to see the machine's files, in the order in which they load; all others load from there."""
_WORDS = (
    *("console=ttyS0", "quiet", "panic=-1", "mitigations=off"),
    *("bonding.max_bonds=0", "dummy.numdummies=0", "ifb.numifbs=0"),  # no links that nobody asked for
)
"""What the kernel and its modules are told."""
_SHIFT = 3
"""The clock: an instruction takes 2 to the power of this in nanoseconds, about what it takes to emulate it."""
_READ_ONLY = 'mount -o remount,bind,ro / && exec "$0" "$@"'


class Machine:
    """A guest that runs tests."""

    def __init__(self, stack: ExitStack, folder: Path, port: socket.socket) -> None:
        self._stack = stack
        self._console = folder / "console"
        self._port = port
        self._lines = port.makefile("rb")
        self._reports: dict[str, list[dict[str, Any]]] = {}
        self._end = ""  # what ended it before its time

    @classmethod
    def boot(cls, tests: list[str]) -> Machine:
        """Start a guest that runs tests, known by their node ids, one after the other."""
        kernel = _kernel()
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix=f"{names.unique('vm')}-", dir="/tmp"))
            stack.callback(shutil.rmtree, folder)
            _initramfs(kernel, folder / "initramfs")
            port, far = socket.socketpair()
            stack.callback(port.close)
            with far, socket.socket(socket.AF_UNIX) as files:
                files.bind(str(folder / "files"))
                files.listen()
                _start(stack, folder, files.fileno(), *_virtiofsd(files.fileno()))
                _start(stack, folder, far.fileno(), *_qemu(kernel, folder, far.fileno()))
            port.settimeout(BOOT_SECONDS)
            order = {"environment": dict(os.environ), "arguments": ["-q", "-p", "no:cacheprovider", *tests]}
            port.sendall(json.dumps(order).encode() + b"\n")
            return cls(stack.pop_all(), folder, port)

    def reports(self, test: str) -> list[dict[str, Any]]:
        """Wait for the end of a test; what was reported of it, in a form that pytest reads. Fails if there is none."""
        while not self._end:
            if not (line := self._line()):
                console = self._console.read_text(errors="replace")
                self._end = f"the guest said no more; the end of its console:\n{console[-8000:]}"
                self.close()
                break
            said = json.loads(line)
            if report := said.get("report"):
                self._reports.setdefault(report["nodeid"], []).append(report)
            elif said["end"] == test:
                return self._reports.pop(test)
        pytest.fail(self._end, pytrace=False)

    def close(self) -> None:
        """End the guest; once more does nothing."""
        self._stack.close()

    def _line(self) -> bytes:
        """The next line, empty when there is none in time."""
        try:
            line = self._lines.readline()
        except OSError:
            return b""
        self._port.settimeout(TEST_SECONDS)
        return line


def _kernel() -> Path:
    """The kernel's folder, once all is there that the guest could not fetch; skips where this machine cannot run it."""
    require("guest", platform.machine() == "x86_64", "the guest is made for x86_64")
    require("guest", os.geteuid() == 0, "needs root, for a guest that sees this machine's files")
    try:
        frr.root()
        return guest.kernel()
    except BuildError as missing:
        require("guest", False, str(missing))
        raise


def _initramfs(kernel: Path, path: Path) -> None:
    modules = [(f"lib/{n}-{Path(name).name}", kernel / "modules/kernel" / name) for n, name in enumerate(_MODULES)]
    folders = [(name, None) for name in ("bin", "dev", "lib", "machine", "root", "written")]
    programs = [("bin/busybox", Path(guest.BUSYBOX)), ("init", Path(__file__).with_name("init"))]
    path.write_bytes(guest.initramfs([*folders, *programs, *modules]))


def _start(stack: ExitStack, folder: Path, fd: int, *argv: str) -> None:
    """Start a program that ends with the stack, or with this process if that is killed."""
    with (folder / "console").open("ab") as said:
        process = subprocess.Popen(
            ("setpriv", "--pdeathsig", "KILL", *argv),
            pass_fds=(fd,),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    stack.callback(process.wait)
    stack.callback(process.kill)


def _virtiofsd(fd: int) -> tuple[str, ...]:
    options = ("-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot", f"--fd={fd}")
    return ("unshare", "--mount", "sh", "-c", _READ_ONLY, str(guest.virtiofsd()), *options)


def _qemu(kernel: Path, folder: Path, fd: int) -> tuple[str, ...]:
    place = {"checkout": _CHECKOUT, "python": sys.executable, "modules": kernel / "modules"}
    words = [*_WORDS, *(f"{name}={path}" for name, path in place.items())]
    # fmt: off
    return (
        guest.QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "q35,memory-backend=memory", "-accel", "tcg", "-icount", f"shift={_SHIFT},sleep=on",
        "-cpu", "max", "-m", MEMORY,
        "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on",
        "-kernel", str(kernel / "vmlinuz"), "-initrd", str(folder / "initramfs"), "-append", " ".join(words),
        "-chardev", f"file,id=console,path={folder / 'console'},append=on", "-serial", "chardev:console",
        "-chardev", f"socket,id=files,path={folder / 'files'}",
        "-device", "vhost-user-fs-pci,chardev=files,tag=machine",
        "-chardev", f"socket,id=port,fd={fd}",
        "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port",
    )
    # fmt: on
