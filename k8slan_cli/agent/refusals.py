"""Why pods do not get onto a LAN on this node, which their attachments cannot tell: their ADDs have failed.

It is told for a while only. A runtime tries again as long as the pod is there, so that it is said anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from k8slan_cli.lan.model import LanRef

_SECONDS = 120.0


class Refusals:
    """The last failure of an ADD, by LAN and by who was to be attached: each try of a pod has another container."""

    def __init__(self) -> None:
        self.on_change: Callable[[Collection[LanRef]], None] = lambda _lans: None
        self._found: dict[LanRef, dict[str, tuple[str, asyncio.TimerHandle]]] = {}

    def lans(self) -> Collection[LanRef]:
        """Return the LANs of which an ADD has failed lately."""
        return self._found.keys()

    def get(self, lan: LanRef) -> str:
        """Return why a pod does not get onto a LAN, "" if no ADD has failed for that lately."""
        return next((words for words, _ in reversed(self._found.get(lan, {}).values())), "")

    def note(self, lan: LanRef, who: str, words: str) -> None:
        """Take in why an ADD has failed."""
        self.forget(lan, who)
        later = asyncio.get_running_loop().call_later(_SECONDS, self.forget, lan, who)
        self._found.setdefault(lan, {})[who] = words, later
        self.on_change([lan])

    def forget(self, lan: LanRef, who: str) -> None:
        """Take in that an ADD has worked."""
        found = self._found.get(lan, {})
        if refusal := found.pop(who, None):
            refusal[1].cancel()
            if not found:
                del self._found[lan]
            self.on_change([lan])
