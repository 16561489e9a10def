"""How long people wait for commands: help, lists, pictures and checks of a cluster of two nodes; what `lan top` costs.

On a cluster of two nodes (tests/cluster/harness), which share this machine with the command: wall time from its start
to its end, the least and the median of several, all commands in turn. Ten LANs, and ten in another namespace, one of
them with 300 attachments: 30 pods with ten interfaces each.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from k8slan_cli.lan.names import lan_nad
from tests.bench.rows import Row, quantile
from tests.cluster import product
from tests.cluster.harness import Cluster
from tests.cluster.harness.pods import manifest
from tests.support import names

PODS, INTERFACES, LANS = 30, 10, 10
BIG, SPACE, ALONE = "big", "bench-workstation", "bench-alone"
_TIMES = 15
_WATCHED_SECONDS, _SETTLED_SECONDS = 30.0, 6.0
_K8SLAN = (str(Path(sys.executable).with_name("k8slan")),)


def rows() -> Iterator[Row]:
    """The figures of a workstation."""
    cluster = Cluster.up(names.PREFIX, images=(product.image(_say),), say=_say)
    try:
        product.install(cluster)
        _fill(cluster)
        yield from figures(cluster.kubeconfig)
    finally:
        cluster.down()


def figures(kubeconfig: Path) -> Iterator[Row]:
    """The figures on a cluster that has the LANs."""
    environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # pip compiles what it installs
    python = (sys.executable, "-c")
    bare, typer, start = _waits([(*python, ""), (*python, "import typer"), (*_K8SLAN, "--help")], environment)
    yield Row("python -c ''", _milliseconds(bare), " ms")
    yield Row("k8slan --help", _milliseconds(start), " ms")
    yield Row("python -c 'import typer', in bare Pythons", quantile(typer, 0.5) / quantile(bare, 0.5), "×")
    yield Row("k8slan --help, in bare Pythons", quantile(start, 0.5) / quantile(bare, 0.5), "×", 6)
    attachments = PODS * INTERFACES
    commands = (
        (f"lan list, {LANS} LANs", ("lan", "list", "-n", SPACE), 0.4),
        ("lan inspect, one LAN with a pod", ("lan", "inspect", "lone", "-n", ALONE), 0.5),
        (f"lan inspect, {LANS} LANs at once", ("lan", "inspect", *_names("lone"), "-n", ALONE), 0.5),
        (f"lan inspect, {attachments} attachments", ("lan", "inspect", BIG, "-n", SPACE), 1),
        ("doctor, two nodes", ("doctor",), 1.5),
    )
    times = _waits([(*_K8SLAN, *words) for _, words, _ in commands], environment)
    for (name, _, limit), took in zip(commands, times, strict=True):
        yield Row(f"{name}, least", min(took) * 1000, " ms", limit * 1000)
        yield Row(f"{name}, median", _milliseconds(took), " ms")
    yield Row(f"lan top, {attachments} attachments", 100 * _watched(environment), " % of a core", 5)


def _milliseconds(times: list[float]) -> float:
    return quantile(times, 0.5) * 1000


def _fill(cluster: Cluster) -> None:
    for space in (SPACE, ALONE):
        cluster.kubectl("create", "namespace", space)
    kubectl = cluster.kubectl.within(SPACE)
    kubectl.wait_created("serviceaccount", "default")
    alone = cluster.kubectl.within(ALONE)
    alone.wait_created("serviceaccount", "default")
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}
    _lans(environment, SPACE, BIG)
    _lans(environment, ALONE, "lone")
    pods = [
        manifest(f"p{number}", networks=[f"{lan_nad(BIG)}@eth{1 + place}" for place in range(INTERFACES)])
        for number in range(PODS)
    ]
    kubectl.apply(*pods)
    alone.apply(manifest("p", networks=f"{lan_nad('lone')}@eth1"))
    for each in (kubectl, alone):
        each.wait("--for=condition=Ready", "pods", "--all", timeout=600)


def _names(first: str) -> list[str]:
    return [first, *(f"lan{number}" for number in range(1, LANS))]


def _lans(environment: dict[str, str], space: str, first: str) -> None:
    for lan in _names(first):
        command = [*_K8SLAN, "lan", "create", lan, "--dynamic", "--wait", "-n", space]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


def _waits(commands: list[tuple[str, ...]], environment: dict[str, str]) -> list[list[float]]:
    """Run the commands in turn, several times; the seconds of each."""
    took: list[list[float]] = [[] for _ in commands]
    for command in commands:
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    for _ in range(_TIMES):
        for command, times in zip(commands, took, strict=True):
            begun = time.monotonic()
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
            times.append(time.monotonic() - begun)
    return took


def _watched(environment: dict[str, str]) -> float:
    """The share of a core that `lan top` takes on a terminal of 50 lines, once it has begun."""
    screen, line = pty.openpty()
    command = (*_K8SLAN, "lan", "top", BIG, "-n", SPACE)
    environment |= {"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}
    with subprocess.Popen(command, env=environment, stdin=line, stdout=line, stderr=line) as process:
        os.close(line)
        try:
            _drain(screen, _SETTLED_SECONDS)
            before = _cpu(process.pid)
            _drain(screen, _WATCHED_SECONDS)
            return (_cpu(process.pid) - before) / _WATCHED_SECONDS
        finally:
            process.kill()
            os.close(screen)


def _drain(screen: int, seconds: float) -> None:
    """Read what a terminal is told, for so long."""
    os.set_blocking(screen, False)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([screen], [], [], left)[0]:
            os.read(screen, 1 << 16)


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
