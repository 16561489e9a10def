"""What commands say of who is on LANs, from what an API server answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from k8slan_cli.cli import completion
from k8slan_cli.cli.exits import Exit
from k8slan_cli.diagnose import cluster as checks
from k8slan_cli.kube.apply import connect
from tests.support import scene
from tests.support.scene import Object
from tests.unit.render.api import Api, serve
from tests.unit.render.command import Done, call

LANS, VTEPS = (f"/apis/lan.k8slan.io/v1beta1/namespaces/lab/{kind}" for kind in ("lans", "vteps"))
PODS, EVENTS = "/api/v1/namespaces/lab/pods", "/api/v1/namespaces/lab/events"
CNI = "spoke e1 is in use by pod lab/router-a on node worker1; a spoke takes one pod at a time"


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    return tmp_path / "kubeconfig"


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[Api]:
    """A cluster with the LAN ``red``, pods on it, and some that only seem to be."""
    found = Api()
    debug = scene.pod("router-a-debug", "k8slan-veth-e1", node="worker2", phase="Pending")
    host = scene.pod("host", "k8slan-veth-e2", hostNetwork=True)
    job = scene.pod("job", "k8slan-veth-e1", phase="Succeeded")
    own = scene.pod("own", "my-nad")
    ports = [scene.port("own", "e9", "02:a1:00:00:00:09")]
    vteps = [*scene.VTEPS, scene.vtep("worker3", *ports, address="192.0.2.3")]
    put(found, PODS, *scene.PODS, debug, host, job, own)
    put(found, VTEPS, *vteps)
    put(found, LANS, scene.RED)
    for number, said in (("1", "an older word"), ("2", CNI)):
        event = {
            "metadata": {"name": f"debug.{number}"},
            "involvedObject": {"kind": "Pod", "uid": "uid-router-a-debug"},
            "reason": "FailedCreatePodSandBox",
            "lastTimestamp": f"2026-11-24T11:0{number}:00Z",
            "message": f'rpc error: [lab/x]: error adding container to network "k8slan-veth-e1": {said}',
        }
        put(found, EVENTS, event)
    with serve(found, kubeconfig):
        yield found


def put(api: Api, place: str, *documents: Object) -> None:
    for document in documents:
        api.put(f"{place}/{document['metadata']['name']}", json.loads(json.dumps(document)))


def run(kubeconfig: Path, *words: str, status: int = 0) -> Done:
    return call("lan", *words, "-n", "lab", "--kubeconfig", str(kubeconfig), status=status)


ON = """\
Attached
  WHO               NODE     SPOKE  KIND     INTERFACE  MAC                ADDRESSES    MTU @STATE
  pod lab/router-a  worker1  e1     veth     net1       02:a1:00:00:00:01  10.9.0.1/24  1446@attached
  pod lab/router-b  worker2  e2     veth     lan0       02:a1:00:00:00:02  -            1446@attached
  pod lab/own       worker3  e9     veth     net1       02:a1:00:00:00:09  -            1446@removed spoke, still in use
  VM lab/firewall   worker2  vm1    macvtap  net1       02:a1:00:00:00:03  -            1446@attached

Waiting
  WHO                     NODE     SPOKE  KIND  INTERFACE  REASON
  pod lab/router-a-debug  worker2  e1     veth  net1       @
"""


def test_inspect_tells_who_is_on_a_lan_and_why_others_are_not(api: Api, kubeconfig: Path) -> None:  # noqa: ARG001
    done = run(kubeconfig, "inspect", "red")
    lines = done.stdout[done.stdout.index("Attached") :].partition("\n\nEvents")[0] + "\n"
    attached = json.loads(run(kubeconfig, "inspect", "red", "-o", "json").stdout)["attached"]
    assert {each["since"] for each in attached} == {"2026-11-24T10:30:00Z"}
    for shown, wanted in zip(lines.splitlines(), ON.splitlines(), strict=True):
        head, _, tail = wanted.partition("@")
        assert shown.startswith(head.rstrip())
        assert shown.endswith(tail.strip())
    assert lines.endswith(f"  {CNI}\n"), "the newest event"


def test_delete_names_those_who_hold_the_lan_and_nobody_else(api: Api, kubeconfig: Path) -> None:
    done = run(kubeconfig, "delete", "red", "--dry-run")
    names = "pod lab/router-a, pod lab/router-b, pod lab/own, VM lab/firewall"
    assert done.stdout == f"LAN lab/red would be deleted; it stays until these have left: {names}\n"
    put(api, VTEPS, *(scene.vtep(node, scene.port("gone", "e1"), lost=True) for node in ("worker1", "worker2")))
    put(api, VTEPS, scene.vtep("worker3"))
    assert run(kubeconfig, "delete", "red", "--dry-run").stdout == "LAN lab/red would be deleted\n"


def test_a_spoke_with_a_port_is_not_removed_and_one_that_a_pod_only_asks_for_may_go(api: Api, kubeconfig: Path) -> None:
    remove = ("remove-spoke", "red", "e2", "--dry-run")
    assert "spoke e2 is held by pod lab/router-b" in run(kubeconfig, *remove, status=Exit.IN_USE).stderr
    put(api, VTEPS, scene.vtep("worker2"))
    put(api, PODS, scene.pod("waits", "k8slan-veth-e2", phase="Pending"))
    assert "LAN lab/red: spoke e2 would be removed" in run(kubeconfig, *remove).stdout


def test_a_list_asks_for_lans_alone(api: Api, kubeconfig: Path) -> None:
    for place in (VTEPS, PODS, "/api/v1/pods"):
        api.refuse[place] = (500, "too much")
    assert run(kubeconfig, "list").stdout.splitlines()[1].split()[:5] == ["red", "10000", "3", "3", "2"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "VTEPs cannot be seen: you may not; who is attached is taken from the annotations of pods"),
        (404, "this cluster's k8slan is older and has no VTEPs (see k8slan install): who is attached is taken from"),
    ],
)
@pytest.mark.parametrize("command", [("inspect", "red"), ("graph", "red"), ("delete", "red", "--dry-run")])
def test_without_vteps_annotations_are_read_and_that_is_said_once(
    api: Api, kubeconfig: Path, status: int, words: str, command: tuple[str, ...]
) -> None:
    api.refuse[VTEPS] = (status, "you may not")
    done = run(kubeconfig, *command)
    assert (done.stdout + done.stderr).count(words) == 1
    assert "router-a" in done.stdout
    assert "lab/own" not in done.stdout


def test_doctor_tells_what_is_wrong_with_who_is_on_lans(api: Api, kubeconfig: Path) -> None:
    put(api, VTEPS, scene.vtep("worker1", scene.port("router-a", "e1"), lost=True))
    _, _, found = checks.lans(connect(str(kubeconfig)), "lab")
    assert [check.words for check in found if check.what == "attachments"] == [
        "LAN lab/red: Spoke e9 was taken out of the LAN, and pod lab/own on node worker3 (net1) still uses it: "
        "delete the pod when it may go, or put it into the LAN again",
        "LAN lab/red: Node worker1 has not been ready for a minute: its ports hold no spoke and no deletion",
        f"LAN lab/red: pod lab/router-a-debug on node worker2 (net1) is not attached yet: {CNI}",
    ]


def test_spokes_without_resources_are_told_though_the_lan_is_ready(api: Api, kubeconfig: Path) -> None:
    put(api, VTEPS, scene.vtep("worker3"))
    api.delete(f"{PODS}/router-a-debug")
    put(api, LANS, scene.RED | {"status": scene.RED["status"] | {"withoutResources": ["vm1"]}})
    words = "Nodes offer no more resources, so no VM can be on spokes vm1: see --max-resources of k8slan install"
    _, _, found = checks.lans(connect(str(kubeconfig)), "lab")
    assert [check.words for check in found if check.what == "attachments"] == [f"LAN lab/red: {words}"]
    assert json.loads(run(kubeconfig, "inspect", "red", "-o", "json").stdout)["why"] == [words]


def test_doctor_is_silent_about_lans_in_order(api: Api, kubeconfig: Path) -> None:
    put(api, VTEPS, scene.vtep("worker3"))
    api.delete(f"{PODS}/router-a-debug")
    assert [check.words for check in checks.lans(connect(str(kubeconfig)), "lab")[2]] == ["1 LAN is ready"]


def test_what_the_controller_says_is_not_said_again(api: Api, kubeconfig: Path) -> None:
    put(api, VTEPS, *scene.TWICE)
    lan = json.loads(json.dumps(scene.RED))
    words = "worker9: eth1 is down; spoke e1 is held by pod lab/d2 on node worker2 (eth1), so there is no link for …"
    lan["status"]["conditions"] = [scene.condition("Ready", False, "SpokeShared", words)]
    put(api, LANS, lan)
    _, _, found = checks.lans(connect(str(kubeconfig)), "lab")
    assert sum("spoke e1 is held" in check.words for check in found) == 1


@dataclass
class Line:
    """A command line as far as it is typed."""

    params: dict[str, str]


def test_completion_offers_pods_and_vms_that_are_on_a_lan(api: Api, kubeconfig: Path) -> None:
    line = Line({"kubeconfig": str(kubeconfig), "namespace": "lab"})
    found = completion.pods(line, "")  # type: ignore[arg-type]
    assert found == [("firewall", "red vm1"), ("own", "red e9"), ("router-a", "red e1"), ("router-b", "red e2")]
    assert completion.pods(line, "fire") == [("firewall", "red vm1")]  # type: ignore[arg-type]
    api.refuse[VTEPS] = (403, "you may not")
    assert completion.pods(line, "") == []  # type: ignore[arg-type]
