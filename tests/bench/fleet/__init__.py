"""A thousand nodes and a thousand LANs: what a join costs, who hears of it, and what that takes (scaling.md)."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tests.bench.fleet import controller
from tests.bench.fleet.server import Server
from tests.bench.rows import Row


def rows(nodes: int = 1000, lans: int = 1000) -> Iterator[Row]:
    """The figures of a fleet of ``nodes`` nodes, with up to ``lans`` LANs."""
    with tempfile.TemporaryDirectory(prefix="k8slan-fleet-") as folder:
        server = Server(_say)
        try:
            yield from _driven(controller.rows(server, Path(folder), lans))
        finally:
            server.close()


def _driven(found: AsyncIterator[Row]) -> Iterator[Row]:
    """The rows of a benchmark that runs in an event loop, each as it comes."""
    with asyncio.Runner() as runner:

        async def more() -> Row | None:
            return await anext(found, None)

        while row := runner.run(more()):
            yield row


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
