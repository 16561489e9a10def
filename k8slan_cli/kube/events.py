"""Events about LANs and pods, for ``kubectl describe`` and ``kubectl events``: what a person would ask about.

The same event again within ten minutes is not another object but a higher count in the first one's ``series``, as the
API wants it (events.k8s.io/v1). An event that cannot be written is not worth an error: it is logged.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

from k8slan_cli.kube.client import MERGE, ApiError, Client
from k8slan_cli.kube.kinds import EVENTS
from k8slan_cli.lan.model import API_VERSION, KIND, LanRef

log = logging.getLogger(__name__)

_SAME_SECONDS = 600.0
_REMEMBERED = 256
_MAX_NOTE = 1024
_API_VERSIONS = {KIND: API_VERSION, "Pod": "v1"}
"""What events may be about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to an object: ``reason`` in a word, ``note`` in a sentence. A ``warning`` wants attention."""

    kind: str = KIND
    ref: LanRef
    uid: str
    reason: str
    note: str
    warning: bool = False


@dataclass(slots=True)
class _Told:
    name: str
    last: float
    count: int = 1


class Events:
    """Writes events. ``component`` is who says it (k8slan-controller, …), ``instance`` which one of them."""

    def __init__(self, client: Client, component: str, instance: str) -> None:
        self._client = client
        self._component = component
        self._instance = instance or os.uname().nodename
        self._told: OrderedDict[Event, _Told] = OrderedDict()

    async def tell(self, event: Event) -> None:
        """Write an event, or count it once more."""
        told = self._told.get(event)
        try:
            if told and time.monotonic() - told.last < _SAME_SECONDS:
                await self._again(event, told)
            else:
                await self._first(event)
        except ApiError as error:
            log.warning("the event %s of %s %s is not written: %s", event.reason, event.kind, event.ref, error)

    async def _first(self, event: Event) -> None:
        name = f"{event.ref.name[:200]}.{secrets.token_hex(8)}"
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": event.ref.namespace},
            "eventTime": _now(),
            "reportingController": f"k8slan.io/{self._component}",
            "reportingInstance": self._instance[:128],
            "action": event.reason,
            "reason": event.reason,
            "regarding": {
                "apiVersion": _API_VERSIONS[event.kind],
                "kind": event.kind,
                "name": event.ref.name,
                "namespace": event.ref.namespace,
                "uid": event.uid,
            },
            "note": event.note[:_MAX_NOTE],
            "type": "Warning" if event.warning else "Normal",
        }
        await self._client.call("POST", EVENTS.path(event.ref.namespace), body=body)
        self._told[event] = _Told(name, time.monotonic())
        self._told.move_to_end(event)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    async def _again(self, event: Event, told: _Told) -> None:
        told.count += 1
        told.last = time.monotonic()
        body = {"series": {"count": told.count, "lastObservedTime": _now()}}
        path = EVENTS.path(event.ref.namespace, told.name)
        try:
            await self._client.call("PATCH", path, body=body, content_type=MERGE)
        except ApiError as error:
            if error.status != 404:
                raise
            del self._told[event]
            await self._first(event)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
