"""Which device plugins the agent offers, healthy while the underlay is.

A spoke has a resource for a VM, of one device, which is the LAN's alone. And it has one for pods, which hands nothing
out: of as many devices as the node takes pods, since all LANs with a spoke of that name have it together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.passes import Self
from k8slan_cli.agent.underlays import Wanted
from k8slan_cli.errors import KernelError
from k8slan_cli.kubelet.plugins import Plugins, Resource
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.lan.resources import DEFAULT_NAMING, MAX_PODS, Resources
from k8slan_cli.net import observe
from k8slan_cli.net.node import Node
from k8slan_cli.plan.state import Underlay


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """A resource as one LAN has it. Of several LANs, the one of the least ``rank`` offers it."""

    resource: Resource
    rank: tuple[bool, str, LanRef]


class Devices:
    """Keeps a node's device plugins in step with its LANs and underlays: with those that have changed."""

    def __init__(self, agent: Agent, plugins: Plugins, max_pods: int = MAX_PODS) -> None:
        self._pods = tuple(map(str, range(max_pods)))  # short: the kubelet writes all of them to its checkpoint
        self._own = Resources(DEFAULT_NAMING)
        """What LANs from files have, of which no controller decides."""
        self._agent = agent
        self._plugins = plugins
        self._news = asyncio.Event()
        self._news.set()
        self._lans: set[LanRef] = set(agent.lans.all())
        self._devices: set[Wanted] = set()
        self._health: dict[Wanted, bool] = {}
        self._offered: dict[LanRef, tuple[str, ...]] = {}
        self._offers: dict[str, dict[LanRef, _Offer]] = {}
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
        names_changed: dict[str, None] = {}
        for ref in sorted(changed):
            for name in self._offered.pop(ref, ()):
                del self._offers[name][ref]
                names_changed[name] = None
            if lan := lans.get(ref):
                healthy = self._health.get(agent.underlays.wanted(lan), False)
                offers = {offer.resource.name: offer for offer in self._offers_of(lan, healthy)}
                self._offered[ref] = tuple(offers)
                for name, offer in offers.items():
                    self._offers.setdefault(name, {})[ref] = offer
                    names_changed[name] = None
            else:
                self._own.release(ref)
        self._plugins.change({name: self._best(name) for name in names_changed})

    def _best(self, name: str) -> Resource | None:
        offers = self._offers[name].values()
        if not offers:
            del self._offers[name]
            return None
        return min(offers, key=lambda offer: offer.rank).resource

    def _offers_of(self, lan: Lan, healthy: bool) -> Iterator[_Offer]:
        """The resources of a LAN's spokes.

        The one for VMs gives the tap that the ADD will make: its link index, and so its path, is chosen beforehand
        (``names.tap_index``). So nothing is made at Allocate, and nothing is left where no ADD follows.
        """
        if not lan.uid:
            granted = self._own.allot(lan.ref, lan.offered)
            lan = replace(lan, resources=granted.resources, bare=frozenset(granted.bare))
        age = (lan.created or "~", lan.ref)
        known = dict(lan.resources)
        for spoke in (spoke for spoke in lan.offered if spoke not in lan.bare):
            tap = f"/dev/tap{names.tap_index(str(lan.ref), spoke)}"
            for before in lan.forms.of(lan.ref.name):
                mac, veth = names.mac_nad(spoke, before), names.resource(names.veth_nad(spoke, before))
                mac = known.get(mac, names.resource(mac))
                # Until the controller has decided about a new LAN, another may have the name.
                yield _Offer(resource=_resource(mac, (spoke,), healthy, tap), rank=(lan.granted is None, *age))
                yield _Offer(resource=_resource(veth, self._pods, healthy), rank=(not healthy, *age))


def _resource(name: str, devices: tuple[str, ...], healthy: bool, *files: str) -> Resource:
    socket = f"{name.rpartition('/')[2]}.sock"
    return Resource(name=name, socket=socket, devices=devices, healthy=healthy, files=files)


def _underlay(node: Node, device: Wanted, me: Self) -> Underlay | None:
    try:
        return observe.underlay(node, device, me.address)
    except KernelError:
        return None
