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
ACCOUNT = "k8slan-controller"


class Controller:
    """One process, in a pod as far as it can tell."""

    def __init__(self, api: Api, folder: Path, name: str, *arguments: str, account: str = ACCOUNT) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        pod, environment = api.pod(SYSTEM, account)
        command = [sys.executable, "-m", "k8slan_cli", "controller", f"--http={self.address}", f"--name={name}"]
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [*pod, *command, f"--namespace={SYSTEM}", *arguments], env=environment, stdout=output, stderr=output
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


def install(api: Api) -> None:
    """Create the controller's namespace, and its rights as the manifests give them."""
    settings = Settings()
    for part in (Part.NAMESPACE, Part.RBAC):
        api.put_all(manifests.render(part, settings))


@pytest.fixture(scope="module")
def account(api: Api) -> str:
    """The controller's service account with its rights."""
    install(api)
    return ACCOUNT


@pytest.fixture
def start(api: Api, account: str, tmp_path: Path) -> Iterator[Start]:
    """Starts controllers: ``start("one", "--webhook=…")``; all have ended after the test."""
    running: list[Controller] = []

    def make(name: str = "one", *arguments: str) -> Controller:
        running.append(Controller(api, tmp_path, name, *arguments, account=account))
        return running[-1]

    yield make
    for controller in running:
        if controller.process.poll() is None:
            controller.end()
