"""Which resources the kubelet is offered, and that the agent goes on while the kernel is asked for the underlay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from k8slan_cli.agent import devices
from k8slan_cli.agent.devices import Devices
from k8slan_cli.agent.passes import Self
from k8slan_cli.agent.underlays import Underlays
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
        self.changes: asyncio.Queue[Mapping[str, Resource | None]] = asyncio.Queue()

    def change(self, resources: Mapping[str, Resource | None]) -> None:
        """Keep what has changed."""
        self.changes.put_nowait(resources)

    async def run(self) -> None:
        """Do nothing."""
        await asyncio.Event().wait()


class Rig:
    """An agent with LANs, whose devices are offered."""

    def __init__(self, *lans: Lan) -> None:
        self.kernel, self.offered = Kernel(), Offered()
        self.lans = {lan.ref: lan for lan in lans}
        self.on_lans: list[Callable[[Any], None]] = []
        me = Self(name="n")
        underlays = Underlays(me)
        underlays.update(self.lans, self.lans)
        agent: Any = SimpleNamespace(
            lans=SimpleNamespace(all=lambda: self.lans),
            node=SimpleNamespace(netlink=self.kernel),
            me=me,
            underlays=underlays,
            on_lans=self.on_lans,
            on_underlays=[],
        )
        self.running = asyncio.create_task(Devices(agent, self.offered).run())  # type: ignore[arg-type]

    async def change(self, *lans: Lan) -> Mapping[str, Resource | None]:
        """Change LANs; returns what is offered anew."""
        self.lans |= {lan.ref: lan for lan in lans}
        for callback in self.on_lans:
            callback([lan.ref for lan in lans])
        return await asyncio.wait_for(self.offered.changes.get(), 5)


def test_a_spoke_has_a_resource_of_each_kind_and_asking_the_kernel_stops_nothing() -> None:
    async def play() -> None:
        rig = Rig(LAN)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rig.kernel.may_answer.set()
        wanted = await asyncio.wait_for(rig.offered.changes.get(), 5)
        rig.running.cancel()
        assert {r.name: (r.device, r.healthy, len(r.files)) for r in wanted.values() if r} == {
            "macvtap.k8slan.io/k8slan-mac-r1": ("r1", False, 1),
            "macvtap.k8slan.io/k8slan-veth-r1": ("r1", False, 0),
        }

    asyncio.run(play())


def test_of_a_thousand_lans_only_the_one_that_has_changed_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[LanRef] = []
    real = devices._resources
    monkeypatch.setattr(devices, "_resources", lambda lan, healthy: looked.append(lan.ref) or real(lan, healthy))

    async def play() -> None:
        many = [replace(LAN, ref=replace(LAN.ref, name=f"l{n}"), spokes=(f"s{n}",)) for n in range(1000)]
        rig = Rig(*many)
        rig.kernel.may_answer.set()
        assert len(await asyncio.wait_for(rig.offered.changes.get(), 5)) == 2000
        looked.clear()
        changed = await rig.change(replace(many[7], spokes=("other",)))
        rig.running.cancel()
        assert looked == [many[7].ref]
        assert {name.rpartition("-")[2]: bool(resource) for name, resource in changed.items()} == {
            "s7": False,
            "other": True,
        }

    asyncio.run(play())
