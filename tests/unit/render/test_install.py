"""``k8slan install`` and ``uninstall`` against an API server's manners: order, words, exit status."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.cli.install import difference
from k8slan_cli.kube import apply, kinds
from k8slan_cli.render import manifests
from k8slan_cli.render.settings import Settings
from tests.unit.render.api import Api, Object, serve
from tests.unit.render.command import Done, call

NAMESPACE = "/api/v1/namespaces/k8slan-system"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
WORKLOADS = "/apis/apps/v1/namespaces/k8slan-system"
AGENT, CONTROLLER = f"{WORKLOADS}/daemonsets/k8slan-node-agent", f"{WORKLOADS}/deployments/k8slan-controller"
POD = f"{NAMESPACE}/pods/agent-1"
LAN = "/apis/lan.k8slan.io/v1beta1/namespaces/lab/lans/one"
VTEP = "/apis/lan.k8slan.io/v1beta1/namespaces/lab/vteps/one-worker1"
PATHS = [kinds.ref(found).path for found in manifests.documents(manifests.render_all(Settings()))]


def lively(api: Api, path: str, _: Object) -> None:
    """A cluster that takes CRDs and starts what it is given, on two nodes, soon after it has answered."""
    if path.startswith(CRDS):
        _soon(api, path, {"conditions": None}, {"conditions": [{"type": "Established", "status": "True"}]})
    elif path == AGENT:
        _soon(api, path, _agents(1), _agents(2))
    elif path == CONTROLLER:
        _soon(api, path, {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1})


def _agents(ready: int, wanted: int = 2) -> Object:
    counts = {"desiredNumberScheduled": wanted, "updatedNumberScheduled": wanted, "numberAvailable": ready}
    return {"observedGeneration": 1, **counts}


def _soon(api: Api, path: str, *statuses: Object) -> None:
    """Change an object's status, once and again, while the one who applied it goes on."""

    def change() -> None:
        for status in statuses:
            api.update(path, status=status)

    threading.Thread(target=change).start()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = Api()
    api.on_apply = lambda path, found: lively(api, path, found)
    with serve(api, tmp_path / "kubeconfig"):
        yield api


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def run(command: str, *arguments: str, status: int = 0, kubeconfig: str = str(tmp_path / "kubeconfig")) -> Done:
        return call(command, f"--kubeconfig={kubeconfig}", "--timeout=20", *arguments, status=status)

    return run


# ---------------------------------------------------------------- install


def test_everything_is_applied_in_order_and_waited_for(api: Api, run: Any) -> None:
    done = run("install")
    assert api.writes == [f"PATCH {path}" for path in PATHS]
    assert done.stderr.count(" created\n") == len(PATHS)
    assert "ready: k8slan-controller 1/1, k8slan-node-agent 2/2" in done.stderr
    assert done.stderr.endswith("k8slan is ready\n")


def test_a_second_time_nothing_changes(api: Api, run: Any) -> None:
    run("install")
    before = len(api.events)
    done = run("install")
    assert len(api.events) == before
    assert done.stderr.count(" unchanged\n") == len(PATHS)


def test_a_changed_setting_is_said(api: Api, run: Any) -> None:
    run("install")
    done = run("install", "--replicas=2", "--no-wait")
    assert [line for line in done.stderr.splitlines() if not line.endswith("unchanged")] == [
        f"warning: no node can pull {Settings().image}: push an image to a registry, and name it by --image",
        "  Deployment k8slan-system/k8slan-controller changed",
    ]
    assert api.objects[CONTROLLER]["spec"]["replicas"] == 2


def test_a_dry_run_changes_nothing(api: Api, run: Any) -> None:
    done = run("install", "--dry-run")
    assert (api.writes, api.objects) == ([], {})
    assert done.stderr.count(" would be created\n") == len(PATHS)
    run("install")
    assert "would be" not in run("install", "--dry-run").stderr


def test_a_dry_run_of_the_client_asks_for_nothing(api: Api, run: Any) -> None:
    assert run("install", "--dry-run=client").stderr.count(" would be created\n") == len(PATHS)
    run("install")
    done = run("install", "--dry-run=client", "--replicas=2")
    assert done.stderr.count(" would be applied over what is there\n") == len(PATHS)
    assert done.stderr.endswith("nothing was changed (dry run)\n")
    assert api.tries == []


@pytest.mark.usefixtures("api")
def test_a_dry_run_shows_what_would_be_other(run: Any) -> None:
    run("install", "--no-wait")
    assert run("install", "--dry-run").stdout == ""
    shown = run("install", "--dry-run", "--agent-metrics-port", "9999").stdout
    assert "--- DaemonSet k8slan-system/k8slan-node-agent\n" in shown
    assert any(line.startswith("+") and "9999" in line for line in shown.splitlines())
    assert any(line.startswith("-") and "9402" in line for line in shown.splitlines())
    both = ({"data": {"k": value}, "status": {"at": value}} for value in ("one", "two"))
    assert not list(difference(*both, "Secret k8slan-system/x"))


def test_all_that_is_missing_is_said_before_anything_is_changed(api: Api, run: Any) -> None:
    api.serves.clear()
    api.minor = "29+"
    api.denied = {("patch", "daemonsets"), ("create", "clusterroles"), ("patch", "clusterroles"), ("watch", "pods")}
    done = run("install", "--service-monitor", status=3)
    assert [line for line in done.stderr.splitlines() if line.startswith("  - ")] == [
        "  - Kubernetes 1.30 or newer; this is v1.29+.0",
        "  - multus: the cluster does not know NetworkAttachmentDefinition (k8s.cni.cncf.io/v1)",
        "  - the Prometheus operator, for --service-monitor",
        "  - the right to create, patch clusterroles.rbac.authorization.k8s.io",
        "  - the right to patch daemonsets.apps in namespace k8slan-system",
        "  - the right to watch pods in namespace k8slan-system",
    ]
    assert api.writes == []


def test_checks_may_be_left_out(api: Api, run: Any) -> None:
    api.serves.clear()
    run("install", "--no-checks")
    assert api.writes == [f"PATCH {path}" for path in PATHS]


def test_a_wrong_setting_is_said_before_the_cluster_is_asked(run: Any) -> None:
    done = run("install", "--namespace=A", status=1, kubeconfig="/none")
    assert "--namespace: 'A' is not a DNS label" in done.stderr


def test_no_kubeconfig(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "there is no kubeconfig at /none" in run("install", status=3, kubeconfig="/none").stderr
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "other"))
    assert f"there is no kubeconfig at {tmp_path / 'other'}" in call("install", status=3).stderr


@pytest.mark.parametrize("text", ["", "[", "a: b", "\0"])
def test_a_kubeconfig_that_is_none(text: str, run: Any, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text(text)
    assert "no usable kubeconfig" in run("install", status=3, kubeconfig=str(tmp_path / "broken")).stderr


@pytest.mark.usefixtures("api")
def test_an_unknown_context(run: Any) -> None:
    assert "has no context 'there'" in run("install", "--context=there", status=3).stderr
    run("install", "--context=here")


def test_a_cluster_that_does_not_answer(run: Any, tmp_path: Path) -> None:
    with serve(Api(), tmp_path / "kubeconfig"):
        pass
    done = run("install", status=3)
    assert "no answer from the API server at http://127.0.0.1" in done.stderr
    assert "Connection refused" in done.stderr


def test_a_user_whom_the_cluster_does_not_know(api: Api, run: Any) -> None:
    api.user_known = False
    assert "does not know this user" in run("install", "--no-checks", status=3).stderr


def test_what_the_cluster_refuses_is_said_in_its_words(api: Api, run: Any) -> None:
    api.refuse[AGENT] = (403, "privileged containers are not allowed")
    done = run("install", status=1)
    assert "privileged containers are not allowed" in done.stderr
    assert "k8slan is ready" not in done.stderr


def test_what_is_not_ready_in_time_is_said_with_what_it_waits_for(api: Api, run: Any) -> None:
    def stuck(path: str, found: Object) -> None:
        lively(api, path, found) if path != AGENT else _soon(api, path, _agents(1))
        if path == AGENT:
            state = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
            pod = {
                "metadata": {"name": "agent-1", "namespace": "k8slan-system", "labels": found["metadata"]["labels"]},
                "spec": {"nodeName": "worker2"},
                "status": {"initContainerStatuses": [{"name": "install-cni", "state": state}]},
            }
            threading.Thread(target=api.put, args=(POD, pod)).start()

    api.on_apply = stuck
    done = run("install", "--timeout=3", status=4)
    assert "agent-1 on worker2: install-cni: ImagePullBackOff: Back-off pulling image" in done.stderr
    assert "k8slan-node-agent 1/2" in done.stderr
    assert "not everything is ready in time" in done.stderr


def test_a_cluster_without_a_node_for_an_agent(api: Api, run: Any) -> None:
    api.on_apply = lambda path, found: (
        _soon(api, path, _agents(0, wanted=0)) if path == AGENT else lively(api, path, found)
    )
    done = run("install", "--node-selector=role=lan", status=1)
    assert "no node matches the node selector role=lan" in done.stderr


def test_a_crd_that_clashes_with_another(api: Api, run: Any) -> None:
    clash = {"conditions": [{"type": "NamesAccepted", "status": "False", "message": "lan is taken"}]}
    api.on_apply = lambda path, _: _soon(api, path, clash)
    assert "lan is taken" in run("install", status=1).stderr


def test_watches_that_break_or_are_too_old_are_taken_up_again(api: Api, run: Any) -> None:
    def late(path: str, found: Object) -> None:
        if path != AGENT:
            lively(api, path, found)
            return
        api.break_watches, api.expire_watches = 2, 2
        threading.Thread(target=ready_when_all_were_broken).start()

    def ready_when_all_were_broken() -> None:
        with api.changed:
            assert api.changed.wait_for(lambda: not api.break_watches and not api.expire_watches, 15)
            api.update(AGENT, status=_agents(2))

    api.on_apply = late
    assert run("install").stderr.endswith("k8slan is ready\n")


def test_a_namespace_that_is_still_going_is_waited_for(api: Api, run: Any) -> None:
    old = {"metadata": {"name": "k8slan-system", "finalizers": ["kubernetes"], "deletionTimestamp": "now"}}
    api.put(NAMESPACE, old)

    def finish() -> None:
        with api.changed:
            api.changed.wait_for(lambda: api.watched(NAMESPACE), 10)
            api.put(NAMESPACE, {"metadata": {**old["metadata"], "finalizers": []}})

    thread = threading.Thread(target=finish)
    thread.start()
    done = run("install")
    thread.join()
    assert "still being deleted: waiting" in done.stderr
    assert done.stderr.endswith("k8slan is ready\n")


# ---------------------------------------------------------------- KubeVirt

KUBEVIRT = "/apis/kubevirt.io/v1/namespaces/virt/kubevirts/kv"


def has_kubevirt(api: Api, binding: Object | None = None, manager: str = "admin") -> None:
    """Let there be a KubeVirt, with something registered by somebody."""
    bindings = {} if binding is None else {"macvtap": binding}
    metadata = {"name": "kv", "namespace": "virt", "managedFields": [{"manager": manager}]}
    spec = {"configuration": {"network": {"binding": bindings}}}
    api.put(KUBEVIRT, {"apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": metadata, "spec": spec})


def test_the_binding_is_registered_last_and_only_if_it_is_asked_for(api: Api, run: Any) -> None:
    has_kubevirt(api)
    run("install", "--no-wait")
    assert f"PATCH {KUBEVIRT}" not in api.writes
    assert "KubeVirt virt/kv would be changed" in run("install", "--kubevirt", "--dry-run").stderr
    assert f"PATCH {KUBEVIRT}" not in api.writes
    assert "KubeVirt virt/kv changed" in run("install", "--kubevirt", "--no-wait").stderr
    assert api.writes[-1] == f"PATCH {KUBEVIRT}"
    binding = api.objects[KUBEVIRT]["spec"]["configuration"]["network"]["binding"]
    assert binding == {"macvtap": {"domainAttachmentType": "tap"}}


def test_without_kubevirt_nothing_is_installed_that_was_to_have_it(api: Api, run: Any) -> None:
    assert "there is no KubeVirt in the cluster" in run("install", "--kubevirt", status=3).stderr
    assert api.writes == []


def test_a_binding_of_somebody_elses_stays(api: Api, run: Any) -> None:
    has_kubevirt(api, {"sidecarImage": "example.org/other"})
    api.denied = {("patch", "kubevirts")}
    done = run("install", "--kubevirt", status=3)
    assert [line for line in done.stderr.splitlines() if line.startswith("  - ")] == [
        "  - the network binding macvtap in KubeVirt virt/kv: another has its name (it has no domainAttachmentType)",
        "  - the right to patch kubevirts.kubevirt.io in namespace virt",
    ]
    assert api.writes == []


@pytest.mark.parametrize(("manager", "ours"), [("k8slan", True), ("admin", False)])
def test_uninstall_takes_its_own_binding_back(api: Api, run: Any, manager: str, ours: bool) -> None:
    run("install", "--no-wait")
    has_kubevirt(api, {"domainAttachmentType": "tap"}, manager)
    assert ("KubeVirt virt/kv would be changed" in run("uninstall", "--dry-run").stderr) == ours
    run("uninstall")
    assert (api.objects[KUBEVIRT]["spec"] == {}) == ours


def test_uninstall_says_when_it_cannot_see_the_binding(api: Api, run: Any) -> None:
    run("install", "--no-wait")
    api.refuse["/apis/kubevirt.io/v1/kubevirts"] = (403, "no")
    assert "the network binding macvtap of a KubeVirt stays, if there is one" in run("uninstall").stderr


# ---------------------------------------------------------------- uninstall


def test_it_is_removed_in_the_opposite_order(api: Api, run: Any) -> None:
    run("install")
    api.writes.clear()
    done = run("uninstall")
    assert api.writes == [f"DELETE {path}" for path in reversed(PATHS)]
    assert api.objects == {}
    assert done.stderr.endswith("k8slan is removed\n")


def test_what_is_not_there_is_no_error(api: Api, run: Any) -> None:
    run("uninstall")
    assert api.writes == []


def test_also_what_only_some_installations_have_is_removed(api: Api, run: Any) -> None:
    api.serves.add("/apis/monitoring.coreos.com/v1")
    run("install", "--service-monitor")
    run("uninstall")
    assert api.objects == {}


@pytest.mark.parametrize(("kind", "tries"), [("client", 0), ("server", len(PATHS))])
def test_a_dry_run_removes_nothing(kind: str, tries: int, api: Api, run: Any) -> None:
    run("install")
    api.writes.clear()
    assert run("uninstall", f"--dry-run={kind}").stderr.count(" would be deleted\n") == len(PATHS)
    assert (len(api.tries), api.writes) == (tries, [])


def _lan(**metadata: object) -> Object:
    return {"metadata": {"name": "one", "namespace": "lab", **metadata}, "status": {"attached": 3}}


def test_it_refuses_while_there_are_lans(api: Api, run: Any) -> None:
    run("install")
    api.put(LAN, _lan())
    api.writes.clear()
    done = run("uninstall", status=5)
    assert "lab/one, 3 attached" in done.stderr
    assert api.writes == []


def test_force_deletes_lans_before_the_agents_that_clean_up(api: Api, run: Any) -> None:
    run("install")
    api.put(LAN, _lan())
    api.writes.clear()
    run("uninstall", "--force")
    assert api.writes[:2] == [f"PATCH {LAN}", f"DELETE {LAN}"]
    assert api.objects == {}


def test_force_takes_finalizers_off_lans_that_do_not_go(api: Api, run: Any) -> None:
    run("install")
    api.put(LAN, _lan(finalizers=["finalizer.k8slan.io/worker1"]))
    api.writes.clear()
    done = run("uninstall", "--force", "--timeout=2")
    assert api.writes[:3] == [f"PATCH {LAN}", f"DELETE {LAN}", f"PATCH {LAN}"]
    assert "nodes keep its namespace until they restart" in done.stderr
    assert api.objects == {}


def test_vteps_that_agents_left_hold_nothing(api: Api, run: Any) -> None:
    """Those of nodes that are down, whose finalizers no agent takes off; not before all agents are gone."""
    run("install")
    held = {"name": "one-worker1", "namespace": "lab", "finalizers": ["lan.k8slan.io/in-use"]}
    api.put(VTEP, {"metadata": held | {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    free = VTEP.replace("worker1", "worker2")
    api.put(free, {"metadata": {"name": "one-worker2", "namespace": "lab"}})
    api.writes.clear()
    run("uninstall")
    assert api.objects.keys() == {free}, "that one goes with its CRD"
    agent, crd = (api.writes.index(f"DELETE {path}") for path in (AGENT, f"{CRDS}vteps.lan.k8slan.io"))
    assert agent < api.writes.index(f"PATCH {VTEP}") < crd
    assert api.writes.count(f"PATCH {VTEP}") == 1


def test_missing_rights_are_said_before_anything_is_removed(api: Api, run: Any) -> None:
    run("install")
    api.put(LAN, _lan())
    api.writes.clear()
    api.denied = {("delete", "namespaces")}
    assert "the right to delete namespaces" in run("uninstall", "--force", status=3).stderr
    assert api.writes == []


def test_what_does_not_go_in_time_is_said(api: Api, run: Any) -> None:
    run("install")
    namespace = api.objects[NAMESPACE]
    api.put(NAMESPACE, namespace | {"metadata": namespace["metadata"] | {"finalizers": ["kubernetes"]}})
    done = run("uninstall", "--timeout=2", status=4)
    assert "Namespace k8slan-system is not gone in time" in done.stderr


def test_a_namespace_that_was_there_before_stays(api: Api, run: Any) -> None:
    api.put(NAMESPACE, {"metadata": {"name": "k8slan-system", "labels": {"owner": "me"}}})
    run("install")
    labels = api.objects[NAMESPACE]["metadata"]["labels"]
    assert "app.kubernetes.io/part-of" not in labels
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    done = run("uninstall")
    assert "Namespace k8slan-system stays" in done.stderr
    assert list(api.objects) == [NAMESPACE]


# ---------------------------------------------------------------- reading states


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"conditions": [{"type": "Ready", "status": "True"}]}, ""),
        ({}, "is starting"),
        ({"conditions": None, "containerStatuses": None}, "is starting"),
        (
            {"containerStatuses": [{"name": "agent", "state": {"waiting": {"reason": "ContainerCreating"}}}]},
            "is starting",
        ),
        ({"containerStatuses": [{"name": "agent", "state": {"running": {}}}]}, "is starting"),
        (
            {"containerStatuses": [{"name": "agent", "state": {"waiting": {"reason": "PodInitializing"}}}]},
            "is starting",
        ),
        (
            {
                "containerStatuses": [
                    {"name": "agent", "state": {"terminated": {"reason": "Error", "message": "a\nb\n"}}}
                ]
            },
            "agent: Error: b",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}]},
            "no node for it: 0/2 nodes",
        ),
    ],
)
def test_what_a_pod_waits_for(status: Object, words: str) -> None:
    assert apply.waits_for({"status": status}) == words


def _workload(kind: str, generation: int, **status: int) -> Object:
    return {
        "kind": kind,
        "metadata": {"name": "x", "generation": generation},
        "spec": {"replicas": 2},
        "status": status,
    }


@pytest.mark.parametrize(
    ("found", "done"),
    [
        (_workload("DaemonSet", 1), False),
        (_workload("DaemonSet", 1, **_agents(2)), True),
        (_workload("DaemonSet", 1, **_agents(1)), False),
        (_workload("DaemonSet", 2, **_agents(2)), False),
        (_workload("DaemonSet", 1, **_agents(2) | {"updatedNumberScheduled": 1}), False),
        (_workload("Deployment", 1), False),
        (_workload("Deployment", 1, observedGeneration=1, replicas=2, updatedReplicas=2, availableReplicas=2), True),
        (_workload("Deployment", 1, observedGeneration=1, replicas=3, updatedReplicas=2, availableReplicas=3), False),
        (_workload("Deployment", 1, observedGeneration=1, replicas=2, updatedReplicas=1, availableReplicas=2), False),
        (_workload("Deployment", 2, observedGeneration=1, replicas=2, updatedReplicas=2, availableReplicas=2), False),
    ],
)
def test_a_rollout_is_done_when_all_of_the_newest_are_there_and_none_of_the_old(found: Object, done: bool) -> None:
    assert apply.rollout(found).done is done
