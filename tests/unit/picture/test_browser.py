"""The pictures of LANs as a browser shows them: what can be read, in light and dark, and that all of it is true.

The browser says where everything is and which colours it has; what that means is judged here.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.lan.names import MAX_INTERFACE, MAX_LABEL, MAX_SUBDOMAIN
from k8slan_cli.picture import NOTHING, Member, NodePart, Topology, several
from k8slan_cli.picture.devices import heading
from k8slan_cli.picture.devices import page as devices_page
from k8slan_cli.picture.devices import svg as devices_svg
from k8slan_cli.picture.fold import legend
from tests.support.browser import Browser, View, find, start
from tests.support.require import require
from tests.unit.picture.labs import LABS


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    require("unit", find() is not None, "needs chromium, which shows what is drawn")
    with start(tmp_path_factory.mktemp("browser")) as running:
        yield running


# ---------------------------------------------------------------- what is drawn


def member(node: int, number: int) -> Member:
    lines = (f"net1 10.9.{node}.{number}/24", f"02:a1:00:00:{node:02x}:{number:02x}")
    return Member(name=f"router-{node}-{number}", port=f"e{number}", lines=lines, vm=number % 3 == 2)


def node(number: int, members: int) -> NodePart:
    return NodePart(
        name=f"worker{number}",
        bridge="br0",
        tunnel="vxlan0",
        uplink=f"eth1 192.0.2.{number}",
        members=tuple(member(number, each) for each in range(members)),
    )


def lan(name: str, *nodes: NodePart) -> Topology:
    underlay = "underlay, UDP port 4789" if nodes else "no attachments"
    return Topology(title=f"LAN lab/{name}: VNI 10000, unicast", underlay=underlay, nodes=nodes)


ADDRESS = "2001:db8:1234:5678:9abc:def0:1234:5678"
LONG = Topology(
    title=f"LAN {'n' * MAX_LABEL}/{'l' * MAX_SUBDOMAIN}: VNI 16777215, multicast {ADDRESS}, dynamic, not ready",
    underlay="underlay, UDP port 65535",
    nodes=(
        NodePart(
            name="n" * MAX_SUBDOMAIN,
            bridge="b" * MAX_INTERFACE,
            tunnel="v" * MAX_INTERFACE,
            uplink=f"{'d' * 15} {ADDRESS}",
            members=(
                Member(
                    name=f"{'o' * MAX_LABEL}/{'p' * MAX_SUBDOMAIN}",
                    port="s" * MAX_INTERFACE,
                    lines=(f"{'i' * 15} 192.0.2.100/24 {ADDRESS}/64 {ADDRESS}/64", "02:00:00:00:00:01"),
                    vm=True,
                ),
            ),
            note="Degraded: " + "w" * 38,
        ),
        node(2, 2),
    ),
)
ODD = lan(
    'a"b<&>',
    NodePart(
        name="</svg><script>alert(1)</script>",
        bridge="br<0>",
        tunnel="vx&lan;",
        uplink='"eth\'1" <!--',
        note="]]> & &amp; \x1b[31m \x00 \ufffe \ud800 é ☃",
        members=(Member(name='<img src="x">&', port="<s>", lines=("{net1} ‘1’", "<title>"), vm=True),),
    ),
)
UNWELL = lan(
    "unwell",
    NodePart(name="worker1"),
    NodePart(name="worker2", bridge="br0", note="nothing heard of it yet", members=(member(2, 0), member(2, 1))),
    NodePart(
        name="worker3",
        bridge="br0",
        tunnel="vxlan0",
        uplink="eth1 192.0.2.3",
        note="Degraded: there is no device bond0 here; it may…",
    ),
    NodePart(name="no node yet", note="waiting: pod lab/a, VM lab/b"),
    NodePart(name="worker5", bridge="br0", members=(Member(name="bare", port="dynamic"),)),
)

SCENES: dict[str, tuple[Topology, ...]] = {
    "two": (lan("two", node(1, 2), node(2, 3)),),
    "one": (lan("one", node(1, 1)),),
    "four": (lan("four", *(node(n, n % 3) for n in range(1, 5))),),
    "nine": (lan("nine", *(node(n, n * 7 % 5) for n in range(1, 10))),),
    "twenty": (lan("twenty", *(node(n, n * 7 % 6) for n in range(1, 21))),),
    "crowd": (lan("crowd", node(1, 60), node(2, 0)),),
    "long": (LONG,),
    "odd": (ODD,),
    "unwell": (UNWELL,),
    "nobody": (lan("nobody"),),
    "several": (lan("red", node(1, 2), node(2, 1)), lan("nobody"), UNWELL, LONG, ODD, lan("blue", node(1, 3))),
}


# ---------------------------------------------------------------- what the browser sees

MEASURE = """() => {
  const SVG = "http://www.w3.org/2000/svg";
  const box = e => { const r = e.getBoundingClientRect();
    return [r.left + scrollX, r.top + scrollY, r.right + scrollX, r.bottom + scrollY]; };
  const mark = e => { const s = getComputedStyle(e), half = e.tagName == "path" ? parseFloat(s.strokeWidth) / 2 : 0;
    const whole = e.querySelector("title"), [left, top, right, bottom] = box(e);
    return {tag: e.tagName, kind: e.getAttribute("class").split(" ")[0], fill: s.fill, stroke: s.stroke,
            text: (whole || e).textContent, box: [left - half, top - half, right + half, bottom + half]}; };
  const pages = [...document.querySelectorAll("rect.page")];
  return {
    kind: document.contentType,
    title: document.title || document.querySelector("title").textContent,
    root: document.documentElement.tagName,
    headings: [...document.querySelectorAll("h1, h2")].map(e => [e.tagName, e.textContent]),
    tables: [...document.querySelectorAll("table")].map(
      table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent))),
    links: [...document.links].map(a => [a.textContent, document.querySelector(a.getAttribute("href"))?.innerText]),
    strangers: [...document.querySelectorAll("svg, svg *")].filter(e => e.namespaceURI != SVG).map(e => e.outerHTML),
    others: [...document.querySelectorAll(
      "script, img, image, link, iframe, object, embed, parsererror, foreignObject, use, a:not([href^='#'])"
    )].map(e => e.outerHTML),
    resources: performance.getEntriesByType("resource").map(e => e.name),
    frames: [...document.querySelectorAll(":not(svg) > svg, svg:root")].map(box),
    pictures: pages.map(page => [...page.parentElement.querySelectorAll("text, rect, path")].map(mark)),
    words: [...document.querySelectorAll("h1, h2, a, th, td")].map(e => [e.tagName, getComputedStyle(e).color]),
    page: document.body ? getComputedStyle(document.body).backgroundColor : "",
  };
}"""

SLACK = 0.5  # pixels that a box may be wrong by


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that is drawn: a text, a rectangle, or a straight line with its width; edges in pixels."""

    tag: str
    kind: str
    text: str
    fill: str
    stroke: str
    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, found: dict[str, Any]) -> Mark:
        """What MEASURE says of it."""
        left, top, right, bottom = found.pop("box")
        return cls(**found, left=left, top=top, right=right, bottom=bottom)

    def __str__(self) -> str:
        return self.text[:30] or self.kind

    def meets(self, other: Mark) -> bool:
        """Whether a part of both is at the same place."""
        return (
            min(self.right, other.right) - max(self.left, other.left) > SLACK
            and min(self.bottom, other.bottom) - max(self.top, other.top) > SLACK
        )

    def touches(self, other: Mark) -> bool:
        """Whether the other begins at the right edge or ends at the left one."""
        return abs(other.left - self.right) < 2 or abs(other.right - self.left) < 2

    def holds(self, other: Mark) -> bool:
        """Whether all of the other is inside."""
        return (
            other.left - self.left > -SLACK
            and other.top - self.top > -SLACK
            and self.right - other.right > -SLACK
            and self.bottom - other.bottom > -SLACK
        )


def luminance(colour: str) -> float:
    """Of "rgb(r, g, b)", as WCAG 2 has it."""
    found = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert found, f"{colour} is no plain colour"
    parts = [int(each) / 255 for each in found.groups()]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG's ratio, from 1 (the same) to 21 (black on white)."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def faults(picture: list[Mark]) -> list[str]:
    """What somebody could not read, or would take for something else."""
    page, *drawn = picture
    boxes = [mark for mark in drawn if mark.tag == "rect"]
    texts = [mark for mark in drawn if mark.tag == "text"]
    lines = [mark for mark in drawn if mark.tag == "path"]
    found = [f"{mark} is not all in the picture" for mark in drawn if not page.holds(mark)]
    found += [f"{text} runs over {box}" for box in boxes for text in texts if box.meets(text) and not box.holds(text)]
    found += [f"{one} is over {other}" for one, other in combinations(texts, 2) if one.meets(other)]
    found += [f"{line} crosses {text}" for line in lines for text in texts if line.meets(text)]
    found += [f"{one} runs into {two}" for one, two in combinations(boxes, 2) if one.meets(two) and not one.holds(two)]
    for mark in drawn:
        below = next((box for box in reversed(boxes) if box is not mark and box.holds(mark)), page)
        colour, enough = (mark.fill, 4.5) if mark.tag == "text" else (mark.stroke, 3)
        if mark.kind != "node" and contrast(colour, below.fill) < enough:  # a node's edge only frames it
            found.append(f"{mark} is faint: {colour} on {below.fill}")
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """A node as it is drawn: its words, whether it has a bridge and a tunnel, and who is plugged in."""

    words: list[str]
    bridge: bool
    tunnel: bool
    members: tuple[Member, ...]


def wanted(topology: Topology) -> list[Part]:
    """What is to be seen of a LAN; no document can have the characters that are replaced."""
    return [
        Part(
            words=sorted(
                re.sub("[\x00\x1b\ufffe\ud800]", "\ufffd", word)
                for word in (n.name, n.note or ("" if n.bridge else NOTHING), n.bridge, n.tunnel, n.uplink)
                if word
            ),
            bridge=bool(n.bridge),
            tunnel=bool(n.tunnel),
            members=tuple(
                replace(member, lines=tuple(line for line in member.lines if not re.fullmatch("(..:){5}..", line)))
                for member in n.members
            ),
        )
        for n in topology.nodes
    ]


def seen(picture: list[Mark]) -> list[Part]:
    """The LAN as somebody understands it who looks at where things are, and at which lines lead where."""

    def kind(*names: str) -> list[Mark]:
        return [mark for mark in picture if mark.kind in names]

    parts = []
    for frame in kind("node"):
        words = [mark for mark in picture if mark.tag == "text" and frame.holds(mark)]
        bars = [bar for bar in kind("bridge") if frame.holds(bar)]
        tunnels = [tunnel for tunnel in kind("tunnel") if any(map(tunnel.meets, bars))]
        assert all(any(map(tunnel.meets, kind("underlay"))) for tunnel in tunnels)
        members = []
        for box in filter(frame.holds, kind("pod", "vm")):
            inside = [word for word in words if box.holds(word)]
            (wire,) = (w for w in kind("wire") if box.touches(w) and box.top < w.top < box.bottom)
            assert any(map(wire.meets, bars))
            (port,) = (
                w
                for w in words
                if wire.left <= w.left and w.right <= wire.right and 0 <= wire.top - w.bottom < 4 and not box.meets(w)
            )
            members.append(
                Member(
                    name=inside[0].text, port=port.text, lines=tuple(w.text for w in inside[1:]), vm=box.kind == "vm"
                )
            )
            words = [word for word in words if word is not port and word not in inside]
        parts.append(Part(sorted(word.text for word in words), len(bars) > 0, len(tunnels) == 1, tuple(members)))
    return parts


# ---------------------------------------------------------------- and what that means


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A document as it is shown: what MEASURE says of it, and its pictures."""

    facts: dict[str, Any]
    pictures: list[list[Mark]]

    @classmethod
    def of(cls, view: View, scheme: str) -> Sight:
        """What somebody sees who likes it light or dark."""
        view.prefer(scheme)
        facts = view.run(MEASURE)
        pictures = [[m for m in map(Mark.of, marks) if m.tag != "text" or m.text] for marks in facts["pictures"]]
        return cls(facts=facts, pictures=pictures)


def check(view: View, path: Path, topologies: Sequence[Topology], *, titled: bool) -> list[Sight]:
    """Look at a document in light and in dark: it is whole, legible and true, and asks for nothing."""
    sights = [Sight.of(view, scheme) for scheme in ("light", "dark")]
    for sight in sights:
        facts, pictures = sight.facts, sight.pictures
        assert facts["title"] == (topologies[0].title if len(topologies) == 1 else f"{len(topologies)} LANs")
        assert facts["strangers"] == facts["others"] == facts["resources"] == []
        assert [faults(picture) for picture in pictures] == [[]] * len(topologies)
        assert [seen(picture) for picture in pictures] == [wanted(topology) for topology in topologies]
        for picture, topology in zip(pictures, topologies, strict=True):
            nodes = [mark for mark in picture if mark.kind == "node"]
            outside = [m.text for m in picture if m.tag == "text" and not any(node.holds(m) for node in nodes)]
            signs = legend(topologies) if titled and topology is topologies[-1] else []
            notes = [several.SIGNS[words] for _, words in signs]
            assert outside == [topology.title, topology.underlay, *notes][not titled :]
        pages = [picture[0] for picture in pictures]
        assert all(page.right - page.left <= 1280 for page in pages), "wider than a laptop"
        assert not any(one.meets(other) for one, other in combinations(pages, 2))
        assert all(any(box_holds(frame, page) for frame in facts["frames"]) for page in pages)
    light, dark = ({mark.fill for picture in sight.pictures for mark in picture[:1]} for sight in sights)
    assert len(light) == len(dark) == 1
    assert luminance(*light) > 0.8
    assert luminance(*dark) < 0.05
    assert view.requests == [path.as_uri()]
    assert view.complaints == []
    return sights


def box_holds(box: list[float], mark: Mark) -> bool:
    return box[0] <= mark.left and box[1] <= mark.top and mark.right <= box[2] and mark.bottom <= box[3]


@pytest.mark.parametrize("scene", SCENES)
def test_a_page(scene: str, browser: Browser, tmp_path: Path) -> None:
    topologies = SCENES[scene]
    path = tmp_path / "lans.html"
    path.write_text(several.write_page(topologies))
    titles = [topology.title for topology in topologies]
    with browser.show(path) as view:
        for sight in check(view, path, topologies, titled=False):
            facts = sight.facts
            assert facts["kind"] == "text/html"
            assert facts["headings"] == (
                [["H1", titles[0]]]
                if len(titles) == 1
                else [["H1", f"{len(titles)} LANs"], *(["H2", title] for title in titles)]
            )
            assert [link[0] for link in facts["links"]] == (titles if len(titles) > 1 else [])
            assert all(target.startswith(title) for title, target in facts["links"])
            assert facts["tables"] == list(filter(None, map(table, topologies)))
            assert [tag for tag, colour in facts["words"] if contrast(colour, facts["page"]) < 4.5] == []
        for width in (1280, 400):
            view.resize(width)
            assert view.run(WIDTHS) == [width, width, []]


# How wide the window is and the page in it, and what is wider than its place and cannot be scrolled there.
WIDTHS = """() => [innerWidth, document.documentElement.scrollWidth, [...document.body.querySelectorAll("*")].filter(
  e => !e.closest("svg") && e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX != "auto"
       && getComputedStyle(e).display != "inline").map(e => e.outerHTML.slice(0, 80))]"""


def table(topology: Topology) -> list[list[str]]:
    rows = [
        [node.name, member.name + (" (VM)" if member.vm else ""), member.port, member.link, ", ".join(member.lines)]
        for node in topology.nodes
        for member in node.members
    ]
    return [["Node", "Who", "Spoke", "Link", "Interface"], *rows] if rows else []


@pytest.mark.parametrize("scene", SCENES)
def test_an_svg_by_itself(scene: str, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "lans.svg"
    path.write_text(several.write_svg(SCENES[scene]))
    with browser.show(path) as view:
        for sight in check(view, path, SCENES[scene], titled=True):
            assert (sight.facts["kind"], sight.facts["root"]) == ("image/svg+xml", "svg")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, "page") for name in ("nothing", "fabric", "star", "busy", "odd", "forty")),
        *((name, "svg") for name in ("busy", "odd")),
    ],
)
def test_devices_and_what_joins_them(name: str, form: str, browser: Browser, tmp_path: Path) -> None:
    topology = LABS[name].topology
    path = tmp_path / f"lab.{'html' if form == 'page' else form}"
    title = heading(topology, "lab")
    write = devices_page.write if form == "page" else devices_svg.write
    path.write_text(write(topology, title, "made now"))
    with browser.show(path) as view:
        for scheme in ("light", "dark"):
            sight = Sight.of(view, scheme)
            assert sight.facts["title"] == title
            assert sight.facts["strangers"] == sight.facts["others"] == sight.facts["resources"] == []
            (picture,) = sight.pictures
            lines = [mark for mark in picture if mark.tag == "path"]
            # A curve is not its box: what it crosses is not judged, but that it is there and can be seen.
            assert faults([mark for mark in picture if mark.tag != "path"]) == []
            assert all(picture[0].holds(line) for line in lines)
            assert {line.stroke for line in lines if contrast(line.stroke, picture[0].fill) < 3} == set()
        assert view.requests == [path.as_uri()]
        assert view.complaints == []
        if form == "page":
            for width in (1280, 390):
                view.resize(width)
                assert view.run(WIDTHS) == [width, width, []]


def test_what_is_said_to_be_there_is_painted(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "lans.html"
    path.write_text(several.write_page(SCENES["two"]))
    with browser.show(path) as view:
        for scheme in ("light", "dark"):
            sight = Sight.of(view, scheme)
            places = {(2.0, 2.0): sight.facts["page"]}
            for mark in sight.pictures[0]:
                middle = (mark.top + mark.bottom) / 2
                if mark.tag == "rect":
                    places[mark.left + 5, middle] = mark.fill
                elif mark.kind in ("bridge", "underlay"):
                    places[(mark.left + mark.right) / 2, middle] = mark.stroke
            assert len(set(places.values())) >= 4
            assert {at: "rgb({}, {}, {})".format(*view.pixel(*at)) for at in places} == places


# ---------------------------------------------------------------- what is wrong is seen


WRONG = """<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"><title>wrong</title>
<style>text { font: 12px monospace }</style>
<rect class="page" width="100%" height="100%" fill="#ffffff"/>
<rect class="node" x="10" y="10" width="100" height="100" fill="#eeeeee"/>
<rect class="pod" x="90" y="50" width="60" height="20" fill="#ffffff" stroke="#000000"/>
<path class="wire" d="M20 86H60" stroke="#000000"/>
<text class="a" x="20" y="30">first</text>
<text class="a" x="25" y="34">second</text>
<text class="a" x="20" y="90">crossed</text>
<text class="a" x="70" y="105">too wide for it</text>
<text class="a" x="200" y="150" fill="#999999">quiet</text>
<text class="a" x="260" y="190">far away</text>
</svg>"""


def test_what_cannot_be_read_is_found(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "wrong.svg"
    path.write_text(WRONG)
    with browser.show(path) as view:
        assert faults(Sight.of(view, "light").pictures[0]) == [
            "far away is not all in the picture",
            "too wide for it runs over node",
            "first is over second",
            "wire crosses crossed",
            "node runs into pod",
            "quiet is faint: rgb(153, 153, 153) on rgb(255, 255, 255)",
        ]


def test_what_is_asked_for_is_noticed_and_reaches_nobody(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "asks.html"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        addresses = [f"http://127.0.0.1:{port}/a", f"http://localhost:{port}/b", f"http://k8slan.invalid:{port}/c"]
        path.write_text("".join(f'<img src="{address}">' for address in addresses) + "<script>lost()</script>")
        with browser.show(path) as view:
            assert view.requests == [path.as_uri(), *addresses]
            assert sum("lost is not defined" in str(each) for each in view.complaints) == 1
            assert sum("ERR_" in str(each) for each in view.complaints) == len(addresses)
        with pytest.raises(BlockingIOError):
            server.accept()
