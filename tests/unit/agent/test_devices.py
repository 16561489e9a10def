"""Which resources the kubelet is offered, and that the agent goes on while the kernel is asked for the underlay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from k8slan_cli.agent.devices import Devices
from k8slan_cli.agent.passes import Self
from k8slan_cli.errors import KernelError
from k8slan_cli.kubelet.plugins import Resource
from k8slan_cli.lan.model import Lan, LanRef

LAN = Lan(ref=LanRef(namespace="lab", name="blue"), netns="blue", bridge="br0", vxlan="vxlan0", vni=7, spokes=("r1",))


class Kernel:
    """A netlink socket that does not answer before it may, and then refuses."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def __getattr__(self, _name: str) -> Any:
        def ask(*_arguments: Any, **_options: Any) -> Any:
            assert self.may_answer.wait(5), "the agent waits for the kernel"
            raise KernelError(19, "no such device")

        return ask


class Offered:
    """Takes the place of the plugins."""

    def __init__(self) -> None:
        self.resources: asyncio.Queue[Mapping[str, Resource]] = asyncio.Queue()

    def want(self, resources: Mapping[str, Resource]) -> None:
        """Keep what is wanted."""
        self.resources.put_nowait(resources)

    async def run(self) -> None:
        """Do nothing."""
        await asyncio.Event().wait()


def test_a_spoke_has_a_resource_of_each_kind_and_asking_the_kernel_stops_nothing() -> None:
    async def play() -> None:
        kernel, offered = Kernel(), Offered()
        lans = SimpleNamespace(all=lambda: {LAN.ref: LAN})
        node = SimpleNamespace(netlink=kernel)
        agent: Any = SimpleNamespace(lans=lans, node=node, me=Self(name="n"), on_change=[])
        running = asyncio.create_task(Devices(agent, offered).run())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        kernel.may_answer.set()
        wanted = await asyncio.wait_for(offered.resources.get(), 5)
        running.cancel()
        assert {r.name: (r.device, r.healthy, len(r.files)) for r in wanted.values()} == {
            "macvtap.k8slan.io/k8slan-mac-r1": ("r1", False, 1),
            "macvtap.k8slan.io/k8slan-veth-r1": ("r1", False, 0),
        }

    asyncio.run(play())
