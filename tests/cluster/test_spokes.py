"""Spokes of a LAN in use: what an edit is not about goes on as if there had been none, and two pods on one are said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from k8slan_cli.lan import names as lan_names
from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.kubectl import Object
from tests.cluster.harness.pods import Pod, Pods, manifest
from tests.cluster.life import (
    Agents,
    Lans,
    Sandbox,
    Undisturbed,
    agents,
    condition,
    lans,
    links,
    sandbox,
    undisturbed,
    until_event,
)
from tests.support import names
from tests.support.agents import dynamic, eventually, macvtap, veth
from tests.unit.render.command import call

__all__ = ["agents", "lans", "sandbox", "undisturbed"]


def resources(*spokes: str) -> list[str]:
    """The resources of spokes."""
    return [lan_names.resource(nad(spoke)) for spoke in spokes for nad in (lan_names.mac_nad, lan_names.veth_nad)]


def nads(kubectl: Kubectl) -> set[str]:
    """The names of the NADs that there are."""
    return {nad["metadata"]["name"] for nad in kubectl.items("network-attachment-definitions")}


def until_none_allocatable(cluster: Cluster, *wanted: str) -> None:
    """Wait until no node gives any of the resources."""

    def none(node: Object) -> bool:
        return all(node["status"]["allocatable"].get(resource, "0") == "0" for resource in wanted)

    for node in cluster.nodes:
        cluster.kubectl.until("node", node.name, holds=none, what=f"free of {wanted}")


def test_spokes_come_and_go_and_a_lan_becomes_dynamic_under_traffic(
    lans: Lans, pod: Pods, undisturbed: Undisturbed, k8slan: Cluster, kubectl: Kubectl, node1: Node, node2: Node
) -> None:
    lan = lans(spokes=3)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    lan.until_on(node1, node2)
    before = [links(node, lan) for node in (node1, node2)]
    with undisturbed(one, two):
        added = [names.unique("e") for _ in range(2)]
        lan.edit(spokes=[*lan.spokes, *added])
        probing.until_allocatable(k8slan, *resources(*added))
        three = pod(node1, networks=f"k8slan-veth-{added[0]}@net1", resources={resources(added[0])[1]: 1})
        three.delete()

        lan.edit(spokes=[*lan.spokes[:2], added[1]])
        assert nads(kubectl) == {f"k8slan-{kind}-{s}" for s in (*lan.spokes[:2], added[1]) for kind in ("mac", "veth")}
        until_none_allocatable(k8slan, *resources(lan.spokes[2], added[0]))

        lan.edit(dynamic=True)
        four = pod(node2, networks=lan.any())
        lan.edit(dynamic=False)
        assert f"k8slan-lan-{lan.name}" not in nads(kubectl)
        assert "net1" in four.run("ip", "link")
    with undisturbed(four, one):
        assert len(probing.ports(node2, lan.netns)) == 2
    four.delete()
    for node in (node1, node2):
        eventually("the pods that went are detached", lambda n=node: len(probing.ports(n, lan.netns)) == 1)
    assert [links(node, lan) for node in (node1, node2)] == before


def test_a_spoke_that_is_taken_away_from_under_a_pod_is_the_pods_until_it_goes(
    lans: Lans,
    pod: Pods,
    undisturbed: Undisturbed,
    sandbox: Callable[[Node], Sandbox],
    kubectl: Kubectl,
    node1: Node,
    node2: Node,
) -> None:
    """Nobody else gets it, another LAN may not have its port, and the LAN does not end before the pod."""
    lan = lans(spokes=3)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    lan.until_on(node1, node2)
    with undisturbed(one, two):
        lan.edit(spokes=list(lan.spokes[1:]))
        assert f"k8slan-veth-{lan.spokes[0]}" not in nads(kubectl)
        box = sandbox(node1)
        refusal = "no LAN has the spoke"
        eventually("the agent has heard", lambda: refusal in box.call("ADD", veth(lan.spokes[0])).stdout.decode())
        lan.delete()
        lan.until(lambda found: "in use by" in condition(found)["message"], "in use")
    two.delete()
    eventually("it is held by one node", lambda: lan.states().keys() == {node1.name})
    assert "net1" in one.run("ip", "link")
    one.delete()
    lan.until_gone()


def test_a_vm_keeps_its_tap_when_its_spoke_goes_to_another_lan(
    lans: Lans, pod: Pods, sandbox: Callable[[Node], Sandbox], node1: Node, node2: Node
) -> None:
    """The tap is the LAN's own: on the VM's node too, the other LAN makes one beside it."""
    lan = lans("before", spokes=2)
    spoke = lan.spokes[0]
    nad = lan_names.mac_nad(spoke)
    vm = pod(node1, networks=f"{nad}@net1", resources={lan_names.resource(nad): 1})
    list_taps = f"ls -l /dev/tap{lan.tap_index(spoke)}"
    device = vm.run("sh", "-c", list_taps)
    lan.edit(spokes=[lan.spokes[1]])
    lans("after", spokes=[spoke])
    for node in (node1, node2):
        box = sandbox(node)
        eventually(
            "it is the other LAN's", lambda b=box: "error" not in b.call("STATUS", macvtap(spoke)).stdout.decode()
        )
        added = box.call("ADD", macvtap(spoke))
        assert added.status == 0, added.stdout
        box.call("DEL", macvtap(spoke)).ok()
    assert vm.run("sh", "-c", list_taps) == device


def test_an_edit_of_the_mtu_is_for_pods_to_come(
    lans: Lans, pod: Pods, undisturbed: Undisturbed, k8slan: Cluster, node1: Node, node2: Node
) -> None:
    """What a pod that is there takes for its MTU is the pod's; frames that fit pass all the time, both ways."""
    lan = lans(spokes=3)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    lan.until_on(node1, node2)
    with undisturbed(one, two):
        lan.patch({"spec": {"mtu": 1300}})
        eventually("it is narrower", lambda: {vtep["mtu"] for vtep in lan.vteps().values()} == {1300})
        lan.until(lambda found: condition(found, "Degraded")["reason"] == "MtuTooLarge", "saying so")
        three = pod(node1, networks=lan.veth(2))
    assert [mtu(each) for each in (one, two, three)] == [1446, 1446, 1300]
    with undisturbed(one, two):
        lan.edit(mtu=None)
        eventually("it is as wide as before", lambda: {vtep["mtu"] for vtep in lan.vteps().values()} == {1446})
    with probing.Endpoints(k8slan) as endpoints:
        ends = endpoints.interface(one, "net1"), endpoints.interface(two, "net1")
        assert probing.failures(*ends, 1446) == []


def mtu(pod: Pod) -> int:
    """The MTU of a pod's interface."""
    return int(pod.run("cat", "/sys/class/net/net1/mtu"))


def pod_events(kubectl: Kubectl, pod: Pod) -> list[tuple[str, str, int]]:
    """Type, note and count of the events about what a pod shares, as ``kubectl describe`` finds them."""
    selector = f"--field-selector=regarding.uid={pod.get()['metadata']['uid']},reason=SpokeShared"
    found = kubectl.items("events.events.k8s.io", selector)
    return [(each["type"], each["note"], each.get("series", {}).get("count", 1)) for each in found]


def test_the_pods_of_a_stateful_set_have_a_spoke_each_by_their_numbers(
    lans: Lans,
    sandbox: Callable[[Node], Sandbox],
    kubectl: Kubectl,
    node1: Node,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubectl.kubeconfig))
    base = names.unique()
    lan = lans(spokes=[f"{base}-0", f"{base}-1"])
    template = manifest("unused", networks=f"k8slan-set-{base}@net1", labels={"app": "web"})
    metadata = {key: template["metadata"][key] for key in ("annotations", "labels")}
    spec = {
        "replicas": 3,
        "serviceName": "web",
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": metadata, "spec": template["spec"]},
    }
    kubectl.create({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": spec})
    first, second, third = (Pod(name=f"web-{number}", kubectl=kubectl) for number in range(3))
    first.ready()
    second.ready()
    kubectl.until(
        "events.events.k8s.io",
        "--field-selector=regarding.name=web-2",
        holds=lambda event: f"has no spoke '{base}-2'" in event["note"],
        what="refused for want of its spoke",
    )
    waiting = json.loads(call("lan", "inspect", lan.name, "-n", kubectl.namespace, "-o", "json").stdout)["waiting"]
    assert [(item["pod"], item["spoke"]) for item in waiting] == [(f"{kubectl.namespace}/web-2", f"{base}-2")]
    lan.edit(spokes=[*lan.spokes, f"{base}-2"])
    third.ready()

    def ports() -> dict[str, str]:
        found = (port for vtep in lan.vteps().values() for port in vtep.get("ports", ()))
        return {port["pod"]["name"]: port["spoke"] for port in found}

    wanted = {f"web-{number}": f"{base}-{number}" for number in range(3)}
    eventually("each has its own", lambda: ports() == wanted)
    config = veth(f"{base}-*", name=f"k8slan-set-{base}")
    said = sandbox(node1).call("ADD", config, pod=f"{kubectl.namespace}/web-7d9f-x2b4z").error(7)
    assert "is for pods of a StatefulSet, whose names end in a number: 'web-7d9f-x2b4z' does not" in said
    kubectl.delete("statefulset", "web")


@pytest.fixture
def guests(cluster: Cluster) -> Iterator[Kubectl]:
    """Calls kubectl in a second Kubernetes namespace."""
    with cluster.namespace(names.unique("gs")) as inside:
        yield inside


def test_pods_of_another_namespace_attach_where_the_lan_allows_it_and_stay(
    lans: Lans, guests: Kubectl, sandbox: Callable[[Node], Sandbox], kubectl: Kubectl, node1: Node
) -> None:
    lan = lans(spokes=1, dynamic=True)
    refusal = f"pods of namespace {guests.namespace} may not attach to LAN {kubectl.namespace}/{lan.name}"
    guest = Pods(guests)(node1, ready=False, networks=f"{kubectl.namespace}/{lan.veth(0)}")
    told = guests.until(
        "events.events.k8s.io",
        f"--field-selector=regarding.name={guest.name}",
        holds=lambda event: refusal in event["note"],
        what=refusal,
    )
    assert "spec.allowedNamespaces" in told["note"]
    box, config = sandbox(node1), dynamic(f"{kubectl.namespace}/{lan.name}")
    assert refusal in box.call("ADD", config, pod=f"{guests.namespace}/x").error(105)
    lan.edit(allowedNamespaces=[guests.namespace])
    guest.ready()
    lan.edit(allowedNamespaces=["others"])
    eventually(
        "the agent has heard",
        lambda: refusal in box.call("ADD", veth(lan.spokes[0]), pod=f"{guests.namespace}/x").stdout.decode(),
    )
    assert "LOWER_UP" in guest.run("ip", "link", "show", "net1")
    assert probing.ports(node1, lan.netns)


def test_a_spoke_has_one_holder_in_the_cluster(
    lans: Lans, pod: Pods, kubectl: Kubectl, k8slan: Cluster, node1: Node, node2: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another pod waits for it, on whatever node, and is told for whom; the LAN is well meanwhile."""
    monkeypatch.setenv("KUBECONFIG", str(k8slan.kubeconfig))
    lan = lans(spokes=2)
    one = pod(node1, networks=lan.veth(interface="eth1"))
    lan.until_on(node1)
    two = pod(node2, networks=lan.veth(interface="eth1"), ready=False)
    refusal = f"spoke {lan.spokes[0]} is in use by pod {kubectl.namespace}/{one.name} on node {node1.name}"
    eventually("it is told who has the spoke", lambda: refusal in two.events(), 60)
    seen = json.loads(call("lan", "inspect", lan.name, "-n", kubectl.namespace, "-o", "json").stdout)
    [waiting] = seen["waiting"]
    assert (waiting["pod"], waiting["node"]) == (f"{kubectl.namespace}/{two.name}", node2.name)
    assert refusal in waiting["reason"]
    assert [each["pod"] for each in seen["attached"]] == [f"{kubectl.namespace}/{one.name}"]
    assert condition(lan.get())["status"] == "True"
    one.delete()
    two.ready()
    lan.until_on(node2)


def test_a_spoke_that_two_nodes_came_to_have_is_one_pods_and_all_say_so(
    lans: Lans,
    pod: Pods,
    agents: Agents,
    kubectl: Kubectl,
    k8slan: Cluster,
    node1: Node,
    node2: Node,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it comes about when nodes do not hear of each other: here one agent sleeps, and its VTEP is taken away."""
    monkeypatch.setenv("KUBECONFIG", str(k8slan.kubeconfig))

    def k8s(*words: str) -> str:
        return call(*words, "-n", kubectl.namespace).stdout

    lan = lans(spokes=2)
    one = pod(node1, networks=lan.veth(interface="eth1"))
    lan.until_on(node1)
    asleep = agents.folder(node1).name
    vtep = lan_names.vtep(lan.name, node1.name)
    node1.run("kill", "-STOP", asleep)
    try:
        kubectl("patch", "vtep", vtep, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        kubectl.delete("vtep", vtep)
        two = pod(node2, networks=lan.veth(interface="eth1"))
    finally:
        node1.run("kill", "-CONT", asleep)
    mine, yours = (
        f"pod {kubectl.namespace}/{each.name} on node {node.name} (eth1)" for each, node in ((one, node1), (two, node2))
    )
    words = f"spoke {lan.spokes[0]} is held by {yours}, so there is no link for {mine}: delete all but one"
    for kind, status in (("Degraded", "True"), ("Ready", "False")):
        found = lan.until(lambda found, k=kind, s=status: condition(found, k)["status"] == s, kind)
        assert (condition(found, kind)["reason"], condition(found, kind)["message"]) == ("SpokeShared", words)
    assert until_event(kubectl, lan.name, "SpokeShared") == words
    told = [("Warning", f"on LAN {kubectl.namespace}/{lan.name}, {words}", 1)]
    for each in (one, two):
        eventually(f"{each.name} is told once", lambda e=each: pod_events(kubectl, e) == told)
    eventually("the one without the spoke has no link", lambda: (carrier(one), carrier(two)) == ("0", "1"))

    why = json.loads(k8s("lan", "inspect", lan.name, "-o", "json"))["why"]
    assert why[0] == f"SpokeShared: {words}"
    assert [each for each in why[1:] if one.name not in each or "its port is down" not in each] == []
    assert "not ready (SpokeShared)" in k8s("lan", "inspect", lan.name)
    assert "SpokeShared" in k8s("lan", "list", "-o", "wide")
    assert f"LAN {kubectl.namespace}/{lan.name} is not ready: {words}" in k8s("doctor")

    two.delete()
    lan.until_ready()
    lan.until_on(node1)
    eventually("the spoke is the other one's", lambda: carrier(one) == "1")
    assert condition(lan.get(), "Degraded")["status"] == "False"
    assert until_event(kubectl, lan.name, "Ready")
    assert json.loads(k8s("lan", "inspect", lan.name, "-o", "json"))["why"] == []


def carrier(pod: Pod) -> str:
    """Whether a pod's interface has a carrier, as the kernel writes it."""
    return pod.run("cat", "/sys/class/net/eth1/carrier").strip()
