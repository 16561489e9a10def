"""What k8slan knows of the kinds of nodes, as data: where a kind keeps its configuration, and what it needs to run.

A kind that is not here runs as a privileged container of its image, as containerlab runs all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of node.

    ``config`` is where its startup configuration lies, "" if that is not known; ``beside`` are files that it wants as
    well, ``save`` is the command that prints the configuration it runs with. ``privileged`` and ``capabilities`` are
    what its container may do; ``sysctls`` are set before it starts. ``args``, ``env`` and ``user`` are what its image
    is started with; ``systemd``: that is systemd, which hands on only those variables that its arguments name.
    All of these are defaults: what a file says goes before them.
    """

    config: str = ""
    beside: Mapping[str, str]
    save: tuple[str, ...] = ()
    privileged: bool = True
    capabilities: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    user: int | None = None
    systemd: bool = False


_FORWARDING = (("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1"))
_FRR = Kind(
    config="/etc/frr/frr.conf",
    beside={"/etc/frr/vtysh.conf": "service integrated-vtysh-config\n"},
    save=("vtysh", "-c", "show running-config no-header"),
    privileged=False,
    capabilities=("NET_ADMIN", "NET_RAW", "SYS_ADMIN"),
    sysctls=_FORWARDING,
)
_SRLINUX = Kind(
    config="/etc/opt/srlinux/config.json",
    beside={},
    save=("sr_cli", "-d", "info from running | as json"),
    args=("sudo", "bash", "-c", "touch /.dockerenv && /opt/srlinux/bin/sr_linux"),
    env=(("SRLINUX", "1"),),
    user=0,
)
_CEOS = Kind(
    config="/mnt/flash/startup-config",
    beside={},
    save=("Cli", "-p", "15", "-c", "show running-config"),
    args=("/sbin/init",),
    env=(
        ("CEOS", "1"),
        ("EOS_PLATFORM", "ceoslab"),
        ("container", "docker"),
        ("ETBA", "1"),
        ("SKIP_ZEROTOUCH_BARRIER_IN_SYSDBINIT", "1"),
        ("INTFTYPE", "eth"),
        ("MAPETH0", "1"),
        ("MGMT_INTF", "eth0"),
    ),
    systemd=True,
)
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
USER_SPACE = frozenset({"nokia_srlinux", "srl", "nokia_srsim", "fdio_vpp"})
"""Kinds that read frames as they come, and drop those whose checksums a kernel has left to others."""
_SRLINUX_PORT = re.compile(r"ethernet-([0-9]+)/([0-9]+)(?:/([0-9]+))?")
FRR_DAEMONS = (
    *("bgpd", "ospfd", "ospf6d", "ripd", "ripngd", "isisd", "pimd", "pim6d", "ldpd", "nhrpd", "eigrpd", "babeld"),
    *("sharpd", "pbrd", "bfdd", "fabricd", "vrrpd", "pathd"),
)
FRR_ALWAYS = ("zebra", "staticd", "mgmtd", "watchfrr")
DAEMONS_FILE = "/etc/frr/daemons"


def known(kind: str) -> Kind:
    """Return what is known of a kind."""
    return KINDS.get(kind, _OTHER)


def args(kind: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the arguments that a kind's image is started with where a file has none, with this environment."""
    found = known(kind)
    return (*found.args, *(f"systemd.setenv={key}={value}" for key, value in env.items() if found.systemd))


def interface(kind: str, name: str) -> str:
    """Return what Linux calls an interface that a file may call as the node itself does."""
    found = _SRLINUX_PORT.fullmatch(name) if known(kind) is _SRLINUX else None
    return "e" + "-".join(filter(None, found.groups())) if found else name


def is_frr(kind: str) -> bool:
    """Return whether a kind is FRRouting."""
    return known(kind) is _FRR


def daemons(wanted: tuple[str, ...]) -> str:
    """Return FRR's file of daemons: those to start."""
    lines = [f"{name}={'yes' if name in wanted else 'no'}" for name in FRR_DAEMONS]
    return "\n".join([*lines, "vtysh_enable=yes", ""])
