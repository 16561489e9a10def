"""Which LANs this node realises: what the source sees, what was known before, less what clashes.

A LAN with attachments here goes on whatever others want: see ``validate.settle``, which is given what it has. It is
given those LANs alone that have to do with what has changed, by wanting the same: with a thousand LANs, an event costs
no more than with ten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from k8slan_cli.agent.sources import with_birth
from k8slan_cli.agent.store import KnownLans
from k8slan_cli.errors import CniError, Problem
from k8slan_cli.lan import validate
from k8slan_cli.lan.model import Lan, LanRef, Snapshot
from k8slan_cli.lan.names import Forms

log = logging.getLogger(__name__)


class Lans:
    """The LANs of the cluster as this node sees them.

    ``refused`` holds those that clash with another; they are known, but not realised as they are wanted.
    """

    def __init__(self, known: KnownLans, attached: Callable[[], Iterable[LanRef]] = tuple) -> None:
        """Begin with what was known last; ``attached`` names the LANs that have attachments here."""
        self._known = known
        self._attached = attached
        self.heard = asyncio.Event()
        self.refused: dict[LanRef, tuple[Problem, ...]] = {}
        self.broken: Mapping[str, tuple[Problem, ...]] = {}
        self._remains: dict[LanRef, Lan] = {}
        """Those that break rules and were not known before: they have what they were granted, but are not realised."""
        self._all: dict[LanRef, Lan] = {}
        self._by_spoke: dict[str, dict[LanRef, Lan]] = {}
        self._rivals = Rivals()
        # A LAN with attachments is known as it was realised.
        self._lans: dict[LanRef, Lan] = {ref: lan for ref, (lan, _) in known.all().items()}
        self._take_in({ref: lan for ref, (lan, _) in known.all().items()})

    @property
    def synced(self) -> bool:
        """Whether the source has been heard: only then is a LAN that is not seen one that is gone."""
        return self.heard.is_set()

    def get(self, ref: LanRef) -> Lan | None:
        """The LAN as it may be realised, if it may."""
        return self._lans.get(ref)

    def everything(self) -> Mapping[LanRef, Lan]:
        """Every LAN that is there, also those that clash."""
        return self._all

    def seen(self, ref: LanRef) -> Lan | None:
        """The LAN, if it is there: as it may be realised, or else as it is wanted."""
        return self._lans.get(ref) or self._all.get(ref)

    def all(self) -> Mapping[LanRef, Lan]:
        """Every LAN that may be realised."""
        return self._lans

    def of_spoke(self, spoke: str, namespace: str | None = None, netns: str = "") -> Lan:
        """The LAN that is meant by a spoke alone, in a pod of a namespace; any that has it if that is None.

        It is that of the pod's own namespace, whether it can be had now or not; else the only one there is. ``netns``
        tells LANs apart by their network namespaces, or by their names.

        Raises:
            CniError: there is none, or more than one.

        """
        found = [lan for lan in self._by_spoke.get(spoke, {}).values() if _is_at(lan, netns)]
        own = [lan for lan in found if lan.ref.namespace == namespace]
        if own or (found and namespace is None):
            return (own or found)[0]
        waiting = sorted(lan.ref for lan in self._all.values() if spoke in lan.spokes and _is_at(lan, netns))
        if kept := next((ref for ref in waiting if not found or ref.namespace == namespace), None):
            raise CniError(100, f"spoke {spoke} is of LAN {kept}, which {self._why_not(kept)}")
        if len(found) > 1:
            which = ", ".join(sorted(str(lan.ref) for lan in found))
            hint = 'name the LAN in the network\'s configuration: "lan": "NAMESPACE/NAME"'
            text = f"the spoke {spoke!r} is one of several LANs, of none in the pod's namespace: {which}"
            raise CniError(100, text, hint)
        if found:
            return found[0]
        at = f" at {netns!r}" if netns else ""
        raise CniError(100, f"no LAN{at} has the spoke {spoke!r}", "see: k8slan lan list -A, kubectl get lan -A")

    def of_name(self, ref: LanRef) -> Lan:
        """The LAN of a name.

        Raises:
            CniError: there is none that may be realised.

        """
        if lan := self._lans.get(ref):
            return lan
        if ref in self._all:
            raise CniError(100, f"LAN {ref} {self._why_not(ref)}")
        raise CniError(100, f"there is no LAN {ref}", "see: k8slan lan list -A, kubectl get lan -A")

    def _why_not(self, ref: LanRef) -> str:
        """Why a LAN that is there is not realised, after its name."""
        if problems := self.refused.get(ref):
            return f"clashes: {'; '.join(map(str, problems))}"
        if ref in self._remains:
            return f"breaks rules: {'; '.join(map(str, self.broken.get(str(ref), ())))}"
        if self._all[ref].leaving:
            return "is being deleted"
        return "has no VNI yet: the controller allots it one, see kubectl describe lan"

    def update(self, snapshot: Snapshot) -> frozenset[LanRef]:
        """Take in what the source sees now; returns the LANs that have changed, come or gone."""
        known, news = self._known.all(), self._news(snapshot)
        changed = {ref for ref, entry in news.items() if self._all.get(ref) != (entry and entry[0])}
        before = self._take_in({ref: entry and entry[0] for ref, entry in news.items()} | self._remains)
        there = {ref: entry for ref in before if (entry := news.get(ref, known.get(ref)))}
        realised = {ref: (self._lans.get(ref, lan), origin) for ref, (lan, origin) in there.items()}
        self._known.change({**news, **realised})
        self.heard.set()
        self._tell(before)
        return frozenset(changed | {ref for ref, lan in before.items() if self._lans.get(ref) != lan})

    def _tell(self, before: Mapping[LanRef, Lan | None]) -> None:
        """Log what has come, changed or gone; what agents and controller write is no change of a LAN."""
        for ref in sorted(before):
            old, new = before[ref], self._lans.get(ref)
            if old is None or new is None:
                if old or new:
                    log.info("LAN %s %s", ref, "is there" if new else "is gone")
            elif as_written(old) != as_written(new):
                log.info("LAN %s has changed", ref)

    def preview(self, snapshot: Snapshot) -> None:
        """Take in what the source sees, but write nothing down."""
        news = self._news(snapshot)
        self._take_in({ref: entry and entry[0] for ref, entry in news.items()} | self._remains)

    def _news(self, snapshot: Snapshot) -> dict[LanRef, tuple[Lan, str] | None]:
        """What a snapshot has, and None for what is gone; a LAN whose origin is broken now stays as it was known."""
        known = self._known.all()
        now = datetime.now(UTC).isoformat()
        news: dict[LanRef, tuple[Lan, str] | None] = {
            ref: (with_birth(lan, known[ref][0] if ref in known else None, now), origin)
            for ref, (lan, origin) in snapshot.lans.items()
        }
        gone = (known.keys() | self._all.keys()) - snapshot.lans.keys() if snapshot.gone is None else snapshot.gone
        had = {ref: lan for ref, lan in self._remains.items() if ref not in news and ref not in gone}
        self._remains = had | {ref: lan for ref, lan in snapshot.remains.items() if lan.granted and ref not in known}
        news |= {ref: None for ref in gone if ref not in known or known[ref][1] not in snapshot.broken}
        for origin, problems in snapshot.broken.items():
            if self.broken.get(origin) != problems:
                log.error("%s is ignored: %s", origin, "; ".join(map(str, problems)))
        if snapshot.gone is None:
            self.broken = snapshot.broken
        else:
            mended = {str(ref) for ref in news}
            self.broken = {k: v for k, v in self.broken.items() if k not in mended} | dict(snapshot.broken)
        return news

    def _take_in(self, news: Mapping[LanRef, Lan | None]) -> dict[LanRef, Lan | None]:
        """Decide anew what has to do with news; returns how the LANs that were looked at were realised before."""
        doubtful = set(self.refused)
        before: dict[LanRef, Lan | None] = {}
        for ref, lan in news.items():
            old, realised = self._all.pop(ref, None), self._lans.get(ref)
            if lan and lan.allotted and not lan.vni and realised:  # made anew from a copy, and in use
                lan = replace(lan, vni=realised.vni)
            if lan:
                self._all[ref] = lan
            if lan is None or old is None or _claims(old) != _claims(lan):
                doubtful.add(ref)
                self._rivals.add(ref, lan)
            elif ref in self._lans and ref not in self.refused:
                before[ref] = self._lans[ref]
                self._realise({ref: lan})
        together = self._rivals.of(doubtful)
        before |= {ref: self._lans.get(ref) for ref in together}
        attached = set(self._attached()) if together else set()
        held = {ref: self._lans[ref] for ref in together if ref in attached and ref in self._lans}
        settled = validate.settle([self._all[ref] for ref in together if ref in self._all], held)
        for ref, problems in settled.clashes.items():
            if self.refused.get(ref) != problems:
                what = "goes on as it was" if ref in settled.lans else "is not realised"
                log.error("LAN %s %s, it clashes: %s", ref, what, "; ".join(map(str, problems)))
        self.refused = {ref: found for ref, found in self.refused.items() if ref not in together}
        self.refused |= settled.clashes
        self._realise({ref: settled.lans.get(ref) for ref in together})
        for ref in together:
            self._rivals.replace(ref, self._all.get(ref), self._lans.get(ref))
        return before

    def _realise(self, lans: Mapping[LanRef, Lan | None]) -> None:
        for ref in lans:
            for spoke in old.spokes if (old := self._lans.pop(ref, None)) else ():
                self._by_spoke.get(spoke, {}).pop(ref, None)
                if not self._by_spoke.get(spoke):
                    self._by_spoke.pop(spoke, None)
        for ref, lan in lans.items():
            if lan and lan.vni and ref not in self._remains:
                self._lans[ref] = lan
                for spoke in lan.spokes:
                    self._by_spoke.setdefault(spoke, {})[ref] = lan


class Rivals:
    """Which LANs want, or have, something that another one wants, or has, too."""

    def __init__(self) -> None:
        self._claims: dict[LanRef, frozenset[Hashable]] = {}
        self._claimants: dict[Hashable, set[LanRef]] = {}

    def add(self, ref: LanRef, lan: Lan | None) -> None:
        """Take in what a LAN claims now, beside what it has claimed."""
        self._set(ref, self._claims.get(ref, frozenset()) | _wants(lan))

    def replace(self, ref: LanRef, *lans: Lan | None) -> None:
        """Take in that this is all that a LAN claims, as it is wanted and as it is realised."""
        self._set(ref, frozenset[Hashable]().union(*map(_wants, lans)))

    def _set(self, ref: LanRef, claims: frozenset[Hashable]) -> None:
        for claim in self._claims.pop(ref, frozenset()) - claims:
            self._claimants[claim].discard(ref)
            if not self._claimants[claim]:
                del self._claimants[claim]
        for claim in claims:
            self._claimants.setdefault(claim, set()).add(ref)
        if claims:
            self._claims[ref] = claims

    def of(self, refs: Collection[LanRef]) -> set[LanRef]:
        """Return these LANs, their rivals, the rivals of those, and so on."""
        found: set[LanRef] = set()
        more = set(refs)
        while more:
            ref = more.pop()
            found.add(ref)
            for claim in self._claims.get(ref, ()):
                more |= self._claimants[claim] - found
        return found


def _is_at(lan: Lan, netns: str) -> bool:
    """Whether a LAN is at a network namespace, as the Go system's paths tell it: by its ``ns``, or by its own name."""
    return netns in ("", lan.netns, lan.ref.name)


def as_written(lan: Lan) -> Lan:
    """Return what the user has written of a LAN."""
    return replace(
        lan, nodes=(), finalizers=(), granted=None, attached=False, forms=Forms.SHORT, resources=(), bare=frozenset()
    )


def _wants(lan: Lan | None) -> frozenset[Hashable]:
    return validate.stakes(lan) if lan else frozenset()


def _claims(lan: Lan) -> tuple[object, ...]:
    """Return what decides whether LANs clash at all."""
    return lan.netns, lan.vni, lan.uplinks, lan.spokes, lan.granted, lan.deleting, lan.leaving
