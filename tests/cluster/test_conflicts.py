"""LANs that want what another has: refused at once, or, where nothing refuses them, not realised by anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.lan import names as lan_names
from k8slan_cli.plan.objects import RESOURCE_ANNOTATION
from k8slan_cli.probe.endpoint import PacketSocket
from tests.cluster import probing, product
from tests.cluster.harness import Cluster, Kubectl, KubectlError, Node
from tests.cluster.harness.kubectl import Object
from tests.cluster.harness.pods import Pod, Pods
from tests.cluster.launcher import launcher, tap_program
from tests.cluster.life import (
    Lan,
    Lans,
    Sandbox,
    Undisturbed,
    condition,
    lans,
    links,
    sandbox,
    undisturbed,
    until_event,
    until_nothing_left,
)
from tests.support import names
from tests.support.agents import dynamic, eventually, veth

__all__ = ["lans", "sandbox", "tap_program", "undisturbed"]

CONTROLLER = "deployment/k8slan-controller"
NADS = "network-attachment-definitions"
TENANTS = "example.org/held"
WEBHOOK = "validatingwebhookconfiguration/k8slan"


@pytest.fixture
def elsewhere(k8slan: Cluster) -> Iterator[Kubectl]:
    """Calls kubectl in a second Kubernetes namespace."""
    name = names.unique("ns")
    k8slan.kubectl("create", "namespace", name)
    yield k8slan.kubectl.within(name)
    k8slan.kubectl.within(name).delete("lans", "--all")
    k8slan.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def no_webhook(k8slan: Cluster) -> Iterator[None]:
    """Nobody judges LANs before they are there; ``k8slan install`` brings the webhook back."""
    k8slan.kubectl.delete(WEBHOOK)
    yield
    product.install(k8slan)
    k8slan.kubectl.until(
        WEBHOOK,
        holds=lambda config: bool(config["webhooks"][0]["clientConfig"].get("caBundle")),
        what="trusted again, by the controller",
    )


@pytest.fixture
def no_controller(k8slan: Cluster) -> Iterator[Callable[[], None]]:
    """No controller, and so no answer from the webhook, which the API server passes over; the call brings it back."""
    kubectl = k8slan.kubectl.within(product.NAMESPACE)
    kubectl("scale", CONTROLLER, "--replicas=0")
    kubectl.wait("--for=delete", "pod", "-l", "app.kubernetes.io/name=k8slan-controller")

    def back() -> None:
        kubectl("scale", CONTROLLER, "--replicas=1")
        kubectl("rollout", "status", CONTROLLER, "--timeout=60s", timeout=65)

    yield back
    back()


@pytest.fixture
def leaving(lans: Lans, kubectl: Kubectl) -> Iterator[Lan]:
    """A LAN, the oldest of all, that is being deleted and held by a finalizer of a user."""
    assert lans.made == []
    spokes = tuple(names.unique("z") for _ in range(2))
    found = Lan(name="leaving", netns=names.unique("n"), vni=69999, spokes=spokes, kubectl=kubectl)
    document = probing.lan(found.name, kubectl.namespace, ns=found.netns, vni=found.vni, spokes=list(spokes))
    document["metadata"]["finalizers"] = [TENANTS]
    kubectl.create(document)
    found.until_ready()
    found.delete()
    found.until(lambda lan: lan["metadata"]["finalizers"] == [TENANTS], "held by its tenant alone")
    yield found
    found.patch({"metadata": {"finalizers": None}})
    found.until_gone()


def attack(leaving: Lan, first: Lan) -> None:
    """Let the LAN that is being deleted name a spoke of another."""
    leaving.patch({"spec": {"spokes": [leaving.spokes[0], first.spokes[0]]}})


def judged(lan: Lan) -> Object:
    """Wait until the controller has seen a LAN as it is written now."""
    generation = lan.get()["metadata"]["generation"]
    return lan.until(lambda found: condition(found).get("observedGeneration") == generation, "judged as it is now")


def claims(first: Lan) -> dict[str, Object]:
    """Specs of LANs that each want one thing of ``first``, by the path of the field."""

    def spec(number: int, **claim: Any) -> Object:
        own = {"vni": first.vni + 1000 + number, "ns": names.unique("n"), "spokes": [names.unique("o")]}
        return {**own, "dynamic": True, **claim}

    return {
        "spec.vni": spec(1, vni=first.vni),
        "spec.ns": spec(2, ns=first.netns),
    }


def test_the_webhook_refuses_a_clash_with_all_its_problems(lans: Lans, elsewhere: Kubectl) -> None:
    """What is right beside it is not in the way, nor are spokes of other namespaces."""
    first = lans("first", spokes=3)
    wanted = {"ns": first.netns, "vni": first.vni, "spokes": [first.spokes[2], names.unique("o"), first.spokes[0]]}
    with pytest.raises(KubectlError) as refused:
        elsewhere.create(probing.lan("second", elsewhere.namespace, **wanted))
    by = f"in use by LAN {first.kubectl.namespace}/first"
    for problem in (
        f"spec.ns: {first.netns} is {by}",
        f"spec.vni: {first.vni} is {by}",
    ):
        assert problem in refused.value.message
    assert "spec.spokes" not in refused.value.message
    second = lans("second", spokes=1)
    change = [second.spokes[0], first.spokes[1]]
    with pytest.raises(KubectlError, match=rf"spec.spokes\[1\]: {first.spokes[1]} is {by}"):
        second.patch({"spec": {"spokes": change}})


def test_the_webhook_refuses_a_remote_that_is_a_node(lans: Lans, node1: Node) -> None:
    """The others are not in its way."""
    first = lans("first", spokes=1)
    with pytest.raises(KubectlError, match=rf"spec.remotes\[1\]: {node1.address} is node {node1.name} of this cluster"):
        first.patch({"spec": {"remotes": ["192.0.2.9", node1.address]}})
    first.patch({"spec": {"remotes": ["192.0.2.9"]}})


def test_one_lab_file_in_two_namespaces_is_two_labs(
    lans: Lans, elsewhere: Kubectl, pod: Pods, k8slan: Cluster, node1: Node, node2: Node, tap_program: Path
) -> None:
    """Its pods too, with their resource lines: the one for pods is shared, a VM's is what its definition names."""
    near, _, vm = spokes = tuple(names.unique(letter) for letter in "nfv")
    first = lans("lab", spokes=spokes)
    spec = {**first.get()["spec"], "ns": names.unique("n"), "vni": first.vni + 1000}
    elsewhere.create(probing.lan("lab", elsewhere.namespace, **spec))
    second = Lan(name="lab", netns=spec["ns"], vni=spec["vni"], spokes=spokes, kubectl=elsewhere)
    second.until_ready()
    shared, nad = lan_names.resource(lan_names.veth_nad(near)), lan_names.mac_nad(vm)
    own = [lan.kubectl.get(NADS, nad)["metadata"]["annotations"][RESOURCE_ANNOTATION] for lan in (first, second)]
    assert own == [lan_names.resource(nad), lan_names.resource(lan_names.mac_nad(vm, "lab"))]
    assert second.get()["status"]["resources"] == {
        lan_names.mac_nad(spoke): lan_names.resource(lan_names.mac_nad(spoke, "lab")) for spoke in spokes
    }
    probing.until_allocatable(k8slan, shared, *own)
    with probing.Endpoints(k8slan) as endpoints:
        machines: list[Pod] = []
        ends: list[list[PacketSocket | probing.Relayed]] = []
        for lan, pods, resource in ((first, pod, own[0]), (second, Pods(elsewhere), own[1])):
            machine = pods(node1, networks=nad, **launcher(vm, tap_program) | {"resources": {resource: 1}})
            machines.append(machine)
            assert probing.tap_device(machine) == f"/dev/tap{lan.tap_index(vm)}"
            here = pods(node1, networks=lan.veth(0), resources={shared: 1})
            there = pods(node2, networks=lan.veth(1))
            tap = endpoints.tap(machine, f"{lan.kubectl.namespace}/{nad}")
            ends.append([endpoints.interface(here, "net1"), endpoints.interface(there, "net1"), tap])
        for lab, other in (ends, ends[::-1]):
            for sender, receiver in permutations(lab, 2):
                probing.contact(sender, receiver, 1400)
            strays = {received.frame[6:12] for end in other for received in end.receive()}
            assert strays.isdisjoint(end.mac for end in lab), "a frame has crossed"
    elsewhere.delete("pods", "--all")
    second.delete()
    second.until_gone()
    for node in (node1, node2):
        until_nothing_left(node, second)


@pytest.mark.usefixtures("no_webhook")
def test_a_clash_that_nobody_refused_is_nobodys_lan_and_the_first_one_goes_on(
    lans: Lans,
    elsewhere: Kubectl,
    pod: Pods,
    sandbox: Callable[[Node], Sandbox],
    undisturbed: Undisturbed,
    node1: Node,
    node2: Node,
) -> None:
    first = lans("first")
    one, two = pod(node1, networks=first.veth(0)), pod(node2, networks=first.veth(1))
    specs = claims(first)
    with undisturbed(one, two):
        for number, spec in enumerate(specs.values()):
            elsewhere.create(probing.lan(f"clash{number}", elsewhere.namespace, **spec))
        for number, field in enumerate(specs):
            name = f"clash{number}"
            found = elsewhere.until("lan", name, holds=lambda lan: condition(lan).get("status") == "False")
            for kind, status in (("Ready", "False"), ("Conflict", "True")):
                stated = condition(found, kind)
                assert (stated["status"], stated["reason"]) == (status, "Conflict")
                assert stated["message"].startswith(f"{field}: ")
                assert f"in use by LAN {first.kubectl.namespace}/first" in stated["message"]
            assert until_event(elsewhere, name, "Conflict") == condition(found)["message"]
        assert elsewhere.items(NADS) == []
        for node in (node1, node2):
            box = sandbox(node)
            for number in range(len(specs)):
                config = dynamic(f"{elsewhere.namespace}/clash{number}")
                assert "clashes: spec." in box.call("ADD", config).error(100)
            assert node.run("ls", str(probing.NETNS)).stdout.split() == [first.netns]
    assert condition(first.get())["status"] == "True"


@pytest.mark.usefixtures("no_webhook")
def test_a_lan_whose_clash_is_gone_works(
    lans: Lans, elsewhere: Kubectl, k8slan: Cluster, sandbox: Callable[[Node], Sandbox], node1: Node
) -> None:
    """Gone by an edit of the older one, or with it."""
    first = lans("first", spokes=3)
    wanted = {
        "edited": (first.kubectl, first.vni + 1000, first.spokes[2]),
        "freed": (elsewhere, first.vni, names.unique("o")),
    }
    for name, (kubectl, vni, spoke) in wanted.items():
        spec = {"ns": names.unique("n"), "vni": vni, "spokes": [spoke], "dynamic": True}
        kubectl.create(probing.lan(name, kubectl.namespace, **spec))
        kubectl.wait("--for=condition=Conflict", f"lan/{name}")
    first.edit(spokes=list(first.spokes[:2]))
    first.kubectl.wait("--for=condition=Ready", "lan/edited")
    assert condition(elsewhere.get("lan", "freed"))["reason"] == "Conflict"
    first.kubectl.delete("lan", "first")
    elsewhere.wait("--for=condition=Ready", "lan/freed")
    for name, (kubectl, _, spoke) in wanted.items():
        assert until_event(kubectl, name, "Ready")
        made = {nad["metadata"]["name"] for nad in kubectl.items(NADS)}
        assert {f"k8slan-veth-{spoke}", f"k8slan-mac-{spoke}", f"k8slan-lan-{name}"} <= made
        probing.until_allocatable(k8slan, f"macvtap.k8slan.io/k8slan-mac-{spoke}")
        box, config = sandbox(node1), dynamic(f"{kubectl.namespace}/{name}")
        eventually("the agent has heard of it", lambda b=box, c=config: b.call("ADD", c).status == 0)
        box.call("DEL", config).ok()


# ---------------------------------------------------------------- a LAN that is in use


def test_the_webhook_lets_a_lan_that_is_being_deleted_gain_nothing(leaving: Lan, lans: Lans) -> None:
    first = lans("first")
    late = "while the LAN is being deleted"
    with pytest.raises(KubectlError, match=rf"spec.spokes\[1\]: {first.spokes[0]} cannot be added {late}"):
        attack(leaving, first)
    with pytest.raises(KubectlError, match=rf"spec\.dynamic: cannot be set {late}"):
        leaving.patch({"spec": {"dynamic": True}})
    with pytest.raises(KubectlError, match=r"spec\.ns: .*is immutable"):
        leaving.patch({"spec": {"ns": first.netns}})
    leaving.patch({"spec": {"spokes": list(leaving.spokes[:1]), "mtu": 1400}, "metadata": {"labels": {"a": "b"}}})
    assert leaving.get()["spec"]["spokes"] == list(leaving.spokes[:1])
    assert condition(first.get())["status"] == "True"


@pytest.mark.parametrize("missing", ["webhook", "controller"])
def test_a_lan_that_is_being_deleted_takes_nothing_from_one_in_use(
    missing: str,
    leaving: Lan,
    lans: Lans,
    pod: Pods,
    sandbox: Callable[[Node], Sandbox],
    undisturbed: Undisturbed,
    node1: Node,
    node2: Node,
    request: pytest.FixtureRequest,
) -> None:
    """Nor when the webhook is missing, or the whole controller, also once that is back: it claims nothing at all."""
    first = lans("first", spokes=3)
    one, two = pod(node1, networks=first.veth(0)), pod(node2, networks=first.veth(1))
    first.until_on(node1, node2)
    there = {node: links(node, first) for node in (node1, node2)}
    back = request.getfixturevalue(f"no_{missing}")
    with undisturbed(one, two, least=250):
        attack(leaving, first)
        for node in (node1, node2):
            box, third = sandbox(node), veth(first.spokes[2])
            box.call("ADD", third).result()
            box.call("DEL", third).ok()
        if back:
            back()
        judged(leaving)
    found = first.get()
    assert [condition(found, kind)["status"] for kind in ("Ready", "Conflict")] == ["True", "False"]
    assert {node: links(node, first) for node in (node1, node2)} == there
    one.delete()
    again = pod(node1, networks=first.veth(0))
    with undisturbed(again, two):
        pass


def test_what_an_unused_lan_has_been_granted_is_taken_by_nobody_while_the_controller_is_away(
    leaving: Lan,
    lans: Lans,
    elsewhere: Kubectl,
    sandbox: Callable[[Node], Sandbox],
    node1: Node,
    request: pytest.FixtureRequest,
) -> None:
    """Not by an older LAN, nor across namespaces, though it is edited: agents and the next controller see to it."""
    older, first = lans("older"), lans("first", spokes=3)
    kept, new = first.spokes[:2], names.unique("e")
    granted = {"ns": first.netns, "vni": first.vni, "spokes": list(first.spokes)}
    assert first.get()["status"]["granted"] == granted
    back = request.getfixturevalue("no_controller")
    attack(leaving, first)
    older.patch({"spec": {"spokes": [*older.spokes, kept[1]]}})
    specs = claims(first)
    for number, spec in enumerate(specs.values()):
        elsewhere.create(probing.lan(f"clash{number}", elsewhere.namespace, **spec))
    first.patch({"spec": {"spokes": [*kept, new], "mtu": 1400}})
    box, lan = sandbox(node1), {"lan": f"{first.kubectl.namespace}/first"}
    eventually("the agent has heard of all this", lambda: box.call("ADD", veth(new) | lan).status == 0)
    for number, (spoke, field) in enumerate(zip(kept, specs, strict=True)):
        box.call("ADD", veth(spoke) | lan, interface=f"eth{number}").result()
        refusal = box.call("ADD", dynamic(f"{elsewhere.namespace}/clash{number}"), interface="eth9").error(100)
        assert f"clashes: {field}: " in refusal
    back()
    assert condition(judged(older), "Conflict")["status"] == "True"
    for number in range(len(specs)):
        elsewhere.wait("--for=condition=Conflict", f"lan/clash{number}")
    found = judged(first)
    assert [condition(found, kind)["status"] for kind in ("Ready", "Conflict")] == ["True", "False"]
    assert found["status"]["granted"] == {**granted, "spokes": [*kept, new]}
    for interface, spoke in (("net1", new), ("eth0", kept[0]), ("eth1", kept[1])):
        box.call("DEL", veth(spoke) | lan, interface=interface).ok()


@pytest.mark.usefixtures("no_webhook")
def test_an_older_lan_in_use_and_a_younger_one_whose_spoke_it_takes_both_go_on(
    lans: Lans, pod: Pods, undisturbed: Undisturbed, node1: Node, node2: Node
) -> None:
    """The edit alone is not followed, until what it asks for is free."""
    older, younger = lans("older"), lans("younger", spokes=3)
    pairs = []
    for lan in (older, younger):
        pairs.append((pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))))
        lan.until_on(node1, node2)
    with undisturbed(*pairs[0]), undisturbed(*pairs[1]):
        older.patch({"spec": {"spokes": [*older.spokes, younger.spokes[0], younger.spokes[2]]}})
        message = f"{younger.spokes[0]} is in use by LAN {younger.kubectl.namespace}/younger"
        assert message in condition(judged(older), "Conflict")["message"]
        younger.edit(vxlanDevMap={"elsewhere": "eth0"})
        assert condition(older.get(), "Conflict")["status"] == "True"
    pairs[0][0].delete()
    pairs[0] = (pod(node1, networks=older.veth(0)), pairs[0][1])
    with undisturbed(*pairs[0]), undisturbed(*pairs[1]):
        younger.edit(spokes=list(younger.spokes[:2]))
        older.edit(spokes=[*older.spokes, younger.spokes[2]])
    for lan in (older, younger):
        lan.until_ready()
