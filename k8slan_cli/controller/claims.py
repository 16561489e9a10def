"""Which LANs can clash at all: an index over what each claims for itself, so that one change asks about few others.

``validate.settle`` is the rule, and goes through all LANs. LANs that share a claim, directly or through others, make
a group; what the rule says of a LAN depends on its group alone, which nearly always is the LAN itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from k8slan_cli.errors import Problem
from k8slan_cli.lan import validate
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.lan.names import Forms
from k8slan_cli.lan.validate import Claim, Settled, stakes


class Claims:
    """All LANs, by reference and by what they claim."""

    def __init__(self) -> None:
        self._lans: dict[LanRef, Lan] = {}
        self._by_claim: dict[Claim, tuple[LanRef, ...]] = {}

    def put(self, ref: LanRef, lan: Lan | None) -> frozenset[LanRef]:
        """Take in a LAN as it is now, None if it is gone; returns the others that this may be about."""
        before = self._lans.get(ref)
        if before is not None and lan is not None and _same(before, lan):
            self._lans[ref] = lan
            return frozenset()
        concerned = set(self._group(before)) if before else set()
        if before:
            for claim in stakes(before):
                self._leave(claim, ref)
            del self._lans[ref]
        if lan:
            self._lans[ref] = lan
            for claim in stakes(lan):
                self._by_claim[claim] = (*self._by_claim.get(claim, ()), ref)
            concerned.update(self._group(lan))
        return frozenset(concerned - {ref})

    def _leave(self, claim: Claim, ref: LanRef) -> None:
        left = tuple(other for other in self._by_claim[claim] if other != ref)
        if left:
            self._by_claim[claim] = left
        else:
            del self._by_claim[claim]

    def _group(self, lan: Lan) -> Mapping[LanRef, Lan]:
        """A LAN, known or not, and the known ones that it shares claims with, directly or through others."""
        group = {lan.ref: lan}
        unasked = [lan]
        while unasked:
            for claim in stakes(unasked.pop()):
                for ref in self._by_claim.get(claim, ()):
                    if ref not in group:
                        group[ref] = self._lans[ref]
                        unasked.append(self._lans[ref])
        return group

    def clashes_of(self, lan: Lan) -> tuple[Problem, ...]:
        """What is against a LAN, known or not, as it is wanted; see ``settle``."""
        return self.settle(lan).clashes.get(lan.ref, ())

    def settle(self, lan: Lan) -> Settled:
        """How a LAN can be had beside the others, known or not; it stands in the place of the known one of its name."""
        group = self._group(lan)
        if len(group) == 1 and lan.forms is not Forms.BOTH and not lan.deleting:  # the rule would say the same
            return Settled(lans={lan.ref: lan}, clashes={})
        return validate.settle(group.values())

    def __contains__(self, claim: object) -> bool:
        """Return whether some LAN has or wants something."""
        return claim in self._by_claim

    def owners(self, namespace: str, nad: str) -> Iterable[LanRef]:
        """The LANs of a Kubernetes namespace that have a spoke with this veth NAD."""
        return self._by_claim.get(validate.nad_claim(namespace, nad), ())


def _same(before: Lan, after: Lan) -> bool:
    """Return whether two states of a LAN have the same stakes, with the same right."""
    return _standing(before) == _standing(after)


def _standing(lan: Lan) -> tuple[object, ...]:
    right = (lan.created, lan.granted, lan.in_use, lan.deleting, lan.leaving)
    return (lan.netns, lan.vni, lan.uplinks, lan.spokes, *right)
