"""Which extended resources the spokes of LANs have: names in the cluster, which nobody may have twice.

A pod's veth needs no device, so the resource of that kind hands out nothing, and is for all LANs with a spoke of the
name. What a VM gets is its tap, so the resource of that kind is one LAN's: the name of the spoke's NAD goes to the
first LAN that has such a spoke, others have the long form, or a name of their own where even that is taken. What a
LAN has it keeps, whatever becomes of others. Each resource costs every node a device plugin and an entry in its Node
object, so there is a ceiling, beyond which spokes have none.

Pure but for what it remembers: the controller decides by it for a cluster, an agent for LANs from files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from k8slan_cli.lan import names
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.names import Forms

MAX_RESOURCES = 4000
"""How many resources a node offers, unless it is told otherwise: one costs 200 bytes of the Node object, which the API
server refuses beyond 1.5 MiB, and 60 kB of the agent."""


MAX_PODS = 110
"""How many pods a node takes, unless its kubelet is told otherwise (``maxPods``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What an installation has chosen: the forms of names, and how many resources a node offers at the most."""

    forms: Forms = Forms.SHORT
    most: int = MAX_RESOURCES


DEFAULT_NAMING = Naming()


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a LAN has: its resources that are not called as the NAD is, by NAD; and its spokes without any."""

    resources: tuple[tuple[str, str], ...] = ()
    bare: tuple[str, ...] = ()


@dataclass(slots=True)
class _Had:
    """What a spoke has: its mac resources by NAD, and its veth resources."""

    macs: dict[str, str] = field(default_factory=dict)
    veths: tuple[str, ...] = ()


class Resources:
    """The resources of all LANs."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._had: dict[LanRef, dict[str, _Had]] = {}
        self._owner: dict[str, tuple[LanRef, str]] = {}
        self._veths: Counter[str] = Counter()
        self._waiting: dict[LanRef, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._owner) + len(self._veths)

    @property
    def room(self) -> int:
        """How many more resources there may be."""
        return self._naming.most - len(self)

    def clear(self) -> None:
        """Forget everything."""
        self._had.clear()
        self._owner.clear()
        self._veths.clear()
        self._waiting.clear()

    def spokes(self, ref: LanRef) -> Collection[str]:
        """The spokes of a LAN that have resources."""
        return self._had.get(ref, {}).keys()

    def waiting(self) -> tuple[LanRef, ...]:
        """The LANs with spokes that have none, if there is room now."""
        return tuple(self._waiting) if self.room > 0 else ()

    def learn(self, ref: LanRef, spoke: str, known: Mapping[str, str]) -> None:
        """Take in what a spoke has had: its resources by NAD. What it cannot have is passed over."""
        for before in self._naming.forms.of(ref.name):
            nad = names.mac_nad(spoke, before)
            if (name := known.get(nad)) in self._candidates(ref, spoke, nad) and self._is_free(ref, spoke, name):
                self._owner[name] = (ref, spoke)
                self._of(ref, spoke).macs[nad] = name
        if (had := self._had.get(ref, {}).get(spoke)) and not had.veths:
            had.veths = self._veths_of(ref, spoke)
            self._veths.update(had.veths)

    def allot(self, ref: LanRef, spokes: Iterable[str]) -> Granted:
        """Give a LAN what these spokes are to have, and take what others of it had; it has the same the next time."""
        wanted = dict.fromkeys(spokes)
        for spoke in [spoke for spoke in self._had.get(ref, ()) if spoke not in wanted]:
            self._drop(ref, spoke)
        found: list[tuple[str, str]] = []
        bare: list[str] = []
        for spoke in wanted:
            nads = [names.mac_nad(spoke, before) for before in self._naming.forms.of(ref.name)]
            had = self._had.get(ref, {}).get(spoke)
            if had is None or any(nad not in had.macs for nad in nads):
                had = self._choose(ref, spoke, nads)
            if had is None:
                bare.append(spoke)
            # A name that no node offers: a VM waits then, instead of getting what is another's.
            macs = had.macs if had else {nad: names.resource(nad, f"{ref} has none") for nad in nads}
            found += [(nad, macs[nad]) for nad in nads if macs[nad] != names.resource(nad)]
        self._waiting.pop(ref, None)
        if bare:
            self._waiting[ref] = tuple(bare)
        return Granted(resources=tuple(found), bare=tuple(bare))

    def release(self, ref: LanRef) -> None:
        """Take what a LAN has: it is gone."""
        for spoke in tuple(self._had.get(ref, ())):
            self._drop(ref, spoke)
        self._waiting.pop(ref, None)

    def _choose(self, ref: LanRef, spoke: str, nads: Iterable[str]) -> _Had | None:
        had = self._had.get(ref, {}).get(spoke, _Had())
        macs = dict(had.macs)
        for nad in nads:
            if nad not in macs:
                choices = self._candidates(ref, spoke, nad)
                macs[nad] = next((name for name in choices if self._is_free(ref, spoke, name)), choices[-1])
        veths = self._veths_of(ref, spoke)
        new = {name for name in macs.values() if name not in self._owner}
        new |= {name for name in veths if name not in self._veths}
        if len(new) > max(0, self.room):
            return None
        had = self._of(ref, spoke)
        had.macs = macs
        self._owner |= dict.fromkeys(macs.values(), (ref, spoke))
        if not had.veths:
            had.veths = veths
            self._veths.update(veths)
        return had

    def _of(self, ref: LanRef, spoke: str) -> _Had:
        return self._had.setdefault(ref, {}).setdefault(spoke, _Had())

    def _veths_of(self, ref: LanRef, spoke: str) -> tuple[str, ...]:
        return tuple(names.resource(names.veth_nad(spoke, before)) for before in self._naming.forms.of(ref.name))

    def _candidates(self, ref: LanRef, spoke: str, nad: str) -> list[str]:
        """The names that the resource of a NAD may have, in the order in which they are tried."""
        long = names.mac_nad(spoke, ref.name)
        return [names.resource(nad), names.resource(long), names.resource(nad, str(ref))]

    def _is_free(self, ref: LanRef, spoke: str, name: str) -> bool:
        return self._owner.get(name, (ref, spoke)) == (ref, spoke)

    def _drop(self, ref: LanRef, spoke: str) -> None:
        had = self._had[ref].pop(spoke)
        if not self._had[ref]:
            del self._had[ref]
        for name in had.macs.values():
            self._owner.pop(name, None)
        for name in had.veths:
            self._veths[name] -= 1
            if not self._veths[name]:
                del self._veths[name]
