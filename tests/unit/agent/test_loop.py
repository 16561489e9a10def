"""A LAN's loop: what it keeps in mind between passes. They are played, so nothing is done to the machine."""

from __future__ import annotations

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.agent import loop as loops
from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.agent.passes import Aim, Outcome, Self
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.store import AttachmentRecords
from k8slan_cli.errors import KernelError
from k8slan_cli.lan import links
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.plan.moves import Move
from k8slan_cli.plan.state import absent

MOVES = [Move(mac=f"02:00:00:00:00:0{n}", port="ap") for n in (1, 2)]


def test_moves_are_looked_at_again_after_a_pass_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Move]] = []
    faults = [KernelError(errno.EBUSY, "refused"), None, None]

    def played(_node: object, aim: Aim, _pods: object) -> Outcome:
        seen.append(list(aim.moves))
        return Outcome(desired=absent("blue"), unplanned=faults.pop(0))

    monkeypatch.setattr(loops, "run_pass", played)

    async def play() -> None:
        node: Any = None
        loop = LanLoop(
            LanRef(namespace="lab", name="blue"), "blue", node, Self(name="n1"), AttachmentRecords(tmp_path), _ignore
        )
        loop.see(loop.around, MOVES[:1])
        await loop.wake()
        loop.see(loop.around, MOVES[1:])
        await loop.wake()
        await loop.wake()
        loop.close()

    asyncio.run(play())
    assert seen[0] == MOVES[:1]
    assert seen[1] == MOVES
    assert seen[2] == []


@pytest.mark.parametrize("during_the_pass", [True, False])
def test_what_is_over_ends_whenever_the_clock_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, during_the_pass: bool
) -> None:
    """In the middle of a pass, or long before its time, as the clock is set."""
    clock = [links.moment("2030-01-01T00:00:00Z").timestamp()]
    seen: list[list[str]] = []

    def played(_node: object, aim: Aim, _pods: object) -> Outcome:
        seen.append([name for name, _ in aim.lan.links] if aim.lan else [])
        clock[0] += 3600 * during_the_pass
        return Outcome(desired=absent("blue"))

    monkeypatch.setattr(loops, "run_pass", played)
    monkeypatch.setattr(loops, "_CLOCK_SECONDS", 0.01)
    monkeypatch.setattr(loops.time, "time", lambda: clock[0])

    async def play() -> None:
        node: Any = None
        ref = LanRef(namespace="lab", name="blue")
        over = asyncio.Event()

        def look(_loop: LanLoop) -> None:
            if len(seen) > 1:
                over.set()

        loop = LanLoop(ref, "blue", node, Self(name="n1"), AttachmentRecords(tmp_path), look)
        down = links.Link(down=True, until="2030-01-01T00:30:00Z")
        loop.lan = Lan(ref=ref, netns="blue", bridge="br0", vxlan="vx0", vni=1, spokes=("e1",), links=(("e1", down),))
        await loop.wake()
        clock[0] += 3600 * (not during_the_pass)
        async with asyncio.timeout(5):
            await over.wait()
        loop.close()

    asyncio.run(play())
    assert seen == [["e1"], []]


def _ignore(_loop: LanLoop) -> None:
    pass


class Threadless(ThreadPoolExecutor):
    """What a pool of threads does when the kernel has no more of them."""

    left = 0

    def submit(self, *arguments: Any, **named: Any) -> Any:
        """Run something in a thread, if there is one."""
        if not self.left:
            raise RuntimeError("can't start new thread")
        return super().submit(*arguments, **named)


def test_a_loop_that_gets_no_thread_says_so_and_tries_again(tmp_path: Path) -> None:
    async def body() -> None:
        pool = Threadless(1)
        asyncio.get_running_loop().set_default_executor(pool)
        paths = Paths(tmp_path)
        paths.create()
        agent = Agent(paths, Self(name="n"))
        ref = LanRef(namespace="x", name="a")
        loop = LanLoop(ref, "a", agent.node, agent.me, agent.attachments, lambda _loop: None)
        outcome = await loop.wake()
        assert "raise the limit of processes and threads" in str(outcome.unplanned)
        pool.left = 1
        assert (await loop.wake()).trouble is None
        await agent.close()

    asyncio.run(body())
