"""What runs, how it is, and all of it in a file, against a cluster that a test furnishes."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli import __version__
from k8slan_cli.cli import status
from k8slan_cli.diagnose.summary import Part, Versions
from k8slan_cli.origin import Origin
from tests.unit.cli.cluster import LANS, VTEPS, Workstation

SYSTEM = "/api/v1/namespaces/k8slan-system/pods"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/lans.lan.k8slan.io"


def part(kind: str, node: str, *, ready: bool = True) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{kind}-{node}",
            "namespace": "k8slan-system",
            "labels": {"app.kubernetes.io/name": kind, "app.kubernetes.io/part-of": "k8slan"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hidden-1", "a": "b"},
            "managedFields": [{"manager": "hidden-2"}],
        },
        "spec": {
            "nodeName": node,
            "containers": [
                {"name": "main", "image": f"k8slan:{__version__}", "env": [{"name": "X", "value": "hidden-3"}]}
            ],
        },
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"name": "main", "restartCount": 0}],
        },
    }


@pytest.fixture
def installed(k8slan: Workstation) -> Workstation:
    """k8slan is in the cluster, though its agents cannot be asked."""
    for item in (part("k8slan-controller", "w1"), part("k8slan-node-agent", "w1"), part("k8slan-node-agent", "w2")):
        k8slan.api.put(f"{SYSTEM}/{item['metadata']['name']}", item)
    k8slan.api.put("/apis/lan.k8slan.io/v1beta1", {"metadata": {}, "resources": [{"name": "lans"}]})
    k8slan.api.refuse[CRDS] = (403, "no")
    return k8slan


def test_versions_are_those_of_all_parts(installed: Workstation) -> None:
    shown = installed("version").stdout
    assert re.search(rf"^k8slan      {re.escape(__version__)} \(commit .+\)\nKubernetes  v1\.34\.0\n", shown)
    assert f"Controller  1 of 1 ready, k8slan:{__version__}\n" in shown
    assert f"Agents      2 of 2 ready, k8slan:{__version__}\n" in shown
    assert "Note: agents cannot be asked" in shown
    assert json.loads(installed("version", "-o", "json").stdout)["kubernetes"] == "v1.34.0"


def test_agents_of_another_version_are_told() -> None:
    agents = [Part(name=n, node=n, image="k8slan", version=v) for n, v in (("w1", "0.0.9"), ("w2", __version__))]
    shown = "\n".join(status.version_lines(Versions(agents=tuple(agents)), Origin(), None))
    assert f"2 of 2 ready, 0.0.9 (1), {__version__} (1)" in shown
    assert "k8slan install brings them to it" in shown


def test_a_cluster_is_on_one_screen(installed: Workstation) -> None:
    installed.pull("e1")
    shown = installed("status").stdout
    assert "LANs        1 of 1 ready, 1 link pulled out\n" in shown
    assert "Attached    3 on 2 nodes\n" in shown
    assert "- LAN lab/red: The link of pod lab/router-a" in shown
    found = json.loads(installed("status", "-o", "json").stdout)
    assert found["lans"] == {"total": 1, "ready": 1, "linksDown": 1}
    installed.api.put(f"{SYSTEM}/k8slan-node-agent-w2", part("k8slan-node-agent", "w2", ready=False))
    assert "- k8slan-node-agent-w2 on w2: is starting\n" in installed("status", status=1).stdout


def test_what_may_not_be_seen_is_not_counted_as_nothing(installed: Workstation) -> None:
    unseen = (VTEPS, "/apis/lan.k8slan.io/v1beta1/vteps", "/api/v1/pods")
    installed.api.refuse |= dict.fromkeys(unseen, (403, "no"))
    assert "Attached    at least 3 on 2 nodes\n" in installed("status").stdout
    installed.api.refuse["/api/v1/namespaces/lab/pods"] = (403, "no")
    shown = installed("status").stdout
    assert "LANs        1 of 1 ready\nAttached    cannot be seen\n" in shown
    assert json.loads(installed("status", "-o", "json").stdout)["attachments"]["hidden"] is True
    installed.api.refuse |= dict.fromkeys((LANS, "/apis/lan.k8slan.io/v1beta1/lans"), (403, "no"))
    assert "LANs        cannot be seen\nAttached    cannot be seen\n" in installed("status").stdout


def test_a_dump_has_all_that_is_to_be_had_and_no_secret(installed: Workstation, tmp_path: Path) -> None:
    installed.api.put(f"{SYSTEM}/k8slan-node-agent-w1/log", {"metadata": {}, "line": "a log"})
    installed.api.refuse["/api/v1/nodes"] = (403, "no")
    event = {"metadata": {"name": "e"}, "involvedObject": {"kind": "LAN", "name": "red", "namespace": "lab"}}
    other = {"metadata": {"name": "f"}, "involvedObject": {"kind": "Pod", "name": "x", "namespace": "lab"}}
    for item in (event, other):
        installed.api.put(f"/api/v1/namespaces/lab/events/{item['metadata']['name']}", item)
    path = tmp_path / "dump.tar.gz"
    done = installed("sysdump", "-w", str(path))
    assert "warning: not in it: nodes.json: no\n" in done.stderr
    with tarfile.open(path) as archive:
        found = {
            member.name.partition("/")[2]: file.read().decode()
            for member in archive.getmembers()
            if (file := archive.extractfile(member))
        }
    assert {"versions.json", "lans.json", "vteps.json", "events.json", "doctor.json", "missing.txt"} <= set(found)
    assert json.loads(found["lans.json"])[0]["metadata"]["name"] == "red"
    assert [item["metadata"]["name"] for item in json.loads(found["events.json"])] == ["e"]
    assert json.loads(found["doctor.json"]).keys() == {"ok", "checks"}
    assert json.loads(found["doctor.json"])["checks"][0]["check"] == "API server"
    assert "a log" in found["logs/k8slan-node-agent-w1.main.log"]
    assert "hidden" not in "".join(found.values())
    assert '"a": "b"' in found["k8slan-system/pods.json"]


def test_advice_is_one_line(installed: Workstation) -> None:
    installed.api.refuse[SYSTEM] = (403, 'pods is forbidden: User "u" cannot list resource "pods" in API group ""')
    checks = json.loads(installed("doctor", "-o", "json", status=1).stdout)["checks"]
    (advice,) = (check["advice"] for check in checks if check["check"] == "agents")
    assert "an administrator gives it with: kubectl -n k8slan-system create rolebinding" in advice


def test_a_dump_that_cannot_be_written_leaves_what_was_there(installed: Workstation, tmp_path: Path) -> None:
    assert "cannot write" in installed("sysdump", "-w", str(tmp_path / "none" / "x"), status=1).stderr
