"""The command line: every command by its name, each in a module of its own that is imported when it is called."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from k8slan_cli import __version__
from k8slan_cli.cli.arguments import usual
from k8slan_cli.cli.panels import HELP, Late, Panels

_HERE = "k8slan_cli.cli"
_CLUSTER, _INSIDE = "In a cluster", "Run by the manifests"


class _Commands(Panels):
    late = {  # noqa: RUF012 - as the class above has it
        "lan": Late(f"{_HERE}.lan.app:app", "Create, inspect, edit and delete LANs."),
        "lab": Late(f"{_HERE}.lab.app:app", "Run labs of containerlab's or KNE's topology files."),
        "demo": Late(
            f"{_HERE}.demo:demo",
            "Build a LAN over nodes made on this machine, without Kubernetes, "
            "and send every class of frame through it.",
        ),
        "completion": Late(
            f"{_HERE}.completion:completion", "Print what completes k8slan's commands at TAB in a shell."
        ),
        "render": Late(
            f"{_HERE}.render:render",
            "Print the manifests of k8slan, or the NetworkAttachmentDefinitions of a LAN.",
            _CLUSTER,
        ),
        "install": Late(
            f"{_HERE}.install:install",
            "Install k8slan into a cluster, or bring an installation to this version and these settings.",
            _CLUSTER,
        ),
        "uninstall": Late(f"{_HERE}.install:uninstall", "Remove k8slan from a cluster.", _CLUSTER),
        "doctor": Late(
            f"{_HERE}.doctor:doctor",
            "Check the cluster, its nodes and the network between them for all that LANs need.",
            _CLUSTER,
        ),
        "status": Late(
            f"{_HERE}.status:status",
            "Show on one screen how k8slan is in the cluster: its parts, its LANs, and what needs a look.",
            _CLUSTER,
        ),
        "ui": Late(
            f"{_HERE}.ui:ui",
            "Show LANs and who is on them live, on a page of this machine; "
            "pull links, shape, capture and probe from there.",
            _CLUSTER,
        ),
        "version": Late(
            f"{_HERE}.status:version",
            "Print the versions of this command, of Kubernetes, and of k8slan's controller and agents in the cluster.",
            _CLUSTER,
        ),
        "sysdump": Late(
            f"{_HERE}.status:sysdump",
            "Write what a report of a bug needs into a file: versions, LANs, VTEPs, events, agents' state and logs, "
            "checks.",
            _CLUSTER,
        ),
        "controller": Late(
            f"{_HERE}.controller:controller",
            "Reconcile NADs, status and finalizers; serve the admission webhook.",
            _INSIDE,
        ),
        "node-agent": Late(
            f"{_HERE}.node_agent:node_agent",
            "Reconcile this node's LANs and serve CNI requests.",
            _INSIDE,
        ),
        "install-cni": Late(
            f"{_HERE}.install_cni:install_cni", "Install the CNI executables into a folder of the node.", _INSIDE
        ),
        "cni": Late(
            f"{_HERE}.app:cni",
            "Answer a CNI call (environment and stdin as the CNI spec has it) through the node's agent.",
            _INSIDE,
            {"ignore_unknown_options": True},
        ),
    }

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the words of a command line, also of one that is to be completed, as kubectl would."""
        return super().parse_args(ctx, usual(args))


app = typer.Typer(
    name="k8slan",
    help="Virtual layer-2 LANs for Kubernetes pods and KubeVirt VMs.",
    epilog="-n NAMESPACE, --context, --kubeconfig and --as may stand before or behind a command.",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)


def _version(wanted: bool) -> None:
    if wanted:
        from k8slan_cli.origin import origin

        typer.echo(f"k8slan {__version__} ({origin()})")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Virtual layer-2 LANs for Kubernetes pods and KubeVirt VMs: one LAN object, one switch that passes everything."""


def cni() -> None:
    """Answer a CNI call (environment and stdin as the CNI spec has it) through the node's agent.

    Examples:
      CNI_COMMAND=VERSION k8slan cni < net.conf
    """
    from k8slan_cli.cli.cni import main as answer

    raise typer.Exit(answer())
