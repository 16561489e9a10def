"""``k8slan node-agent``: what a DaemonSet runs on every node, or a person on one machine."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.errors import K8slanError

if TYPE_CHECKING:
    from k8slan_cli.agent.agent import Agent
    from k8slan_cli.agent.run import Options
    from k8slan_cli.agent.sources import Source


def node_agent(
    lan_dir: Annotated[
        Path | None, typer.Option(help="Read LANs from the YAML files of this folder instead of the Kubernetes API.")
    ] = None,
    node_name: Annotated[
        str, typer.Option(envvar="NODE_NAME", help="This node's name. Without it: the machine's host name.")
    ] = "",
    node_ip: Annotated[
        str, typer.Option(envvar="NODE_IP", help="The node's InternalIP: its device is the default underlay.")
    ] = "",
    run_dir: Annotated[Path, typer.Option(help="Where socket, records and namespaces are.")] = Path("/run/k8slan"),
    host_root: Annotated[Path, typer.Option(help="Where the node's own file system is seen.")] = Path("/"),
    http: Annotated[
        str, typer.Option(help="HOST:PORT of /healthz, /readyz and /metrics; empty for none.")
    ] = "127.0.0.1:9402",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done now, and do nothing.")] = False,
) -> None:
    """Keep this node's part of every LAN as it should be, and answer CNI calls."""
    import asyncio

    from k8slan_cli.agent import run

    logging.basicConfig(
        stream=sys.stderr, level=_level(log_level), format="%(asctime)s %(levelname)-7s %(message)s", force=True
    )
    options = _options(node_name, node_ip, run_dir, host_root, http)
    if dry_run:
        for name, words in asyncio.run(run.preview(options, _source_of(lan_dir))):
            typer.echo(f"{name}: " + ("nothing to do" if not words else f"{len(words)} operations"))
            for text in words:
                typer.echo(f"  {text}")
        return
    asyncio.run(run.run(options, _source_of(lan_dir)))


def _level(name: str) -> int:
    levels = logging.getLevelNamesMapping()
    if name.upper() not in levels:
        raise K8slanError(f"{name!r} is not a log level", hint="debug, info, warning or error")
    return levels[name.upper()]


def _options(node_name: str, node_ip: str, run_dir: Path, host_root: Path, http: str) -> Options:
    import socket

    from k8slan_cli.agent.passes import Self
    from k8slan_cli.agent.paths import Paths
    from k8slan_cli.agent.run import Options

    try:
        address = ip_address(node_ip) if node_ip else None
    except ValueError:
        raise K8slanError(f"--node-ip: {node_ip!r} is not an IP address") from None
    host = socket.gethostname()
    me = Self(name=node_name or host, aliases=frozenset({host}), address=address)
    return Options(paths=Paths(run_dir.absolute()), me=me, host_root=host_root, http=http or None)


def _source_of(lan_dir: Path | None) -> Callable[[Agent], Source]:
    def make(_agent: Agent) -> Source:
        if lan_dir is not None:
            from k8slan_cli.agent.sources import FolderSource

            return FolderSource(lan_dir)
        raise K8slanError("there is no --lan-dir")

    return make
