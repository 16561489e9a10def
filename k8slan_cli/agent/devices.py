"""Which device plugins the agent offers: for each spoke one of each kind, healthy while the underlay is."""

from __future__ import annotations

from collections.abc import Iterator

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.passes import find_underlay
from k8slan_cli.errors import KernelError
from k8slan_cli.kubelet.messages import Device, DeviceNode
from k8slan_cli.kubelet.plugins import Plugins, Resource
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan


class Devices:
    """Keeps a node's device plugins in step with its LANs and underlays."""

    def __init__(self, agent: Agent, plugins: Plugins) -> None:
        self._agent = agent
        self._plugins = plugins
        agent.on_change.append(self.refresh)

    def refresh(self) -> None:
        """Offer what the LANs of now call for."""
        health: dict[str | None, bool] = {}
        wanted: dict[str, Resource] = {}
        for lan in self._agent.lans.all().values():
            device = lan.underlay_on(self._agent.me.name, *self._agent.me.aliases)
            if device not in health:
                health[device] = self._is_healthy(lan)
            wanted.update((r.name, r) for r in _resources(lan, health[device]))
        self._plugins.want(wanted)

    def _is_healthy(self, lan: Lan) -> bool:
        try:
            return find_underlay(self._agent.node, lan, self._agent.me).up
        except KernelError:
            return False


def _resources(lan: Lan, healthy: bool) -> Iterator[Resource]:
    """The resources of a LAN's spokes.

    The one for VMs gives the tap that the ADD will make: its link index, and so its path, is chosen beforehand
    (``names.tap_index``). So nothing is made at Allocate, and nothing is left where no ADD follows.
    """
    for spoke in lan.spokes:
        device = Device(id=spoke, healthy=healthy)
        mac, veth = names.mac_nad(spoke), names.veth_nad(spoke)
        tap = DeviceNode(path=f"/dev/tap{names.tap_index(spoke)}")
        yield Resource(name=names.resource(mac), socket=f"{mac}.sock", device=device, nodes=(tap,))
        yield Resource(name=names.resource(veth), socket=f"{veth}.sock", device=device)
