"""A computer made of namespaces: PID, network, mount, UTS, IPC; its files in one folder, its programs by name.

What a machine is at run time is written to its state (``Machine.state``), so another process, or a later one, can go
on with it. Nothing here knows what the programs are.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.harness.process import Process

_INIT = Path(__file__).with_name("init.py")


class MachineError(Exception):
    """A machine or a program on it does not do what it should; the message has its last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What makes a machine this machine."""

    name: str
    """Its host name."""
    folder: Path
    """Where all that it writes goes; outlives its boots."""
    binds: Mapping[str, Path] = field(default_factory=dict)
    """Path in the machine → folder that is to be found there."""
    covers: Mapping[str, str] = field(default_factory=dict)
    """Path of a file in the machine → content that it has there, written or not."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Path under /proc/sys → value; of its own network namespace only."""


class Machine:
    """A machine that is up or down."""

    def __init__(self, setup: Setup, *, keep: bool, changed: Callable[[], None]) -> None:
        """``keep``: it outlives this process. ``changed`` is called after each change of ``state``."""
        self.setup = setup
        self.name = setup.name
        self.folder = setup.folder
        self.boot_id = ""
        """As the kernel would have it: another one after each boot."""
        self._keep = keep
        self._changed = changed
        self._anchor: Process | None = None
        self._init: Process | None = None
        self._programs: dict[str, Process] = {}
        self._started: list[subprocess.Popen[bytes]] = []

    # --- being up ---------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Make the namespaces; afterwards programs can be started."""
        for name in ("", "log", "tmp", *map(str, self.setup.binds.values())):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # A machine that is not to be kept dies with the thread that booted it: let that be the main one.
        command = [] if self._keep else ["setpriv", "--pdeathsig", "KILL"]
        command += ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL"]
        boot_id = str(uuid.uuid4())
        setup = json.dumps(asdict(self.setup) | {"boot_id": boot_id}, default=str)
        with self._log("init").open("ab") as log:
            anchor = subprocess.Popen(
                [*command, "--propagation", "private", sys.executable, "-I", str(_INIT), setup],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        self._started.append(anchor)
        assert anchor.stdout is not None
        with anchor.stdout:
            ready = anchor.stdout.readline()
        if ready != b"ready\n":
            raise MachineError(f"{self.name} did not boot: {self.last_words('init')}")
        self._anchor = Process.of(anchor.pid)
        self._init = self._anchor.child()
        self.boot_id = boot_id
        self._changed()

    def kill(self) -> None:
        """Switch it off: everything that runs in it ends at once, and is gone on return."""
        if self._init is not None:
            self._init.signal(signal.SIGKILL)
            self._init.wait(30)  # the kernel lets process 1 end when it is the last one
        for process in (self._anchor, *self._programs.values()):
            if process is not None:
                process.wait(10)
        for popen in self._started:
            popen.wait()
        self._anchor = self._init = None
        self._programs, self._started = {}, []
        self._changed()

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self._init is not None and self._init.alive()

    @property
    def pid(self) -> int:
        """Its process 1 as the host knows it; names its namespaces, too."""
        if self._init is None:
            raise MachineError(f"{self.name} is not up")
        return self._init.pid

    # --- commands and programs ----------------------------------------------------------------------------------

    def inside(self, *command: str) -> list[str]:
        """The command line that runs ``command`` in it."""
        return ["nsenter", f"--target={self.pid}", "-m", "-n", "-u", "-i", "-p", "--", *command]

    def run(
        self, *command: str, stdin: str | None = None, timeout: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end. Raises MachineError, with its words, if it fails and ``check``."""
        done = subprocess.run(
            self.inside(*command), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            words = (done.stderr or done.stdout).strip()
            raise MachineError(f"{self.name}: {' '.join(command)}: exit status {done.returncode}: {words}")
        return done

    def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a program that stays; it writes to ``log/<name>``."""
        if name in self._programs and self._programs[name].alive():
            raise MachineError(f"{name} is already running on {self.name}")
        settings = [f"{key}={value}" for key, value in {**(environment or {}), **self._temporary()}.items()]
        with self._log(name).open("ab") as log:
            started = subprocess.Popen(
                self.inside("setpriv", "--pdeathsig", "KILL", "env", *settings, *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
            )
        self._started.append(started)
        self._programs[name] = Process.of(started.pid)
        self._changed()

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM, seconds: float = 30) -> None:
        """Signal a program and wait for its end; nothing happens if it does not run."""
        holder = self._programs.pop(name, None)
        if holder is None or not holder.alive():
            return
        holder.child().signal(number)
        holder.wait(seconds)
        for popen in self._started:
            popen.poll()
        self._changed()

    def running(self, name: str) -> bool:
        """Whether a program that was started still runs."""
        return name in self._programs and self._programs[name].alive()

    def program(self, name: str) -> int:
        """The pid of a running program, as the host knows it."""
        return self._programs[name].child().pid

    def check(self) -> None:
        """Raise MachineError, with its last words, if a program that was started has ended by itself."""
        for name, process in self._programs.items():
            if not process.alive():
                raise MachineError(f"{name} on {self.name} has ended: {self.last_words(name)}")

    def until(self, serves: Callable[[], bool], name: str, seconds: float) -> None:
        """Return when a program that was started serves, which nothing but asking tells. Raises MachineError."""
        deadline = time.monotonic() + seconds
        while not serves():
            self.check()
            if time.monotonic() > deadline:
                words = self.last_words(name)
                raise MachineError(f"{name} on {self.name} does not serve after {seconds:.0f} s: {words}")
            time.sleep(0.05)

    def last_words(self, name: str, lines: int = 15) -> str:
        """The end of a program's log."""
        path = self._log(name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def _log(self, name: str) -> Path:
        return self.folder / "log" / name

    def _temporary(self) -> dict[str, str]:
        return {"TMPDIR": str(self.folder / "tmp")}

    # --- for another process ------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """What another process needs to go on with it, for JSON."""
        return {
            "boot_id": self.boot_id,
            "anchor": asdict(self._anchor) if self._anchor else None,
            "init": asdict(self._init) if self._init else None,
            "programs": {name: asdict(process) for name, process in self._programs.items()},
        }

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self.boot_id = state["boot_id"]
        self._anchor = Process(**state["anchor"]) if state["anchor"] else None
        self._init = Process(**state["init"]) if state["init"] else None
        self._programs = {name: Process(**values) for name, values in state["programs"].items()}


def copy_into(folder: Path, files: Sequence[Path]) -> None:
    """Put copies of executables into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, folder / file.name)
