"""Devices as SVG and as a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from k8slan_cli.picture.devices import heading, page, svg
from k8slan_cli.picture.topology import Device, End, Segment, Topology
from tests.unit.picture.labs import LABS, clos

SVG = "{http://www.w3.org/2000/svg}"
BUSY = LABS["busy"].topology


def drawn(topology: Topology, **more: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.write(topology, **more))  # noqa: S314 - our own


def tooltips(root: ElementTree.Element, tag: str) -> list[str]:
    return [title.text or "" for each in root.iter(SVG + tag) for title in each.findall(SVG + "title")]


@pytest.mark.parametrize("name", LABS)
def test_it_names_all_devices_and_interfaces(name: str) -> None:
    topology = LABS[name].topology
    root = drawn(topology)
    devices = [each.get("data-device") for each in root.iter(SVG + "g") if each.get("data-device")]
    assert sorted(filter(None, devices)) == sorted(device.key for device in topology.devices)
    words = [text.text or "" for text in root.iter(SVG + "text")]
    interfaces = sorted(end.interface for segment in topology.lans for end in segment.ends)
    assert len([text for text in words if text.startswith("eth")]) == len(interfaces)
    assert re.findall(r'(?:href|src)="|url\(|@import|<script', svg.write(topology)) == []


def test_states_are_seen() -> None:
    root = drawn(BUSY)
    wires = [each for each in root.iter(SVG + "path") if (each.get("class") or "").startswith("wire")]
    classes = sorted(each.get("class") or "" for each in wires)
    assert [classes.count(kind) for kind in ("wire down", "wire waiting", "wire impaired")] == [1, 1, 2]
    assert {each.get("class") for each in root.iter(SVG + "g")} >= {"device", "device waiting", "device migrating"}
    words = [text.text for text in root.iter(SVG + "text")]
    assert {"eth2 link down", "eth3 · sick NodesDegraded", "eth1 loss 1%", "web ×38", "empty (no attachments)"} <= set(
        words
    )


def test_lines_have_the_names_of_lans_that_a_person_has_named() -> None:
    lab = clos(1, 1, 0)
    assert ">eth1 · s1l1</text>" in svg.write(lab.topology)
    lab.device("spine1", lab="clos")
    assert "s1l1" not in "".join(re.findall("<text.*", svg.write(lab.topology)))


def test_what_a_tooltip_says() -> None:
    root = drawn(BUSY)
    (sick,) = (tip for tip in tooltips(root, "path") if tip.startswith("LAN lab/sick"))
    assert sick.splitlines() == [
        "LAN lab/sick, VNI 10012, NodesDegraded, w1: no eth1",
        "lab/leaf3 eth3, 02:00:00:00:0c:03, link up",
        "lab/host3 eth1, 02:00:00:00:0c:01, link up, loss 1%",
    ]
    (fw,) = (tip for tip in tooltips(root, "g") if tip.startswith("lab/fw"))
    assert fw.splitlines()[0] == "lab/fw, on node worker1"
    assert "02:00:00:00:09:02, link down, link down · LAN lab/dmz" in fw


def test_a_picture_by_itself_says_what_its_signs_mean_and_when_it_was_made() -> None:
    text = svg.write(BUSY, "lab: 3", "2026-11-27, <here>")
    for words in (*svg.LEGEND.values(), "2026-11-27, &lt;here&gt;", "lab: 3"):
        assert f">{words}</text>" in text
    quiet = svg.write(clos(1, 1, 0).topology)
    assert not any(words in quiet for words in svg.LEGEND.values())


@pytest.mark.parametrize("write", [svg.write, page.write])
def test_a_bundle_is_told_where_there_is_one(write: Callable[[Topology, str], str]) -> None:
    assert svg.BUNDLE in write(LABS["three hundred"].topology, "lab")
    assert svg.BUNDLE not in write(BUSY, "lab")


def test_what_would_be_syntax_is_not() -> None:
    evil = '</svg><script>alert("1")</script>\x00'
    device = Device(key=evil, name=evil, node=evil)
    lan = Segment(ref=BUSY.lans[0].ref, message=evil, ends=(End(device=evil, interface=evil, note=evil),))
    for text in (svg.write(Topology(devices=(device,), lans=(lan,)), evil, evil),):
        assert "<script" not in text
        ElementTree.fromstring(text)  # noqa: S314 - our own
    assert "<script" not in page.write(Topology(devices=(device,), lans=(lan,)), evil, evil)


def test_a_page_has_a_table_of_all_interfaces() -> None:
    text = page.write(BUSY, heading(BUSY, "lab"), "made now")
    assert text.startswith("<!doctype html>")
    assert f"<h1>lab: {11 + 38} devices, 15 LANs</h1>" in text
    rows = re.findall("<tr>(.*?)</tr>", text)
    ends = sum(max(1, len(segment.ends)) for segment in BUSY.lans)
    assert len(rows) == 1 + ends
    assert rows[-3].startswith("<td>lab/empty</td><td>Ready</td><td>no attachments</td>")
    assert text.index("made now") > text.index("</table>")
