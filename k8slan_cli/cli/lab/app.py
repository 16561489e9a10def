"""``k8slan lab`` and its commands by name, each in a module of its own that is imported when it is called."""

from __future__ import annotations

import typer

from k8slan_cli.cli.panels import HELP, Late, Panels

_HERE = "k8slan_cli.cli.lab"


class _Commands(Panels):
    late = {  # noqa: RUF012 - as the class above has it
        "render": Late(f"{_HERE}.render:render", "Print the Kubernetes manifests of a lab."),
        "up": Late(f"{_HERE}.up:up", "Bring a lab up, or to what its topology file says now."),
        "down": Late(f"{_HERE}.down:down", "Take a lab down: all of its objects."),
        "inspect": Late(f"{_HERE}.inspect:inspect", "Show a lab's nodes and links, or list the labs that are up."),
        "graph": Late(f"{_HERE}.graph:graph", "Draw a lab that is up: its nodes, and the links between them."),
        "exec": Late(f"{_HERE}.execute:execute", "Run a command in a node of a lab."),
        "save": Late(f"{_HERE}.save:save", "Save the configurations that the nodes of a lab run with, as files."),
    }
    aliases = {  # noqa: RUF012 - as the class above has it
        "deploy": "up",
        "destroy": "down",
        "show": "inspect",
        "list": "inspect",
        "ls": "inspect",
    }


app = typer.Typer(
    name="lab",
    help="Run labs of containerlab's or KNE's topology files.",
    add_completion=False,
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=HELP,
)


@app.callback()
def main() -> None:
    """Run labs of containerlab's or KNE's topology files."""
