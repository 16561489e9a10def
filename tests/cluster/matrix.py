"""Some cluster tests on other versions of Kubernetes and multus than the usual ones: ``make matrix``.

    make matrix                      every row; the first time each Kubernetes is built, which takes minutes
    make matrix ARGS="1.30 thick"    the rows that have all of these words

A row is a run of pytest with what the cluster is made of in its environment (harness/versions.py). The tests are those
that need most of Kubernetes and of multus: rules in CEL, admission policies, device plugins, attachments; and cnitool,
the CNI project's client. What is printed at the end is a table for docs/compatibility.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness.versions import CNITOOL, MULTUS

CHECKOUT = Path(__file__).parents[2]

TESTS = (
    "tests/cluster/test_harness.py::test_two_nodes_of_the_pinned_version_are_ready",
    "tests/cluster/test_harness.py::test_multus_attaches_a_second_network",
    "tests/cluster/test_k8slan.py",
    "tests/cluster/test_dynamic.py",
    "tests/cluster/test_frames.py",
    "tests/cluster/test_ipam.py::test_pods_have_addresses_of_host_local_and_static_and_give_them_back",
    "tests/cluster/referee.py",
    "tests/cluster/api/test_crd.py",
    "tests/cluster/api/test_underlay.py",
    "tests/cluster/api/test_vteps.py",
)


_NEWER = {"1.30": ("tests/cluster/api/test_crd.py::test_each_node_keeps_its_own_entry_of_the_status",)}
"""Tests that take more than a version's own kubectl can do: in this one it applies no subresource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a cluster is made of."""

    kubernetes: str
    multus: str
    """``thin`` or ``thick``."""

    def __str__(self) -> str:
        return f"Kubernetes {self.kubernetes}, multus {MULTUS} {self.multus}"


ROWS = tuple(
    Row(kubernetes=kubernetes, multus=multus)
    for kubernetes in ("1.30.14", "1.34.4", "1.35.4")
    for multus in ("thin", "thick")
)
"""The oldest that k8slan takes, the usual one, and the newest whose kubelet takes Debian 12's containerd 1.6."""


def run(row: Row) -> tuple[bool, str]:
    """Run a row's tests; whether all have passed, and how many of them."""
    environment = {
        **os.environ,
        "K8SLAN_KUBERNETES": row.kubernetes,
        "K8SLAN_MULTUS": row.multus,
        "K8SLAN_REQUIRE": "cluster",
    }
    beyond = _NEWER.get(row.kubernetes.rpartition(".")[0], ())
    command = [sys.executable, "-m", "pytest", "-q", *TESTS, *(f"--deselect={test}" for test in beyond)]
    lines = []
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return running.returncode == 0, counted(lines[-1] if lines else "")


def counted(line: str) -> str:
    """The numbers of pytest's last line: ``45 passed, 1 failed``."""
    return ", ".join(re.findall(r"\d+ (?:passed|failed|errors?)", line)) or "nothing ran"


def table(results: Sequence[tuple[Row, str]]) -> str:
    """What was measured, as a table of Markdown."""
    head = "| Kubernetes | multus | cnitool | result |\n|---|---|---|---|\n"
    return head + "".join(
        f"| {row.kubernetes} | {MULTUS} {row.multus} | {CNITOOL} | {result} |\n" for row, result in results
    )


def main(words: Sequence[str]) -> int:
    """Run the rows that have all of the words; exit status 1 if one of them has failed."""
    rows = [row for row in ROWS if all(word in str(row) for word in words)]
    if not rows:
        print(f"no row has {' and '.join(words)}; there are:\n  " + "\n  ".join(map(str, ROWS)), file=sys.stderr)
        return 2
    results, passed = [], True
    for row in rows:
        print(f"== {row}", flush=True)
        started = time.monotonic()
        good, result = run(row)
        passed = passed and good
        results.append((row, result))
        print(f"== {row}: {result} in {time.monotonic() - started:.0f} s", flush=True)
    print(table(results))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
