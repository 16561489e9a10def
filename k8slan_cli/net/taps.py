"""The device file of a macvtap in the node's /dev: whose it is, and the file itself where the kernel makes none.

The kernel makes ``/dev/tap<index>`` in a devtmpfs, for root alone, and removes it with the macvtap. Where the node's
/dev is of another kind (a node that is a container) both is done here. A VM runs as another user and in another
container, into which the runtime copies number, owner and mode.

Nothing is touched but files of that name, directly in /dev, that are a macvtap's device. No link is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from k8slan_cli import limits
from k8slan_cli.errors import KernelError
from k8slan_cli.net import netns
from k8slan_cli.plan.state import Owner


def owners(host_root: Path, taps: Collection[int]) -> Mapping[int, Owner] | None:
    """Return the owners of those taps that are there, or None if /dev is not the agent's: in a user namespace."""
    if not taps:
        return {}
    with _dev(host_root) as dev:
        if os.fstat(dev).st_uid != os.geteuid():
            return None
        found = {tap: _status(dev, _name(tap)) for tap in taps}
    return {tap: (file.st_uid, file.st_gid) for tap, file in found.items() if file and stat.S_ISCHR(file.st_mode)}


def give(host_root: Path, pod: int, tap: int, owner: Owner) -> None:
    """Give the device of the macvtap ``tap``, a link index in the namespace of ``pod``, to a user and group.

    Raises:
        KernelError: something else has its name, or /dev cannot be written to.

    """
    name = _name(tap)
    try:
        number = _number(pod, name)
        with _dev(host_root) as dev:
            found = _status(dev, name)
            if found and _is_stale(found, number) and not _is_devtmpfs(dev):
                os.unlink(name, dir_fd=dev)
                found = None
            if not found:
                os.mknod(name, stat.S_IFCHR | 0o600, number, dir_fd=dev)
            elif not stat.S_ISCHR(found.st_mode) or found.st_rdev != number:
                hint = "remove it; nodes that share a kernel need a /dev each"
                raise KernelError(errno.EEXIST, f"/dev/{name} is not the device of this macvtap", hint=hint)
            os.chown(name, *owner, dir_fd=dev, follow_symlinks=False)
    except OSError as error:
        raise limits.kernel_error(f"give /dev/{name} to {owner[0]}:{owner[1]}", error) from error


def remove(host_root: Path, tap: int) -> None:
    """Remove the device file of a macvtap where the kernel does not; nothing happens if it is gone.

    Raises:
        KernelError: /dev cannot be written to.

    """
    name = _name(tap)
    try:
        with _dev(host_root) as dev:
            found = _status(dev, name)
            if found and _is_macvtap(found) and not _is_devtmpfs(dev):
                os.unlink(name, dir_fd=dev)
    except OSError as error:
        raise limits.kernel_error(f"remove /dev/{name}", error) from error


def _name(tap: int) -> str:
    return f"tap{tap}"


@contextmanager
def _dev(host_root: Path) -> Iterator[int]:
    fd = os.open(host_root / "dev", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _status(dev: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=dev, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_stale(found: os.stat_result, number: int) -> bool:
    """Whether a file is the device of another macvtap; where the kernel makes none, of one that was here before."""
    return found.st_rdev != number and _is_macvtap(found)


def _is_macvtap(found: os.stat_result) -> bool:
    """Whether a file is the device of any macvtap: the kernel chooses their major number when the driver loads."""
    if not stat.S_ISCHR(found.st_mode):
        return False
    drivers = Path("/proc/devices").read_text().partition("Block devices")[0].splitlines()
    return [str(os.major(found.st_rdev)), "macvtap"] in map(str.split, drivers)


def _is_devtmpfs(dev: int) -> bool:
    number = os.fstat(dev).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    mounts = (line.partition(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return any(left.split()[2] == wanted and right.startswith("devtmpfs ") for left, _, right in mounts)


def _number(pod: int, name: str) -> int:
    """Return the device number of a macvtap, which only the sysfs of its namespace tells."""
    sysfs = netns.sysfs(pod)
    try:
        file = os.open(f"class/macvtap/{name}/dev", os.O_RDONLY | os.O_CLOEXEC, dir_fd=sysfs)
    finally:
        os.close(sysfs)
    try:
        major, _, minor = os.read(file, 32).decode().partition(":")
    finally:
        os.close(file)
    return os.makedev(int(major), int(minor))
