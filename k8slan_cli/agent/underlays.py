"""Which LANs an event of the node's own links concerns: those whose underlay device it is about.

A pod's primary interface comes and goes in the same namespace all day, and must wake no LAN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from k8slan_cli.agent.passes import Self
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.net.netlink import Heard

Wanted = str | None
"""The underlay device that a LAN wants on this node; None: the node's own choice."""


class Underlays:
    """The devices that LANs want here, and as what link each was found last."""

    def __init__(self, me: Self) -> None:
        self._me = me
        self.routed = False
        """Whether routes choose the device of LANs that name none: the node's address is on one that leads nowhere."""
        self._of: dict[LanRef, Wanted] = {}
        self._users: Counter[Wanted] = Counter()
        self._found: dict[Wanted, int] = {}

    def wanted(self, lan: Lan) -> Wanted:
        """Return the device that a LAN wants on this node."""
        return lan.underlay_on(self._me.name, *self._me.aliases)

    def update(self, lans: Mapping[LanRef, Lan], refs: Iterable[LanRef]) -> None:
        """Take in which LANs there are now; ``refs`` are those that may have changed."""
        for ref in refs:
            if ref in self._of:
                self._users[self._of.pop(ref)] -= 1
            if lan := lans.get(ref):
                self._of[ref] = self.wanted(lan)
                self._users[self._of[ref]] += 1
        self._users = +self._users

    def found(self, wanted: Wanted, index: int | None) -> None:
        """Take in which link a device was found to be; None: it is not there."""
        if index is None:
            self._found.pop(wanted, None)
        else:
            self._found[wanted] = index

    def concerned(self, heard: Heard) -> frozenset[Wanted]:
        """Return the devices that events are about. A default route decides where the node's address is unknown."""
        return frozenset(wanted for wanted in self._users if heard.lost or self._is_about(wanted, heard))

    def _is_about(self, wanted: Wanted, heard: Heard) -> bool:
        if self._found.get(wanted) in heard.indexes:
            return True
        if wanted is not None:
            return wanted in heard.names
        if self._me.address is None:
            return heard.default_route
        return self._me.address in heard.addresses or (self.routed and heard.rerouted)
