"""The controller, with the rights that its service account has, against a real API server that stands alone."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from k8slan_cli.kube import marks
from k8slan_cli.kube.client import APPLY, ApiError, Client
from k8slan_cli.kube.kinds import LANS, NADS, NODES, PODS, VTEPS
from k8slan_cli.kube.kubeconfig import access
from k8slan_cli.kube.lans import FORCE, ApiSource, manager
from k8slan_cli.kube.nodes import written
from k8slan_cli.kube.transport import Asynchronous
from k8slan_cli.lan import names, vtep_codec
from k8slan_cli.lan.model import PROTECTION, LanRef
from k8slan_cli.lan.vtep import PodRef, Vtep, VtepPort
from tests.cluster.bare import NAD_CRD, Api, api, lan_crd, namespace, until
from tests.cluster.bare import ApiError as Refused
from tests.cluster.controllers import SYSTEM, Start, account, start

__all__ = ["account", "api", "namespace", "start"]

AGENT = "k8slan-controller"
_numbers = iter(range(1, 1000))


class Lab:
    """What the tests do in a namespace, in the parts of users, agents and kubelets."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def lan(self, name: str, **spec: Any) -> dict[str, Any]:
        """Create a LAN with a VNI and a spoke of its own, unless ``spec`` says otherwise."""
        number = next(_numbers)
        spec = {"vni": number, "spokes": [f"e{number}"], **spec}
        spec = {key: value for key, value in spec.items() if value is not None}
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
        """A condition of a LAN: ``True Ready: message``; "" if there is none."""
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

    def vtep(self, lan: str, node: str, *pods: str) -> None:
        """Write a VTEP with the ports of pods, as the node's agent does: ``POD:SPOKE``, or POD on a dynamic LAN."""
        found = vtep_of(LanRef(namespace=self.namespace, name=lan), node, *pods)
        query = f"?fieldManager={manager(node)}&force=true"
        self.api.call("PATCH", self.vtep_path(lan, node) + query, vtep_codec.encode(found), APPLY)

    def vtep_path(self, lan: str, node: str) -> str:
        """The path of a VTEP."""
        return VTEPS.path(self.namespace, names.vtep(lan, node))

    def end_vtep(self, lan: str, node: str) -> None:
        """Take a VTEP away, as its agent does."""
        self.api.patch(self.vtep_path(lan, node), {"metadata": {"finalizers": None}})
        self.api.call("DELETE", self.vtep_path(lan, node))

    def lost(self, lan: str, node: str) -> bool:
        """Whether the controller calls a node lost."""
        return (self.api.get(self.vtep_path(lan, node)) or {"status": {}})["status"].get("lost", False) is True

    def old_agent(self, name: str) -> None:
        """Create the pod of an agent of 0.1.0."""
        labels = {"app.kubernetes.io/name": "k8slan-node-agent", "app.kubernetes.io/part-of": "k8slan"}
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": name, "containers": [{"name": "agent", "image": "none"}]},
        }
        self.api.call("POST", PODS.path(SYSTEM), body)

    def end_old_agent(self, name: str) -> None:
        """Delete the pod of an agent of 0.1.0."""
        self.api.call("DELETE", PODS.path(SYSTEM, name), {"gracePeriodSeconds": 0})

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


def vtep_of(lan: LanRef, node: str, *pods: str) -> Vtep:
    """Return a VTEP with the ports of pods: ``POD:SPOKE``, or POD on a dynamic LAN."""
    ports = []
    for each in pods:
        pod, _, spoke = each.partition(":")
        whose = PodRef(namespace=lan.namespace, name=pod, uid=f"uid-{pod}")
        ports.append(VtepPort(name=f"{spoke or pod}p", interface="net1", kind="veth", spoke=spoke, pod=whose, mtu=1446))
    return Vtep(lan=lan, node=node, mtu=1446, ports=tuple(ports))


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
    for item in api.call("GET", VTEPS.path(namespace))["items"]:
        with contextlib.suppress(Refused):  # a controller has taken it away meanwhile
            found.end_vtep(item["spec"]["lan"], item["spec"]["node"])
    api.call("DELETE", NADS.path(namespace), {"gracePeriodSeconds": 0})


# ---------------------------------------------------------------- NADs and status


def test_a_lan_gets_its_nads_and_says_so(lab: Lab, start: Start) -> None:
    start()
    made = lab.lan("a", vni=100, spokes=["s1", "s2"], dynamic=True)
    lab.until("a", "True Ready: the LAN is as specified")
    assert lab.nads() == ["k8slan-lan-a", "k8slan-mac-s1", "k8slan-mac-s2", "k8slan-veth-s1", "k8slan-veth-s2"]
    found = lab.get("a")
    assert found["metadata"]["finalizers"] == [PROTECTION]
    status = found["status"]
    assert (status["spokeCount"], status["attached"], status["nodeCount"], status["observedGeneration"]) == (2, 0, 0, 1)
    nad = lab.api.get(NADS.path(lab.namespace, "k8slan-veth-s1"))
    owner = nad["metadata"]["ownerReferences"][0]
    assert (owner["name"], owner["uid"], owner["controller"]) == ("a", made["metadata"]["uid"], True)


def test_a_vni_is_allotted_and_kept_by_the_next_controller(lab: Lab, start: Start) -> None:
    first = start("one", "--vni-range=500-502")
    lab.lan("own", vni=501)
    for name in ("a", "b"):
        lab.lan(name, vni=None)
        lab.until(name, "True")
    assert [lab.get(name)["status"]["vni"] for name in ("own", "a", "b")] == [501, 500, 502]
    lab.lan("c", vni=None)
    assert "no VNI of 500-502 is free" in lab.until("c", "False NoVNI")
    with pytest.raises(Refused, match="is immutable"):
        lab.api.patch(lab.path("a"), {"spec": {"vni": 7}})
    assert first.end() == 0
    start("two", "--vni-range=600-700")
    lab.lan("thief", vni=500)
    assert f"500 is in use by LAN {lab.namespace}/a" in lab.until("thief", "False Conflict")
    lab.until("c", "True")
    assert [lab.get(name)["status"]["vni"] for name in ("a", "b", "c")] == [500, 502, 600]


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

    def events() -> list[tuple[str, str, str]]:
        items = lab.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{lab.namespace}/events")["items"]
        return [(e["reason"], e["type"], e["regarding"]["name"]) for e in items]

    until(events, "an event")
    assert events() == [("Conflict", "Warning", "0")]
    lab.api.call("DELETE", lab.path("a"))
    lab.until("0", "True")
    assert "k8slan-veth-s2" in lab.nads()


def test_ports_are_counted_at_once_and_then_every_ten_seconds(lab: Lab, start: Start) -> None:
    start()
    lab.node("n1")
    lab.lan("a", dynamic=True)
    lab.until("a", "True")
    lab.vtep("a", "n1", "p0")
    until(lambda: lab.get("a")["status"]["attached"] == 1, "the first is counted", 5)
    lab.writes()
    for i in range(20):
        lab.vtep("a", "n1", *(f"p{k}" for k in range(i + 1)))
    until(lambda: lab.get("a")["status"]["attached"] == 20, "20 are attached", 15)
    assert lab.writes()["patch", "lans/status"] <= 2
    lab.end_node("n1")


def test_a_spoke_on_two_nodes_is_said_of_the_lan_and_to_the_pods(lab: Lab, start: Start) -> None:
    start()
    for node in ("n1", "n2"):
        lab.node(node)
    lab.lan("a", spokes=["s1"])
    lab.vtep("a", "n1", "p1:s1")
    lab.vtep("a", "n2", "p2:s1")
    words = lab.until("a", "False SpokeShared", "Ready")
    ns = lab.namespace
    assert f"spoke s1 is held by pod {ns}/p1 on node n1 (net1), so there is no link for pod {ns}/p2 on node n2" in words

    def told() -> set[str]:
        events = lab.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{ns}/events")["items"]
        return {
            e["regarding"]["name"] for e in events if e["reason"] == "SpokeShared" and e["regarding"]["kind"] == "Pod"
        }

    until(lambda: told() == {"p1", "p2"}, "both pods are told")
    lab.end_vtep("a", "n1")
    lab.until("a", "True")
    for node in ("n1", "n2"):
        lab.end_node(node)


# ---------------------------------------------------------------- deletion


def test_a_lan_in_use_stays_until_its_vteps_are_gone(lab: Lab, start: Start) -> None:
    start()
    for node in ("n1", "n2"):
        lab.node(node)
    lab.lan("a", spokes=["s1", "s2"])
    lab.until("a", "True")
    lab.vtep("a", "n1", "p1:s1")
    lab.vtep("a", "n2", "p2:s2")
    until(lambda: lab.get("a")["status"]["attached"], "attached")
    lab.api.call("DELETE", lab.path("a"))
    ns = lab.namespace
    users = f"pod {ns}/p1 on node n1, pod {ns}/p2 on node n2"
    lab.until("a", f"False Terminating: is to be deleted, and in use by {users}")
    assert len(lab.nads()) == 4, "nothing is torn from under them"
    lab.end_vtep("a", "n2")
    lab.until("a", f"False Terminating: is to be deleted, and in use by pod {ns}/p1 on node n1")
    lab.vtep("a", "n1")
    lab.until("a", "False Terminating: is to be deleted, and not yet removed on: n1")
    lab.end_vtep("a", "n1")
    lab.gone("a")
    for node in ("n1", "n2"):
        lab.end_node(node)


def test_deletion_by_force(lab: Lab, start: Start) -> None:
    start()
    lab.node("n1")
    lab.lan("a", spokes=["s1"])
    lab.until("a", "True")
    lab.vtep("a", "n1", "p1:s1")
    lab.api.call("DELETE", lab.path("a"))
    lab.until("a", "False Terminating")
    lab.api.patch(lab.path("a"), {"metadata": {"annotations": {FORCE: "true"}}})
    lab.gone("a")
    assert lab.api.get(lab.vtep_path("a", "n1")), "it is its agent's to remove"
    lab.end_node("n1")
    until(lambda: lab.api.get(lab.vtep_path("a", "n1")) is None, "unless its node is gone")


def test_nodes_that_are_gone_or_down_for_a_minute_hold_nothing(lab: Lab, start: Start) -> None:
    start()
    for node in ("n1", "n2"):
        lab.node(node)
    lab.lan("a", spokes=["s1", "s2"])
    lab.until("a", "True")
    lab.vtep("a", "n1", "p1:s1")
    lab.vtep("a", "n2", "p2:s2")
    lab.end_node("n1")
    until(lambda: lab.api.get(lab.vtep_path("a", "n1")) is None, "the VTEP of the node that is gone is gone too")
    down = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=50)
    lab.ready("n2", down_since=down)
    lab.api.call("DELETE", lab.path("a"))
    lab.until("a", "False Terminating: is to be deleted, and in use by pod")
    assert not lab.lost("a", "n2")
    assert datetime.now(UTC) - down < timedelta(seconds=60), "the machine is too slow for this test"
    lab.gone("a")
    assert datetime.now(UTC) - down >= timedelta(seconds=60), "not before its minute is over"
    assert lab.lost("a", "n2")
    lab.end_node("n2")


def test_a_node_that_returns_is_lost_no_more_once_its_claims_are_given_up(lab: Lab, start: Start) -> None:
    start()
    lab.node("n1", down_since=datetime.now(UTC) - timedelta(seconds=90))
    lab.lan("a", spokes=["s1"])
    lab.vtep("a", "n1", "p1:s1")
    until(lambda: lab.lost("a", "n1"), "lost")
    lab.vtep("a", "n1", "p1:s1")  # which leaves the mark alone
    assert lab.lost("a", "n1")
    lab.ready("n1")
    until(lambda: not lab.lost("a", "n1"), "lost no more")
    lab.end_node("n1")


# ---------------------------------------------------------------- faults


def test_a_restart_writes_nothing(lab: Lab, start: Start) -> None:
    lab.node("n1")
    for i in range(5):
        lab.lan(f"l{i}", spokes=[f"x{i}-{k}" for k in range(5)], dynamic=True)
    lab.lan("clash", ns="l0", vni=300)
    lab.vtep("l1", "n1", "p1:x1-1")
    first = start("one")
    lab.until("l4", "True")
    lab.until("l1", "True")
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
    two.wait_leading(12)
    assert time.monotonic() - began < 12, "the lease is for 15 s"
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


async def _apply(client: Client, path: str, node: str, document: dict[str, Any]) -> None:
    query = {"fieldManager": manager(node), "force": "true"}
    await client.call("PATCH", path, query=query, body=document, content_type=APPLY)


def _lan_by(node: str, ref: LanRef, *, status: bool) -> dict[str, Any]:
    """What an agent of 0.1.0 applies to a LAN: its entry of the status, or its finalizer."""
    metadata: dict[str, Any] = {"name": ref.name, "namespace": ref.namespace}
    document = {"apiVersion": LANS.api_version, "kind": "LAN", "metadata": metadata}
    if status:
        return document | {"status": {"nodes": [{"name": node, "state": "Ready", "vtep": "10.0.0.1"}]}}
    metadata["finalizers"] = [names.finalizer(node)]
    return document


def test_a_cluster_of_the_first_version_is_taken_over_node_by_node(lab: Lab, start: Start) -> None:
    """Twenty nodes join in the old way, ten of them go over; as long as old agents run they find all in the status."""
    nodes = [f"m{i}" for i in range(20)]
    for node in nodes:
        lab.node(node)
        lab.old_agent(node)
    lab.lan("a", dynamic=True)
    ref = LanRef(namespace=lab.namespace, name="a")
    start()
    lab.until("a", "True")

    async def each(wanted: list[str], *, old: bool) -> None:
        client = await _client(lab.api)

        async def join(node: str) -> None:
            if old:
                await _apply(client, lab.path("a"), node, _lan_by(node, ref, status=False))
                await _apply(client, lab.path("a") + "/status", node, _lan_by(node, ref, status=True))
            else:
                vtep = vtep_codec.encode(vtep_of(ref, node, f"p-{node}"))
                await _apply(client, lab.vtep_path("a", node), node, vtep)

        try:
            await asyncio.gather(*map(join, wanted))
        finally:
            await client.close()

    def entries() -> set[str]:
        return {entry["name"] for entry in (lab.get("a")["status"].get("nodes") or ())}

    def finalizers() -> set[str]:
        return {f for f in lab.get("a")["metadata"]["finalizers"] if f != PROTECTION}

    asyncio.run(each(nodes, old=True))
    until(lambda: lab.get("a")["status"]["nodeCount"] == 20, "twenty nodes are counted")
    assert finalizers() == {names.finalizer(node) for node in nodes}
    for node in nodes[:10]:
        lab.end_old_agent(node)
    asyncio.run(each(nodes[:10], old=False))
    until(lambda: finalizers() == {names.finalizer(node) for node in nodes[10:]}, "ten finalizers are off")
    assert entries() == set(nodes)
    lab.end_vtep("a", nodes[0])
    lab.vtep("a", nodes[1])
    until(lambda: entries() == set(nodes) - {nodes[1]}, "one without ports is entered no more")
    for node in nodes[10:]:
        lab.end_old_agent(node)
    asyncio.run(each(nodes[10:], old=False))
    until(lambda: entries() == {nodes[0]}, "no entry is left but that of a node which has not spoken yet")
    lab.vtep("a", nodes[0])
    until(lambda: not entries() and not finalizers(), "nothing is left")
    for node in nodes:
        lab.end_node(node)
    until(lambda: lab.get("a")["status"]["nodeCount"] == 0, "no node takes part")


def test_marks_do_not_bring_back_what_is_gone_or_meet_another(lab: Lab) -> None:
    lab.lan("a")
    lab.vtep("a", "n1", "p:s1")
    before = vtep_codec.decode(lab.api.get(lab.vtep_path("a", "n1")))
    assert before is not None

    async def run(*calls: Any) -> list[object]:
        client = await _client(lab.api)
        try:
            return [await asyncio.gather(call(client), return_exceptions=True) for call in calls]
        finally:
            await client.close()

    lost, remove = functools.partial(marks.mark, vtep=before, lost=True), functools.partial(marks.remove, vtep=before)
    lab.end_vtep("a", "n1")
    [[refused], [nothing]] = asyncio.run(run(lost, remove))  # type: ignore[misc]
    assert isinstance(refused, ApiError)
    assert nothing is None
    assert lab.api.get(lab.vtep_path("a", "n1")) is None
    lab.vtep("a", "n1", "p:s1")
    [[one], [other]] = asyncio.run(run(lost, remove))  # type: ignore[misc]
    assert isinstance(one, ApiError)
    assert isinstance(other, ApiError)
    assert lab.api.get(lab.vtep_path("a", "n1"))["metadata"]["finalizers"] == [vtep_codec.HELD]


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
