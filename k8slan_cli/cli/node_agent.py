"""``k8slan node-agent``: what a DaemonSet runs on every node, or a person on one machine."""

from __future__ import annotations

import asyncio
import os
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import logs, service
from k8slan_cli.errors import K8slanError
from k8slan_cli.lan.resources import MAX_PODS

if TYPE_CHECKING:
    from k8slan_cli.agent.agent import Agent
    from k8slan_cli.agent.run import AgentOptions, Edge, Preview
    from k8slan_cli.kube.client import Client
    from k8slan_cli.kube.vteps import VtepWriter

_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")


def node_agent(
    lan_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Read LANs from the YAML files of this folder instead of the Kubernetes API."
        ),
    ] = None,
    node_name: Annotated[
        str,
        typer.Option(metavar="NAME", envvar="NODE_NAME", help="This node's name. Without it: the machine's host name."),
    ] = "",
    node_ip: Annotated[
        str,
        typer.Option(metavar="IP", envvar="NODE_IP", help="The node's InternalIP: its device is the default underlay."),
    ] = "",
    run_dir: Annotated[Path, typer.Option(metavar="FOLDER", help="Where socket, records and namespaces are.")] = Path(
        "/run/k8slan"
    ),
    host_root: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the node's own file system is seen.")] = Path(
        "/"
    ),
    device_plugins: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help=f"The kubelet's folder of device plugins; with --lan-dir none, else {_DEVICE_PLUGINS}.",
        ),
    ] = None,
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve /healthz, /readyz and /metrics; empty for none.")
    ] = "127.0.0.1:9402",
    diagnostics_address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Loopback address of what serves lan probe, lan capture and doctor; empty for none.",
        ),
    ] = "127.0.0.1:9403",
    handover: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, max=30, help="How long a pod waits for a spoke that another pod still has."
        ),
    ] = 5.0,
    max_pods: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="How many pods the node takes: each spoke's resource for pods has as many devices."
        ),
    ] = MAX_PODS,
    log_level: logs.LevelOption = "info",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done now, and do nothing.")] = False,
) -> None:
    """Reconcile this node's LANs and serve CNI requests.

    Examples:
      # Without a cluster, by the LANs of a folder
      k8slan node-agent --lan-dir /etc/k8slan --node-ip 192.0.2.1

      # What it would do now
      k8slan node-agent --lan-dir /etc/k8slan --node-ip 192.0.2.1 --dry-run
    """
    logs.begin(log_level)
    options = _options(node_name, node_ip, run_dir, host_root, http, handover)
    if lan_dir is not None:
        offer = _offer_devices(device_plugins, max_pods) if device_plugins else None
        service.run(_on_folder(options, lan_dir, offer, diagnostics_address, dry_run=dry_run))
    else:
        offer = _offer_devices(device_plugins or _DEVICE_PLUGINS, max_pods)
        service.run(_in_cluster(options, offer, diagnostics_address, dry_run=dry_run))


def _options(node_name: str, node_ip: str, run_dir: Path, host_root: Path, http: str, handover: float) -> AgentOptions:
    import socket

    from k8slan_cli.agent.passes import Self
    from k8slan_cli.agent.paths import Paths
    from k8slan_cli.agent.run import AgentOptions

    try:
        address = ip_address(node_ip) if node_ip else None
    except ValueError:
        raise K8slanError(f"--node-ip: {node_ip!r} is not an IP address") from None
    host = socket.gethostname()
    me = Self(name=node_name or host, aliases=frozenset({host}), address=address)
    return AgentOptions(
        paths=Paths(run_dir.absolute()), me=me, host_root=host_root, http=http or None, handover=handover
    )


async def _on_folder(
    options: AgentOptions, folder: Path, offer: Edge | None, diagnostics: str, *, dry_run: bool
) -> None:
    from k8slan_cli.agent import run
    from k8slan_cli.agent.sources import FolderSource

    source = FolderSource(folder)
    if dry_run:
        _show(await run.preview(options, source))
    else:
        edges = [*([offer] if offer else []), _keep_uplinks()]
        await run.run(options, source, [*edges, *_serve_diagnostics(diagnostics)])


async def _in_cluster(options: AgentOptions, offer: Edge, diagnostics: str, *, dry_run: bool) -> None:
    from k8slan_cli.agent import run
    from k8slan_cli.kube.client import Client
    from k8slan_cli.kube.kubeconfig import access
    from k8slan_cli.kube.lans import ApiSource
    from k8slan_cli.kube.transport import Asynchronous
    from k8slan_cli.kube.vteps import VtepWatch, VtepWriter

    client = Client(Asynchronous(access()), "k8slan-node-agent")
    source = ApiSource(client)
    try:
        vteps = VtepWatch(client)
        if dry_run:
            _show(await run.preview(options, source, vteps))
        else:
            edges = [offer, _publish(VtepWriter(client, options.me.name))]
            edges += [
                _keep_uplinks(client),
                lambda _: vteps.run(),
                _tell_troubles(client),
                *_serve_diagnostics(diagnostics, client),
            ]
            try:
                await run.run(options, source, edges, vteps)
            finally:
                await vteps.close()
    finally:
        await client.close()


def _publish(writer: VtepWriter) -> Edge:
    async def publish(agent: Agent) -> None:
        from k8slan_cli.agent.publish import Publisher

        agent.migrates = writer.migrates
        await Publisher(agent, writer).run()

    return publish


def _keep_uplinks(client: Client | None = None) -> Edge:
    """Open and close this node's uplinks; with a ``client``, by Leases."""

    async def keep(agent: Agent) -> None:
        from k8slan_cli.agent.uplinks import Uplinks

        if client is None:
            await Uplinks(agent).run()
            return
        from k8slan_cli.kube import lease, tokens

        await Uplinks(agent, lease.UplinkLeases(client, tokens.own_namespace(), agent.me.name)).run()

    return keep


def _tell_troubles(client: Client) -> Edge:
    """Events about the agent's own pod, which its environment names."""

    async def tell(agent: Agent) -> None:
        from k8slan_cli.kube import tokens
        from k8slan_cli.kube.events import Event, Events
        from k8slan_cli.lan.model import LanRef

        pod = LanRef(namespace=tokens.own_namespace(), name=os.environ.get("POD_NAME", ""))
        events, news, told = Events(client, "k8slan-node-agent", agent.me.name), asyncio.Event(), set[str]()
        agent.troubles.on_change.append(news.set)
        while pod.name:
            now = {f"{what}: {error}" for what, error in agent.troubles}
            for note in now - told:
                uid = os.environ.get("POD_UID", "")
                await events.tell(Event(kind="Pod", ref=pod, uid=uid, reason="AgentTrouble", note=note, warning=True))
            told = now
            await news.wait()
            news.clear()
        await asyncio.Event().wait()

    return tell


def _offer_devices(folder: Path, max_pods: int) -> Edge:
    async def offer(agent: Agent) -> None:
        from k8slan_cli.agent.devices import Devices
        from k8slan_cli.kubelet.plugins import Plugins

        await Devices(agent, Plugins(folder), max_pods).run()

    return offer


def _serve_diagnostics(address: str, client: Client | None = None) -> list[Edge]:
    """The diagnostics endpoint; with a ``client``, for those whom its cluster knows."""

    async def serve(agent: Agent) -> None:
        from k8slan_cli.agent import diagnostics
        from k8slan_cli.agent.guard import ClusterGuard, FileGuard
        from k8slan_cli.diagnose.protocol import ACCOUNT, AUDIENCE

        if client is None:
            await diagnostics.serve(agent, address, FileGuard(agent.paths.token))
            return
        from k8slan_cli.kube import tokens

        async def user_of(token: str) -> str:
            return await tokens.user_of(client, token, AUDIENCE)

        user = tokens.service_account(tokens.own_namespace(), ACCOUNT)
        await diagnostics.serve(agent, address, ClusterGuard(user_of, user))

    return [serve] if address else []


def _show(found: Preview) -> None:
    from k8slan_cli.cli.lan.text import plural

    known = f"{plural(found.lans, 'LAN')}, {plural(found.attachments, 'attachment')}"
    work = any(found.operations.values())
    typer.echo(known if work else f"{known}: nothing to do")
    for name, words in found.operations.items():
        typer.echo(f"{name}: " + ("nothing to do" if not words else f"{len(words)} operations"))
        for text in words:
            typer.echo(f"  {text}")
