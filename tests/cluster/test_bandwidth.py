"""A pod's bandwidth on a LAN, as multus is told of it and hands it on."""

from __future__ import annotations

import json

from k8slan_cli.lan import names
from tests.cluster import probing
from tests.cluster.harness import Cluster, Node
from tests.cluster.harness.pods import Pods
from tests.cluster.life import Lans, lans
from tests.kubevirt.vms import told

__all__ = ["lans"]


def test_a_networks_bandwidth_is_the_most_that_its_port_lets_through(
    lans: Lans, pod: Pods, k8slan: Cluster, node1: Node
) -> None:
    lan = lans(spokes=2)
    ways = {"ingressRate": 10_000_000, "ingressBurst": 80_000, "egressRate": 5_000_000, "egressBurst": 80_000}
    network = {"name": names.veth_nad(lan.spokes[0]), "interface": "eth1", "bandwidth": ways}
    pod(node1, networks=json.dumps([network]))
    port = names.port(lan.spokes[0])
    shown = node1.run("nsenter", f"--net={probing.NETNS}/{lan.netns}", "tc", "-json", "qdisc", "show").stdout
    rates = {queue["dev"]: 8 * queue["options"]["rate"] for queue in json.loads(shown) if queue["kind"] == "tbf"}
    assert rates == {port: 10_000_000, names.ifb(port): 5_000_000}
    lan.until_on(node1)
    [attached] = told(k8slan, lan, "inspect")["attached"]
    assert attached["live"]["bandwidth"] == "rate 10Mbit to pod; rate 5Mbit from pod"
