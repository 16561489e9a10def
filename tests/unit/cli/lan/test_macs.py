"""Where a MAC address is, of what all nodes have learned."""

from __future__ import annotations

from k8slan_cli.cli.lan import macs
from k8slan_cli.diagnose.protocol import KnownMac
from k8slan_cli.inventory import occupancy
from tests.support import scene
from tests.unit.cli.cluster import Workstation

VTEPS = occupancy.decoded(scene.VTEPS)
A, FW, OUT = "02:a1:00:00:00:01", "02:a1:00:00:00:03", "02:00:5e:00:53:09"
KNOWN = [
    KnownMac(mac=A, node="worker1", port="e1p", spoke="e1", plug="lab/router-a:net1", age=7),
    KnownMac(mac=A, node="worker2", port="vxlan0", peer="192.0.2.1", age=3),
    KnownMac(mac=FW, node="worker1", port="vxlan0", peer="192.0.2.2", age=90),
    KnownMac(mac=OUT, node="worker1", port="vxlan0", peer="203.0.113.9", age=200),
    KnownMac(mac=OUT, node="worker2", port="vxlan0", peer="203.0.113.9", age=100),
]


def test_an_address_is_where_a_port_has_it_or_behind_a_node_or_outside() -> None:
    shown = [line.split() for line in macs.table(macs.located(KNOWN, VTEPS), limit=None, wide=True)]
    assert shown[1:] == [
        [OUT, "behind", "203.0.113.9", "-", "outside", "100s", "worker1,worker2"],
        [A, "pod", "lab/router-a", "e1", "worker1", "7s", "worker1,worker2"],
        [FW, "behind", "192.0.2.2", "-", "worker2", "90s", "worker1"],
    ]


def test_an_address_at_two_ports_is_shown_at_both() -> None:
    twice = KnownMac(mac=A, node="worker2", port="vm1p", spoke="vm1", plug="lab/virt-launcher-firewall-x7k2p:net1")
    rows = macs.located([*KNOWN[:2], twice], VTEPS)
    assert [(row.who, row.node) for row in rows] == [("pod lab/router-a", "worker1"), ("VM lab/firewall", "worker2")]


def test_what_is_no_address_is_refused(k8slan: Workstation) -> None:
    assert "'02:00' is not a MAC address" in k8slan("lan", "macs", "red", "--mac", "02:00", status=2).stderr
