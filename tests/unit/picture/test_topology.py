"""From LANs and who is on them to devices and what joins them."""

from __future__ import annotations

from collections.abc import Iterable

from k8slan_cli.inventory import lans
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.names import LAB_LABEL, LAB_NODE_LABEL
from k8slan_cli.picture import topology
from k8slan_cli.picture.topology import Device, End, Seen, Topology
from tests.support import scene
from tests.support.scene import Object


def seen(lan: Object, *vteps: Object, pods: Iterable[Object] = ()) -> Seen:
    item = lans.read(lan)
    ready = item.ready
    state = "unknown" if ready is None else "Ready" if ready.status else ready.reason
    return Seen(
        lan=lans.sound(item), on=scene.on(lan, vteps, pods), state=state, message=ready.message if ready else ""
    )


def pulled(*names: str, **spec: object) -> Object:
    found = scene.lan(**spec)
    found["metadata"]["annotations"] = {"lan.k8slan.io/links-down": ",".join(names)}
    return found


def ends(found: Topology) -> dict[str, tuple[str, str]]:
    return {end.device: (end.link, end.note) for segment in found.lans for end in segment.ends}


def test_a_lan_in_use() -> None:
    found = topology.of([seen(scene.RED, *scene.VTEPS, pods=scene.PODS)])
    assert found.devices == (
        Device(key="lab/firewall", name="firewall", kind="vm", node="worker2"),
        Device(key="lab/router-a", name="router-a", node="worker1"),
        Device(key="lab/router-b", name="router-b", node="worker2"),
    )
    (segment,) = found.lans
    assert (segment.ref, segment.state, segment.vni, segment.line) == (
        LanRef(namespace="lab", name="red"),
        "Ready",
        10000,
        False,
    )
    assert segment.ends == (
        End(
            device="lab/router-a",
            interface="net1",
            spoke="e1",
            mac="02:a1:00:00:00:01",
            addresses=("10.9.0.1/24",),
        ),
        End(device="lab/router-b", interface="lan0", spoke="e2", mac="02:a1:00:00:00:02"),
        End(device="lab/firewall", interface="net1", spoke="vm1", mac="02:a1:00:00:00:03"),
    )


def test_a_device_on_several_lans_is_one() -> None:
    one = scene.vtep("w1", scene.port("r1", "a", interface="eth1"), scene.port("r2", "b", interface="eth1"), lan="x")
    two = scene.vtep("w1", scene.port("r1", "a", interface="eth2"), scene.port("r3", "b", interface="eth1"), lan="y")
    specs = [scene.lan(name, spokes=["a", "b"]) for name in ("y", "x")]
    found = topology.of([seen(specs[0], two), seen(specs[1], one)])
    assert [device.key for device in found.devices] == ["lab/r1", "lab/r2", "lab/r3"]
    assert [(segment.ref.name, segment.line) for segment in found.lans] == [("x", True), ("y", True)]


def test_two_interfaces_of_one_device_make_no_line() -> None:
    ports = [scene.port("r1", spoke, interface=spoke) for spoke in ("a", "b")]
    (segment,) = topology.of([seen(scene.lan(spokes=["a", "b"]), scene.vtep("w1", *ports))]).lans
    assert [end.device for end in segment.ends] == ["lab/r1", "lab/r1"]
    assert not segment.line


def test_who_waits_and_a_link_that_is_down() -> None:
    lan = pulled("e1", spokes=["e1", "e2", "e3"])
    pods = [scene.pod("c", "k8slan-veth-e3", node="", phase="Pending")]
    found = topology.of([seen(lan, scene.vtep("w1", scene.port("a", "e1"), scene.port("b", "e2")), pods=pods)])
    assert ends(found) == {
        "lab/a": ("down", "link down"),
        "lab/b": ("up", ""),
        "lab/c": ("waiting", "it has no node yet"),
    }
    assert [(device.name, device.state) for device in found.devices] == [
        ("a", "attached"),
        ("b", "attached"),
        ("c", "waiting"),
    ]


def test_what_is_wrong_stands_at_the_end() -> None:
    found = topology.of([seen(scene.lan(spokes=["e1"]), *scene.TWICE)])
    assert ends(found) == {"lab/d1": ("down", "spoke in use twice"), "lab/d2": ("up", "spoke in use twice")}


def test_an_impairment_in_words() -> None:
    spec = {"spokes": ["a", "b"], "links": {"a": {"delay": "20ms"}, "b": {"toPod": {"loss": "1%"}}}}
    ports = [scene.port("r1", "a"), scene.port("r2", "b")]
    (segment,) = topology.of([seen(scene.lan(**spec), scene.vtep("w1", *ports))]).lans
    assert [end.impairment for end in segment.ends] == ["delay 20ms", "loss 1% to pod"]


def test_names_have_their_namespace_where_there_are_several() -> None:
    ports = [scene.port("r1"), scene.port("other/r1")]
    found = topology.of([seen(scene.lan(dynamic=True), scene.vtep("w1", *ports))])
    assert [(device.key, device.name) for device in found.devices] == [
        ("lab/r1", "lab/r1"),
        ("other/r1", "other/r1"),
    ]


def test_a_pod_of_a_lab_has_the_name_that_the_lab_gives_it() -> None:
    pod = scene.pod("clos-leaf1-abcde", "k8slan-veth-e1", got=[("k8slan-veth-e1", "net1", "02:00:00:00:00:01")])
    pod["metadata"]["labels"] = {LAB_LABEL: "clos", LAB_NODE_LABEL: "leaf1"}
    vtep = scene.vtep("worker1", scene.port("clos-leaf1-abcde", "e1"))
    (device,) = topology.of([seen(scene.lan(spokes=["e1"]), vtep, pods=[pod])]).devices
    assert (device.key, device.name, device.lab) == ("lab/clos-leaf1-abcde", "leaf1", "clos")


def test_a_vm_that_migrates_is_one_device_at_the_node_where_it_runs() -> None:
    def port(pod: str, **more: object) -> Object:
        return scene.port(pod, "v", vm="fw", kind="macvtap", **more)

    vteps = [scene.vtep("w1", port("l1"), version=3), scene.vtep("w2", port("l2", migrating=True), version=5)]
    (segment,) = (found := topology.of([seen(scene.lan(spokes=["v"]), *vteps)])).lans
    assert [(device.key, device.state) for device in found.devices] == [("lab/fw", "migrating")]
    assert [end.note for end in segment.ends] == ["migrating, other end on w2"]


def test_a_vm_and_a_pod_of_one_name_are_two() -> None:
    ports = [scene.port("fw"), scene.port("launcher", vm="fw", kind="macvtap")]
    found = topology.of([seen(scene.lan(dynamic=True), scene.vtep("w1", *ports))])
    assert [(device.key, device.kind) for device in found.devices] == [("lab/fw", "pod"), ("lab/fw (VM)", "vm")]
    assert set(ends(found)) == {device.key for device in found.devices}


def test_hardware_behind_uplinks_and_beyond_the_cluster() -> None:
    uplinks = [{"device": "eth1", "vlan": 7, "carrier": True, "active": True}]
    lan = scene.lan(spokes=["a"], remotes=["192.0.2.99"])
    found = topology.of([seen(lan, scene.vtep("w1", scene.port("r", "a"), uplinks=uplinks))])
    assert [(device.key, device.name, device.kind) for device in found.devices] == [
        ("lab/r", "r", "pod"),
        ("remote:192.0.2.99", "192.0.2.99", "host"),
        ("host:w1/eth1", "eth1 of w1", "host"),
    ]
    assert ends(found)["host:w1/eth1"] == ("up", "uplink, active")


def test_the_json_form_has_all_of_it() -> None:
    ready = scene.status(scene.condition("Ready", False, "NodesDegraded", "w1: no\ndevice"))
    vtep = scene.vtep("w1", scene.port("r1", "e1", "02:00:00:00:00:01", addresses=["10.0.0.1/24"]))
    assert topology.document(topology.of([seen(scene.lan(spokes=["e1"], status=ready), vtep)])) == {
        "devices": [
            {
                "key": "lab/r1",
                "name": "r1",
                "kind": "pod",
                "node": "w1",
                "lab": "",
                "state": "attached",
                "count": 1,
            }
        ],
        "lans": [
            {
                "namespace": "lab",
                "name": "red",
                "state": "NodesDegraded",
                "message": "w1: no device",
                "vni": 10000,
                "hidden": False,
                "ends": [
                    {
                        "device": "lab/r1",
                        "interface": "net1",
                        "spoke": "e1",
                        "mac": "02:00:00:00:00:01",
                        "addresses": ["10.0.0.1/24"],
                        "link": "up",
                        "impairment": "",
                        "note": "",
                    }
                ],
            }
        ],
    }
