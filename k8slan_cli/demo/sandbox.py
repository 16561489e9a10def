"""A world of its own: processes, mounts and network that are gone the moment its first process is.

Nothing that has to be cleaned up is ever made. The first process inside is the init of a PID namespace: with it the
kernel ends every other; with the last process go the mount and network namespaces, and with them all mounts, links
and files on the tmpfs at ``/run``. The process that started it all is its parent, and the kernel kills the child
when the parent dies (PR_SET_PDEATHSIG), so that not even ``kill -9`` leaves anything.

Inside, nothing may write to a terminal or read from one: it tells what happens by values over a socket, which the
parent shows. A normal user gets a user namespace around it, in which he is root.

namespaces(7), pid_namespaces(7), user_namespaces(7), prctl(2).
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from k8slan_cli.errors import K8slanError

RUN = Path("/run")
"""Where the world has its tmpfs. No program lies there, and ``ip netns`` looks for namespaces below it."""

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = (
    0x00020000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_WORLD = _CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWNET
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 1, 15, 36, 37
_RUNNING, _KEPT = "k8slan-demo", "k8slan-kept"  # names of its first process, 15 bytes at most
_LARGEST = 1 << 20  # bytes of a message
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _prctl(option: int, value: object) -> None:
    _call("prctl", option, value, 0, 0, 0)


# ---------------------------------------------------------------- what is told


@dataclass(frozen=True, slots=True)
class _Refused:
    """The kernel did not allow the world to be made."""

    words: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The inside has ended with an error; ``trace`` says where it came from, if it should never have been."""

    words: str
    hint: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """The inside will stay when its parent goes."""


class Teller:
    """The inside's end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def tell(self, value: object) -> None:
        """Send a value to the parent."""
        self._socket.send(pickle.dumps(value))

    def keep(self) -> NoReturn:
        """Stay, also when the parent goes, until SIGTERM or a kill."""
        stop = {signal.SIGTERM, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, stop)
        signal.signal(signal.SIGTERM, lambda *_: None)  # an init is not even sent what it has no handler for
        _prctl(_PR_SET_NAME, _KEPT.encode())
        _prctl(_PR_SET_PDEATHSIG, 0)
        self.tell(Kept())
        while signal.sigwait(stop) == signal.SIGCHLD:
            while _reap():
                pass
        os._exit(0)


def _reap() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


# ---------------------------------------------------------------- the outside


class Sandbox:
    """A world: ``pid`` is its first process as seen from outside, ``user`` whether a user namespace is around it."""

    def __init__(self, pid: int, user: bool, sock: socket.socket) -> None:
        self.pid = pid
        self.user = user
        self.stays = False
        self._socket = sock

    def values(self) -> Iterator[object]:
        """What the inside tells, until it ends or is kept; from then on, it ``stays`` when the context is left."""
        while data := self._socket.recv(_LARGEST):
            value = pickle.loads(data)  # noqa: S301 - our own child wrote it
            self.stays = isinstance(value, Kept)
            yield value
            if self.stays:
                return

    def close(self) -> None:
        """End it and wait until all of it is gone, unless it stays."""
        if not self.stays:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._socket.close()


@contextmanager
def sandbox(play: Callable[[Teller], None]) -> Iterator[Sandbox]:
    """A world in which ``play`` runs, as another process, for the length of a block; signals end both together.

    Raises:
        K8slanError: this user may not have one here; the hint says what would help.

    """
    _check_run()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # none may come between a step and the note of it
    try:
        world = _start(play)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield world
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            world.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(play: Callable[[Teller], None]) -> Sandbox:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reaper = ctypes.c_int()
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(reaper))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # so that the first process becomes our child when its parent ends
    try:
        user = os.geteuid() != 0
        told = _make(ours, theirs, play, user)
        if isinstance(told, _Refused) and not user:  # root without the right to: in a container, for instance
            user = True
            told = _make(ours, theirs, play, user)
    finally:
        _prctl(_PR_SET_CHILD_SUBREAPER, reaper.value)
        theirs.close()
    if not isinstance(told, int):
        ours.close()
        words = told.words if isinstance(told, _Refused) else "its first process died"
        raise K8slanError(f"cannot make a world of its own: {words}", hint=_advice())
    with suppress(BrokenPipeError, ConnectionResetError):  # should it have died, that shows as the end of its values
        ours.send(b"you are mine")
        ours.recv(64)
        ours.send(b"go")
    return Sandbox(told, user, ours)


def _make(
    ours: socket.socket, theirs: socket.socket, play: Callable[[Teller], None], user: bool
) -> int | _Refused | None:
    """The process id of the first process inside; or why there is none."""
    between = os.fork()
    if between == 0:
        ours.close()
        _between(theirs, play, user)
    os.waitpid(between, 0)
    try:
        told = pickle.loads(ours.recv(_LARGEST, socket.MSG_DONTWAIT))  # noqa: S301 - our own child wrote it
    except BlockingIOError:
        return None  # it was killed before it could tell
    return told if isinstance(told, int | _Refused) else None


def _check_run() -> None:
    here = Path(__file__).resolve()
    for path in (here, Path(sys.executable).resolve(), Path(sys.prefix).resolve()):
        if path.is_relative_to(RUN):
            hint = "install k8slan elsewhere"
            raise K8slanError(f"{path} lies under {RUN}, which the demo needs for itself", hint=hint)


def _advice() -> str:
    """What a person can do about a world that was refused: what the kernel's settings say."""
    for name, closed, words in (
        ("user/max_user_namespaces", "0", "user.max_user_namespaces is 0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone is 0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns is 1"),
    ):
        try:
            if Path("/proc/sys", name).read_text().strip() == closed:
                return f"{words}, which keeps normal users from it: run it as root (sudo)"
        except OSError:
            continue
    return "run it as root (sudo); in a container, as a privileged one"


# ---------------------------------------------------------------- the inside


def _between(theirs: socket.socket, play: Callable[[Teller], None], user: bool) -> NoReturn:
    """Enter the new namespaces, start the first process in them and end, so that it gets the grandparent as parent."""
    try:
        os.setsid()  # the terminal's signals go to the parent alone, which knows what to do
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        _enter(user)
        pid = os.fork()
        if pid == 0:
            _first(theirs, play)
        theirs.send(pickle.dumps(pid))
        os._exit(0)
    except OSError as error:
        theirs.send(pickle.dumps(_Refused(error.strerror or str(error))))
    except BaseException:  # noqa: BLE001 - nothing may get from here into the parent's code
        theirs.send(pickle.dumps(None))
    finally:
        os._exit(1)


def _enter(user: bool) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", _WORLD | (_CLONE_NEWUSER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    _call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    _call("mount", b"k8slan-demo", os.fsencode(RUN), b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=0755,size=64m")


def _first(theirs: socket.socket, play: Callable[[Teller], None]) -> NoReturn:
    """The init of the world."""
    teller = Teller(theirs)
    try:
        if not theirs.recv(64):
            os._exit(1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        theirs.send(b"!")
        if not theirs.recv(64):  # the parent died before it could be watched
            os._exit(1)
        _prctl(_PR_SET_NAME, _RUNNING.encode())
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        _mount_proc()
        play(teller)
    except K8slanError as error:
        teller.tell(Failed(error.message, error.hint))
    except BrokenPipeError:
        os._exit(1)
    except BaseException as error:  # noqa: BLE001 - the end of a process; the parent shows it
        teller.tell(Failed(repr(error), trace=traceback.format_exc()))
    finally:
        os._exit(0)


def _mount_proc() -> None:
    """Show the world's own processes in /proc; where that is refused (in containers), the old one has to do."""
    with suppress(PermissionError):
        _call("mount", b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, None)


# ---------------------------------------------------------------- those that were kept


def kept() -> list[int]:
    """The first processes of worlds that were kept, such as the caller may end."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return sorted(filter(_is_kept, pids))


def _is_kept(pid: int) -> bool:
    try:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
    except OSError:
        return False
    numbers, owner = status.get("NSpid", "").split(), int(status["Uid"].split()[0])
    is_init = len(numbers) > 1 and numbers[-1] == "1"
    dead = status["State"].startswith(("Z", "X"))  # and only waits for its parent to take note
    return status["Name"] == _KEPT and is_init and not dead and os.geteuid() in (0, owner)


def remove(pid: int) -> bool:
    """End a world that was kept and wait until it is gone; False if there is none with that process."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _is_kept(pid):  # looked at after the handle was taken, so the number cannot have changed hands
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        waiting.poll()
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
