"""What agent, controller and page have in common: they stay."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

_GARBAGE = (700, 10, 10)
"""Python's own. A command looks seldom (``__main__``): what stays would grow by a third before it looks through all."""


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run work that lasts in an event loop, to its end."""
    gc.set_threshold(*_GARBAGE)
    asyncio.run(work)
