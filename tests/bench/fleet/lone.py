"""An agent in a process of its own, as it is on a node: for its memory and its CPU.

It is a node of the fleet that works out everything, with its records on a disk, and has loaded what the DaemonSet's
agent has. ``python -m tests.bench.fleet.lone KUBECONFIG FOLDER NUMBER NAMESPACE/LAN …`` runs until its standard
input ends.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from k8slan_cli.lan.model import LanRef
from tests.bench.fleet import usage
from tests.bench.fleet.access import as_agent
from tests.bench.fleet.node import Node, Place, Thinking

if TYPE_CHECKING:
    from tests.bench.fleet.fleet import Fleet

_SECONDS = 60.0


class Lone:
    """The process, as the fleet sees it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return usage.cpu(self._pid)

    def memory(self) -> float:
        """Resident, in MB."""
        return usage.memory(self._pid)


@asynccontextmanager
async def lone(fleet: Fleet, number: int, lans: Iterable[LanRef]) -> AsyncIterator[Lone]:
    """One more node, attached to these LANs, for the body of a block."""
    await fleet.add_node(Place(number))
    arguments = [str(fleet.server.kubeconfig), str(fleet.folder), str(number), *map(str, lans)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.fleet.lone", *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        if await asyncio.wait_for(process.stdout.readline(), _SECONDS) != b"attached\n":
            raise RuntimeError("the agent in a process of its own has ended; its words are above")
        yield Lone(process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _run(kubeconfig: Path, folder: Path, place: Place, wanted: list[str]) -> None:
    from k8slan_cli.agent import devices, diagnostics, run  # noqa: F401 - a real one has loaded these, too
    from k8slan_cli.kubelet import plugins  # noqa: F401

    logging.getLogger("k8slan_cli").setLevel(logging.ERROR)
    node = Node(place, as_agent(kubeconfig, place.name), folder, Thinking)
    await node.start()
    for text in wanted:
        await node.sight(LanRef.parse(text))
        await node.attach(LanRef.parse(text))
    sys.stdout.write("attached\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await node.close()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), Path(sys.argv[2]), Place(int(sys.argv[3])), sys.argv[4:]))
