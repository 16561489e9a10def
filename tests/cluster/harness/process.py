"""One process, known by pid and start time, so that a pid the kernel gave away again is never taken for it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of this machine, alive or not."""

    pid: int
    started: int
    """Clock ticks since the machine's start (proc(5), stat, field 22)."""

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this pid now. Raises ProcessLookupError if there is none."""
        started = _started(pid)
        if started is None:
            raise ProcessLookupError(pid)
        return cls(pid=pid, started=started)

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        return _started(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it is gone."""
        with self._descriptor() as descriptor:
            if descriptor is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)

    def wait(self, seconds: float) -> None:
        """Return when it has ended. Raises TimeoutError with what it is still doing."""
        with self._descriptor() as descriptor:
            if descriptor is not None and not _readable(descriptor, seconds):
                raise TimeoutError(f"process {self.pid} ({self.command()}) has not ended in {seconds:.0f} s")

    def child(self, seconds: float = 10) -> Process:
        """Its first child, which it is about to have: programs here are forked off by ``nsenter`` or ``unshare``."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            if pids := children.read_text().split():
                return Process.of(int(pids[0]))
            time.sleep(0.002)  # the kernel tells nobody of a fork
        raise TimeoutError(f"process {self.pid} ({self.command()}) started no program")

    def command(self) -> str:
        """Its command line, for messages."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            return "gone"

    @contextlib.contextmanager
    def _descriptor(self) -> Iterator[int | None]:
        """A descriptor of it, or None if it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield descriptor if self.alive() else None
        finally:
            os.close(descriptor)


def _readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _started(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
