"""``k8slan lan`` and its commands by name. Each is in a module of its own and imports what it needs when called."""

from __future__ import annotations

import typer

from k8slan_cli.cli.lan import capture, create, delete, example, graph, inspect, link, listing, probe, spokes
from k8slan_cli.cli.panels import Panels

app = typer.Typer(
    name="lan",
    help="Make LANs, look at them, change and delete them.",
    add_completion=False,
    cls=Panels,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("create")(create.create)
app.command("list")(listing.listing)
app.command("inspect")(inspect.inspect)
app.command("graph")(graph.graph)
app.command("example")(example.example)
app.command("add-spoke")(spokes.add_spoke)
app.command("remove-spoke")(spokes.remove_spoke)
app.command("edit-spokes")(spokes.edit_spokes)
app.command("delete")(delete.delete)
app.command("probe")(probe.probe)
app.command("capture")(capture.capture)
app.command("link")(link.link)
