"""Network namespaces: making, finding, entering and removing them.

A namespace of a LAN is kept alive by a bind mount, as ``ip netns`` does it, under the run directory. A thread that
enters another namespace always comes back to the one it started in; all else in the project works through sockets
that were opened inside (see sockets.py) and never changes the namespace of a thread.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from k8slan_cli import limits

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MNT_DETACH = 4096, 2
_SYS_OPENAT2, _RESOLVE_IN_ROOT = 437, 0x10  # the same number on every architecture
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC, _FSCONFIG_CMD_CREATE, _FSMOUNT_CLOEXEC, _MOUNT_ATTR_RDONLY = 1, 6, 1, 1  # linux/mount.h
_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)


def _syscall(number: int, *arguments: object) -> int:
    found = _libc.syscall(number, *arguments)
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(found)


def own() -> int:
    """A descriptor of the calling thread's network namespace; the caller closes it."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def identity(where: int | Path) -> str:
    """What tells one namespace from another, as text: device and inode of its nsfs file, a descriptor or a path."""
    stat = where.stat() if isinstance(where, Path) else os.fstat(where)
    return f"{stat.st_dev}:{stat.st_ino}"


def is_network_namespace(fd: int) -> bool:
    """Whether a descriptor is one of a network namespace."""
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


@contextmanager
def inside(fd: int) -> Iterator[None]:
    """Run the body with the calling thread in the namespace of ``fd``."""
    home = own()
    try:
        _call("setns", fd, _CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", home, _CLONE_NEWNET)
    finally:
        os.close(home)


def open_at(path: Path) -> int | None:
    """A descriptor of the namespace mounted at ``path``, or None if there is none; the caller closes it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    if is_network_namespace(fd):
        return fd
    os.close(fd)
    return None


_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV)
"""Errors that say that a path leads to nothing, or to nothing that can be opened."""


def open_under(root: Path, path: str) -> int | None:
    """A descriptor of the namespace that a runtime knows as ``path``, seen below ``root``; the caller closes it.

    No link and no ``..`` in ``path`` leads out of ``root`` (openat2(2), RESOLVE_IN_ROOT). None if there is no such
    file, or if it is not a namespace.

    Raises:
        KernelError: it cannot be opened for another reason.

    """
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = (ctypes.c_uint64 * 3)(os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, 0, _RESOLVE_IN_ROOT)
        fd = _libc.syscall(_SYS_OPENAT2, top, os.fsencode(path), how, ctypes.sizeof(how))
    finally:
        os.close(top)
    if fd < 0:
        code = ctypes.get_errno()
        if code in _NOT_THERE:
            return None
        raise limits.kernel_error("open the namespace", OSError(code, os.strerror(code), path))
    if is_network_namespace(fd):
        return int(fd)
    os.close(fd)
    return None


def sysfs(fd: int) -> int:
    """A descriptor of a sysfs as it is seen in a namespace, read-only and mounted nowhere; the caller closes it.

    Raises:
        OSError: no rights to mount it.

    """
    with inside(fd):
        context = _syscall(_SYS_FSOPEN, b"sysfs", _FSOPEN_CLOEXEC)
    try:
        _syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, _MOUNT_ATTR_RDONLY)
    finally:
        os.close(context)


def create(path: Path) -> None:
    """Make a new network namespace, empty but for ``lo``, and mount it at ``path``.

    A file that is there but holds no namespace (the rest of a creation that was cut short) is used.

    Raises:
        KernelError: no room, no rights, or no mount possible.

    """
    try:
        home = own()
        try:
            _call("unshare", _CLONE_NEWNET)
            try:
                _mount_current(path)
            finally:
                _call("setns", home, _CLONE_NEWNET)
        finally:
            os.close(home)
    except OSError as error:
        raise limits.kernel_error(f"create the namespace {path.name}", error) from error


def anonymous() -> int:
    """A descriptor of a new network namespace that is mounted nowhere: it is gone once its last descriptor is closed.

    Raises:
        KernelError: no rights, or too many namespaces.

    """
    try:
        home = own()
        try:
            _call("unshare", _CLONE_NEWNET)
            try:
                return own()
            finally:
                _call("setns", home, _CLONE_NEWNET)
        finally:
            os.close(home)
    except OSError as error:
        raise limits.kernel_error("create a namespace", error) from error


def mount(fd: int, path: Path) -> None:
    """Mount the namespace of ``fd`` at ``path``.

    Raises:
        KernelError: no room, no rights, or no mount possible.

    """
    try:
        with inside(fd):
            _mount_current(path)
    except OSError as error:
        raise limits.kernel_error(f"mount the namespace {path.name}", error) from error


def _mount_current(path: Path) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
    _call("mount", b"/proc/thread-self/ns/net", os.fsencode(path), None, _MS_BIND, None)


def delete(path: Path) -> None:
    """Unmount and remove the namespace at ``path``; nothing happens if it is gone already."""
    try:
        while True:
            _call("umount2", os.fsencode(path), _MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):  # not, or no longer, a mount point
            raise limits.kernel_error(f"unmount {path.name}", error) from error
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise limits.kernel_error(f"remove {path.name}", error) from error


_QUIET = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
}
"""What keeps a LAN's namespace from speaking or filtering (Documentation/networking/ip-sysctl, bridge.rst)."""


def is_quiet(fd: int) -> bool:
    """Whether a namespace says nothing of its own and filters nothing that is bridged. What a kernel lacks is quiet."""
    with inside(fd):
        for name, wanted in _QUIET.items():
            try:
                found = Path("/proc/sys", name).read_text().strip()
            except FileNotFoundError:
                continue
            if found != wanted:
                return False
    return True


def make_quiet(fd: int) -> None:
    """Switch off IPv6 and bridge-netfilter in a namespace.

    Raises:
        KernelError: /proc/sys is read-only or not permitted.

    """
    with inside(fd):
        for name, wanted in _QUIET.items():
            try:
                Path("/proc/sys", name).write_text(wanted)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise limits.kernel_error(f"set {name}", error) from error


def switch_ipv6(fd: int, name: str, *, on: bool) -> None:
    """Switch IPv6 on or off for a link in a namespace.

    Raises:
        KernelError: /proc/sys is read-only or not permitted.

    """
    with inside(fd):
        try:
            Path("/proc/sys/net/ipv6/conf", name, "disable_ipv6").write_text("0" if on else "1")
        except FileNotFoundError:
            return  # a kernel without IPv6
        except OSError as error:
            raise limits.kernel_error(f"switch IPv6 {'on' if on else 'off'} for {name}", error) from error
