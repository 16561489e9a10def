"""What agent, controller, page and live views have in common: they stay."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import Any

_GARBAGE = (700, 10, 10)
"""Python's own. A command looks seldom (``__main__``): what stays would grow by a third before it looks through all."""


def stay() -> None:
    """Look for garbage as often as Python does: from now on it would pile up."""
    gc.set_threshold(*_GARBAGE)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run work that stays in an event loop, to its end."""
    import asyncio

    stay()
    asyncio.run(work)
