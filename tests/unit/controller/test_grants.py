"""What a LAN has been granted stays its own, whatever others write, and whenever the controller looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.controller.actions import Protect, RemoveFinalizers, WriteStatus
from k8slan_cli.controller.decide import decide
from k8slan_cli.controller.world import World
from k8slan_cli.kube import status
from k8slan_cli.lan import codec, validate
from k8slan_cli.lan.model import PROTECTION, Lan, LanRef
from tests.unit.controller.rig import START, document

NAMES = ["n/a", "n/b", "m/a", "m/b"]
_SPOKES = st.lists(st.sampled_from(["e1", "e2", "e3"]), max_size=2, unique=True)
_SPECS = st.fixed_dictionaries(
    {
        "ns": st.sampled_from(["x", "y", "z"]),
        "vni": st.sampled_from([1, 2, 3]),
        "spokes": _SPOKES,
        "dynamic": st.just(True),
    }
)
_STEPS = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(NAMES), _SPECS, st.sampled_from(["1999", "2025"]), st.booleans()),
    st.tuples(st.just("edit"), st.sampled_from(NAMES), _SPOKES | st.just("x") | st.none()),
    st.tuples(st.sampled_from(["delete", "purge"]), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["look", "look", "restart"])),
)


class Cluster:
    """LANs as an API server without a webhook takes them, and a controller that looks when it is told to."""

    def __init__(self) -> None:
        self.there: dict[str, Any] = {}
        self.world = World()
        self._version = 0

    def lans(self) -> dict[LanRef, Lan]:
        """The LANs as an agent sees them that has seen none of them before."""
        good = [found for found in map(_read, self.there.values()) if found]
        return {lan.ref: lan for lan in good}

    def create(self, name: str, spec: dict[str, Any], year: str, held: bool) -> None:
        """Make a LAN, maybe with a finalizer of its user's, unless there is one of the name."""
        if name in self.there:
            return
        found = document("lans", {"spec": spec, "creationTimestamp": f"{year}-01-01T00:00:00Z"})
        namespace, _, plain = name.partition("/")
        found["metadata"] |= {"namespace": namespace, "name": plain, "uid": f"u{self._version}", "generation": 1}
        self._write(name, found, finalizers=["example.org/x"] if held else [])

    def edit(self, name: str, spokes: list[str] | str | None) -> None:
        """Change the spokes, or other things; a text breaks rules. ns and vni are immutable, for the API server."""
        if found := self.there.get(name):
            spec = {**found["spec"], **({"mtu": self._version + 100} if spokes is None else {"spokes": spokes})}
            self._write(name, {**found, "spec": spec}, generation=found["metadata"]["generation"] + 1)

    def delete(self, name: str) -> None:
        """Delete a LAN, which is there for as long as it has finalizers."""
        if found := self.there.get(name):
            generation = found["metadata"]["generation"] + 1
            self._write(name, found, deletionTimestamp="2026-01-01T00:00:00Z", generation=generation)

    def purge(self, name: str) -> None:
        """Delete a LAN, whatever holds it."""
        if name in self.there:
            self.delete(name)
        if found := self.there.get(name):
            self._write(name, found, finalizers=[])

    def restart(self) -> None:
        """Let another controller take the place of this one."""
        self.world = World()
        for found in self.there.values():
            self.world.lans.put(found)
        self.look()

    def look(self) -> None:
        """Let the controller do what there is to do."""
        self.world.learn()
        while ref := self.world.take():
            view = self.world.view(ref, START)
            for action in decide(view).actions if view else ():
                self._carry_out(action)

    def _carry_out(self, action: object) -> None:
        match action:
            case WriteStatus(ref, _, new):
                self._write(str(ref), {**self.there[str(ref)], "status": status.encode(new)})
            case Protect(ref) | RemoveFinalizers(ref):
                found = self.there[str(ref)]
                has = [f for f in found["metadata"]["finalizers"] if f != PROTECTION]
                self._write(str(ref), found, finalizers=[*has, PROTECTION] if isinstance(action, Protect) else has)

    def _write(self, name: str, found: dict[str, Any], **metadata: Any) -> None:
        self._version += 1
        metadata = {**found["metadata"], **metadata, "resourceVersion": str(self._version)}
        found = {**found, "metadata": metadata}
        if "deletionTimestamp" in metadata and not metadata["finalizers"]:
            self.there.pop(name, None)
            self.world.lans.drop(found)
        else:
            self.there[name] = found
            self.world.lans.put(found)


def _read(found: Any) -> Lan | None:
    return codec.decode(found) if isinstance(found["spec"]["spokes"], list) else None


def _granted(lan: Lan) -> set[validate.Claim]:
    """What a LAN has been granted, and has not given up."""
    had = {claim for claim, _, _ in validate.claims(validate.as_granted(lan))} if lan.granted else set()
    return set() if lan.leaving else had & {claim for claim, _, _ in validate.claims(lan)}


def _all_grants(cluster: Cluster) -> Iterator[tuple[validate.Claim, str]]:
    """What any LAN has been granted, also one that breaks rules, each with the uid of its owner."""
    for found in cluster.there.values():
        lan = codec.remains(found)
        if lan.granted and not lan.leaving:
            yield from ((claim, lan.uid) for claim, _, _ in validate.claims(validate.as_granted(lan)))


@given(st.lists(_STEPS, min_size=5, max_size=30))
def test_nobody_gets_what_another_has(steps: list[tuple[Any, ...]]) -> None:
    cluster = Cluster()
    for what, *how in steps:
        before = cluster.lans()
        getattr(cluster, what)(*how)
        after = cluster.lans()
        grants = list(_all_grants(cluster))
        assert len(dict(grants)) == len(grants), "two have been granted the same"
        broken = [codec.remains(found) for found in cluster.there.values() if not _read(found)]
        realised = validate.settle([*after.values(), *(lan for lan in broken if lan.granted)])
        for ref, lan in after.items():
            if lan.leaving or not lan.granted:
                continue
            had = before.get(ref)
            if had and had.uid == lan.uid:
                kept = _granted(replace(had, spokes=lan.spokes))
                assert kept <= _granted(lan), "what it has had and still wants is not its own any more"
            assert {claim for claim, _, _ in validate.claims(realised.lans[ref])} >= _granted(lan)
            if {claim for claim, _, _ in validate.claims(lan)} == _granted(lan):
                assert ref not in realised.clashes
        if what in ("look", "restart"):
            told = {ref for ref in after if (view := cluster.world.view(ref, START)) and view.clashes}
            assert told == realised.clashes.keys() & after.keys(), "agents and controller agree"
