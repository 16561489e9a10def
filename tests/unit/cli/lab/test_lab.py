"""Labs of files on a cluster that stands in: up, up again, another file, down, and what is said of bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cli.cluster import Workstation
from tests.unit.lab.reading import LABS
from tests.unit.render.api import Api, serve
from tests.unit.render.command import call

TWO = """\
name: two
topology:
  defaults: {kind: linux, image: i}
  nodes:
    r1: {binds: [motd:/etc/motd], ports: ['80:80']}
    r2: {kind: frr}
  links:
    - endpoints: ["r1:eth1", "r2:e1-1"]
"""
LANS, DEPLOYMENTS = "/apis/lan.k8slan.io/v1beta1/namespaces/lab/lans", "/apis/apps/v1/namespaces/lab/deployments"
PODS = "/api/v1/namespaces/lab/pods"


def act(api: Api) -> None:
    """Let LANs and Deployments become ready at once, as controllers would."""

    def on_apply(path: str, found: dict[str, Any]) -> None:
        generation = found["metadata"].get("generation", 1)
        if "/lans/" in path:
            condition = {"type": "Ready", "status": "True", "reason": "Ready", "observedGeneration": generation}
            status: dict[str, Any] = {"observedGeneration": generation, "conditions": [condition]}
        elif "/deployments/" in path:
            status = {"observedGeneration": generation, "updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}
        else:
            return
        if found.get("status") != status:
            api.update(path, status=status)

    api.on_apply = on_apply


@pytest.fixture
def k8slan(tmp_path: Path) -> Iterator[Workstation]:
    """The command in an empty cluster whose controllers are quick."""
    api = Api()
    act(api)
    with serve(api, tmp_path / "kubeconfig"):
        yield Workstation(api, tmp_path / "kubeconfig")


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    """A file of a lab of two nodes."""
    (tmp_path / "motd").write_text("hello\n")
    path = tmp_path / "two.clab.yml"
    path.write_text(TWO)
    return path


def kinds(api: Api) -> dict[str, int]:
    """How many objects of each kind there are."""
    found = [document["kind"] for document in api.objects.values()]
    return {kind: found.count(kind) for kind in found}


# ---------------------------------------------------------------- render


def test_a_lab_is_rendered_without_a_cluster(topology: Path) -> None:
    found = list(yaml.safe_load_all(call("lab", "render", str(topology)).stdout))
    assert [each["kind"] for each in found] == ["LAN", "ConfigMap", "ConfigMap", "Service", "Deployment", "Deployment"]
    assert all("namespace" not in each["metadata"] for each in found)
    named = yaml.safe_load_all(call("lab", "render", str(topology), "-n", "x").stdout)
    assert {each["metadata"]["namespace"] for each in named} == {"x"}


def test_a_folder_with_one_topology_is_that(topology: Path) -> None:
    assert call("lab", "render", str(topology.parent)).stdout == call("lab", "render", str(topology)).stdout
    topology.with_name("other.clab.yaml").write_text(TWO)
    assert "has 2 files that end in .clab.yml" in call("lab", "render", str(topology.parent), status=2).stderr


def test_standard_input_is_a_topology() -> None:
    text = "name: x\ntopology: {nodes: {a: {kind: linux, image: i}}}\n"
    assert "name: x-a" in call("lab", "render", "-", stdin=text).stdout


def test_what_is_not_used_is_a_warning_with_the_files_name(topology: Path) -> None:
    topology.write_text(TWO.replace("kind: frr", "kind: frr, license: x"))
    assert "two.clab.yml: topology.nodes.r2.license (6:21): is not used" in call("lab", "render", str(topology)).stderr


@pytest.mark.parametrize("name", [path.name for path in LABS.glob("*.clab.yml")])
def test_public_labs_are_rendered(name: str) -> None:
    assert call("lab", "render", str(LABS / name), "--uplink-node", "w").stdout.startswith("apiVersion:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "is not valid:\n  is not YAML: line"),
        (TWO.replace("r2:e1-1", "r3:e1-1"), "topology.links[0].endpoints[1] (8:30): there is no node 'r3'"),
        (TWO.replace("motd:", "absent:"), "binds[0] (5:18): absent cannot be read: No such file or directory"),
        (TWO.replace("motd:", "/dev/zero:"), "/dev/zero is neither a file nor a folder"),
        (TWO.replace("motd:", "'\\0:"), "is not YAML"),
        (
            TWO.replace("r2:e1-1", "macvlan:eth7"),
            "topology.links[0] (8:7): macvlan:eth7: say on which node of the cluster",
        ),
        (TWO.replace("r2:e1-1", "host:ve1"), "two.clab.yml is not valid:\n  topology.links[0] (8:7): host:ve1: say on"),
    ],
)
def test_bad_files_are_refused(topology: Path, text: str, words: str) -> None:
    topology.write_text(text)
    assert words in call("lab", "render", str(topology), status=1).stderr


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert "No such file or directory" in call("lab", "render", str(tmp_path / "absent"), status=1).stderr
    (tmp_path / "latin.clab.yml").write_bytes(b"name: \xff\n")
    assert "cannot be read" in call("lab", "render", str(tmp_path / "latin.clab.yml"), status=1).stderr
    assert "the namespace" in call("lab", "render", "-", "-n", "No", stdin=TWO, status=2).stderr


# ---------------------------------------------------------------- up


def test_a_lab_comes_up(k8slan: Workstation, topology: Path) -> None:
    done = k8slan("lab", "up", str(topology))
    assert "Lab two in namespace lab: 6 created, 0 changed, 0 unchanged, 0 removed" in done.stdout
    assert "Lab two is ready" in done.stdout
    assert kinds(k8slan.api) == {"LAN": 1, "ConfigMap": 2, "Service": 1, "Deployment": 2}


def test_up_again_changes_nothing(k8slan: Workstation, topology: Path) -> None:
    k8slan("lab", "up", str(topology))
    before = json.dumps(k8slan.api.objects, sort_keys=True)
    assert "0 created, 0 changed, 6 unchanged, 0 removed" in k8slan("lab", "up", str(topology)).stdout
    assert json.dumps(k8slan.api.objects, sort_keys=True) == before


def test_up_again_changes_what_changed(k8slan: Workstation, topology: Path) -> None:
    k8slan("lab", "up", str(topology))
    topology.with_name("motd").write_text("other\n")
    done = k8slan("lab", "up", str(topology))
    assert "ConfigMap lab/two-r1 is changed" in done.stdout


def test_what_a_file_has_no_longer_is_removed(k8slan: Workstation, topology: Path) -> None:
    k8slan("lab", "up", str(topology))
    topology.write_text(TWO[: TWO.index("    r2:")])
    done = k8slan("lab", "up", str(topology))
    assert "Deployment lab/two-r2 is removed" in done.stdout
    assert "LAN lab/two-r1-eth1-r2-e1-1 is removed" in done.stdout
    assert kinds(k8slan.api) == {"ConfigMap": 1, "Service": 1, "Deployment": 1}


def test_a_dry_run_changes_nothing(k8slan: Workstation, topology: Path) -> None:
    assert (
        "6 created, 0 changed, 0 unchanged, 0 removed (server dry run)"
        in k8slan("lab", "up", str(topology), "--dry-run").stdout
    )
    done = k8slan("lab", "up", str(topology), "--dry-run=client", status=2)
    assert "to see what would be sent: k8slan lab render" in done.stderr
    assert not k8slan.api.objects
    k8slan("lab", "up", str(topology))
    there = dict(k8slan.api.objects)
    for who, words in (("client", "dry run"), ("server", "server dry run")):
        assert (
            f"LAN lab/two-r1-eth1-r2-e1-1 would be removed ({words})\n"
            in k8slan("lab", "down", "two", f"--dry-run={who}").stdout
        )
    assert k8slan.api.objects == there


def test_a_lab_is_drawn_by_its_devices(k8slan: Workstation, topology: Path) -> None:
    assert "there is no lab" in k8slan("lab", "graph", "two", status=6).stderr
    k8slan("lab", "up", str(topology))
    drawn = json.loads(k8slan("lab", "graph", str(topology), "-o", "json").stdout)
    assert [lan["name"] for lan in drawn["lans"]] == ["two-r1-eth1-r2-e1-1"]
    assert "<title>" in k8slan("lab", "graph", "two", "-o", "html").stdout


def test_pods_ask_for_nads_as_the_installation_names_them(k8slan: Workstation, topology: Path) -> None:
    quick = k8slan.api.on_apply

    def long_names(path: str, found: dict[str, Any]) -> None:
        quick(path, found)
        if "/lans/" in path:
            k8slan.api.update(path, status={**k8slan.api.objects[path]["status"], "names": "long"})

    k8slan.api.on_apply = long_names
    k8slan("lab", "up", str(topology))
    template = k8slan.api.objects[f"{DEPLOYMENTS}/two-r1"]["spec"]["template"]
    assert "k8slan-veth-two-r1-eth1-r2-e1-1-" in json.dumps(template["metadata"]["annotations"])


def test_what_is_somebody_elses_is_not_taken(k8slan: Workstation, topology: Path) -> None:
    other = {"kind": "Deployment", "metadata": {"name": "two-r1", "namespace": "lab"}, "spec": {}}
    k8slan.api.put(f"{DEPLOYMENTS}/two-r1", other)
    done = k8slan("lab", "up", str(topology), status=5)
    assert "not of lab two, but there already: Deployment lab/two-r1" in done.stderr
    assert len(k8slan.api.objects) == 1


def test_what_is_not_ready_in_time_is_said_with_its_reason(k8slan: Workstation, topology: Path) -> None:
    quick = k8slan.api.on_apply
    k8slan.api.on_apply = lambda path, found: None if path.endswith("/two-r1") else quick(path, found)
    waiting = {"name": "node", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    stuck = pod("two-r1-x", "two", "r1") | {"status": {"containerStatuses": [waiting]}}
    k8slan.api.put(f"{PODS}/two-r1-x", stuck)
    done = k8slan("lab", "up", str(topology), "--timeout", "0.5", status=4)
    assert "r1: node: ImagePullBackOff: no such image" in done.stderr
    assert k8slan("lab", "up", str(topology), "--no-wait").status == 0


def test_a_right_that_is_missing_is_said(k8slan: Workstation, topology: Path) -> None:
    message = 'lans.lan.k8slan.io is forbidden: User "u" cannot list resource "lans" in API group "lan.k8slan.io"'
    k8slan.api.refuse[LANS] = (403, message)
    assert "user u cannot list lans" in k8slan("lab", "up", str(topology), status=3).stderr


def test_what_has_to_be_there_first_is_said(k8slan: Workstation, topology: Path) -> None:
    k8slan.api.refuse[f"{LANS}/two-r1-eth1-r2-e1-1"] = (404, 'namespaces "lab" not found')
    assert "kubectl create namespace lab" in k8slan("lab", "up", str(topology), status=6).stderr
    k8slan.api.refuse[LANS] = (404, "the server could not find the requested resource")
    assert "k8slan is not installed" in k8slan("lab", "up", str(topology), status=3).stderr


# ---------------------------------------------------------------- down, inspect


@pytest.mark.parametrize("by", ["name", "file"])
def test_down_leaves_nothing(k8slan: Workstation, topology: Path, by: str) -> None:
    k8slan("lab", "up", str(topology))
    done = k8slan("lab", "down", "two" if by == "name" else str(topology))
    assert "Lab two in namespace lab: 6 objects removed" in done.stdout
    assert not k8slan.api.objects


def test_down_leaves_other_labs(k8slan: Workstation, topology: Path) -> None:
    k8slan("lab", "up", str(topology))
    topology.write_text(TWO.replace("name: two", "name: other"))
    k8slan("lab", "up", str(topology))
    k8slan("lab", "down", "two")
    assert kinds(k8slan.api) == {"LAN": 1, "ConfigMap": 2, "Service": 1, "Deployment": 2}


def test_a_lab_that_is_not_up(k8slan: Workstation, topology: Path) -> None:
    assert "to bring one up: k8slan lab up" in k8slan("lab", "down", "two", status=6).stderr
    assert k8slan("lab", "down", "two", "--ignore-not-found").status == 0
    k8slan("lab", "up", str(topology))
    assert "did you mean two?" in k8slan("lab", "inspect", "tow", status=6).stderr


def test_what_stays_after_down_is_said(k8slan: Workstation, topology: Path) -> None:
    k8slan("lab", "up", str(topology))
    [lan] = [path for path in k8slan.api.objects if "/lans/" in path]
    metadata = {**k8slan.api.objects[lan]["metadata"], "finalizers": ["x"]}
    k8slan.api.update(lan, metadata=metadata)
    done = k8slan("lab", "down", "two", "--timeout", "0.5", status=4)
    assert "still there after 0.5 s: LAN lab/two-r1-eth1-r2-e1-1" in done.stderr


def test_a_lab_is_shown_as_its_file_has_it(k8slan: Workstation, topology: Path) -> None:
    k8slan("lab", "up", str(topology))
    shown = k8slan("lab", "inspect", "two").stdout
    assert re.search(r"^r2 +frr +Ready", shown, re.MULTILINE)
    assert re.search(r"^r1:eth1 r2:e1-1 +Ready +two-r1-eth1-r2-e1-1$", shown, re.MULTILINE)
    found = json.loads(k8slan("lab", "inspect", "two", "-o", "json").stdout)
    assert [node["name"] for node in found["nodes"]] == ["r1", "r2"]
    assert found["links"][0]["ends"] == ["r1:eth1", "r2:e1-1"]
    assert found["links"][0]["wanted"] == {}
    [lan] = [path for path in k8slan.api.objects if "/lans/" in path]
    spec = k8slan.api.objects[lan]["spec"]
    k8slan.api.update(lan, spec={**spec, "links": {spec["spokes"][1]: {"state": "down", "rate": "1Mbit"}}})
    shown = k8slan("lab", "inspect", "two").stdout
    assert re.search(r"^r1:eth1 r2:e1-1 +Ready +r2:e1-1 down; rate 1Mbit +two-r1", shown, re.MULTILINE)


def test_labs_are_listed(k8slan: Workstation, topology: Path) -> None:
    assert "There is no lab in namespace lab" in k8slan("lab", "inspect").stderr
    k8slan("lab", "up", str(topology))
    assert re.search(r"^two +2 +1$", k8slan("lab", "inspect").stdout, re.MULTILINE)
    assert json.loads(k8slan("lab", "ls", "-o", "json").stdout) == {"labs": [{"name": "two", "nodes": 2, "links": 1}]}


# ---------------------------------------------------------------- exec, save


def pod(name: str, lab: str, node: str) -> dict[str, Any]:
    """A running pod of a lab's node."""
    labels = {"lab.k8slan.io/name": lab, "lab.k8slan.io/node": node}
    metadata = {"name": name, "namespace": "lab", "labels": labels}
    return {"kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}}


def run(k8slan: Workstation, *words: str, status: int) -> str:
    """Call ``lab exec``, and return what it says on stderr."""
    place = ("-n", "lab", "--kubeconfig", str(k8slan.kubeconfig))
    return call("lab", "exec", *place, *words, status=status).stderr


def test_a_node_that_is_not_there_is_said_with_those_that_are(k8slan: Workstation) -> None:
    k8slan.api.put(f"{PODS}/p", pod("p", "l", "r1"))
    assert "there is r1" in run(k8slan, "router", "--", "true", status=6)
    assert "there is no command to run" in run(k8slan, "r1", status=2)
    k8slan.api.put(f"{PODS}/q", pod("q", "m", "r1"))
    assert "several labs have a node r1" in run(k8slan, "r1", "--", "true", status=2)


def test_a_vm_is_left_to_virtctl(k8slan: Workstation) -> None:
    launcher = pod("p", "l", "v")
    launcher["metadata"]["annotations"] = {"kubevirt.io/domain": "l-v"}
    k8slan.api.put(f"{PODS}/p", launcher)
    assert "virtctl console l-v" in run(k8slan, "v", "--", "true", status=2)


def test_a_terminal_is_left_to_kubectl(k8slan: Workstation, monkeypatch: pytest.MonkeyPatch) -> None:
    k8slan.api.put(f"{PODS}/p", pod("p", "l", "r1"))
    monkeypatch.setenv("PATH", "/nowhere")
    said = run(k8slan, "r1", "-t", "--", "sh", "-l", status=2)
    assert f"kubectl --kubeconfig={k8slan.kubeconfig} --namespace=lab exec -it p -c node -- sh -l" in said


def test_kinds_without_a_known_place_are_named_by_save(k8slan: Workstation, topology: Path) -> None:
    topology.write_text(TWO.replace("kind: frr", "kind: linux"))
    k8slan("lab", "up", str(topology))
    assert "r1: nothing to save" in k8slan("lab", "save", str(topology)).stdout


def test_the_ending_says_that_a_topology_is_knes(tmp_path: Path) -> None:
    path = tmp_path / "one.pb.txt"
    path.write_text('name: "one" nodes: { name: "h" vendor: HOST }')
    assert "image: docker.io/library/alpine:latest" in call("lab", "render", str(path)).stdout


def test_a_lab_goes_down_by_a_file_that_is_broken_by_now(k8slan: Workstation, topology: Path) -> None:
    k8slan("lab", "up", str(topology))
    topology.write_text(TWO.replace("kind: frr", "kin: frr").replace("motd:", "absent:"))
    k8slan("lab", "down", str(topology))
    assert not k8slan.api.objects


def test_a_folder_of_the_labs_name_does_not_hide_the_lab(
    k8slan: Workstation, topology: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(topology.parent)
    (topology.parent / "two").mkdir()
    k8slan("lab", "up")
    assert "r1:eth1 r2:e1-1" in k8slan("lab", "inspect", "two").stdout


@pytest.mark.parametrize("text", ["topology: {}\n", "[]\n", "name: []\n"])
def test_a_file_without_a_name_is_refused_by_down(k8slan: Workstation, topology: Path, text: str) -> None:
    topology.write_text(text)
    assert "name" in k8slan("lab", "down", str(topology), status=1).stderr
