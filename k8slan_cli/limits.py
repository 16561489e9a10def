"""What a process or a node can run out of: which limit it is, and what to raise.

The kernel says of many limits no more than "Too many open files" or "No space left on device". An edge asks here
before it takes an error for one of k8slan's own; and all inotify instances are opened here, since theirs say the same.
"""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from k8slan_cli.errors import K8slanError, KernelError

if TYPE_CHECKING:
    from asyncinotify import Inotify, Mask


def raise_own() -> None:
    """Take as many descriptors and threads as may be had: what starts an agent may allow but 1,024 descriptors."""
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC):
        _, most = resource.getrlimit(limit)
        resource.setrlimit(limit, (most, most))


def advice(error: BaseException, place: Path | None = None) -> str:
    """Return what to raise or free if an error says that something is used up, else "".

    ``place`` is what was written, if the error itself does not say so.
    """
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return _THREADS
    if not isinstance(error, OSError):
        return ""
    if error.errno == errno.EMFILE:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"this process may have {most} descriptors: raise the limit (ulimit -n, LimitNOFILE= of a systemd unit)"
    where = place or (error.filename if isinstance(error.filename, str) else "")
    if error.errno == errno.ENOSPC and where in _SYSCTLS:
        return f"raise sysctl {_SYSCTLS[where]}"
    return {
        errno.EAGAIN: _THREADS,
        errno.ENFILE: "all processes of the node together have as many files open as may be: raise sysctl fs.file-max",
        errno.ENOMEM: _MEMORY,
        errno.ENOSPC: f"make room: see df and df -i {where}".rstrip(),
        errno.EDQUOT: "make room: the disk quota of this user is used up",
    }.get(error.errno or 0, "")


_MEMORY = "give it more memory: a larger limit of its container (k8slan install --agent-limits), or a larger machine"
_THREADS = "raise the limit of processes and threads (ulimit -u, pids.max of its cgroup)"
_SYSCTLS: dict[Path | str, str] = {"unshare": "user.max_net_namespaces", "mount": "fs.mount-max"}
"""What limits a call that is named where other errors name a file."""
_NO_MORE = {
    errno.EAGAIN: "no more process or thread can be started",
    errno.EMFILE: "no more file or socket can be opened",
    errno.ENFILE: "no more file or socket can be opened",
}


def describe(error: OSError) -> str:
    """Return the kernel's reason, and the file if there is one."""
    reason = error.strerror or str(error)
    what = error.filename if isinstance(error.filename, str) else _NO_MORE.get(error.errno or 0)
    return f"{reason}: {what}" if what else reason


def kernel_error(doing: str, error: OSError) -> KernelError:
    """Return what the kernel refuses as an error of k8slan's, in the words of ``doing``."""
    return KernelError(error.errno or errno.EIO, f"{doing}: {describe(error)}", hint=advice(error))


def shortage(error: BaseException) -> K8slanError | None:
    """Return what is used up, as an error for people; None if the error is about something else."""
    hint = advice(error)
    if not hint:
        return None
    if not isinstance(error, OSError):
        return K8slanError("out of memory" if isinstance(error, MemoryError) else str(error), hint=hint)
    return K8slanError(describe(error), hint=hint)


def watch(what: str, path: Path, mask: Mask) -> Inotify:
    """Open an inotify instance that watches a path; the caller closes it, and ``what`` says what is there.

    Raises:
        K8slanError: no instance or watch is left, or the path cannot be watched.

    """
    from asyncinotify import Inotify

    try:
        inotify = Inotify(sync_timeout=0)
    except OSError as error:
        used_up = error.errno == errno.EMFILE and _descriptor_left()
        words = "no inotify instance is left to this user" if used_up else describe(error)
        hint = "raise sysctl fs.inotify.max_user_instances" if used_up else advice(error)
        raise K8slanError(f"cannot watch {what} {path}: {words}", hint=hint) from error
    try:
        inotify.add_watch(path, mask)
    except OSError as error:
        inotify.close()
        used_up = error.errno == errno.ENOSPC
        words = "no inotify watch is left to this user" if used_up else describe(error)
        hint = "raise sysctl fs.inotify.max_user_watches" if used_up else advice(error)
        raise K8slanError(f"cannot watch {what} {path}: {words}", hint=hint) from error
    return inotify


def _descriptor_left() -> bool:
    """Return whether a file can be opened: an instance that cannot be had fails with the same error."""
    try:
        os.close(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
