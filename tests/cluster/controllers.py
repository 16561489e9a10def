"""The controller as a process with the rights of its service account, on an API server that stands alone."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k8slan_cli.render import manifests
from k8slan_cli.render.manifests import Part
from k8slan_cli.render.settings import Settings
from tests.cluster.bare import Api, until

SYSTEM = "k8slan-system"


class Controller:
    """One process."""

    def __init__(self, kubeconfig: Path, folder: Path, name: str, *arguments: str) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [sys.executable, "-m", "k8slan_cli", "controller", f"--http={self.address}", f"--name={name}"]
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, f"--kubeconfig={kubeconfig}", f"--namespace={SYSTEM}", *arguments],
                stdout=output,
                stderr=output,
            )

    def words(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def get(self, path: str) -> tuple[int, str]:
        """Ask its HTTP server; status 0 if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """The value of a metric; 0 if there is none."""
        lines = self.get("/metrics")[1].splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def wait_ready(self) -> None:
        """Wait until it is ready."""
        until(lambda: self._alive() and self.get("/readyz")[0] == 200, f"ready: {self.name}", 30)

    def wait_leading(self, seconds: float = 30) -> None:
        """Wait until it leads and tends."""
        until(lambda: self._alive() and " tends " in self.words(), f"leading: {self.name}", seconds)

    def _alive(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended with {self.process.returncode}\n{self.words()}")
        return True

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(20)


Start = Callable[..., Controller]


@pytest.fixture(scope="module")
def account(api: Api) -> Path:
    """A kubeconfig with the rights of the controller's service account, as the manifests give them."""
    settings = Settings()
    for part in (Part.NAMESPACE, Part.RBAC):
        api.put_all(manifests.render(part, settings))
    return api.account(SYSTEM, "k8slan-controller")


@pytest.fixture
def start(account: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts controllers: ``start("one", "--webhook=…")``; all have ended after the test."""
    running: list[Controller] = []

    def make(name: str = "one", *arguments: str) -> Controller:
        running.append(Controller(account, tmp_path, name, *arguments))
        return running[-1]

    yield make
    for controller in running:
        if controller.process.poll() is None:
            controller.end()
