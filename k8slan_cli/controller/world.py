"""All that the controller knows, by what it is about: caches of objects in, one LAN's ``View`` out. No I/O.

A change of any object marks the LANs that it concerns; ``take`` hands them out. What a LAN needs is found through
indexes, so that a change costs what it concerns and not what the cluster holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from k8slan_cli.controller.claims import Claims
from k8slan_cli.controller.decide import View
from k8slan_cli.errors import Problem
from k8slan_cli.kube import lans, nads, nodes, pods
from k8slan_cli.kube.lans import LanObject
from k8slan_cli.kube.nads import FoundNad
from k8slan_cli.kube.nodes import NodeHealth
from k8slan_cli.kube.watch import Cache, Key
from k8slan_cli.lan import names, validate
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.plan.attached import Pod


class World:
    """LANs, NADs, pods and nodes of the cluster. ``woken`` is called whenever a LAN has been marked."""

    def __init__(self, woken: Callable[[], None] = lambda: None) -> None:
        self.lans: Cache[LanObject] = Cache(lans.read_object, self._lan_changed)
        self.nads: Cache[FoundNad] = Cache(nads.read, self._nad_changed)
        self.pods: Cache[Pod] = Cache(pods.read, self._pod_changed)
        self.nodes: Cache[NodeHealth] = Cache(nodes.read, self._node_changed)
        self.claims = Claims()
        self._woken = woken
        self._marked: dict[LanRef, None] = {}
        self._owned: dict[LanRef, set[str]] = {}
        self._users: dict[Key, set[Key]] = {}
        self._nodes: dict[str, NodeHealth] = {}

    # ------------------------------------------------------------ which LANs to look at

    def mark(self, *refs: LanRef) -> None:
        """Ask for a look at LANs."""
        self._marked.update(dict.fromkeys(refs))
        if refs:
            self._woken()

    def mark_all(self) -> None:
        """Ask for a look at every LAN."""
        self.mark(*(found.ref for _, found in self.lans.items()))

    def take(self, busy: Iterable[LanRef] = ()) -> LanRef | None:
        """The next LAN to look at that is not one of the ``busy``, None if there is none."""
        ref = next((ref for ref in self._marked if ref not in busy), None)
        if ref is not None:
            del self._marked[ref]
        return ref

    def _lan_changed(self, key: Key, _old: LanObject | None, new: LanObject | None) -> None:
        ref = LanRef(namespace=key[0], name=key[1])
        self.mark(ref, *self.claims.put(ref, new.lan if new else None))

    def _nad_changed(self, key: Key, old: FoundNad | None, new: FoundNad | None) -> None:
        for found, add in ((old, False), (new, True)):
            if found and found.owner:
                owner = LanRef(namespace=key[0], name=found.owner)
                owned = self._owned.setdefault(owner, set())
                (owned.add if add else owned.discard)(key[1])
                if not owned:
                    del self._owned[owner]
        self.mark(*self._concerned(key, *(found.owner for found in (old, new) if found)))

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        before, after = pods.nads(old), pods.nads(new)
        for nad in before - after:
            self._users[nad].discard(key)
            if not self._users[nad]:
                del self._users[nad]
        for nad in after - before:
            self._users.setdefault(nad, set()).add(key)
        for nad in before | after:
            found = self.nads.get(nad)
            self.mark(*self._concerned(nad, found.owner if found else ""))

    def _node_changed(self, key: Key, _old: NodeHealth | None, new: NodeHealth | None) -> None:
        node, finalizer = key[1], names.finalizer(key[1])
        if new:
            self._nodes[node] = new
        else:
            del self._nodes[node]
        self.mark(
            *(
                found.ref
                for _, found in self.lans.items()
                if found.deleting or node in found.entries or finalizer in found.finalizers
            )
        )

    def _concerned(self, nad: Key, *owners: str) -> set[LanRef]:
        """The LANs that a NAD is about: who owns it, and who wants one of its name."""
        namespace, name = nad
        spoke, lan = nads.claim(name)
        refs = {LanRef(namespace=namespace, name=owner) for owner in (*owners, lan) if owner}
        if spoke:
            refs.update(self.claims.owners(namespace, spoke))
        return refs

    # ------------------------------------------------------------ what one LAN needs

    def view(self, ref: LanRef, now: datetime, *, fresh: bool = True, failure: str = "") -> View | None:
        """What matters for a LAN; None if there is no such LAN."""
        found = self.lans.get((ref.namespace, ref.name))
        if found is None:
            return None
        clashes = self.clashes(found.lan) if found.lan else ()
        owned = frozenset(self._owned.get(ref, ()))
        wanted = owned
        if found.lan:
            wanted = frozenset(_names(found.lan, validate.own_spokes(found.lan, clashes)))
            wanted = wanted & owned if clashes or found.lan.leaving else wanted
        keys = [(ref.namespace, name) for name in wanted | owned]
        users = {pod for key in keys for pod in self._users.get(key, ())}
        return View(
            found=found,
            now=now,
            clashes=clashes,
            names=wanted,
            nads={key[1]: nad for key in keys if (nad := self.nads.get(key)) is not None},
            pods={pod: use for pod in users if (use := self.pods.get(pod)) is not None},
            nodes=self._nodes,
            fresh=fresh,
            failure=failure,
        )

    def clashes(self, lan: Lan) -> tuple[Problem, ...]:
        """What other LANs have of a LAN."""
        return self.claims.clashes_of(lan)


def _names(lan: Lan, spokes: Iterable[str]) -> Iterator[str]:
    """The names of the NADs that a LAN wants, with these of its spokes."""
    for spoke in spokes:
        yield names.veth_nad(spoke)
        yield names.mac_nad(spoke)
    if lan.dynamic:
        yield names.lan_nad(lan.ref.name)
