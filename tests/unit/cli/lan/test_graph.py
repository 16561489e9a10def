"""What ``lan graph`` prints of LANs and pods."""

from __future__ import annotations

import pytest

from k8slan_cli.cli.lan import graph
from k8slan_cli.cli.lan.graph import Picture
from k8slan_cli.picture import Topology
from tests.support import scene
from tests.unit.picture.cluster import BLUE, RED, topology


def test_a_lan_without_anybody() -> None:
    drawn = graph.draw([topology(scene.lan(spokes=["e1"]))], Picture.TERMINAL)
    assert drawn == "LAN lab/red: VNI 10000, unicast\n\n  no attachments\n"


@pytest.mark.parametrize("output", Picture)
@pytest.mark.parametrize("beside", [(), (BLUE,)], ids=["alone", "beside another"])
def test_a_spoke_on_two_nodes_is_seen_in_every_picture(output: Picture, beside: tuple[Topology, ...]) -> None:
    drawn = graph.draw([topology(scene.RED, *scene.TWICE), *beside], output)
    assert drawn.count("spoke in use twice") == (4 if output is Picture.HTML else 2), "a page has a table, too"
    assert "in use" not in graph.draw([RED, *beside], output)


def test_several_in_a_terminal_are_below_each_other() -> None:
    drawn = graph.draw([RED, BLUE], Picture.TERMINAL)
    assert drawn.index("LAN lab/red") < drawn.index("╔ firewall") < drawn.index("LAN lab/blue")
