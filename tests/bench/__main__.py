"""``make bench``: the benchmarks of one machine, each figure a row ``name  value  reach  ok|short``.

Figures are ratios of things measured in turn within one run, so that they say something on a machine that is busy with
other things too. Exit status 1 when one falls short. ``python -m tests.bench cni`` runs one of them. ``cluster``
(``make bench-cluster``), ``lab``, ``fleet`` and ``workstation`` have to be asked for, since they need a Kubernetes and
build one, and so has ``page``, which needs a browser. ``--list`` says what each of them measures, and runs none.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from datetime import UTC, datetime

from tests.bench.rows import Row, table

BENCHMARKS = ("cni", "traffic", "scale")
APART = ("cluster", "fleet", "lab", "page", "workstation")
SIZES = {"nodes": "fleet", "lans": "fleet", "tended": "fleet", "calls": "cni"}
"""What can be set of which benchmark."""


def main() -> int:
    """Run the benchmarks that are named, or all that need no more than this machine."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS + APART)}")
    parser.add_argument("--list", action="store_true", help="say what each of them measures")
    for size, whose in SIZES.items():
        parser.add_argument(f"--{size}", type=int, metavar="COUNT", help=f"of {whose}")
    wanted = parser.parse_args()
    names = wanted.names or BENCHMARKS
    if unknown := set(names) - {*BENCHMARKS, *APART}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))} (of {', '.join(BENCHMARKS + APART)})")
    sizes = {size: count for size in SIZES if (count := getattr(wanted, size)) is not None}
    for size in sizes:
        if list(names) != [SIZES[size]]:
            parser.error(f"--{size} is of {SIZES[size]} alone")
    benchmarks = {name: importlib.import_module(f"tests.bench.{name}") for name in names}
    if wanted.list:
        for name, benchmark in benchmarks.items():
            sys.stdout.write(f"{name:<8} {(benchmark.__doc__ or '').splitlines()[0]}\n")
        return 0
    if os.geteuid():
        sys.stderr.write("the benchmarks need root: they make network namespaces\n")
        return 2
    rows: list[Row] = []
    for benchmark in benchmarks.values():
        for row in benchmark.rows(**sizes):
            rows.append(row)
            sys.stderr.write(f"{row}\n")
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    sys.stdout.write(f"\n{datetime.now(UTC):%Y-%m-%d}, {machine}\n{table(rows)}\n")
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
