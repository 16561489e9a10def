"""The indexes of the world: after any changes they give what a world gives that sees the end alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from k8slan_cli.controller.view import View
from k8slan_cli.controller.world import World
from k8slan_cli.lan import codec, names
from k8slan_cli.lan.model import LanRef
from k8slan_cli.plan import objects
from tests.unit.controller.rig import START, document

NAMES = st.sampled_from(["d/a", "d/b", "e/a"])
SPOKES = st.lists(st.sampled_from(["e1", "e2", "e3"]), max_size=2, unique=True)
NAD_NAMES = ["k8slan-veth-e1", "k8slan-mac-e2", "k8slan-veth-e3", "k8slan-lan-a", "other"]

_DOWN = {"down": "2026-01-01T11:00:00Z"}
_LANS = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {
                "vni": st.sampled_from([0, 1, 1, 2, 3]),
                "ns": st.sampled_from("xyz"),
                "spokes": SPOKES,
                "dynamic": st.booleans(),
            }
        ),
        "finalizers": st.lists(st.sampled_from(["finalizer.k8slan.io/n1", "finalizer.k8slan.io/n2"]), unique=True),
        "creationTimestamp": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
        "status": st.fixed_dictionaries({"nodes": st.sampled_from([[], [{"name": "n1", "state": "Ready"}]])}),
    },
    optional={"deletionTimestamp": st.just("2026-01-01T12:00:00Z")},
)
_VTEPS = st.fixed_dictionaries({"ports": st.lists(st.sampled_from(["p:e1", "q:e2", "r"]), max_size=2)})
_OWNERS = st.sampled_from(["", "a", "b"])
_CHANGES = st.one_of(
    st.tuples(st.just("lans"), NAMES, st.none() | _LANS),
    st.tuples(st.just("vteps"), st.sampled_from(["d/a@n1", "d/a@n2", "d/gone@n1", "e/a@n1"]), st.none() | _VTEPS),
    st.tuples(st.just("old_agents"), st.sampled_from(["s/agent1", "s/agent2"]), st.sampled_from([None, {}])),
    st.tuples(st.just("nads"), st.sampled_from([f"{n}/{x}" for n in "de" for x in NAD_NAMES]), st.none() | _OWNERS),
    st.tuples(st.just("nodes"), st.sampled_from(["/n1", "/n2"]), st.sampled_from([None, {}, _DOWN])),
)
Change = tuple[str, str, Any]


def whole(change: Change, version: int) -> dict[str, Any]:
    """The document of a change."""
    kind, name, short = change
    namespace, _, plain = name.rpartition("/")
    if kind == "nads":
        metadata: dict[str, Any] = {"labels": {objects.MANAGED_BY: objects.MANAGER}}
        if short:
            owner = {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "name": short, "controller": True}
            metadata["ownerReferences"] = [{**owner, "uid": f"uid-{namespace}-{short}"}]
        found: dict[str, Any] = {"metadata": metadata, "spec": {"config": "{}"}}
    else:
        found = document(kind, short or {}, name)
    plain = names.vtep(*plain.split("@")) if kind == "vteps" else plain
    metadata = {"uid": f"uid-{namespace}-{plain}", "generation": 1, **found.get("metadata", {})}
    metadata |= {"name": plain, "resourceVersion": str(version), **({"namespace": namespace} if namespace else {})}
    return {**found, "metadata": metadata}


def feed(world: World, change: Change, version: int) -> None:
    """Let a world see a change."""
    cache: Any = getattr(world, change[0])
    (cache.drop if change[2] is None else cache.put)(whole(change, version))


def views(world: World) -> dict[LanRef, View]:
    """What it knows of each LAN."""
    refs = {lan.ref for lan in world.lans.values()} | {vtep.lan for vtep in world.vteps.values()}
    found = {ref: world.view(ref, START) for ref in refs}
    return {ref: _without_history(view) for ref, view in found.items() if view}


def _without_history(view: View) -> View:
    """Leave out which resources a LAN has: that depends on which LAN was there first."""
    return replace(view, lan=replace(view.lan, resources=()) if view.lan else None)


@settings(max_examples=settings().max_examples * 5)  # what has to meet for a fault to show is rare
@given(st.lists(_CHANGES, min_size=10, max_size=40))
def test_the_way_does_not_matter_and_who_is_concerned_is_marked(changes: list[Change]) -> None:
    world = World()
    last: dict[tuple[str, str], tuple[Change, int]] = {}
    before: dict[LanRef, View] = {}
    for version, change in enumerate(changes, 1):
        feed(world, change, version)
        last[change[:2]] = change, version
        after = views(world)
        marked = set()
        while ref := world.take():
            marked.add(ref)
        changed = {ref for ref in after if ref not in before or _matters(before[ref]) != _matters(after[ref])}
        assert changed <= marked, f"{change} concerns more than is marked"
        before = after
    straight = World()
    for change, version in last.values():
        feed(straight, change, version)
    assert views(world) == views(straight)


def _matters(view: View) -> object:
    """What of a view a decision can depend on: of the nodes only those that the LAN has to do with."""
    concerned = {vtep.node for vtep in view.vteps} | {entry.name for entry in view.found.entries}
    concerned |= {finalizer.rpartition("/")[2] for finalizer in view.found.finalizers}
    nodes = {name: health for name, health in view.nodes.items() if name in concerned}
    return view.found, view.clashes, view.nads, view.vteps, view.old_agents, nodes


def test_a_busy_lan_is_passed_over_and_not_forgotten() -> None:
    world = World()
    a, b = LanRef(namespace="d", name="a"), LanRef(namespace="d", name="b")
    world.mark(a, b, a)
    assert world.take({a}) == b
    assert world.take({a}) is None
    assert world.take() == a
    assert world.take() is None


def test_nothing_is_left_of_what_is_gone() -> None:
    world = World()
    changes: list[Change] = [
        ("lans", "d/a", {"spec": {"vni": 1, "spokes": ["e1"]}}),
        ("nads", "d/k8slan-veth-e1", "a"),
        ("vteps", "d/a@n1", {"ports": ["p:e1"]}),
        ("nodes", "/n1", {}),
        ("old_agents", "s/agent1", {}),
    ]
    for version, change in enumerate(changes, 1):
        feed(world, change, version)
    for version, (kind, name, _) in enumerate(changes, 10):
        feed(world, (kind, name, None), version)
    assert (world._owned, world._vteps, world._nodes) == ({}, {}, {})


def test_a_vtep_by_another_name_than_an_agent_gives_it_is_passed_over() -> None:
    world = World()
    found = whole(("vteps", "d/a@n1", {"ports": ["p:e1"]}), 1)
    world.vteps.put(found | {"metadata": found["metadata"] | {"name": "of-a-user"}})
    assert len(world.vteps) == 0


def test_a_remote_that_is_a_node_is_told_by_that_nodes_name() -> None:
    world = World()
    feed(world, ("nodes", "/n1", {"addresses": ["n1.example.org", "192.0.2.1", "2001:db8::1"]}), 1)
    feed(world, ("vteps", "d/a@n2", {"ports": [], "address": "198.51.100.2"}), 2)
    remotes = tuple(map(ip_address, ("203.0.113.9", "192.0.2.1", "2001:db8::1", "198.51.100.2")))
    lan = codec.decode(
        {
            "apiVersion": "lan.k8slan.io/v1beta1",
            "kind": "LAN",
            "metadata": {"name": "b", "namespace": "d"},
            "spec": {"vni": 7, "dynamic": True, "remotes": list(map(str, remotes))},
        }
    )
    assert [str(problem) for problem in world.clashes(lan)] == [
        "spec.remotes[1]: 192.0.2.1 is node n1 of this cluster: name hosts outside of it alone",
        "spec.remotes[2]: 2001:db8::1 is node n1 of this cluster: name hosts outside of it alone",
        "spec.remotes[3]: 198.51.100.2 is node n2 of this cluster: name hosts outside of it alone",
    ]
