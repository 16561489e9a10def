"""Network namespaces for tests, seen with the eyes of iproute2 and not with the project's own.

::

    with Namespace.create("pod") as pod, Namespace.create("lan") as lan:
        veth(pod, "eth0", lan, "port")
        pod.ip("address", "add", "192.0.2.1/24", "dev", "eth0")
        assert lan.links()["port"]["operstate"] == "UP"

After the block the namespace is gone, processes still in it have been killed, and a test that left one fails.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.support import names

DIRECTORY = Path("/run/netns")  # where iproute2 mounts namespaces: ip-netns(8)
SECONDS = 30.0
"""Deadline of a command; far more than any takes, so that a hanging one ends its test and not the run."""


def command(*argv: str, text: str | None = None, seconds: float = SECONDS) -> str:
    """Run a command and return what it printed; a failure is an assertion that shows both of its streams."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Namespace:
    """A network namespace under /run/netns, with ``lo`` up; made with ``create``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = DIRECTORY / name
        self._fd: int | None = None

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    @classmethod
    @contextmanager
    def create(cls, prefix: str = "") -> Iterator[Self]:
        """A new namespace for the length of a block; its unique name holds ``prefix`` (up to 4 bytes)."""
        self = cls(names.unique(prefix))
        command("ip", "netns", "add", self.name)
        try:
            self.ip("link", "set", "lo", "up")
            yield self
        finally:
            self._close()
            left = self.pids()
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            command("ip", "netns", "delete", self.name)
        assert not self.path.exists(), f"{self.path} is still there"
        assert not left, f"processes were left in {self.name}: {left}"

    def run(self, *argv: str, text: str | None = None, seconds: float = SECONDS) -> str:
        """Run a command inside, with ``text`` on its standard input; returns what it printed."""
        return command("ip", "netns", "exec", self.name, *argv, text=text, seconds=seconds)

    @contextmanager
    def start(self, *argv: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """Start a command inside, killed when the block ends, if not before; ``options`` are those of Popen."""
        argv = ("ip", "netns", "exec", self.name, *argv)
        with subprocess.Popen(argv, **({"text": True} | options)) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def ip(self, *arguments: str) -> Any:
        """What ``ip -json -details`` says inside; an empty list for a command that says nothing."""
        return _parsed(command("ip", "-n", self.name, "-j", "-d", *arguments))

    def bridge(self, *arguments: str) -> Any:
        """What ``bridge -json -details`` says inside."""
        return _parsed(command("bridge", "-n", self.name, "-j", "-d", *arguments))

    def links(self) -> dict[str, dict[str, Any]]:
        """Every link inside, by name, but for ``lo``."""
        return {link["ifname"]: link for link in self.ip("link", "show") if link["ifname"] != "lo"}

    def fd(self) -> int:
        """A descriptor of the namespace, open until the block ends."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._fd

    def pids(self) -> list[int]:
        """The processes inside."""
        return [int(pid) for pid in command("ip", "netns", "pids", self.name).split()]

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def veth(a: Namespace, name_a: str, b: Namespace, name_b: str, *, mtu: int = 1500) -> None:
    """A cable between two namespaces, both of its ends up."""
    wide = ("mtu", str(mtu))
    a.ip("link", "add", name_a, *wide, "type", "veth", "peer", "name", name_b, *wide, "netns", b.name)
    for namespace, name in ((a, name_a), (b, name_b)):
        namespace.ip("link", "set", name, "up")


def _parsed(text: str) -> Any:
    return json.loads(text) if text.strip() else []
