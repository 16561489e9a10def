"""Counters of attachments as they go on: streams of many agents, and the rates between two looks at each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.agents import Agents
from k8slan_cli.diagnose.client import Call
from k8slan_cli.diagnose.protocol import Place, Plugged, Traffic
from k8slan_cli.errors import K8slanError

_LATE_SECONDS = 3.0
"""How long after its time a look is still waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What goes through an attachment in one direction, in a second."""

    packets: float = 0.0
    bytes: float = 0.0
    errors: float = 0.0
    dropped: float = 0.0

    @classmethod
    def between(cls, before: Traffic, after: Traffic, seconds: float) -> Rate:
        """Return the rate of two looks; nothing of a port that was made anew between them."""
        if seconds <= 0 or after.packets < before.packets or after.bytes < before.bytes:
            return cls()
        return cls(
            packets=(after.packets - before.packets) / seconds,
            bytes=(after.bytes - before.bytes) / seconds,
            errors=(after.errors - before.errors) / seconds,
            dropped=(after.dropped - before.dropped) / seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """An attachment with its rates, None before there were two looks at it."""

    item: Plugged
    sent: Rate | None = None
    received: Rate | None = None

    @property
    def busy(self) -> float:
        """Bytes in a second, both ways."""
        return sum(rate.bytes for rate in (self.sent, self.received) if rate)


class Meter:
    """Makes rates of what agents tell, look by look."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, dict[Place, Plugged]]] = {}
        self._flows: dict[str, tuple[Flow, ...]] = {}

    @property
    def flows(self) -> list[Flow]:
        """All attachments as they were seen last."""
        return [flow for flows in self._flows.values() for flow in flows]

    def feed(self, node: str, line: Mapping[str, Any]) -> None:
        """Take in a look of a node's agent; ``at`` is its own clock's."""
        at = float(line.get("at", 0.0))
        then, known = self._before.get(node, (at, {}))
        items = [Plugged.decode(item) for item in line.get("attachments", ())]
        self._flows[node] = tuple(_flow(known.get(item.place), item, at - then) for item in items)
        self._before[node] = (at, {item.place: item for item in items})

    def forget(self, node: str) -> None:
        """Nothing is known of a node any more."""
        self._before.pop(node, None)
        self._flows.pop(node, None)


def _flow(before: Plugged | None, item: Plugged, seconds: float) -> Flow:
    if before is None or seconds <= 0:
        return Flow(item=item)
    return Flow(
        item=item,
        sent=Rate.between(before.sent, item.sent, seconds),
        received=Rate.between(before.received, item.received, seconds),
    )


class Streams:
    """What the agents of nodes tell every so many ``seconds``, into a meter; a context, at whose end they stop.

    ``troubles`` says of nodes why nothing comes from them. They are tried again with ``open``.
    """

    def __init__(self, agents: Agents, lan: str, seconds: int) -> None:
        self.meter = Meter()
        self.troubles: dict[str, str] = {}
        self._agents = agents
        self._wanted = protocol.Looking(lan=lan, seconds=seconds)
        self._calls: dict[str, Call] = {}
        self._fresh: set[str] = set()
        self._news = threading.Condition()

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._news:
            calls = list(self._calls.values())
            self._calls.clear()
            self._news.notify_all()
        for call in calls:
            call.close()

    def open(self, nodes: Iterable[str]) -> None:
        """Begin at those nodes from which nothing comes yet.

        Raises:
            MissingError: this user may not ask.

        """
        with self._news:
            missing = [node for node in nodes if node not in self._calls]
        if not missing:
            return
        unreachable: dict[str, K8slanError] = {}
        opened = self._agents.each(missing, self._call, unreachable=unreachable)
        with self._news:
            for node in missing:
                self.troubles.pop(node, None)
            self.troubles |= {node: error.message for node, error in unreachable.items()}
            self._calls |= opened
        for node, call in opened.items():
            threading.Thread(target=self._read, args=(node, call), name=f"traffic of {node}", daemon=True).start()

    def _call(self, node: str) -> Call:
        return self._agents.call(node, protocol.TRAFFIC, self._wanted.encode())

    def _read(self, node: str, call: Call) -> None:
        why = "its agent has ended"
        try:
            for line in call.events():
                with self._news:
                    self.meter.feed(node, line)
                    self._fresh.add(node)
                    self._news.notify_all()
        except K8slanError as error:
            why = error.message
        call.close()
        with self._news:
            if self._calls.pop(node, None):
                self.meter.forget(node)
                self.troubles[node] = why
                self._news.notify_all()

    def flows(self, clock: Callable[[], float] = time.monotonic) -> list[Flow]:
        """Wait until every node has told something new, or is late with it; return all attachments."""
        until = clock() + self._wanted.seconds + _LATE_SECONDS
        with self._news:
            if not self._calls:
                self._news.wait(self._wanted.seconds)
            while self._calls.keys() - self._fresh and (left := until - clock()) > 0:
                self._news.wait(left)
            self._fresh.clear()
            return self.meter.flows
