"""Files that a command writes for its user: whole, or as they were before.

Data goes to a temporary file in the same folder, which is renamed when it is complete, or earlier where a command says
so. What cannot be replaced is written to directly: a pipe, a device, standard output.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from k8slan_cli.errors import K8slanError


class Output:
    """An open file; ``name`` is what errors call it. With ``aside`` it lies there until it takes its ``place``."""

    def __init__(self, fd: int, name: str, *, aside: Path | None = None, place: Path | None = None) -> None:
        self._fd = fd
        self._name = name
        self._aside = aside
        self._place = place
        self._size = 0

    def write(self, data: bytes) -> None:
        """Write all of ``data``, or, into a file, nothing of it.

        Raises:
            BrokenPipeError: the reader of a pipe is gone.
            K8slanError: it cannot be written.

        """
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            self._size += len(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            kept = self._place and not self._aside
            raise _cannot(self._name, error, hint="what was written before is in it" if kept else "") from error
        finally:
            if rest and self._place:
                os.ftruncate(self._fd, self._size)

    def keep(self) -> None:
        """Replace what is there, now rather than at the end.

        Raises:
            K8slanError: that is not possible.

        """
        if self._aside and self._place:
            try:
                self._aside.rename(self._place)
            except OSError as error:
                raise _cannot(self._name, error) from error
            self._aside = None

    def close(self) -> None:
        """Close it, and remove it if it has not replaced anything."""
        os.close(self._fd)
        if self._aside:
            with contextlib.suppress(OSError):
                self._aside.unlink()


STDOUT = Path("-")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Output]:
    """Write a file, which replaces what is there at the end of the block, or with ``keep``.

    If the block fails before, what is there stays. Of a symbolic link, the target is replaced. The new file has the
    mode and the owner of the old one. ``-`` is standard output.

    Raises:
        K8slanError: it cannot be written.

    """
    output = _open(path)
    try:
        yield output
        output.keep()
    except BrokenPipeError as error:
        raise _cannot(str(path), error) from error
    finally:
        output.close()


def write(path: Path, text: str) -> None:
    """Write a file of text.

    Raises:
        K8slanError: it cannot be written, and is as it was.

    """
    with writing(path) as output:
        output.write(text.encode())


def _open(path: Path) -> Output:
    name = "to standard output" if path == STDOUT else str(path)
    try:
        if path == STDOUT:
            return Output(os.dup(1), name)
        there = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)  # a pipe waits here for its reader
    except FileNotFoundError:
        return _beside(name, None)
    except OSError as error:
        raise _cannot(name, error) from error
    found = os.fstat(there)
    if not stat.S_ISREG(found.st_mode):
        return Output(there, name)
    os.close(there)
    with contextlib.suppress(OSError):  # it may be closed
        if os.path.samestat(found, os.fstat(1)):  # /dev/stdout into a file, which has more in it than what comes now
            return Output(os.dup(1), name)
    return _beside(name, found)


def _beside(name: str, old: os.stat_result | None) -> Output:
    # Not made from the file's own name, which may be as long as a name can be.
    place = Path(os.path.realpath(name))
    aside = place.with_name(f".k8slan-{secrets.token_hex(8)}")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        hint = f"it is replaced by a new file, which cannot be made in {aside.parent}" if old else ""
        raise _cannot(name, error, hint=hint) from error
    if old:
        with contextlib.suppress(OSError):  # only root gives files away
            os.fchown(fd, old.st_uid, old.st_gid)
        with contextlib.suppress(OSError):  # not every file system has modes
            os.fchmod(fd, old.st_mode & 0o777)
    return Output(fd, name, aside=aside, place=place)


def _cannot(name: str, error: OSError, *, hint: str = "") -> K8slanError:
    return K8slanError(f"cannot write {name}: {error.strerror}", hint=hint)
