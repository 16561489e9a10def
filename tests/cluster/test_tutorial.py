"""docs/tutorial.md as a reader follows it: each command in order, and it prints what is written there.

The tutorial's own text is the pattern: ``…`` is anything, alone on a line any number of lines. What differs from one
cluster to another (addresses, ages, latencies, names that Kubernetes makes up) is made equal on both sides.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import product
from tests.cluster.harness import Cluster
from tests.support import names

DOCS = Path(__file__).parents[2] / "docs"
PART = re.compile(
    r"^<!-- tests: (?:new pods go (?:to )?(?P<where>\w+)|(?P<way>with|without|either way)(?: KubeVirt)?) -->$"
    r"|^```console\n(?P<block>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SECONDS = 150.0
SETTLED = 30.0
"""How long a command that only looks may be repeated until it sees what is written: status follows within seconds."""
LOOKING = re.compile(r"^(k8slan (doctor|lan (list|inspect|graph|probe) )|kubectl (exec|wait|rollout) )")

CHANGING = (
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r"\bfe80:[0-9a-f:]*[0-9a-f]\b", "LINKLOCAL"),
    (r"\b\d+(\.\d+){3}\b", "ADDRESS"),
    (r"\b\d+(\.\d+)?( ms|[smhd](\d+[smhd])?)(?!\w)", "TIME"),
    (r"\b\d+(\.\d+)? [kMGT]?B\b", "BYTES"),
    (r"\b\d+ sent, \d+ received\b", "FRAMES"),
    (r"\btap\d+\b", "TAP"),
    (r"-[b-z0-9]{6,10}-[b-z0-9]{5}\b", "-POD"),
    (r"(  +(✓ )?\d+)+$", " NUMBERS"),
    (r"─+", "─"),
    (r"═+", "═"),
    (r" +", " "),
    (r" $", ""),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command of the tutorial, what it prints there, and the node that pods made by it go to ("anywhere").

    ``way`` is for whom it is: "with" KubeVirt, "without" it, "either way".
    """

    command: str
    printed: str
    where: str
    way: str


def steps() -> Iterator[Step]:
    """All of them, in their order."""
    where, way = "anywhere", "either way"
    for part in PART.finditer((DOCS / "tutorial.md").read_text()):
        where, way = part["where"] or where, part["way"] or way
        if part["block"] is None:
            continue
        before, *commands = re.split(r"^\$ ", part["block"], flags=re.MULTILINE)
        assert before == "", f"a console block begins with {before!r}"
        for text in commands:
            command, _, printed = text.partition("\n")
            yield Step(command=command, printed=printed, where=where, way=way)


def alike(text: str) -> str:
    """A text with all that changes made equal."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def pattern(printed: str) -> str:
    """The regular expression of what the tutorial shows."""
    lines = (
        "(.*\n)*" if line.strip() == "…" else re.escape(line).replace("…", ".*") + "\n"
        for line in alike(printed).splitlines()
    )
    return "".join(lines)


@pytest.fixture
def empty(buildable: None, say: Callable[[str], None]) -> Iterator[Cluster]:  # noqa: ARG001 - comes first
    """Two nodes without k8slan, which have its image."""
    cluster = Cluster.up(f"{names.PREFIX}tut", images=(product.image(say),))
    yield cluster
    cluster.down()


@dataclass(slots=True, kw_only=True)
class Reader:
    """Somebody who types what the tutorial says into one shell."""

    cluster: Cluster
    folder: Path
    exported: str = ""
    where: str = "anywhere"

    def follow(self, step: Step) -> None:
        """Do a step, and compare. What only looks is repeated while it does not see it yet."""
        self._place(step.where)
        if step.command.startswith("export "):
            self.exported += f"{step.command}\n"
        wanted, deadline = pattern(step.printed), time.monotonic() + SETTLED
        fails = re.search(r"^k8slan: |frame classes failed", step.printed, re.MULTILINE) is not None
        while True:
            status, found = self._run(step.command)
            if (status != 0) == fails and re.fullmatch(wanted, alike(found)):
                return
            if not LOOKING.match(f"{step.command} ") or time.monotonic() > deadline:
                pytest.fail(f"$ {step.command}\nexit status {status}\n{found}\n--- but the tutorial:\n{step.printed}")

    def _run(self, command: str) -> tuple[int, str]:
        script = f"set -o pipefail\n{self.exported}{command}\n"
        path = f"{Path(sys.executable).parent}:{self.cluster.kubectl.executable.parent}:{os.environ['PATH']}"
        environment = {"KUBECONFIG": str(self.folder / "kubeconfig"), "PATH": path, "COLUMNS": "120"}
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return done.returncode, done.stdout

    def _place(self, where: str) -> None:
        """Let the scheduler put new pods there only."""
        if where != self.where:
            for node in self.cluster.nodes:
                self.cluster.kubectl("cordon" if where not in (node.name, "anywhere") else "uncordon", node.name)
            self.where = where


def test_the_tutorial_does_what_it_says(empty: Cluster, tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(DOCS)
    (tmp_path / "kubeconfig").write_text(empty.kubeconfig.read_text())
    before = set(empty.kubectl("get", "crd,namespaces,clusterroles", "-o", "name").split())
    reader = Reader(cluster=empty, folder=tmp_path)
    for step in steps():
        if step.way != "with":
            print(f"$ {step.command}", flush=True)
            reader.follow(step)
    assert (tmp_path / "ping.pcapng").read_bytes()[:4] == bytes.fromhex("0a0d0d0a")
    page = (tmp_path / "lans.html").read_text()
    assert all(word in page for word in ("<svg", "blue-vm", "meadow", "worker2"))
    assert set(empty.kubectl("get", "crd,namespaces,clusterroles", "-o", "name").split()) == before


def test_the_tutorial_shows_every_command_of_a_user() -> None:
    wanted = {"create", "list", "inspect", "graph", "example", "add-spoke", "remove-spoke", "delete", "probe"}
    wanted |= {"capture", "link"}
    text = "\n".join(step.command for step in steps())
    assert wanted <= set(re.findall(r"k8slan lan ([a-z-]+)", text))
    assert {"install", "doctor", "uninstall"} <= set(re.findall(r"k8slan ([a-z-]+)", text))


@pytest.mark.parametrize(
    ("printed", "found", "same"),
    [
        ("blue  10000  2  1s\n", "blue  10000  2  12s\n", True),
        ("blue  10000  2  1s\n", "blue  10000  3  12s\n", False),
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("a\n…\nd\n", "a\nb\n", False),
        ("pod b-5b4d849457-xbjjz at 8a:e5:e3:20:a4:5f\n", "pod b-7444bdb594-98hdz at ea:f4:8a:a1:af:15\n", True),
        ("time=1.5 ms\n", "time=12.31 ms\n", True),
        ("LLDP  50   51\n", "LLDP  1150 x\n", False),
        ("up  766 B  60 B  9 sent, 1 received  0  0\n", "up  1.2 kB  0 B  12 sent, 0 received  0  0\n", True),
        ("", "a warning\n", False),
    ],
)
def test_a_difference_that_matters_is_seen(printed: str, found: str, same: bool) -> None:
    assert (re.fullmatch(pattern(printed), alike(found)) is not None) == same
