"""What a LAN's bridge and VXLAN device have learned of single MAC addresses, and how it is taken out again.

The kernel is asked for one address (RTM_GETNEIGH, Linux 5.1), since a whole table may have thousands. Static and
permanent entries, and those that another program has put in, are not seen.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator

from pyroute2.netlink import nlmsg

from k8slan_cli.errors import KernelError
from k8slan_cli.lan.model import IpAddress
from k8slan_cli.net import netlink, sockets
from k8slan_cli.net.node import Handle
from k8slan_cli.plan.moves import ANY_MAC, Learned, Move, stale
from k8slan_cli.plan.operations import ForgetMac, ForgetPeer

_GONE = frozenset({errno.ENOENT, errno.ENODEV})
"""There is no such entry (any more), or no such link."""


def look(handle: Handle, moves: Iterable[Move], bridge: str, vxlan: str, port: str) -> Iterator[ForgetMac | ForgetPeer]:
    """Return what is to be forgotten after moves; ``port`` is the bridge port behind which other nodes are.

    Raises:
        KernelError: the kernel refused to tell.

    """
    names: dict[int, str] = {}
    for move in moves:
        if move.mac == ANY_MAC:
            if move.address and any(_behind(handle, vxlan, move.address)):
                yield ForgetPeer(vxlan, move.address, port)
            continue
        at_bridge = _learned(handle, netlink.get_bridge_entry(handle.index(bridge), move.mac))
        at_tunnel = _learned(handle, netlink.get_tunnel_entry(handle.index(vxlan), move.mac))
        learned = Learned(
            port=_name(handle, at_bridge["ifindex"], names) if at_bridge else "",
            peer=netlink.peer_of(at_tunnel) if at_tunnel else None,
        )
        yield from stale(move, learned, vxlan, port)


def _behind(handle: Handle, vxlan: str, peer: IpAddress) -> Iterator[nlmsg]:
    """Yield what a VXLAN device has learned from a VTEP."""
    found = handle.netlink.ask(netlink.get_fdb(handle.index(vxlan)), doing="read the FDB")
    mine = (entry for entry in found if entry["ifindex"] == handle.index(vxlan))
    return (entry for entry in mine if netlink.is_learned(entry) and netlink.peer_of(entry) == peer)


def forget_peer(handle: Handle, operation: ForgetPeer) -> None:
    """Carry the operation out.

    Raises:
        KernelError: the kernel refused.

    """
    messages = []
    port = handle.index(operation.port)
    for entry in _behind(handle, operation.vxlan, operation.peer):
        messages.append(netlink.remove_tunnel_entry(entry))
        messages.append(netlink.remove_bridge_entry(port, entry.get_attr("NDA_LLADDR")))
    handle.netlink.apply(messages, doing=operation.describe(), ignore=_GONE)


def _learned(handle: Handle, question: nlmsg) -> nlmsg | None:
    """Return the entry that was asked for, if it was learned."""
    try:
        (entry,) = handle.netlink.ask(question, doing="look into the FDB")
    except KernelError as error:
        if error.errno not in _GONE:
            raise
        if error.errno == errno.ENODEV:
            handle.indexes.clear()
        return None
    return entry if netlink.is_learned(entry) else None


def _name(handle: Handle, index: int, names: dict[int, str]) -> str:
    if index not in names:
        found = sockets.link(handle.netlink, index)
        names[index] = found.name if found else ""
    return names[index]


def forget(handle: Handle, operation: ForgetMac) -> None:
    """Carry the operation out; nothing happens if the entry is gone, or another by now.

    Raises:
        KernelError: the kernel refused.

    """
    link = sockets.link(handle.netlink, operation.link)
    if link is None:
        return
    if operation.peer is None:
        message = netlink.remove_bridge_entry(link.index, operation.mac)
    else:
        entry = _learned(handle, netlink.get_tunnel_entry(link.index, operation.mac))
        if entry is None or netlink.peer_of(entry) != operation.peer:
            return
        message = netlink.remove_tunnel_entry(entry)
    handle.netlink.apply([message], doing=operation.describe(), ignore=_GONE)
