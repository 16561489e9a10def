"""Topologies as labs have them, for what draws devices."""

from __future__ import annotations

from collections.abc import Iterable

from k8slan_cli.lan.model import LanRef
from k8slan_cli.picture.topology import Device, End, Segment, Topology


class Lab:
    """A lab in the making: LANs by the names of devices, which get interfaces eth1, eth2, … as they are joined."""

    def __init__(self, namespace: str = "lab") -> None:
        self._namespace = namespace
        self._devices: dict[str, Device] = {}
        self._lans: list[Segment] = []
        self._interfaces: dict[str, int] = {}

    def device(self, name: str, **more: object) -> Lab:
        """Add a device that is more than a pod on node worker1."""
        fields: dict[str, object] = {"node": "worker1", **more}
        self._devices[name] = Device(key=f"{self._namespace}/{name}", name=name, **fields)  # type: ignore[arg-type]
        return self

    def end(self, name: str, **more: object) -> End:
        """Plug a device in by its next interface."""
        if name not in self._devices:
            self.device(name)
        self._interfaces[name] = number = self._interfaces.get(name, 0) + 1
        mac = f"02:00:00:00:{len(self._lans):02x}:{number:02x}"
        fields: dict[str, object] = {"interface": f"eth{number}", "mac": mac, **more}
        return End(device=self._devices[name].key, **fields)  # type: ignore[arg-type]

    def lan(self, name: str, *ends: str | End, **more: object) -> Lab:
        """Join devices."""
        found = tuple(end if isinstance(end, End) else self.end(end) for end in ends)
        ref = LanRef(namespace=self._namespace, name=name)
        self._lans.append(Segment(ref=ref, ends=found, vni=10000 + len(self._lans), **more))  # type: ignore[arg-type]
        return self

    @property
    def topology(self) -> Topology:
        """What has been made."""
        return Topology(devices=tuple(self._devices.values()), lans=tuple(self._lans))


def clos(spines: int, leaves: int, hosts: int) -> Lab:
    """A fabric: each leaf on each spine, and hosts at leaves."""
    lab = Lab()
    for spine in range(1, spines + 1):
        for leaf in range(1, leaves + 1):
            lab.lan(f"s{spine}l{leaf}", f"spine{spine}", f"leaf{leaf}")
    for leaf in range(1, leaves + 1):
        for host in range(1, hosts + 1):
            lab.lan(f"h{leaf}x{host}", f"leaf{leaf}", f"host{leaf}-{host}")
    return lab


def ring(devices: int) -> Lab:
    """Routers in a ring."""
    lab = Lab()
    for number in range(1, devices + 1):
        lab.lan(f"c{number}", f"r{number}", f"r{number % devices + 1}")
    return lab


def star(names: Iterable[str]) -> Lab:
    """All on one LAN."""
    lab = Lab()
    return lab.lan("blue", *map(lab.end, names))


def busy() -> Lab:
    """Ten devices with everything that a picture can show."""
    lab = clos(2, 4, 0).device("fw", kind="vm").device("late", state="waiting", node="").device("mover", kind="vm")
    lab.device("mover", kind="vm", state="migrating").device("hw", kind="host").device("web", count=38, node="")
    lab.lan("inet", lab.end("spine1", impairment="delay 20ms to pod"), lab.end("fw"))
    lab.lan("dmz", lab.end("leaf1"), lab.end("fw", link="down", note="link down"))
    lab.lan("blue", "leaf1", "leaf2", "mover", "web", lab.end("late", link="waiting"))
    lab.lan("up", "spine2", lab.end("hw", interface="eth1 VLAN 7"))
    lab.lan("sick", "leaf3", lab.end("host3", impairment="loss 1%"), state="NodesDegraded", message="w1: no eth1")
    return lab.lan("empty").lan("loop", "leaf4", "leaf4")


def odd() -> Lab:
    """The longest names, and signs that mean something to SVG and HTML."""
    lab = (
        Lab("n" * 63).device("p" * 63, node="w" * 253, kind="vm", state="migrating").device("<b>&\"'</svg>", node="<i>")
    )
    words = "delay 20ms, jitter 3ms, loss 0.5% to pod; rate 10Mbit from pod"
    lab.lan("l" * 253, lab.end("p" * 63, interface="eth" + "i" * 12, impairment=words), "<b>&\"'</svg>", state="s" * 60)
    lab.lan("m" * 253, "a", "b", lab.end("c", note="MTU 8946, the LAN has 1446", link="down"), state="Invalid")
    return lab.lan("crowd", *(f"{'q' * 55}{number}" for number in range(30)))


LABS = {
    "nothing": Lab(),
    "line": clos(1, 1, 0),
    "fabric": clos(2, 4, 1),
    "forty": clos(4, 8, 3),
    "ring": ring(8),
    "star": star(f"pod{number}" for number in range(41)),
    "busy": busy(),
    "odd": odd(),
    "three hundred": clos(8, 32, 8),
    "crowd of three hundred": star(f"pod{number}" for number in range(304)),
}
