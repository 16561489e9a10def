"""Probing, capturing, pulling cables and examining a cluster from a workstation, with what the Kubernetes API gives."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.client import AgentError, Call
from k8slan_cli.kube import apply, portforward
from k8slan_cli.probe.frames import CLASSES
from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pod, Pods
from tests.support import names
from tests.support.agents import Log, eventually
from tests.support.tshark import frames

SYSTEM = "k8slan-system"
SECONDS = 60.0
ROLE = "k8slan-operator"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """What it printed."""
        return self.stdout.decode()

    @property
    def json(self) -> Any:
        """What it printed, as a value."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Workstation:
    """The command, as a user with a kubeconfig has it."""

    kubeconfig: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: Cluster, folder: Path, namespace: str, user: str = "") -> Workstation:
        """A user, the administrator without a name, with a namespace as the context's own."""
        config = json.loads(cluster.kubeconfig.read_text())
        config["contexts"][0]["context"]["namespace"] = namespace
        if user:
            config["users"][0]["user"]["as"] = user
        path = folder / f"kubeconfig-{user or 'admin'}"
        path.write_text(json.dumps(config))
        return cls(path, folder, {"KUBECONFIG": str(path), "COLUMNS": "80"})

    def start(self, *words: str, **options: Any) -> subprocess.Popen[Any]:
        """Begin it."""
        command = [sys.executable, "-m", "k8slan_cli", *words]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen(command, env=os.environ | self.environment, **options)

    def __call__(self, *words: str, status: int = 0) -> Done:
        """Run it; it has to end with ``status`` and without a traceback."""
        with self.start(*words) as process:
            stdout, stderr = process.communicate(timeout=SECONDS)
        done = Done(process.returncode, stdout, stderr.decode())
        assert done.status == status, done
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        return done


@dataclass(frozen=True)
class Scene:
    """A dynamic LAN ``blue`` with pods on both nodes and what a VM has, and a cable of two spokes between the nodes."""

    namespace: str
    kubectl: Kubectl
    pods: dict[str, Pod]
    spokes: tuple[str, str]
    cluster: Cluster


@pytest.fixture(scope="module")
def scene(k8slan: Cluster, node1: Node, node2: Node) -> Iterator[Scene]:
    space, vm = names.unique("op"), names.unique("vm")
    spokes = names.unique("l"), names.unique("r")
    k8slan.kubectl("create", "namespace", space)
    kubectl = k8slan.kubectl.within(space)
    kubectl.wait("--for=create", "serviceaccount/default")
    kubectl.create(
        probing.lan("blue", space, vni=7101, dynamic=True, spokes=[vm]),
        probing.lan("cable", space, vni=7102, spokes=list(spokes)),
    )
    for name in ("blue", "cable"):
        probing.until_ready(kubectl, name)
    resource = f"macvtap.k8slan.io/k8slan-mac-{vm}"
    probing.until_allocatable(k8slan, resource)
    make = Pods(kubectl)
    blue = "k8slan-lan-blue@net1"
    pods = {
        "one": make(node1, name="one", networks=[blue, f"k8slan-veth-{spokes[0]}@e1"], ready=False),
        "two": make(node2, name="two", networks=[blue, f"k8slan-veth-{spokes[1]}@e1"], ready=False),
        "vm": make(node1, name="vm", networks=f"k8slan-mac-{vm}", resources={resource: 1}, ready=False),
    }
    for pod in pods.values():
        pod.ready()
    yield Scene(space, kubectl, pods, spokes, k8slan)
    for name in ("blue", "cable"):
        probing.remove(kubectl, name)
    k8slan.kubectl("delete", "namespace", space, "--wait=false")


@pytest.fixture
def k8s(scene: Scene, tmp_path: Path) -> Workstation:
    """The administrator's workstation."""
    return Workstation.of(scene.cluster, tmp_path, scene.namespace)


# ---------------------------------------------------------------- probe


def test_every_class_passes_between_all_that_are_on_a_lan(k8s: Workstation, scene: Scene) -> None:
    found = k8s("lan", "probe", "blue", "-o", "json").json
    assert found["passed"], found
    ends = {f"{scene.namespace}/{name}:net1" for name in ("one", "two", "vm")}
    assert {(way["from"], way["to"]) for way in found["paths"]} == {(a, b) for a in ends for b in ends if a != b}
    for way in found["paths"]:
        assert (way["fromNode"] == way["toNode"]) == (f"{scene.namespace}/two:net1" not in (way["from"], way["to"]))
        assert [entry["class"] for entry in way["classes"]] == [c.key for c in CLASSES]
        assert all(entry["latencyMicroseconds"] < 1_000_000 for entry in way["classes"])


def test_a_pair_is_shown_by_class_in_80_columns_without_colours(k8s: Workstation, scene: Scene, node1: Node) -> None:
    text = k8s("lan", "probe", "blue", "--from", "one", "--to", "vm").text
    one, vm, where = f"{scene.namespace}/one:net1", f"{scene.namespace}/vm:net1", f"(on {node1.name})"
    assert text.startswith(f"A  {one} → {vm}  {where}\nB  {vm} → {one}  {where}\n")
    assert "\x1b" not in text
    assert all(len(line) <= 90 for line in text.splitlines())
    assert f"all {len(CLASSES)} classes of frames passed on 2 ways" in text


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["blu"], 6, "did you mean blue?"),
        (["blue", "--from", "onne"], 6, "did you mean one?"),
        (["blue", "--class", "lldpp"], 6, "did you mean lldp?"),
        (["blue", "--from", "one", "--to", "one"], 2, "are both"),
    ],
)
def test_what_cannot_be_probed_is_said(words: list[str], status: int, said: str, k8s: Workstation) -> None:
    assert said in k8s("lan", "probe", *words, status=status).stderr


# ---------------------------------------------------------------- capture


def tshark(path: Path, *fields: str) -> list[list[str]]:
    return frames("cluster", path, *fields)


def test_a_whole_lan_is_captured_on_all_nodes_into_one_file(k8s: Workstation, scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "blue.pcapng"
    with k8s.start("lan", "capture", "blue", "-w", str(path), "--filter", "arp or vlan") as capturing:
        assert capturing.stderr is not None
        said = capturing.stderr.readline().decode()
        assert said.startswith("Capturing on")
        k8s("lan", "probe", "blue", "--class", "arp", "--class", "vlan", "--from", "one", "--to", "two")
        capturing.send_signal(signal.SIGINT)
        _, rest = capturing.communicate(timeout=SECONDS)
    assert capturing.returncode == 0, rest
    fields = ("frame.interface_name", "frame.packet_flags_direction", "vlan.id", "frame.time_epoch")
    rows = tshark(path, *fields)
    ends = {name: f"{scene.namespace}/{name}:net1" for name in ("one", "two", "vm")}
    arp = [row for row in rows if not row[2]]
    assert {row[0] for row in arp} == set(ends.values())  # everybody hears a broadcast
    tagged = {(row[0], row[1]) for row in rows if row[2] == "4001"}
    directions = ("0x00000001", "0x00000002")
    assert {(ends[name], way) for name in ("one", "two") for way in directions} <= tagged
    times = [float(row[3]) for row in rows]
    assert times == sorted(times)
    for name in ends.values():
        assert f"{name}: {sum(row[0] == name for row in rows)} frames" in rest.decode()


def test_a_capture_goes_through_a_pipe_and_ends_at_its_count(k8s: Workstation, scene: Scene, tmp_path: Path) -> None:
    with k8s.start("lan", "capture", "vm:net1", "--count", "5", "--snaplen", "40") as capturing:
        assert capturing.stderr is not None
        capturing.stderr.readline()
        k8s("lan", "probe", "blue", "--class", "full-size", "--from", "one", "--to", "vm")
        stdout, stderr = capturing.communicate(timeout=SECONDS)
    assert capturing.returncode == 0, stderr
    path = tmp_path / "pipe.pcapng"
    path.write_bytes(stdout)
    rows = tshark(path, "frame.cap_len", "frame.interface_name")
    assert len(rows) == 5
    assert {row[1] for row in rows} == {f"{scene.namespace}/vm:net1"}
    assert max(int(row[0]) for row in rows) == 40


def test_what_cannot_be_captured_is_said_and_leaves_the_file_alone(k8s: Workstation, tmp_path: Path) -> None:
    path = tmp_path / "captures" / "old.pcapng"
    path.parent.mkdir()
    path.write_bytes(b"the capture of yesterday")
    for what in ("one:net1", "blue"):
        assert "syntax error" in k8s("lan", "capture", what, "-w", str(path), "-f", "arp arp", status=1).stderr
    assert path.read_bytes() == b"the capture of yesterday"
    assert list(path.parent.iterdir()) == [path]
    assert "neither a LAN nor an attached pod three" in k8s("lan", "capture", "three", "-w", "-", status=6).stderr
    assert "cannot write /no/where" in k8s("lan", "capture", "one", "-w", "/no/where", status=1).stderr


def test_a_capture_ends_when_its_pod_does_and_says_why(k8s: Workstation, scene: Scene, node2: Node) -> None:
    pod = Pods(scene.kubectl)(node2, name="brief", networks="k8slan-lan-blue@net1")
    with k8s.start("lan", "capture", "brief", "-w", os.devnull) as capturing:
        assert capturing.stderr is not None
        capturing.stderr.readline()
        pod.delete()
        _, stderr = capturing.communicate(timeout=SECONDS)
    assert (capturing.returncode, "is detached" in stderr.decode()) == (0, True), stderr


@contextlib.contextmanager
def capturing_late(k8s: Workstation, scene: Scene, path: Path) -> Iterator[tuple[subprocess.Popen[str], Log]]:
    """A capture of a LAN ``late`` of which no node has anything yet, and what it says; a Ctrl-C ends it."""
    scene.kubectl.create(probing.lan("late", scene.namespace, vni=7103, dynamic=True))
    probing.until_ready(scene.kubectl, "late")
    try:
        words = ("lan", "capture", "late", "-w", str(path), "--filter", "arp")
        with k8s.start(*words, text=True) as process:
            assert process.stderr is not None
            said = Log(process.stderr)
            try:
                said.wait("^Capturing on LAN .*/late, including interfaces that attach later. Press Ctrl-C to stop.$")
                yield process, said
                process.send_signal(signal.SIGINT)
                process.wait(SECONDS)
            finally:
                process.kill()
                said.join()
        assert "Traceback" not in str(said)
    finally:
        scene.kubectl.delete("lan", "late", timeout=60)


def test_pods_that_start_during_a_capture_are_in_it_on_nodes_that_had_nothing_of_the_lan(
    k8s: Workstation, scene: Scene, node1: Node, node2: Node, tmp_path: Path
) -> None:
    path, make, space = tmp_path / "late.pcapng", Pods(scene.kubectl), scene.namespace
    late = "k8slan-lan-late@net1"
    with capturing_late(k8s, scene, path) as (process, said):
        first = make(node2, name="first", networks=late)
        said.wait(rf"^{space}/first:net1: captured as well \(node worker2\)$")
        second = make(node1, name="second", networks=late)
        said.wait(rf"^{space}/second:net1: captured as well \(node worker1\)$")
        k8s("lan", "probe", "late", "--class", "arp")
        third = make(node2, name="third", networks=late)
        said.wait(rf"^{space}/third:net1: captured as well \(node worker2\)$")
        k8s("lan", "probe", "late", "--class", "arp", "--from", "third", "--to", "second")
        for pod in (first, second, third):
            pod.delete()
            said.wait(rf"^{space}/{pod.name}:net1: it is detached$")
        again = make(node2, name="first", networks=late)
        said.wait(rf"^{space}/first:net1: captured as well", since=said.mark() - 1)
        again.delete()
        said.wait(rf"^{space}/first:net1: it is detached$", since=said.mark() - 1)
    assert process.returncode == 0, said
    assert "broke off" not in str(said)
    rows = tshark(path, "frame.interface_name", "frame.packet_flags_direction", "frame.interface_id")
    directions = ("0x00000001", "0x00000002")
    ends = {(f"{space}/{name}:net1", way) for name in ("first", "second", "third") for way in directions}
    assert ends <= {(row[0], row[1]) for row in rows}
    for name in ("first", "second", "third"):
        number = sum(row[0] == f"{space}/{name}:net1" for row in rows)
        assert re.search(rf"^{space}/{name}:net1: {number} frames \(it is detached\)$", str(said), re.MULTILINE), said


def test_an_agent_that_restarts_during_a_capture_is_taken_in_again(
    k8s: Workstation, scene: Scene, node1: Node, node2: Node, tmp_path: Path
) -> None:
    path, make, space = tmp_path / "late.pcapng", Pods(scene.kubectl), scene.namespace
    with capturing_late(k8s, scene, path) as (process, said):
        pods = [make(node, name=f"at-{node.name}", networks="k8slan-lan-late@net1") for node in (node1, node2)]
        for pod in pods:
            said.wait(rf"^{space}/{pod.name}:net1: captured as well")
        mark = said.mark()
        system = scene.cluster.kubectl.within(SYSTEM)
        labels = ("-l", "app.kubernetes.io/name=k8slan-node-agent", "--field-selector=spec.nodeName=worker1")
        system("delete", "pod", *labels, "--wait=false")
        said.wait("the capture on node worker1 broke off", since=mark)
        said.wait(rf"^{space}/at-worker1:net1: captured as well", since=mark, seconds=SECONDS)
        k8s("lan", "probe", "late", "--class", "arp")
        for pod in pods:
            pod.delete()
            said.wait(rf"^{space}/{pod.name}:net1: it is detached$", since=mark)
    assert process.returncode == 1, said
    assert "node worker2 broke off" not in str(said)
    rows = tshark(path, "frame.interface_id", "frame.interface_name")
    ids = {row[0] for row in rows if row[1] == f"{space}/at-worker1:net1"}
    assert max(map(int, ids)) == 2  # after the two that were there first


# ---------------------------------------------------------------- link


def carrier(pod: Pod, interface: str) -> str:
    return pod.run("cat", f"/sys/class/net/{interface}/carrier").strip()


def test_a_cable_is_pulled_out_at_both_ends_and_stays_so_over_restarts(k8s: Workstation, scene: Scene) -> None:
    one, two = scene.pods["one"], scene.pods["two"]
    assert "so is the other end of the cable" in k8s("lan", "link", "one:e1", "down").text
    for pod in (one, two):
        eventually("the carrier is gone", lambda pod=pod: carrier(pod, "e1") == "0")
    assert carrier(one, "net1") == "1"
    found = k8s("lan", "probe", "cable", "-o", "json", status=1).json
    assert {entry["verdict"] for way in found["paths"] for entry in way["classes"]} == {"dropped"}
    assert any("link down" in note for note in found["notes"])

    system = scene.cluster.kubectl.within(SYSTEM)
    agents = ("pod", "-l", "app.kubernetes.io/name=k8slan-node-agent")
    system("delete", *agents, "--wait=true")
    system("rollout", "status", "daemonset/k8slan-node-agent", "--timeout=60s")
    assert [carrier(pod, "e1") for pod in (one, two)] == ["0", "0"]

    k8s("lan", "link", "one:e1", "up")
    for pod in (one, two):
        eventually("the carrier is back", lambda pod=pod: carrier(pod, "e1") == "1")
    assert k8s("lan", "probe", "cable", "--class", "lldp", "-o", "json").json["passed"]


def test_one_pod_of_many_loses_its_carrier_alone(k8s: Workstation, scene: Scene) -> None:
    k8s("lan", "link", "two:net1", "down")
    eventually("its carrier is gone", lambda: carrier(scene.pods["two"], "net1") == "0")
    assert carrier(scene.pods["one"], "net1") == "1"
    k8s("lan", "link", "two:net1", "up")
    eventually("its carrier is back", lambda: carrier(scene.pods["two"], "net1") == "1")
    annotations = scene.kubectl.get("lan", "blue")["metadata"].get("annotations") or {}
    assert "lan.k8slan.io/links-down" not in annotations
    assert "say which of two:net1" in k8s("lan", "link", "two", "down", status=6).stderr


# ---------------------------------------------------------------- doctor


def checks(done: Done) -> dict[tuple[str, str], dict[str, str]]:
    return {(check["area"], check["check"]): check for check in done.json["checks"]}


def test_a_healthy_cluster_is_found_healthy(k8s: Workstation) -> None:
    found = checks(k8s("doctor", "-o", "json"))
    assert {key: check for key, check in found.items() if check["state"] != "ok"} == {}
    assert ("between nodes", "VXLAN at UDP port 4789") in found
    assert ("node worker1", "multus") in found
    text = k8s("doctor").text
    assert text.endswith("all is in order\n")
    assert k8s("doctor", "-q").text == "all is in order\n"


def test_a_lan_whose_underlay_is_on_no_node_is_found_before_anybody_is_on_it(k8s: Workstation, scene: Scene) -> None:
    scene.kubectl.create(
        probing.lan("nowhere", scene.namespace, vni=4242, spokes=["nowhere"], defaultVxlanDev="nowhere0")
    )
    try:
        probing.until_ready(scene.kubectl, "nowhere")
        found = checks(k8s("doctor", "-o", "json", status=1))
        assert {key: check["message"] for key, check in found.items() if check["state"] != "ok"} == {
            (
                "agents",
                "underlay",
            ): f"LAN {scene.namespace}/nowhere wants the underlay device nowhere0, which is on no node"
        }
        why = k8s("lan", "inspect", "nowhere", "-o", "json").json["why"]
        assert [sentence for sentence in why if "nowhere0, which is on no node: correct its spec" in sentence]
    finally:
        scene.kubectl("delete", "lan", "nowhere")


def test_a_firewall_between_nodes_is_found(k8s: Workstation, node1: Node) -> None:
    assert arrived(k8s("lan", "inspect", "blue", "-o", "json")) == {
        ("worker1", "worker2"): 3,
        ("worker2", "worker1"): 3,
    }
    node1.run("nft", "add table inet drill; add chain inet drill in { type filter hook input priority 0; }")
    try:
        node1.run("nft", "add rule inet drill in udp dport 4789 drop")
        found = checks(k8s("doctor", "-o", "json", status=1))[("between nodes", "VXLAN at UDP port 4789")]
        assert (found["state"], found["message"]) == ("fail", "nothing gets from worker2 to worker1")
        assert "a firewall drops UDP 4789" in found["advice"]
        done = k8s("lan", "inspect", "blue", "-o", "json")
        assert arrived(done) == {("worker1", "worker2"): 3, ("worker2", "worker1"): 0}
        (why,) = done.json["why"]
        assert why.startswith("Of frames between its nodes, nothing gets from worker2 to worker1: a firewall drops UDP")
        text = k8s("lan", "inspect", "blue").text
        assert ("1 of 1 reached" in text, "0 of 1 reached" in text) == (True, True)
        node1.run("nft", "flush chain inet drill in; add rule inet drill in udp dport 4789 meta length > 1400 drop")
        found = checks(k8s("doctor", "-o", "json", status=1))[("between nodes", "VXLAN at UDP port 4789")]
        assert found["message"] == "only small frames get from worker2 to worker1, none of full size"
    finally:
        node1.run("nft", "delete table inet drill")


def arrived(done: Done) -> dict[tuple[str, str], int]:
    """How many frames of full size got from node to node, by what inspect says."""
    return {(way["from"], way["to"]): way["full"] for way in done.json["reached"]}


def test_a_webhook_that_is_cut_off_is_found(k8s: Workstation, scene: Scene) -> None:
    patch = ("validatingwebhookconfiguration/k8slan", "--type=json", "-p")
    path = "/webhooks/0/clientConfig/service/port"
    kubectl = scene.cluster.kubectl
    kubectl("patch", *patch, json.dumps([{"op": "replace", "path": path, "value": 444}]))
    try:
        found = checks(k8s("doctor", "-o", "json", status=1))[("k8slan", "webhook")]
        assert found["message"] == "a LAN that is wrong is not refused: the API server does not reach the webhook"
    finally:
        kubectl("patch", *patch, json.dumps([{"op": "replace", "path": path, "value": 443}]))
    assert not scene.kubectl.exists("lan/k8slan-doctor")


def test_an_unreachable_cluster_is_a_check_that_fails(k8s: Workstation, tmp_path: Path) -> None:
    config = json.loads(k8s.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "nowhere").write_text(json.dumps(config))
    found = k8s("doctor", "--kubeconfig", str(tmp_path / "nowhere"), status=1).text
    assert "fail  API server: no answer from the API server at https://127.0.0.1:1" in found


# ---------------------------------------------------------------- rights


@pytest.fixture
def granted(scene: Scene, tmp_path: Path) -> Iterator[Workstation]:
    """Somebody who has the role for diagnostics, and no other right."""
    system, user = scene.cluster.kubectl.within(SYSTEM), names.unique("u")
    system("create", "rolebinding", user, f"--role={ROLE}", f"--user={user}")
    yield Workstation.of(scene.cluster, tmp_path, scene.namespace, user)
    system("delete", "rolebinding", user)


def test_diagnostics_need_no_other_right(granted: Workstation, scene: Scene, tmp_path: Path) -> None:
    found = granted("lan", "probe", "blue", "--class", "lldp", "-o", "json").json
    assert (found["passed"], len(found["paths"])) == (True, 6)
    path = tmp_path / "granted.pcapng"
    granted("lan", "capture", "one:net1", "-w", str(path), "--seconds", "0.5")
    assert path.stat().st_size > 0
    said = granted("lan", "capture", "blue", "-w", str(path), "--seconds", "1").stderr
    assert f"and LAN {scene.namespace}/blue, including interfaces that attach later (node worker1, worker2)" in said
    assert re.search("later are not captured: user .* cannot list (lans|vteps)", said), said
    assert "cannot" in granted("lan", "link", "one:e1", "down", status=3).stderr
    found_checks = checks(granted("doctor", "-o", "json"))
    assert found_checks["between nodes", "VXLAN at UDP port 4789"]["state"] == "ok"
    assert found_checks["k8slan", "controller"]["state"] == "warn"  # it may not be looked at
    assert scene.namespace


def test_nobody_else_may_diagnose_and_the_words_say_what_it_takes(scene: Scene, tmp_path: Path) -> None:
    stranger = Workstation.of(scene.cluster, tmp_path, scene.namespace, names.unique("u"))
    for words in (["lan", "probe", "blue"], ["lan", "capture", "one", "-w", os.devnull]):
        said = stranger(*words, status=3).stderr
        assert "cannot list pods in namespace k8slan-system" in said
        assert f"create rolebinding {ROLE}-NAME --role={ROLE} --user=" in said


def test_who_may_edit_lans_may_not_look_into_them(scene: Scene, tmp_path: Path) -> None:
    user = names.unique("u")
    scene.kubectl("create", "rolebinding", user, "--clusterrole=admin", f"--user={user}")
    editor = Workstation.of(scene.cluster, tmp_path, scene.namespace, user)
    assert "cannot list pods in namespace k8slan-system" in editor("lan", "probe", "blue", status=3).stderr
    editor("lan", "link", "one:net1", "down")
    editor("lan", "link", "one:net1", "up")


@pytest.mark.parametrize(("account", "audience"), [("default", protocol.AUDIENCE), (protocol.ACCOUNT, "somebody-else")])
def test_an_agent_takes_no_other_token(account: str, audience: str, scene: Scene) -> None:
    """Neither of another account, nor one of the right account that is meant for somebody else."""
    system = scene.cluster.kubectl.within(SYSTEM)
    token = system("create", "token", account, f"--audience={audience}").strip()
    [pod, *_] = system.items("pods", "-l", "app.kubernetes.io/name=k8slan-node-agent")
    cluster = apply.connect(str(scene.cluster.kubeconfig))
    for path in (protocol.ATTACHMENTS, protocol.NODE, protocol.SESSION, protocol.CAPTURE):
        wire = portforward.forward(cluster, SYSTEM, pod["metadata"]["name"], protocol.PORT)
        with pytest.raises(AgentError, match="does not take this token") as caught:
            Call(wire, path, token, {})
        assert caught.value.status == 403


def test_nothing_of_it_listens_on_the_nodes_network(scene: Scene, node1: Node) -> None:
    lines = node1.run("ss", "-Htln").stdout.splitlines()
    mine = [line.split()[3] for line in lines if line.split()[3].rpartition(":")[2] in ("9402", "9403")]
    assert sorted(mine) == ["127.0.0.1:9402", "127.0.0.1:9403"]
    assert scene.namespace
