"""KubeVirt made ready for LANs, and what k8slan ships for VMs, as a person uses it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from k8slan_cli.probe.endpoint import PacketSocket
from tests.cluster import probing, product
from tests.cluster.guest import DISK_IMAGE
from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.pods import Pods
from tests.cluster.life import Lans
from tests.cluster.test_tutorial import Reader, steps
from tests.kubevirt.vms import Machines
from tests.support import names

ROOT = Path(__file__).parents[2]
KUBEVIRT = ("kubevirt", "kubevirt", "--namespace=kubevirt")
DHCP = bytes.fromhex("0044 0043")  # ports of a request, from client to server


def k8s(cluster: Cluster, *words: str, status: int = 0) -> str:
    """What a command of k8slan says."""
    command = [sys.executable, "-m", "k8slan_cli", *words]
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def bindings(cluster: Cluster) -> Any:
    """What is registered in KubeVirt."""
    spec = cluster.kubectl.get(*KUBEVIRT)["spec"]
    return spec["configuration"].get("network", {}).get("binding")


def patch(cluster: Cluster, binding: object) -> None:
    """Register something as an administrator would."""
    spec = {"configuration": {"network": {"binding": {"macvtap": binding}}}}
    cluster.kubectl("patch", *KUBEVIRT, "--type=merge", "-p", json.dumps({"spec": spec}))


def doctor(cluster: Cluster) -> str:
    """What doctor says of KubeVirt; that of nodes and LANs is for others to test."""
    return "\n".join(line for line in k8s(cluster, "doctor").splitlines() if "KubeVirt" in line or "kubevirt" in line)


def test_install_registers_the_binding_and_uninstall_takes_it_back(k8slan: Cluster) -> None:
    cluster = k8slan
    k8s(cluster, "uninstall")
    assert not bindings(cluster)

    image = f"--image={product.IMAGE}"
    said = k8s(cluster, "install", image, "--kubevirt", "--dry-run")
    assert "KubeVirt kubevirt/kubevirt would be changed" in said
    assert not bindings(cluster)
    k8s(cluster, "install", image)
    assert "network binding macvtap is not registered: VMs cannot attach to LANs" in doctor(cluster)
    assert "k8slan install --kubevirt registers it" in doctor(cluster)

    patch(cluster, {"sidecarImage": "example.org/other:1"})
    assert "binding macvtap is another: it has no domainAttachmentType" in doctor(cluster)
    said = k8s(cluster, "install", image, "--kubevirt", status=3)
    assert "macvtap in KubeVirt kubevirt/kubevirt: another has its name (it has no domainAttachmentType)" in said
    assert bindings(cluster) == {"macvtap": {"sidecarImage": "example.org/other:1"}}
    patch(cluster, None)

    assert "KubeVirt kubevirt/kubevirt changed" in k8s(cluster, "install", image, "--kubevirt")
    assert bindings(cluster) == {"macvtap": {"domainAttachmentType": "tap"}}
    assert "KubeVirt kubevirt/kubevirt unchanged" in k8s(cluster, "install", image, "--kubevirt")
    assert "VMs of KubeVirt kubevirt/kubevirt 1.7 can attach to LANs" in doctor(cluster)


def asks_for_an_address(there: PacketSocket, mac: str, seconds: float = 90) -> bool:
    """Whether a DHCP request from a MAC address arrives: what a guest with iPXE sends by itself."""
    until, source = time.monotonic() + seconds, bytes.fromhex(mac.replace(":", ""))
    while time.monotonic() < until:
        for received in there.receive():
            if received.frame[6:12] == source and received.frame[34:38] == DHCP:
                return True
        time.sleep(0.05)
    return False


def test_the_example_of_a_vm_runs_as_it_stands(
    lans: Lans, vm: Machines, pod: Pods, k8slan: Cluster, kubectl: Kubectl, node2: Node
) -> None:
    lan = lans(spokes=[names.unique("e"), "vm"])
    with probing.Endpoints(k8slan) as endpoints:
        end = endpoints.interface(pod(node2, networks=lan.veth(0)), "net1")
        kubectl.apply((ROOT / "manifests/vm-example.yaml").read_text())
        machine = vm.named("testvm")
        assert asks_for_an_address(end, machine.interfaces[1]["mac"])


def test_the_tutorials_vm_is_on_its_lan_by_name(
    lans: Lans, vm: Machines, pod: Pods, k8slan: Cluster, kubectl: Kubectl, node2: Node, tmp_path: Path
) -> None:
    """What the tutorial says to who has KubeVirt, with a disk that is here."""
    lan = lans("blue", spokes=["b", "vm"])
    there = pod(node2, name="b", networks=lan.veth(0))
    patch(k8slan, None)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(k8slan.kubeconfig.read_text())
    kubectl("config", f"--kubeconfig={kubeconfig}", "set-context", "--current", f"--namespace={kubectl.namespace}")
    reader = Reader(cluster=k8slan, folder=tmp_path, exported=f"export IMAGE={product.IMAGE}\n")
    with probing.Endpoints(k8slan) as endpoints:
        end = endpoints.interface(there, "net1")
        for step in steps():
            if step.way == "with":
                reader.follow(replace(step, where="anywhere"))
                reader.exported = re.sub("DISK=.*", f"DISK={DISK_IMAGE}", reader.exported)
        assert asks_for_an_address(end, vm.named("blue-vm").interfaces[1]["mac"])
    here = ("-n", kubectl.namespace)
    assert f"VM {kubectl.namespace}/blue-vm" in k8s(k8slan, "lan", "inspect", "blue", *here)
    assert "blue-vm" in k8s(k8slan, "lan", "graph", "blue", *here)
    said = k8s(k8slan, "lan", "probe", "blue", "--from", "b", "--to", "blue-vm", *here)
    assert "all 34 classes of frames passed on 2 ways" in said
