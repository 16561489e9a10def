"""An event loop whose clock jumps to the next timer as soon as nothing else is to be done: hours pass in no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Never waits: what would have been waited is added to ``passed``."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now."""
        found = super().select(0)
        if not found and timeout is None:
            raise RuntimeError("everybody waits, and no timer is set")
        if not found and timeout and timeout > 0:
            self.passed += timeout
        return found


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """The loop; ``time`` begins at 1000."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds."""
        return 1000.0 + self._jumping.passed


def run(main: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, on a loop of this kind."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(main)
