"""Which LANs this node realises: what the source sees, what was known before, less what clashes.

A LAN with attachments here goes on whatever others want: see ``validate.settle``, which is given what it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from k8slan_cli.agent.sources import with_birth
from k8slan_cli.agent.store import KnownLans
from k8slan_cli.errors import CniError, Problem
from k8slan_cli.lan import validate
from k8slan_cli.lan.model import Lan, LanRef, Snapshot

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
        self.refused: Mapping[LanRef, tuple[Problem, ...]] = {}
        self.broken: Mapping[str, tuple[Problem, ...]] = {}
        self._all: Mapping[LanRef, Lan] = {}
        self._claims: Mapping[LanRef, object] = {}
        # A LAN with attachments is known as it was realised.
        self._lans: Mapping[LanRef, Lan] = {ref: lan for ref, (lan, _) in known.all().items()}
        self._by_spoke: Mapping[str, Lan] = {}
        self._index(self._lans)

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

    def of_spoke(self, spoke: str) -> Lan:
        """The LAN that a spoke belongs to.

        Raises:
            CniError: there is none.

        """
        if lan := self._by_spoke.get(spoke):
            return lan
        for ref, problems in self.refused.items():
            if spoke in self._all[ref].spokes:
                raise CniError(100, f"spoke {spoke} is of LAN {ref}, which clashes: {'; '.join(map(str, problems))}")
        if lan := next((lan for lan in self._all.values() if lan.leaving and spoke in lan.spokes), None):
            raise CniError(100, f"LAN {lan.ref} is being deleted")
        raise CniError(100, f"no LAN has the spoke {spoke!r}", "see: k8slan lan list -A, kubectl get lan -A")

    def of_name(self, ref: LanRef) -> Lan:
        """The LAN of a name.

        Raises:
            CniError: there is none that may be realised.

        """
        if lan := self._lans.get(ref):
            return lan
        if problems := self.refused.get(ref):
            raise CniError(100, f"LAN {ref} clashes: {'; '.join(map(str, problems))}")
        if ref in self._all:
            raise CniError(100, f"LAN {ref} is being deleted")
        raise CniError(100, f"there is no LAN {ref}", "see: k8slan lan list -A, kubectl get lan -A")

    def update(self, snapshot: Snapshot) -> frozenset[LanRef]:
        """Take in what the source sees now; returns the LANs that have changed, come or gone."""
        before = self._lans
        lans = self._merge(snapshot)
        self._index({ref: lan for ref, (lan, _) in lans.items()})
        self._known.replace({ref: (self._lans.get(ref, lan), origin) for ref, (lan, origin) in lans.items()})
        self.heard.set()
        self._tell(before)
        return frozenset(ref for ref in before.keys() | self._lans.keys() if before.get(ref) != self._lans.get(ref))

    def _tell(self, before: Mapping[LanRef, Lan]) -> None:
        """Log what has come, changed or gone; what agents and controller write is no change of a LAN."""
        for ref in sorted(before.keys() | self._lans.keys()):
            old, new = before.get(ref), self._lans.get(ref)
            if old is None or new is None:
                log.info("LAN %s %s", ref, "is there" if new else "is gone")
            elif replace(old, nodes=new.nodes, finalizers=new.finalizers, granted=new.granted) != new:
                log.info("LAN %s has changed", ref)

    def preview(self, snapshot: Snapshot) -> None:
        """Take in what the source sees, but write nothing down."""
        self._index({ref: lan for ref, (lan, _) in self._merge(snapshot).items()})

    def _merge(self, snapshot: Snapshot) -> dict[LanRef, tuple[Lan, str]]:
        """The LANs of a snapshot, and those known before whose origin is broken now."""
        known = self._known.all()
        now = datetime.now(UTC).isoformat()
        lans = {
            ref: (with_birth(lan, known[ref][0] if ref in known else None, now), origin)
            for ref, (lan, origin) in snapshot.lans.items()
        }
        for ref, (lan, origin) in known.items():
            if ref not in lans and origin in snapshot.broken:
                lans[ref] = (lan, origin)
        for origin, problems in snapshot.broken.items():
            if self.broken.get(origin) != problems:
                log.error("%s is ignored: %s", origin, "; ".join(map(str, problems)))
        self.broken = snapshot.broken
        return lans

    def _index(self, lans: Mapping[LanRef, Lan]) -> None:
        claims = {ref: _claims(lan) for ref, lan in lans.items()}
        if claims == self._claims and self._lans.keys() == lans.keys() and not self.refused:
            self._lans = lans  # most news of a LAN are about its status, which matters where LANs clash alone
        else:
            held = {ref: self._lans[ref] for ref in self._attached() if ref in self._lans}
            settled = validate.settle(lans.values(), held)
            for ref, problems in settled.clashes.items():
                if self.refused.get(ref) != problems:
                    what = "goes on as it was" if ref in settled.lans else "is not realised"
                    log.error("LAN %s %s, it clashes: %s", ref, what, "; ".join(map(str, problems)))
            self._claims, self._lans, self.refused = claims, settled.lans, settled.clashes
        self._all = lans
        self._by_spoke = {spoke: lan for lan in self._lans.values() for spoke in lan.spokes}


def _claims(lan: Lan) -> tuple[object, ...]:
    """Return what decides whether LANs clash at all."""
    return lan.netns, lan.vni, lan.spokes, lan.deleting, lan.leaving
