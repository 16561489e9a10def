"""The picture of a LAN, as text, Mermaid and SVG: what is drawn, what fits, and what is never broken."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.picture import Link, Member, NodePart, Topology, mermaid, svg
from k8slan_cli.picture.text import draw


def pod(number: int) -> Member:
    return Member(
        name=f"pod{number}", port=f"pod{number}p", lines=(f"net1 10.18.0.{number}", f"02:00:00:00:00:0{number}")
    )


VM = Member(name="vm3f9a", port="vm3f9ap", lines=("tap1234567890", "02:00:00:00:00:99"), vm=True)


def node(number: int, *members: Member) -> NodePart:
    uplink = f"eth0 198.18.0.{number}"
    return NodePart(name=f"node{number}", bridge="br0", tunnel="vxlan0", uplink=uplink, members=members)


def lan(*nodes: NodePart) -> Topology:
    return Topology(title="LAN default/demo: VNI 7, unicast, MTU 1446", underlay="underlay, MTU 1500", nodes=nodes)


TWO = lan(node(1, pod(1), pod(2)), node(2, pod(3), VM))
FOUR = lan(node(1, pod(1)), node(2, pod(2)), node(3, pod(3)), node(4, VM))

PICTURE = """\
LAN default/demo: VNI 7, unicast, MTU 1446

┌ node1 ─────────────────────────────┐  ┌ node2 ─────────────────────────────┐
│                              br0 ┓ │  │                              br0 ┓ │
│ ┌ pod1 ─────────────┐            ┃ │  │ ┌ pod3 ─────────────┐            ┃ │
│ │ net1 10.18.0.1    ├── pod1p ───┨ │  │ │ net1 10.18.0.3    ├── pod3p ───┨ │
│ │ 02:00:00:00:00:01 │            ┃ │  │ │ 02:00:00:00:00:03 │            ┃ │
│ └───────────────────┘            ┃ │  │ └───────────────────┘            ┃ │
│ ┌ pod2 ─────────────┐            ┃ │  │ ╔ vm3f9a ═══════════╗            ┃ │
│ │ net1 10.18.0.2    ├── pod2p ───┨ │  │ ║ tap1234567890     ╟─ vm3f9ap ──┨ │
│ │ 02:00:00:00:00:02 │            ┃ │  │ ║ 02:00:00:00:00:99 ║            ┃ │
│ └───────────────────┘            ┃ │  │ ╚═══════════════════╝            ┃ │
│                           vxlan0 ╿ │  │                           vxlan0 ╿ │
│                  eth0 198.18.0.1 │ │  │                  eth0 198.18.0.2 │ │
└──────────────────────────────────┼─┘  └──────────────────────────────────┼─┘
══ underlay, MTU 1500 ═════════════╧═══════════════════════════════════════╧══
""".splitlines()

FOUR_IN_ASCII = """\
LAN default/demo: VNI 7, unicast, MTU 1446

  + node1 -----------------------------+  + node2 -----------------------------+
  |                              br0 # |  |                              br0 # |
  | + pod1 -------------+            # |  | + pod2 -------------+            # |
  | | net1 10.18.0.1    +-- pod1p ---# |  | | net1 10.18.0.2    +-- pod2p ---# |
  | | 02:00:00:00:00:01 |            # |  | | 02:00:00:00:00:02 |            # |
  | +-------------------+            # |  | +-------------------+            # |
  |                           vxlan0 | |  |                           vxlan0 | |
  |                  eth0 198.18.0.1 | |  |                  eth0 198.18.0.2 | |
  +----------------------------------+-+  +----------------------------------+-+
+= underlay, MTU 1500 ===============+=======================================+==
| + node3 -----------------------------+  + node4 -----------------------------+
| |                              br0 # |  |                              br0 # |
| | + pod3 -------------+            # |  | + vm3f9a ===========+            # |
| | | net1 10.18.0.3    +-- pod3p ---# |  | | tap1234567890     +- vm3f9ap --# |
| | | 02:00:00:00:00:03 |            # |  | | 02:00:00:00:00:99 |            # |
| | +-------------------+            # |  | +===================+            # |
| |                           vxlan0 | |  |                           vxlan0 | |
| |                  eth0 198.18.0.3 | |  |                  eth0 198.18.0.4 | |
| +----------------------------------+-+  +----------------------------------+-+
+====================================+=======================================+==
""".splitlines()


def test_two_nodes_at_80_columns() -> None:
    assert draw(TWO) == PICTURE


def test_four_nodes_go_into_two_rows_on_one_underlay_in_ascii_too() -> None:
    assert draw(FOUR, unicode=False) == FOUR_IN_ASCII


def test_a_wide_terminal_has_them_in_one_row_and_a_narrow_one_below_each_other() -> None:
    assert len(draw(FOUR, width=200)) == 12
    narrow = draw(TWO, width=40)
    assert sum("═ underlay" in line for line in narrow) == 1
    assert max(map(len, narrow)) <= 40


def test_a_link_that_is_down_and_one_that_is_waited_for_are_no_wires() -> None:
    down = Member(name="a", port="e1", lines=("link down",), link=Link.DOWN)
    waiting = Member(name="b", port="e2", lines=("net1 (waiting)",), link=Link.WAITING)
    ill = replace(node(1, down, waiting), note="Degraded: there is no device bond0 here; it may come back", ill=True)
    shown = draw(lan(ill), width=41)
    assert [line for line in shown if "Degraded" in line or "back" in line or "┨" in line or "┄" in line] == [
        "│ Degraded: there is no device bond0  │",
        "│ here; it may come back              │",
        next(line for line in shown if "╳ e1 ╳" in line),
        next(line for line in shown if "┄ e2 ┄" in line and "┨" not in line),
    ]
    assert "x e1 x" in "\n".join(draw(lan(ill), unicode=False))
    text = svg.write(lan(ill))
    assert [text.count(f'class="{kind}"') for kind in ("wire", "wire down", "wire waiting", "ill")] == [0, 1, 1, 2]
    assert "x--x|" in mermaid.write(lan(ill))


def test_a_node_without_a_part_of_the_lan_and_one_with_a_note() -> None:
    lines = draw(
        lan(NodePart(name="a"), NodePart(name="b", bridge="br0", members=(pod(1),), note="Degraded: no underlay"))
    )
    picture = "\n".join(lines)
    assert picture.count("nothing of the LAN here") == 1
    assert "Degraded: no underlay" in picture
    assert "╿" not in picture
    assert "╧" not in lines[-1]
    assert draw(lan()) == ["LAN default/demo: VNI 7, unicast, MTU 1446", ""]


words = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=60)
members = st.builds(
    Member,
    name=words,
    port=st.text("abcp0123", min_size=1, max_size=14),
    lines=st.lists(words, max_size=3).map(tuple),
    vm=st.booleans(),
)
nodes = st.builds(
    NodePart,
    name=words,
    bridge=st.sampled_from(["", "br0", "thirteenchars"]),
    tunnel=st.sampled_from(["", "vxlan0"]),
    uplink=words,
    members=st.lists(members, max_size=3).map(tuple),
    note=st.one_of(st.just(""), words),
)
topologies = st.builds(Topology, title=words, underlay=words, nodes=st.lists(nodes, max_size=5).map(tuple))


@given(topologies, st.integers(40, 200), st.booleans())
def test_any_picture_fits_its_width(topology: Topology, width: int, unicode: bool) -> None:
    lines = draw(topology, width=width, unicode=unicode)
    assert max(map(len, lines)) <= width
    assert unicode or all(line.isascii() for line in lines)
    assert not any("\n" in line for line in lines)


@given(topologies)
def test_any_svg_is_well_formed_and_says_all_of_it(topology: Topology) -> None:
    document = ElementTree.fromstring(svg.write(topology))  # noqa: S314
    shown = ["".join(e.itertext()) for e in document.iter("{http://www.w3.org/2000/svg}text")]
    assert {topology.title, topology.underlay} <= set(shown)
    for part in topology.nodes:
        for member in part.members if part.bridge else ():
            assert {member.name, member.port, *member.lines} <= set(shown)


@given(st.text(st.characters()))
def test_any_text_can_be_in_an_svg(text: str) -> None:
    document = ElementTree.fromstring(svg.write(lan(NodePart(name=text))))  # noqa: S314
    assert len(document.findall("{http://www.w3.org/2000/svg}text")) == 4


def test_the_svg_stands_alone_and_knows_the_dark() -> None:
    text = svg.write(lan(*(node(number, pod(number)) for number in range(1, 6))))
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r'(?:href|src)="|url\(|@import|<script', text) == []
    assert text.count('class="underlay"') == 3  # two rows and what joins them


def test_mermaid_has_every_link() -> None:
    lines = mermaid.write(TWO).splitlines()
    assert lines[3] == "flowchart TB"
    assert '    n0m0 ---|"pod1p"| n0br' in lines
    assert '    n1m1[["vm3f9a<br>tap1234567890<br>02:00:00:00:00:99"]]' in lines
    assert '  n1br ---|"vxlan0<br>eth0 198.18.0.2"| underlay' in lines


@pytest.mark.parametrize("text", ['say "hi"', "#1;", "a]b"])
def test_mermaid_quotes_what_would_be_syntax(text: str) -> None:
    written = mermaid.write(lan(NodePart(name=text, note="x")))
    label = re.search(r"subgraph n0\[(.*)\]$", written, re.MULTILINE)
    assert label
    assert re.fullmatch(r'"[^"]*"', label[1])
    assert label[1][1:-1].replace("#quot;", '"').replace("#35;", "#") == text


def size(topology: Topology) -> tuple[int, int]:
    """Width and height of the SVG, in pixels."""
    root = ElementTree.fromstring(svg.write(topology))  # noqa: S314
    return int(root.get("width", "")), int(root.get("height", ""))


def crowd(nodes: int, members: int) -> Topology:
    return lan(*(node(number, *map(pod, range(members))) for number in range(1, nodes + 1)))


def test_many_on_a_node_are_in_columns() -> None:
    few, forty, three_hundred = size(crowd(2, 8)), size(crowd(2, 20)), size(crowd(8, 38))
    assert few[0] < forty[0] < 1232
    assert forty[1] < 20 * 50, "no single column"
    assert three_hundred[0] > 900, "the page is used"
    assert three_hundred[1] < 4000


def test_a_long_name_of_a_node_stretches_nothing() -> None:
    plain = lan(node(1, pod(1)), node(2, pod(2)), node(3, pod(3)))
    long = replace(plain, nodes=(replace(plain.nodes[0], name="ip-10-0-0-1." + "x" * 60), *plain.nodes[1:]))
    assert size(long) == size(plain)


def test_addresses_of_ports_are_tooltips() -> None:
    root = ElementTree.fromstring(svg.write(TWO))  # noqa: S314
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "02:00:00:00:00:01" not in words
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "pod1, 02:00:00:00:00:01" in titles
    assert "02:00:00:00:00:01" in "\n".join(draw(TWO)), "a terminal has no tooltips"
