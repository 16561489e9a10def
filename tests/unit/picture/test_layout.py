"""Where devices, buses and wires go."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.picture import layout
from k8slan_cli.picture.layout.plan import Box, Plan
from k8slan_cli.picture.topology import Device, Topology
from tests.unit.picture.labs import LABS, Lab, clos, ring, star

Point = tuple[float, float]


def on(point: Point, bars: Iterable[tuple[Point, Point]]) -> bool:
    """Whether a point is on an upright bar."""
    x, y = point
    near = 0.01  # pixels
    return any(abs(x - a) < near and a == c and b - near <= y <= d + near for (a, b), (c, d) in bars)


def edges(box: Box) -> list[tuple[Point, Point]]:
    """The left and the right edge of a box."""
    return [((x, box.y), (x, box.y + box.height)) for x in (box.x, box.x + box.width)]


def check(topology: Topology, plan: Plan) -> None:
    """Everything is there once, boxes stand apart, and wires lead to what they join."""
    assert sorted(box.device.key for box in plan.boxes) == sorted(device.key for device in topology.devices)
    assert sorted(bus.segment.ref for bus in plan.buses) == sorted(s.ref for s in topology.lans if not s.line)
    ends = [end for segment in topology.lans for end in segment.ends]
    assert sum(len(wire.ends) for wire in plan.wires) == len(ends)
    for one, two in itertools.combinations(plan.boxes, 2):
        beside = one.x + one.width <= two.x or two.x + two.width <= one.x
        assert beside or one.y + one.height <= two.y or two.y + two.height <= one.y, (one, two)
    boxes = {box.device.key: box for box in plan.boxes}
    bars = {bus.segment.ref: bus.bars for bus in plan.buses}
    bundles = {bundle.device.key: bundle.bars for bundle in plan.bundles}
    for wire in plan.wires:
        tips = [wire.points[0], wire.points[-1]]
        for end in wire.ends:
            box = boxes[end.device]
            touched = [tip for tip in tips if on(tip, edges(box))]
            if not touched:  # one of many wires to those that are at this device alone
                touched = [tip for tip in tips if on(tip, bundles.get(end.device, ()))]
            assert touched, (end, tips, box)
            tips.remove(touched[0])
        for tip in tips:
            assert len(wire.ends) == 1
            assert on(tip, bars[wire.segment.ref]), wire
    for bundle in plan.bundles:
        box = boxes[bundle.device.key]
        assert any(on(point, edges(box)) for point in bundle.points)
        assert any(on(point, bundle.bars) for point in bundle.points)
    for box in plan.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= plan.width + 0.01
        assert box.y + box.height <= plan.height + 0.01


@pytest.mark.parametrize("name", LABS)
def test_a_lab(name: str) -> None:
    topology = LABS[name].topology
    plan = layout.arrange(topology)
    check(topology, plan)
    assert layout.arrange(topology) == plan


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    lab = Lab()
    names = [f"{'abc'[number % 3]}{number}" for number in range(draw(st.integers(1, 9)))]
    for number in range(draw(st.integers(0, 9))):
        lab.lan(f"l{number}", *draw(st.lists(st.sampled_from(names), max_size=5)))
    return lab.topology


@given(topologies())
def test_any_topology(topology: Topology) -> None:
    check(topology, layout.arrange(topology))


def columns(lab: Lab) -> list[list[str]]:
    """The names in each column, from the top."""
    found: dict[int, list[Device]] = {}
    for box in sorted(layout.arrange(lab.topology).boxes, key=lambda box: box.y):
        found.setdefault(round(box.x + box.width / 2), []).append(box.device)
    return [[device.name for device in column] for _, column in sorted(found.items())]


def test_a_fabric_goes_from_spines_to_hosts_in_the_order_of_names() -> None:
    assert columns(clos(2, 4, 1)) == [
        ["spine1", "spine2"],
        ["leaf1", "leaf2", "leaf3", "leaf4"],
        ["host1-1", "host2-1", "host3-1", "host4-1"],
    ]


def test_hardware_outside_makes_no_core_an_edge() -> None:
    lab = clos(2, 2, 1).device("hw", kind="host")
    lab.lan("up", "spine1", "hw")
    found = columns(lab)
    place = {name: number for number, column in enumerate(found) for name in column}
    assert place["spine1"] == place["spine2"] < place["leaf1"] == place["leaf2"]


def test_a_ring_is_round_and_a_chain_straight() -> None:
    assert columns(ring(6)) == [["r1"], ["r2", "r6"], ["r3", "r5"], ["r4"]]
    chain = Lab().lan("a", "r1", "r2").lan("b", "r2", "r3").lan("c", "r3", "r4")
    assert columns(chain) == [["r1"], ["r2"], ["r3"], ["r4"]]


def test_many_on_one_lan_are_a_grid_that_fits_a_window() -> None:
    forty, crowd = (layout.arrange(star(f"pod{n}" for n in range(count)).topology) for count in (40, 304))
    assert 1 < forty.width / forty.height < 3
    assert crowd.width <= 1232
    assert crowd.height < 2000


def test_many_at_one_device_alone_are_a_grid_at_a_bundle() -> None:
    fabric = clos(8, 32, 8).topology
    plan = layout.arrange(fabric)
    assert [bundle.device.name for bundle in plan.bundles] == [f"leaf{number}" for number in range(1, 33)]
    assert plan.height < 5000
    assert layout.arrange(clos(2, 4, 3).topology).bundles == ()
    assert len(layout.arrange(clos(2, 1, 13).topology).bundles) == 1


def test_the_longest_names_lose_their_middle() -> None:
    device = Device(key="k", name="n" * 200, node="m" * 200)
    (box,) = layout.arrange(Topology(devices=(device,))).boxes
    assert box.width < 250
