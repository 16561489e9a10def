"""Which virtual machines are behind attachments: only the pod that runs one tells, and only the API server has that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from k8slan_cli.agent.store import AttachmentRecords, Key
from k8slan_cli.errors import K8slanError
from k8slan_cli.kube.watch import Backoff
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import PodRef, VmRef
from k8slan_cli.plan.state import Attachment

log = logging.getLogger(__name__)

_LONGEST_SECONDS = 300.0
"""The longest pause before a question is asked again: an agent may lack the right to ask."""


class Vms:
    """Asks for the VM of each attachment that may be one's, once; ``on_found`` gets the LAN of one that is found."""

    def __init__(
        self,
        attachments: AttachmentRecords,
        ask: Callable[[PodRef], Awaitable[VmRef | None]],
        on_found: Callable[[list[LanRef]], None],
        pause: Callable[[float], Awaitable[object]],
    ) -> None:
        self._attachments = attachments
        self._ask = ask
        self._on_found = on_found
        self._pause = pause
        self._known: dict[Key, VmRef | None] = {}

    def of(self, attachment: Attachment, pod: PodRef, tasks: asyncio.TaskGroup) -> VmRef | None:
        """Return the VM behind an attachment, if it is known; else it is being asked for from now on."""
        if attachment.key not in self._known:
            self._known = {key: vm for key, vm in self._known.items() if self._attachments.get(key)}
            self._known[attachment.key] = None
            tasks.create_task(self._find(attachment, pod), name=f"VM of {attachment.who}")
        return self._known[attachment.key]

    async def _find(self, attachment: Attachment, pod: PodRef) -> None:
        pauses = Backoff(limit=_LONGEST_SECONDS)
        while self._attachments.get(attachment.key):
            try:
                found = await self._ask(pod)
            except K8slanError as error:
                log.info("the VM of %s is not known yet: %s", attachment.who, error)
                await self._pause(pauses.next())
                continue
            if found:
                self._known[attachment.key] = found
                self._on_found([attachment.lan])
            return
