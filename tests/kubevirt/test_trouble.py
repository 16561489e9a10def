"""VMs that cannot be on their LAN: they wait, and the events about them say why."""

from __future__ import annotations

from tests.cluster import probing
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pods
from tests.cluster.life import Lans
from tests.kubevirt.vms import SILENT, Machine, Machines, manifest
from tests.support import names
from tests.support.agents import eventually


def says(machine: Machine, words: str) -> None:
    """Wait until an event about a VM or its launcher has these words."""
    eventually(f"an event says {words!r}", lambda: any(words in text for _, text in machine.events()), 60)


def test_a_spoke_that_is_taken_is_named_with_its_holder(lans: Lans, vm: Machines, pod: Pods, node1: Node) -> None:
    """Once that has gone, the VM starts."""
    lan = lans(spokes=1)
    holder = pod(node1, networks=lan.veth(0))
    machine = vm(manifest(SILENT, lan.spokes[0], node=node1), ready=False)
    says(machine, f"spoke {lan.spokes[0]} is in use by {holder.kubectl.namespace}/{holder.name}")
    holder.delete()
    machine.ready()


def test_a_resource_that_no_node_has_is_named(lans: Lans, vm: Machines, kubectl: Kubectl, node1: Node) -> None:
    """A spoke that is taken away while a VM waits for a node: there is a NAD of its name, and no such resource."""
    lan = lans(spokes=2)
    absent = names.unique("e")
    nad = kubectl.get("network-attachment-definition", f"k8slan-mac-{lan.spokes[0]}")
    resource = f"macvtap.k8slan.io/k8slan-mac-{absent}"
    metadata = {
        "name": f"k8slan-mac-{absent}",
        "annotations": {"k8s.v1.cni.cncf.io/resourceName": resource},
    }
    kubectl.create({**nad, "metadata": metadata})
    machine = vm(manifest(SILENT, absent, node=node1), ready=False)
    says(machine, f"Insufficient {resource}")
    waiting = machine.until(lambda vmi: _condition(vmi, "PodScheduled") != "", "waiting")
    assert resource in _condition(waiting, "PodScheduled")


def test_a_lan_that_is_being_deleted_stays_for_its_vm_and_takes_no_other(
    lans: Lans, vm: Machines, k8slan: Cluster, node1: Node
) -> None:
    lan = lans(spokes=2)
    machine = vm(manifest(SILENT, lan.spokes[0], node=node1))
    probing.until_allocatable(k8slan, f"macvtap.k8slan.io/k8slan-mac-{lan.spokes[1]}")
    lan.delete()
    lan.until(lambda found: "deletionTimestamp" in found["metadata"], "being deleted")
    late = manifest(SILENT, lan.spokes[1], node=node1)
    late["metadata"]["name"] = "late"
    other = vm(late, ready=False)
    says(other, f"LAN {lan.kubectl.namespace}/{lan.name} is being deleted")
    assert machine.instance["status"]["phase"] == "Running"
    other.delete()
    machine.delete()
    lan.until_gone()
    assert probing.ports(node1, lan.netns) == []


def _condition(vmi: dict[str, object], kind: str) -> str:
    status = vmi.get("status")
    assert isinstance(status, dict)
    found = {each["type"]: each.get("message", "") for each in status.get("conditions", ())}
    return str(found.get(kind, ""))
