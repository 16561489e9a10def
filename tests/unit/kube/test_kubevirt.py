"""What is read from a KubeVirt object: whether VMs can be on LANs, and how they say so."""

from __future__ import annotations

from typing import Any

import pytest

from k8slan_cli.kube import kubevirt

TAP = {"domainAttachmentType": "tap"}
CORE, PLUGIN = {"macvtap": {}}, {"binding": {"name": "macvtap"}}


def found(version: str = "v1.7.0", binding: dict[str, Any] | None = None, *gates: str, manager: str = "x") -> Any:
    """A KubeVirt object as the API has it."""
    network = {} if binding is None else {"network": {"binding": {"macvtap": binding}}}
    return {
        "metadata": {"name": "kv", "namespace": "virt", "managedFields": [{"manager": manager}]},
        "spec": {"configuration": {**network, "developerConfiguration": {"featureGates": list(gates)}}},
        "status": {"observedKubeVirtVersion": version},
    }


@pytest.mark.parametrize(
    ("document", "fault", "interface"),
    [
        (found(binding=TAP), "", PLUGIN),
        (found(binding=TAP | {"migration": {}}), "", PLUGIN),
        (found(), "its network binding macvtap is not registered", PLUGIN),
        (found(binding={"domainAttachmentType": "managedTap"}), "domainAttachmentType is managedTap, not tap", PLUGIN),
        (found(binding={"sidecarImage": "x"}), "it has no domainAttachmentType", PLUGIN),
        (found(binding={}), "it has no domainAttachmentType", PLUGIN),
        (found("v1.4.1", TAP), "feature gate NetworkBindingPlugins is off", PLUGIN),
        (found("v1.4.1", TAP, "NetworkBindingPlugins"), "", PLUGIN),
        (found("v1.2.2"), "is not registered", CORE),
        (found("v1.2.2", None, "Macvtap"), "", CORE),
        (found("v1.2.2", TAP, "NetworkBindingPlugins"), "", PLUGIN),
        (found("", TAP), "", PLUGIN),
        ({"metadata": {"name": "kv", "namespace": "virt"}}, "is not registered", PLUGIN),
    ],
)
def test_what_vms_can_do_and_what_they_say(document: Any, fault: str, interface: object) -> None:
    one = kubevirt.read(document)
    assert fault in one.fault
    assert bool(one.fault) == bool(fault)
    assert kubevirt.interface([one]) == interface
    assert str(one.ref) == "KubeVirt virt/kv"


def test_without_kubevirt_examples_are_for_a_new_one() -> None:
    assert kubevirt.interface([]) == PLUGIN


def test_what_k8slan_has_registered_is_known_by_its_manager() -> None:
    assert kubevirt.read(found(binding=TAP, manager="k8slan")).ours
    assert not kubevirt.read(found(binding=TAP)).ours
