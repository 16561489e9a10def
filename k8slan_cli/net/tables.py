"""What people ask of a LAN's namespace as a whole: the counters of its ports, and what has been learned of addresses.

fdb.py looks for single addresses, as a table may have thousands; here all of them are wanted.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pyroute2.netlink import nlmsg

from k8slan_cli.errors import KernelError
from k8slan_cli.lan.model import IpAddress
from k8slan_cli.net import netlink, sockets
from k8slan_cli.net.node import Handle

_GONE = frozenset({errno.ENOENT, errno.ENODEV})
_FEW = 8
"""So many links are asked for one by one; more come all at once."""
_TICKS = 100  # USER_HZ, in which the kernel tells ages


def counted(handle: Handle, names: Collection[str]) -> dict[str, tuple[bool, Mapping[str, int]]]:
    """Return of links by name whether each has a carrier, and its counters; those that are not there are left out.

    Raises:
        KernelError: the kernel refused to tell.

    """
    if len(names) > _FEW:
        told = handle.netlink.ask(netlink.get_links(), doing="read counters")
    else:
        told = []
        for name in names:
            with contextlib.suppress(KernelError):  # one that has gone this moment is as one without a link
                told += handle.netlink.ask(netlink.get_link(name), doing="read counters")
    links = ((netlink.carries(message), message) for message in told)
    return {name: (carrier, netlink.counters(message)) for (name, carrier), message in links if name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A learned MAC address: at which ``link``, at the VXLAN device behind which ``peer``, and for how long unheard.

    ``age`` is in seconds. A bridge knows an address behind a peer too, at its VXLAN port: that one has no ``peer``.
    """

    mac: str
    link: str
    age: int
    peer: IpAddress | None = None


def learned(handle: Handle) -> list[Entry]:
    """Return what has been learned.

    Raises:
        KernelError: the kernel refused to tell.

    """
    names = {link.index: link.name for link in sockets.links(handle.netlink)}
    return [
        Entry(
            mac=entry.get_attr("NDA_LLADDR"),
            link=names.get(entry["ifindex"], ""),
            age=_age(entry),
            peer=netlink.peer_of(entry),
        )
        for entry in _entries(handle)
    ]


def flush(handle: Handle, mac: str = "") -> int:
    """Forget what was learned, of one address or of all; returns how many entries that were.

    Raises:
        KernelError: the kernel refused.

    """
    messages = [
        netlink.remove_tunnel_entry(entry)
        if netlink.peer_of(entry)
        else netlink.remove_bridge_entry(entry["ifindex"], entry.get_attr("NDA_LLADDR"))
        for entry in _entries(handle)
        if mac in ("", entry.get_attr("NDA_LLADDR"))
    ]
    handle.netlink.apply(messages, doing="flush the FDB", ignore=_GONE)
    return len(messages)


def _entries(handle: Handle) -> Iterator[nlmsg]:
    for entry in handle.netlink.ask(netlink.get_fdb(0), doing="read the FDB"):
        if netlink.is_learned(entry) and entry.get_attr("NDA_LLADDR"):
            yield entry


def _age(entry: nlmsg) -> int:
    """Return for how many seconds no frame has come from an address."""
    told = entry.get_attr("NDA_CACHEINFO") or {}
    return int(told.get("ndm_updated", 0)) // _TICKS
