"""Which resources the kubelet is offered, and that the agent goes on while the kernel is asked for the underlay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from k8slan_cli.agent.devices import Devices
from k8slan_cli.agent.passes import Self
from k8slan_cli.agent.underlays import Underlays
from k8slan_cli.errors import KernelError
from k8slan_cli.kubelet.plugins import Resource
from k8slan_cli.lan import names, validate
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.lan.names import Forms

LAN = Lan(
    ref=LanRef(namespace="lab", name="blue"), netns="blue", bridge="br0", vxlan="vxlan0", vni=7, spokes=("r1",), uid="u"
)


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

    def __init__(self, *lans: Lan, **options: Any) -> None:
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
        self.running = asyncio.create_task(Devices(agent, self.offered, **options).run())  # type: ignore[arg-type]

    async def change(self, *lans: Lan) -> Mapping[str, Resource | None]:
        """Change LANs; returns what is offered anew."""
        self.lans |= {lan.ref: lan for lan in lans}
        for callback in self.on_lans:
            callback([lan.ref for lan in lans])
        return await asyncio.wait_for(self.offered.changes.get(), 5)


def offered(wanted: Mapping[str, Resource | None]) -> dict[str, tuple[int, bool, tuple[str, ...]]]:
    """How many devices of which health each resource has, and which files they come with."""
    return {
        name.removeprefix("macvtap.k8slan.io/k8slan-"): (len(r.devices), r.healthy, r.files)
        for name, r in wanted.items()
        if r
    }


def tap(lan: Lan) -> tuple[str, ...]:
    return (f"/dev/tap{names.tap_index(str(lan.ref), 'r1')}",)


def test_a_spoke_has_a_resource_of_each_kind_and_asking_the_kernel_stops_nothing() -> None:
    async def play() -> None:
        rig = Rig(LAN)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rig.kernel.may_answer.set()
        wanted = await asyncio.wait_for(rig.offered.changes.get(), 5)
        rig.running.cancel()
        assert offered(wanted) == {"mac-r1": (1, False, tap(LAN)), "veth-r1": (110, False, ())}
        assert all(len(set(r.devices)) == len(r.devices) for r in wanted.values() if r)

    asyncio.run(play())


@pytest.mark.parametrize("uid", ["", "1"])
def test_a_spoke_that_is_not_for_vms_costs_no_device_plugin(uid: str) -> None:
    async def play() -> None:
        mixed = replace(LAN, spokes=("r1", "r2"), vm_spokes=("r1",), uid=uid)
        rig = Rig(mixed)
        rig.kernel.may_answer.set()
        assert offered(await asyncio.wait_for(rig.offered.changes.get(), 5)).keys() == {"mac-r1", "veth-r1"}
        assert set((await rig.change(replace(mixed, vm_spokes=()))).values()) == {None}
        assert offered(await rig.change(replace(mixed, vm_spokes=None))).keys() == {
            *("mac-r1", "veth-r1"),
            *("mac-r2", "veth-r2"),
        }
        rig.running.cancel()

    asyncio.run(play())


def test_lans_with_one_spoke_share_what_is_for_pods_and_each_has_its_own_for_vms() -> None:
    """As the controller says; until it has, a LAN that it knows has the name, and not the new one."""
    known = replace(LAN, granted=validate.grant(LAN), created="2026-01-02T00:00:00Z")
    new = replace(LAN, ref=LanRef(namespace="a", name="new"), created="2026-01-01T00:00:00Z")
    told = replace(
        new, granted=validate.grant(new), resources=(("k8slan-mac-r1", "macvtap.k8slan.io/k8slan-mac-new-r1"),)
    )

    async def play() -> None:
        rig = Rig(known)
        rig.kernel.may_answer.set()
        await asyncio.wait_for(rig.offered.changes.get(), 5)
        assert offered(await rig.change(new)) == {"mac-r1": (1, False, tap(LAN)), "veth-r1": (110, False, ())}
        both = {"mac-r1": (1, False, tap(LAN)), "mac-new-r1": (1, False, tap(new)), "veth-r1": (110, False, ())}
        assert offered(await rig.change(told)) == both
        gone = await rig.change(replace(known, bare=frozenset({"r1"})))
        assert offered(gone) == {"veth-r1": (110, False, ())}
        assert gone["macvtap.k8slan.io/k8slan-mac-r1"] is None
        rig.running.cancel()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("forms", "names_offered"),
    [
        (Forms.LONG, {"mac-blue-r1", "veth-blue-r1"}),
        (Forms.BOTH, {"mac-r1", "veth-r1", "mac-blue-r1", "veth-blue-r1"}),
    ],
)
def test_the_forms_that_are_chosen_are_offered(forms: Forms, names_offered: set[str]) -> None:
    async def play() -> None:
        rig = Rig(replace(LAN, forms=forms), max_pods=7)
        rig.kernel.may_answer.set()
        wanted = offered(await asyncio.wait_for(rig.offered.changes.get(), 5))
        rig.running.cancel()
        assert wanted.keys() == names_offered
        assert {name: each[0] for name, each in wanted.items()} == {
            name: 1 if name.startswith("mac") else 7 for name in names_offered
        }

    asyncio.run(play())


def test_of_lans_from_files_no_controller_decides() -> None:
    first, second = (replace(LAN, uid="", ref=LanRef(namespace=name, name="x")) for name in "ab")

    async def play() -> None:
        rig = Rig(first, second)
        rig.kernel.may_answer.set()
        wanted = await asyncio.wait_for(rig.offered.changes.get(), 5)
        rig.running.cancel()
        assert {name: each[2] for name, each in offered(wanted).items()} == {
            "mac-r1": tap(first),
            "mac-x-r1": tap(second),
            "veth-r1": (),
        }

    asyncio.run(play())


def test_of_a_thousand_lans_only_the_one_that_has_changed_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[LanRef] = []
    real = Devices._offers_of
    monkeypatch.setattr(
        Devices, "_offers_of", lambda self, lan, healthy: looked.append(lan.ref) or real(self, lan, healthy)
    )

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
