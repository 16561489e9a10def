"""``k8slan render`` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli.render import manifests
from k8slan_cli.render.settings import Settings
from tests.unit.render.command import Done, call

LAN = """
apiVersion: lan.k8slan.io/v1beta1
kind: LAN
metadata: {name: example, namespace: lab}
spec: {vni: 7, spokes: [a]}
"""


def run(*arguments: str, stdin: str | None = None, status: int = 0) -> Done:
    return call("render", *arguments, stdin=stdin, status=status)


def documents(text: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(text) if found]


def test_all_is_what_it_prints() -> None:
    assert run().stdout == run("all").stdout == manifests.render_all(Settings())


@pytest.mark.parametrize("part", list(manifests.Part))
def test_each_part_by_its_name(part: manifests.Part) -> None:
    assert run(str(part)).stdout == manifests.render(part, Settings())


def test_options_reach_the_manifests() -> None:
    done = run(
        "node-agent",
        "--distribution=k3s",
        "--image=example/k8slan:7",
        "--namespace=net",
        "--agent-requests=cpu=50m",
        "--agent-toleration=a=b:NoSchedule",
        "--agent-toleration=c",
        "--node-selector=role=lan",
        "--pull-secret=one",
    )
    [found] = documents(done.stdout)
    pod = found["spec"]["template"]["spec"]
    assert found["metadata"]["namespace"] == "net"
    assert {c["image"] for c in (*pod["containers"], *pod["initContainers"])} == {"example/k8slan:7"}
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "50m"}
    assert pod["tolerations"] == [
        {"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"},
        {"key": "c", "operator": "Exists"},
    ]
    assert pod["nodeSelector"] == {"role": "lan"}
    assert pod["imagePullSecrets"] == [{"name": "one"}]
    paths = [volume.get("hostPath", {}).get("path") for volume in pod["volumes"]]
    assert "/var/lib/rancher/k3s/data/cni" in paths


def test_an_option_goes_before_the_distributions_default() -> None:
    done = run("node-agent", "--distribution=k3s", "--cni-bin-dir=/elsewhere")
    assert "/elsewhere" in done.stdout
    assert "rancher" not in done.stdout


def test_parts_may_be_left_out_or_added() -> None:
    kinds = [found["kind"] for found in documents(run("--no-webhook", "--service-monitor").stdout)]
    assert "ValidatingWebhookConfiguration" not in kinds
    assert kinds.count("ServiceMonitor") == 2


def test_wrong_options_are_all_said() -> None:
    done = run("--namespace=A", "--replicas=0", status=1)
    assert "--namespace: 'A' is not a DNS label" in done.stderr
    assert "--replicas: 0 is not in 1..16" in done.stderr
    done = run("--agent-limits=lots", status=1)
    assert "--agent-limits: 'lots' is not key=value" in done.stderr


def test_a_folder_is_in_the_order_in_which_it_must_be_applied(tmp_path: Path) -> None:
    run("-o", str(tmp_path / "new"))
    found = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in found] == [
        "00-namespace.yaml",
        "10-crd.yaml",
        "20-crd-vtep.yaml",
        "30-rbac.yaml",
        "40-webhook.yaml",
        "50-network-policy.yaml",
        "60-controller.yaml",
        "70-node-agent.yaml",
    ]
    texts = [path.read_text() for path in found]
    assert "---\n".join(texts) == manifests.render_all(Settings())


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in run("-o", str(tmp_path / "file"), status=1).stderr


def test_check_tells_a_stale_file_from_a_fresh_one(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(run().stdout)
    run("--check", str(path))
    path.write_text(path.read_text().replace("replicas: 1", "replicas: 2"))
    done = run("--check", str(path), status=1)
    assert "-  replicas: 2\n+  replicas: 1" in done.stderr
    assert "is stale" in done.stderr
    assert "cannot be read" in run("--check", str(tmp_path / "none"), status=1).stderr


def test_nads_of_a_file_and_of_standard_input(tmp_path: Path) -> None:
    (tmp_path / "lan.yaml").write_text(LAN)
    done = run("nads", "-f", str(tmp_path / "lan.yaml"))
    found = documents(done.stdout)
    assert [nad["metadata"]["name"] for nad in found] == ["k8slan-mac-a", "k8slan-veth-a"]
    assert json.loads(found[1]["spec"]["config"])["veth"] == "a"
    assert run("nads", "-f", "-", stdin=LAN).stdout == done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            LAN.replace("vni: 7", "vni: 0").replace("[a]", "[A]"),
            ["spec.vni: 0 is not in", "spec.spokes[0]: 'A' is not"],
        ),
        (
            LAN.replace("[a]", "[" + ", ".join(f"s{number}" for number in range(1023)) + "]"),
            ["spec.spokes: has 1023 spokes, 1022 at the most"],
        ),
        ("a: [", ["is not YAML"]),
        ("", ["holds no LAN"]),
        ("\xff", ["is not a mapping"]),
    ],
)
def test_a_wrong_lan_is_said_with_all_that_is_wrong(text: str, words: list[str]) -> None:
    done = run("nads", "-f", "-", stdin=text, status=1)
    for word in words:
        assert word in done.stderr


def test_nads_need_a_lan() -> None:
    assert "k8slan render nads -f lan.yaml" in run("nads", status=2).stderr
    assert "cannot be read" in run("nads", "-f", "/none", status=1).stderr
