"""What a node's part of a LAN has learned of MAC addresses, and forgetting it, as an operator asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from k8slan_cli.agent.agent import Agent
from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.protocol import KnownMac
from k8slan_cli.lan.model import LanRef
from k8slan_cli.net import tables


def work(agent: Agent, wanted: protocol.Macs) -> Callable[[], Mapping[str, Any]]:
    """Look at the agent's state; what comes out asks the kernel, in a thread."""
    ref = LanRef.parse(wanted.lan)
    lan = agent.lans.get(ref)
    at = {attachment.port: attachment for attachment in agent.attachments.of(ref)}

    def told() -> Mapping[str, Any]:
        handle = agent.node.lan(lan.netns) if lan else None
        if handle is None or lan is None:
            return {"node": agent.me.name, "macs": [], "more": 0, "flushed": 0}
        if wanted.flush:
            with agent.node.turn(lan.netns):
                return {
                    "node": agent.me.name,
                    "macs": [],
                    "more": 0,
                    "flushed": tables.flush(handle, wanted.mac),
                }
        found = [entry for entry in tables.learned(handle) if wanted.mac in ("", entry.mac)]
        behind = {entry.mac for entry in found if entry.peer}
        macs = []
        for entry in found:
            if entry.link == lan.vxlan and not entry.peer and entry.mac in behind:
                continue  # the bridge's half of what the VXLAN device knows better
            attachment = at.get(entry.link)
            macs.append(
                KnownMac(
                    mac=entry.mac,
                    node=agent.me.name,
                    port=entry.link,
                    spoke=(attachment.spoke or "") if attachment else "",
                    plug=attachment.plug if attachment else "",
                    peer=str(entry.peer or ""),
                    age=entry.age,
                )
            )
        macs.sort(key=lambda known: (bool(known.peer), known.age))
        some = [known.encode() for known in macs[: protocol.MAX_MACS]]
        return {"node": agent.me.name, "macs": some, "more": len(macs) - len(some), "flushed": 0}

    return told
