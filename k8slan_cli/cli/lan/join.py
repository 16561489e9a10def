"""``k8slan lan join-command``: how a Linux host outside the cluster becomes a VTEP of a LAN (RFC 7348, section 4)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.here import Here

if TYPE_CHECKING:
    from k8slan_cli.lan.model import IpAddress, Lan
    from k8slan_cli.lan.vtep import Vtep


@in_cluster
def join_command(
    here: Here,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The LAN.", autocompletion=completion.lans)],
    address: Annotated[
        str,
        typer.Option(metavar="IP", help="The host's own address, one of spec.remotes; needed if there are several."),
    ] = "",
    device: Annotated[
        str, typer.Option(metavar="DEV", help="The host's device that carries VXLAN; needed for multicast.")
    ] = "",
    bridge: Annotated[
        str, typer.Option(metavar="NAME", help="A bridge of the host that the LAN is to be joined to.")
    ] = "",
) -> None:
    """Print the commands by which a Linux host outside the cluster joins a LAN.

    They are for the nodes that take part now. Where others do later, run this again and what it prints, which first
    removes what was made before.

    Examples:
      # Joined to a bridge of the host
      k8slan lan join-command blue --device eth0 --bridge br0
    """
    from k8slan_cli.errors import K8slanError
    from k8slan_cli.inventory import lans, occupancy

    here, name = here.lan(name)
    lan = lans.sound(lans.one(here.cluster, here.namespace, name))
    seen = occupancy.vteps(here.cluster, here.namespace, name)
    if seen.vteps is None:
        raise K8slanError(seen.blind)
    if not lan.vni:
        raise K8slanError(f"LAN {lan.ref} has no VNI yet", hint=f"see: k8slan lan inspect {lan.ref}")
    own = _own(lan, address)
    if lan.group and not device:
        raise UsageError(f"LAN {lan.ref} uses the multicast group {lan.group}: say which device of the host carries it")
    if own not in lan.remotes:
        typer.echo(f"warning: nodes do not send to {own} yet: add it to spec.remotes of LAN {lan.ref}", err=True)
    typer.echo("\n".join(commands(lan, seen.vteps, own, device=device, bridge=bridge)))


def _own(lan: Lan, text: str) -> IpAddress:
    if text:
        try:
            return ip_address(text)
        except ValueError:
            raise UsageError(f"--address: {text!r} is not an IP address") from None
    if len(lan.remotes) == 1:
        return lan.remotes[0]
    which = f", one of {', '.join(map(str, lan.remotes))}" if lan.remotes else ", and add it to spec.remotes"
    raise UsageError(f"give the host's address with --address{which}")


def commands(lan: Lan, vteps: Collection[Vtep], own: IpAddress, *, device: str = "", bridge: str = "") -> Iterator[str]:
    """Yield lines for a shell: a VXLAN device like that of a node, which sends to nodes and to the other remotes."""
    from k8slan_cli.lan.vtep import least_mtu

    name = f"vxlan{lan.vni}"
    yield f"# Joins LAN {lan.ref} as {own}; run as root. Its firewall has to let UDP port {lan.port} in."
    yield f"ip link del {name} 2>/dev/null"
    # A device that is tied to another one takes no larger MTU than fits; a multicast group needs it.
    carried = [f"dev {device}"] if device and (lan.group or not lan.fragment) else []
    way = [f"group {lan.group}", *([f"ttl {lan.ttl}"] if lan.ttl else [])] if lan.group else [f"local {own}"]
    yield " ".join(["ip link add", name, "type vxlan id", str(lan.vni), *way, *carried, "dstport", str(lan.port)])
    others = [
        (vtep.address, f"node {vtep.node}") for vtep in vteps if vtep.takes_part and vtep.address and not lan.group
    ]
    others += [(remote, "another remote") for remote in lan.remotes if remote != own]
    for peer, who in sorted(others, key=lambda other: str(other[0])):
        if peer.version == own.version:
            yield f"bridge fdb append 00:00:00:00:00:00 dev {name} dst {peer}  # {who}"
    mtu = least_mtu(vteps)
    if mtu and not (lan.fragment and lan.group):
        yield f"ip link set {name} mtu {mtu}"
    if bridge and lan.fragment:
        yield from _by_redirect(name, bridge, mtu or lan.wanted_mtu)
    elif bridge:
        yield f"ip link set {name} master {bridge}"
        yield f"ip link set {name} type bridge_slave group_fwd_mask 65533  # LLDP, LACP and STP, too"
    yield f"ip link set {name} up"


def _by_redirect(name: str, bridge: str, mtu: int | None) -> Iterator[str]:
    """Join a VXLAN device to a bridge without making it a port, which could not take frames that do not fit."""
    port, match = f"{name}b", "protocol all prio 1 u32 match u32 0 0 action mirred"
    yield f"ip link del {port} 2>/dev/null"
    yield f"ip link add {port} mtu {mtu} type veth peer name {name}v mtu {mtu}"
    yield f"ip link set {name}v up"
    yield f"ip link set {port} master {bridge} up"
    yield f"ip link set {port} type bridge_slave group_fwd_mask 65533  # LLDP, LACP and STP, too"
    yield f"tc qdisc add dev {port} clsact"
    yield f"tc filter add dev {port} egress {match} egress redirect dev {name}"
    yield f"tc qdisc add dev {name} clsact"
    yield f"tc filter add dev {name} ingress {match} ingress redirect dev {port}"
