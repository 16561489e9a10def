"""A thousand nodes on one API server: what a join costs, who hears of it, and what that takes (docs/scaling.md)."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from k8slan_cli import limits
from tests.bench.rows import Row

if TYPE_CHECKING:
    from tests.bench.fleet.server import Server


def rows(nodes: int = 1000, lans: int = 300, tended: int = 1000) -> Iterator[Row]:
    """The figures of a fleet of ``nodes`` nodes with ``lans`` LANs, and of a controller with ``tended`` others."""
    from tests.bench.fleet import controller, labs, one, ports  # lone.py is in this package too, and is to load little

    limits.raise_own()
    logging.getLogger("k8slan_cli").setLevel(logging.ERROR)  # a thousand agents whose API server goes say so
    parts: Sequence[Callable[[Server, Path], AsyncIterator[Row]]] = (
        lambda server, folder: controller.rows(server, folder, tended),
        lambda server, folder: one.rows(server, folder, nodes),
        lambda server, folder: ports.rows(server, folder, min(ports.PORTS, 10 * nodes)),
        lambda server, folder: labs.rows(server, folder, nodes, lans, min(labs.CHURN_SECONDS, nodes)),
    )
    for part in parts:
        with _server() as server, tempfile.TemporaryDirectory(prefix="k8slan-fleet-") as folder:
            yield from driven(part(server, Path(folder)))


@contextmanager
def _server() -> Iterator[Server]:
    from tests.bench.fleet.server import Server

    server = Server(_say)
    try:
        yield server
    finally:
        server.close()


def driven(found: AsyncIterator[Row]) -> Iterator[Row]:
    """The rows of a benchmark that runs in an event loop, each as it comes."""
    with asyncio.Runner() as runner:

        async def more() -> Row | None:
            return await anext(found, None)

        while row := runner.run(more()):
            yield row


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
