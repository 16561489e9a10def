"""What fails around a LAN, and what its pods notice of it: agents, kubelet, containerd, API server, whole nodes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import grpc
import pytest

from k8slan_cli.kube.lans import FORCE
from k8slan_cli.lan import names as lan_names
from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.kubectl import Object
from tests.cluster.harness.pods import Pod, Pods, is_ready, manifest
from tests.cluster.life import (
    Agents,
    Flow,
    Lans,
    Sandbox,
    Undisturbed,
    agents,
    lans,
    leftovers,
    links,
    root,
    sandbox,
    undisturbed,
    until_nothing_left,
    until_pods,
)
from tests.support.agents import dynamic, eventually, veth

__all__ = ["agents", "lans", "sandbox", "undisturbed"]

Say = Callable[[str], None]
BACK_SECONDS = 10.0
"""How long a kubelet that has started may be without the resources: a second, and what its gRPC takes to dial again."""


# ---------------------------------------------------------------- the agents


@pytest.fixture
def patient(agents: Agents, node1: Node, node2: Node) -> Iterator[Agents]:
    """The agents; the kubelets, which wait longer after each crash of a container, have forgotten it afterwards."""
    yield agents
    for node in (node1, node2):
        agents.fresh(node)


@pytest.fixture
def recovered(patient: Agents, k8slan: Cluster) -> Iterator[Agents]:
    """The agents of a cluster whose API server may be away; whatever is slow to hear it again begins anew."""
    yield patient
    k8slan.control.restart_rest()
    for node in k8slan.nodes:
        node.restart_kubelet()


def test_a_crash_of_the_agents_costs_no_frame(
    lans: Lans, pod: Pods, undisturbed: Undisturbed, patient: Agents, node1: Node, node2: Node
) -> None:
    """Whoever comes next finds everything, makes nothing anew, and takes new pods."""
    lan = lans(spokes=3)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    lan.until_on(node1, node2)
    before = [links(node, lan) for node in (node1, node2)]
    with undisturbed(one, two):
        for node in (node1, node2):
            patient.kill(node)
    assert [links(node, lan) for node in (node1, node2)] == before
    for node in (node1, node2):
        log = patient.log(node)
        assert "ready: 1 LANs, 1 attachments" in log
        assert f"{lan.netns}: " not in log, "an operation on the LAN"
    three = pod(node1, networks=lan.veth(2))
    with undisturbed(three, two):
        pass


_TAKE = """
import socket, time
while True:
    try:
        taken = socket.create_server(("127.0.0.1", 9402))
    except OSError:
        time.sleep(0.01)
    else:
        time.sleep(600)
"""


def test_a_port_of_an_agent_that_another_program_has_is_told_and_keeps_no_pod_from_attaching(
    lans: Lans, pod: Pods, patient: Agents, kubectl: Kubectl, node1: Node
) -> None:
    lan = lans()
    command = ("nsenter", f"--target={node1.machine.pid}", "--net", sys.executable, "-c", _TAKE)
    with subprocess.Popen(command) as program:
        try:
            patient.kill(node1)
            pod(node1, networks=lan.veth(0))
            said = "cannot listen on 127.0.0.1:9402: Address already in use"
            eventually("the agent's pod has an event", lambda: said in patient.pod(node1).events())
            eventually("the LAN says so", lambda: said in degraded(kubectl, lan.name).get("message", ""))
            assert degraded(kubectl, lan.name)["reason"] == "AgentTrouble"
            kubectl.wait("--for=condition=Ready", f"lan/{lan.name}")
        finally:
            program.kill()
    eventually("all is well", lambda: degraded(kubectl, lan.name)["status"] == "False")


def degraded(kubectl: Kubectl, lan: str) -> dict[str, str]:
    """A LAN's condition Degraded."""
    conditions = kubectl.get("lan", lan).get("status", {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == "Degraded"), {})


def test_pods_come_and_go_while_there_is_no_agent(
    lans: Lans, pod: Pods, undisturbed: Undisturbed, agents: Agents, kubectl: Kubectl, node1: Node, node2: Node
) -> None:
    """Those that go do not wait for one; those that come say what they wait for, and come."""
    lan = lans(spokes=3, dynamic=True)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    goes = pod(node1, networks=lan.any(), spec={"terminationGracePeriodSeconds": 1})  # waits for the kubelet's DEL
    lan.until_on(node1, node2)
    assert len(probing.ports(node1, lan.netns)) == 2
    with undisturbed(one, two), agents.away():
        goes.delete(timeout=30)
        (left,) = spooled(node1)
        assert b"CNI_COMMAND=DEL" in (root(node1) / "run/k8slan/spool" / left).read_bytes()
        comes = pod(node1, networks=lan.veth(2), ready=False)
        said = kubectl.until(
            "events",
            f"--field-selector=involvedObject.name={comes.name}",
            holds=lambda event: event["reason"] == "FailedCreatePodSandBox",
            what="a reason why it does not start",
        )
        assert "/run/k8slan/agent/cni.sock" in said["message"]
    assert spooled(node1) == []
    comes.ready()
    assert sorted(probing.ports(node1, lan.netns)) == sorted(f"{lan.spokes[spoke]}p" for spoke in (0, 2))
    with undisturbed(comes, two):
        pass


def spooled(node: Node) -> list[str]:
    """The DELs that wait for an agent."""
    return [path.name for path in (root(node) / "run/k8slan/spool").glob("del-*")]


def test_agents_that_crash_while_many_pods_come_leave_none_behind(
    lans: Lans, pod: Pods, patient: Agents, kubectl: Kubectl, node1: Node, node2: Node
) -> None:
    lan = lans(spokes=0, dynamic=True)
    first = pod(node1, networks=lan.any())
    many = [manifest(f"many{number}", node=(node1, node2)[number % 2], networks=lan.any()) for number in range(10)]
    kubectl.create(*many)
    eventually("the first of them is attached", lambda: len(probing.ports(node1, lan.netns)) > 1)
    crashed = {node: patient.crash(node) for node in (node1, node2)}
    for node, container in crashed.items():
        patient.until_another(node, container)
    until_pods(kubectl, 11)
    assert sum(len(probing.ports(node, lan.netns)) for node in (node1, node2)) == 11
    first.delete()


def test_what_no_lan_accounts_for_any_more_is_removed(
    lans: Lans, pod: Pods, agents: Agents, k8slan: Cluster, node1: Node, node2: Node
) -> None:
    """A LAN that ended while a node could not hear of it, and what is in the folder of no LAN at all."""
    lan = lans()
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    lan.until_on(node1, node2)
    with agents.away():
        lan.patch({"metadata": {"annotations": {FORCE: "true"}}})
        lan.delete()
        lan.until_gone()
        for node, each in ((node1, one), (node2, two)):
            assert f"namespace {lan.netns}" in leftovers(node, lan)
            assert "net1" in each.run("ip", "link")
    for node, each in ((node1, one), (node2, two)):
        eventually("the namespace is gone", lambda n=node: f"namespace {lan.netns}" not in leftovers(n, lan))
        assert "net1" not in each.run("ip", "link")
        each.delete()
        until_nothing_left(node, lan)
    assert k8slan.kubectl.items("lans", "-A") == []


# ---------------------------------------------------------------- kubelet and containerd


class Resources:
    """What a kubelet says that it can give, by its pod resources API (v1, GetAllocatableResources)."""

    _METHOD = "/v1.PodResourcesLister/GetAllocatableResources"

    def __init__(self, node: Node) -> None:
        self._kubelet = root(node) / "var/lib/kubelet"

    def until(self, names: list[str], seconds: float = 20) -> float:
        """Wait until a kubelet that has just started gives all of them; returns how old its socket is then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with (
                suppress(grpc.RpcError),
                grpc.insecure_channel(f"unix:{self._kubelet}/pod-resources/kubelet.sock") as channel,
            ):
                answer: bytes = channel.unary_unary(self._METHOD)(b"", timeout=1, wait_for_ready=True)
                if all(name.encode() in answer for name in names):
                    return time.time() - (self._kubelet / "device-plugins/kubelet.sock").stat().st_ctime
            time.sleep(0.01)  # the kubelet tells nobody
        raise TimeoutError(f"the kubelet does not give {names} after {seconds} s")


def test_a_restart_of_the_kubelet_takes_resources_away_for_a_moment_only(
    lans: Lans, pod: Pods, undisturbed: Undisturbed, k8slan: Cluster, node1: Node, node2: Node, say: Say
) -> None:
    """Pods run on, with all their frames, and new ones that want a resource get it."""
    lan = lans(spokes=20)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    lan.until_on(node1, node2)
    wanted = [lan_names.resource(nad(spoke)) for spoke in lan.spokes for nad in (lan_names.mac_nad, lan_names.veth_nad)]
    probing.until_allocatable(k8slan, *wanted)
    container = one.container_id
    with undisturbed(one, two):
        socket = root(node1) / "var/lib/kubelet/device-plugins/kubelet.sock"
        before = socket.stat().st_ctime_ns
        node1.restart_kubelet()
        eventually("the kubelet's new socket", lambda: socket.exists() and socket.stat().st_ctime_ns > before)
        seconds = Resources(node1).until(wanted)
        say(f"kubelet restarted: {len(wanted)} resources back {seconds:.2f} s after its socket")
        assert seconds <= BACK_SECONDS
        probing.until_allocatable(k8slan, *wanted)
        node1.wait_ready()
        mac = f"k8slan-mac-{lan.spokes[2]}"
        vm = pod(node1, networks=f"{mac}@net1", resources={lan_names.resource(mac): 1})
    assert one.container_id == container
    assert f"/dev/tap{lan.tap_index(lan.spokes[2])}" in vm.run("sh", "-c", "ls /dev/tap*")


def test_a_restart_of_containerd_costs_no_frame(
    lans: Lans, pod: Pods, undisturbed: Undisturbed, node1: Node, node2: Node
) -> None:
    lan = lans(spokes=3)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    lan.until_on(node1, node2)
    with undisturbed(one, two):
        for node in (node1, node2):
            node.restart_containerd()
        three = pod(node1, networks=lan.veth(2))
    with undisturbed(three, two):
        pass


# ---------------------------------------------------------------- the API server


@contextmanager
def no_api(cluster: Cluster, seconds: float) -> Iterator[None]:
    """No API server while the block runs, and for so long at least."""
    began = time.monotonic()
    cluster.control.stop_api()
    try:
        yield
        time.sleep(max(0.0, began + seconds - time.monotonic()))  # it is to be away for that long
    finally:
        cluster.control.start_api()
        cluster.control.wait_api()


def test_pods_of_known_lans_come_and_go_while_the_api_server_is_away_for_a_minute(
    lans: Lans,
    pod: Pods,
    undisturbed: Undisturbed,
    recovered: Agents,
    sandbox: Callable[[Node], Sandbox],
    k8slan: Cluster,
    node1: Node,
    node2: Node,
    say: Say,
) -> None:
    """Also with an agent that starts just then. Multus needs the API server itself, so calls go to its delegates."""
    lan = lans(spokes=4, dynamic=True)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    falls = pod(node1, networks=lan.veth(2))
    lan.until_on(node1, node2)
    container, falling = recovered.pod(node1).container_id, falls.container_id
    pause = sandbox_of(falls, node1)
    any_, spoke = dynamic(f"{lan.kubectl.namespace}/{lan.name}"), veth(lan.spokes[3])
    boxes = [sandbox(node) for node in (node1, node2)]
    with undisturbed(one, two, least=5000), no_api(k8slan, 60):
        come_and_go(boxes, any_)
        boxes[0].call("ADD", spoke).result()
        node1.run("ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", pause)
        eventually("the kubelet detaches what fell", lambda: f"{lan.spokes[2]}p" not in probing.ports(node1, lan.netns))
        agent = probing.process(node1, container)
        node1.run("kill", "-KILL", agent.name)
        eventually("the agent has ended", lambda: not agent.exists())
        eventually("another one answers", lambda: boxes[0].call("STATUS", any_).status == 0, 30)
        boxes[0].call("DEL", spoke).ok()
        come_and_go(boxes, any_)
    back = time.monotonic()
    recovered.until_another(node1, container)
    falls.restarted(falling)
    with undisturbed(falls, two):
        pass
    lan.until_on(node1, node2)
    added = lan_names.resource(lan_names.mac_nad(f"{lan.spokes[0]}x"))
    lan.edit(spokes=[*lan.spokes, f"{lan.spokes[0]}x"])
    probing.until_allocatable(k8slan, added, timeout=60)
    say(f"API server back: the LAN is as specified, and edits are heard, after {time.monotonic() - back:.1f} s")


def come_and_go(boxes: list[Sandbox], config: Object) -> None:
    """Plug sandboxes into a LAN, count frames between the first two, and unplug them."""
    for box in boxes:
        box.call("ADD", config).result()
    one, two = (box.interface() for box in boxes[:2])
    with one, two:
        probing.contact(one, two, one.mtu)
        probing.contact(two, one, two.mtu)
        flow = Flow(one, two)
        flow.start()
        flow.stop(100)
        flow.check()
    for box in boxes:
        box.call("DEL", config).ok()


def sandbox_of(pod: Pod, node: Node) -> str:
    """The id of a pod's sandbox."""
    found = node.run("ctr", "--namespace=k8s.io", "containers", "info", pod.container_id.removeprefix("containerd://"))
    return str(json.loads(found.stdout)["Spec"]["annotations"]["io.kubernetes.cri.sandbox-id"])


# ---------------------------------------------------------------- a whole node


def test_pods_have_their_interfaces_again_after_their_node_was_rebooted(
    lans: Lans,
    pod: Pods,
    undisturbed: Undisturbed,
    agents: Agents,
    kubectl: Kubectl,
    k8slan: Cluster,
    node1: Node,
    node2: Node,
    say: Say,
) -> None:
    """A bare pod as it was; of a Deployment, whose pods hold resources, one that is made anew."""
    lan = lans(spokes=4)
    one, two = pod(node1, networks=lan.veth(0)), pod(node2, networks=lan.veth(1))
    mac = lan_names.mac_nad(lan.spokes[2])
    probing.until_allocatable(k8slan, lan_names.resource(mac))
    kubectl.create(deployment("vm", manifest("vm", node=node1, networks=mac, resources={lan_names.resource(mac): 1})))
    kubectl("rollout", "status", "deployment/vm", "--timeout=60s")
    (before,) = kubectl.items("pods", "-l", "app=vm")
    lan.until_on(node1, node2)
    agent, container = agents.pod(node1).container_id, one.container_id
    began = time.monotonic()
    node1.reboot()
    node1.wait_ready()
    agents.until_another(node1, agent)
    one.restarted(container)
    say(f"node rebooted: its pod has its interface again after {time.monotonic() - began:.1f} s")
    with undisturbed(one, two):
        pass
    containers = {before["status"]["containerStatuses"][0]["containerID"]}
    vm = kubectl.until(
        "pods",
        "-l",
        "app=vm",
        holds=lambda pod: (
            is_ready(pod) and not containers & {c["containerID"] for c in pod["status"]["containerStatuses"]}
        ),
        timeout=90,
        what="one that has started since",
    )
    tap = f"/dev/tap{lan.tap_index(lan.spokes[2])}"
    assert tap in kubectl("exec", vm["metadata"]["name"], "--", "sh", "-c", "ls /dev/tap*")


def deployment(name: str, pod: Object) -> Object:
    """A Deployment of one such pod."""
    template = {"metadata": pod["metadata"] | {"labels": {"app": name}}, "spec": pod["spec"]}
    del template["metadata"]["name"]
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
