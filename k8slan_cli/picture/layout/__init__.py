"""Where devices, LANs and wires go in a picture of a topology: columns from left to right, wires between them.

::

    ┌──────┐ eth1       eth1 ┌──────┐ eth2     ┃ blue      a LAN of two is a wire, any other a bus: a bar
    │ core ├─────────────────┤ leaf ├──────────┨           with a name, and a grid of those that are on it alone
    └──────┘                 └──────┘          ┃           and are many

Those that are joined to one device alone, and are many, are a grid too, at a bundle of their wires.

A topology becomes parts and what joins them (``parts``, ``grid``); parts get columns (``ranks``) and places
(``spacing``), and are drawn (``drawing``) as a ``plan``, for SVG and for the page of ``k8slan ui``. Pure.
"""

from __future__ import annotations

from k8slan_cli.picture.layout.drawing import drawn
from k8slan_cli.picture.layout.measures import Style
from k8slan_cli.picture.layout.parts import components, joins_of, parts_of
from k8slan_cli.picture.layout.plan import Plan, packed
from k8slan_cli.picture.layout.ranks import ranked
from k8slan_cli.picture.layout.spacing import spread
from k8slan_cli.picture.topology import Topology


def arrange(topology: Topology) -> Plan:
    """Return the picture of a topology: what hangs together in columns, and the rest beside and below it."""
    style = Style.of(topology)
    parts = parts_of(topology, style)
    plans = []
    for together, joins in components(parts, list(joins_of(topology, parts))):
        columns, ways = ranked(together, joins, style)
        spread(columns, style)
        plans.append(drawn(columns, together, ways))
    return packed(plans)
