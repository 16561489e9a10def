"""What pods' annotations say: multus' own forms, VMs, other namespaces, and what cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan import codec
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.plan.pods import (
    DEFAULT_ANNOTATION,
    NETWORKS_ANNOTATION,
    STATUS_ANNOTATION,
    Network,
    Socket,
    decode_pod,
    request,
    sockets,
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


def asked(document: dict[str, Any], *lans: Lan) -> list[tuple[Socket, Network]]:
    """Sockets of LANs that a pod asks for or has."""
    known = dict(pair for each in lans or (lan(),) for pair in sockets(each))
    return [(known[network.nad], network) for network in decode_pod(document).networks if network.nad in known]


def only(document: dict[str, Any], *lans: Lan) -> tuple[Socket, Network]:
    (found,) = asked(document, *lans)
    return found


def test_a_pod_of_a_stateful_set_asks_for_its_spokes_together() -> None:
    socket, _ = only(pod("k8slan-set-web"), lan(spokes=("web-0", "web-1")))
    assert (socket.kind, socket.spoke) == ("veth", "web-*")


def test_a_running_pod_has_what_multus_says() -> None:
    socket, network = only(pod("k8slan-veth-e1", [FLANNEL, E1]))
    assert (socket.kind, socket.spoke) == ("veth", "e1")
    assert network == Network(
        nad=LanRef(namespace="lab", name="k8slan-veth-e1"),
        interface="net1",
        mac="02:ab:00:00:00:01",
        ips=("10.9.0.1",),
        present=True,
    )


def test_before_multus_has_spoken_a_pod_is_what_it_asks_for() -> None:
    _, network = only(pod("k8slan-veth-e1", status=[FLANNEL]))
    assert (network.interface, network.mac, network.present) == ("net1", "", False)


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
    assert only(pod(networks))[1].interface == interface


def test_a_pod_may_be_in_another_namespace_than_the_lan() -> None:
    elsewhere = {"namespace": "apps"}
    assert only(pod("lab/k8slan-veth-e1", metadata=elsewhere))[0].spoke == "e1"
    assert asked(pod("k8slan-veth-e1", metadata=elsewhere)) == []


@pytest.mark.parametrize("where", ["labels", "annotations"])
@pytest.mark.parametrize("key", ["vm.kubevirt.io/name", "kubevirt.io/domain"])
def test_a_launcher_has_the_name_of_its_vm(where: str, key: str) -> None:
    document = pod("k8slan-mac-e2")
    document["metadata"].setdefault(where, {})[key] = "firewall"
    assert decode_pod(document).vm == "firewall"
    assert (only(document)[0].kind, only(document)[0].spoke) == ("macvtap", "e2")


def test_a_vm_has_its_own_name_whatever_its_host_name_and_labels_are() -> None:
    document = pod("k8slan-mac-e2")
    document["metadata"]["labels"] = {"vm.kubevirt.io/name": "firewall", "kubevirt.io/domain": "mine"}
    document["metadata"]["annotations"]["kubevirt.io/domain"] = "firewall.lab"
    assert decode_pod(document).vm == "firewall.lab"


def test_the_same_network_twice_is_two_interfaces() -> None:
    blue = lan("blue", spokes=(), dynamic=True)
    status = [{"name": "lab/k8slan-lan-blue", "interface": "net1", "mac": "02:00:00:00:00:01"}]
    found = asked(pod("k8slan-lan-blue,k8slan-lan-blue", status), blue)
    assert sorted((network.interface, network.present) for _, network in found) == [("net1", True), ("net2", False)]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_is_over(phase: str) -> None:
    assert decode_pod(pod("k8slan-veth-e1", [E1]) | {"status": {"phase": phase}}).over
    assert not decode_pod(pod("k8slan-veth-e1", [E1])).over


@pytest.mark.parametrize("own", [True, False])
def test_a_pod_may_have_its_nodes_network(own: bool) -> None:
    assert decode_pod(pod("k8slan-veth-e1") | {"spec": {"hostNetwork": own}}).host_network == own


def test_a_network_without_a_request_counts_too() -> None:
    """The cluster may give pods a default network that their own annotation does not name."""
    assert only(pod("", [E1]))[1].interface == "net1"


@pytest.mark.parametrize("status", [None, [{"name": "lab/k8slan-veth-e1", "interface": "eth0", "default": True}]])
def test_a_lan_may_be_a_pods_first_network(status: Any) -> None:
    default = {DEFAULT_ANNOTATION: "k8slan-veth-e1"}
    _, network = only(pod("", status, metadata={"annotations": default | pod("", status)["metadata"]["annotations"]}))
    assert (network.interface, network.present) == ("eth0", status is not None)


def test_lans_are_kept_apart() -> None:
    other = lan("green", namespace="other", spokes=("e3",))
    found = asked(pod("k8slan-veth-e1,other/k8slan-veth-e3,k8slan-veth-e9"), lan(), other)
    assert [(str(socket.lan), socket.spoke) for socket, _ in found] == [("lab/red", "e1"), ("other/green", "e3")]


NESTED = "[" * 100_000


@pytest.mark.parametrize("text", ["[", "{}", "[1, null]", '[{"name": 7, "ips": 3}]', "@", "/", ",,", '"x"', NESTED])
def test_what_cannot_be_read_is_nothing(text: str) -> None:
    assert asked(pod(text, text)) == []


@given(st.text(), st.text())
def test_no_annotation_breaks_the_reader(networks: str, status: str) -> None:
    assert asked(pod(networks, status)) == []


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
    ("wanted", "text"),
    [
        (("k8slan-lan-red",), "k8slan-lan-red"),
        (("k8slan-lan-red", "eth1"), "k8slan-lan-red@eth1"),
        (("k8slan-lan-site.a",), '[{"name": "k8slan-lan-site.a"}]'),
        (("k8slan-lan-red", "eth1.7"), '[{"name": "k8slan-lan-red", "interface": "eth1.7"}]'),
        (("k8slan-lan-red", "E1,2"), '[{"name": "k8slan-lan-red", "interface": "E1,2"}]'),
        (("k8slan-lan-red", "", ["192.0.2.1/24"]), '[{"name": "k8slan-lan-red", "ips": ["192.0.2.1/24"]}]'),
    ],
)
def test_what_is_asked_for_is_short_where_multus_can_read_that(wanted: tuple[Any, ...], text: str) -> None:
    assert request(*wanted) == text
    (network,) = decode_pod(pod(text)).networks
    nad, interface, ips = (*wanted, "", "")[:3]
    assert (network.nad.name, network.interface, list(network.ips)) == (nad, interface or "net1", list(ips))
