"""``make bench``: the benchmarks of one machine, each figure a row ``name  value  reach  ok|short``.

Figures are ratios of things measured in turn within one run, so that they say something on a machine that is busy with
other things too. Exit status 1 when one falls short. ``python -m tests.bench cni`` runs one of them; ``cluster`` has to
be asked for (``make bench-cluster``), since it needs a Kubernetes and builds one. ``--list`` says what each of them
measures, and runs none.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from datetime import UTC, datetime

from tests.bench.rows import Row, table

BENCHMARKS = ("cni", "traffic", "scale")
APART = ("cluster",)


def main(wanted: list[str]) -> int:
    """Run the benchmarks of these names, or all of them."""
    names = [name for name in wanted if name != "--list"] or BENCHMARKS
    if unknown := set(names) - {*BENCHMARKS, *APART}:
        sys.stderr.write(f"no such benchmark: {', '.join(sorted(unknown))} (of {', '.join(BENCHMARKS + APART)})\n")
        return 2
    benchmarks = {name: importlib.import_module(f"tests.bench.{name}") for name in names}
    if "--list" in wanted:
        for name, benchmark in benchmarks.items():
            sys.stdout.write(f"{name:<8} {(benchmark.__doc__ or '').splitlines()[0]}\n")
        return 0
    if os.geteuid():
        sys.stderr.write("the benchmarks need root: they make network namespaces\n")
        return 2
    rows: list[Row] = []
    for benchmark in benchmarks.values():
        for row in benchmark.rows():
            rows.append(row)
            sys.stderr.write(f"{row}\n")
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    sys.stdout.write(f"\n{datetime.now(UTC):%Y-%m-%d}, {machine}\n{table(rows)}\n")
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
