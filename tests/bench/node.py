"""A node for benchmarks: a namespace with an underlay, an agent in it, pods, and CNI calls with a stopwatch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.agents import PLUGINS
from tests.support.netns import Namespace

ROOT = Path(__file__).parents[2]
GO_PLUGINS = next((path for path in (PLUGINS, Path("/opt/cni/bin")) if (path / "bridge").exists()), PLUGINS)


class Agent:
    """An agent process in a namespace, started and stopped at will."""

    def __init__(self, namespace: Namespace, folder: Path, lans: Path) -> None:
        self.namespace = namespace
        self.run_dir = folder / namespace.name
        self.run_dir.mkdir(exist_ok=True)
        self._lans = lans
        self._notify = self.run_dir / "notify"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; returns the seconds until it is ready."""
        self._notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self._notify))
            ready.settimeout(60)
            begun = time.perf_counter()
            self.process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net={self.namespace.path}",
                    sys.executable,
                    "-m",
                    "k8slan_cli",
                    "node-agent",
                    f"--lan-dir={self._lans}",
                    f"--run-dir={self.run_dir}",
                    f"--node-name={self.namespace.name}",
                    "--http=",
                    "--log-level=warning",
                ],
                env=os.environ | {"NOTIFY_SOCKET": str(self._notify)},
                cwd=ROOT,
            )
            while b"READY=1" not in ready.recv(256):
                pass
            return time.perf_counter() - begun

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def rss(self) -> float:
        """Resident memory in MB."""
        return int(self._proc("statm").split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _proc(self, name: str) -> str:
        assert self.process
        return Path(f"/proc/{self.process.pid}/{name}").read_text()


def lan(name: str, vni: int, **spec: Any) -> dict[str, Any]:
    """A LAN document."""
    return {
        "apiVersion": "lan.k8slan.io/v1beta1",
        "kind": "LAN",
        "metadata": {"name": name},
        "spec": {"vni": vni, "defaultVxlanDev": "eth0"} | spec,
    }


def _environ(verb: str, namespace: Namespace, ifname: str, run_dir: Path) -> dict[str, str]:
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": namespace.name,
        "CNI_NETNS": str(namespace.path),
        "CNI_IFNAME": ifname,
        "CNI_PATH": str(GO_PLUGINS),
        "K8SLAN_RUN_DIR": str(run_dir),
        "PATH": os.environ["PATH"],
    }


def cni(
    binary: Path, verb: str, config: Mapping[str, Any], namespace: Namespace, ifname: str, run_dir: Path
) -> tuple[float, dict[str, Any]]:
    """One CNI call as a runtime makes it: (milliseconds, answer)."""
    environ = _environ(verb, namespace, ifname, run_dir)
    text = json.dumps(config).encode()
    begun = time.perf_counter()
    done = subprocess.run([binary], input=text, env=environ, capture_output=True, check=False)
    milliseconds = (time.perf_counter() - begun) * 1e3
    assert done.returncode == 0, (done.stdout, done.stderr)
    return milliseconds, json.loads(done.stdout or b"{}")


def burst(
    binary: Path, verb: str, calls: Iterable[tuple[Namespace, Mapping[str, Any]]], ifname: str, run_dir: Path
) -> float:
    """CNI calls that are all begun before the first is waited for: milliseconds until the last is answered."""
    begun = time.perf_counter()
    started = []
    for namespace, config in calls:
        process = subprocess.Popen(
            [binary],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environ(verb, namespace, ifname, run_dir),
        )
        assert process.stdin
        process.stdin.write(json.dumps(config).encode())
        process.stdin.close()
        started.append(process)
    said = []
    for process in started:
        assert process.stdout
        with process:
            said.append(process.stdout.read())
    milliseconds = (time.perf_counter() - begun) * 1e3
    assert not any(process.returncode for process in started), said
    return milliseconds


@contextlib.contextmanager
def pods(count: int) -> Iterator[list[Namespace]]:
    """Namespaces of pods."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Namespace.create("p")) for _ in range(count)]


@contextlib.contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """Have this thread, and what it starts, in a namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _setns(namespace.fd())
        yield
    finally:
        _setns(home)
        os.close(home)


def _setns(fd: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
