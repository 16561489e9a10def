"""Which attachments are probed, in which order, and what programs are told of it."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field

import pytest

from k8slan_cli.diagnose import probing
from k8slan_cli.diagnose.agents import Attachments
from k8slan_cli.diagnose.exchange import Way
from k8slan_cli.diagnose.protocol import Plugged
from k8slan_cli.errors import AbsentError, K8slanError, UsageError
from k8slan_cli.kube.client import MissingError
from k8slan_cli.kube.kinds import LANS, Ref
from k8slan_cli.probe.frames import CLASSES
from k8slan_cli.probe.run import ClassResult, Verdict
from tests.support import scene
from tests.support.scene import Object
from tests.unit.diagnose.test_agents import plugged

A, B, C = plugged("lab/a"), plugged("lab/b", node="w2"), plugged("lab/c")
KEYS = [c.key for c in CLASSES]


def choose(
    *items: Plugged, src: str = "", dst: str = "", everything: bool = False
) -> tuple[list[probing.Pair], list[str]]:
    return probing.choose(Attachments(items), "lab", src, dst, everything=everything)


def test_all_pairs_of_a_few_are_probed() -> None:
    assert choose(A, B, C) == ([(A, B), (A, C), (B, C)], [])


def test_an_end_that_is_given_is_in_all_pairs() -> None:
    assert choose(A, B, C, src="b")[0] == [(B, A), (B, C)]
    assert choose(A, B, C, dst="b")[0] == [(A, B), (C, B)]
    assert choose(A, B, C, src="c", dst="a")[0] == [(C, A)]


@dataclass
class Nodes:
    """Agents that are asked who is attached."""

    asked: list[list[str] | None] = field(default_factory=list)

    def plugged(self, lan: str, nodes: list[str] | None) -> Attachments:
        """Two pods of the scene."""
        assert lan == "lab/red"
        self.asked.append(nodes)
        return Attachments((plugged("lab/d1", "eth1", spoke="e1"), plugged("lab/l-1", spoke="vm1")))


class Cluster:
    """The scene's LAN, and VTEPs of it; none that may be seen if there are ``None``."""

    def __init__(self, vteps: list[Object] | None, lan: Object = scene.RED) -> None:
        self._vteps = vteps
        self._lan = lan

    def get(self, ref: Ref) -> Object:
        """The LAN."""
        assert ref.kind == LANS
        return self._lan

    def call(self, method: str, path: str, *, query: dict[str, str]) -> Object:  # noqa: ARG002 - as the real one
        """The VTEPs, and no pods."""
        if self._vteps is None:
            raise MissingError("you may not", status=403)
        assert path.endswith("/vteps")
        return {"items": self._vteps}


def test_agents_of_nodes_with_ports_are_asked_and_vms_have_their_names() -> None:
    vm = scene.port("l-1", "vm1", vm="fw")
    vteps = [*scene.TWICE, scene.vtep("worker3", vm), scene.vtep("worker4", state="Degraded")]
    nodes = Nodes()
    seen, notes = probing.attached(nodes, Cluster(vteps), "lab", "red")  # type: ignore[arg-type]
    assert nodes.asked == [["worker1", "worker2", "worker3"]]
    assert seen.named("fw", "lab").pod == "lab/l-1"
    (note,) = notes
    assert note.startswith("spoke e1 is held by pod lab/d2 on node worker2 (eth1), so there is no link for pod lab/d1")


def test_without_the_right_to_see_vteps_all_agents_are_asked() -> None:
    nodes = Nodes()
    probing.attached(nodes, Cluster(None), "lab", "red")  # type: ignore[arg-type]
    assert nodes.asked == [None]


def test_who_is_alone_or_both_ends_is_told() -> None:
    with pytest.raises(AbsentError, match="no attachments on the LAN but lab/a:net1"):
        choose(A)
    with pytest.raises(UsageError, match="are both lab/a:net1"):
        choose(A, B, src="a", dst="a")


def test_of_many_some_are_chosen_of_every_node_and_kind_and_that_is_said() -> None:
    many = [plugged(f"lab/p{i}", node=f"w{i % 2}", kind="veth") for i in range(40)]
    many += [plugged("lab/vm", node="w0", kind="macvtap"), plugged("lab/far", node="w7")]
    pairs, notes = choose(*many)
    chosen = set(itertools.chain.from_iterable(pairs))
    assert len(chosen) == probing.MOST
    assert {(item.node, item.kind) for item in many} == {(item.node, item.kind) for item in chosen}
    assert notes == [
        "6 of 42 attachments are probed, of every node and kind if they suffice (k8slan lan probe --all: all)"
    ]
    assert len(choose(*many, everything=True)[0]) == 42 * 41 // 2
    pairs, _ = choose(*many, src="p39")
    assert {pair[0].pod for pair in pairs} == {"lab/p39"}
    assert len(pairs) == probing.MOST - 1


def way(src: str, dst: str, **bad: Verdict) -> Way:
    def result(key: str) -> ClassResult:
        verdict = bad.get(key, bad.get("all", Verdict.PASSED))
        arrived = 0 if verdict is Verdict.DROPPED else 3
        return ClassResult(key=key, verdict=verdict, sent=3, arrived=arrived, latency=50.4 if arrived else None)

    return Way(src, dst, tuple(map(result, KEYS)), ("w1", "w2" if dst == "b" else "w1"))


def test_programs_get_all_of_it() -> None:
    found = probing.document("blue", "lab", [way("a", "b", lldp=Verdict.DROPPED)], ["x"], [])
    assert (found["lan"], found["passed"]) == ("lab/blue", False)
    by_class = {entry["class"]: entry for entry in found["paths"][0]["classes"]}
    assert by_class["lldp"] == {
        "class": "lldp",
        "verdict": "dropped",
        "sent": 3,
        "arrived": 0,
        "latencyMicroseconds": None,
        "detail": "",
    }
    assert by_class["icmp"]["latencyMicroseconds"] == 50.4


def test_different_pods_are_chosen_before_several_interfaces_of_one() -> None:
    many = [plugged(f"lab/p{i // 8}", f"net{i % 8}") for i in range(64)]
    chosen = set(itertools.chain.from_iterable(choose(*many)[0]))
    assert len({item.pod for item in chosen}) == probing.MOST


def test_who_interrupts_a_probe_has_what_came_before() -> None:
    def cross(a: Plugged, b: Plugged) -> tuple[Way, Way]:
        if (a, b) == (A, C):
            raise K8slanError("its agent is gone")
        if (a, b) == (B, C):
            raise KeyboardInterrupt
        return way(a.name, b.name), way(b.name, a.name)

    found = probing.across([(A, B), (A, C), (B, C), (C, A)], cross, lambda item: item.name, lambda _: None)
    assert [each.src for each in found.ways] == [A.name, B.name]
    assert found.faults == [f"{A.name} and {C.name}: its agent is gone"]
    assert found.interrupted == "interrupted after 2 of 4 pairs"


def test_advice_for_a_lan_without_attachments_can_be_followed() -> None:
    for spec, socket in (({"spokes": ["e1"]}, "red/e1"), ({"dynamic": True, "spokes": ["e1"]}, "red")):
        with pytest.raises(AbsentError) as error:
            probing.attached(NoAgents(), Cluster([], scene.lan(**spec)), "lab", "red")  # type: ignore[arg-type]
        assert error.value.hint == f"to print a pod for it: k8slan lan example pod {socket} -n lab"


class NoAgents:
    """Agents that know nobody."""

    def plugged(self, *_: object) -> Attachments:
        """Nobody."""
        return Attachments(())


def test_of_very_many_pairs_several_are_probed_at_once_and_no_end_twice() -> None:
    places = [plugged(f"lab/p{number}") for number in range(9)]
    busy: set[Plugged] = set()
    lock, two = threading.Lock(), threading.Event()

    def cross(a: Plugged, b: Plugged) -> tuple[Way, Way]:
        with lock:
            assert busy.isdisjoint((a, b))
            busy.update((a, b))
            if len(busy) > 2:
                two.set()
        assert two.wait(10)
        with lock:
            busy.difference_update((a, b))
        return way(a.name, b.name), way(b.name, a.name)

    pairs = list(itertools.combinations(places, 2))
    found = probing.across(pairs, cross, lambda item: item.name, lambda _: None)
    assert [each.src for each in found.ways[::2]] == [a.name for a, _ in pairs]
