"""Several LANs in one picture, in files that stand alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from k8slan_cli.picture import Topology, several
from tests.unit.picture.cluster import BLUE, RED

MERMAID = """\
flowchart LR
  lan0{{"LAN lab/red: VNI 10000, unicast"}}
  lan1{{"LAN lab/blue: VNI 11, unicast, dynamic, not ready: x"}}
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
  n2m0 -.-|"dynamic<br>net1 (waiting)"| lan1
"""


def test_mermaid_of_several_draws_a_pod_once() -> None:
    assert several.write_mermaid([RED, BLUE]) == MERMAID


def test_svg_of_several_is_one_document() -> None:
    root = ElementTree.fromstring(several.write_svg([RED, BLUE]))  # noqa: S314 - our own
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
        if tag not in ("meta", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed at once."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("topologies", [[RED], [RED, BLUE], []])
def test_a_page_stands_alone(topologies: list[Topology]) -> None:
    text = several.write_page(topologies)
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert all(link.removeprefix("#") in page.ids for link in page.links)
    assert not re.search(r"@import|url\(|<script|https?://(?!www\.w3\.org/2000/svg)", text)
    for each in topologies:
        assert page.text.count(each.title) >= 2
    assert ("other/<b>&" in page.text) == (BLUE in topologies)


@pytest.mark.parametrize("topologies", [[RED], [RED, BLUE]])
def test_svg_says_what_its_signs_mean_and_when_it_was_made(topologies: list[Topology]) -> None:
    text = several.write_svg(topologies, "2026-11-27 12:00 UTC, <here>")
    ElementTree.fromstring(text)  # noqa: S314 - our own
    assert text.count(f">{several.SIGNS['VM']}</text>") == 1
    assert text.count(">2026-11-27 12:00 UTC, &lt;here&gt;</text>") == 1
