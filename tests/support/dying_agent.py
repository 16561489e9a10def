"""An agent that is killed at a step: ``python -m tests.support.dying_agent VERB:CONTAINER:STEP node-agent …``.

It counts its steps from the moment that a request VERB (add, delete) comes for CONTAINER, and ends at the STEP-th as
``kill -9`` ends it. A step is whatever changes something outside the process: an
operation on the node, each of the two halves of mounting a namespace, a record that is written or removed, an IPAM
plugin that is run, each before and after.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from k8slan_cli.agent import attach, ipam, passes, store
from k8slan_cli.net import netns


class _Fate:
    def __init__(self, verb: str, container: str, step: int) -> None:
        self.verb = verb
        self.container = container
        self.left = step
        self.armed = False

    def step(self) -> None:
        if self.armed:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _around(fate: _Fate, owner: Any, name: str, first: str = "") -> None:
    """Count a step before and after every call of a function; if ``first`` is given, with that as first argument."""
    function: Callable[..., Any] = getattr(owner, name)

    def counted(*arguments: Any, **options: Any) -> Any:
        counts = first in ("", arguments[0])
        if counts:
            fate.step()
        result = function(*arguments, **options)
        if counts:
            fate.step()
        return result

    setattr(owner, name, counted)


def _around_ipam(fate: _Fate) -> None:
    call = ipam.Ipam._call

    async def counted(*arguments: Any) -> Any:
        fate.step()
        result = await call(*arguments)
        fate.step()
        return result

    ipam.Ipam._call = counted  # type: ignore[method-assign]


def _arm(fate: _Fate) -> None:
    request = getattr(attach.Attacher, fate.verb)

    async def arming(self: attach.Attacher, asked: Any, *rest: Any) -> Any:
        fate.armed = asked.container == fate.container
        result = await request(self, asked, *rest)
        fate.step()  # all is done, and the answer is not sent
        fate.armed = False
        return result

    setattr(attach.Attacher, fate.verb, arming)


def main() -> int:
    """Be an agent until the end that the first argument sets."""
    verb, container, step = sys.argv.pop(1).split(":")
    fate = _Fate(verb, container, int(step))
    _arm(fate)
    _around_ipam(fate)
    _around(fate, passes, "execute")
    _around(fate, netns, "_call", "mount")
    _around(fate, netns, "_call", "umount2")
    _around(fate, store, "write_whole")
    _around(fate, store.AttachmentRecords, "delete")
    from k8slan_cli.__main__ import main as agent

    return agent()


if __name__ == "__main__":
    sys.exit(main())
