"""What k8slan knows of the kinds of nodes, as data: where a kind keeps its configuration, and what it needs to run.

A kind that is not here runs as a privileged container of its image, as containerlab runs all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of node.

    ``config`` is where its startup configuration lies, "" if that is not known; ``beside`` are files that it wants as
    well, ``save`` is the command that prints the configuration it runs with. ``privileged`` and ``capabilities`` are
    what its container may do; ``sysctls`` are set before it starts.
    """

    config: str = ""
    beside: Mapping[str, str]
    save: tuple[str, ...] = ()
    privileged: bool = True
    capabilities: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()


_FORWARDING = (("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1"))
_FRR = Kind(
    config="/etc/frr/frr.conf",
    beside={"/etc/frr/vtysh.conf": "service integrated-vtysh-config\n"},
    save=("vtysh", "-c", "show running-config no-header"),
    privileged=False,
    capabilities=("NET_ADMIN", "NET_RAW", "SYS_ADMIN"),
    sysctls=_FORWARDING,
)
_SRLINUX = Kind(config="/etc/opt/srlinux/config.json", beside={}, save=("sr_cli", "-d", "info from running | as json"))
_CEOS = Kind(config="/mnt/flash/startup-config", beside={}, save=("Cli", "-p", "15", "-c", "show running-config"))
_CRPD = Kind(config="/config/juniper.conf", beside={}, save=("cli", "show", "configuration"))
_LINUX = Kind(beside={}, privileged=False, capabilities=("NET_ADMIN", "NET_RAW"))
_OTHER = Kind(beside={})

KINDS: Mapping[str, Kind] = {
    "linux": _LINUX,
    "frr": _FRR,
    "frrouting": _FRR,
    "nokia_srlinux": _SRLINUX,
    "srl": _SRLINUX,
    "arista_ceos": _CEOS,
    "ceos": _CEOS,
    "juniper_crpd": _CRPD,
    "crpd": _CRPD,
}
FRR_DAEMONS = (
    *("bgpd", "ospfd", "ospf6d", "ripd", "ripngd", "isisd", "pimd", "pim6d", "ldpd", "nhrpd", "eigrpd", "babeld"),
    *("sharpd", "pbrd", "bfdd", "fabricd", "vrrpd", "pathd"),
)
FRR_ALWAYS = ("zebra", "staticd", "mgmtd", "watchfrr")
DAEMONS_FILE = "/etc/frr/daemons"


def known(kind: str) -> Kind:
    """Return what is known of a kind."""
    return KINDS.get(kind, _OTHER)


def is_frr(kind: str) -> bool:
    """Return whether a kind is FRRouting."""
    return known(kind) is _FRR


def daemons(wanted: tuple[str, ...]) -> str:
    """Return FRR's file of daemons: those to start."""
    lines = [f"{name}={'yes' if name in wanted else 'no'}" for name in FRR_DAEMONS]
    return "\n".join([*lines, "vtysh_enable=yes", ""])
