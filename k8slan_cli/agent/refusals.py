"""Why a LAN cannot be had on this node, where no attachment tells: the ADD that would have made it has failed.

It is told for a while only. A runtime tries again as long as the pod is there, so that it is said anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from k8slan_cli.lan.model import LanRef

_SECONDS = 120.0


class Refusals:
    """The last failure of an ADD, by LAN."""

    def __init__(self) -> None:
        self.on_change: Callable[[Collection[LanRef]], None] = lambda _lans: None
        self._found: dict[LanRef, tuple[str, asyncio.TimerHandle]] = {}

    def lans(self) -> Collection[LanRef]:
        """Return the LANs of which an ADD has failed lately."""
        return self._found.keys()

    def get(self, lan: LanRef) -> str:
        """Return why a LAN cannot be had, "" if no ADD has failed for that lately."""
        return self._found[lan][0] if lan in self._found else ""

    def note(self, lan: LanRef, words: str) -> None:
        """Take in why an ADD has failed."""
        self.forget(lan)
        self._found[lan] = words, asyncio.get_running_loop().call_later(_SECONDS, self.forget, lan)
        self.on_change([lan])

    def forget(self, lan: LanRef) -> None:
        """Take in that an ADD has worked."""
        if found := self._found.pop(lan, None):
            found[1].cancel()
            self.on_change([lan])
