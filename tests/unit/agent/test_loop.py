"""A LAN's loop: what it keeps in mind between passes. They are played, so nothing is done to the machine."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.agent import loop as loops
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.agent.passes import Aim, Outcome, Self
from k8slan_cli.agent.store import AttachmentRecords
from k8slan_cli.errors import KernelError
from k8slan_cli.lan.model import LanRef
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


def _ignore(_loop: LanLoop) -> None:
    pass
