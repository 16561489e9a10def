"""Uplinks: hardware joins a LAN by a NIC of a node, one at a time. The hardware is namespaces: a switch and a box."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from itertools import chain
from typing import Any

import pytest

from k8slan_cli.agent import uplinks as agent_uplinks
from k8slan_cli.kube import lease
from k8slan_cli.kube.kinds import LANS, LEASES, VTEPS
from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.probe.frames import CLASSES
from k8slan_cli.probe.run import Probe, cross
from tests.node.fabric import Node, eventually, fabric, lan, reaches
from tests.node.test_probe import quiet
from tests.support.agents import Node as Machine
from tests.support.netns import Namespace, veth
from tests.unit.kube.fake_api import FakeApi

LAN = "uplinked"
BOX, POD = 99, 1
MTU = 1446


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    lan(api, LAN, 7, "p1", "p2")
    return api


@pytest.fixture
def pods() -> Iterator[Callable[[], Namespace]]:
    """Makes pods."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Namespace.create("pod"))


class Hardware:
    """A switch with a box at it, and a cable to a NIC ``nic`` of each node."""

    def __init__(self, switch: Namespace, box: Namespace) -> None:
        self.switch = switch
        self.box = box

    @classmethod
    @contextmanager
    def wired(cls, *nodes: Node) -> Iterator[Hardware]:
        """Make them, with port ``to1`` for node 1."""
        with Namespace.create("hw") as switch, Namespace.create("box") as box:
            self = cls(switch, box)
            quiet(switch)
            switch.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
            switch.ip("link", "set", "br0", "up")
            switch.run("sh", "-c", "for d in all default; do echo 1 >/proc/sys/net/ipv6/conf/$d/disable_ipv6; done")
            self.cable(box, "eth1", "box")
            box.ip("link", "set", "eth1", "mtu", str(MTU))
            for node in nodes:
                self.cable(node.namespace, "nic", f"to{node.number}")
            yield self

    def cable(self, other: Namespace, name: str, port: str) -> None:
        """Plug something into the switch."""
        veth(other, name, self.switch, port)
        self.switch.ip("link", "set", port, "master", "br0")
        self.switch.ip("link", "set", port, "type", "bridge_slave", "group_fwd_mask", "0xfffd")

    def pull(self, port: str) -> None:
        """Pull a cable out of the switch."""
        self.switch.ip("link", "set", port, "down")

    def plug(self, port: str) -> None:
        """Plug it in again."""
        self.switch.ip("link", "set", port, "up")


def uplinks(api: FakeApi, *found: dict[str, Any], **spec: Any) -> None:
    """Give the LAN uplinks, or none."""
    document = api.objects[LANS.path("lab", LAN)]
    api.put(LANS.path("lab", LAN), document | {"spec": document["spec"] | {"uplinks": list(found)} | spec})


def nic(node: int, device: str = "nic", **more: Any) -> dict[str, Any]:
    return {"node": f"n{node}", "device": device, **more}


def told(api: FakeApi) -> dict[str, list[str]]:
    """What each node's VTEP says of its uplinks."""
    found = [item["status"] | item["spec"] for path, item in api.objects.items() if path.startswith(VTEPS.path("lab"))]
    words = {
        item["node"]: [
            "active"
            if uplink.get("active")
            else uplink.get("message") or ("standby" if uplink.get("carrier") else "dark")
            for uplink in item.get("uplinks", [])
        ]
        for item in found
    }
    return dict(sorted(words.items()))


def is_gone(node: Node) -> bool:
    """Whether a node has nothing of the LAN."""
    return not (node.folder / "run" / "netns" / LAN).exists()


def hears_all(node: Node) -> bool:
    """Whether a NIC takes frames that are neither its own nor of groups that somebody has asked for."""
    nic = node.namespace.links()["nic"]
    return bool(nic.get("promiscuity") or nic.get("allmulti"))


def ports(node: Node, port: str = "nicu") -> str | None:
    """Whether a port is "in" the LAN's bridge, "out" of it, or not there."""
    if is_gone(node):
        return None
    link = node.inside(LAN).links().get(port)
    return None if link is None else "in" if link.get("master") == "br0" else "out"


@asynccontextmanager
async def agents(*nodes: Node) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.agent())
        yield


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 60))


def address(*found: tuple[Namespace, int]) -> None:
    """Give pods and the box their addresses, and each other's MAC addresses."""
    macs = {host: namespace.links()["eth1"]["address"] for namespace, host in found}
    for namespace, host in found:
        namespace.ip("address", "replace", f"198.51.100.{host}/24", "dev", "eth1")
        for other, mac in macs.items():
            if other != host:
                namespace.ip(
                    "neigh", "replace", f"198.51.100.{other}", "lladdr", mac, "dev", "eth1", "nud", "permanent"
                )


async def until_reached(sender: Namespace, receiver: Namespace, host: int) -> None:
    """Send until something arrives: what is on its way when another uplink takes over may be lost."""
    async with asyncio.timeout(10):
        while not await reaches(sender, receiver, host):
            pass


def wrong(sender: Namespace, receiver: Namespace) -> dict[str, str]:
    """The classes of frames that do not pass, and why."""
    with PacketSocket(sender.fd(), "eth1") as out, PacketSocket(receiver.fd(), "eth1") as to:
        results = cross(out, to, Probe(src=out.mac, dst=to.mac, mtu=MTU), seconds=0.3)
    assert len(results) == len(CLASSES)
    return {result.key: f"{result.verdict}: {result.detail}" for result in results if not result.ok}


def test_hardware_joins_by_a_nic_with_all_its_frames_and_drift_is_healed(
    api: FakeApi, pods: Callable[[], Namespace]
) -> None:
    async def body() -> None:
        with fabric(api, 1500, 1500) as (one, two), Hardware.wired(one) as hardware:
            uplinks(api, nic(1))
            async with agents(one, two):
                await eventually("active without a pod", lambda: told(api) == {"n1": ["active"]})
                pod, box = pods(), hardware.box
                await two.plug(pod, "p1")
                await eventually("the peer", lambda: one.inside(LAN).peers() == {"192.0.2.2"})
                address((pod, POD), (box, BOX))
                assert await reaches(pod, box, BOX)
                assert await reaches(box, pod, POD)
                assert await asyncio.to_thread(wrong, pod, box) == {}
                assert await asyncio.to_thread(wrong, box, pod) == {}
                assert set(one.namespace.links()) == {"eth0", "nic"}, "it is where it was"
                place = one.inside(LAN)
                for damage in (
                    "ip link del nicu",
                    "ip link set nicu nomaster",
                    "ip link set nicu down",
                    "ip link set nicu mtu 1000",
                    "ip link set nicu type bridge_slave group_fwd_mask 0",
                ):
                    place.run("sh", "-c", damage)
                    await eventually(f"healed: {damage}", lambda: wanted(one))
                assert await reaches(box, pod, POD)
                uplinks(api)
                await eventually("nothing is left", lambda: is_gone(one) and "n1" not in told(api))
                assert (
                    "promiscuity" not in one.namespace.links()["nic"] or not one.namespace.links()["nic"]["promiscuity"]
                )
                await two.unplug(pod, "p1")

    run(body())


def wanted(node: Node) -> bool:
    link = node.inside(LAN).links().get("nicu", {})
    data = link.get("linkinfo", {}).get("info_slave_data", {})
    return (link.get("master"), link.get("mtu"), "UP" in link.get("flags", ())) == ("br0", MTU, True) and data.get(
        "group_fwd_mask"
    ) in ("0xfffd", 0xFFFD)


@pytest.mark.parametrize(
    ("use", "undo", "said"),
    [
        ("ip address add 203.0.113.1/24 dev nic", "ip address flush dev nic", "nic has the address 203.0.113.1, so"),
        (
            "ip route add 203.0.113.0/24 dev nic",
            "ip route flush dev nic",
            "the node has a route to 203.0.113.0/24 by nic",
        ),
        (
            "ip route add 203.0.113.0/24 nexthop via 192.0.2.9 dev eth0 nexthop via 192.0.2.8 dev nic onlink",
            "ip route del 203.0.113.0/24",
            "the node has a route to 203.0.113.0/24 by nic",
        ),
        ("ip link add br9 type bridge; ip link set nic master br9", "ip link set nic nomaster", "nic is a port of br9"),
        ("ip link set nic down", "ip link set nic up", "nic is down: ip link set nic up"),
        ("ip link set nic mtu 1400", "ip link set nic mtu 1500", "nic has MTU 1400, the LAN 1446"),
        (
            "ip link set nic down; ip link set nic name cin",
            "ip link set cin name nic; ip link set nic up",
            "there is no device nic",
        ),
        ("ip link add mv link nic type macvlan", "ip link del mv", "the node has another device over this NIC"),
    ],
)
def test_a_nic_that_the_node_itself_uses_is_left_to_it(api: FakeApi, use: str, undo: str, said: str) -> None:
    async def body() -> None:
        with fabric(api, 1500) as (one,), Hardware.wired(one):
            one.namespace.run("sh", "-c", use)
            uplinks(api, nic(1))
            async with agents(one):
                await eventually(f"said: {said}", lambda: said in str(told(api)))
                assert ports(one) != "in"
                one.namespace.run("sh", "-c", undo)
                await eventually("active", lambda: told(api) == {"n1": ["active"]})
                assert ports(one) == "in"

    run(body())


def test_another_uplink_takes_over_within_three_seconds(api: FakeApi, pods: Callable[[], Namespace]) -> None:
    """Though neither the pod nor the box says anything by itself, or has to ask for the other."""

    async def body() -> None:
        with fabric(api, 1500, 1500, 1500) as nodes, Hardware.wired(*nodes[:2]) as hardware:
            uplinks(api, nic(1), nic(2))
            pod, box = pods(), hardware.box
            async with agents(*nodes):
                await eventually(
                    "one is active", lambda: sorted(map(str, told(api).values())) == ["['active']", "['standby']"]
                )
                await nodes[2].plug(pod, "p1")
                await eventually("peers", lambda: all(len(node.inside(LAN).peers()) == 2 for node in nodes))
                address((pod, POD), (box, BOX))
                assert await reaches(box, pod, POD)
                assert await reaches(pod, box, BOX)
                for _ in range(2):
                    (active,) = [node for node in nodes[:2] if ports(node) == "in"]
                    other = nodes[1] if active is nodes[0] else nodes[0]
                    start = time.monotonic()
                    hardware.pull(f"to{active.number}")
                    await eventually("another", lambda other=other: ports(other) == "in")
                    assert ports(active) == "out"
                    await until_reached(box, pod, POD)
                    await until_reached(pod, box, BOX)
                    assert time.monotonic() - start < 12, "sooner than a Lease that is not renewed is free"
                    hardware.plug(f"to{active.number}")
                    await eventually("standby", lambda active=active: told(api)[active.name] == ["standby"])

    run(body())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that run out in 3 s instead of 15 s."""
    for name, seconds in (("DURATION", 3.0), ("RENEW_AFTER", 1.0), ("RENEW_BEFORE", 2.0)):
        monkeypatch.setattr(lease, name, seconds)
    monkeypatch.setattr(agent_uplinks, "_DECIDED_SECONDS", 2.0)


async def settled(api: FakeApi, *nodes: Node) -> tuple[Node, Node]:
    """Wait until one of two nodes has the active uplink; returns that one and the other."""
    await eventually("one is active", lambda: sorted(chain(*told(api).values())) == ["active", "standby"])
    active = next(node for node in nodes if told(api)[node.name] == ["active"])
    return active, next(node for node in nodes if node is not active)


@pytest.mark.usefixtures("quick")
def test_a_node_that_is_cut_off_lets_go_before_another_begins(api: FakeApi) -> None:
    async def body() -> None:
        with fabric(api, 1500, 1500) as nodes, Hardware.wired(*nodes):
            uplinks(api, nic(1), nic(2))
            async with agents(*nodes):
                active, other = await settled(api, *nodes)
                seen = []

                def look() -> bool:
                    now = (ports(active), ports(other))
                    if not seen or seen[-1] != now:
                        seen.append(now)
                    return now == ("out", "in")

                active.line.cut = True
                await eventually("handed over", look)
                assert seen == [("in", "out"), ("out", "out"), ("out", "in")]
                active.line.cut = False
                await eventually("standby", lambda: told(api)[active.name] == ["standby"])

    run(body())


@pytest.mark.usefixtures("quick")
def test_an_agent_that_is_gone_leaves_the_uplink_open_and_no_other_is_beside_it(
    api: FakeApi, pods: Callable[[], Namespace]
) -> None:
    """Also for longer than a Lease lasts: the frames of who holds it by then come back. The next agent lets go."""

    async def body() -> None:
        with fabric(api, 1500, 1500, 1500) as nodes, Hardware.wired(*nodes[:2]) as hardware:
            uplinks(api, nic(1), nic(2))
            pod, box = pods(), hardware.box
            async with nodes[2].agent(), AsyncExitStack() as second:
                await nodes[2].plug(pod, "p1")
                address((pod, POD), (box, BOX))
                async with nodes[0].agent():
                    await eventually("it is active", lambda: told(api).get("n1") == ["active"])
                async with nodes[0].agent():
                    assert ports(nodes[0]) == "in"
                    await eventually("it goes on", lambda: holder(api) == "n1" and ports(nodes[0]) == "in")
                await second.enter_async_context(nodes[1].agent())
                await eventually("another holds the Lease", lambda: holder(api) == "n2")
                await eventually("it says why", lambda: "came back through the hardware" in str(told(api)["n2"]))
                assert (ports(nodes[0]), ports(nodes[1])) == ("in", "out")
                await until_reached(pod, box, BOX)
                async with nodes[0].agent():
                    await eventually("handed over", lambda: (ports(nodes[0]), ports(nodes[1])) == ("out", "in"))
                    await eventually("said", lambda: told(api)["n2"] == ["active"])
                    await until_reached(pod, box, BOX)

    run(body())


def holder(api: FakeApi) -> str:
    """Who holds the LAN's Lease."""
    found = [item for path, item in api.objects.items() if path.startswith(LEASES.path("system"))]
    return str(found[0]["spec"]["holderIdentity"]) if found else ""


def test_a_loop_that_a_pod_makes_closes_the_uplink_until_it_is_gone(
    api: FakeApi, pods: Callable[[], Namespace]
) -> None:
    async def body() -> None:
        with fabric(api, 1500) as (one,), Hardware.wired(one) as hardware:
            uplinks(api, nic(1))
            pod = pods()
            async with one.agent():
                await eventually("active", lambda: told(api) == {"n1": ["active"]})
                await one.plug(pod, "p1")
                quiet(pod)
                pod.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
                pod.ip("link", "set", "br0", "up")
                pod.ip("link", "set", "eth1", "master", "br0")
                hardware.cable(pod, "back", "back")
                pod.ip("link", "set", "back", "master", "br0")
                await eventually("closed", lambda: ports(one) == "out")
                await eventually("said", lambda: "came back through the LAN" in str(told(api)))
                pod.ip("link", "set", "back", "nomaster")
                await eventually("open again", lambda: told(api) == {"n1": ["active"]})

    run(body())


def test_uplinks_of_one_node_need_no_api_server_and_take_each_others_place(api: FakeApi) -> None:
    async def body() -> None:
        with fabric(api, 1500) as (one,), Hardware.wired(one) as hardware:
            hardware.cable(one.namespace, "spare", "spare")
            uplinks(api, nic(1), nic(1, "spare"))
            async with one.agent():
                await eventually("the first is active", lambda: told(api) == {"n1": ["active", "standby"]})
                assert not holder(api)
                one.line.cut = True
                hardware.pull("to1")
                await eventually("the second is", lambda: (ports(one), ports(one, "spareu")) == ("out", "in"))
                hardware.plug("to1")
                one.line.cut = False
                await eventually("said", lambda: told(api) == {"n1": ["standby", "active"]})

    run(body())


def test_the_lease_goes_with_the_uplinks_and_an_uplink_that_is_added_disturbs_none(api: FakeApi) -> None:
    async def body() -> None:
        with fabric(api, 1500, 1500) as nodes, Hardware.wired(*nodes):
            uplinks(api, nic(1))
            async with agents(*nodes):
                await eventually("active", lambda: told(api) == {"n1": ["active"]})
                uplinks(api, nic(1), nic(2))
                await eventually("both", lambda: told(api) == {"n1": ["active"], "n2": ["standby"]})
                uplinks(api)
                await eventually("nothing is left", lambda: not told(api) and not holder(api))
                assert all(map(is_gone, nodes))
                assert not any(map(hears_all, nodes))

    run(body())


def test_a_lan_that_goes_while_agents_are_away_leaves_no_lease(api: FakeApi) -> None:
    async def body() -> None:
        with fabric(api, 1500, 1500) as nodes, Hardware.wired(*nodes):
            uplinks(api, nic(1), nic(2))
            async with agents(*nodes):
                await settled(api, *nodes)
            api.remove(LANS.path("lab", LAN))
            async with agents(*nodes):
                await eventually("nothing is left", lambda: all(map(is_gone, nodes)))
                await eventually("no Lease", lambda: not any(p.startswith(LEASES.path("system")) for p in api.objects))
                assert not any(map(hears_all, nodes))

    run(body())


def test_from_files_the_node_that_is_named_first_has_it_and_keeps_it_over_a_crash() -> None:
    with Machine.create() as node, Namespace.create("hw") as switch:
        veth(node.namespace, "nic", switch, "port")
        mine, others = {"node": node.name, "device": "nic"}, {"node": "other", "device": "nic"}
        name = node.lan(spokes=["a"], uplinks=[mine, others])
        with node.agent() as agent:
            agent.log.wait("set uplink nic active: nicu in br0, mtu 1446")
            agent.kill()
        index = node.inside(name).links()["nicu"]["ifindex"]
        with node.agent() as agent:
            assert agent.log.operations() == []
            assert node.inside(name).links()["nicu"]["master"] == "br0"
            node.lan(name, spokes=["a"], uplinks=[others, mine])
            agent.log.wait("set uplink nic standby: nicu out of the bridge")
            assert node.inside(name).links()["nicu"]["ifindex"] == index
            (node.files / f"{name}.yaml").unlink()
            agent.log.wait(f"delete namespace {name}")
        assert set(node.namespace.links()) == {"eth0", "wire", "nic"}
