"""Who has a port of the node: a program, which /proc tells, or one of the kernel's own VXLAN devices.

``/proc/net`` is this process's own, so of the node's namespace; the processes are those of the node, whose /proc an
agent in a container sees below ``host_root``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from k8slan_cli.net import netlink, sockets
from k8slan_cli.net.node import Node

Protocol = Literal["tcp", "udp"]
_LISTENS = "0A"


def holder(node: Node, protocol: Protocol, port: int) -> str:
    """Return who has a port, "" if that cannot be told. It reads all of /proc, so it is for when something is wrong."""
    sought = set(_inodes(protocol, port))
    programs = sorted(set(_programs(node.host_root / "proc", sought))) if sought else []
    devices = [f"VXLAN device {name}" for name in _devices(node, port)] if protocol == "udp" else []
    return ", ".join(programs or devices)


def advice(node: Node, port: int) -> str:
    """Return what to do where a UDP port cannot be had for VXLAN."""
    who = holder(node, "udp", port) or f"another program (see ss -ulpn 'sport = {port}')"
    return f"UDP port {port} is held by {who}: end that, or set another spec.vxlanPort"


def _inodes(protocol: Protocol, port: int) -> Iterator[str]:
    """The inodes of sockets at a port (proc(5), /proc/net/tcp)."""
    for family in ("", "6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{protocol}{family}").read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port and (protocol == "udp" or fields[3] == _LISTENS):
                    yield fields[9]


def _programs(proc: Path, inodes: set[str]) -> Iterator[str]:
    names = {f"socket:[{inode}]" for inode in inodes - {"0"}}
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if any(_target(fd) in names for fd in (process / "fd").iterdir()):
                yield f"{(process / 'comm').read_text().strip()} (process {process.name})"


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _devices(node: Node, port: int) -> list[str]:
    links = (link for link in sockets.links(node.netlink) if link.kind == "vxlan")
    return [link.name for link in links if netlink.vxlan_options(link)[1] == port]
