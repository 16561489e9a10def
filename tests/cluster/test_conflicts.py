"""LANs that want what another has: refused at once, or, where nothing refuses them, not realised by anybody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster import probing, product
from tests.cluster.harness import Cluster, Kubectl, KubectlError, Node
from tests.cluster.harness.kubectl import Object
from tests.cluster.harness.pods import Pods
from tests.cluster.life import Lan, Lans, Sandbox, Undisturbed, condition, lans, sandbox, undisturbed, until_event
from tests.support import names
from tests.support.agents import dynamic, eventually

__all__ = ["lans", "sandbox", "undisturbed"]

WEBHOOK = "validatingwebhookconfiguration/k8slan"


@pytest.fixture
def elsewhere(cluster: Cluster) -> Iterator[Kubectl]:
    """Calls kubectl in a second Kubernetes namespace."""
    name = names.unique("ns")
    cluster.kubectl("create", "namespace", name)
    yield cluster.kubectl.within(name)
    cluster.kubectl.within(name).delete("lans", "--all")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


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


def claims(first: Lan) -> dict[str, Object]:
    """Specs of LANs that each want one thing of ``first``, by the path of the field."""

    def spec(number: int, **claim: Any) -> Object:
        own = {"vni": first.vni + 1000 + number, "ns": names.unique("n"), "spokes": [names.unique("o")]}
        return {**own, "dynamic": True, **claim}

    return {
        "spec.vni": spec(1, vni=first.vni),
        "spec.ns": spec(2, ns=first.netns),
        "spec.spokes[1]": spec(3, spokes=[names.unique("o"), first.spokes[0]]),
    }


def test_the_webhook_refuses_a_clash_with_all_its_problems(lans: Lans, elsewhere: Kubectl) -> None:
    """Also one that an edit would make; and what is right beside it is not in the way."""
    first = lans("first", spokes=3)
    wanted = {"ns": first.netns, "vni": first.vni, "spokes": [first.spokes[2], names.unique("o"), first.spokes[0]]}
    with pytest.raises(KubectlError) as refused:
        elsewhere.create(probing.lan("second", elsewhere.namespace, **wanted))
    by = f"in use by LAN {first.kubectl.namespace}/first"
    for problem in (
        f"spec.ns: {first.netns} is {by}",
        f"spec.vni: {first.vni} is {by}",
        f"spec.spokes[0]: {first.spokes[2]} is {by}",
        f"spec.spokes[2]: {first.spokes[0]} is {by}",
    ):
        assert problem in refused.value.message
    assert "spec.spokes[1]" not in refused.value.message

    own = names.unique("o")
    good = {"ns": names.unique("n"), "vni": first.vni + 1000, "spokes": [own]}
    elsewhere.create(probing.lan("second", elsewhere.namespace, **good))
    change = {"spec": {"spokes": [own, first.spokes[1]]}}
    with pytest.raises(KubectlError, match=rf"spec.spokes\[1\]: {first.spokes[1]} is {by}"):
        elsewhere("patch", "lan", "second", "--type=merge", "-p", json.dumps(change))


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
        assert elsewhere.items("network-attachment-definitions") == []
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
    wanted = {"edited": (first.vni + 1000, first.spokes[2]), "freed": (first.vni, names.unique("o"))}
    for name, (vni, spoke) in wanted.items():
        spec = {"ns": names.unique("n"), "vni": vni, "spokes": [spoke], "dynamic": True}
        elsewhere.create(probing.lan(name, elsewhere.namespace, **spec))
        elsewhere.wait("--for=condition=Conflict", f"lan/{name}")
    first.edit(spokes=list(first.spokes[:2]))
    elsewhere.wait("--for=condition=Ready", "lan/edited")
    assert condition(elsewhere.get("lan", "freed"))["reason"] == "Conflict"
    first.kubectl.delete("lan", "first")
    elsewhere.wait("--for=condition=Ready", "lan/freed")
    for name, (_, spoke) in wanted.items():
        assert until_event(elsewhere, name, "Ready")
        made = {nad["metadata"]["name"] for nad in elsewhere.items("network-attachment-definitions")}
        assert {f"k8slan-veth-{spoke}", f"k8slan-mac-{spoke}", f"k8slan-lan-{name}"} <= made
        probing.until_allocatable(k8slan, f"macvtap.k8slan.io/k8slan-mac-{spoke}")
        box, config = sandbox(node1), dynamic(f"{elsewhere.namespace}/{name}")
        eventually("the agent has heard of it", lambda b=box, c=config: b.call("ADD", c).status == 0)
        box.call("DEL", config).ok()
