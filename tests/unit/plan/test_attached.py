"""Who is attached, as pods' annotations say it: multus' own forms, VMs, other namespaces, and what nobody can read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan import codec
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.plan.attached import (
    DEFAULT_ANNOTATION,
    NETWORKS_ANNOTATION,
    STATUS_ANNOTATION,
    Attached,
    Network,
    attached,
    decode_pod,
    request,
    shared,
)


def lan(name: str = "red", *, namespace: str = "lab", spokes: tuple[str, ...] = ("e1", "e2"), **spec: Any) -> Lan:
    metadata = {"name": name, "namespace": namespace}
    full = {"vni": 7, "spokes": list(spokes), **spec}
    return codec.decode({"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": metadata, "spec": full})


def pod(networks: Any = "", status: Any = None, **more: Any) -> dict[str, Any]:
    """A pod's document; ``networks`` and ``status`` are annotations, as text or as what JSON is made of."""
    annotations = {NETWORKS_ANNOTATION: networks if isinstance(networks, str) else json.dumps(networks)}
    if status is not None:
        annotations[STATUS_ANNOTATION] = status if isinstance(status, str) else json.dumps(status)
    metadata = {"name": "router", "namespace": "lab", "annotations": annotations, **more.pop("metadata", {})}
    return {"metadata": metadata, "spec": {"nodeName": "node1"}, "status": {"phase": "Running"}, **more}


FLANNEL = {"name": "cbr0", "interface": "eth0", "ips": ["10.0.0.7"], "mac": "6e:00:00:00:00:01", "default": True}
E1 = {"name": "lab/k8slan-veth-e1", "interface": "net1", "mac": "02:AB:00:00:00:01", "ips": ["10.9.0.1"], "dns": {}}


def only(document: dict[str, Any], *lans: Lan) -> Attached:
    (found,) = attached(lans or (lan(),), [decode_pod(document)])
    return found


def test_a_running_pod_has_what_multus_says() -> None:
    found = only(pod("k8slan-veth-e1", [FLANNEL, E1]))
    assert (found.socket.kind, found.socket.spoke) == ("veth", "e1")
    assert (found.pod.node, found.who) == ("node1", "pod lab/router")
    assert found.network == Network(
        nad=LanRef(namespace="lab", name="k8slan-veth-e1"),
        interface="net1",
        mac="02:ab:00:00:00:01",
        ips=("10.9.0.1",),
        present=True,
    )


def test_before_multus_has_spoken_a_pod_is_what_it_asks_for() -> None:
    found = only(pod("k8slan-veth-e1", status=[FLANNEL]))
    assert (found.network.interface, found.network.mac, found.network.present) == ("net1", "", False)


@pytest.mark.parametrize(
    ("networks", "interface"),
    [
        ("k8slan-veth-e1", "net1"),
        ("other/x, k8slan-veth-e1", "net2"),
        ("lab/k8slan-veth-e1@eth7", "eth7"),
        (" k8slan-veth-e1@eth7 ", "eth7"),
        ([{"name": "k8slan-veth-e1"}], "net1"),
        ([{"name": "x"}, {"name": "k8slan-veth-e1", "namespace": "lab"}], "net2"),
        ([{"name": "k8slan-veth-e1", "interface": "eth7", "mac": "02:00:00:00:00:09"}], "eth7"),
    ],
)
def test_both_forms_of_the_request_are_read(networks: Any, interface: str) -> None:
    assert only(pod(networks)).network.interface == interface


def test_a_pod_may_be_in_another_namespace_than_the_lan() -> None:
    elsewhere = {"namespace": "apps"}
    assert only(pod("lab/k8slan-veth-e1", metadata=elsewhere)).who == "pod apps/router"
    assert attached([lan()], [decode_pod(pod("k8slan-veth-e1", metadata=elsewhere))]) == ()


@pytest.mark.parametrize("where", ["labels", "annotations"])
@pytest.mark.parametrize("key", ["vm.kubevirt.io/name", "kubevirt.io/domain"])
def test_a_launcher_is_shown_as_its_vm(where: str, key: str) -> None:
    document = pod("k8slan-mac-e2")
    document["metadata"].setdefault(where, {})[key] = "firewall"
    found = only(document)
    assert (found.who, found.socket.kind, found.socket.spoke) == ("VM lab/firewall", "macvtap", "e2")


def test_a_vm_has_its_own_name_whatever_its_host_name_and_labels_are() -> None:
    document = pod("k8slan-mac-e2")
    document["metadata"]["labels"] = {"vm.kubevirt.io/name": "firewall", "kubevirt.io/domain": "mine"}
    document["metadata"]["annotations"]["kubevirt.io/domain"] = "firewall.lab"
    assert only(document).who == "VM lab/firewall.lab"


def test_any_number_of_pods_is_on_a_dynamic_lan() -> None:
    blue = lan("blue", spokes=(), dynamic=True)
    pods = [decode_pod(pod("k8slan-lan-blue", metadata={"name": name})) for name in ("b", "a")]
    assert [item.pod.name for item in attached([blue], pods)] == ["a", "b"]


def test_the_same_network_twice_is_two_attachments() -> None:
    blue = lan("blue", spokes=(), dynamic=True)
    status = [{"name": "lab/k8slan-lan-blue", "interface": "net1", "mac": "02:00:00:00:00:01"}]
    found = attached([blue], [decode_pod(pod("k8slan-lan-blue,k8slan-lan-blue", status))])
    assert [(item.network.interface, item.network.present) for item in found] == [("net1", True), ("net2", False)]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_is_over_is_not_attached(phase: str) -> None:
    document = pod("k8slan-veth-e1", [E1]) | {"status": {"phase": phase}}
    assert attached([lan()], [decode_pod(document)]) == ()


def test_a_network_without_a_request_counts_too() -> None:
    """The cluster may give pods a default network that their own annotation does not name."""
    assert only(pod("", [E1])).network.interface == "net1"


@pytest.mark.parametrize("status", [None, [{"name": "lab/k8slan-veth-e1", "interface": "eth0", "default": True}]])
def test_a_lan_may_be_a_pods_first_network(status: Any) -> None:
    default = {DEFAULT_ANNOTATION: "k8slan-veth-e1"}
    found = only(pod("", status, metadata={"annotations": default | pod("", status)["metadata"]["annotations"]}))
    assert (found.network.interface, found.network.present) == ("eth0", status is not None)


def test_lans_are_kept_apart() -> None:
    other = lan("green", namespace="other", spokes=("e3",))
    found = attached([lan(), other], [decode_pod(pod("k8slan-veth-e1,other/k8slan-veth-e3,k8slan-veth-e9"))])
    assert [(str(item.socket.lan), item.socket.spoke) for item in found] == [("lab/red", "e1"), ("other/green", "e3")]


# ---------------------------------------------------------------- who has what another has


def on(name: str, *networks: tuple[str, str, str], node: str = "node1", **more: Any) -> dict[str, Any]:
    """A pod with the interfaces of ``networks``: NAD, interface, MAC."""
    status = [{"name": f"lab/{nad}", "interface": interface, "mac": mac} for nad, interface, mac in networks]
    asked = ",".join(f"lab/{nad}@{interface}" for nad, interface, _ in networks)
    return pod(asked, status, metadata={"name": name, **more}) | {"spec": {"nodeName": node}}


def launcher(name: str, vmi: str, *, node: str, interface: str = "pod1") -> dict[str, Any]:
    document = on(name, ("k8slan-mac-e1", interface, "02:00:00:00:00:01"), node=node)
    document["metadata"]["labels"] = {"vm.kubevirt.io/name": "fw", "kubevirt.io/created-by": vmi}
    return document


def said(*documents: dict[str, Any]) -> list[str]:
    lans = (lan(), lan("blue", spokes=(), dynamic=True))
    return [share.describe() for share in shared(attached(lans, map(decode_pod, documents)))]


D1 = on("d1", ("k8slan-veth-e1", "eth1", "02:00:00:00:00:01"))
D2 = on("d2", ("k8slan-veth-e1", "eth1", "02:00:00:00:00:01"), node="node2")
D3 = on("d3", ("k8slan-mac-e1", "net1", "02:00:00:00:00:03"), node="node3")


def test_a_spoke_on_two_nodes_is_said_once_though_it_is_one_mac_too() -> None:
    where = "pod lab/d1 on node1 (eth1), pod lab/d2 on node2 (eth1)"
    assert said(D1, D2) == [f"spoke e1 is in use twice, by {where}: delete all but one of them"]


def test_a_spoke_is_the_same_for_veth_and_macvtap() -> None:
    where = "pod lab/d1 on node1 (eth1), pod lab/d2 on node2 (eth1), pod lab/d3 on node3 (net1)"
    assert said(D3, D1, D2) == [f"spoke e1 is in use 3 times, by {where}: delete all but one of them"]


def test_two_interfaces_of_a_pod_are_two() -> None:
    document = on("d", ("k8slan-veth-e1", "net1", "02:00:00:00:00:01"), ("k8slan-mac-e1", "net2", "02:00:00:00:00:01"))
    where = "pod lab/d on node1 (net1), pod lab/d on node1 (net2)"
    assert said(document) == [f"spoke e1 is in use twice, by {where}: delete all but one of them"]


@pytest.mark.parametrize(
    "other",
    [
        pod("k8slan-veth-e1", metadata={"name": "waits"}),
        D2 | {"status": {"phase": "Succeeded"}},
        D2 | {"status": {"phase": "Failed"}},
        on("elsewhere", ("k8slan-veth-e2", "net1", "02:00:00:00:00:02")),
        on("dynamic", ("k8slan-lan-blue", "net1", "02:00:00:00:00:01")),
    ],
)
def test_who_does_not_have_the_spoke_shares_nothing(other: dict[str, Any]) -> None:
    """It waits for its turn, is over, or is on another spoke or LAN, where the same MAC disturbs nobody."""
    assert said(D1, other) == []


def test_pods_of_a_dynamic_lan_share_no_spoke() -> None:
    pods = [on(name, ("k8slan-lan-blue", "net1", f"02:00:00:00:00:0{name}")) for name in "123"]
    assert said(*pods) == []


def test_a_mac_address_at_two_ports_is_said() -> None:
    one, two = (on(name, ("k8slan-lan-blue", "net1", "02:00:00:00:00:09")) for name in "ab")
    where = "pod lab/a on node1 (net1), pod lab/b on node1 (net1)"
    assert said(one, two) == [f"MAC address 02:00:00:00:00:09 is in use twice, by {where}: give each interface its own"]
    third = on("c", ("k8slan-veth-e2", "net1", "02:00:00:00:00:01"))
    assert [words.partition(" is ")[0] for words in said(D1, D2, third)] == [
        "spoke e1",
        "MAC address 02:00:00:00:00:01",
    ]


def test_a_vm_that_migrates_has_its_spoke_at_both_ends() -> None:
    source, target = launcher("l-1", "u1", node="node1"), launcher("l-2", "u1", node="node2")
    assert said(source, target) == []
    where = "VM lab/fw on node1 (pod1), VM lab/fw on node2 (pod1)"
    wanted = [f"spoke e1 is in use twice, by {where}: delete all but one of them"]
    assert said(source, launcher("l-2", "u2", node="node2")) == wanted, "another instance of the VM"
    (words,) = said(source, target, D1)
    assert words.startswith("spoke e1 is in use 3 times")
    assert said(source, launcher("l-2", "u1", node="node2", interface="pod2")) != []


NESTED = "[" * 100_000


@pytest.mark.parametrize("text", ["[", "{}", "[1, null]", '[{"name": 7, "ips": 3}]', "@", "/", ",,", '"x"', NESTED])
def test_what_cannot_be_read_is_nothing(text: str) -> None:
    assert attached([lan()], [decode_pod(pod(text, text))]) == ()


@given(st.text(), st.text())
def test_no_annotation_breaks_the_reader(networks: str, status: str) -> None:
    assert attached([lan()], [decode_pod(pod(networks, status))]) == ()


def test_a_bare_pod_is_read() -> None:
    found = decode_pod({"metadata": {"name": "x", "namespace": "lab"}})
    assert (found.node, found.phase, found.vm, found.networks, found.over) == ("", "", "", (), False)


def test_what_no_terminal_can_take_does_not_get_through() -> None:
    """Somebody who may make a pod is not somebody who may write to an administrator's terminal."""
    status = json.dumps([{"name": "k8slan-lan-red", "interface": "\x1b[2Jnet1", "ips": ["\ud8001"], "mac": "\x07"}])
    annotations = {STATUS_ANNOTATION: status, "vm.kubevirt.io/name": "fw\x1b"}
    found = decode_pod({"metadata": {"namespace": "lab", "name": "a", "annotations": annotations}})
    (network,) = found.networks
    assert found.vm == "fw\ufffd"
    assert (network.interface, network.ips, network.mac) == ("\ufffd[2Jnet1", ("\ufffd1",), "\ufffd")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (("k8slan-lan-red",), "k8slan-lan-red"),
        (("k8slan-lan-red", "eth1"), "k8slan-lan-red@eth1"),
        (("k8slan-lan-site.a",), '[{"name": "k8slan-lan-site.a"}]'),
        (("k8slan-lan-red", "eth1.7"), '[{"name": "k8slan-lan-red", "interface": "eth1.7"}]'),
        (("k8slan-lan-red", "E1,2"), '[{"name": "k8slan-lan-red", "interface": "E1,2"}]'),
        (("k8slan-lan-red", "", ["192.0.2.1/24"]), '[{"name": "k8slan-lan-red", "ips": ["192.0.2.1/24"]}]'),
    ],
)
def test_what_is_asked_for_is_short_where_multus_can_read_that(asked: tuple[Any, ...], text: str) -> None:
    assert request(*asked) == text
    (network,) = decode_pod(pod(text)).networks
    nad, interface, ips = (*asked, "", "")[:3]
    assert (network.nad.name, network.interface, list(network.ips)) == (nad, interface or "net1", list(ips))
