"""What is wrong with the agent itself, though LANs and attachments work: such as a port that another program has.

It is logged when it begins and when it ends, told to ``k8slan doctor``, to the cluster with this node's VTEPs, and by
an event about the agent's pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from k8slan_cli.errors import K8slanError
from k8slan_cli.serve.server import AddressTaken

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 5.0
"""How long to wait before a port is tried again."""
T = TypeVar("T")


class Troubles:
    """Troubles by what they are about, each an error with what to do."""

    def __init__(self) -> None:
        self._now: dict[str, K8slanError] = {}
        self.on_change: list[Callable[[], None]] = []
        """Called when a trouble begins, changes or ends."""

    def __iter__(self) -> Iterator[tuple[str, K8slanError]]:
        return iter(sorted(self._now.items()))

    def __str__(self) -> str:
        return "; ".join(f"{what}: {error.message}" for what, error in self)

    def begin(self, what: str, error: K8slanError) -> None:
        """Take note of a trouble."""
        if str(self._now.get(what, "")) == str(error):
            return
        log.error("%s: %s", what, error)
        self._now[what] = error
        self._tell()

    def end(self, what: str) -> None:
        """Take note that a trouble is over, if it was there."""
        if self._now.pop(what, None):
            log.info("%s: all is well again", what)
            self._tell()

    def _tell(self) -> None:
        for callback in self.on_change:
            callback()

    async def until_free(self, what: str, listen: Callable[[], T], holder: Callable[[], str]) -> T:
        """Return what ``listen`` returns, once no other program has its port; ``holder`` says which one does.

        Raises:
            K8slanError: it cannot be for another reason.

        """
        while True:
            try:
                found = listen()
            except AddressTaken as error:
                who = await asyncio.to_thread(holder)
                taken = K8slanError(f"{error.message}, by {who}" if who else error.message, hint=error.hint)
                self.begin(what, taken)
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                self.end(what)
                return found
