"""The CRD and the manifests on a real API server: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from k8slan_cli.render import manifests
from k8slan_cli.render.manifests import Part
from k8slan_cli.render.settings import Settings
from tests.cluster.harness import Cluster, Kubectl, KubectlError
from tests.cluster.harness.kubectl import Object
from tests.support.agents import eventually
from tests.unit.render.lans import BAD, GOOD, SEED, SMALLEST, document

CRD = "customresourcedefinitions/lans.lan.k8slan.io"


@pytest.fixture(scope="module")
def crd(cluster: Cluster) -> None:
    """The CRD of this checkout."""
    cluster.kubectl.apply(manifests.render(Part.CRD, Settings()))
    cluster.kubectl.established("lans.lan.k8slan.io")


@pytest.fixture
def lans(crd: None, kubectl: Kubectl) -> Iterator[Kubectl]:  # noqa: ARG001 - comes first
    """Kubectl in a namespace whose LANs are gone afterwards."""
    yield kubectl
    kubectl.delete("lans", "--all")


@pytest.mark.usefixtures("crd")
def test_its_names_are_accepted_and_it_has_no_faults(cluster: Cluster) -> None:
    conditions = {c["type"]: c["status"] for c in cluster.kubectl.get(CRD)["status"]["conditions"]}
    assert conditions["NamesAccepted"] == conditions["Established"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"
    rows = [line.split() for line in cluster.kubectl("api-resources", "--api-group=lan.k8slan.io").splitlines()]
    assert ["lans", "lan", "lan.k8slan.io/v1beta1", "true", "LAN"] in rows


@pytest.mark.parametrize("name", GOOD)
def test_it_takes(name: str, lans: Kubectl, namespace: str) -> None:
    lans("create", "--dry-run=server", "-f", "-", stdin=json.dumps(document(GOOD[name], namespace=namespace)))


@pytest.mark.parametrize("name", BAD)
def test_it_refuses(name: str, lans: Kubectl, namespace: str) -> None:
    spec, words = BAD[name]
    with pytest.raises(KubectlError) as caught:
        lans("create", "--dry-run=server", "-f", "-", stdin=json.dumps(document(spec, namespace=namespace)))
    assert re.search(words, caught.value.message), caught.value.message


def test_all_faults_are_said_at_once(lans: Kubectl, namespace: str) -> None:
    spec = {"vni": 0, "ns": "a/b", "bridge": "b r", "vxlanGrp": "10.0.0.1", "spokes": ["A", "B"]}
    with pytest.raises(KubectlError) as caught:
        lans.create(document(spec, namespace=namespace))
    for field in ("spec.vni", "spec.ns", "spec.bridge", "spec.vxlanGrp", "spec.spokes[0]", "spec.spokes[1]"):
        assert field in caught.value.message


def test_the_seeds_lan_is_stored_as_written_with_defaults(lans: Kubectl, namespace: str) -> None:
    lans.create(document(SEED, namespace=namespace))
    assert lans.get("lan", "example")["spec"] == SEED | {"vxlanPort": 4789, "dynamic": False, "cable": False}


def test_the_least_lan_gets_names(lans: Kubectl, namespace: str) -> None:
    lans.create(document(SMALLEST, namespace=namespace))
    wanted = SMALLEST | {"bridge": "br0", "vxlan": "vxlan0", "vxlanPort": 4789, "dynamic": False, "cable": False}
    assert lans.get("lan", "example")["spec"] == wanted


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ns": "other"}, "spec.ns"),
        ({"ns": None}, "spec.ns"),
        ({"vni": 8}, "spec.vni"),
        ({"bridge": "br9"}, "spec.bridge"),
        ({"bridge": None}, "spec.bridge"),  # its default is another name
        ({"vxlan": "vx9"}, "spec.vxlan"),
        ({"fragment": True}, "spec.fragment"),
    ],
)
def test_what_makes_a_lan_cannot_be_changed(
    change: dict[str, object], field: str, lans: Kubectl, namespace: str
) -> None:
    lans.create(document(SEED, namespace=namespace))
    with pytest.raises(KubectlError, match=f"{field}: .*is immutable: make a new LAN"):
        lans("patch", "lan", "example", "--type=merge", "-p", json.dumps({"spec": change}))


def test_a_name_that_was_derived_cannot_be_chosen_later(lans: Kubectl, namespace: str) -> None:
    lans.create(document(SMALLEST, namespace=namespace))
    with pytest.raises(KubectlError, match=r"spec\.ns: .*is immutable"):
        lans("patch", "lan", "example", "--type=merge", "-p", '{"spec":{"ns":"chosen"}}')


def test_the_rest_can_be_changed(lans: Kubectl, namespace: str) -> None:
    lans.create(document(SEED, namespace=namespace))
    lans("patch", "lan", "example", "--type=merge", "-p", '{"spec":{"fragment":false}}')  # which it was
    rest = {"vxlanGrp": "ff02::14", "vxlanPort": 4790, "defaultVxlanDev": None, "mtu": 1400, "spokes": ["new"]}
    lans("patch", "lan", "example", "--type=merge", "-p", json.dumps({"spec": rest | {"dynamic": True}}))
    lans("patch", "lan", "example", "--type=merge", "-p", '{"spec":{"spokes":[]}}')
    with pytest.raises(KubectlError, match=r"spec\.spokes: .*needs at least one spoke"):
        lans("patch", "lan", "example", "--type=merge", "-p", '{"spec":{"dynamic":false}}')


STATUS = {
    "vni": 222,
    "spokeCount": 2,
    "attached": 1,
    "nodeCount": 2,
    "degradedNodes": [{"name": "worker1", "message": "eth7 is missing"}],
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Realised",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
    ],
}


def test_a_user_sees_how_it_is(lans: Kubectl, namespace: str) -> None:
    lans.create(document(SEED, namespace=namespace))
    lans("patch", "lan", "example", "--subresource=status", "--type=merge", "-p", json.dumps({"status": STATUS}))
    header, row = lans("get", "lan").splitlines()
    assert header.split() == ["NAME", "VNI", "SPOKES", "DYNAMIC", "ATTACHED", "NODES", "READY", "AGE"]
    assert row.split()[:-1] == ["example", "222", "2", "false", "1", "2", "True"]
    lans.wait("--for=condition=Ready", "lan/example", timeout=5)


def test_each_node_keeps_its_own_entry_of_the_status(lans: Kubectl, namespace: str) -> None:
    """Two agents apply one entry each; one that takes its own away leaves the other's."""
    lans.create(document(SEED, namespace=namespace))

    def applied(node: str, *entries: dict[str, object]) -> list[str]:
        own = document({}, namespace=namespace) | {"status": {"nodes": list(entries)}}
        del own["spec"]
        lans(
            *("apply", "--server-side", "--subresource=status", f"--field-manager=agent-{node}", "-f", "-"),
            stdin=json.dumps(own),
        )
        return [entry["name"] for entry in lans.get("lan", "example").get("status", {}).get("nodes", [])]

    one = {
        "name": "worker1",
        "state": "Ready",
        "device": "eth1",
        "vtep": "fe80::1",
        "mtu": 1430,
        "observedGeneration": 1,
    }
    assert applied("worker1", one) == ["worker1"]
    assert applied("worker2", {"name": "worker2", "message": "no such device"}) == ["worker1", "worker2"]
    assert applied("worker1") == ["worker2"]


def test_the_nads_of_a_lan_are_taken(lans: Kubectl, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    from typer import Typer
    from typer.testing import CliRunner

    from k8slan_cli.cli.render import render

    app = Typer()
    app.command()(render)
    path = tmp_path_factory.mktemp("lan") / "lan.yaml"
    path.write_text(json.dumps(document(SEED | {"dynamic": True}, namespace=namespace)))
    done = CliRunner().invoke(app, ["nads", "-f", str(path)])
    lans.apply(done.stdout)
    found = {nad["metadata"]["name"] for nad in lans.items("network-attachment-definitions")}
    assert found == {
        *("k8slan-mac-srl", "k8slan-veth-srl", "k8slan-mac-vm", "k8slan-veth-vm"),
        "k8slan-lan-example",
    }


@pytest.mark.parametrize("webhook", [True, False])
def test_every_manifest_is_taken_word_for_word(webhook: bool, lans: Kubectl, namespace: str) -> None:
    """With strict validation, a misspelt field is an error. A dry run needs a namespace that is there."""
    lans(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-"),
        stdin=manifests.render_all(Settings(namespace=namespace, webhook=webhook)),
    )


def test_a_longer_list_of_spokes_that_is_there_may_stay(cluster: Cluster, lans: Kubectl, namespace: str) -> None:
    """One from before the bound was lower: all else of it may be edited, by people, controller and agents."""
    new = manifests.render(Part.CRD, Settings())
    assert "maxItems: 1022\n" in new
    cluster.kubectl.apply(new.replace("maxItems: 1022\n", "maxItems: 4095\n"))
    long = document({"vni": 9, "spokes": [f"s{number}" for number in range(1500)]}, name="long", namespace=namespace)
    eventually("the old bound holds", lambda: _takes(lans, long))
    lans.create(long)
    cluster.kubectl.apply(new)
    short = long | {"metadata": long["metadata"] | {"name": "short"}}
    eventually("the new bound holds", lambda: not _takes(lans, short))

    for part in ({"spec": {"mtu": 1400}}, {"metadata": {"finalizers": ["lan.k8slan.io/x"], "labels": {"a": "b"}}}):
        lans("patch", "lan", "long", "--type=merge", f"--patch={json.dumps(part)}")
    status = {"status": {"attached": 1, "spokeCount": 1500}}
    lans("patch", "lan", "long", "--type=merge", "--subresource=status", f"--patch={json.dumps(status)}")
    for spokes in (1499, 1023):
        part = {"spec": {"spokes": long["spec"]["spokes"][:spokes]}}
        with pytest.raises(KubectlError) as caught:
            lans("patch", "lan", "long", "--type=merge", f"--patch={json.dumps(part)}")
        assert re.search("spec.spokes: Too many: .*1022", caught.value.message), caught.value.message
    part = {"metadata": {"finalizers": []}, "spec": {"spokes": long["spec"]["spokes"][:1022]}}
    lans("patch", "lan", "long", "--type=merge", f"--patch={json.dumps(part)}")


def _takes(lans: Kubectl, lan: Object) -> bool:
    try:
        lans("create", "--dry-run=server", "-f", "-", stdin=json.dumps(lan))
    except KubectlError as error:
        return "Too many" not in error.message
    return True
