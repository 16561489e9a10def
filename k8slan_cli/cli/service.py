"""What agent, controller and page have in common: they stay."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from k8slan_cli import garbage


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run work that stays in an event loop, to its end."""
    import asyncio

    garbage.as_usual()
    asyncio.run(work)
