"""Which device plugins the agent offers: for each spoke one of each kind, healthy while the underlay is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.passes import Self
from k8slan_cli.agent.underlays import Wanted
from k8slan_cli.errors import KernelError
from k8slan_cli.kubelet.plugins import Plugins, Resource
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.net import observe
from k8slan_cli.net.node import Node
from k8slan_cli.plan.state import Underlay


class Devices:
    """Keeps a node's device plugins in step with its LANs and underlays: with those that have changed."""

    def __init__(self, agent: Agent, plugins: Plugins) -> None:
        self._agent = agent
        self._plugins = plugins
        self._news = asyncio.Event()
        self._news.set()
        self._lans: set[LanRef] = set(agent.lans.all())
        self._devices: set[Wanted] = set()
        self._health: dict[Wanted, bool] = {}
        self._offered: dict[LanRef, tuple[Resource, ...]] = {}
        agent.on_lans.append(self._lans_changed)
        agent.on_underlays.append(self._devices_changed)

    def _lans_changed(self, lans: Iterable[LanRef]) -> None:
        self._lans.update(lans)
        self._news.set()

    def _devices_changed(self, devices: Iterable[Wanted]) -> None:
        self._devices.update(devices)
        self._news.set()

    async def run(self) -> None:
        """Offer what the LANs of now call for, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._plugins.run())
            group.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._look()

    async def _look(self) -> None:
        """Look at what has changed: at each underlay once, in a thread, and then at the LANs that are concerned."""
        agent, lans = self._agent, self._agent.lans.all()
        changed, self._lans = self._lans, set()
        devices, self._devices = self._devices, set()
        devices |= {agent.underlays.wanted(lans[ref]) for ref in changed if ref in lans} - self._health.keys()
        for device in devices:
            underlay = await asyncio.to_thread(_underlay, agent.node, device, agent.me)
            agent.underlays.found(device, underlay.index if underlay else None)
            if self._health.get(device) != (healthy := underlay is not None and underlay.up):
                self._health[device] = healthy
                changed |= {ref for ref, lan in lans.items() if agent.underlays.wanted(lan) == device}
        gone: dict[str, Resource | None] = {}
        come: dict[str, Resource | None] = {}
        for ref in changed:
            gone |= {resource.name: None for resource in self._offered.pop(ref, ())}
            if lan := lans.get(ref):
                self._offered[ref] = tuple(_resources(lan, self._health.get(agent.underlays.wanted(lan), False)))
                come |= {resource.name: resource for resource in self._offered[ref]}
        self._plugins.change(gone | come)


def _underlay(node: Node, device: Wanted, me: Self) -> Underlay | None:
    try:
        return observe.underlay(node, device, me.address)
    except KernelError:
        return None


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
