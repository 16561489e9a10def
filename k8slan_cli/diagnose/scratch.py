"""Links made for a trial, in namespaces that are mounted nowhere: at the trial's or the agent's end they are gone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address

from k8slan_cli.diagnose.protocol import Reach, UnderlayFacts
from k8slan_cli.lan.model import IpAddress, Lan, LanRef
from k8slan_cli.net import netlink, netns, observe, sockets
from k8slan_cli.net.node import Node
from k8slan_cli.net.sockets import Netlink
from k8slan_cli.plan import desired as planner
from k8slan_cli.plan.state import LanState, Underlay
from k8slan_cli.probe.endpoint import PacketSocket

_DEVICE = "trial"
_MAC = "02:6b:38:%02x:%02x:%02x"
_GONE = frozenset({errno.ENODEV})


@contextmanager
def namespace() -> Iterator[tuple[int, Netlink]]:
    """A quiet namespace for the length of a block: a descriptor of it, and a request socket in it.

    Raises:
        KernelError: it cannot be made.

    """
    fd = netns.anonymous()
    try:
        netns.make_quiet(fd)
        with Netlink(fd) as inside:
            yield fd, inside
    finally:
        os.close(fd)


def _planned(node: Node, address: IpAddress | None, reach: Reach) -> tuple[Underlay, LanState]:
    """What a LAN like this trial would have on the node: its VXLAN, its MTU."""
    underlay = observe.underlay(node, reach.device or None, address)
    lan = Lan(
        ref=LanRef(namespace="", name=_DEVICE),
        netns=_DEVICE,
        bridge=_DEVICE,
        vxlan=_DEVICE,
        vni=reach.vni,
        port=reach.port,
        group=reach.group,
        ttl=reach.ttl,
    )
    return underlay, planner.plan(lan, underlay, (), planner.Elsewhere(peers=frozenset(reach.peers)), others=True)


def underlay_facts(node: Node, address: IpAddress | None, device: str, group: IpAddress | None) -> UnderlayFacts:
    """An underlay device as LANs would use it; ``device`` "" is the node's own choice.

    Raises:
        UnderlayMissing: there is no such device.
        Invalid: no LAN can be had over it.

    """
    underlay, state = _planned(node, address, Reach(vni=1, port=1, device=device, group=group))
    local = state.vxlan.tunnel.local if state.vxlan else None
    return UnderlayFacts(
        device=underlay.name, mtu=underlay.mtu, up=underlay.up, vtep=local or next(iter(underlay.addresses), None)
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial VXLAN that is up: the endpoint on it, and the MTU that a LAN over it has."""

    endpoint: PacketSocket
    mtu: int


@contextmanager
def vxlan(node: Node, address: IpAddress | None, reach: Reach) -> Iterator[Trial]:
    """A VXLAN like a LAN's for the length of a block. Frames sent on it go out to all of its peers.

    Raises:
        Invalid: no LAN can be had here.
        KernelError: there is no such underlay, or its UDP port or VNI is taken.

    """
    underlay, state = _planned(node, address, reach)
    assert state.vxlan is not None  # noqa: S101 - a plan with others has one
    tunnel, mtu = state.vxlan.tunnel, state.vxlan.link.mtu
    with namespace() as (fd, inside):
        message = netlink.vxlan(
            _DEVICE,
            vni=tunnel.vni,
            port=tunnel.port,
            device=tunnel.device,
            local=tunnel.local,
            group=tunnel.group,
            ttl=tunnel.ttl,
            mtu=mtu,
            mac=_mac(tunnel.local or next(iter(underlay.addresses), None)),
            netns_fd=fd,
        )
        doing = f"open VXLAN {tunnel.vni} at UDP port {tunnel.port} over {underlay.name}"
        node.netlink.apply([message], doing=doing)
        try:
            link = sockets.link(inside, _DEVICE)
            index = link.index if link else 0
            up = netlink.set_link(_DEVICE, up=True)
            inside.apply(
                [*(netlink.add_peer(index, peer) for peer in sorted(state.vxlan.peers, key=str)), up], doing=doing
            )
            with PacketSocket(fd, _DEVICE) as endpoint:
                yield Trial(endpoint, mtu)
        finally:  # it would go with its namespace, but some time after: its VNI is to be free at once
            inside.apply([netlink.delete_link(_DEVICE)], doing="remove a trial VXLAN", ignore=_GONE)


def _mac(address: IpAddress | None) -> str:
    """A MAC that is another on each node."""
    packed = address.packed if address else os.urandom(4)
    if isinstance(address, IPv6Address):
        packed = packed[-4:]
    return _MAC % tuple(packed[-3:])
