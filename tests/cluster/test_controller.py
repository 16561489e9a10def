"""The controller, with the rights that its service account has, against a real API server that stands alone."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from k8slan_cli.kube.client import ApiError, Client
from k8slan_cli.kube.kinds import LANS, NADS, NODES, PODS
from k8slan_cli.kube.kubeconfig import access
from k8slan_cli.kube.lans import FORCE, ApiSource, NodeWriter
from k8slan_cli.kube.nodes import written
from k8slan_cli.kube.transport import Asynchronous
from k8slan_cli.lan.model import PROTECTION, LanRef, NodeStatus
from k8slan_cli.plan.attached import NETWORKS_ANNOTATION, STATUS_ANNOTATION
from tests.cluster.bare import NAD_CRD, Api, api, lan_crd, namespace, until
from tests.cluster.bare import ApiError as Refused
from tests.cluster.controllers import Start, account, start

__all__ = ["account", "api", "namespace", "start"]

AGENT = "k8slan-controller"
_numbers = iter(range(1, 1000))


class Lab:
    """What the tests do in a namespace, in the parts of users, scheduler and kubelets."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def lan(self, name: str, **spec: Any) -> dict[str, Any]:
        """Create a LAN with a VNI and a spoke of its own, unless ``spec`` says otherwise."""
        number = next(_numbers)
        spec = {"vni": number, "spokes": [f"e{number}"], **spec}
        body = {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": {"name": name}, "spec": spec}
        found: dict[str, Any] = self.api.call("POST", LANS.path(self.namespace), body)
        return found

    def path(self, name: str) -> str:
        """The path of a LAN."""
        return LANS.path(self.namespace, name)

    def get(self, name: str) -> Any:
        """A LAN, or None."""
        return self.api.get(self.path(name))

    def condition(self, name: str, kind: str = "Ready") -> str:
        """A condition of a LAN: ``True AsWanted: message``; "" if there is none."""
        conditions = ((self.get(name) or {}).get("status") or {}).get("conditions") or ()
        found = next((c for c in conditions if c["type"] == kind), None)
        return f"{found['status']} {found['reason']}: {found['message']}" if found else ""

    def until(self, name: str, beginning: str, kind: str = "Ready", seconds: float = 20) -> str:
        """Wait until a condition begins so."""
        try:
            until(lambda: self.condition(name, kind).startswith(beginning), beginning, seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}, but {self.condition(name, kind)!r}") from None
        return self.condition(name, kind)

    def gone(self, name: str, seconds: float = 20) -> None:
        """Wait until a LAN is gone."""
        until(lambda: self.get(name) is None, f"{name} is gone", seconds)

    def nads(self) -> list[str]:
        """The names of all NADs."""
        return sorted(item["metadata"]["name"] for item in self.api.call("GET", NADS.path(self.namespace))["items"])

    def pod(self, name: str, nad: str, node: str = "n1", *, attached: bool = True) -> None:
        """Create a pod on a node, with what multus says of it."""
        status = f'[{{"name": "{self.namespace}/{nad}", "interface": "net1"}}]'
        body = {
            "metadata": {
                "name": name,
                "annotations": {NETWORKS_ANNOTATION: nad, **({STATUS_ANNOTATION: status} if attached else {})},
            },
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "none"}]},
        }
        self.api.call("POST", PODS.path(self.namespace), body)

    def end_pod(self, name: str) -> None:
        """Delete a pod, as its kubelet would in the end."""
        self.api.call("DELETE", PODS.path(self.namespace, name), {"gracePeriodSeconds": 0})

    def node(self, name: str, *, down_since: datetime | None = None) -> None:
        """Create a node, ready or not."""
        self.api.call("POST", NODES.path(), {"metadata": {"name": name}})
        self.ready(name, down_since=down_since)

    def ready(self, name: str, *, down_since: datetime | None = None) -> None:
        """Say whether a node is ready."""
        condition = {
            "type": "Ready",
            "status": "Unknown" if down_since else "True",
            "lastTransitionTime": written(down_since or datetime.now(UTC)),
            "reason": "x",
            "message": "x",
        }
        path = f"{NODES.path('', name)}/status"
        self.api.patch(path, {"status": {"conditions": [condition]}})

    def end_node(self, name: str) -> None:
        """Delete a node."""
        self.api.call("DELETE", NODES.path("", name))

    def writes(self) -> Counter[tuple[str, str]]:
        """What the controller wrote since the last call, less its lease."""
        found: Counter[tuple[str, str]] = Counter()
        for (agent, verb, resource), count in self.api.requests().items():
            reads = verb in ("get", "list", "watch")
            if agent.startswith(AGENT) and not reads and resource != "leases":
                found[verb, resource] += count
        return found


@pytest.fixture
def lab(api: Api, namespace: str) -> Iterator[Lab]:
    """A namespace; the LANs in it are gone afterwards, so that the next test's controller has its own alone."""
    found = Lab(api, namespace)
    yield found
    for item in api.call("GET", LANS.path(namespace))["items"]:
        if "deletionTimestamp" not in item["metadata"]:
            api.call("DELETE", found.path(item["metadata"]["name"]))
        if found.get(item["metadata"]["name"]):
            api.patch(found.path(item["metadata"]["name"]), {"metadata": {"finalizers": None}})
    for kind in (NADS, PODS):
        api.call("DELETE", kind.path(namespace), {"gracePeriodSeconds": 0})


# ---------------------------------------------------------------- NADs and status


def test_a_lan_gets_its_nads_and_says_so(lab: Lab, start: Start) -> None:
    start()
    made = lab.lan("a", vni=100, spokes=["s1", "s2"], dynamic=True)
    lab.until("a", "True AsWanted: the LAN is as specified")
    assert lab.nads() == ["k8slan-lan-a", "k8slan-mac-s1", "k8slan-mac-s2", "k8slan-veth-s1", "k8slan-veth-s2"]
    found = lab.get("a")
    assert found["metadata"]["finalizers"] == [PROTECTION]
    status = found["status"]
    assert (status["spokeCount"], status["attached"], status["nodeCount"], status["observedGeneration"]) == (2, 0, 0, 1)
    nad = lab.api.get(NADS.path(lab.namespace, "k8slan-veth-s1"))
    owner = nad["metadata"]["ownerReferences"][0]
    assert (owner["name"], owner["uid"], owner["controller"]) == ("a", made["metadata"]["uid"], True)


def test_an_edit_while_it_runs(lab: Lab, start: Start) -> None:
    start()
    lab.lan("a", spokes=["s1", "s2"])
    lab.until("a", "True")
    lab.api.patch(lab.path("a"), {"spec": {"spokes": ["s2", "s3"]}})
    until(lambda: "k8slan-veth-s3" in lab.nads() and "k8slan-veth-s1" not in lab.nads(), "NADs follow")
    until(lambda: lab.get("a")["status"]["observedGeneration"] == 2, "it is observed")


def test_what_somebody_broke_is_repaired(lab: Lab, start: Start) -> None:
    start()
    lab.lan("a", spokes=["s1"])
    lab.until("a", "True")
    veth, mac = (NADS.path(lab.namespace, f"k8slan-{kind}-s1") for kind in ("veth", "mac"))
    before = lab.api.get(veth)
    lab.api.patch(veth, {"spec": {"config": "{}"}, "metadata": {"labels": None}})
    until(lambda: lab.api.get(veth)["spec"] == before["spec"], "the config is back")
    assert lab.api.get(veth)["metadata"]["labels"] == before["metadata"]["labels"]
    lab.api.call("DELETE", mac)
    until(lambda: lab.api.get(mac), "the NAD is back")


def test_a_foreign_nad_is_left_alone_and_reported(lab: Lab, start: Start) -> None:
    start()
    nad = {
        "apiVersion": NADS.api_version,
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "k8slan-veth-s1"},
        "spec": {"config": "mine"},
    }
    lab.api.call("POST", NADS.path(lab.namespace), nad)
    lab.lan("a", spokes=["s1"])
    words = lab.until("a", "False ForeignNAD")
    assert "k8slan-veth-s1" in words
    assert lab.api.get(NADS.path(lab.namespace, "k8slan-veth-s1"))["spec"]["config"] == "mine"
    lab.api.call("DELETE", NADS.path(lab.namespace, "k8slan-veth-s1"))
    lab.until("a", "True")


def test_the_younger_of_two_that_clash_is_refused_until_the_older_one_goes(lab: Lab, start: Start) -> None:
    start()
    lab.lan("a", vni=200, spokes=["s1"])
    lab.until("a", "True")
    time.sleep(1.1)  # creation times are whole seconds, and these tests want to know which is the younger one
    lab.lan("0", vni=200, spokes=["s1", "s2"])
    words = lab.until("0", "False Conflict")
    ref = f"{lab.namespace}/a"
    assert words.endswith(f"spec.vni: 200 is in use by LAN {ref}; spec.spokes[0]: s1 is in use by LAN {ref}")
    assert lab.condition("0", "Conflict").startswith("True")
    assert lab.condition("a").startswith("True")
    events = lab.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{lab.namespace}/events")["items"]
    assert [(e["reason"], e["type"], e["regarding"]["name"]) for e in events] == [("Conflict", "Warning", "0")]
    lab.api.call("DELETE", lab.path("a"))
    lab.until("0", "True")
    assert "k8slan-veth-s2" in lab.nads()


def test_pods_are_counted(lab: Lab, start: Start) -> None:
    start()
    lab.lan("a", dynamic=True)
    for i in range(20):
        lab.pod(f"p{i}", "k8slan-lan-a")
    lab.pod("waits", "k8slan-lan-a", attached=False)
    until(lambda: ((lab.get("a").get("status") or {}).get("attached")) == 20, "20 are attached")
    done = {"status": {"phase": "Succeeded"}}
    lab.api.patch(PODS.path(lab.namespace, "p0", "status"), done)
    lab.end_pod("p1")
    until(lambda: lab.get("a")["status"]["attached"] == 18, "18 are attached")


# ---------------------------------------------------------------- deletion


def test_a_lan_in_use_stays_until_its_pods_are_gone(lab: Lab, start: Start) -> None:
    start()
    lab.node("n1")
    lab.lan("a", spokes=["s1", "s2"])
    lab.until("a", "True")
    lab.pod("p1", "k8slan-veth-s1")
    lab.pod("p2", "k8slan-mac-s2", attached=False)
    until(lambda: lab.get("a")["status"]["attached"] == 1, "attached")
    lab.api.call("DELETE", lab.path("a"))
    words = lab.until("a", "False Terminating")
    ns = lab.namespace
    assert words.endswith(f"is to be deleted, and in use by 2 pods: {ns}/p1, {ns}/p2")
    assert len(lab.nads()) == 4, "nothing is torn from under them"
    lab.end_pod("p2")
    lab.until("a", f"False Terminating: is to be deleted, and in use by 1 pod: {ns}/p1")
    lab.end_pod("p1")
    lab.gone("a")
    lab.end_node("n1")


def test_deletion_by_force(lab: Lab, start: Start) -> None:
    start()
    lab.node("n1")
    lab.lan("a", spokes=["s1"])
    lab.until("a", "True")
    lab.pod("p1", "k8slan-veth-s1")
    lab.api.patch(lab.path("a"), {"metadata": {"finalizers": [PROTECTION, "finalizer.k8slan.io/n1"]}})
    lab.api.call("DELETE", lab.path("a"))
    lab.until("a", "False Terminating")
    lab.api.patch(lab.path("a"), {"metadata": {"annotations": {FORCE: "true"}}})
    lab.gone("a")
    lab.end_node("n1")


def test_nodes_that_are_gone_or_down_for_a_minute_hold_nothing(lab: Lab, start: Start) -> None:
    start()
    for node in ("n1", "n2", "n3"):
        lab.node(node)
    lab.lan("a", spokes=["s1", "s2"])
    lab.until("a", "True")
    lab.pod("p2", "k8slan-veth-s1", "n2")
    finalizers = [PROTECTION, *(f"finalizer.k8slan.io/n{i}" for i in (1, 2, 3))]
    lab.api.patch(lab.path("a"), {"metadata": {"finalizers": finalizers}})
    nodes = {"status": {"nodes": [{"name": f"n{i}", "state": "Ready"} for i in (1, 2, 3)]}}
    lab.api.patch(f"{lab.path('a')}/status", nodes)
    until(lambda: lab.get("a")["status"]["nodeCount"] == 3, "three nodes")
    lab.end_node("n1")
    until(lambda: lab.get("a")["status"]["nodeCount"] == 2, "the node that is gone is out of the status")
    until(lambda: "finalizer.k8slan.io/n1" not in lab.get("a")["metadata"]["finalizers"], "and so is its finalizer")
    down = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=50)
    lab.ready("n2", down_since=down)
    lab.api.call("DELETE", lab.path("a"))
    lab.until("a", "False Terminating: is to be deleted, and in use by 1 pod")
    assert datetime.now(UTC) - down < timedelta(seconds=60), "the machine is too slow for this test"
    lab.until("a", "False Terminating: is to be deleted, and not yet removed on: n3")
    assert datetime.now(UTC) - down >= timedelta(seconds=60), "not before its minute is over"
    lab.ready("n3", down_since=datetime.now(UTC) - timedelta(seconds=90))
    lab.gone("a")
    for node in ("n2", "n3"):
        lab.end_node(node)


# ---------------------------------------------------------------- faults


def test_a_restart_writes_nothing(lab: Lab, start: Start) -> None:
    lab.node("n1")
    for i in range(5):
        lab.lan(f"l{i}", spokes=[f"x{i}-{k}" for k in range(5)], dynamic=True)
    lab.lan("clash", ns="l0", vni=300)
    lab.pod("p1", "k8slan-veth-x1-1")
    first = start("one")
    lab.until("l4", "True")
    until(lambda: lab.get("l1")["status"]["attached"] == 1, "attached")
    first.wait_leading()
    assert first.end() == 0
    assert lab.writes()
    second = start("two")
    second.wait_leading()
    lab.lan("after", spokes=["after"])  # when this one is done, it had its time
    lab.until("after", "True")
    assert second.end() == 0
    found = lab.writes()
    status = found.pop(("patch", "lans/status"))  # a second time where the NADs take long
    assert (found, status <= 2) == ({("create", NADS.plural): 2, ("patch", "lans"): 1}, True)
    lab.end_node("n1")


def test_the_api_server_goes_and_comes_back(lab: Lab, start: Start) -> None:
    controller = start()
    lab.lan("a", spokes=["s1"])
    lab.until("a", "True")
    lab.api.stop()
    until(lambda: "trying again" in controller.words(), "it notices")
    assert controller.get("/healthz")[0] == 200
    lab.api.start()
    lab.lan("b", spokes=["s2"])
    lab.until("b", "True", seconds=60)
    lab.api.patch(lab.path("a"), {"spec": {"spokes": ["s1", "s3"]}})
    until(lambda: "k8slan-veth-s3" in lab.nads(), "the LAN from before is tended", 60)
    assert controller.end() == 0


def test_a_clean_end_hands_over_at_once_and_a_crash_within_the_lease(lab: Lab, start: Start) -> None:
    one = start("one")
    one.wait_leading()
    two = start("two")
    two.wait_ready()
    assert two.metric("k8slan_leader") == 0
    began = time.monotonic()
    assert one.end(signal.SIGTERM) == 0
    two.wait_leading(5)
    assert time.monotonic() - began < 5
    three = start("three")
    three.wait_ready()
    two.end(signal.SIGKILL)
    began = time.monotonic()
    lab.lan("a", spokes=["s1"])
    three.wait_leading(40)
    assert 5 < time.monotonic() - began < 25, "not before the lease has run out, and soon after"
    lab.until("a", "True")


def test_broken_lans_do_not_stop_the_others_and_can_be_deleted(lab: Lab, start: Start) -> None:
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/lans.lan.k8slan.io"
    versions = lan_crd()["spec"]["versions"]
    lab.api.patch(crd, {"spec": {"versions": lan_crd(checked=False)["spec"]["versions"]}})

    def create_broken() -> bool:
        try:
            lab.lan("odd", vni="x", spokes={"not": "a list"})
        except Refused as error:
            if "vni" not in str(error):
                raise
            return False  # the new schema takes a moment
        return True

    try:
        until(create_broken, "the schema is off")
        lab.lan("broken", vni=0, spokes=["A", "e1"], ns="../../etc")
        lab.lan("newer", newer={"field": 1})
    finally:
        lab.api.patch(crd, {"spec": {"versions": versions}})
    controller = start()
    lab.lan("good", spokes=["s1"])
    lab.until("good", "True")
    words = lab.until("broken", "False Invalid")
    for part in ("spec.vni: 0 is not in", "spec.spokes[0]: 'A' is not", "spec.ns: '../../etc' is not"):
        assert part in words
    lab.until("newer", "True")
    # Types that are wrong are more than the API server can check against: it lets nobody write a status.
    until(lambda: "cannot write status of LAN" in controller.words(), "it is logged")
    for name in ("broken", "odd", "newer"):
        lab.api.call("DELETE", lab.path(name))
        lab.gone(name)


def test_multus_may_come_later(api: Api, lab: Lab, start: Start) -> None:
    crd = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAD_CRD['metadata']['name']}"  # type: ignore[index]
    api.call("DELETE", crd)
    until(lambda: api.get(crd) is None, "the CRD is gone")
    try:
        start()
        lab.lan("a", spokes=["s1"])
        assert "is multus installed?" in lab.until("a", "False Refused")
    finally:
        api.install(NAD_CRD)
    lab.until("a", "True", seconds=60)


# ---------------------------------------------------------------- agents and controller on the same objects


async def _client(api: Api) -> Client:
    return Client(Asynchronous(access(str(api.kubeconfig))), "agents")


def test_twenty_agents_and_the_controller_write_at_once_and_nothing_is_lost(lab: Lab, start: Start) -> None:
    start()
    nodes = [f"m{i}" for i in range(20)]
    for node in nodes:
        lab.node(node)
    lab.lan("a", spokes=["s1"])
    lab.until("a", "True")
    ref = LanRef(namespace=lab.namespace, name="a")

    async def run() -> None:
        client = await _client(lab.api)
        source = ApiSource(client)
        await source.next()
        writers = {node: NodeWriter(client, source, node) for node in nodes}

        async def join(node: str) -> None:
            await writers[node].add_finalizer(ref, f"finalizer.k8slan.io/{node}")
            await writers[node].put_node(ref, NodeStatus(name=node, state="Ready", mtu=1400))
            await writers[node].put_node(ref, NodeStatus(name=node, state="Ready", mtu=1446))

        async def leave(node: str) -> None:
            await writers[node].remove_node(ref, node)
            await writers[node].remove_finalizer(ref, f"finalizer.k8slan.io/{node}")

        try:
            await asyncio.gather(*map(join, nodes))
            found = lab.get("a")
            assert sorted(found["metadata"]["finalizers"]) == sorted(
                [*(f"finalizer.k8slan.io/{node}" for node in nodes), PROTECTION]
            )
            assert {entry["mtu"] for entry in found["status"]["nodes"]} == {1446}
            assert len(found["status"]["nodes"]) == 20
            lan = (await source.next()).lans[ref][0]
            assert {node.name for node in lan.nodes} == set(nodes)
            await asyncio.gather(*map(leave, nodes[:10]))
            assert [entry["name"] for entry in lab.get("a")["status"]["nodes"]] == [
                entry.name for entry in lan.nodes if entry.name in nodes[10:]
            ]
            assert len(lab.get("a")["metadata"]["finalizers"]) == 11
        finally:
            await source.close()
            await client.close()

    asyncio.run(run())
    until(lambda: lab.get("a")["status"].get("nodeCount") == 10, "ten nodes are counted")
    for node in nodes:
        lab.end_node(node)
    until(lambda: lab.get("a")["metadata"]["finalizers"] == [PROTECTION], "those of gone nodes are off")
    until(lambda: not lab.get("a")["status"].get("nodes"), "and out of the status")


def test_an_agents_writes_do_not_bring_back_what_is_gone(lab: Lab) -> None:
    lab.lan("a")
    ref = LanRef(namespace=lab.namespace, name="a")

    async def run() -> None:
        client = await _client(lab.api)
        source = ApiSource(client)
        try:
            await source.next()
            writer = NodeWriter(client, source, "n1")
            source.informer._on_live = lambda: None
            uid = source.uid(ref)
            lab.api.call("DELETE", lab.path("a"))
            source.uid = lambda _ref: uid  # type: ignore[method-assign]  # as if nobody had told it yet
            for write in (
                writer.add_finalizer(ref, "finalizer.k8slan.io/n1"),
                writer.put_node(ref, NodeStatus(name="n1")),
            ):
                with pytest.raises(ApiError) as caught:
                    await write
                assert caught.value.status in (404, 409)
            await writer.remove_node(ref, "n1")
            await writer.remove_finalizer(ref, "finalizer.k8slan.io/n1")
            assert lab.get("a") is None
        finally:
            await source.close()
            await client.close()

    asyncio.run(run())


def test_a_source_survives_the_api_server_and_a_version_that_is_too_old(lab: Lab) -> None:
    lab.lan("a", spokes=["s1"])
    ref = LanRef(namespace=lab.namespace, name="a")

    async def run() -> None:
        client = await _client(lab.api)
        source = ApiSource(client)
        try:
            assert (await source.next()).lans[ref][0].spokes == ("s1",)
            await asyncio.to_thread(lab.api.stop)
            await asyncio.to_thread(lab.api.start)  # whose watch cache begins now
            source.informer._version = "1"
            await asyncio.to_thread(lab.api.patch, lab.path("a"), {"spec": {"spokes": ["s1", "s2"]}})
            async with asyncio.timeout(60):
                while (await source.next()).lans[ref][0].spokes != ("s1", "s2"):
                    pass
            assert client.counts["GET", 410] + client.counts["GET", 200] >= 3
        finally:
            await source.close()
            await client.close()

    asyncio.run(run())
