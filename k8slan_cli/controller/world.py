"""All that the controller knows, by what it is about: caches of objects in, one LAN's ``View`` out. No I/O.

A change of any object marks the LANs that it concerns; ``take`` hands them out. What a LAN needs is found through
indexes, so that a change costs what it concerns and not what the cluster holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain, product

from k8slan_cli.controller.claims import Claims
from k8slan_cli.controller.news import News
from k8slan_cli.controller.view import View
from k8slan_cli.errors import Problem
from k8slan_cli.kube import lans, nads, nodes
from k8slan_cli.kube.lans import LanObject
from k8slan_cli.kube.nads import FoundNad
from k8slan_cli.kube.nodes import ClusterNode
from k8slan_cli.kube.watch import Cache, Key
from k8slan_cli.lan import faults, names, validate, vnis, vtep_codec
from k8slan_cli.lan.model import Grant, Lan, LanRef
from k8slan_cli.lan.resources import DEFAULT_NAMING, Naming, Resources
from k8slan_cli.lan.validate import Settled
from k8slan_cli.lan.vnis import DEFAULT_VNIS
from k8slan_cli.lan.vtep import Vtep
from k8slan_cli.plan.pods import sockets


class World:
    """LANs, NADs, VTEPs and nodes of the cluster, and agents of 0.1.0. ``woken`` is called when a LAN is marked."""

    def __init__(
        self,
        woken: Callable[[], None] = lambda: None,
        naming: Naming = DEFAULT_NAMING,
        allotting: range = DEFAULT_VNIS,
    ) -> None:
        self.lans: Cache[LanObject] = Cache(partial(lans.read_object, forms=naming.forms), self._lan_changed)
        self.nads: Cache[FoundNad] = Cache(nads.read, self._nad_changed)
        self.vteps: Cache[Vtep] = Cache(vtep_codec.decode, self._vtep_changed)
        self.nodes: Cache[ClusterNode] = Cache(nodes.read, self._node_changed)
        self.old_agents: Cache[bool] = Cache(lambda _document: True, self._old_agent_changed)
        self.claims = Claims()
        self._forms = naming.forms
        self._resources = Resources(naming)
        self.allotting = allotting
        self._allotted: dict[LanRef, int] = {}
        """VNIs of LANs whose status may not say so yet."""
        self._unnumbered: set[LanRef] = set()
        """LANs for which there was no VNI."""
        self.news: dict[LanRef, News] = {}
        """What has happened to LANs and is not told yet; nothing before all of them were known."""
        self._learned = False
        self._woken = woken
        self._marked: dict[LanRef, None] = {}
        self._owned: dict[LanRef, set[str]] = {}
        self._vteps: dict[LanRef, dict[str, Vtep]] = {}
        self._carried: dict[int, set[tuple[LanRef, str]]] = {}
        """VNIs that nodes have, though their LANs may be gone: of which LAN, and on which node."""
        self._nodes: dict[str, ClusterNode] = {}

    # ------------------------------------------------------------ which LANs to look at

    def mark(self, *refs: LanRef) -> None:
        """Ask for a look at LANs."""
        self._marked.update(dict.fromkeys(refs))
        if refs:
            self._woken()

    def mark_all(self) -> None:
        """Ask for a look at every LAN, and at VTEPs of LANs that are not there."""
        self.mark(*(found.ref for _, found in self.lans.items()), *self._vteps)

    def take(self, busy: Iterable[LanRef] = ()) -> LanRef | None:
        """The next LAN to look at that is not one of the ``busy``, None if there is none."""
        ref = next((ref for ref in self._marked if ref not in busy), None)
        if ref is not None:
            del self._marked[ref]
        return ref

    def _lan_changed(self, key: Key, old: LanObject | None, new: LanObject | None) -> None:
        ref = LanRef(namespace=key[0], name=key[1])
        if self._learned:
            self.news.setdefault(ref, News()).lan(old, new)
        if new is None:
            self._resources.release(ref)
            self._allotted.pop(ref, None)
        self.mark(ref, *self._claim(ref), *self._resources.waiting(), *self._unnumbered)

    def _claim(self, ref: LanRef) -> Iterable[LanRef]:
        """Take in what a LAN claims, and with which right; returns the others that this may be about."""
        found = self.lans.get((ref.namespace, ref.name))
        return self.claims.put(ref, self._with_standing(found.claimant) if found and found.claimant else None)

    def _with_standing(self, lan: Lan) -> Lan:
        """A LAN with what its status may not say yet: the VNI that it has been allotted, and that it is in use."""
        attached = lan.attached or any(vtep.ports for vtep in self._vteps.get(lan.ref, {}).values())
        known = self._allotted.get(lan.ref, 0) if lan.allotted and not lan.vni else 0
        return replace(lan, vni=lan.vni or known, attached=attached)

    def _nad_changed(self, key: Key, old: FoundNad | None, new: FoundNad | None) -> None:
        for found, add in ((old, False), (new, True)):
            if found and found.owner:
                owner = LanRef(namespace=key[0], name=found.owner)
                owned = self._owned.setdefault(owner, set())
                (owned.add if add else owned.discard)(key[1])
                if not owned:
                    del self._owned[owner]
        self.mark(*self._concerned(key, *(found.owner for found in (old, new) if found)))

    def _vtep_changed(self, _key: Key, old: Vtep | None, new: Vtep | None) -> None:
        """Take in a VTEP; what it is about never changes, as its name tells."""
        if self._learned and (found := new or old):
            self.news.setdefault(found.lan, News()).vtep(old, new)
        if old and not new:
            del self._vteps[old.lan][old.node]
            if not self._vteps[old.lan]:
                del self._vteps[old.lan]
        elif new:
            self._vteps.setdefault(new.lan, {})[new.node] = new
        for vtep in (old, new):
            if vtep and vtep.vni and vtep.ports:
                carriers = self._carried.setdefault(vtep.vni, set())
                (carriers.add if vtep is new else carriers.discard)((vtep.lan, vtep.node))
                if not carriers:
                    del self._carried[vtep.vni]
                    self.mark(*self._unnumbered)
        if vtep := new or old:
            self.mark(vtep.lan, *self._claim(vtep.lan))

    def _node_changed(self, key: Key, _old: ClusterNode | None, new: ClusterNode | None) -> None:
        node, finalizer = key[1], names.finalizer(key[1])
        if new:
            self._nodes[node] = new
        else:
            del self._nodes[node]
        self.mark(*(ref for ref, vteps in self._vteps.items() if node in vteps))
        for found in self.lans.values():
            if finalizer in found.finalizers or any(entry.name == node for entry in found.entries):
                self.mark(found.ref)

    def _old_agent_changed(self, _key: Key, old: bool | None, _new: bool | None) -> None:
        if len(self.old_agents) == (0 if old else 1):
            self.mark_all()

    def _concerned(self, nad: Key, *owners: str) -> set[LanRef]:
        """The LANs that a NAD is about: who owns it, and who wants one of its name."""
        namespace, name = nad
        veth, lan = nads.claim(name)
        refs = {LanRef(namespace=namespace, name=owner) for owner in (*owners, lan) if owner}
        if veth:
            refs.update(self.claims.owners(namespace, veth))
        return refs

    # ------------------------------------------------------------ what one LAN needs

    def view(self, ref: LanRef, now: datetime, *, fresh: bool = True, failure: str = "") -> View | None:
        """What matters for a LAN; None if there is neither such a LAN nor a VTEP of it."""
        there = self.lans.get((ref.namespace, ref.name))
        vteps = self._vteps.get(ref, {})
        if there is None and not vteps:
            return None
        found = there or LanObject(ref=ref)
        wished = self._with_vni(found.lan) if found.lan else None
        settled = self.claims.settle(wished) if wished else Settled(lans={}, clashes={})
        clashes = settled.clashes.get(ref, ())
        owned = frozenset(self._owned.get(ref, ()))
        lan, wanted = None, owned
        granted = found.broken.granted if found.broken else None
        if wished:
            granted = _granted(wished, clashes)
            forms = granted.forms if granted else wished.forms
            rest = replace(wished, spokes=validate.own_spokes(wished, clashes), forms=forms)
            lan = settled.lans.get(ref) or rest
            lan = self._with_resources(lan, new=not clashes and not wished.leaving)
            wanted = frozenset(nad.name for nad, _ in sockets(lan, lan.forms))
            wanted = wanted & owned if clashes or wished.leaving else wanted
        keys = [(ref.namespace, name) for name in wanted | owned]
        return View(
            found=found,
            lan=lan,
            granted=granted,
            allotting=self.allotting,
            now=now,
            clashes=clashes,
            nads={key[1]: nad for key in keys if (nad := self.nads.get(key)) is not None},
            vteps=tuple(vteps[node] for node in sorted(vteps)),
            nodes=self._nodes,
            old_agents=bool(len(self.old_agents)),
            fresh=fresh,
            failure=failure,
        )

    def learn(self) -> None:
        """Take in which resources LANs have had, by their NADs and status, once all of these are known.

        What the status says counts first: tenants cannot write it.
        """
        self._learned = True
        self._resources.clear()
        known = [(lan, found) for found in self.lans.values() if (lan := found.claimant)]
        for lan, found in sorted(known, key=lambda each: (each[0].created, each[0].ref)):
            stated = _stated(found, lan)
            for spoke, before in product(lan.offered, self._forms.of(lan.ref.name)):
                nad = names.mac_nad(spoke, before)
                there = self.nads.get((lan.ref.namespace, nad))
                told = there.resource if there and there.owner_uid == found.uid else ""
                self._resources.learn(lan.ref, spoke, {nad: stated.get(nad, told)})

    def _with_vni(self, lan: Lan) -> Lan:
        """A LAN with its VNI: one that no LAN has or wants, if it is to be allotted and none has been.

        What has been allotted is claimed at once, so that the next LAN gets another.
        """
        self._unnumbered.discard(lan.ref)
        lan = self._with_standing(lan)
        if lan.vni or lan.deleting or not self._learned:
            return lan
        vni = self._free_vni(lan.ref)
        if not vni:
            self._unnumbered.add(lan.ref)
            return lan
        self._allotted[lan.ref] = vni
        lan = replace(lan, vni=vni)
        self.claims.put(lan.ref, lan)
        return lan

    def _free_vni(self, ref: LanRef) -> int:
        """A VNI that no LAN has or wants and no node has for another LAN: if it can be, the one that nodes have.

        A LAN that is made anew while pods are attached has one there.
        """
        kept = [vtep.vni for vtep in self._vteps.get(ref, {}).values() if vtep.ports and vtep.vni]

        def taken(vni: int) -> bool:
            return vni in self.claims or any(lan != ref for lan, _ in self._carried.get(vni, ()))

        return vnis.free(chain(kept, self.allotting), taken)

    def _with_resources(self, lan: Lan, *, new: bool) -> Lan:
        """A LAN with what it has for its spokes, and what it gets if it may have ``new`` things."""
        room = self._resources.room
        held = lan.offered if new else [spoke for spoke in lan.offered if spoke in self._resources.spokes(lan.ref)]
        granted = self._resources.allot(lan.ref, held)
        if self._resources.room > room:
            self.mark(*self._resources.waiting())
        return replace(lan, resources=granted.resources, bare=frozenset(granted.bare))

    def clashes(self, lan: Lan) -> tuple[Problem, ...]:
        """What other LANs have of a LAN, and which of its remotes are nodes."""
        return (*self.claims.clashes_of(replace(lan, forms=self._forms)), *self._remote_nodes(lan))

    def _remote_nodes(self, lan: Lan) -> Iterable[Problem]:
        if not lan.remotes:
            return
        owners = {vtep.address: vtep.node for vteps in self._vteps.values() for vtep in vteps.values()}
        owners |= {address: name for name, node in self._nodes.items() for address in node.addresses}
        for field, remote, node in faults.remotes_among(lan, owners):
            yield Problem(
                field=field, message=f"{remote} is node {node} of this cluster: name hosts outside of it alone"
            )


def _granted(lan: Lan, clashes: Collection[Problem]) -> Grant | None:
    """What is a LAN's own from now on: as long as something is against what it wants, that is what has been before.

    One that is being deleted may give up things, and gets nothing.
    """
    late = lan.leaving or (lan.deleting and not lan.granted)
    return lan.granted if clashes or late else validate.grant(lan)


def _stated(found: LanObject, lan: Lan) -> dict[str, str]:
    """The resources of a LAN by its status, which names only those that are not called as their NADs are."""
    status, spokes = found.status, lan.granted.spokes if lan.granted else ()
    nads_had = (names.mac_nad(spoke, before) for spoke, before in product(spokes, status.forms.of(lan.ref.name)))
    return {nad: names.resource(nad) for nad in nads_had} | dict(status.resources)
