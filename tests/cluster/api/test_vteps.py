"""VTEPs on a real API server: what is stored of them, and who may write which."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from k8slan_cli.kube import marks
from k8slan_cli.kube.client import Client
from k8slan_cli.kube.kubeconfig import access
from k8slan_cli.kube.lans import manager
from k8slan_cli.kube.transport import Asynchronous
from k8slan_cli.lan import names, vtep_codec
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import PodRef, VmRef, Vtep, VtepPort, with_claims
from k8slan_cli.lan.vtep_codec import HELD
from tests.cluster.api.conftest import As
from tests.cluster.harness import Kubectl, KubectlError
from tests.unit.render.lans import SEED
from tests.unit.render.lans import document as lan_document

NODE, OTHER = "worker1", "worker2"
PORT = VtepPort(
    name="vmp",
    spoke="vm",
    kind="macvtap",
    pod=PodRef(namespace="lab", name="virt-launcher-fw-x", uid="pod-uid"),
    vm=VmRef(name="fw", uid="vmi-uid"),
    interface="net1",
    mac="02:00:00:00:00:01",
    addresses=("10.0.0.2/24", "fd00::2/64"),
    mtu=1446,
    since="2026-01-01T00:00:00Z",
    claim=(1 << 53) - 1,
)


def vtep(namespace: str, node: str = NODE, *ports: VtepPort, lan: str = "example") -> Vtep:
    ref = LanRef(namespace=namespace, name=lan)
    return Vtep(
        lan=ref,
        node=node,
        address=ip_address("fe80::1"),
        device="eth1",
        port=4789,
        vni=7,
        mtu=1446,
        ports=ports,
        message="x",
    )


def name(node: str = NODE) -> str:
    return names.vtep("example", node)


def apply(kubectl: Kubectl, found: Vtep, **more: Any) -> None:
    """Write a VTEP as its node's agent does."""
    document = vtep_codec.encode(found)
    document["status"] |= more
    put(kubectl, document, manager(found.node))


def put(kubectl: Kubectl, document: dict[str, Any], by: str) -> None:
    options = ("--server-side", "--force-conflicts", "--validate=strict", f"--field-manager={by}")
    kubectl("apply", *options, "-f", "-", stdin=json.dumps(document))


def read(kubectl: Kubectl, node: str = NODE) -> Vtep:
    found = vtep_codec.decode(kubectl.get("vtep", name(node)))
    assert found is not None
    return found


@pytest.fixture
def vteps(rights: str, kubectl: Kubectl) -> Iterator[Kubectl]:  # noqa: ARG001 - comes first
    """Kubectl as an administrator, in a namespace whose VTEPs are gone afterwards."""
    yield kubectl
    for found in kubectl.items("vteps"):
        kubectl("patch", "vtep", found["metadata"]["name"], "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl.delete("vteps", "--all")


# ---------------------------------------------------------------- what is stored


def test_all_that_an_agent_says_is_stored(vteps: Kubectl, namespace: str) -> None:
    said = vtep(namespace, NODE, PORT, replace(PORT, name="b", spoke="b", vm=None, claim=0))
    apply(vteps, said)
    stored = read(vteps)
    assert replace(stored, uid="", version=0) == said
    assert stored.version > 0
    assert vteps.get("vtep", name())["metadata"]["finalizers"] == [HELD]


def test_a_user_sees_it_by_lan_and_node(vteps: Kubectl, namespace: str) -> None:
    apply(vteps, vtep(namespace, NODE, PORT))
    apply(vteps, vtep(namespace, OTHER))
    lines = [line.split()[1:-1] for line in vteps("get", "vteps").splitlines()]
    assert lines[0] == ["LAN", "NODE", "ADDRESS", "MTU", "PORTS", "STATE"]
    assert ["example", NODE, "fe80::1", "1446", "1", "Ready"] in lines
    assert ["example", OTHER, "fe80::1", "1446", "0", "Ready"] in lines
    of_node = vteps.items("vteps", "-l", f"{vtep_codec.NODE_LABEL}={NODE}")
    assert [found["metadata"]["name"] for found in of_node] == [name()]


def test_names_of_any_length_have_room(vteps: Kubectl, namespace: str) -> None:
    long = ".".join(["n" * 62] * 4)
    found = vtep(namespace, long, PORT, lan=f"l{long[1:]}")
    apply(vteps, found)
    apply(vteps, replace(found, message="y" * 5000))
    assert len(vteps.items("vteps", "-l", f"{vtep_codec.NODE_LABEL}={names.label_value(long)}")) == 1


@pytest.mark.parametrize("spec", [{"node": OTHER}, {"lan": "another"}, {"lan": "another", "node": OTHER}])
def test_what_it_is_about_is_immutable(spec: dict[str, str], vteps: Kubectl, namespace: str) -> None:
    apply(vteps, vtep(namespace))
    with pytest.raises(KubectlError, match="is immutable"):
        vteps("patch", "vtep", name(), "--type=merge", "-p", json.dumps({"spec": spec}))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"message": "x" * 4097}, "status.message"),
        ({"address": "x" * 46}, "status.address"),
        ({"ports": [{"interface": "net1"}]}, r"status.ports\[0\].name"),
        ({"ports": [{"name": "p", "interface": "net1", "since": "yesterday"}]}, r"status.ports\[0\].since"),
        ({"ports": [{"name": f"p{i}", "interface": "net1"} for i in range(1024)]}, "status.ports"),
    ],
)
def test_what_no_agent_says_is_refused(status: dict[str, Any], words: str, vteps: Kubectl, namespace: str) -> None:
    with pytest.raises(KubectlError, match=words):
        apply(vteps, vtep(namespace), **status)


def test_it_names_lan_and_node(vteps: Kubectl, namespace: str) -> None:
    document = vtep_codec.encode(vtep(namespace))
    for spec in ({"lan": "example"}, {"node": NODE}, {"lan": "", "node": NODE}):
        with pytest.raises(KubectlError, match="spec"):
            put(vteps, document | {"spec": spec}, "test")


def test_one_with_ports_outlives_its_deletion(vteps: Kubectl, namespace: str) -> None:
    """Neither a user nor the end of a namespace takes it from under running pods; without ports it is gone."""
    apply(vteps, vtep(namespace, NODE, PORT))
    vteps("delete", "vtep", name(), "--wait=false")
    assert read(vteps).deleting
    apply(vteps, vtep(namespace))
    assert not vteps.exists("vtep", name())


# ---------------------------------------------------------------- whose words they are


def test_an_agent_makes_writes_and_removes_the_vtep_of_its_own_node(as_: As, vteps: Kubectl, namespace: str) -> None:
    one, two = as_("node-agent", NODE), as_("node-agent", OTHER)
    apply(one, vtep(namespace, NODE, PORT))
    apply(two, vtep(namespace, OTHER, PORT))
    apply(one, vtep(namespace))
    one("delete", "vtep", name())
    assert [found["spec"]["node"] for found in vteps.items("vteps")] == [OTHER]


def test_an_agent_may_not_create_the_vtep_of_another_node(as_: As, vteps: Kubectl, namespace: str) -> None:
    with pytest.raises(KubectlError, match="own node only"):
        apply(as_("node-agent", NODE), vtep(namespace, OTHER))
    with pytest.raises(KubectlError, match="own node only"):
        as_("node-agent", NODE)("create", "-f", "-", stdin=json.dumps(vtep_codec.encode(vtep(namespace, OTHER))))
    assert vteps.items("vteps") == []


def test_an_agent_may_not_call_a_vtep_by_another_name(as_: As, vteps: Kubectl, namespace: str) -> None:
    """One of a LAN and a node has one name, also where theirs are longer than it has room for."""
    document = vtep_codec.encode(vtep(namespace))
    plain, _, digest = name().rpartition("-")
    for other in ("mine", plain, f"{plain}-x-{digest}", f"x-{name()}", f"{name()}0", f"{plain}-{digest.upper()}x"):
        with pytest.raises(KubectlError, match=r"is called by the names|Invalid value"):
            put(as_("node-agent", NODE), document | {"metadata": {"name": other, "namespace": namespace}}, "test")
    assert vteps.items("vteps") == []
    for node, lan in (("n" * 60 + "." + "m" * 60, "l" * 99 + ".x"), ("w" * 99 + "-x", "a.b"), ("w", "l")):
        apply(as_("node-agent", node), vtep(namespace, node, PORT, lan=lan))


@pytest.mark.parametrize(
    "command",
    [
        ("patch", "vtep", name(OTHER), "--type=merge", "-p", '{"status":{"ports":[]}}'),
        ("patch", "vtep", name(OTHER), "--type=merge", "-p", '{"metadata":{"finalizers":null}}'),
        ("patch", "vtep", name(OTHER), "--type=merge", "-p", '{"metadata":{"labels":{"lan.k8slan.io/lan":"mine"}}}'),
        ("patch", "vtep", name(OTHER), "--type=merge", "-p", f'{{"spec":{{"node":"{NODE}"}}}}'),
        ("delete", "vtep", name(OTHER), "--wait=false"),
    ],
)
def test_an_agent_may_not_touch_the_vtep_of_another_node(
    command: tuple[str, ...], as_: As, vteps: Kubectl, namespace: str
) -> None:
    apply(vteps, vtep(namespace, OTHER, PORT))
    before = vteps.get("vtep", name(OTHER))
    with pytest.raises(KubectlError, match=r"own node only|is immutable"):
        as_("node-agent", NODE)(*command)
    assert vteps.get("vtep", name(OTHER)) == before


def test_a_token_without_a_node_may_write_none(as_: As, vteps: Kubectl, namespace: str) -> None:
    nowhere = as_("node-agent")
    with pytest.raises(KubectlError, match="must name its node"):
        apply(nowhere, vtep(namespace))
    apply(vteps, vtep(namespace))
    for command in (
        ("patch", "vtep", name(), "--type=merge", "-p", '{"status":{"mtu":1}}'),
        ("delete", "vtep", name()),
    ):
        with pytest.raises(KubectlError, match="must name its node"):
            nowhere(*command)


def test_an_agent_may_not_write_what_is_no_vtep(as_: As, vteps: Kubectl, namespace: str) -> None:
    """LANs are the users', and so are pods: an agent reads one to learn the name of its VM."""
    vteps.create(lan_document(SEED, namespace=namespace))
    container = {"name": "c", "image": "none"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
    vteps.create(pod)
    agent = as_("node-agent", NODE)
    assert agent.get("pod", "p")["metadata"]["name"] == "p"
    for command in (
        ("create", "lan", "x"),
        ("delete", "lan", "example", "--wait=false"),
        ("get", "pods"),
        ("delete", "pod", "p", "--wait=false"),
        ("patch", "pod", "p", "--type=merge", "-p", '{"metadata":{"labels":{"a":"b"}}}'),
    ):
        verb, kind = command[0], command[1].removesuffix("s")
        stdin = json.dumps(lan_document(SEED, namespace=namespace) | {"metadata": {"name": "x"}})
        command = ("create", "-f", "-") if verb == "create" else command
        with pytest.raises(KubectlError, match=f'cannot (list|{verb}) resource "{kind}s"'):
            agent(*command, stdin=stdin)
    with pytest.raises(KubectlError, match="may not change a LAN's spec"):
        agent("patch", "lan", "example", "--type=merge", "-p", '{"spec":{"spokes":["x"]}}')
    vteps.delete("lan", "example")
    vteps.delete("pod", "p", "--force", "--grace-period=0")


# ---------------------------------------------------------------- the controller's mark


def client_of(kubectl: Kubectl) -> Client:
    return Client(Asynchronous(access(str(kubectl.kubeconfig))), "test")


def test_the_controller_marks_a_node_as_lost_and_takes_that_back(as_: As, vteps: Kubectl, namespace: str) -> None:
    """What agent and controller say stays each's own; claims of a node that returns begin with the controller's."""
    agent, controller = as_("node-agent", NODE), as_("controller")
    apply(agent, vtep(namespace, NODE, PORT))
    first = read(vteps)

    async def mark(*, lost: bool) -> None:
        client = client_of(controller)
        try:
            await marks.mark(client, read(vteps), lost=lost)
        finally:
            await client.close()

    asyncio.run(mark(lost=True))
    assert read(vteps).lost
    assert read(vteps).ports == first.ports
    apply(agent, with_claims(vtep(namespace, NODE, replace(PORT, claim=0)), read(vteps)))
    without = read(vteps)
    assert without.lost
    asyncio.run(mark(lost=False))
    found = read(vteps)
    assert not found.lost
    assert found.version > without.version > first.version
    assert [found.claim_of(port) for port in found.ports] == [found.version]


def test_an_agent_may_not_say_whether_its_node_is_lost(as_: As, vteps: Kubectl, namespace: str) -> None:
    agent = as_("node-agent", NODE)
    with pytest.raises(KubectlError, match="whether its node is lost"):
        apply(agent, vtep(namespace), lost=True)
    apply(agent, vtep(namespace))
    vteps("patch", "vtep", name(), "--type=merge", "-p", '{"status":{"lost":true}}')
    for lost in ("false", "null"):
        with pytest.raises(KubectlError, match="whether its node is lost"):
            agent("patch", "vtep", name(), "--type=merge", "-p", f'{{"status":{{"lost":{lost}}}}}')


def test_the_controller_removes_the_vtep_of_a_node_that_is_gone(as_: As, vteps: Kubectl, namespace: str) -> None:
    apply(as_("node-agent", NODE), vtep(namespace, NODE, PORT))

    async def remove() -> None:
        client = client_of(as_("controller"))
        try:
            await marks.remove(client, read(vteps))
        finally:
            await client.close()

    asyncio.run(remove())
    assert not vteps.exists("vtep", name())


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"ports": []}},
        {"status": {"mtu": 1, "lost": True}},
        {"status": {"message": None}},
        {"status": None},
    ],
)
def test_the_controller_may_not_change_what_an_agent_says(
    change: dict[str, Any], as_: As, vteps: Kubectl, namespace: str
) -> None:
    apply(vteps, vtep(namespace, NODE, PORT))
    with pytest.raises(KubectlError, match="may not change what an agent says"):
        as_("controller")("patch", "vtep", name(), "--type=merge", "-p", json.dumps(change))


def test_the_controller_makes_no_vtep(as_: As, vteps: Kubectl, namespace: str) -> None:
    with pytest.raises(KubectlError, match=r"\(Forbidden\)"):  # Kubernetes 1.30 gives no reason
        apply(as_("controller"), vtep(namespace))
    assert vteps.items("vteps") == []


def test_who_may_view_lans_may_view_vteps_and_write_none(rights: str, vteps: Kubectl, as_: As, namespace: str) -> None:
    binding = ("--serviceaccount", f"{rights}:k8slan-viewer")
    vteps("create", "rolebinding", "viewer", "--clusterrole=k8slan-view", *binding)
    viewer = as_("viewer")
    apply(vteps, vtep(namespace))
    assert len(viewer.items("vteps")) == 1
    assert viewer.get("vtep", name())
    for verb, answer in (("watch", "yes"), ("create", "no"), ("patch", "no"), ("delete", "no")):
        try:
            said = viewer("auth", "can-i", verb, "vteps")
        except KubectlError as error:  # "no" is an error too
            said = error.message
        assert said.strip() == answer
