"""Fields of a LAN that reach beyond its namespace take a right of their own; all others, the right to edit LANs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli.lan.model import UNDERLAY_FIELDS
from k8slan_cli.render import reference
from tests.cluster.harness import Kubectl, KubectlError
from tests.unit.render.command import call
from tests.unit.render.lans import SEED, document

NEEDS = "to set, change or remove this takes the right set on lans/underlay"
OTHER: dict[str, Any] = {
    "vxlanPort": 4790,
    "vxlanGrp": "ff02::15",
    "vxlanTTL": 7,
    "defaultVxlanDev": "eth9",
    "vxlanDevMap": {"worker1": "eth9"},
    "remotes": ["192.0.2.9"],
    "uplinks": [{"node": "worker1", "device": "eth9", "vlan": 7}],
    "allowedNamespaces": ["*"],
}
"""Another value of each field that may be changed at all: all but ns, vni and fragment."""
FULL = SEED | {
    "vxlanPort": 4791,
    "vxlanGrp": "ff02::14",
    "vxlanTTL": 3,
    "remotes": ["192.0.2.8"],
    "uplinks": [{"node": "worker1", "device": "eth9"}],
    "allowedNamespaces": ["guests"],
}
# A field that is new in the schema has to be tried here, too.
IN_SCHEMA = sorted(reference.schema()["properties"]["spec"]["properties"].keys() & set(UNDERLAY_FIELDS))
Users = Callable[[str], Kubectl]


@pytest.fixture
def user(rights: str, kubectl: Kubectl, namespace: str, tmp_path: Path) -> Users:  # noqa: ARG001 - comes first
    """A kubectl of a user who has a ClusterRole in the test's namespace: ``user("edit")``."""

    def user(role: str) -> Kubectl:
        config: dict[str, Any] = yaml.safe_load(kubectl.kubeconfig.read_text())
        config["users"][0]["user"]["as"] = f"{role}-user"
        config["contexts"][0]["context"]["namespace"] = namespace
        path = tmp_path / role
        path.write_text(yaml.safe_dump(config))
        kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}-user")
        found = Kubectl(kubectl.executable, path, kubectl.namespace)
        kubectl.until("clusterrole", role, holds=lambda seen: "lan.k8slan.io" in json.dumps(seen), what="aggregated")
        return found

    return user


@pytest.fixture
def lans(kubectl: Kubectl) -> Iterator[None]:
    """LANs are gone afterwards."""
    yield
    kubectl.delete("lans", "--all")


def write(kubectl: Kubectl, change: dict[str, Any]) -> None:
    """Change the spec of the LAN ``example``, only to see whether it might be."""
    kubectl("patch", "lan", "example", "--type=merge", "--dry-run=server", "-p", json.dumps({"spec": change}))


@pytest.mark.usefixtures("lans")
def test_an_editor_may_change_all_but_what_reaches_beyond_the_namespace(
    user: Users, kubectl: Kubectl, namespace: str
) -> None:
    kubectl.create(document(FULL, namespace=namespace))
    editor = user("edit")
    write(editor, {"spokes": ["srl", "other"], "mtu": 1400, "dynamic": True})
    editor("label", "lan", "example", "a=b")
    for field, value in OTHER.items():
        for change in ({field: value}, {field: None}, {field: value, "mtu": 1400}):
            with pytest.raises(KubectlError, match=f"spec.{field}: {NEEDS}"):
                write(editor, change)
    with pytest.raises(KubectlError, match=f"spec.vxlanGrp, spec.remotes: {NEEDS}"):
        write(editor, {"vxlanGrp": None, "remotes": ["192.0.2.7"]})
    editor.delete("lan", "example")


@pytest.mark.usefixtures("lans")
def test_an_editor_may_not_set_them_in_a_new_lan(user: Users, namespace: str) -> None:
    editor = user("edit")
    new = FULL | {"fragment": True}
    for field in IN_SCHEMA:
        with pytest.raises(KubectlError, match=f": spec.{field}: {NEEDS}"):
            editor.create(document({"spokes": ["a"], field: new[field]}, namespace=namespace))
    editor.create(document({"spokes": ["a"], "vxlanPort": 4789}, namespace=namespace))


@pytest.mark.usefixtures("lans")
def test_whoever_has_the_role_may(user: Users, namespace: str) -> None:
    network = user("k8slan-underlay")
    network.create(document(FULL, namespace=namespace))
    for field, value in OTHER.items():
        write(network, {field: value})
        write(network, {field: None})
    network.delete("lan", "example")


@pytest.mark.usefixtures("lans")
def test_an_editor_makes_a_lan_by_the_command_which_says_what_takes_more(
    user: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(user("edit").kubeconfig))
    call("lan", "create", "red", "--spoke", "a", "--spoke", "b", "--mtu", "1400")
    done = call("lan", "create", "blue", "--vni", "7", "--remote", "192.0.2.9", status=3)
    role = "as the ClusterRole k8slan-underlay has"
    assert done.stderr.splitlines()[-1] == f"k8slan: spec.vni, spec.remotes: {NEEDS}, {role}"
