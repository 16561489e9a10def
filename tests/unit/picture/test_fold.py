"""Pictures of many pods: what is alike is drawn as one, what is not well never."""

from __future__ import annotations

import re

from k8slan_cli.picture import Link, Member, NodePart, Topology, several
from k8slan_cli.picture.fold import folded, folded_devices, legend
from tests.unit.picture.labs import Lab

MADE_UP = ("bcdfg", "hjklm", "npqrs", "tvwxz", "24567")


def names(*members: Member) -> list[str]:
    found = folded(Topology(title="t", underlay="u", nodes=(NodePart(name="n", members=members),)))
    return [f"{member.name}|{member.port}|{','.join(member.lines)}" for member in found.nodes[0].members]


def pods(name: str, count: int, *, port: str = "dynamic", **more: Link) -> list[Member]:
    return [
        Member(name=f"{name}-7d9f8b6c5-{end}", port=port, lines=("net1 10.0.0.1/24", "02:00"), **more)
        for end in MADE_UP[:count]
    ]


def test_many_pods_of_a_controller_are_one() -> None:
    few, router = pods("few", 3), Member(name="router", port="e1", lines=("net1",))
    spokes = [Member(name=f"web-{number}", port=f"web-{number}", lines=("net1",)) for number in range(5)]
    assert names(*pods("meadow", 5), router, *few, *spokes) == [
        "meadow ×5|dynamic|net1",
        "router|e1|net1",
        *(f"{member.name}|dynamic|net1 10.0.0.1/24,02:00" for member in few),
        "web ×5|5 spokes|net1",
    ]


def test_what_is_not_well_is_drawn_by_itself() -> None:
    ill = Member(name="meadow-7d9f8b6c5-zzzzz", port="dynamic", lines=("net1", "02:00", "MAC in use twice"))
    down = pods("meadow", 1, link=Link.DOWN)[0]
    found = names(*pods("meadow", 5)[1:], ill, down)
    assert [text.partition("|")[0] for text in found] == ["meadow ×4", ill.name, down.name]


def test_a_page_says_what_its_signs_mean_and_when_it_was_made() -> None:
    members = (*pods("meadow", 5), Member(name="fw", port="v", vm=True), *pods("x", 1, link=Link.WAITING))
    topology = folded(Topology(title="t", underlay="u", nodes=(NodePart(name="n", bridge="b", members=members),)))
    assert [words for _, words in legend([topology])] == ["VM", "waits to attach", "pods of one controller"]
    page = several.write_page([topology], "2026-11-26 12:00 UTC, <here>")
    foot = re.search("<footer>(.*)</footer>", page)
    assert foot is not None
    assert foot[1].endswith("<p>2026-11-26 12:00 UTC, &lt;here&gt;</p>")


def test_pods_of_a_controller_are_one_device_on_whatever_nodes() -> None:
    lab = Lab()
    for number, end in enumerate(MADE_UP):
        lab.device(f"meadow-7d9f8b6c5-{end}", node=f"w{number % 2}")
    ill = lab.device("meadow-7d9f8b6c5-zzzzz").end("meadow-7d9f8b6c5-zzzzz", link="down")
    lab.lan("blue", *(f"meadow-7d9f8b6c5-{end}" for end in MADE_UP), ill, "router")
    found = folded_devices(lab.topology)
    assert [(device.name, device.count, device.node) for device in found.devices] == [
        ("meadow", 5, ""),
        ("meadow-7d9f8b6c5-zzzzz", 1, "worker1"),
        ("router", 1, "worker1"),
    ]
    (segment,) = found.lans
    assert [end.device for end in segment.ends] == [device.key for device in found.devices]
    assert segment.ends[0].mac == ""


def test_devices_of_a_lab_and_those_on_other_lans_are_not_folded() -> None:
    lab = Lab()
    for number in range(5):
        lab.device(f"leaf-{number}", lab="clos")
    lab.lan("blue", *(f"leaf-{number}" for number in range(5)))
    other = Lab().lan("one", *(f"web-{number}" for number in range(3)))
    other.lan("two", *(f"web-{number}" for number in range(3, 6)))
    for each in (lab.topology, other.topology):
        assert folded_devices(each) == each
