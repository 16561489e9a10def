"""What an installation may choose: read, checked, all faults at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k8slan_cli.errors import Invalid
from k8slan_cli.render import settings as values
from k8slan_cli.render.settings import Settings, Toleration


def test_defaults_and_all_distributions_can_work() -> None:
    for name in values.DISTRIBUTIONS:
        values.check(values.preset(name))


@pytest.mark.parametrize(
    ("distribution", "folder"),
    [
        ("kubernetes", "/opt/cni/bin"),
        ("k0s", "/opt/cni/bin"),
        ("rke2", "/opt/cni/bin"),
        ("k3s", "/var/lib/rancher/k3s/data/cni"),
        ("microk8s", "/var/snap/microk8s/current/opt/cni/bin"),
        ("openshift", "/var/lib/cni/bin"),
    ],
)
def test_plugins_go_where_the_distribution_looks_for_them(distribution: str, folder: str) -> None:
    found = values.preset(distribution)
    assert (found.cni_bin_dir, found.kubelet_dir) == (folder, "/var/lib/kubelet")


def test_an_unknown_distribution_is_named_with_those_that_are_known() -> None:
    with pytest.raises(Invalid, match="'minix' is none of kubernetes, k0s, k3s"):
        values.preset("minix")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"namespace": "A"}, "--namespace"),
        ({"namespace": "../x"}, "--namespace"),
        ({"image": ""}, "--image"),
        ({"image": "a b"}, "--image"),
        ({"pull_policy": "Sometimes"}, "--pull-policy"),
        ({"pull_secrets": ("ok", "Not_ok")}, "--pull-secret"),
        ({"kubelet_dir": "var/lib"}, "--kubelet-dir"),
        ({"cni_bin_dir": "/opt/../etc"}, "--cni-bin-dir"),
        ({"cni_bin_dir": "/"}, "--cni-bin-dir"),
        ({"cni_bin_dir": "/a\nb"}, "--cni-bin-dir"),
        ({"api_servers": ("10.0.0.1",)}, "--api-server"),
        ({"api_servers": ("10.0.0.1/24",)}, "--api-server"),
        ({"api_servers": ("fd00::/64", "nowhere")}, "--api-server"),
        ({"metrics_namespaces": ("A",)}, "--metrics-namespace"),
        ({"replicas": 0}, "--replicas"),
        ({"log_level": "loud"}, "--log-level"),
        ({"agent_limits": (("memory", "much"),)}, "--agent-limits"),
        ({"controller_requests": (("gpu", "1"),)}, "--controller-requests"),
        ({"agent_tolerations": (Toleration(effect="Never"),)}, "--agent-toleration"),
    ],
)
def test_a_setting_that_cannot_work_is_named_by_its_option(change: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        values.check(replace(Settings(), **change))  # type: ignore[arg-type]
    assert [problem.field for problem in caught.value.problems] == [field]


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        values.check(replace(Settings(), namespace="A", replicas=99, cni_bin_dir="x"))
    assert [problem.field for problem in caught.value.problems] == ["--namespace", "--cni-bin-dir", "--replicas"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (":", Toleration()),
        ("dedicated", Toleration(key="dedicated")),
        ("dedicated=lan", Toleration(key="dedicated", value="lan")),
        ("dedicated=lan:NoSchedule", Toleration(key="dedicated", value="lan", effect="NoSchedule")),
        ("dedicated:NoExecute", Toleration(key="dedicated", effect="NoExecute")),
        (":NoSchedule", Toleration(effect="NoSchedule")),
    ],
)
def test_tolerations_are_read_as_kubectl_writes_taints(text: str, wanted: Toleration) -> None:
    assert values.toleration(text) == wanted
    assert values.toleration(str(wanted)) == wanted


def test_pairs() -> None:
    assert values.pairs("cpu=10m,memory=64Mi") == (("cpu", "10m"), ("memory", "64Mi"))
    assert values.pairs("a=b=c") == (("a", "b=c"),)
    assert values.pairs("") == ()
    for text in ("cpu", "=1", "a=b,c"):
        with pytest.raises(ValueError, match="is not key=value"):
            values.pairs(text)
