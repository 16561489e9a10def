"""From LANs and pods to pictures: the model, and files that stand alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from k8slan_cli.cli.lan import found as lans
from k8slan_cli.cli.lan import graph
from k8slan_cli.cli.lan.graph import Picture
from k8slan_cli.cli.topology import Member, Node, Topology
from k8slan_cli.plan.attached import decode_pod
from tests.unit.cli.lan import scene
from tests.unit.cli.lan.scene import Object


def topology(lan: Object, *pods: Object) -> Topology:
    item = lans.read(lan)
    return graph.topology(item, lans.on([item], lans.Pods(pods=tuple(map(decode_pod, pods)))))


RED = topology(scene.RED, *scene.PODS)

BLUE = topology(
    scene.lan(
        "blue",
        vni=11,
        dynamic=True,
        status=scene.status(
            scene.condition("Ready", False, "NodesDegraded", "x"),
            scene.node("worker1", state="Degraded", message="there is no device bond0 here; it may come back one day"),
        ),
    ),
    scene.pod("router-a", "k8slan-lan-blue", got=[("k8slan-lan-blue", "net1", "02:b1:00:00:00:01")]),
    scene.pod("<b>&", "lab/k8slan-lan-blue", namespace="other", node="worker9"),
    scene.pod("c", "k8slan-lan-blue", node=""),
)


def test_a_lan_in_use() -> None:
    wanted = Topology(
        title="LAN lab/red: VNI 10000, unicast",
        underlay="underlay, UDP port 4789",
        nodes=(
            Node(
                name="worker1",
                bridge="br0",
                tunnel="vxlan0",
                uplink="eth1 192.0.2.1",
                members=(Member(name="router-a", port="e1", lines=("net1 10.9.0.1/24", "02:a1:00:00:00:01")),),
            ),
            Node(
                name="worker2",
                bridge="br0",
                tunnel="vxlan0",
                uplink="eth1 192.0.2.2",
                members=(
                    Member(name="router-b", port="e2", lines=("lan0", "02:a1:00:00:00:02")),
                    Member(name="firewall", port="vm1", lines=("net1", "02:a1:00:00:00:03"), vm=True),
                ),
            ),
        ),
    )
    assert wanted == RED


def test_what_is_not_well_is_noted() -> None:
    assert BLUE.title == "LAN lab/blue: VNI 11, unicast, dynamic, not ready"
    assert [(node.name, node.note) for node in BLUE.nodes] == [
        ("worker1", "Degraded: there is no device bond0 here; it may…"),
        ("worker9", "nothing heard of it yet"),
        ("no node yet", "waiting: pod lab/c"),
    ]
    assert BLUE.nodes[1].members == (Member(name="other/<b>&", port="dynamic", lines=("net1 (waiting)",)),)


def test_a_lan_without_anybody() -> None:
    drawn = graph.draw([topology(scene.lan(spokes=["e1"]))], Picture.TERMINAL)
    assert drawn == "LAN lab/red: VNI 10000, unicast\n\n  nobody is attached\n"


@pytest.mark.parametrize("output", Picture)
@pytest.mark.parametrize("beside", [(), (BLUE,)], ids=["alone", "beside another"])
def test_a_spoke_on_two_nodes_is_seen_in_every_picture(output: Picture, beside: tuple[Topology, ...]) -> None:
    drawn = graph.draw([topology(scene.RED, *scene.TWICE), *beside], output)
    assert drawn.count("spoke in use twice") == (4 if output is Picture.HTML else 2), "a page has a table, too"
    assert "in use" not in graph.draw([RED, *beside], output)


def test_a_mac_address_at_two_ports_is_seen() -> None:
    same = [("k8slan-lan-blue", "net1", "02:b1:00:00:00:01")]
    pods = [scene.pod(name, "k8slan-lan-blue", got=same) for name in "abc"]
    (node,) = topology(scene.lan("blue", dynamic=True), *pods).nodes
    assert [each.lines for each in node.members] == [("net1", "02:b1:00:00:00:01", "MAC address in use 3 times")] * 3


def test_several_in_a_terminal_are_below_each_other() -> None:
    drawn = graph.draw([RED, BLUE], Picture.TERMINAL)
    assert drawn.index("LAN lab/red") < drawn.index("╔ firewall") < drawn.index("LAN lab/blue")


MERMAID = """\
flowchart LR
  lan0{{"LAN lab/red: VNI 10000, unicast"}}
  lan1{{"LAN lab/blue: VNI 11, unicast, dynamic, not ready"}}
  subgraph n0["worker1"]
    n0m0["router-a"]
  end
  subgraph n1["worker2"]
    n1m0["router-b"]
    n1m1[["firewall"]]
  end
  subgraph n2["worker9"]
    n2m0["other/<b>&"]
  end
  n0m0 ---|"e1<br>net1 10.9.0.1/24<br>02:a1:00:00:00:01"| lan0
  n1m0 ---|"e2<br>lan0<br>02:a1:00:00:00:02"| lan0
  n1m1 ---|"vm1<br>net1<br>02:a1:00:00:00:03"| lan0
  n0m0 ---|"dynamic<br>net1<br>02:b1:00:00:00:01"| lan1
  n2m0 ---|"dynamic<br>net1 (waiting)"| lan1
"""


def test_mermaid_of_several_draws_a_pod_once() -> None:
    assert graph.draw([RED, BLUE], Picture.MERMAID) == MERMAID


def test_svg_of_several_is_one_document() -> None:
    root = ElementTree.fromstring(graph.draw([RED, BLUE], Picture.SVG))  # noqa: S314 - our own
    inner = [child for child in root if child.tag.endswith("svg")]
    assert len(inner) == 2
    ends = [int(child.get("y", "")) + int(child.get("height", "")) for child in inner]
    assert int(inner[1].get("y", "")) >= ends[0]
    assert int(root.get("height", "")) >= ends[1]
    assert int(root.get("width", "")) == max(int(child.get("width", "")) for child in inner)


class _Page(HTMLParser):
    """Gathers what a page refers to, and checks that its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found[key] or "" for key in ("href", "src", "xlink:href") if key in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag not in ("meta", "rect", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed at once."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("topologies", [[RED], [RED, BLUE], []])
def test_a_page_stands_alone(topologies: list[Topology]) -> None:
    text = graph.draw(topologies, Picture.HTML)
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert all(link.removeprefix("#") in page.ids for link in page.links)
    assert not re.search(r"@import|url\(|<script|https?://(?!www\.w3\.org/2000/svg)", text)
    for each in topologies:
        assert page.text.count(each.title) >= 2
    assert ("other/<b>&" in page.text) == (BLUE in topologies)
