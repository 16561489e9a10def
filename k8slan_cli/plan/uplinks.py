"""Which of a node's NICs can be an uplink of a LAN, why one cannot, and which one is to be used. Pure.

A whole NIC belongs to the LAN alone, so one that the node itself uses is refused; a VLAN of any NIC will do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan, Uplink
from k8slan_cli.plan.state import ALL_BUT_PAUSE, Bridge, Port, UplinkPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A device of the node, as it is there.

    ``addresses`` are without link-local ones, ``routes`` are the destinations of those that go by it without those of
    link-local addresses, ``master`` is the bridge or bond that it is a port of.
    """

    index: int
    mtu: int
    up: bool = True
    carrier: bool = True
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    master: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenUplink:
    """An uplink of this node as a pass has found it; ``fault`` says why it cannot be used."""

    uplink: Uplink
    nic: Nic | None
    fault: str = ""

    @property
    def port(self) -> str:
        """Return the name of its bridge port."""
        return port_name(self.uplink)

    @property
    def carrier(self) -> bool:
        """Return whether the NIC has a link to the hardware."""
        return self.nic is not None and self.nic.up and self.nic.carrier

    @property
    def fit(self) -> bool:
        """Return whether frames can go by it."""
        return self.carrier and not self.fault


def port_name(uplink: Uplink) -> str:
    """Return the name of an uplink's bridge port."""
    return names.uplink(uplink.device, uplink.vlan)


def closed(port: UplinkPort) -> UplinkPort:
    """Return a port as it is out of the bridge."""
    return replace(port, port=replace(port.port, bridge=None, forwards=0))


def seen(uplink: Uplink, nic: Nic | None, underlay: int, mtu: int) -> SeenUplink:
    """Return an uplink with what is wrong with it; ``underlay`` is the index of the device that carries VXLAN."""
    return SeenUplink(uplink=uplink, nic=nic, fault=_fault(uplink, nic, underlay, mtu))


def _fault(uplink: Uplink, nic: Nic | None, underlay: int, mtu: int) -> str:
    device = uplink.device
    if nic is None:
        return f"there is no device {device}: look at spec.uplinks, and at ip link on the node"
    if nic.mtu < mtu:
        return f"{device} has MTU {nic.mtu}, the LAN {mtu}: raise it, or set spec.mtu"
    if not uplink.vlan:
        other = "take another device, or a VLAN of it"
        if nic.index == underlay:
            return f"{device} carries the LAN's VXLAN: {other}"
        if nic.master:
            return f"{device} is a port of {nic.master}: take it out of that, or name {nic.master}"
        if nic.addresses:
            return f"{device} has the address {nic.addresses[0]}, so the node uses it itself: {other}"
        if nic.routes:
            return f"the node has a route to {nic.routes[0]} by {device}: {other}"
    return "" if nic.up else f"{device} is down: ip link set {device} up"


def ports(bridge: Bridge, found: Iterable[SeenUplink], opened: str) -> dict[str, UplinkPort]:
    """Return the ports that a node should have for its uplinks; the one that is ``opened`` is in the bridge.

    The others are there and joined to nothing: a frame can be sent and heard at one to see whether it may be opened.
    """
    return {
        each.port: UplinkPort(
            port=Port(
                name=each.port,
                bridge=bridge.name if each.port == opened else None,
                mtu=bridge.mtu,
                forwards=ALL_BUT_PAUSE if each.port == opened else 0,
                owner=f"uplink {each.uplink.what}",
            ),
            lower=each.nic.index,
            vlan=each.uplink.vlan,
        )
        for each in found
        if each.nic and not each.fault
    }


def choose(found: Iterable[SeenUplink], current: str) -> SeenUplink | None:
    """Return the uplink of this node to use: the ``current`` port's while it can be used, else the first that can."""
    fit = [each for each in found if each.fit]
    return next((each for each in fit if each.port == current), fit[0] if fit else None)


def alone(lan: Lan, node: str) -> bool:
    """Return whether all uplinks of a LAN are of one node, so that nothing has to be settled with others."""
    return all(uplink.node == node for uplink in lan.uplinks)


def opened_in(found: Collection[UplinkPort]) -> str:
    """Return which of the ports that are there is in the bridge, "" for none."""
    return next((each.port.name for each in found if each.port.bridge), "")
