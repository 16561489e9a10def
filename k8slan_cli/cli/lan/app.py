"""``k8slan lan`` and its commands by name, each in a module of its own that is imported when it is called."""

from __future__ import annotations

import typer

from k8slan_cli.cli.panels import HELP, Late, Panels

_HERE = "k8slan_cli.cli.lan"


class _Commands(Panels):
    late = {  # noqa: RUF012 - as the class above has it
        "create": Late(f"{_HERE}.create:create", "Create a LAN."),
        "list": Late(f"{_HERE}.listing:listing", "List LANs."),
        "inspect": Late(
            f"{_HERE}.inspect:inspect",
            "Show a LAN: what it should be, what it is on every node, who is on it, and why it is not ready.",
        ),
        "top": Late(
            f"{_HERE}.top:top", "Show what goes through the attachments of LANs, again and again: rates, drops, links."
        ),
        "macs": Late(
            f"{_HERE}.macs:macs",
            "List the MAC addresses that a LAN's nodes have learned: who sends with each, on which node, when last.",
        ),
        "graph": Late(f"{_HERE}.graph:graph", "Draw LANs and who is on them."),
        "example": Late(
            f"{_HERE}.example:example",
            "Print a manifest that is plugged into a LAN, to change and to apply with kubectl.",
        ),
        "add-spoke": Late(f"{_HERE}.spokes:add_spoke", "Add spokes to a LAN."),
        "remove-spoke": Late(
            f"{_HERE}.spokes:remove_spoke", "Remove spokes from a LAN; refused while a pod or VM holds one of them."
        ),
        "edit-spokes": Late(
            f"{_HERE}.spokes:edit_spokes",
            "Edit the spokes of a LAN in your editor ($VISUAL, $EDITOR), one on each line.",
        ),
        "set": Late(f"{_HERE}.set:set_", "Change fields of a LAN."),
        "delete": Late(f"{_HERE}.delete:delete", "Delete LANs."),
        "probe": Late(
            f"{_HERE}.probe:probe",
            "Send every class of frames between attachments of a LAN, and say what became of them.",
        ),
        "capture": Late(f"{_HERE}.capture:capture", "Capture frames at attachments of pods and VMs, as pcapng."),
        "join-command": Late(
            f"{_HERE}.join:join_command",
            "Print the commands by which a Linux host outside the cluster joins a LAN.",
        ),
        "link": Late(
            f"{_HERE}.link:link", "Pull a pod's or VM's cable out, put it back, or make it slow, late or lossy."
        ),
    }
    aliases = {"get": "list", "ls": "list", "describe": "inspect", "show": "inspect", "rm": "delete"}  # noqa: RUF012
    instead = {  # noqa: RUF012 - as the class above has it
        "edit": "To edit a LAN's spokes: k8slan lan edit-spokes NAME. "
        "To change a field: k8slan lan set NAME. To edit all of it: kubectl edit lan NAME",
        "apply": "To create LANs of files: k8slan lan create -f FILE. To change them: kubectl apply -f FILE",
    }


app = typer.Typer(
    name="lan",
    help="Create, inspect, edit and delete LANs.",
    add_completion=False,
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=HELP,
)


@app.callback()
def main() -> None:
    """Create, inspect, edit and delete LANs."""
