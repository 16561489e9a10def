"""Attachments as they are at this moment, with their counters: told once, or again and again while somebody looks.

The agent's state is looked at in its loop, the kernel is asked in threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from k8slan_cli.agent.agent import Agent
from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.protocol import Plugged, Traffic
from k8slan_cli.errors import KernelError
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.net import tables
from k8slan_cli.net.node import Node
from k8slan_cli.plan.state import Attachment
from k8slan_cli.serve.server import Begin

Seen = Mapping[LanRef, tuple[Lan | None, list[tuple[Attachment, str]]]]
"""LANs with their attachments, and of each why it does not work, "" if it does."""


def look(agent: Agent, lan: str = "") -> Seen:
    """Return what is attached to a LAN (``namespace/name``), or to any. To be called in the agent's loop."""
    seen: dict[LanRef, tuple[Lan | None, list[tuple[Attachment, str]]]] = {}
    for attachment in agent.attachments:
        if attachment.complete and lan in ("", str(attachment.lan)):
            _, found = seen.setdefault(attachment.lan, (agent.lans.get(attachment.lan), []))
            found.append((attachment, agent.fault_of(attachment)))
    return seen


def plugged(node: Node, name: str, seen: Seen) -> list[Plugged]:
    """Return attachments with what the kernel of the node of that name says of them."""
    return [item for lan, found in seen.values() for item in _of_lan(node, name, lan, found)]


def _of_lan(node: Node, name: str, lan: Lan | None, found: Sequence[tuple[Attachment, str]]) -> Iterator[Plugged]:
    handle = node.lan(lan.netns) if lan else None
    links: Mapping[str, tuple[bool, Mapping[str, int]]] = {}
    if handle:
        with contextlib.suppress(KernelError):  # the namespace has gone this moment
            links = tables.counted(handle, {attachment.port for attachment, _ in found})
    for attachment, fault in found:
        carrier, counters = links.get(attachment.port, (False, {}))
        yield Plugged(
            node=name,
            lan=str(attachment.lan),
            container=attachment.container,
            ifname=attachment.ifname,
            kind=attachment.kind.value,
            port=attachment.port,
            mac=attachment.mac,
            mtu=attachment.mtu,
            spoke=attachment.spoke or "",
            pod=attachment.pod,
            addresses=attachment.addresses,
            up=not (lan and lan.is_down(attachment.spoke, attachment.plug)),
            carrier=carrier,
            fault=fault or ("" if attachment.port in links else f"its bridge port {attachment.port} is not there"),
            bandwidth=attachment.bandwidth.words,
            # What comes in at the port was sent by the pod.
            sent=_traffic("rx", counters),
            received=_traffic("tx", counters),
        )


def _traffic(way: str, counters: Mapping[str, int]) -> Traffic:
    """What was counted in one direction, ``rx`` or ``tx``."""
    return Traffic(**{item.name: counters.get(f"{way}_{item.name}", 0) for item in dataclasses.fields(Traffic)})


def serve(begin: Begin, told: Callable[[], list[Plugged]], seconds: float) -> None:
    """Tell a client every so many seconds what is attached, until it goes away or says anything.

    Raises:
        OSError: the client is gone.

    """
    client = begin(protocol.LINES)
    waiting = select.poll()
    waiting.register(client, select.POLLIN)
    while True:
        line = {"at": time.monotonic(), "attachments": [item.encode() for item in told()]}
        client.sendall(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        if waiting.poll(seconds * 1000):
            break
    client.sendall(b'{"end":true}\n')
