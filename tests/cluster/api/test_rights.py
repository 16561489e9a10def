"""What the parts of k8slan may do to LANs: their own business, and nothing to what users wrote."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from k8slan_cli.kube import lans
from k8slan_cli.kube.client import ApiError, Client
from k8slan_cli.kube.kinds import LEASES
from k8slan_cli.kube.kubeconfig import access
from k8slan_cli.kube.lease import UplinkLeases
from k8slan_cli.kube.transport import Asynchronous
from k8slan_cli.lan import names
from k8slan_cli.lan.model import LanRef, NodeStatus
from tests.cluster.api.conftest import As
from tests.cluster.harness import Kubectl, KubectlError
from tests.unit.render.lans import SEED, document
from tests.unit.render.rights import RIGHTS


@pytest.fixture
def lan(rights: str, kubectl: Kubectl, namespace: str) -> Iterator[None]:  # noqa: ARG001 - comes first
    """The LAN ``example``."""
    kubectl.create(document(SEED, namespace=namespace))
    yield
    kubectl("patch", "lan", "example", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl.delete("lan", "example")


def patch(kubectl: Kubectl, change: dict[str, Any], *arguments: str) -> None:
    kubectl("patch", "lan", "example", "--type=merge", "-p", json.dumps(change), *arguments)


def write(kubectl: Kubectl, status: dict[str, Any], *, manager: str = "test") -> None:
    """Apply a part of the status, as agents and controller do."""
    lan = document({}, namespace=kubectl.namespace) | {"status": status}
    del lan["spec"]
    options = ("--server-side", "--force-conflicts", "--subresource=status", f"--field-manager={manager}")
    kubectl("apply", *options, "-f", "-", stdin=json.dumps(lan))


def entry(kubectl: Kubectl, *nodes: str, manager: str) -> None:
    """Apply entries of nodes."""
    write(kubectl, {"nodes": [{"name": node, "state": "Ready"} for node in nodes]}, manager=manager)


ONE, TWO = "finalizer.k8slan.io/worker1", "finalizer.k8slan.io/worker2"


@pytest.mark.usefixtures("lan")
def test_an_agent_comes_and_goes_by_its_own_finalizer_and_entry(as_: As, kubectl: Kubectl) -> None:
    one, two = as_("node-agent", "worker1"), as_("node-agent", "worker2")
    patch(one, {"metadata": {"finalizers": [ONE]}})
    patch(two, {"metadata": {"finalizers": [ONE, TWO]}})
    entry(one, "worker1", manager="one")
    entry(two, "worker2", manager="two")
    entry(one, manager="one")
    patch(one, {"metadata": {"finalizers": [TWO]}})
    found = kubectl.get("lan", "example")
    assert found["metadata"]["finalizers"] == [TWO]
    assert [node["name"] for node in found["status"]["nodes"]] == ["worker2"]


@pytest.mark.usefixtures("lan")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": {"spokes": ["other"]}}, "may not change a LAN's spec"),
        ({"metadata": {"labels": {"a": "b"}}}, "labels and annotations"),
        ({"metadata": {"annotations": {"a": "b"}}}, "labels and annotations"),
        ({"metadata": {"finalizers": None}}, "finalizers of others"),
        ({"metadata": {"finalizers": [TWO, "mine/too"]}}, "finalizers of others"),
    ],
)
def test_an_agent_may_not_touch_what_is_anothers(change: dict[str, Any], words: str, as_: As, kubectl: Kubectl) -> None:
    patch(kubectl, {"metadata": {"finalizers": [TWO]}})
    with pytest.raises(KubectlError, match=words):
        patch(as_("node-agent", "worker1"), change)


@pytest.mark.usefixtures("lan")
@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"nodes": [{"name": "worker2", "state": "Bad"}]}, "status of other nodes"),
        ({"nodes": [{"name": "worker1"}, {"name": "worker3"}]}, "status of other nodes"),
        ({"spokeCount": 7}, "status of the whole"),
        ({"attached": 7}, "status of the whole"),
    ],
)
def test_an_agent_may_not_write_the_status_of_another(
    status: dict[str, Any], words: str, as_: As, kubectl: Kubectl
) -> None:
    write(kubectl, {"spokeCount": 2})
    entry(as_("node-agent", "worker2"), "worker2", manager="two")
    with pytest.raises(KubectlError, match=words):
        write(as_("node-agent", "worker1"), status)


@pytest.mark.usefixtures("lan")
def test_an_agent_that_speaks_from_no_node_may_touch_nothing(as_: As) -> None:
    with pytest.raises(KubectlError, match="finalizers of others"):
        patch(as_("node-agent"), {"metadata": {"finalizers": [ONE]}})


@pytest.mark.usefixtures("lan")
def test_the_controller_writes_status_and_frees_lost_nodes_but_leaves_the_spec(as_: As, kubectl: Kubectl) -> None:
    controller = as_("controller")
    patch(kubectl, {"metadata": {"finalizers": [ONE, TWO]}})
    patch(controller, {"metadata": {"finalizers": [TWO]}})
    write(controller, {"attached": 3})
    with pytest.raises(KubectlError, match="may not change a LAN's spec"):
        patch(controller, {"spec": {"spokes": ["other"]}})


@pytest.mark.usefixtures("lan")
def test_the_controller_enters_nodes_for_agents_of_the_first_version_and_takes_them_out(
    as_: As, kubectl: Kubectl
) -> None:
    """Also in place of what such an agent said of its node before, of which nothing stays."""
    said = {"name": "worker1", "state": "Degraded", "device": "eth7", "vtep": "10.0.0.1", "message": "eth7 is down"}
    write(as_("node-agent", "worker1"), {"nodes": [said]}, manager="one")
    entry(as_("node-agent", "worker2"), "worker2", manager="two")
    before = lans.read_object(kubectl.get("lan", "example"))
    told = NodeStatus(name="worker1", state="Ready", mtu=1446)

    async def act(*what: Callable[[Client], Coroutine[Any, Any, Any]]) -> None:
        client = Client(Asynchronous(access(str(as_("controller").kubeconfig))), "test")
        try:
            for each in what:
                await each(client)
        finally:
            await client.close()

    asyncio.run(act(lambda client: lans.write_nodes(client, before.ref, before.uid, [told])))
    after = lans.read_object(kubectl.get("lan", "example"))
    assert after.entries == (told, NodeStatus(name="worker2", state="Ready"))
    asyncio.run(act(lambda client: lans.remove_nodes(client, before.ref, before.uid, frozenset({"worker1"}))))
    assert [node.name for node in lans.read_object(kubectl.get("lan", "example")).entries] == ["worker2"]


def test_an_agent_holds_the_lease_of_an_uplink_for_its_own_node_alone(as_: As, rights: str) -> None:
    lan = LanRef(namespace="lab", name="blue")
    name = names.uplink_lease(lan.namespace, lan.name)

    async def by(node: str, method: str, holder: str = "", which: str = name) -> str:
        """Try a write as an agent; returns what the API server has against it."""
        client = Client(Asynchronous(access(str(as_("node-agent", node).kubeconfig))), "test")
        metadata = {"name": which, "namespace": rights}
        body = {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": metadata,
            "spec": {"holderIdentity": holder},
        }
        try:
            if method == "PUT":
                listed = await client.call("GET", LEASES.path(rights))
                (metadata["resourceVersion"],) = (
                    item["metadata"]["resourceVersion"] for item in listed["items"] if item["metadata"]["name"] == which
                )
            path = LEASES.path(rights, "" if method == "POST" else which)
            await client.call(method, path, body=None if method == "DELETE" else body)
        except ApiError as error:
            return error.message
        finally:
            await client.close()
        return ""

    async def elect(node: str) -> None:
        """Hold it as an agent does, and let it go."""
        client = Client(Asynchronous(access(str(as_("node-agent", node).kubeconfig))), "test")
        held = asyncio.Event()

        async def lead() -> None:
            held.set()
            await asyncio.Event().wait()

        leases = UplinkLeases(client, rights, node)
        running = asyncio.create_task(leases.candidate(lan).run(lead))
        await asyncio.wait_for(held.wait(), 10)
        running.cancel()
        await asyncio.wait({running})
        await leases.remove(lan)
        await client.close()

    async def body() -> None:
        own, other, foreign = "for its own node only", "let go of no other", "of uplinks only"
        assert await by("worker1", "POST", "worker1") == ""
        assert own in await by("worker2", "PUT", "worker1")
        assert other in await by("worker2", "PUT")
        assert foreign in await by("worker1", "POST", "worker1", "k8slan-controller")
        assert foreign in await by("", "PUT", "")
        assert await by("worker2", "PUT", "worker2") == "", "as when it has run out"
        assert await by("worker2", "PUT") == ""
        assert await by("worker1", "DELETE") == ""
        await elect("worker1")

    asyncio.run(body())


@pytest.mark.usefixtures("lan")
def test_users_are_not_concerned(kubectl: Kubectl) -> None:
    patch(kubectl, {"spec": {"spokes": ["other"]}, "metadata": {"labels": {"a": "b"}}})


@pytest.mark.parametrize("part", ["node-agent", "controller"])
def test_a_part_may_do_what_it_must_and_nothing_more(part: str, as_: As, rights: str) -> None:
    wanted, found = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for (_, role), rules in RIGHTS.items():  # a Role's, and a ClusterRole's of the same name
        for key, verbs in rules.items() if role == f"k8slan-{part}" else ():
            wanted[key] |= set(verbs.split())
    everybody = {"selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}
    for line in as_(part).within(rights)("auth", "can-i", "--list", "--no-headers").splitlines():
        resource, _, names, verbs = (column.strip("[] ") for column in re.split(r" {2,}", line.rstrip(), maxsplit=3))
        if resource and resource.partition(".")[0] not in everybody:
            found[f"{_group_last(resource)} {names}".strip()] |= set(verbs.split())
    assert found == wanted


def _group_last(resource: str) -> str:
    """``lans.lan.k8slan.io/status``, as kubectl writes a subresource, as RBAC's ``lans/status`` with its group."""
    whole, _, sub = resource.partition("/")
    name, dot, group = whole.partition(".")
    return f"{name}/{sub}{dot}{group}" if sub else resource
