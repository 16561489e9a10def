"""What an agent says of its node: when a VTEP is written, what is in it, and when it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.agent.passes import Outcome, Self
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.publish import DEGRADED, Publisher
from k8slan_cli.errors import K8slanError, KernelError
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import PODS, VTEPS
from k8slan_cli.kube.vteps import VtepWatch, VtepWriter
from k8slan_cli.lan import names, vtep_codec
from k8slan_cli.lan.model import Grant, Lan, LanRef, NodeStatus, Snapshot, Uplink
from k8slan_cli.lan.vtep import READY, PodRef, VmRef, Vtep, VtepUplink
from k8slan_cli.plan import desired
from k8slan_cli.plan.state import Attachment, AttachmentKind, LanState, Underlay, absent
from k8slan_cli.plan.uplinks import Nic
from tests.unit.kube import fake_time
from tests.unit.kube.fake_api import FakeApi

REF = LanRef(namespace="lab", name="blue")
LAN = Lan(ref=REF, netns="blue", bridge="br0", vxlan="vx0", vni=7, spokes=("a", "b", "c"), uid="u")
UNDERLAY = Underlay(name="eth0", index=2, mtu=1500, up=True, addresses=(ip_address("10.0.0.1"),))
PATH = VTEPS.path("lab", names.vtep("blue", "n1"))


def attachment(spoke: str, **more: Any) -> Attachment:
    fields: dict[str, Any] = {
        "container": f"c-{spoke}",
        "ifname": "eth1",
        "lan": REF,
        "kind": AttachmentKind.VETH,
        "port": names.port(spoke),
        "mac": "02:00:00:00:00:0a",
        "mtu": 1446,
        "spoke": spoke,
        "pod": f"lab/{spoke}",
        "pod_uid": f"uid-{spoke}",
        "since": "2026-01-01T00:00:00Z",
        "addresses": ("192.0.2.1/24",),
        "complete": True,
    }
    return Attachment(**fields | more)


class Rig:
    """An agent of node n1 whose passes are played, on an API server in memory."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        paths = Paths(folder)
        paths.private.mkdir(parents=True, exist_ok=True)
        paths.create()
        self.agent = Agent(paths, Self(name="n1"), vteps=VtepWatch(api))
        self.lan = LAN
        self.see()

    def see(self, **changes: Any) -> None:
        """Change the LAN."""
        self.lan = replace(self.lan, **changes)
        lans = {REF: (self.lan, "x")}
        self.agent.underlays.update({}, ())
        for callback in self.agent.on_lans if self.agent.lans.update(Snapshot(lans=lans)) else ():
            callback([REF])

    def vanish(self) -> None:
        """Take the LAN away."""
        self.agent.lans.update(Snapshot())
        for callback in self.agent.on_lans:
            callback([REF])

    def attach(self, *spokes: str, **more: Any) -> None:
        """Plug pods in."""
        self.loop()
        for spoke in spokes:
            self.agent.attachments.put(attachment(spoke, **more))
        self.agent.take_part()
        self.passed()

    def detach(self, *spokes: str) -> None:
        """Unplug pods."""
        for spoke in spokes:
            self.agent.attachments.delete((f"c-{spoke}", "eth1"))
        self.agent.take_part()
        self.passed()

    def loop(self) -> LanLoop:
        """The LAN's loop, which makes no passes of its own: nothing is done to the machine that the test runs on."""
        loop = self.agent.loop_of(self.lan)
        loop.wake = lambda _ports=None: asyncio.get_running_loop().create_future()  # type: ignore[method-assign,misc]
        return loop

    def passed(self, **more: Any) -> None:
        """Play a pass."""
        loop = self.loop()
        members = self.agent.attachments.of(REF)
        around = desired.elsewhere(self.lan, "n1", ())
        plan = desired.plan(self.lan, UNDERLAY, members, around) if members else absent("blue")
        loop.outcome = Outcome(**{"desired": plan, "underlay": UNDERLAY, **more})
        for observer in self.agent.observers:
            observer(loop)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Publish for the length of a block."""
        self.loop()
        self.agent.take_part()
        task = asyncio.create_task(Publisher(self.agent, VtepWriter(self.api, "n1")).run())  # type: ignore[arg-type]
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled(), task.exception()
            await self.agent.vteps.close()  # type: ignore[attr-defined]

    async def settle(self) -> None:
        """Let happen what is due within a second."""
        await asyncio.sleep(1)

    @property
    def vtep(self) -> Vtep | None:
        """The VTEP in the API server."""
        found = self.api.objects.get(PATH)
        return vtep_codec.decode(found) if found else None

    @property
    def there(self) -> Vtep:
        """The VTEP, which has to be there."""
        assert self.vtep is not None
        return self.vtep

    def writes(self) -> int:
        """How often it was written so far."""
        return self.api.writes().count(("PATCH", PATH))


Play = Callable[[Rig], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Play], None]:
    def play(body: Play) -> None:
        async def whole() -> None:
            rig = Rig(FakeApi(), tmp_path)
            async with rig.publishing():
                await body(rig)
            rig.agent.node.close()

        fake_time.run(whole())

    return play


# ---------------------------------------------------------------- what is said


def test_a_vtep_tells_of_the_node_and_of_its_ports(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        assert rig.vtep is None, "a LAN without attachments here has none"
        rig.attach("a")
        await rig.settle()
        found = rig.there
        assert (found.lan, found.node, found.state, found.message) == (REF, "n1", READY, "")
        assert (str(found.address), found.device, found.port, found.mtu) == ("10.0.0.1", "eth0", 4789, 1446)
        (port,) = found.ports
        assert port.pod == PodRef(namespace="lab", name="a", uid="uid-a")
        assert (port.name, port.spoke, port.kind, port.interface) == ("ap", "a", "veth", "eth1")
        assert (port.mac, port.addresses, port.mtu) == ("02:00:00:00:00:0a", ("192.0.2.1/24",), 1446)
        assert port.since == "2026-01-01T00:00:00Z"

    play(body)


def test_an_uplink_is_told_without_a_pod_and_stays_while_nothing_can_be_read(play: Callable[[Play], None]) -> None:
    eth1, eth2 = Uplink(node="n1", device="eth1"), Uplink(node="n1", device="eth2", vlan=7)
    nics = {eth1: Nic(index=5, mtu=1500), eth2: Nic(index=6, mtu=1300)}

    async def body(rig: Rig) -> None:
        rig.see(uplinks=(eth1, eth2, Uplink(node="n2", device="eth1")))
        await rig.settle()
        assert rig.vtep is None, "no pass has looked yet"
        plan = desired.plan(rig.lan, UNDERLAY, (), desired.Elsewhere(), nics=nics, opened="eth1u")
        rig.passed(desired=plan, uplinks=desired.look_at(nics, UNDERLAY, 1446))
        await rig.settle()
        fault = "eth2 has MTU 1300, the LAN 1446: raise it, or set spec.mtu"
        told = (
            VtepUplink(device="eth1", carrier=True, active=True),
            VtepUplink(device="eth2", vlan=7, carrier=True, message=fault),
        )
        assert (rig.there.uplinks, rig.there.ports, rig.there.takes_part) == (told, (), True)
        assert (rig.there.state, rig.there.message) == (DEGRADED, fault)
        rig.passed(desired=LanState(netns="blue"), underlay=None, unplanned=KernelError(5, "x"))
        await rig.settle()
        assert rig.there.uplinks == told
        rig.agent.loops.clear()  # as before the first pass of an agent that starts
        rig.see(down=frozenset({"a"}))
        await rig.settle()
        assert rig.there.uplinks == told
        rig.see(uplinks=())
        rig.passed(desired=absent("blue"))
        await rig.settle()
        assert rig.vtep is None

    play(body)


def test_trouble_is_told_and_what_a_pass_could_not_find_out_stays(play: Callable[[Play], None]) -> None:
    """The other nodes go on sending to an address that is not read for a moment."""

    async def body(rig: Rig) -> None:
        rig.attach("a")
        await rig.settle()
        before = rig.there
        rig.passed(desired=LanState(netns="blue"), underlay=None, unplanned=KernelError(5, "x" * 5000))
        await rig.settle()
        assert (rig.there.state, len(rig.there.message)) == (DEGRADED, 4096)
        for now, then in zip(_place(rig.there), _place(before), strict=True):
            assert now == then

    play(body)


def test_trouble_of_the_agent_is_told_with_vteps_that_are_ready(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a")
        rig.agent.troubles.begin("metrics", K8slanError("cannot listen", hint="choose another"))
        await rig.settle()
        assert (rig.there.state, rig.there.message) == (READY, "metrics: cannot listen")
        rig.agent.troubles.end("metrics")
        await rig.settle()
        assert (rig.there.state, rig.there.message) == (READY, "")

    play(body)


def _place(found: Vtep) -> tuple[object, ...]:
    return found.address, found.device, found.mtu, [port.name for port in found.ports]


def test_a_refused_add_is_told_for_a_while(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.agent.refusals.note(REF, "lab/a", "the underlay device eth9 is not on this node")
        await rig.settle()
        assert (rig.there.state, rig.there.ports) == (DEGRADED, ())
        assert "eth9" in rig.there.message
        assert not rig.api.objects[PATH]["metadata"].get("finalizers")
        await asyncio.sleep(200)
        assert rig.vtep is None

    play(body)


def test_a_refused_add_is_told_also_by_a_node_with_ports_until_that_pod_is_attached(
    play: Callable[[Play], None],
) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a")
        rig.agent.refusals.note(REF, "lab/b", "out of descriptors")
        rig.agent.refusals.note(REF, "lab/c", "out of space")
        await rig.settle()
        assert (rig.there.state, rig.there.message, len(rig.there.ports)) == (DEGRADED, "out of space", 1)
        rig.agent.refusals.forget(REF, "lab/a")
        rig.agent.refusals.forget(REF, "lab/c")
        await rig.settle()
        assert (rig.there.state, rig.there.message) == (DEGRADED, "out of descriptors")
        rig.agent.refusals.forget(REF, "lab/b")
        await rig.settle()
        assert (rig.there.state, rig.there.message) == (READY, "")

    play(body)


# ---------------------------------------------------------------- when it is written


def test_the_first_change_is_written_at_once_and_those_that_follow_together(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.settle()
        now = asyncio.get_running_loop().time
        begun = now()
        rig.attach("a")
        while not rig.writes():
            rig.api.heard.clear()
            await rig.api.heard.wait()
        assert now() == begun
        rig.attach("b")
        await asyncio.sleep(0.05)
        rig.attach("c")
        await asyncio.sleep(0.04)
        assert rig.writes() == 1
        await rig.settle()
        assert rig.writes() == 2
        assert len(rig.there.ports) == 3

    play(body)


def test_changes_that_do_not_end_are_written_once_in_a_second(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        await rig.settle()
        for _ in range(50):
            rig.attach("a")
            await asyncio.sleep(0.05)
            rig.detach("a")
            rig.attach("b")
            await asyncio.sleep(0.05)
            rig.detach("b")
        assert rig.writes() <= 9  # in five seconds: at 0, 0.1, 0.3, 0.7, 1.5, 2.5, …
        rig.attach("c")
        await asyncio.sleep(1.1)
        assert [port.spoke for port in rig.there.ports] == ["c"]

    play(body)


def test_what_is_no_change_is_not_written(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a", "b")
        await rig.settle()
        for _ in range(5):
            rig.passed()
            rig.see(granted=Grant(netns="n"))
            rig.see(granted=None)
            await rig.settle()
        assert rig.writes() == 1

    play(body)


def test_with_the_api_server_away_it_is_made_up_for_later(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.api.refuse = lambda _method, _path: ApiError("no answer")
        rig.attach("a", "b")
        await asyncio.sleep(60)
        rig.detach("b")
        rig.api.refuse = lambda _method, _path: None
        await asyncio.sleep(11)
        assert [port.name for port in rig.there.ports] == ["ap"]
        assert rig.writes() == 1

    play(body)


# ---------------------------------------------------------------- claims


def claims(found: Vtep) -> dict[str, int]:
    return {port.spoke: found.claim_of(port) for port in found.ports}


def test_claims_stay_over_writes_and_over_restarts_of_the_agent(tmp_path: Path) -> None:
    async def whole() -> None:
        api = FakeApi()
        rig = Rig(api, tmp_path)
        async with rig.publishing():
            rig.attach("a")
            await rig.settle()
            first = claims(rig.there)
            rig.attach("b")
            await rig.settle()
            both = claims(rig.there)
            assert both["a"] == first["a"] < both["b"]
        rig.agent.node.close()
        again = Rig(api, tmp_path)
        async with again.publishing():
            again.passed()
            await again.settle()
            again.attach("c")
            await again.settle()
            assert claims(again.there) == {**both, "c": again.there.version}
            again.detach("a")
            again.attach("a", container="other", since="2026-01-01T00:00:09Z")
            await again.settle()
            assert claims(again.there)["a"] > claims(again.there)["c"] > both["b"]
        again.agent.node.close()

    fake_time.run(whole())


def test_a_write_of_somebody_else_makes_no_claim_later(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a")
        await rig.settle()
        first = claims(rig.there)
        document = rig.api.objects[PATH]
        rig.api.put(PATH, {**document, "metadata": {**document["metadata"], "annotations": {"x": "y"}}})
        assert claims(rig.there) != first
        await rig.settle()
        assert claims(rig.there) == first
        written = rig.writes()
        rig.passed()
        await rig.settle()
        assert rig.writes() == written, "once"

    play(body)


def test_claims_of_a_node_that_was_lost_begin_anew(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a", "b")
        await rig.settle()
        rig.passed()
        rig.attach("c")
        await rig.settle()
        assert any(port.claim for port in rig.there.ports)
        document = rig.api.objects[PATH]
        rig.api.put(PATH, {**document, "status": {**document["status"], "lost": True}})
        await rig.settle()
        assert rig.there.lost
        assert not any(port.claim for port in rig.there.ports)
        written = rig.writes()
        rig.passed()
        await rig.settle()
        assert rig.writes() == written, "once"
        document = rig.api.objects[PATH]
        rig.api.put(PATH, {**document, "status": {k: v for k, v in document["status"].items() if k != "lost"}})
        back = rig.there.version
        await rig.settle()
        rig.detach("c")
        await rig.settle()
        assert claims(rig.there) == {"a": back, "b": back}

    play(body)


# ---------------------------------------------------------------- when it goes


def test_it_is_gone_with_the_namespace(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a")
        await rig.settle()
        rig.detach("a")
        await rig.settle()
        assert rig.vtep is None

    play(body)


def test_it_is_gone_with_a_lan_that_somebody_has_taken_away(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a")
        await rig.settle()
        rig.vanish()
        await rig.settle()
        assert rig.there.ports, "its namespace is still here"
        loop = rig.agent.loops[REF, "blue"]
        loop.lan, loop.outcome = None, Outcome(desired=absent("blue"))
        rig.agent._after_pass(loop)
        await rig.settle()
        assert rig.vtep is None

    play(body)


@pytest.mark.parametrize("held", [True, False])
def test_one_that_somebody_deletes_is_there_as_long_as_it_has_ports(held: bool, play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a")
        await rig.settle()
        if not held:  # by hand
            document = rig.api.objects[PATH]
            rig.api.put(PATH, {**document, "metadata": {**document["metadata"], "finalizers": []}})
        rig.api.remove(PATH)
        await rig.settle()
        assert [port.name for port in rig.there.ports] == ["ap"]
        assert rig.there.deleting is held
        rig.attach("b")
        await rig.settle()
        assert len(rig.there.ports) == 2
        rig.detach("a", "b")
        await rig.settle()
        assert rig.vtep is None

    play(body)


async def left_behind(api: FakeApi, folder: Path) -> Rig:
    """An agent that has ended, and whose VTEP of one port is still there."""
    rig = Rig(api, folder)
    async with rig.publishing():
        rig.attach("a")
        await rig.settle()
    rig.agent.node.close()
    return rig


def test_what_an_agent_left_before_the_node_was_booted_is_taken_away(tmp_path: Path) -> None:
    async def whole() -> None:
        api = FakeApi()
        rig = await left_behind(api, tmp_path / "before")
        other = replace(rig.there, node="n2")
        api.put(VTEPS.path("lab", names.vtep("blue", "n2")), vtep_codec.encode(other))
        new = Rig(api, tmp_path / "after")
        async with new.publishing():
            await new.settle()
            assert new.vtep is None
            assert len(api.objects) == 1
        new.agent.node.close()

    fake_time.run(whole())


def test_it_is_gone_with_its_pods_though_no_del_has_come(play: Callable[[Play], None]) -> None:
    """One without ports would hold the LAN's deletion, until a DEL that may never come."""

    async def body(rig: Rig) -> None:
        rig.attach("a")
        await rig.settle()
        rig.loop()._dead.add(("c-a", "eth1"))
        rig.passed(desired=absent("blue"))
        await rig.settle()
        assert rig.vtep is None

    play(body)


def test_what_is_left_of_a_lan_that_is_gone_is_taken_away_once_lans_are_heard_of(tmp_path: Path) -> None:
    """The node was booted with the API server away: no record tells of the LAN, and its VTEP is listed first."""

    async def whole() -> None:
        api = FakeApi()
        rig = await left_behind(api, tmp_path / "before")
        paths = Paths(tmp_path / "after")
        paths.private.mkdir(parents=True)
        paths.create()
        agent = Agent(paths, Self(name="n1"), vteps=VtepWatch(api))  # type: ignore[arg-type]
        task = asyncio.create_task(Publisher(agent, VtepWriter(api, "n1")).run())  # type: ignore[arg-type]
        await rig.settle()
        assert PATH in api.objects, "nobody has said that the LAN is gone"
        agent.take_in(Snapshot())
        await rig.settle()
        assert PATH not in api.objects
        task.cancel()
        await asyncio.wait({task})
        await agent.vteps.close()  # type: ignore[attr-defined]
        agent.node.close()

    fake_time.run(whole())


# ---------------------------------------------------------------- agents of version 0.1.0


def test_what_an_agent_of_0_1_0_has_left_gets_a_vtep_until_it_is_gone(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        for change in ({"finalizers": (names.finalizer("n1"),)}, {"nodes": (NodeStatus(name="n1"),), "finalizers": ()}):
            rig.see(**change)
            await rig.settle()
            assert rig.there.ports == ()
        rig.see(nodes=(NodeStatus(name="n2"),))
        await rig.settle()
        assert rig.vtep is None

    play(body)


# ---------------------------------------------------------------- VMs


def test_a_port_of_a_vm_names_it(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a", kind=AttachmentKind.MACVTAP, tap=9)
        rig.attach("b")
        rig.attach("c", pod="lab/virt-launcher-fw-x7k2p")
        await rig.settle()
        assert [port.vm for port in rig.there.ports] == [None, None, None]
        assert rig.api.requests.count(("GET", PODS.path("lab", "a"))) == 1
        assert rig.api.requests.count(("GET", PODS.path("lab", "virt-launcher-fw-x7k2p"))) == 1
        assert ("GET", PODS.path("lab", "b")) not in rig.api.requests

    play(body)


def test_a_vm_that_could_not_be_asked_for_is_asked_for_again(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        labels = {"vm.kubevirt.io/name": "fw", "kubevirt.io/created-by": "vmi"}
        rig.api.put(PODS.path("lab", "a"), {"metadata": {"labels": labels, "uid": "uid-a"}})
        rig.api.refuse = lambda _method, at: ApiError("may not", status=403) if at.endswith("/pods/a") else None
        rig.attach("a", kind=AttachmentKind.MACVTAP, tap=9)
        await rig.settle()
        assert [port.vm for port in rig.there.ports] == [None]
        claim = claims(rig.there)
        rig.api.refuse = lambda _method, _path: None
        await asyncio.sleep(300)
        assert [port.vm for port in rig.there.ports] == [VmRef(name="fw", uid="vmi")]
        assert claims(rig.there) == claim

    play(body)


def test_a_vm_stays_named_over_a_restart_of_the_agent(tmp_path: Path) -> None:
    async def whole() -> None:
        api = FakeApi()
        labels = {"vm.kubevirt.io/name": "fw", "kubevirt.io/created-by": "vmi"}
        api.put(PODS.path("lab", "a"), {"metadata": {"labels": labels, "uid": "uid-a"}})
        for may_ask in (True, False):
            rig = Rig(api, tmp_path)
            async with rig.publishing():
                if not may_ask:
                    api.refuse = lambda _method, at: ApiError("may not", status=403) if at.endswith("/a") else None
                rig.attach("a", kind=AttachmentKind.MACVTAP, tap=9)
                await rig.settle()
                rig.attach("b")
                await rig.settle()
                assert [port.vm for port in rig.there.ports] == [VmRef(name="fw", uid="vmi"), None]
            rig.agent.node.close()

    fake_time.run(whole())


def test_a_word_of_the_controller_that_overtakes_the_answer_to_a_write_counts(play: Callable[[Play], None]) -> None:
    async def body(rig: Rig) -> None:
        rig.attach("a")
        await rig.settle()
        real = rig.api.call

        async def slow(method: str, at: str, **more: Any) -> Any:
            answer = await real(method, at, **more)
            if method == "PATCH":
                rig.api.call = real  # type: ignore[method-assign]
                document = rig.api.objects[PATH]
                rig.api.put(PATH, {**document, "status": {**document["status"], "lost": True}})
                await asyncio.sleep(0.05)
            return answer

        rig.api.call = slow  # type: ignore[method-assign]
        rig.attach("b")
        await rig.settle()
        assert rig.there.lost
        assert not any(port.claim for port in rig.there.ports)

    play(body)
