"""What goes between an agent and the API server, counted at the agent's transport.

Bytes are those of answers' bodies, without TLS and without compression. What comes of a namespace's VTEPs is told from
what comes of LANs by the path that was asked for.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field

from k8slan_cli.kube.client import Request
from k8slan_cli.kube.kubeconfig import Access
from k8slan_cli.kube.transport import Asynchronous, _Coming

LANS, VTEPS = "lans", "vteps"


@dataclass(slots=True)
class Traffic:
    """What one agent has got, in bytes by (kind, namespace), and how long each of its writes took, in seconds.

    ``heard`` is called whenever the agent has taken in an answer, or an event of a watch. ``watches`` are the
    connections of the watches that are up.
    """

    heard: Callable[[], None] = lambda: None
    watches: set[asyncio.ReadTransport] = field(default_factory=set)
    received: Counter[tuple[str, str]] = field(default_factory=Counter)
    events: int = 0
    writes: list[float] = field(default_factory=list)

    def of(self, kind: str, namespace: str | None = None) -> int:
        """Bytes of a kind, of one namespace or of all."""
        return sum(n for (k, where), n in self.received.items() if k == kind and namespace in (None, where))


class Metered(Asynchronous):
    """The agent's own transport, with a meter on it."""

    def __init__(self, access: Access, traffic: Traffic) -> None:
        super().__init__(access)
        self._traffic = traffic

    async def send(self, request: Request) -> _Metered:  # type: ignore[override]
        """Send a request and wait for the head of its answer."""
        began = time.perf_counter()
        return _Metered(await super().send(request), request, self._traffic, began)


class _Metered:
    """An answer that is counted as it comes in."""

    def __init__(self, answer: _Coming, request: Request, traffic: Traffic, began: float) -> None:
        self._answer = answer
        self._traffic = traffic
        self._about = _about(request.path)
        self._began = began if request.method == "PATCH" and self._about[0] == VTEPS else None
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    async def read(self) -> bytes:
        """Return the whole body."""
        data = await self._answer.read()
        self._traffic.received[self._about] += len(data)
        if self._began is not None:
            self._traffic.writes.append(time.perf_counter() - self._began)
        asyncio.get_running_loop().call_soon(self._traffic.heard)
        return data

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Yield the body's lines as they come."""
        connection = self._answer._response.connection
        watch = {connection.transport} if connection and connection.transport else set()
        self._traffic.watches |= watch
        try:
            async for line in self._answer.lines():
                self._traffic.received[self._about] += len(line)
                self._traffic.events += 1
                yield line
                self._traffic.heard()  # by now the agent has taken it in
        finally:
            self._traffic.watches -= watch

    def close(self) -> None:
        """Give it up."""
        self._answer.close()


def _about(path: str) -> tuple[str, str]:
    """Return which kind of object a path is of, and in which namespace; "" and "" where that does not matter."""
    found = re.search(rf"/(?:namespaces/([^/]+)/)?({LANS}|{VTEPS})(?:/|$)", path)
    return (found[2], found[1] or "") if found else ("", "")


def size(document: object) -> int:
    """Return the bytes of an object as etcd has it."""
    return len(json.dumps(document, separators=(",", ":")))
