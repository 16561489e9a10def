"""ADD of a veth: what is there afterwards on both sides, as iproute2 sees it, and what frames can do with it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from k8slan_cli.net.sockets import open_packet
from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.probe.run import Probe, cross
from tests.support import names
from tests.support.agents import CLIENTS, SECONDS, Inside, Node, dynamic, pods, veth
from tests.support.netns import Namespace

pytestmark = pytest.mark.usefixtures("swept")

OURS = "7026796"
"""The group of every link that k8slan makes."""
_ALL = 0x0003  # ETH_P_ALL (if_ether.h)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.create() as node, node.agent():
        yield node


@pytest.fixture(scope="module")
def lan(node: Node) -> str:
    """A LAN for tests that need no other."""
    return node.lan(
        spokes=["a", "b", "c"], peers=["192.0.2.1", "192.0.2.7", "192.0.2.8"], bridge="br5", vxlan="vx5", vni=77
    )


@pytest.mark.parametrize("which", CLIENTS)
def test_an_add_makes_all_of_a_lan_and_del_removes_all_of_it(node: Node, lan: str, pod: Namespace, which: str) -> None:
    result = node.add(pod, veth("a"), which=which).result()
    interface = pod.links()["net1"]
    mac = interface["address"]
    assert (interface["mtu"], interface["operstate"], interface["group"]) == (1446, "UP", OURS)
    assert "UP" in interface["flags"]

    inside = node.inside(lan)
    links = inside.links()
    assert set(links) == {"br5", "vx5", "ap"}
    assert {link["mtu"] for link in links.values()} == {1446}
    assert {link["group"] for link in links.values()} == {OURS}
    assert all("UP" in link["flags"] for link in links.values())
    bridge = links["br5"]["linkinfo"]["info_data"]
    assert (bridge["stp_state"], bridge["mcast_snooping"], bridge["vlan_filtering"]) == (0, 0, 0)
    assert bridge["forward_delay"] == 0, "or it tells of each port again after 15 s"
    for port in ("ap", "vx5"):
        assert links[port]["master"] == "br5"
        assert links[port]["linkinfo"]["info_slave_data"]["group_fwd_mask"] == "0xfffd"
    assert links["ap"]["ifalias"] == f"{pod.name} net1"
    tunnel = links["vx5"]["linkinfo"]["info_data"]
    assert (tunnel["id"], tunnel["port"], tunnel["local"], tunnel["learning"]) == (77, 4789, "192.0.2.1", True)
    assert links["vx5"]["link_index"] == node.namespace.links()["eth0"]["ifindex"]
    assert inside.peers("vx5") == {"192.0.2.7", "192.0.2.8"}
    assert_quiet(inside)

    assert result == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "ap", "mac": links["ap"]["address"]},
            {"name": "net1", "mac": mac, "mtu": 1446, "sandbox": str(pod.path)},
        ],
        "ips": [],
    }
    node.delete(pod, veth("a"), which=which).ok()
    assert pod.links() == {}
    node.assert_nothing_left()


def assert_quiet(inside: Inside) -> None:
    """Nothing speaks in the LAN's namespace, and nothing filters."""
    assert inside.sysctl("net/ipv6/conf/all/disable_ipv6") in ("1", "")
    assert inside.sysctl("net/ipv6/conf/default/disable_ipv6") in ("1", "")
    for name in ("iptables", "ip6tables", "arptables"):
        assert inside.sysctl(f"net/bridge/bridge-nf-call-{name}") in ("0", "")
    assert [entry["addr_info"] for entry in inside.ip("address", "show") if entry["ifname"] != "lo"] == [[]] * 3


# ---------------------------------------------------------------- versions and MACs


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_every_version_gets_its_own_result(node: Node, lan: str, pod: Namespace, version: str) -> None:
    config = veth("a", version, runtimeConfig={"ips": ["198.51.100.9/24", "2001:db8::9/64"]})
    result = node.add(pod, config).result()
    port, interface = result["interfaces"]
    expected = {"name": "net1", "mac": pod.links()["net1"]["address"], "sandbox": str(pod.path)}
    assert result["cniVersion"] == version
    assert port == {"name": "ap", "mac": node.inside(lan).links()["ap"]["address"]}
    assert interface == expected | ({"mtu": 1446} if version == "1.1.0" else {})
    told = version in ("0.3.1", "0.4.0")
    assert result["ips"] == [
        ({"version": "4"} if told else {}) | {"address": "198.51.100.9/24", "interface": 1},
        ({"version": "6"} if told else {}) | {"address": "2001:db8::9/64", "interface": 1},
    ]
    assert addresses(pod) >= {"198.51.100.9/24", "2001:db8::9/64"}
    node.delete(pod, config).ok()


def addresses(pod: Namespace, ifname: str = "net1") -> set[str]:
    """The addresses of an interface, but for the one that IPv6 makes by itself."""
    found = pod.ip("address", "show", "dev", ifname)[0]["addr_info"]
    return {f"{a['local']}/{a['prefixlen']}" for a in found if a["scope"] != "link"}


_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=10)
except ConnectionRefusedError:
    print("refused")
"""


def test_addresses_are_usable_at_once(node: Node, lan: str) -> None:
    """No second of duplicate address detection, for which many a program does not wait."""
    with pods(2) as (one, two):
        for pod, spoke, host in ((one, "a", 1), (two, "b", 2)):
            node.add(pod, veth(spoke, runtimeConfig={"ips": [f"2001:db8::{host}/64"]})).result()
        [info] = [a for a in one.ip("address", "show", "dev", "net1")[0]["addr_info"] if a["scope"] == "global"]
        assert "tentative" not in info
        assert one.run(sys.executable, "-c", _CONNECT, "2001:db8::2").strip() == "refused"
        for pod, spoke in ((one, "a"), (two, "b")):
            node.delete(pod, veth(spoke)).ok()
    assert lan


@pytest.mark.usefixtures("lan")
def test_a_pod_without_ipv6_gets_its_ipv6_address_all_the_same(node: Node, pod: Namespace) -> None:
    """Runtimes switch IPv6 off in the pods of clusters that have none."""
    pod.run(
        "sh",
        "-c",
        "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6",
    )
    node.add(pod, veth("a", runtimeConfig={"ips": ["2001:db8::9/64"]})).result()
    assert addresses(pod) == {"2001:db8::9/64"}
    node.delete(pod, veth("a")).ok()


@pytest.mark.usefixtures("lan")
def test_the_mac_of_a_spoke_stays_the_same(node: Node) -> None:
    macs = set()
    with pods(2) as both:
        for pod in both:
            result = node.add(pod, veth("a")).result()
            macs.add(pod.links()["net1"]["address"])
            assert result["interfaces"][1]["mac"] in macs
            node.delete(pod, veth("a")).ok()
    [mac] = macs
    assert int(mac[:2], 16) & 3 == 2  # locally administered, unicast


@pytest.mark.parametrize(
    ("config", "args"),
    [
        ({"runtimeConfig": {"mac": "02:AA:00:00:00:01"}}, "MAC=02:bb:00:00:00:01"),
        ({"args": {"cni": {"mac": "02:aa:00:00:00:01"}}, "mac": "02:cc:00:00:00:01"}, ""),
        ({}, "IgnoreUnknown=1;X=y;MAC=02-aa-00-00-00-01"),
        ({"mac": "02aa00000001"}, ""),
    ],
)
@pytest.mark.usefixtures("lan")
def test_a_mac_that_is_asked_for(node: Node, pod: Namespace, config: dict[str, object], args: str) -> None:
    result = node.add(pod, veth("a", **config), args=args).result()
    assert result["interfaces"][1]["mac"] == pod.links()["net1"]["address"] == "02:aa:00:00:00:01"
    node.delete(pod, veth("a", **config)).ok()


@pytest.mark.parametrize("mac", ["01:00:00:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00", "eth0"])
@pytest.mark.usefixtures("lan")
def test_a_mac_that_cannot_be_is_refused(node: Node, pod: Namespace, mac: str) -> None:
    assert "mac" in node.add(pod, veth("a", runtimeConfig={"mac": mac})).error(7)
    node.assert_nothing_left()
    assert pod.links() == {}


# ---------------------------------------------------------------- MTU


@pytest.mark.parametrize(
    ("underlay", "address", "spec", "config", "lan_mtu", "pod_mtu"),
    [
        (1500, "192.0.2.1/24", {}, {}, 1446, 1446),
        (9000, "192.0.2.1/24", {}, {}, 8946, 8946),
        (9000, "", {}, {}, 8926, 8926),
        (9000, "192.0.2.1/24", {"mtu": 1500}, {}, 1500, 1500),
        (9000, "192.0.2.1/24", {"mtu": 8946}, {"mtu": 1400}, 8946, 1400),
        (1500, "192.0.2.1/24", {}, {"mtu": 0}, 1446, 1446),
    ],
)
def test_the_mtu(
    underlay: int, address: str, spec: dict[str, int], config: dict[str, int], lan_mtu: int, pod_mtu: int
) -> None:
    with Node.create(mtu=underlay, address=address) as node, Namespace.create("pod") as pod:
        lan = node.lan(spokes=["a"], **spec)
        with node.agent():
            result = node.add(pod, veth("a", **config)).result()
            assert result["interfaces"][1]["mtu"] == pod.links()["net1"]["mtu"] == pod_mtu
            assert {link["mtu"] for link in node.inside(lan).links().values()} == {lan_mtu}
            node.delete(pod, veth("a", **config)).ok()
            node.assert_nothing_left()


def test_an_mtu_that_does_not_fit_is_refused(node: Node, pod: Namespace) -> None:
    spoke = names.unique("s")
    node.lan(spokes=[spoke], mtu=1447)
    said = node.add(pod, veth(spoke)).error(7)
    assert "spec.mtu: 1447 does not fit: eth0 has MTU 1500, VXLAN needs 54, so at most 1446" in said
    assert pod.links() == {}
    node.assert_nothing_left()


@pytest.mark.usefixtures("lan")
def test_a_pods_mtu_above_the_lans_is_refused(node: Node, pod: Namespace) -> None:
    assert "mtu: 1447 is more than the 1446 of LAN" in node.add(pod, veth("a", mtu=1447)).error(7)
    assert pod.links() == {}
    node.assert_nothing_left()


# ---------------------------------------------------------------- dynamic LANs


def test_a_dynamic_lan_takes_any_number_of_pods(node: Node) -> None:
    lan = node.lan(dynamic=True, spokes=["fixed"])
    config = dynamic(f"default/{lan}")
    with pods(3) as several:
        for pod in several:
            node.add(pod, config).result()
        node.add(several[0], config, ifname="net2").result()
        node.add(several[0], veth("fixed"), ifname="net3").result()
        ports = node.inside(lan).links().keys() - {"br0", "vxlan0"}
        assert len(ports) == 5
        macs = {link["address"] for pod in several for link in pod.links().values()}
        assert len(macs) == 5
        assert_all_reach_all([(pod, "net1") for pod in several])
        for pod in several:
            node.delete(pod, config).ok()
        node.delete(several[0], config, ifname="net2").ok()
        node.delete(several[0], veth("fixed"), ifname="net3").ok()
    node.assert_nothing_left()


def test_a_pod_of_a_dynamic_lan_keeps_its_mac_over_its_sandboxes(node: Node) -> None:
    lan = node.lan(dynamic=True)
    macs = []
    with pods(2) as sandboxes:
        for pod in sandboxes:
            args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0"
            node.add(pod, dynamic(f"default/{lan}"), args=args).result()
            macs.append(pod.links()["net1"]["address"])
            assert [r["pod"] for r in node.records()] == ["prod/web-0"]
            node.delete(pod, dynamic(f"default/{lan}"), args=args).ok()
    assert macs[0] == macs[1]


def test_a_lan_that_is_not_dynamic_says_which_spokes_it_has(node: Node, lan: str, pod: Namespace) -> None:
    said = node.add(pod, dynamic(f"default/{lan}")).error(100)
    assert f"LAN default/{lan} is not dynamic: attach to one of its spokes (a, b, c)" in said
    assert "no LAN has the spoke 'nowhere'" in node.add(pod, veth("nowhere")).error(100)
    assert "there is no LAN default/nowhere" in node.add(pod, dynamic("default/nowhere")).error(100)
    node.assert_nothing_left()


# ---------------------------------------------------------------- frames


def assert_all_reach_all(members: list[tuple[Namespace, str]], mtu: int = 1446) -> None:
    """Every class of frame from each member to the next, the last one's next being the first."""
    for (one, name), (other, other_name) in zip(members, [*members[1:], members[0]], strict=True):
        with PacketSocket(one.fd(), name) as sender, PacketSocket(other.fd(), other_name) as receiver:
            results = cross(sender, receiver, Probe(src=sender.mac, dst=receiver.mac, mtu=mtu, count=1))
        assert [(r.key, r.verdict, r.detail) for r in results if not r.ok] == []


@pytest.mark.parametrize("mode", ["unicast", "link-local", "group4", "group6"])
def test_every_class_of_frame_crosses_from_node_to_node(mode: str) -> None:
    """Peers as a list for all nodes, IPv6 link-local ones, and multicast groups of both families."""
    with Node.pair() as nodes, pods(2) as both:
        lan, spec, mtu = names.unique("lan"), dict[str, Any](), 1446
        if mode == "unicast":
            spec = {"peers": ["192.0.2.1", "192.0.2.2"]}
        elif mode == "link-local":
            for node in nodes:
                node.namespace.ip("address", "flush", "dev", "eth0", "scope", "global")
            spec, mtu = {"peers": [link_local(node) for node in nodes]}, 1426
        else:
            spec = {"vxlanGrp": {"group4": "239.1.2.3", "group6": "ff02::1:14"}[mode]}
            spec |= {"vxlanTTL": 7} if mode == "group4" else {}
            mtu = 1446 if mode == "group4" else 1426
        spec |= {"spokes": ["a", "b"], "vni": 4242}
        for node in nodes:
            node.lan(lan, **spec)
        with nodes[0].agent(), nodes[1].agent():
            for node, pod, spoke in zip(nodes, both, ["a", "b"], strict=True):
                assert node.add(pod, veth(spoke)).result()["interfaces"][1]["mtu"] == mtu
                info = node.inside(lan).links()["vxlan0"]["linkinfo"]["info_data"]
                group = info.get("group") or info.get("group6")
                assert group == spec.get("vxlanGrp")
                assert info["ttl"] == spec.get("vxlanTTL", 0)
            assert_all_reach_all([(both[0], "net1"), (both[1], "net1")], mtu)
            for node, pod, spoke in zip(nodes, both, ["a", "b"], strict=True):
                node.delete(pod, veth(spoke)).ok()
                node.assert_nothing_left()


def link_local(node: Node) -> str:
    """The address that IPv6 gives the underlay by itself."""
    infos = node.namespace.ip("address", "show", "dev", "eth0")[0]["addr_info"]
    [address] = [info["local"] for info in infos if info["local"].startswith("fe80:")]
    return str(address)


def test_the_first_frame_after_an_add_arrives(node: Node) -> None:
    """The kernel follows a carrier when it gets round to it; of a thousand ADDs, some are answered sooner than that."""
    node.lan(spokes=["first", "second"])
    with pods(2) as (sender, receiver):
        node.add(sender, veth("first")).result()
        with PacketSocket(sender.fd(), "net1") as endpoint, open_packet(receiver.fd(), socket.htons(_ALL)) as hearing:
            hearing.settimeout(SECONDS)
            for number in range(50):
                frame = b"\xff" * 6 + endpoint.mac + b"\x88\xb5" + number.to_bytes(2, "big") + bytes(44)
                node.add(receiver, veth("second")).result()
                endpoint.send(frame)
                assert any(hearing.recv(2048) == frame for _ in range(20)), number
                node.delete(receiver, veth("second")).ok()
        node.delete(sender, veth("first")).ok()


def test_a_link_that_is_not_ours_keeps_its_name_and_all_else(node: Node) -> None:
    """A port whose name is taken in the LAN's namespace is refused, and what has the name is left alone."""
    lan = node.lan(spokes=["own", "taken"])
    with pods(2) as (first, second):
        node.add(first, veth("own")).result()
        inside = node.inside(lan)
        inside.run("ip", "link", "add", "takenp", "type", "veth", "peer", "name", "other")
        before = inside.links()["takenp"]
        said = node.add(second, veth("taken")).error(102)
        assert "or the LAN a port takenp" in said
        assert inside.links()["takenp"] == before
        assert second.links() == {}
        inside.run("ip", "link", "delete", "takenp")
        node.add(second, veth("taken")).result()
        for pod, spoke in ((first, "own"), (second, "taken")):
            node.delete(pod, veth(spoke)).ok()


def test_an_interface_of_a_pod_may_be_called_as_a_link_of_the_lan(node: Node) -> None:
    node.lan(spokes=["called"], bridge="eth7", vxlan="eth8")
    for name in ("eth7", "eth8", "calledp"):
        with pods(1) as (pod,):
            node.add(pod, veth("called"), ifname=name).result()
            assert pod.links()[name]["operstate"] == "UP"
            node.delete(pod, veth("called"), ifname=name).ok()


def test_a_bridge_made_anew_is_found_again(node: Node) -> None:
    """Its index, which is asked for once, is another one then."""
    lan = node.lan(spokes=["before", "after"])
    with pods(2) as (first, second):
        node.add(first, veth("before")).result()
        with node.told("create bridge"):
            node.inside(lan).run("ip", "link", "delete", "br0")
        node.add(second, veth("after")).result()
        assert node.inside(lan).links()["afterp"]["master"] == "br0"
        for pod, spoke in ((first, "before"), (second, "after")):
            node.delete(pod, veth(spoke)).ok()


def test_two_lans_of_a_node_do_not_hear_each_other(node: Node) -> None:
    one, two = node.lan(dynamic=True), node.lan(dynamic=True)
    with pods(2) as (first, second):
        node.add(first, dynamic(f"default/{one}")).result()
        node.add(second, dynamic(f"default/{two}")).result()
        with PacketSocket(first.fd(), "net1") as sender, PacketSocket(second.fd(), "net1") as receiver:
            results = cross(sender, receiver, Probe(src=sender.mac, dst=receiver.mac, mtu=1446, count=1), seconds=0.2)
        assert sum(r.arrived for r in results) == 0
        assert sum(r.sent for r in results) == len(results)
        node.delete(first, dynamic(f"default/{one}")).ok()
        node.delete(second, dynamic(f"default/{two}")).ok()
