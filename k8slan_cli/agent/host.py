"""The node's own file system, which an agent in a container sees elsewhere than at ``/``.

One thread has it as its root: unshare(2) gives the thread a root of its own, chroot(2) sets it. A path, with every
symbolic link in it, then means there what it means on the node, and a process that is started there begins with that
root. The agent's other threads keep theirs, and no program is needed for it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from k8slan_cli.errors import K8slanError

_CLONE_FS = 0x200
_Found = TypeVar("_Found")


class Host:
    """The file system that the agent sees at ``root``."""

    def __init__(self, root: Path) -> None:
        """Enter it.

        Raises:
            K8slanError: it is not there, or the agent lacks the right.

        """
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="host")
        if root == Path("/"):
            return
        try:
            self.call(_enter, root)
        except OSError as error:
            hint = "mount the node's / there, and run the agent in a privileged container"
            raise K8slanError(f"cannot use --host-root {root}: {error.strerror}", hint=hint) from error

    def call(self, function: Callable[..., _Found], *arguments: object) -> _Found:
        """Call a function with the node's root. The caller waits: it is for looking up files and starting programs."""
        return self._thread.submit(function, *arguments).result()


def _enter(root: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_FS) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    os.chroot(root)
    os.chdir("/")
