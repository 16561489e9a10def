"""The way of a user, by ``k8slan lan`` alone, in a cluster where all of k8slan runs: from nothing to pods, and back."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli import __version__
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pods
from tests.cluster.harness.versions import TEST_IMAGE
from tests.support import names
from tests.support.agents import eventually
from tests.unit.render.command import Done, call

Cli = Callable[..., Done]


@pytest.fixture
def cli(k8slan: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command, with the namespace as its context's."""
    config = json.loads(k8slan.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))

    def run(*words: str, status: int = 0) -> Done:
        return call("lan", *words, status=status)

    return run


def _example(cli: Cli, kubectl: Kubectl, node: Node, *words: str) -> str:
    """Apply an example on a node; its name."""
    document = yaml.safe_load(cli("example", *words, "--image", TEST_IMAGE).stdout)
    spec = document["spec"]["template"]["spec"] if document["kind"] == "Deployment" else document["spec"]
    spec |= {"nodeName": node.name, "terminationGracePeriodSeconds": 0}
    kubectl.apply(document)
    return str(document["metadata"]["name"])


def _look(cli: Cli, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("inspect", name, "-o", "json").stdout)
    return found


def test_from_nothing_to_pods_and_back(cli: Cli, kubectl: Kubectl, namespace: str, node1: Node, node2: Node) -> None:
    name, spokes = names.unique("w"), [names.unique("s") for _ in range(2)]
    cli("create", name, "--spoke", spokes[0], "--spoke", spokes[1], "--dynamic", "--wait")
    addresses = ("--ip", "198.51.100.1/24", "--ip", "2001:db8::1/64")
    one = _example(cli, kubectl, node1, "pod", f"{name}/{spokes[0]}", "--interface", "eth1", *addresses)
    other = _example(cli, kubectl, node2, "deployment", f"{name}/{spokes[1]}", "--ip", "198.51.100.2/24")
    many = _example(cli, kubectl, node2, "deployment", name)
    kubectl.wait("--for=condition=Ready", f"pod/{one}")
    for each in (other, many):
        kubectl("rollout", "status", f"deployment/{each}", "--timeout=60s")

    def all_well() -> bool:
        found = _look(cli, name)
        there = [item for item in found["attached"] if item["state"] == "attached" and item["mac"]]
        return len(there) == 5 and found["why"] == [] and {each["state"] for each in found["nodes"]} == {"Ready"}

    eventually("five are attached, and all is well", all_well)
    [row] = [item for item in _look(cli, name)["attached"] if item["spoke"] == spokes[0]]
    assert (row["pod"], row["node"], row["interface"]) == (f"{namespace}/{one}", node1.name, "eth1")
    address = kubectl("exec", one, "--", "cat", "/sys/class/net/eth1/address").strip()
    assert row["mac"] == address
    assert (row["live"]["link"], row["live"]["fault"]) == ("up", "")
    assert [address.partition("/")[0] for address in row["addresses"]] == ["198.51.100.1", "2001:db8::1"]
    kubectl("exec", one, "--", "ping", "-c", "5", "-W", "5", "198.51.100.2")
    eventually("the list counts them", lambda: " 5 " in cli("list").stdout and "True" in cli("list").stdout)
    drawn = cli("graph", name).stdout
    assert all(word in drawn for word in (node1.name, node2.name, one, f"─ {spokes[0]} ─", "vxlan0"))

    assert f"{spokes[0]} is held by pod {namespace}/{one}" in cli("remove-spoke", name, spokes[0], status=5).stderr
    cli("add-spoke", name, names.unique("s"))
    late = cli("delete", name, "--timeout", "3", status=5)
    assert f"held by pod {namespace}/" in late.stderr
    assert "it stays until these have left" in late.stderr
    kubectl.delete("deployments,pods", "--all")
    assert cli("delete", name, "--timeout", "60").stdout == f"LAN {namespace}/{name} is deleted\n"
    assert f"there is no LAN {name!r}" in cli("inspect", name, status=6).stderr


def test_a_clash_that_only_the_cluster_can_see_is_said_in_its_words(
    cli: Cli, k8slan: Cluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    """Somebody who may not look into other namespaces hears of them from the webhook, field by field."""
    user, other = names.unique("bob"), names.unique("ns")
    k8slan.kubectl("create", "namespace", other)
    try:
        first, spoke = names.unique("w"), names.unique("s")
        cli("create", first, "--spoke", spoke)
        kubectl.wait("--for=condition=Ready", f"lan/{first}")
        vni = _look(cli, first)["lan"]["status"]["vni"]
        inside = k8slan.kubectl.within(other)
        inside("create", "rolebinding", user, "--clusterrole=k8slan-underlay", f"--user={user}")
        config = json.loads((tmp_path / "kubeconfig").read_text())
        config["users"][0]["user"]["as"] = user
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        done = cli("create", "x", "--spoke", spoke, "--vni", str(vni), "-n", other, status=1)
        assert done.stderr.splitlines()[-2:] == [
            f"k8slan: LAN {other}/x is not valid:",
            f"  spec.vni: {vni} is in use by LAN {namespace}/{first}",
        ]
        assert "cannot be seen" in done.stderr
    finally:
        k8slan.kubectl("delete", "namespace", other, "--wait=false")
        kubectl.delete("lans", "--all")


def test_a_lan_is_taken_from_under_its_pods_only_by_force(cli: Cli, kubectl: Kubectl, node1: Node) -> None:
    name, spoke = names.unique("w"), names.unique("s")
    cli("create", name, "--spoke", spoke, "--wait")
    pod = _example(cli, kubectl, node1, "pod", f"{name}/{spoke}")
    kubectl.wait("--for=condition=Ready", f"pod/{pod}")
    done = cli("delete", name, "--force", "--timeout", "60")
    assert f"from under pod {kubectl.namespace}/{pod}" in done.stderr
    assert done.stdout == f"LAN {kubectl.namespace}/{name} is deleted\n"
    kubectl.delete("pod", pod)


def test_a_lan_with_dots_in_its_name(cli: Cli, kubectl: Kubectl, node1: Node, pod: Pods) -> None:
    """What is printed attaches, though multus takes no dots in its short form."""
    name = f"site.{names.unique('w')}"
    said = yaml.safe_load(cli("create", name, "--wait").stdout.splitlines()[3])
    pod(node1, networks=said["k8s.v1.cni.cncf.io/networks"])
    example = _example(cli, kubectl, node1, "pod", name, "--interface", "eth1.7")
    kubectl.wait("--for=condition=Ready", f"pod/{example}")
    assert "eth1.7" in kubectl("exec", example, "--", "ls", "/sys/class/net").split()
    eventually("two are attached", lambda: [a["state"] for a in _look(cli, name)["attached"]] == ["attached"] * 2)
    kubectl.delete("pods", "--all")
    cli("delete", name)


def test_ready_is_true(cli: Cli, kubectl: Kubectl, node1: Node) -> None:
    """A pod that cannot attach makes its LAN not Ready, with the reason, the node, an event and its own error."""
    name = names.unique("w")
    done = cli("create", name, "--underlay", "nope9")
    assert "nope9" in done.stderr, "no node has it"
    pod = _example(cli, kubectl, node1, "pod", name)
    kubectl.wait("--for=condition=Ready=false", f"lan/{name}")
    found = eventually(
        "the pod's own error is told",
        lambda: (view := _look(cli, name))["waiting"] and view["waiting"][0]["reason"] and view,
    )
    assert "the underlay device nope9 is not on this node" in found["waiting"][0]["reason"]
    assert any("nope9" in why and node1.name in why for why in found["why"])
    assert found["lan"]["status"]["degradedNodes"][0]["name"] == node1.name
    warnings = [event for event in found["events"] if event["type"] == "Warning"]
    assert [event for event in warnings if "nope9" in event["message"]]
    assert len({event["reason"] for event in warnings}) == len(warnings), "not one for each try"
    cli("set", name, "--underlay", "")
    kubectl.wait("--for=condition=Ready", f"lan/{name}", timeout=90)
    kubectl.wait("--for=condition=Ready", f"pod/{pod}", timeout=120)
    kubectl.delete("pods", "--all")
    cli("delete", name)


def test_what_goes_on_is_seen_live_and_all_of_it_goes_into_a_report(
    cli: Cli, kubectl: Kubectl, node1: Node, node2: Node, tmp_path: Path
) -> None:
    name, spokes = names.unique("w"), [names.unique("s") for _ in range(2)]
    cli("create", name, "--spoke", ",".join(spokes), "--wait")
    one, other = (
        _example(cli, kubectl, node, "pod", f"{name}/{spoke}", "--ip", f"198.51.100.{number}/24")
        for number, (node, spoke) in enumerate(zip((node1, node2), spokes, strict=True), 1)
    )
    kubectl.wait("--for=condition=Ready", f"pod/{one}", f"pod/{other}")
    kubectl("exec", one, "--", "ping", "-c", "5", "-W", "5", "198.51.100.2")

    def attached() -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = json.loads(cli("top", name, "--every", "1", "-o", "json").stdout)["attachments"]
        return seen

    seen = eventually("both are seen", lambda: len(found := attached()) == 2 and found)
    assert {item["node"] for item in seen} == {node1.name, node2.name}
    assert all(item["link"] == "up" and item["sent"]["packets"] for item in seen)
    assert all(item["sentPerSecond"] is not None for item in seen)
    known = json.loads(cli("macs", name, "-o", "json").stdout)["macs"]
    assert {(row["spoke"], row["node"]) for row in known} >= set(zip(spokes, (node1.name, node2.name), strict=True))
    assert "forgotten on 2 of 2 nodes" in cli("macs", name, "--flush").stdout
    eventually("the event is there", lambda: "Attached" in {event["reason"] for event in _look(cli, name)["events"]})

    found = json.loads(call("version", "-o", "json").stdout)
    assert [agent["version"] for agent in found["agents"]] == [__version__] * len(found["agents"])
    assert "Agents" in call("status").stdout
    call("sysdump", "-w", str(tmp_path / "dump.tar.gz"))
    with tarfile.open(tmp_path / "dump.tar.gz") as archive:
        inside = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive.getmembers()}
        missing = inside["missing.txt"]
        assert missing is not None
        assert missing.read() == b""
    assert f"agents/{node1.name}.json" in inside
    assert [file for file in inside if file.startswith("logs/k8slan-node-agent")]
    kubectl.delete("pods", "--all")
    cli("delete", name)
