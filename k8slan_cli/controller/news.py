"""What happens to a LAN while it is used, for events: who attaches and detaches, which links go down and up. Pure.

A decision looks at how things are and knows no before; this is gathered where objects change. Many at once are told in
one event, so that a hundred pods do not make a hundred of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from k8slan_cli.controller.view import some
from k8slan_cli.kube.events import Event
from k8slan_cli.kube.lans import LanObject
from k8slan_cli.lan.vtep import Vtep


@dataclass(slots=True)
class News:
    """What has happened since it was told last."""

    attached: list[str] = field(default_factory=list)
    detached: list[str] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    up: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.attached or self.detached or self.down or self.up)

    def vtep(self, old: Vtep | None, new: Vtep | None) -> None:
        """Take in a change of a VTEP."""
        before, after = _plugs(old), _plugs(new)
        self.attached += [words for key, words in after.items() if key not in before]
        self.detached += [words for key, words in before.items() if key not in after]

    def lan(self, old: LanObject | None, new: LanObject | None) -> None:
        """Take in a change of a LAN."""
        if old and new and old.uid == new.uid and old.lan and new.lan:
            self.down += sorted(new.lan.pulled - old.lan.pulled)
            self.up += sorted(old.lan.pulled - new.lan.pulled)

    def events(self, found: LanObject) -> Iterator[Event]:
        """Tell it."""
        for reason, what, words in (
            ("Attached", self.attached, ""),
            ("Detached", self.detached, ""),
            ("LinkDown", self.down, "the link was pulled out: "),
            ("LinkUp", self.up, "the link was put back: "),
        ):
            if what:
                yield Event(ref=found.ref, uid=found.uid, reason=reason, note=words + some(list(dict.fromkeys(what))))


def _plugs(vtep: Vtep | None) -> dict[tuple[str, object, str], str]:
    """The interfaces of a VTEP, each with what to call it."""
    if vtep is None:
        return {}
    return {
        (port.name, port.pod, port.interface): (
            f"{port.who} ({port.interface}){f' at spoke {port.spoke}' * bool(port.spoke)} on node {vtep.node}"
        )
        for port in vtep.ports
    }
