"""How LANs end: not while somebody uses them, at once when nobody does, and without waiting for nodes that are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from k8slan_cli.kube.lans import FORCE
from k8slan_cli.lan.model import PROTECTION
from tests.cluster.harness import Cluster, Node
from tests.cluster.harness.kubectl import Object
from tests.cluster.harness.pods import Pod, Pods
from tests.cluster.life import (
    Agents,
    Lan,
    Lans,
    Sandbox,
    Undisturbed,
    agents,
    condition,
    controller_on,
    lans,
    leftovers,
    sandbox,
    undisturbed,
    until_event,
    until_nothing_left,
)
from tests.support.agents import eventually, veth

__all__ = ["agents", "lans", "sandbox", "undisturbed"]


def until_held(lan: Lan, *users: tuple[Pod, Node], timeout: float = 20) -> None:
    """Wait until a LAN that is to be deleted says that these pods hold it, each on its node, and no other."""
    held = {f"pod {lan.kubectl.namespace}/{pod.name} on node {node.name}" for pod, node in users}

    def says(found: Object) -> bool:
        ready = condition(found)
        if (ready.get("status"), ready.get("reason")) != ("False", "Terminating"):
            return False
        return set(str(ready["message"]).removeprefix("is to be deleted, and in use by ").split(", ")) == held

    lan.until(says, f"Terminating and held by {held}", timeout)


def test_a_lan_in_use_stays_until_its_pods_are_gone_and_then_nothing_is_left(
    lans: Lans, pod: Pods, sandbox: Callable[[Node], Sandbox], undisturbed: Undisturbed, node1: Node, node2: Node
) -> None:
    """It says who uses it, its traffic goes on, and it takes nobody new."""
    lan = lans(spokes=3)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    mac = f"k8slan-mac-{lan.spokes[2]}"
    vm = pod(node2, networks=f"{mac}@net1", resources={f"macvtap.k8slan.io/{mac}": 1})
    lan.until_on(node1, node2)
    assert lan.get()["metadata"]["finalizers"] == [PROTECTION]
    with undisturbed(one, two):
        lan.delete()
        until_held(lan, (one, node1), (two, node2), (vm, node2))
        assert f"pod {lan.kubectl.namespace}/{one.name}" in until_event(lan.kubectl, lan.name, "Terminating")
        assert "being deleted" in sandbox(node1).call("ADD", veth(lan.spokes[0])).error(100)
        vm.delete()
        until_held(lan, (one, node1), (two, node2))
    one.delete()
    until_held(lan, (two, node2))
    eventually("the first node has left", lambda: set(lan.vteps()) == {node2.name})
    eventually("the first node knows the LAN and no more", lambda: _records(leftovers(node1, lan), "lans/"))
    two.delete()
    lan.until_gone()
    eventually("its NADs are gone with it", lambda: lan.kubectl.items("network-attachment-definitions") == [])
    for node in (node1, node2):
        until_nothing_left(node, lan)


def test_a_lan_in_use_that_is_deleted_by_force_is_gone_at_once(
    lans: Lans, pod: Pods, undisturbed: Undisturbed, node1: Node, node2: Node
) -> None:
    """The pods run on without the interfaces; they are plugged in again should the LAN come back, and go smoothly."""
    lan = lans()
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    lan.until_on(node1, node2)
    document = lan.get()
    lan.delete()
    until_held(lan, (one, node1), (two, node2))
    lan.patch({"metadata": {"annotations": {FORCE: "true"}}})
    lan.until_gone(30)  # without, it would take a minute
    for node, each in ((node1, one), (node2, two)):
        eventually("all but the pod's record is gone", lambda n=node: _records(leftovers(n, lan), "attachments/"))
        assert "net1" not in each.run("ip", "link")
    metadata = {key: document["metadata"][key] for key in ("name", "namespace")}
    lan.kubectl.create(document | {"metadata": metadata, "status": {}})
    lan.until_ready()
    lan.until_on(node1, node2)
    with undisturbed(one, two):
        lan.delete()
        until_held(lan, (one, node1), (two, node2))
    lan.patch({"metadata": {"annotations": {FORCE: "true"}}})
    lan.until_gone(30)  # without, it would take a minute
    for node, each in ((node1, one), (node2, two)):
        each.delete()
        until_nothing_left(node, lan)


def _records(found: list[str], folder: str) -> bool:
    """Whether what is left is one record in a folder."""
    return len(found) == 1 and found[0].startswith(folder)


@pytest.fixture
def mended(agents: Agents, node2: Node) -> Iterator[Node]:
    """A node that a test switches off or takes out of the cluster; it is back afterwards, with its agent."""
    container = agents.pod(node2).container_id
    yield node2
    if not node2.machine.up:
        node2.power_on()
        node2.wait_ready()
        agents.until_another(node2, container)
    elif not node2.machine.running("kubelet"):
        node2.start_kubelet()
        node2.wait_ready()


def test_a_node_that_is_down_holds_a_lan_for_a_minute_and_no_longer(
    lans: Lans, pod: Pods, k8slan: Cluster, agents: Agents, node1: Node, mended: Node
) -> None:
    """Not even if the controller was on it. Back again it has nothing of the LAN."""
    controller_on(k8slan, mended)
    container = agents.pod(mended).container_id
    lan = lans()
    there, lost = pod(node1, networks=lan.veth(0)), pod(mended, networks=lan.veth(1))
    lan.until_on(node1, mended)
    mended.power_off()
    down = time.monotonic()
    lan.delete()
    until_held(lan, (there, node1), (lost, mended), timeout=120)  # there is no controller for a while
    there.delete()
    until_held(lan, (lost, mended))
    lan.until_gone(120)
    waited = time.monotonic() - down
    assert waited >= 60, f"given up after {waited:.0f} s"
    mended.power_on()
    mended.wait_ready()
    agents.until_another(mended, container)
    until_nothing_left(mended, lan)


def test_a_node_that_was_deleted_does_not_hold_a_lan(
    lans: Lans, pod: Pods, k8slan: Cluster, agents: Agents, node1: Node, mended: Node
) -> None:
    """Neither one that is to be deleted nor the status of one that stays."""
    controller_on(k8slan, node1)
    container = agents.pod(mended).container_id
    stays, goes = lans("stays"), lans("goes")
    for lan in (stays, goes):
        pod(node1, networks=lan.veth(0))
        pod(mended, networks=lan.veth(1))
        lan.until_on(node1, mended)
    mended.power_off()
    k8slan.kubectl("delete", "node", mended.name)
    eventually(f"it is free of {mended.name}", lambda: set(stays.vteps()) == {node1.name})
    assert mended.name in until_event(stays.kubectl, stays.name, "NodeLost")
    eventually("nobody sends to it", lambda: stays.peers(node1) == set(), 60)
    goes.kubectl.delete("pods", "--all", "--force", "--grace-period=0")
    goes.delete()
    goes.until_gone(20)
    mended.power_on()
    mended.wait_ready()
    agents.until_another(mended, container)
    until_nothing_left(mended, goes)


def test_a_node_whose_kubelet_is_gone_gives_its_part_up(
    lans: Lans, pod: Pods, k8slan: Cluster, node1: Node, mended: Node, undisturbed: Undisturbed
) -> None:
    """Its agent still runs: while the LAN is there the pods have their traffic; when it is gone, so is its part."""
    controller_on(k8slan, node1)
    lan = lans()
    one, two = pod(node1, networks=lan.veth(0)), pod(mended, networks=lan.veth(1))
    lan.until_on(node1, mended)
    with undisturbed(one, two):
        mended.kill_kubelet()
        lan.delete()
        one.kubectl.until(
            "node", mended.name, holds=lambda node: "True" not in ready_of(node), timeout=60, what="not ready"
        )
        until_held(lan, (one, node1), (two, mended))
    one.delete()
    lan.until_gone(120)
    eventually("all but the pod's record is gone", lambda: _records(leftovers(mended, lan), "attachments/"))


def ready_of(node: Object) -> list[str]:
    """What a node says of being Ready."""
    return [each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready"]
