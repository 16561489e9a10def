"""ADD of a macvtap: the interface, the device file that a hypervisor opens, and the frames that reach it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from k8slan_cli.lan import names as lan_names
from k8slan_cli.net.netlink import mac_bytes
from k8slan_cli.probe.endpoint import PacketSocket, Tap
from k8slan_cli.probe.run import Probe, cross
from tests.support import names
from tests.support.agents import CLIENTS, Node, eventually, macvtap, pods, veth
from tests.support.netns import Namespace
from tests.support.require import require

pytestmark = pytest.mark.usefixtures("swept")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    devices = any(line.split()[1:3] == ["/dev", "devtmpfs"] for line in Path("/proc/mounts").read_text().splitlines())
    require("node", devices, "needs devtmpfs at /dev, where /dev/tapN appear")
    with Node.create() as node, node.agent():
        yield node


@pytest.fixture
def spoke() -> str:
    """A spoke that nobody else on this machine has: /dev/tapN are for all namespaces together."""
    return names.unique("v")


def device(spoke: str) -> Path:
    """Where a spoke's tap is."""
    return Path(f"/dev/tap{lan_names.tap_index(spoke)}")


@pytest.mark.parametrize("which", CLIENTS)
def test_an_add_makes_a_tap_and_del_removes_it(node: Node, pod: Namespace, spoke: str, which: str) -> None:
    lan = node.lan(spokes=[spoke])
    result = node.add(pod, macvtap(spoke), which=which).result()
    interface = pod.links()["net1"]
    assert result["interfaces"][1] == {
        "name": "net1",
        "mac": interface["address"],
        "mtu": 1446,
        "sandbox": str(pod.path),
    }
    assert {"UP", "ALLMULTI"} <= set(interface["flags"])
    assert interface["linkinfo"]["info_kind"] == "macvtap"
    assert interface["linkinfo"]["info_data"]["mode"] == "passthru"
    assert interface["ifindex"] == lan_names.tap_index(spoke)
    assert interface["mtu"] == 1446
    assert device(spoke).is_char_device()

    links = node.inside(lan).links()
    assert set(links) == {"br0", "vxlan0", f"{spoke}p", f"{spoke}s"}
    assert links[f"{spoke}p"]["link"] == f"{spoke}s"
    assert links[f"{spoke}p"]["linkinfo"]["info_slave_data"]["group_fwd_mask"] == "0xfffd"
    assert links[f"{spoke}s"]["ifindex"] == interface["link_index"]
    assert "master" not in links[f"{spoke}s"]
    assert all("UP" in link["flags"] and link["mtu"] == 1446 for link in links.values())

    node.delete(pod, macvtap(spoke), which=which).ok()
    assert pod.links() == {}
    eventually("the device file goes", lambda: not device(spoke).exists())
    node.assert_nothing_left()


def test_the_mac_stays_the_same_or_is_the_one_asked_for(node: Node, pod: Namespace, spoke: str) -> None:
    node.lan(spokes=[spoke])
    macs = []
    for config in ({}, {}, {"runtimeConfig": {"mac": "02:aa:00:00:00:07"}}):
        result = node.add(pod, macvtap(spoke, **config)).result()
        macs.append(pod.links()["net1"]["address"])
        assert result["interfaces"][1]["mac"] == macs[-1]
        node.delete(pod, macvtap(spoke)).ok()
    assert macs[0] == macs[1]
    assert macs[2] == "02:aa:00:00:00:07"


def test_every_class_of_frame_reaches_the_tap_and_comes_from_it() -> None:
    """To a VM on the same node, to one on another node, and back."""
    with Node.pair() as nodes, pods(3) as (near, vm, far):
        near_spoke, vm_spoke, far_spoke = (names.unique("v") for _ in range(3))
        lan = names.unique("lan")
        for node in nodes:
            node.lan(lan, spokes=[near_spoke, vm_spoke, far_spoke], vni=4343, peers=["192.0.2.1", "192.0.2.2"])
        with nodes[0].agent(), nodes[1].agent():
            nodes[0].add(near, veth(near_spoke)).result()
            nodes[0].add(vm, macvtap(vm_spoke)).result()
            nodes[1].add(far, veth(far_spoke)).result()
            mac = mac_bytes(vm.links()["net1"]["address"])
            for pod in (near, far):
                with PacketSocket(pod.fd(), "net1") as interface, Tap(device(vm_spoke), mac) as tap:
                    for sender, receiver in ((interface, tap), (tap, interface)):
                        results = cross(sender, receiver, Probe(src=sender.mac, dst=receiver.mac, mtu=1446, count=1))
                        assert [(r.key, r.verdict, r.detail) for r in results if not r.ok] == []
            for node, pod, config in (
                (nodes[0], near, veth(near_spoke)),
                (nodes[0], vm, macvtap(vm_spoke)),
                (nodes[1], far, veth(far_spoke)),
            ):
                node.delete(pod, config).ok()
            for node in nodes:
                node.assert_nothing_left()


def test_an_interface_of_that_name_in_the_pod_is_in_the_way(node: Node, pod: Namespace, spoke: str) -> None:
    node.lan(spokes=[spoke])
    pod.ip("link", "add", "net1", "type", "bridge")
    assert "the pod has an interface net1 already" in node.add(pod, macvtap(spoke)).error(102)
    assert set(pod.links()) == {"net1"}
    node.assert_nothing_left()


def test_a_vm_that_went_away_without_a_word_gives_its_spoke_up(node: Node, spoke: str) -> None:
    """Its port outlives it: a macvtap's lower device is not in the pod."""
    lan = node.lan(spokes=[spoke])
    with Namespace.create("pod") as gone:
        node.add(gone, macvtap(spoke)).result()
        port = node.inside(lan).links()[f"{spoke}p"]["ifindex"]
        with Namespace.create("pod") as early:
            said = node.add(early, macvtap(spoke)).error(101)
            assert f"spoke {spoke} is in use by {gone.name} (net1)" in said
    assert node.inside(lan).links()[f"{spoke}p"]["ifindex"] == port
    with Namespace.create("pod") as pod:
        node.add(pod, macvtap(spoke)).result()
        assert device(spoke).is_char_device()
        assert [r["container"] for r in node.records()] == [pod.name]
        node.delete(pod, macvtap(spoke)).ok()
    node.assert_nothing_left()


def test_a_macvtap_has_no_place_on_a_dynamic_lan(node: Node, pod: Namespace) -> None:
    lan = node.lan(dynamic=True)
    config = {"cniVersion": "1.1.0", "name": "x", "type": "k8slanmacvtap", "lan": f"default/{lan}"}
    assert "k8slanmacvtap needs 'spoke', not lan" in node.add(pod, config).error(7)
    node.assert_nothing_left()
