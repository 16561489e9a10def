"""Process 1 of a machine: makes the namespaces it was started in look like a computer of its own, then reaps.

Run by path with a JSON object as argument (Setup in machine.py, and ``boot_id``); writes ``ready`` and a newline
to stdout when the machine can be entered. Only the standard library, as this runs with nothing else importable.

What the host has is seen as it is, except: /proc, /sys, /run and /dev are the machine's own; changes to /etc, /opt and
/var go into the machine's folder (overlays); files that the kubelet would write to the host's kernel through, or that
tell one boot from the next, are covered by files of the machine's.

The /dev is no devtmpfs, as there is one of these for each kernel only. So the device of a macvtap is not in it until
something makes it, and nodes can have macvtaps of the same index, as when a VM migrates.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

OWN_FOLDERS = ("etc", "opt", "var")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "console", "kmsg", "fuse", "kvm", "net/tun")
LINKS = {"fd": "/proc/self/fd", "ptmx": "pts/ptmx"} | {
    name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))
}


def main(setup: dict[str, Any]) -> None:
    """Set the machine up and stay."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    socket.sethostname(setup["name"])
    folder = Path(setup["folder"])
    _mounts(folder, setup["binds"])
    _devices(folder / "dev")
    boot_id = {"/proc/sys/kernel/random/boot_id": f"{setup['boot_id']}\n"}
    _covers(folder / "covers", setup["covers"] | boot_id)
    for name, value in setup["sysctls"].items():
        Path("/proc/sys", name).write_text(value)
    _run("mount", "--make-rshared", "/")  # pods with Bidirectional volumes need it
    print("ready", flush=True)
    _reap()


def _mounts(folder: Path, binds: dict[str, str]) -> None:
    _run("mount", "-t", "proc", "proc", "/proc")
    groups = folder / "cgroup"  # a new sysfs hides the control groups, so they step aside
    groups.mkdir(exist_ok=True)
    _run("mount", "--rbind", "/sys/fs/cgroup", str(groups))
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    _run("mount", "--move", str(groups), "/sys/fs/cgroup")
    for name in OWN_FOLDERS:
        upper, work = folder / "own" / name, folder / "own" / f".{name}"
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(exist_ok=True)
        options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "overlay", "-o", options, f"/{name}")
    for inside, outside in binds.items():
        Path(inside).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", outside, inside)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/run/lock").mkdir()


def _devices(fresh: Path) -> None:
    """Put a /dev of its own in the place of the host's, with those of its devices that nodes and containers use."""
    fresh.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(fresh))
    for name in DEVICES:
        try:
            status = Path("/dev", name).stat()
        except FileNotFoundError:
            continue
        (fresh / name).parent.mkdir(exist_ok=True)
        os.mknod(fresh / name, status.st_mode, status.st_rdev)
        (fresh / name).chmod(stat.S_IMODE(status.st_mode))
    for name, target in LINKS.items():
        (fresh / name).symlink_to(target)
    for name, kind, options in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=620"),
        ("shm", "tmpfs", "mode=1777"),
        ("mqueue", "mqueue", "defaults"),
    ):
        (fresh / name).mkdir()
        _run("mount", "-t", kind, "-o", options, kind, str(fresh / name))
    _run("mount", "--move", str(fresh), "/dev")


def _covers(folder: Path, covers: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for number, (path, content) in enumerate(covers.items()):
        cover = folder / str(number)
        cover.write_text(content)
        _run("mount", "--bind", str(cover), path)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _reap() -> None:
    """Take care of everybody's orphans until killed, as process 1 must."""
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
