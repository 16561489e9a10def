"""What is changed behind the agent's back comes back within a second, and where nothing is wrong nothing is done."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from k8slan_cli.lan import names as lan_names
from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.probe.run import Probe, cross
from tests.support import names
from tests.support.agents import AT_ONCE, Agent, Inside, Node, dynamic, eventually, macvtap, pods, veth
from tests.support.netns import Namespace, command


@dataclass(frozen=True)
class Lab:
    """A LAN with two pods and a VM on one node."""

    node: Node
    agent: Agent
    lan: str
    inside: Inside
    pods: tuple[Namespace, Namespace, Namespace]
    vm: str

    def port(self, number: int = 0) -> str:
        """The port of a pod."""
        return ("ap", "bp", f"{self.vm}p")[number]

    def state(self) -> object:
        """All that k8slan cares about in the LAN, and in the pods."""
        links = self.inside.links()
        found: dict[str, object] = {}
        for name, link in links.items():
            info = link["linkinfo"]
            data = info.get("info_data", {})
            found[name] = (
                *(link["mtu"], "UP" in link["flags"], link.get("master"), link["address"], link.get("ifalias")),
                info.get("info_slave_data", {}).get("group_fwd_mask"),
                [data.get(key) for key in ("stp_state", "mcast_snooping", "vlan_filtering", "id", "port", "local")],
            )
        for number, pod in enumerate(self.pods):
            link = pod.links()["net1"]
            addresses = [a["local"] for a in pod.ip("address", "show", "dev", "net1")[0]["addr_info"]]
            found[f"pod {number}"] = (link["mtu"], link["address"], sorted(addresses), "UP" in link["flags"])
            found[f"allmulti {number}"] = "ALLMULTI" in link["flags"]
        return found, self.inside.peers()

    def passes(self) -> None:
        """Assert that frames of every class pass from one pod to the other."""
        one, other, _ = self.pods
        with PacketSocket(one.fd(), "net1") as sender, PacketSocket(other.fd(), "net1") as receiver:
            results = cross(sender, receiver, Probe(src=sender.mac, dst=receiver.mac, mtu=1446, count=1))
        assert [(r.key, r.verdict, r.detail) for r in results if not r.ok] == []


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Node.create() as node, pods(3) as (one, two, three):
        vm = names.unique("v")
        lan = node.lan(spokes=["a", "b", vm], peers=["192.0.2.1", "192.0.2.7", "192.0.2.8"])
        with node.agent() as agent:
            config = veth("a", runtimeConfig={"ips": ["198.51.100.1/24", "2001:db8::1/64"]})
            node.add(one, config).result()
            node.add(two, veth("b")).result()
            node.add(three, macvtap(vm)).result()
            yield Lab(node, agent, lan, node.inside(lan), (one, two, three), vm)


def test_everything_comes_back(lab: Lab, damage: tuple[str, str]) -> None:
    """Each fault alone: within a second it is undone, by the operation that is logged, and nothing else has changed."""
    script, operation = damage
    before = lab.state()
    mark = lab.agent.log.mark()
    began = time.monotonic()
    lab.inside.run("sh", "-c", script.replace("VM", lab.vm))
    lab.agent.log.wait(operation.replace("VM", lab.vm), since=mark, seconds=AT_ONCE)
    eventually("all is as it was", lambda: state_or_none(lab) == before, AT_ONCE - (time.monotonic() - began))
    lab.passes()


def state_or_none(lab: Lab) -> object:
    """The state, or None while a part of it is missing."""
    try:
        return lab.state()
    except (AssertionError, KeyError):
        return None


DAMAGES = {
    "the bridge is deleted": ("ip link del br0", "create bridge br0"),
    "the bridge is down": ("ip link set br0 down", "set bridge br0"),
    "the bridge's MTU": ("ip link set br0 mtu 1300", "set bridge br0"),
    "STP is on": ("ip link set br0 type bridge stp_state 1", "set bridge br0"),
    "snooping is on": ("ip link set br0 type bridge mcast_snooping 1", "set bridge br0"),
    "the bridge is renamed": ("ip link set br0 down; ip link set br0 name br9", "create bridge br0"),
    "the tunnel is deleted": ("ip link del vxlan0", "create vxlan vxlan0"),
    "the tunnel is down": ("ip link set vxlan0 down", "set port vxlan0"),
    "the tunnel is out of the bridge": ("ip link set vxlan0 nomaster", "set port vxlan0"),
    "the tunnel's MTU": ("ip link set vxlan0 mtu 1300", "set port vxlan0"),
    "a port is deleted": ("ip link del ap", "create veth ap"),
    "several ports are deleted": ("ip link del ap; ip link del bp; ip link del VMp", "create macvtap over VMs"),
    "a port is down": ("ip link set ap down", "set port ap"),
    "a port is out of the bridge": ("ip link set ap nomaster", "set port ap"),
    "a port's MTU": ("ip link set ap mtu 1300", "set port ap"),
    "a port's mask by ip": ("ip link set ap type bridge_slave group_fwd_mask 0", "set port ap"),
    "a port's alias": ("ip link set ap alias somebody", "delete ap"),
    "a port is renamed": ("ip link set ap down; ip link set ap name zp", "create veth ap"),
    "a VM's port is deleted": ("ip link del VMp", "create macvtap over VMs"),
    "a VM's lower device is deleted": ("ip link del VMs", "create macvtap over VMs"),
    "a VM's lower device is down": ("ip link set VMs down", "set VMs"),
    "a VM's port is out of the bridge": ("ip link set VMp nomaster", "set port VMp"),
    "all at once": ("ip link del br0; ip link del vxlan0; ip link del ap; ip link set bp down", "create veth ap"),
}


@pytest.fixture(params=DAMAGES)
def damage(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A command that damages the LAN, and the operation that repairs it."""
    found: tuple[str, str] = DAMAGES[request.param]
    return found


def test_a_deleted_port_comes_back_with_the_pods_own_mac_and_addresses(lab: Lab) -> None:
    pod = lab.pods[0]
    before = pod.links()["net1"]
    mark = lab.agent.log.mark()
    pod.ip("link", "delete", "net1")  # the pod's end: the port goes with it
    lab.agent.log.wait(rf"bring up {pod.name} .net1. with 198.51.100.1/24, 2001:db8::1/64", since=mark, seconds=AT_ONCE)
    after = pod.links()["net1"]
    assert (after["address"], after["mtu"]) == (before["address"], before["mtu"])
    infos = pod.ip("address", "show", "dev", "net1")[0]["addr_info"]
    assert {a["local"] for a in infos if a["scope"] == "global"} == {"198.51.100.1", "2001:db8::1"}
    lab.passes()


def test_a_vms_tap_comes_back_under_its_name(lab: Lab) -> None:
    tap = Path(f"/dev/tap{lan_names.tap_index(f'default/{lab.lan}', lab.vm)}")
    mark = lab.agent.log.mark()
    lab.inside.run("ip", "link", "del", f"{lab.vm}s")
    lab.agent.log.wait("bring up", since=mark, seconds=AT_ONCE)
    assert tap.is_char_device()
    assert "ALLMULTI" in lab.pods[2].links()["net1"]["flags"]


def test_an_unmounted_namespace_is_mounted_again(lab: Lab) -> None:
    before = lab.state()
    mark = lab.agent.log.mark()
    command("umount", "--lazy", str(lab.inside.path))
    lab.agent.log.wait(f"mount namespace {lab.lan} again", since=mark, seconds=AT_ONCE)
    assert lab.state() == before
    lab.passes()


def test_a_mask_that_is_written_to_sysfs_comes_back(lab: Lab) -> None:
    """The usual way to set it by hand, of which the bridge tells only in its own family of messages."""
    file = "/sys/class/net/bp/brport/group_fwd_mask"
    mark = lab.agent.log.mark()
    lab.inside.run("unshare", "--mount", "sh", "-c", f"mount -t sysfs none /sys && echo 0 >{file}")
    lab.agent.log.wait("set port bp", since=mark, seconds=AT_ONCE)
    assert lab.inside.links()["bp"]["linkinfo"]["info_slave_data"]["group_fwd_mask"] == "0xfffd"
    assert len(lab.agent.log.operations(mark)) == 1


def test_peers_are_not_watched_but_a_look_at_the_whole_lan_finds_them(lab: Lab) -> None:
    mark = lab.agent.log.mark()
    lab.inside.run("bridge", "fdb", "del", "00:00:00:00:00:00", "dev", "vxlan0", "dst", "192.0.2.7", "self")
    assert lab.inside.peers() == {"192.0.2.8"}
    lab.inside.run("ip", "link", "set", "br0", "down")
    lab.agent.log.wait("add peer 192.0.2.7 to vxlan0", since=mark, seconds=AT_ONCE)
    assert lab.inside.peers() == {"192.0.2.7", "192.0.2.8"}


def test_what_is_not_k8slans_is_left_alone(lab: Lab) -> None:
    """Links that somebody puts beside or into the bridge, and entries of the forwarding table."""
    lab.inside.run("ip", "link", "add", "mine", "type", "veth", "peer", "name", "mine2")
    lab.inside.run("ip", "link", "set", "mine", "master", "br0", "up")
    lab.inside.run("bridge", "fdb", "add", "02:00:00:00:00:77", "dev", "ap", "master", "static")
    mark = lab.agent.log.mark()
    lab.inside.run("ip", "link", "set", "ap", "down")
    lab.agent.log.wait("set port ap", since=mark, seconds=AT_ONCE)
    assert len(lab.agent.log.operations(mark)) == 1
    assert lab.inside.links()["mine"]["master"] == "br0"
    lab.inside.run("ip", "link", "del", "mine")


def test_nothing_is_done_where_nothing_is_wrong(lab: Lab) -> None:
    """Traffic, and what a pod does with its own interface, is no business of the agent."""
    mark = lab.agent.log.mark()
    one = lab.pods[0]
    lab.passes()
    one.ip("address", "add", "203.0.113.1/24", "dev", "net1")
    one.ip("link", "set", "net1", "promisc", "on")
    one.ip("link", "add", "own", "type", "bridge")
    one.ip("link", "set", "net1", "down")
    one.ip("link", "set", "net1", "up")
    lab.node.namespace.ip("link", "add", "other0", "type", "bridge")
    lab.node.namespace.ip("link", "delete", "other0")
    lab.inside.run("ip", "link", "set", "bp", "down")  # and this one is: the agent has seen all that was before
    lab.agent.log.wait("set port bp", since=mark, seconds=AT_ONCE)
    assert lab.agent.log.operations(mark) == [line for line in lab.agent.log.operations(mark) if "set port bp" in line]
    one.ip("link", "delete", "own")
    one.ip("address", "delete", "203.0.113.1/24", "dev", "net1")


def test_an_agent_with_nothing_to_do_sleeps() -> None:
    """Nothing is polled: no thread wakes up while nothing happens."""
    seconds = 2.0
    with Node.create(http="127.0.0.1:9402") as node, pods(3) as several:
        lan = node.lan(dynamic=True)
        with node.agent(alone=True) as agent:
            for pod in several:
                node.add(pod, dynamic(f"default/{lan}")).result()
            agent.log.wait(f"attached {several[-1].name}")
            mark = agent.log.mark()
            eventually("the underlay's own IPv6 addresses are settled", lambda: settled(node.namespace))
            before = eventually("the agent rests", lambda: rests(agent))
            time.sleep(seconds)  # the time that is measured, not one that is waited for
            woken, used = (b - a for a, b in zip(before, agent.switches(), strict=True))
            assert woken <= 2
            assert used <= 0.01 * seconds
            assert agent.log.lines[mark:] == []
            for pod in several:
                node.delete(pod, dynamic(f"default/{lan}")).ok()


def settled(namespace: Namespace) -> bool:
    """Whether duplicate address detection is over: its end is told to the agent."""
    return not any("tentative" in a for entry in namespace.ip("address", "show") for a in entry["addr_info"])


def rests(agent: Agent) -> tuple[int, float] | None:
    """The agent's numbers if they stay the same for a moment: what follows an ADD is over."""
    before = agent.switches()
    time.sleep(0.2)
    return before if agent.switches() == before else None


# ---------------------------------------------------------------- the underlay


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.create() as node:
        yield node


def replug(node: Node, address: str = "192.0.2.1/24", mtu: int = 1500) -> None:
    """Put the underlay back, under another link index."""
    node.namespace.ip("link", "add", "spacer", "type", "bridge")
    plug = ("mtu", str(mtu), "type", "veth", "peer", "name", "wire")
    node.namespace.ip("link", "add", "eth0", *plug)
    node.namespace.ip("link", "delete", "spacer")
    for name in ("wire", "eth0"):
        node.namespace.ip("link", "set", name, "up")
    node.namespace.ip("address", "add", address, "dev", "eth0")


def test_without_its_underlay_an_add_is_refused_for_now(node: Node) -> None:
    lan = node.lan(spokes=["a"], defaultVxlanDev="eth7")
    with node.agent(), Namespace.create("pod") as pod:
        said = node.add(pod, veth("a")).error(11)
        assert "the underlay device eth7 is not on this node" in said
        assert "spec.defaultVxlanDev or spec.vxlanDevMap" in said
        assert pod.links() == {}
        node.assert_nothing_left()
        node.namespace.ip("link", "add", "eth7", "type", "veth", "peer", "name", "wire7")
        assert "eth7 has no address for VXLAN" in node.add(pod, veth("a")).error(7)
        node.namespace.ip("address", "add", "203.0.113.1/24", "dev", "eth7")
        node.add(pod, veth("a")).result()
        assert node.inside(lan).links()["vxlan0"]["linkinfo"]["info_data"]["local"] == "203.0.113.1"
        node.delete(pod, veth("a")).ok()
        node.assert_nothing_left()


def test_an_underlay_that_goes_and_comes_back(node: Node) -> None:
    """Local traffic goes on without it; the tunnel returns by itself, on another link index and address."""
    lan = node.lan(dynamic=True, peers=["192.0.2.9"])
    config = dynamic(f"default/{lan}")
    with node.agent() as agent, pods(2) as (one, two):
        for pod in (one, two):
            node.add(pod, config).result()
        old = node.inside(lan).links()["vxlan0"]
        mark = agent.log.mark()
        node.namespace.ip("link", "delete", "eth0")
        agent.log.wait("the underlay device eth0 is not on this node", since=mark)
        assert "vxlan0" not in node.inside(lan).links()
        local_traffic(one, two)
        with Namespace.create("pod") as late:
            assert "eth0 is not on this node" in node.add(late, config).error(11)
            assert late.links() == {}
        assert len(node.records()) == 2

        mark = agent.log.mark()
        replug(node, "192.0.2.44/24")
        agent.log.wait("add peer 192.0.2.9 to vxlan0", since=mark, seconds=AT_ONCE)
        new = node.inside(lan).links()["vxlan0"]
        assert (new["link_index"] != old["link_index"], new["master"]) == (True, "br0")
        assert new["linkinfo"]["info_data"]["local"] == "192.0.2.44"
        local_traffic(one, two)
        for pod in (one, two):
            node.delete(pod, config).ok()
        node.assert_nothing_left()


def local_traffic(one: Namespace, two: Namespace) -> None:
    """Assert that frames pass between two pods of a node."""
    with PacketSocket(one.fd(), "net1") as sender, PacketSocket(two.fd(), "net1") as receiver:
        results = cross(sender, receiver, Probe(src=sender.mac, dst=receiver.mac, mtu=1000, count=1))
    assert [(r.key, r.verdict, r.detail) for r in results if not r.ok] == []


def test_a_del_works_without_the_underlay(node: Node) -> None:
    lan = node.lan(spokes=["a", "b"])
    with node.agent() as agent, pods(2) as (one, two):
        node.add(one, veth("a")).result()
        node.add(two, veth("b")).result()
        node.namespace.ip("link", "delete", "eth0")
        agent.log.wait("the underlay device eth0 is not on this node")
        node.delete(one, veth("a")).ok()
        assert one.links() == {}
        assert "ap" not in node.inside(lan).links()
        node.delete(two, veth("b")).ok()
        node.assert_nothing_left()


def test_the_underlays_address_changes(node: Node) -> None:
    lan = node.lan(spokes=["a"])
    with node.agent() as agent, Namespace.create("pod") as pod:
        node.add(pod, veth("a")).result()
        mark = agent.log.mark()
        node.namespace.ip("address", "add", "203.0.113.1/24", "dev", "eth0")
        node.namespace.ip("address", "delete", "192.0.2.1/24", "dev", "eth0")
        agent.log.wait("local 203.0.113.1", since=mark, seconds=AT_ONCE)
        assert node.inside(lan).links()["vxlan0"]["linkinfo"]["info_data"]["local"] == "203.0.113.1"
        node.delete(pod, veth("a")).ok()


def test_the_underlays_mtu_shrinks_and_grows(node: Node) -> None:
    """The LAN follows; a pod that is there keeps its MTU, a new one gets the new."""
    lan = node.lan(dynamic=True)
    config = dynamic(f"default/{lan}")
    with node.agent() as agent, pods(2) as (old, new):
        node.add(old, config).result()
        for mtu in (1400, 1450):
            mark = agent.log.mark()
            node.namespace.ip("link", "set", "eth0", "mtu", str(mtu))
            agent.log.wait(f"set port .* mtu {mtu - 54}", since=mark, seconds=AT_ONCE)
            eventually("all follow", lambda: mtus(node, lan) == {mtu - 54}, AT_ONCE)  # noqa: B023
        assert node.add(new, config).result()["interfaces"][1]["mtu"] == 1396
        assert (old.links()["net1"]["mtu"], new.links()["net1"]["mtu"]) == (1446, 1396)
        for pod in (old, new):
            node.delete(pod, config).ok()
        node.assert_nothing_left()


def mtus(node: Node, lan: str) -> set[int]:
    """The MTUs of a LAN's links."""
    return {link["mtu"] for link in node.inside(lan).links().values()}


def test_a_wish_that_no_longer_fits_keeps_the_lan_as_it_is(node: Node) -> None:
    lan = node.lan(spokes=["a", "b"], mtu=1446)
    with node.agent() as agent, pods(2) as (one, two):
        node.add(one, veth("a")).result()
        before = node.inside(lan).links()
        mark = agent.log.mark()
        node.namespace.ip("link", "set", "eth0", "mtu", "1400")
        agent.log.wait("spec.mtu: 1446 does not fit", since=mark, seconds=AT_ONCE)
        assert node.inside(lan).links().keys() == before.keys()
        assert "spec.mtu: 1446 does not fit" in node.add(two, veth("b")).error(7)
        node.namespace.ip("link", "set", "eth0", "mtu", "1500")
        eventually("it fits again", lambda: node.add(two, veth("b")).status == 0)
        for pod, spoke in ((one, "a"), (two, "b")):
            node.delete(pod, veth(spoke)).ok()
        node.assert_nothing_left()


@pytest.mark.parametrize(
    ("options", "spec"),
    [
        ((), {"defaultVxlanDev": None}),
        (("--node-ip", "192.0.2.1"), {"defaultVxlanDev": None}),
        ((), {"defaultVxlanDev": "nowhere0", "vxlanDevMap": {"NODE": "eth0", "other": "nowhere1"}}),
    ],
)
def test_the_underlay_is_found(node: Node, options: tuple[str, ...], spec: dict[str, object]) -> None:
    """By the default route, by the node's InternalIP, by the node's name."""
    if devices := spec.get("vxlanDevMap"):
        assert isinstance(devices, dict)
        spec = spec | {"vxlanDevMap": {key.replace("NODE", node.name): value for key, value in devices.items()}}
    elif not options:
        node.namespace.ip("route", "add", "default", "via", "192.0.2.254")
    lan = node.lan(spokes=["a"], **spec)
    with node.agent(*options), Namespace.create("pod") as pod:
        node.add(pod, veth("a")).result()
        index = node.namespace.links()["eth0"]["ifindex"]
        assert node.inside(lan).links()["vxlan0"]["link_index"] == index
        node.delete(pod, veth("a")).ok()


def test_a_node_address_on_loopback_means_the_device_towards_the_peers(node: Node) -> None:
    """As on nodes that run BGP: VXLAN has that address, and the device and MTU of the way, wherever it goes next."""
    inside = node.namespace
    inside.ip("link", "set", "lo", "up")
    inside.ip("address", "add", "203.0.113.1/32", "dev", "lo")
    inside.ip("link", "add", "eth1", "mtu", "1400", "type", "veth", "peer", "name", "far1")
    for name in ("eth1", "far1"):
        inside.ip("link", "set", name, "up")
    inside.ip("address", "add", "198.51.100.1/24", "dev", "eth1")
    inside.ip("route", "add", "203.0.113.9/32", "via", "198.51.100.9")
    over = lambda name: f"if{inside.links()[name]['ifindex']}"  # noqa: E731 - as ip tells a link of another namespace
    lan = node.lan(spokes=["a"], defaultVxlanDev=None, remotes=["203.0.113.9"])
    with node.agent("--node-ip", "203.0.113.1") as agent, Namespace.create("pod") as pod:
        node.add(pod, veth("a")).result()
        vxlan = node.inside(lan).links()["vxlan0"]
        assert over("eth1") == vxlan["linkinfo"]["info_data"]["link"]
        assert vxlan["linkinfo"]["info_data"]["local"] == "203.0.113.1"
        assert vxlan["mtu"] == 1346
        mark = agent.log.mark()
        inside.ip("route", "replace", "203.0.113.9/32", "via", "192.0.2.9")
        agent.log.wait("create vxlan .* over eth0, local 203.0.113.1, mtu 1446", since=mark, seconds=AT_ONCE)
        assert over("eth0") == node.inside(lan).links()["vxlan0"]["linkinfo"]["info_data"]["link"]
        node.delete(pod, veth("a")).ok()


def test_a_node_address_that_moves_to_loopback_leaves_it_to_routes_from_then_on(node: Node) -> None:
    inside = node.namespace
    inside.ip("link", "set", "lo", "up")
    inside.ip("address", "add", "203.0.113.1/32", "dev", "eth0")
    inside.ip("link", "add", "eth1", "type", "veth", "peer", "name", "far1")
    for name in ("eth1", "far1"):
        inside.ip("link", "set", name, "up")
    inside.ip("address", "add", "198.51.100.1/24", "dev", "eth1")
    inside.ip("route", "add", "203.0.113.9/32", "via", "198.51.100.9")
    node.lan(spokes=["a"], defaultVxlanDev=None, remotes=["203.0.113.9"])
    with node.agent("--node-ip", "203.0.113.1") as agent, Namespace.create("pod") as pod:
        node.add(pod, veth("a")).result()
        for device, command in (
            ("eth1", ("address", "del", "203.0.113.1/32", "dev", "eth0")),
            ("eth0", ("route", "replace", "203.0.113.9/32", "via", "192.0.2.9")),
            ("eth1", ("route", "replace", "203.0.113.9/32", "via", "198.51.100.9")),
        ):
            mark = agent.log.mark()
            inside.ip(*command)
            if command[0] == "address":
                assert not hears_routes(inside)
                inside.ip("address", "add", "203.0.113.1/32", "dev", "lo")
                eventually("it listens to routes", lambda: hears_routes(inside))
            agent.log.wait(f"create vxlan .* over {device}, local 203.0.113.1", since=mark, seconds=AT_ONCE)
        node.delete(pod, veth("a")).ok()


def hears_routes(namespace: Namespace) -> bool:
    """Whether a netlink socket listens to routes of both families: RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE."""
    sockets = (line.split() for line in namespace.run("cat", "/proc/net/netlink").splitlines()[1:])
    return any(int(groups, 16) & 0x440 == 0x440 for _, protocol, _, groups, *_ in sockets if protocol == "0")


def test_no_underlay_is_named_and_there_is_no_default_route(node: Node) -> None:
    node.lan(spokes=["a"], defaultVxlanDev=None)
    with node.agent(), Namespace.create("pod") as pod:
        said = node.add(pod, veth("a")).error(11)
        assert "no underlay device is named and this node has no default route" in said
        assert "set spec.defaultVxlanDev" in said
        node.assert_nothing_left()


# ---------------------------------------------------------------- a VNI that is taken


FOREIGN = ("link", "add", "foreign", "type", "vxlan", "id", "5005", "dstport", "4789", "dev", "eth0")


def test_a_vni_that_another_program_uses(node: Node) -> None:
    node.lan(spokes=["a"], vni=5005)
    with node.agent(), Namespace.create("pod") as pod:
        node.namespace.ip(*FOREIGN)
        said = node.add(pod, veth("a")).error(102)
        assert "another program or LAN uses this VNI and port: choose another vni or vxlanPort" in said
        assert pod.links() == {}
        node.assert_nothing_left()
        node.namespace.ip("link", "delete", "foreign")
        node.add(pod, veth("a")).result()
        node.delete(pod, veth("a")).ok()
        node.assert_nothing_left()


def test_a_udp_port_that_another_program_has(node: Node) -> None:
    """It is named, and so is what to set; once it is gone the LAN works."""
    node.lan(spokes=["a"])
    script = "import socket, time; s = socket.socket(2, 2); s.bind(('', 4789)); print(flush=True); time.sleep(600)"
    with node.agent(), Namespace.create("pod") as pod:
        with node.namespace.start(sys.executable, "-c", script, stdout=subprocess.PIPE) as program:
            assert program.stdout
            program.stdout.readline()
            said = node.add(pod, veth("a")).error(102)
            assert "Address already in use" in said
            assert re.search(rf"UDP port 4789 is held by python\S* .process {program.pid}.: end that, or set", said)
            assert pod.links() == {}
            program.kill()
        node.add(pod, veth("a")).result()
        node.delete(pod, veth("a")).ok()
        node.assert_nothing_left()


def test_a_udp_port_that_a_vxlan_device_of_another_kind_has(node: Node) -> None:
    node.lan(spokes=["a"])
    node.namespace.ip("link", "add", "flannel.1", "type", "vxlan", "external", "dstport", "4789")
    node.namespace.ip("link", "set", "flannel.1", "up")
    with node.agent(), Namespace.create("pod") as pod:
        said = node.add(pod, veth("a")).error(102)
        assert "UDP port 4789 is held by VXLAN device flannel.1: end that, or set another spec.vxlanPort" in said
        node.assert_nothing_left()


def test_a_lan_in_trouble_is_looked_at_again(node: Node) -> None:
    """Nothing tells that a VNI is free again."""
    lan = node.lan(dynamic=True)
    config = dynamic(f"default/{lan}")
    with node.agent() as agent, pods(2) as (one, two):
        for pod in (one, two):
            node.add(pod, config).result()
        node.namespace.ip(*FOREIGN)
        mark = agent.log.mark()
        node.lan(lan, dynamic=True, vni=5005)
        agent.log.wait("cannot create vxlan vxlan0 .*another program or LAN uses this VNI", since=mark, seconds=AT_ONCE)
        local_traffic(one, two)
        node.namespace.ip("link", "delete", "foreign")
        agent.log.wait("INFO .*create vxlan vxlan0 .vni 5005", since=mark, seconds=5 * AT_ONCE)
        for pod in (one, two):
            node.delete(pod, config).ok()
        node.assert_nothing_left()
