"""Which LAN a configuration means, and what of the Go system's configurations is heeded."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from k8slan_cli.lan import names as lan_names
from k8slan_cli.net import netns
from k8slan_cli.probe.endpoint import PacketSocket
from k8slan_cli.probe.run import Probe, cross
from tests.support import names
from tests.support.agents import Node, eventually, macvtap, pods, veth
from tests.support.netns import Namespace

pytestmark = pytest.mark.usefixtures("swept")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.create() as node, node.agent():
        yield node


def of(namespace: str) -> str:
    """CNI_ARGS of a pod in a Kubernetes namespace."""
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=pod"


# ---------------------------------------------------------------- one spoke, two LANs


def test_pods_of_two_namespaces_are_on_their_own_lans_by_one_configuration(node: Node) -> None:
    first, second = (names.unique("lan") for _ in range(2))
    spokes = ["r1", "r2"]
    node.lan(first, namespace="a", spokes=spokes)
    node.lan(second, namespace="b", spokes=spokes)
    with pods(4) as (a1, a2, b1, b2):
        for pod, spoke, namespace in ((a1, "r1", "a"), (a2, "r2", "a"), (b1, "r1", "b")):
            node.add(pod, veth(spoke), args=of(namespace)).result()
        node.add(b2, veth("r2", lan=f"b/{second}"), args=of("elsewhere")).result()
        assert set(node.inside(first).links()) == set(node.inside(second).links()) == {"br0", "vxlan0", "r1p", "r2p"}
        ends = [PacketSocket(pod.fd(), "net1") for pod in (a1, a2, b1, b2)]
        for sender, receiver, crosses in ((0, 1, True), (2, 3, True), (0, 2, False), (0, 3, False)):
            probe = Probe(src=ends[sender].mac, dst=ends[receiver].mac, mtu=1446, count=1, keys=("ipv4-broadcast",))
            (result,) = cross(ends[sender], ends[receiver], probe, seconds=2 if crosses else 0.2)
            assert bool(result.arrived) == crosses
        for end in ends:
            end.close()
        for pod, spoke in ((a1, "r1"), (a2, "r2"), (b1, "r1"), (b2, "r2")):
            node.delete(pod, veth(spoke)).ok()


def test_a_spoke_of_several_lans_of_other_namespaces_is_not_guessed(node: Node, pod: Namespace) -> None:
    spoke = names.unique("s")
    lans = {namespace: node.lan(namespace=namespace, spokes=[spoke]) for namespace in "ab"}
    said = node.add(pod, veth(spoke), args=of("c")).error(100)
    assert f"is one of several LANs, of none in the pod's namespace: a/{lans['a']}, b/{lans['b']}" in said
    assert '"lan": "NAMESPACE/NAME"' in said
    assert "has no spoke 'x'" in node.add(pod, veth("x", lan=f"a/{lans['a']}"), args=of("c")).error(100)
    node.add(pod, veth(spoke, peerNS=f"/run/k8slan/netns/{lans['b']}"), args=of("c")).result()
    assert f"{spoke}p" in node.inside(lans["b"]).links()
    node.delete(pod, veth(spoke)).ok()
    node.cni("STATUS", pod, veth(spoke)).ok()
    assert "no LAN at 'x' has the spoke" in node.add(pod, veth(spoke, peerNS="/x"), args=of("a")).error(100)


def test_vms_of_two_namespaces_on_one_spoke_have_a_tap_each(node: Node) -> None:
    spoke = names.unique("v")
    lans = {namespace: node.lan(namespace=namespace, spokes=[spoke]) for namespace in "ab"}
    with pods(2) as machines:
        for machine, (namespace, lan) in zip(machines, lans.items(), strict=True):
            node.add(machine, macvtap(spoke), args=of(namespace)).result()
            index = lan_names.tap_index(f"{namespace}/{lan}", spoke)
            assert machine.links()["net1"]["ifindex"] == index
        for machine in machines:
            node.delete(machine, macvtap(spoke)).ok()


# ---------------------------------------------------------------- the Go system's configurations


def go(spoke: str, lan: str, **more: Any) -> dict[str, Any]:
    """The configuration that KNL writes for a node with addresses."""
    return {
        "cniVersion": "0.3.1",
        "name": f"knl-{spoke}",
        "type": "k8slanveth",
        "veth": spoke,
        "peerNS": f"/run/k8slan/netns/{lan}",
        "disableTxChecksum": True,
        **more,
    }


ADDRESSES = {
    "addrs": ["198.51.100.1/24", "2001:db8::1/64"],
    "routes": [
        {"dst": "203.0.113.0/24", "gw": "198.51.100.254"},
        {"Destination": "2001:db8:1::/48", "Gateway": "2001:db8::fe"},
    ],
}


def test_addresses_and_routes_of_a_configuration_are_set_and_come_back(node: Node, pod: Namespace) -> None:
    lan = node.lan(namespace="knl", spokes=["klan7-0"], vxlanPort=48622)
    config = go("klan7-0", lan, **ADDRESSES)
    result = node.add(pod, config, args=of("knl")).result()
    assert [ip["address"] for ip in result["ips"]] == ADDRESSES["addrs"]
    assert {route["dst"]: route["gw"] for route in result["routes"]} == {
        "203.0.113.0/24": "198.51.100.254",
        "2001:db8:1::/48": "2001:db8::fe",
    }

    def there() -> bool:
        addresses = {a["local"] for a in pod.ip("address", "show", "dev", "net1")[0]["addr_info"]}
        routes = {r["dst"] for family in "46" for r in pod.ip(f"-{family}", "route", "show", "dev", "net1")}
        return addresses >= {"198.51.100.1", "2001:db8::1"} and routes >= {"203.0.113.0/24", "2001:db8:1::/48"}

    assert there()
    node.check(pod, config | {"cniVersion": "0.4.0"}, result | {"cniVersion": "0.4.0"}).ok()
    pod.ip("link", "delete", "net1")
    eventually("they are there again", lambda: "net1" in pod.links() and there())
    node.delete(pod, config).ok()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"addrs": ["198.51.100.1"]}, "addrs[0]: '198.51.100.1' has no prefix length"),
        ({"routes": [{"dst": "x"}]}, "routes[0].dst: 'x' is not an IP network"),
        ({"disableTxChecksum": "yes"}, "disableTxChecksum: must be true or false, not a string"),
    ],
)
def test_what_cannot_be_set_is_refused(node: Node, pod: Namespace, fields: dict[str, Any], said: str) -> None:
    assert said in node.add(pod, veth("a", **fields)).error(7)


@pytest.mark.parametrize(
    ("wish", "spec", "filled"), [(True, {}, True), (False, {}, False), (False, {"offload": False}, True)]
)
def test_checksums_are_filled_in_where_a_program_reads_frames(
    node: Node, wish: bool, spec: dict[str, Any], filled: bool
) -> None:
    """The kernel leaves that to a NIC otherwise, and there is none."""
    spokes = [names.unique("k") for _ in range(2)]
    lan = node.lan(namespace="knl", spokes=spokes, **spec)
    with pods(2) as (one, two):
        node.add(one, go(spokes[0], lan, disableTxChecksum=False, addrs=["198.51.100.1/24"]), args=of("knl")).result()
        node.add(two, go(spokes[1], lan, disableTxChecksum=wish), args=of("knl")).result()
        mac = two.links()["net1"]["address"]
        one.ip("neigh", "add", "198.51.100.2", "lladdr", mac, "dev", "net1", "nud", "permanent")
        with netns.inside(one.fd()):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with PacketSocket(two.fd(), "net1") as end, sender:
            heard: list[bytes] = []

            def hear() -> bool:
                sender.sendto(b"x" * 11, ("198.51.100.2", 9999))
                heard.extend(r.frame for r in end.receive() if r.frame[12:14] == b"\x08\x00" and r.frame[23] == 17)
                return bool(heard)

            eventually("a datagram arrives", hear)
        assert (_sum(heard[0][26:34] + b"\0\x11" + heard[0][38:40] + heard[0][34:53]) == 0xFFFF) == filled
        for pod, spoke in zip((one, two), spokes, strict=True):
            node.delete(pod, veth(spoke)).ok()


def _sum(data: bytes) -> int:
    """The ones' complement sum of RFC 1071, over a UDP datagram with its pseudo header."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2]) for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_field_that_means_nothing_is_said_once_in_the_log_and_by_status(node: Node, pod: Namespace) -> None:
    node.lan(namespace="knl", spokes=["u0"])
    config = veth("u0", enableDad=True, adresses=["198.51.100.1/24"])
    assert node.current
    words = "does not know these fields of the configuration, and passes them over: adresses, enableDad"
    mark = node.current.log.mark()
    for _ in range(2):
        node.add(pod, config, args=of("knl")).result()
        node.delete(pod, config).ok()
    assert sum(words in line for line in node.current.log.lines[mark:]) == 1
    assert words in node.cni("STATUS", pod, config).error(7)
    node.cni("STATUS", pod, veth("u0", deviceID="x")).ok()
