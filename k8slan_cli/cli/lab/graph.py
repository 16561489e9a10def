"""``k8slan lab graph``: a lab as network engineers draw it, as it is in the cluster now."""

from __future__ import annotations

from typing import Annotated

import typer

from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lab import source
from k8slan_cli.cli.lan.graph import Drawn, Picture, Unfolded, View, Watched, show


@in_cluster
def graph(
    here: Here,
    lab: source.LabOrTopology,
    output: Drawn = Picture.TERMINAL,
    by: Annotated[
        View, typer.Option("--by", help="device: nodes of the lab and its links. node: the nodes of the cluster.")
    ] = View.DEVICE,
    unfold: Unfolded = False,
    watch: Watched = False,
) -> None:
    """Draw a lab that is up: its nodes, and the links between them.

    Examples:
      k8slan lab graph frr01 -n lab

      # A page that needs nothing beside it
      k8slan lab graph frr01 -n lab -o html > frr01.html
    """
    from k8slan_cli.cli.lab import state
    from k8slan_cli.lan import names

    wanted = source.lab(lab)
    state.of(here, wanted)
    name = names.lab(wanted)
    selector = f"{names.LAB_LABEL}={name}"
    show(here, (), output, selector=selector, by=by, unfold=unfold, watch=watch, of=f"lab {name}")
