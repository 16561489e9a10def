"""The command line: every command by its name. Each is in a module of its own and imports what it needs when called."""

from __future__ import annotations

from typing import Annotated

import typer

from k8slan_cli import __version__
from k8slan_cli.cli import controller, demo, install, install_cni, node_agent, render
from k8slan_cli.cli.panels import Panels


class _Commands(Panels):
    late = {"lan": ("k8slan_cli.cli.lan.app", "Make LANs, look at them, change and delete them.")}  # noqa: RUF012


app = typer.Typer(
    name="k8slan",
    help="Virtual layer-2 LANs for Kubernetes pods and KubeVirt VMs.",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"k8slan {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Virtual layer-2 LANs for Kubernetes pods and KubeVirt VMs: one LAN object, one switch that passes everything."""


_CLUSTER, _NODE = "In a cluster", "On a node"

app.command("demo")(demo.demo)
app.command("render", rich_help_panel=_CLUSTER)(render.render)
app.command("install", rich_help_panel=_CLUSTER)(install.install)
app.command("uninstall", rich_help_panel=_CLUSTER)(install.uninstall)
app.command("controller", rich_help_panel=_CLUSTER)(controller.controller)
app.command("node-agent", rich_help_panel=_NODE)(node_agent.node_agent)
app.command("install-cni", rich_help_panel=_NODE)(install_cni.install_cni)


@app.command("cni", rich_help_panel=_NODE, context_settings={"ignore_unknown_options": True})
def cni() -> None:
    """Answer a CNI call (environment and stdin as the CNI spec has it) through the node's agent."""
    from k8slan_cli.cli.cni import main as answer

    raise typer.Exit(answer())
