"""Which device plugins the agent offers: for each spoke one of each kind, healthy while the underlay is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.passes import Self, find_underlay
from k8slan_cli.errors import KernelError
from k8slan_cli.kubelet.plugins import Plugins, Resource
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan
from k8slan_cli.net.node import Node


class Devices:
    """Keeps a node's device plugins in step with its LANs and underlays."""

    def __init__(self, agent: Agent, plugins: Plugins) -> None:
        self._agent = agent
        self._plugins = plugins
        self._changed = asyncio.Event()
        self._changed.set()
        agent.on_change.append(self._changed.set)

    async def run(self) -> None:
        """Offer what the LANs of now call for, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._plugins.run())
            group.create_task(self._follow())

    async def _follow(self) -> None:
        agent = self._agent
        while True:
            await self._changed.wait()
            self._changed.clear()
            lans = tuple(agent.lans.all().values())
            self._plugins.want(await asyncio.to_thread(_wanted, agent.node, agent.me, lans))


def _wanted(node: Node, me: Self, lans: Iterable[Lan]) -> Mapping[str, Resource]:
    """All resources, by name. It asks the kernel for the underlays, and so runs in a thread."""
    health: dict[str | None, bool] = {}
    wanted: dict[str, Resource] = {}
    for lan in lans:
        device = lan.underlay_on(me.name, *me.aliases)
        if device not in health:
            health[device] = _is_healthy(node, lan, me)
        wanted.update((r.name, r) for r in _resources(lan, health[device]))
    return wanted


def _is_healthy(node: Node, lan: Lan, me: Self) -> bool:
    try:
        return find_underlay(node, lan, me).up
    except KernelError:
        return False


def _resources(lan: Lan, healthy: bool) -> Iterator[Resource]:
    """The resources of a LAN's spokes.

    The one for VMs gives the tap that the ADD will make: its link index, and so its path, is chosen beforehand
    (``names.tap_index``). So nothing is made at Allocate, and nothing is left where no ADD follows.
    """
    for spoke in lan.spokes:
        mac, veth = names.mac_nad(spoke), names.veth_nad(spoke)
        tap = f"/dev/tap{names.tap_index(spoke)}"
        yield Resource(name=names.resource(mac), socket=f"{mac}.sock", device=spoke, healthy=healthy, files=(tap,))
        yield Resource(name=names.resource(veth), socket=f"{veth}.sock", device=spoke, healthy=healthy)
