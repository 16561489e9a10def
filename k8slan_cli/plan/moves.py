"""MAC addresses that change their place, as VTEPs tell of it, and which learned entries are then stale. Pure.

A bridge and a VXLAN device learn where a MAC address is from what is sent with it, and keep that for five minutes. A
pod that comes back on another node and says nothing would not be reached for so long, so what VTEPs tell of a move
takes the stale entries out. That is done once for each move, and nothing is put in: a pod may send with any address,
and where its frames come from is the only truth about that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from k8slan_cli.lan.model import IpAddress
from k8slan_cli.lan.vtep import Vtep
from k8slan_cli.plan.operations import ForgetMac

ANY_MAC = ""
"""In a ``Move``: all addresses that were learned from a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A MAC address that has come to a place, or has ``left`` it.

    The place is ``address``, another node's VTEP, or else ``port``, a bridge port of this node.
    """

    mac: str
    address: IpAddress | None = None
    port: str = ""
    left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Where a MAC address is by what was learned: a bridge port, and a VTEP behind the VXLAN device; or nowhere."""

    port: str = ""
    peer: IpAddress | None = None


def moves(old: Vtep | None, new: Vtep | None) -> tuple[Move, ...]:
    """Return what has moved between two versions of another node's VTEP; None is one that is not there.

    A VM that migrates speaks at its old place until it has moved, and tells the bridges itself then.
    """
    before, after = _places(old), _places(new)
    coming = {port.mac for port in new.ports if port.migrating} if new else ()
    left = [Move(mac=mac, address=address, left=True) for mac, address in before.items() if after.get(mac) != address]
    come = [
        Move(mac=mac, address=address)
        for mac, address in after.items()
        if before.get(mac) != address and mac not in coming
    ]
    return (*left, *come)


def handovers(changes: Iterable[tuple[Vtep | None, Vtep | None]], vteps: Iterable[Vtep], node: str) -> tuple[Move, ...]:
    """Return what has moved if changes of VTEPs say that another uplink is active now.

    That is all hardware: what was learned from nodes whose uplinks are not the active one is forgotten.
    """
    came = {new.node for old, new in changes if new and _is_active(new) and not _is_active(old)}
    left = (vtep.address for vtep in vteps if vtep.uplinks and vtep.node not in {*came, node}) if came else ()
    return tuple(Move(mac=ANY_MAC, address=address, left=True) for address in left if address)


def _is_active(vtep: Vtep | None) -> bool:
    return vtep is not None and any(uplink.active for uplink in vtep.uplinks)


def _places(vtep: Vtep | None) -> dict[str, IpAddress]:
    if vtep is None or vtep.address is None:
        return {}
    return {port.mac: vtep.address for port in vtep.ports if port.mac}


def stale(move: Move, learned: Learned, vxlan: str, port: str = "") -> Iterator[ForgetMac]:
    """Return what has to be forgotten after a move; ``port`` is the VXLAN device's bridge port, if not itself."""
    port = port or vxlan
    peer = learned.peer
    gone = peer is not None and (peer == move.address if move.left else peer != move.address)
    if peer is not None and gone:
        yield ForgetMac(move.mac, vxlan, peer)
    if not learned.port:
        return
    if learned.port != (move.port or port) if not move.left else (gone and learned.port == port):
        yield ForgetMac(move.mac, learned.port)
