"""Who is on a LAN, by ports of VTEPs; who waits, by pods; and what is wrong between them."""

from __future__ import annotations

from typing import Any

import pytest

from k8slan_cli.inventory import lans
from k8slan_cli.inventory.occupancy import decoded
from k8slan_cli.lan.vtep import VmRef
from k8slan_cli.plan.occupancy import Occupancy, cni_reason, occupancies, occupancy
from k8slan_cli.plan.pods import decode_pod
from tests.support import scene
from tests.support.scene import Object, on, port, vtep

LAN = scene.lan(spokes=["e1", "e2", "vm1"])
E1 = port("router", "e1", "02:a1:00:00:00:01")


def names(found: Occupancy) -> tuple[list[str], list[str]]:
    return [item.place for item in found.attached], [item.place for item in found.waiting]


def said(found: Occupancy) -> list[str]:
    return [fault.message for fault in found.faults]


# ---------------------------------------------------------------- attached, or waiting


def test_a_port_is_an_attachment_whatever_the_pod_says() -> None:
    """By a network of one's own, with any name, a pod asks for nothing that k8slan knows."""
    pods = [scene.pod("router", "my-own-network"), scene.pod("web", "")]
    assert names(on(LAN, [vtep("w1", E1)], pods)) == (["pod lab/router on node w1 (net1)"], [])


def test_a_pod_that_asks_and_has_no_port_waits() -> None:
    """So does the copy that kubectl debug makes of a pod, with all its annotations."""
    copied = [("k8slan-veth-e1", "net1", "02:a1:00:00:00:01")]
    pods = [
        scene.pod("router", "k8slan-veth-e1", got=copied, node="w1"),
        scene.pod("router-debug", "k8slan-veth-e1", got=copied, node="w2", phase="Pending"),
    ]
    found = on(LAN, [vtep("w1", E1)], pods)
    assert names(found) == (["pod lab/router on node w1 (net1)"], ["pod lab/router-debug on node w2 (net1)"])
    assert found.holders == found.attached


def test_each_interface_of_a_pod_counts_by_itself() -> None:
    pod = scene.pod("router", "k8slan-veth-e1,k8slan-veth-e2@eth7", node="w1", phase="Pending")
    found = on(LAN, [vtep("w1", E1)], [pod])
    assert names(found) == (["pod lab/router on node w1 (net1)"], ["pod lab/router on node w1 (eth7)"])
    both = vtep("w1", E1, port("router", "e2", interface="eth7"))
    assert [len(each) for each in names(on(LAN, [both], [pod]))] == [2, 0]


@pytest.mark.parametrize(
    "pod",
    [
        scene.pod("job", "k8slan-veth-e1", phase="Succeeded"),
        scene.pod("job", "k8slan-veth-e1", phase="Failed"),
        scene.pod("host", "k8slan-veth-e1", hostNetwork=True),
        scene.pod("other", "k8slan-veth-e9"),
        scene.pod("elsewhere", "k8slan-veth-e1", namespace="apps"),
    ],
    ids=lambda pod: str(pod["metadata"]["name"]),
)
def test_what_never_comes_is_not_waited_for(pod: Object) -> None:
    """Jobs that are over, pods of their node's own network, and who asks for something else."""
    assert names(on(LAN, [], [pod])) == ([], [])


def test_a_pod_that_goes_is_leaving_until_its_port_is_gone() -> None:
    pod = scene.pod("router", "k8slan-veth-e1")
    pod["metadata"]["deletionTimestamp"] = "2026-11-24T11:00:00Z"
    (item,) = on(LAN, [vtep("w1", E1)], [pod]).attached
    assert item.leaving
    assert names(on(LAN, [], [pod])) == ([], [])


def test_the_next_pod_of_a_stateful_set_waits_for_the_port_that_the_last_one_has() -> None:
    pod = scene.pod("router", "k8slan-veth-e1", phase="Pending")
    pod["metadata"]["uid"] = "another"
    assert [len(each) for each in names(on(LAN, [vtep("w1", E1)], [pod]))] == [1, 1]


def test_a_port_of_an_older_record_has_no_uid_and_is_its_pods_all_the_same() -> None:
    older = E1 | {"pod": {"namespace": "lab", "name": "router"}}
    assert [len(each) for each in names(on(LAN, [vtep("w1", older)], [scene.pod("router", "k8slan-veth-e1")]))] == [
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (scene.pod("a", "k8slan-veth-e1", phase="Pending"), ""),
        (scene.pod("a", "k8slan-veth-e1", node="", phase="Pending"), "it has no node yet"),
        (scene.pod("a", "k8slan-veth-e1"), "it runs without this interface"),
        (scene.pod("a", "k8slan-veth-e1", got=[("k8slan-veth-e1", "net1", "m")]), "multus has attached it, but the ag"),
    ],
)
def test_why_a_pod_waits_is_said_where_it_can_be_known(pod: Object, reason: str) -> None:
    """A pod that runs gets no interface any more: as a rule multus was not there when it was started."""
    (item,) = on(LAN, [], [pod]).waiting
    assert item.reason.startswith(reason)
    assert bool(item.reason) == bool(reason)
    assert item.why == (item.reason or "see kubectl -n lab describe pod a")


def test_a_vm_has_its_name_by_its_port_and_else_by_the_labels_of_its_pod() -> None:
    mac = {"kind": "macvtap"}
    launcher = scene.pod("virt-launcher-fw-abcde", "k8slan-mac-vm1", vm="fw")
    by_label = on(LAN, [vtep("w1", port("virt-launcher-fw-abcde", "vm1", **mac))], [launcher])
    by_port = on(LAN, [vtep("w1", port("virt-launcher-fw-abcde", "vm1", vm="fw", **mac))])
    assert [item.who for found in (by_label, by_port) for item in found.attached] == ["VM lab/fw"] * 2
    assert [item.who for item in on(LAN, [], [launcher]).waiting] == ["VM lab/fw"]
    assert by_port.attached[0].port.vm == VmRef(name="fw", uid="uid-fw")


def test_a_lan_that_breaks_rules_has_its_ports_too() -> None:
    broken = scene.lan(spokes=["E1"])
    assert names(on(broken, [vtep("w1", E1)], [scene.pod("a", "k8slan-veth-e1")])) == (
        ["pod lab/router on node w1 (net1)"],
        [],
    )


def test_vteps_of_other_lans_do_not_count() -> None:
    assert on(LAN, [vtep("w1", E1, lan="blue")]) == on(LAN)


def test_many_lans_are_each_shown_what_is_theirs() -> None:
    documents = [scene.lan("red", spokes=["e1"]), scene.lan("blue", dynamic=True)]
    found = {item.ref: item.lan for item in map(lans.read, documents)}
    vteps = decoded([vtep("w1", E1), vtep("w1", port("router", interface="net2"), lan="blue")])
    asked = [
        scene.pod("router", "k8slan-veth-e1,k8slan-lan-blue,k8slan-lan-blue@net9"),
        scene.pod("own", "mine"),
        scene.pod("late", "k8slan-veth-e1", phase="Pending"),
    ]
    asked[0]["metadata"]["deletionTimestamp"] = "2026-11-24T11:00:00Z"
    pods = [decode_pod(document) for document in asked]
    together = occupancies(found, vteps, pods)
    assert together == {ref: occupancy(ref, lan, vteps, pods) for ref, lan in found.items()}
    assert [[item.leaving for item in each.attached] for each in together.values()] == [[True], [True]]
    assert [len(each.waiting) for each in together.values()] == [1, 0]


# ---------------------------------------------------------------- nodes without a VTEP


GOT: dict[str, Any] = {"got": [("k8slan-veth-e1", "net1", "02:a1:00:00:00:01")], "ips": ["10.9.0.1/24"]}


def test_a_node_of_the_last_version_counts_by_its_entry_and_by_what_multus_wrote() -> None:
    """Half of the nodes are upgraded: w1 writes VTEPs, w2 does not yet."""
    lan = scene.lan(spokes=["e1", "e2"], status={"nodes": [scene.entry("w1"), scene.entry("w2", "192.0.2.2")]})
    pods = [
        scene.pod("old", "k8slan-veth-e1", node="w2", **GOT),
        scene.pod("new", "k8slan-veth-e2", node="w1"),
        scene.pod("next", "k8slan-veth-e2@eth1", node="w2", phase="Pending"),
    ]
    found = on(lan, [vtep("w1", port("new", "e2"))], pods)
    assert names(found) == (
        ["pod lab/old on node w2 (net1)", "pod lab/new on node w1 (net1)"],
        ["pod lab/next on node w2 (eth1)"],
    )
    assert [(node.node, str(node.address), node.device) for node in found.nodes] == [
        ("w1", "192.0.2.1", "eth1"),
        ("w2", "192.0.2.2", "eth1"),
    ]
    assert said(found) == []


def test_a_node_of_the_last_version_takes_part_though_its_pods_cannot_be_seen() -> None:
    lan = scene.lan(spokes=["e1"], status={"nodes": [scene.entry("w1")]})
    assert [node.node for node in on(lan).nodes] == ["w1"]
    assert on(lan, None).nodes == on(lan).nodes


def test_nobody_is_said_to_lose_a_spoke_by_what_multus_wrote() -> None:
    """Annotations do not tell who came first, and nobody's link is down for it."""
    pods = [scene.pod(name, "k8slan-veth-e1", node=name, **GOT | {"ips": []}) for name in ("w1", "w2")]
    assert [item.holder for item in on(LAN, None, pods).attached] == [None, None]


def test_without_vteps_what_multus_wrote_is_all_there_is() -> None:
    pods = [scene.pod("a", "k8slan-veth-e1", **GOT), scene.pod("b", "k8slan-veth-e2", phase="Pending")]
    found = on(LAN, None, pods)
    assert names(found) == (["pod lab/a on node worker1 (net1)"], ["pod lab/b on node worker1 (net1)"])
    (item,) = found.attached
    assert (item.port.mac, item.port.addresses, item.port.kind) == ("02:a1:00:00:00:01", ("10.9.0.1/24",), "veth")


# ---------------------------------------------------------------- what is wrong


def test_nothing_is_wrong_with_a_lan_in_use() -> None:
    assert said(on(scene.RED, scene.VTEPS, scene.PODS)) == []


def test_a_spoke_on_two_nodes_has_one_holder_and_is_said_once() -> None:
    found = on(LAN, scene.TWICE)
    assert said(found) == [
        "spoke e1 is held by pod lab/d2 on node worker2 (eth1), so there is no link for "
        "pod lab/d1 on node worker1 (eth1): delete all but one"
    ]
    assert [(item.who, item.holder and item.holder.node) for item in found.attached] == [
        ("pod lab/d1", "worker2"),
        ("pod lab/d2", None),
    ]


def test_a_lost_node_holds_neither_a_spoke_nor_the_deletion_and_is_named() -> None:
    gone = port("d2", "e1", "02:a1:00:00:00:01", interface="eth1")
    found = on(LAN, [scene.TWICE[0], vtep("worker2", gone, version=8, lost=True)])
    assert [item.who for item in found.holders] == ["pod lab/d1"]
    assert said(found) == ["node worker2 has not been ready for a minute: its ports hold no spoke and no deletion"]
    assert [node.node for node in found.nodes] == ["worker1", "worker2"], "frames are still sent to it"


def test_a_mac_address_at_two_ports_is_said() -> None:
    dynamic = scene.lan(dynamic=True)
    same = "02:00:00:00:00:09"
    found = on(dynamic, [vtep("w1", port("a", mac=same), port("b", mac=same)), vtep("w2", port("c", mac=same[:-1]))])
    where = "pod lab/a on node w1 (net1), pod lab/b on node w1 (net1)"
    assert said(found) == [f"MAC address {same} is in use by {where}: give each interface its own"]


def test_an_interface_with_a_larger_mtu_than_the_least_node_is_named() -> None:
    found = on(LAN, [vtep("w1", E1 | {"mtu": 8946}, mtu=8946), vtep("w2", port("b", "e2"), mtu=1446)])
    assert found.mtu == 1446
    assert said(found) == [
        "MTU of the LAN is 1446 bytes, as on node w2, but pod lab/router on node w1 (net1) has 8946: "
        "restart these pods, or raise the MTU on node w2 (its underlay's, or spec.mtu)"
    ]


@pytest.mark.parametrize(
    ("lan", "its", "what"),
    [(scene.lan(spokes=["e2"]), E1, "spoke e1"), (scene.lan(spokes=["e2"]), port("router"), "dynamic: true")],
)
def test_who_is_on_what_was_taken_out_of_the_lan_is_named(lan: Object, its: Object, what: str) -> None:
    found = on(lan, [vtep("w1", its)])
    (item,) = found.attached
    assert item.removed
    (words,) = said(found)
    assert words.startswith(f"{what} was taken out of the LAN, and pod lab/router on node w1 (net1) still uses it")


def test_a_node_that_reports_a_failure_takes_no_part_and_is_named() -> None:
    found = on(LAN, [vtep("w1", state="Degraded", message="there is no device bond0 here")])
    assert (found.nodes, said(found)) == ((), ["on node w1: there is no device bond0 here"])


# ---------------------------------------------------------------- what the CNI said

IN_USE = "spoke e1 is in use by pod lab/a on node w1; a spoke takes one pod at a time"
WRAPPED = 'rpc error: code = Unknown desc = failed to setup network for sandbox "0123": plugin type="multus"'


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            f'Failed to create pod sandbox: {WRAPPED} name="multus-cni-network" failed (add): [lab/b/u:k8slan-veth-e1]:'
            f' error adding container to network "k8slan-veth-e1": {IN_USE}',
            IN_USE,
        ),
        (
            f'{WRAPPED} failed (add): CNI request failed with status 400: \'ContainerID:"0123" [lab/b/u:k]: error'
            f' adding container to network "k8slan-veth-e1": plugin type="k8slanveth" failed (add): {IN_USE}\n\'',
            IN_USE,
        ),
        (
            f"{WRAPPED} failed (add): cannot find a network-attachment-definition (x)",
            "cannot find a network-attachment-",
        ),
        ("something else", "something else"),
        ("", ""),
    ],
)
def test_what_the_plugin_said_is_found_in_what_the_kubelet_made_of_it(message: str, reason: str) -> None:
    assert cni_reason(message).startswith(reason)
    assert "rpc error" not in cni_reason(message)
