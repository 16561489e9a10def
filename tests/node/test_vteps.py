"""Nodes that know each other by their VTEPs: peers, spokes with one holder, the MTU, and pods that move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import pytest

from k8slan_cli.cli.lan import join
from k8slan_cli.errors import CniError
from k8slan_cli.inventory.occupancy import decoded
from k8slan_cli.kube.kinds import LANS, PODS, VMIS, VTEPS
from k8slan_cli.lan import codec
from tests.node.fabric import Node, configure, eventually, fabric, lan, reaches
from tests.support.netns import Namespace
from tests.unit.kube.fake_api import FakeApi

LAN = "vteplan"
HOSTS = {"m": 10, "p1": 1, "p2": 2, "p3": 3}


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    lan(api, LAN, 7, *HOSTS)
    return api


@pytest.fixture
def pods() -> Iterator[Callable[[], Namespace]]:
    """Makes pods."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Namespace.create("pod"))


@asynccontextmanager
async def agents(*nodes: Node, handover: float = 0.0) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.agent(handover))
        yield


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 60))


def ports(node: Node) -> dict[str, bool]:
    """Whether each port of a node is up."""
    return {name: "UP" in link["flags"] for name, link in node.inside(LAN).links().items() if name.endswith("p")}


def vteps(api: FakeApi) -> dict[str, list[str]]:
    """The spokes in each node's VTEP."""
    found = [item for path, item in api.objects.items() if path.startswith(VTEPS.path("lab"))]
    return {item["spec"]["node"]: [p["spoke"] for p in item["status"].get("ports", [])] for item in found}


def vms(api: FakeApi) -> set[str]:
    """The names of the VMs in all VTEPs."""
    found = [item for path, item in api.objects.items() if path.startswith(VTEPS.path("lab"))]
    return {p["vm"]["name"] for item in found for p in item["status"].get("ports", []) if "vm" in p}


def test_peers_come_and_go_with_the_vteps_of_nodes(api: FakeApi, pods: Callable[[], Namespace]) -> None:
    async def body() -> None:
        with fabric(api, 1500, 1500) as (one, two):
            async with agents(one, two):
                first, second = pods(), pods()
                await one.plug(first, "p1")
                await two.plug(second, "p2")
                await eventually("peers", lambda: one.inside(LAN).peers() == {"192.0.2.2"})
                assert two.inside(LAN).peers() == {"192.0.2.1"}, "known from the start"
                configure({"p1": first, "p2": second}, HOSTS)
                assert await reaches(first, second, HOSTS["p2"])
                assert vteps(api) == {"n1": ["p1"], "n2": ["p2"]}
                await two.unplug(second, "p2")
                await eventually("no peers", lambda: one.inside(LAN).peers() == set())
                await one.unplug(first, "p1")
                await eventually("no VTEPs", lambda: not vteps(api))

    run(body())


@pytest.mark.parametrize(("where", "fragment"), [(1, False), (2, False), (3, False), (2, True)])
def test_a_silent_pod_that_moves_is_reached_at_once(
    where: int, fragment: bool, api: FakeApi, pods: Callable[[], Namespace]
) -> None:
    """By a peer on the node that it left, on the one that it has come to, and on a third."""
    api.objects[LANS.path("lab", LAN)]["spec"] |= {"fragment": True} if fragment else {}

    async def body() -> None:
        with fabric(api, 1500, 1500, 1500) as nodes:
            old, new, _ = nodes
            async with agents(*nodes):
                mover, peer = pods(), pods()
                for node in nodes:
                    await node.plug(peer if node.number == where else pods(), f"p{node.number}")
                await old.plug(mover, "m", "first")
                configure({"m": mover, f"p{where}": peer}, HOSTS)
                await eventually("all peers", lambda: all(len(node.inside(LAN).peers()) == 2 for node in nodes))
                assert await reaches(mover, peer, HOSTS[f"p{where}"])
                assert await reaches(peer, mover, HOSTS["m"])
                await old.unplug(mover, "m")
                moved = pods()
                await eventually("the spoke is free", lambda: "m" not in vteps(api).get("n1", []))
                await new.plug(moved, "m", "second")
                moved.ip("address", "add", f"198.51.100.{HOSTS['m']}/24", "dev", "eth1")
                async with asyncio.timeout(10):  # a stale entry stays for 300 s
                    while not await reaches(peer, moved, HOSTS["m"]):
                        pass

    run(body())


def test_a_vm_migrates_into_a_pod_whose_kernel_says_nothing(api: FakeApi, pods: Callable[[], Namespace]) -> None:
    """By KubeVirt's ``bridge``, on a veth: with the VM's MAC, while it still runs at the source."""

    async def body() -> None:
        labels = {"vm.kubevirt.io/name": "fw", "kubevirt.io/created-by": "vmi"}
        for name, uid in (("aaaaa", "first"), ("bbbbb", "second")):
            metadata = {"name": f"virt-launcher-fw-{name}", "namespace": "lab", "labels": labels, "uid": uid}
            api.put(PODS.path("lab", f"virt-launcher-fw-{name}"), {"metadata": metadata})
        active = {"activePods": {"first": "n1", "second": "n2"}}
        api.put(VMIS.path("lab", "fw"), {"metadata": {"uid": "vmi"}, "status": active})
        with fabric(api, 1500, 1500) as (old, new):
            async with agents(old, new):
                source, target, thief = pods(), pods(), pods()
                await old.plug(source, "m", "first", "virt-launcher-fw-aaaaa")
                await eventually("the VM is known", lambda: vms(api) == {"fw"})
                with pytest.raises(CniError, match="spoke m is in use"):
                    await new.plug(thief, "m", "third", "virt-launcher-fw-ccccc")
                await new.plug(target, "m", "second", "virt-launcher-fw-bbbbb")
                await eventually("both hold it", lambda: vteps(api) == {"n1": ["m"], "n2": ["m"]})
                assert (ports(old), ports(new)) == ({"mp": True}, {"mp": True})
                before, after = (pod.links()["eth1"] for pod in (source, target))
                assert before["address"] == after["address"]
                assert ["NOARP" in link["flags"] for link in (before, after)] == [False, True]
                await old.unplug(source, "m")
                await old.unplug(source, "m")
                await eventually("one holds it", lambda: vteps(api) == {"n2": ["m"]})
                assert ports(new) == {"mp": True}

    run(body())


def test_what_is_not_learned_and_what_is_of_others_stays(api: FakeApi, pods: Callable[[], Namespace]) -> None:
    async def body() -> None:
        with fabric(api, 1500, 1500, 1500) as (old, new, third):
            async with agents(old, new, third):
                mover, peer = pods(), pods()
                await third.plug(peer, "p3")
                await old.plug(mover, "m")
                mac, other = mover.links()["eth1"]["address"], "02:aa:00:00:00:01"
                await eventually("the peer", lambda: third.inside(LAN).peers() == {"192.0.2.1"})
                place = third.inside(LAN)
                for address, state in ((mac, "static"), (other, "dynamic")):
                    place.run("bridge", "fdb", "replace", address, "dev", "vxlan0", "master", state)
                    place.run("bridge", "fdb", "replace", address, "dev", "vxlan0", "self", "dst", "192.0.2.1", state)
                before = fdb(third, mac, other)
                assert len(before) == 4
                await old.unplug(mover, "m")
                await eventually("the spoke is free", lambda: "n1" not in vteps(api))
                await new.plug(pods(), "m")
                await eventually("the other peer", lambda: "192.0.2.2" in place.peers())
                await asyncio.sleep(0.3)
                assert fdb(third, mac, other) == before

    run(body())


def fdb(node: Node, *macs: str) -> set[tuple[str, str, str]]:
    """What bridge and VXLAN device of a node have of MAC addresses."""
    found = node.inside(LAN).bridge("fdb", "show", "dev", "vxlan0")
    return {(entry["mac"], entry.get("dst", ""), entry["state"]) for entry in found if entry["mac"] in macs}


def test_a_spoke_that_is_held_on_another_node_is_refused_with_its_holder(
    api: FakeApi, pods: Callable[[], Namespace]
) -> None:
    async def body() -> None:
        with fabric(api, 1500, 1500) as (one, two):
            async with agents(one, two):
                await one.plug(pods(), "m")
                await eventually("the VTEP", lambda: vteps(api))
                with pytest.raises(CniError, match="spoke m is in use by pod lab/m on node n1"):
                    await two.plug(pods(), "m")
                assert not (two.folder / "run" / "netns" / LAN).exists()

    run(body())


def test_an_add_waits_for_the_holder_on_another_node_to_go(api: FakeApi, pods: Callable[[], Namespace]) -> None:
    async def body() -> None:
        with fabric(api, 1500, 1500) as (one, two):
            async with agents(one, two, handover=20.0):
                first = pods()
                await one.plug(first, "m")
                await eventually("the VTEP", lambda: vteps(api))
                waiting = asyncio.create_task(two.plug(pods(), "m"))
                await asyncio.sleep(0.3)
                assert not waiting.done()
                await one.unplug(first, "m")
                await asyncio.wait_for(waiting, 5)
                await eventually("it is there", lambda: vteps(api) == {"n2": ["m"]})

    run(body())


def test_of_two_that_took_a_spoke_at_once_one_is_taken_down(api: FakeApi, pods: Callable[[], Namespace]) -> None:
    """And it is set up when the spoke is free, by what VTEPs tell; in the meantime it stays in its VTEP."""

    async def body() -> None:
        with fabric(api, 1500, 1500) as (one, two):
            async with agents(one, two):
                first, second = pods(), pods()
                await two.plug(pods(), "p2")
                two.line.cut = True
                await one.plug(first, "m")
                await two.plug(second, "m", "other")
                assert (ports(one)["mp"], ports(two)["mp"]) == (True, True)
                two.line.cut = False
                api.break_watches()
                await eventually("one has lost", lambda: not ports(two)["mp"])
                assert ports(one)["mp"]
                assert ports(two)["p2p"]
                assert sorted(vteps(api)["n2"]) == ["m", "p2"]
                await one.unplug(first, "m")
                await eventually("it is up", lambda: ports(two)["mp"])

    run(body())


def test_an_agent_that_starts_while_the_api_is_away_leaves_everything_as_it_is(
    api: FakeApi, pods: Callable[[], Namespace]
) -> None:
    async def body() -> None:
        with fabric(api, 1500, 1500) as (one, two):
            async with one.agent():
                first = pods()
                async with two.agent():
                    await two.plug(pods(), "p2")
                    two.line.cut = True
                    await one.plug(first, "m")
                    await two.plug(pods(), "m", "other")
                    two.line.cut = False
                    api.break_watches()
                    await eventually("one has lost", lambda: not ports(two)["mp"])
                    await eventually("the peer", lambda: two.inside(LAN).peers() == {"192.0.2.1"})
                two.line.cut = True
                async with two.agent():
                    await two.plug(pods(), "p1")
                    assert two.inside(LAN).peers() == {"192.0.2.1"}
                    assert ports(two) == {"mp": False, "p2p": True, "p1p": True}
                    two.line.cut = False
                    api.break_watches()
                    await one.unplug(first, "m")
                    await eventually("it is up", lambda: ports(two)["mp"])
                    await eventually("no peer", lambda: two.inside(LAN).peers() == set())

    run(body())


def test_new_attachments_have_the_least_mtu_of_all_nodes(api: FakeApi, pods: Callable[[], Namespace]) -> None:
    async def body() -> None:
        with fabric(api, 1500, 9000) as (small, large):
            async with agents(small, large):
                alone, second, third = pods(), pods(), pods()
                await large.plug(alone, "m")
                assert alone.links()["eth1"]["mtu"] == 8946
                await small.plug(second, "p1")
                assert second.links()["eth1"]["mtu"] == 1446
                await eventually("both", lambda: len(vteps(api)) == 2)
                await eventually("heard", lambda: large.inside(LAN).peers())
                await large.plug(third, "p2")
                assert third.links()["eth1"]["mtu"] == 1446
                assert large.inside(LAN).links()["br0"]["mtu"] == 8946

    run(body())


@pytest.mark.parametrize(("group", "fragment"), [("", False), ("239.1.1.1", False), ("", True), ("239.1.1.1", True)])
def test_a_host_outside_the_cluster_joins_by_the_commands(
    group: str, fragment: bool, api: FakeApi, pods: Callable[[], Namespace]
) -> None:
    path, found = LANS.path("lab", LAN), api.objects[LANS.path("lab", LAN)]
    found["spec"] |= {"remotes": ["192.0.2.3"]} | ({"vxlanGrp": group} if group else {})
    found["spec"] |= {"fragment": True} if fragment else {}
    bridge, size = ("br9", 1472) if fragment else ("", 1418)

    async def body() -> None:
        with fabric(api, 1500, 1500, 1500) as (one, two, host):
            async with agents(one, two):
                first, second, outside = pods(), pods(), host.namespace
                if bridge:
                    outside.ip("link", "add", bridge, "mtu", "1500", "type", "bridge", "mcast_snooping", "0")
                    outside.ip("link", "set", bridge, "up")
                await one.plug(first, "p1")
                await two.plug(second, "p2")
                await eventually("VTEPs", lambda: len(vteps(api)) == 2)
                known = [item for key, item in api.objects.items() if key.startswith(VTEPS.path("lab"))]
                lan = codec.decode(api.objects[path], strict=False)
                for _ in range(2):  # it may be run again
                    device = "eth0" if group else ""
                    lines = join.commands(lan, decoded(known), lan.remotes[0], device=device, bridge=bridge)
                    outside.run("sh", "-c", "\n".join(lines))
                for name, namespace, link in (
                    ("p1", first, "eth1"),
                    ("p2", second, "eth1"),
                    ("m", outside, bridge or "vxlan7"),
                ):
                    namespace.ip("address", "add", f"198.51.100.{HOSTS[name]}/24", "dev", link)
                assert outside.links()[bridge or "vxlan7"]["mtu"] == size + 28
                assert await reaches(first, outside, HOSTS["m"], size)
                assert await reaches(outside, second, HOSTS["p2"], size)
                assert await reaches(second, first, HOSTS["p1"], size)
                await one.unplug(first, "p1")
                await two.unplug(second, "p2")

    run(body())


def test_with_the_api_away_the_first_add_of_a_lan_goes_on(api: FakeApi, pods: Callable[[], Namespace]) -> None:
    async def body() -> None:
        with fabric(api, 1500) as (one,):
            async with one.agent():
                one.line.cut = True
                pod = pods()
                await one.plug(pod, "m")
                assert pod.links()["eth1"]["operstate"] == "UP"

    run(body())
