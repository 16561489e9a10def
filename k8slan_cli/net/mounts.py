"""Hearing of mounts and unmounts: what keeps a LAN's namespace is a mount, which anybody may take away."""

from __future__ import annotations

import os
import select


class MountListener:
    """Readable whenever something was mounted or unmounted in this mount namespace (proc(5), /proc/pid/mountinfo)."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        # The file is always readable; that something has changed it tells as an exception. Event loops do not ask for
        # those, so it sits in an epoll of its own, which is readable when there is one.
        self._epoll = select.epoll()
        self._epoll.register(self._file, select.EPOLLPRI)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._epoll.fileno()

    def clear(self) -> None:
        """Take what has been told as heard."""
        self._epoll.poll(0)

    def close(self) -> None:
        """Stop listening."""
        self._epoll.close()
        os.close(self._file)
