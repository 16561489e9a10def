"""What the controller can do about a LAN: values that describe themselves. The loop carries them out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from k8slan_cli.kube.events import Event
from k8slan_cli.kube.status import READY, LanStatus
from k8slan_cli.lan.model import PROTECTION, LanRef, NodeStatus
from k8slan_cli.lan.vtep import Vtep
from k8slan_cli.plan.objects import Nad


@dataclass(frozen=True, slots=True)
class Protect:
    """Put the controller's finalizer on the LAN."""

    stage: ClassVar[int] = 0
    ref: LanRef
    uid: str

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"protect LAN {self.ref} with the finalizer {PROTECTION}"


@dataclass(frozen=True, slots=True)
class MarkLost:
    """Say of a VTEP that its node is lost."""

    stage: ClassVar[int] = 1
    vtep: Vtep

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"mark the VTEP of node {self.vtep.node} in LAN {self.vtep.lan} as lost"


@dataclass(frozen=True, slots=True)
class MarkFound:
    """Take back that the node of a VTEP is lost."""

    stage: ClassVar[int] = 1
    vtep: Vtep

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"mark the VTEP of node {self.vtep.node} in LAN {self.vtep.lan} as no longer lost"


@dataclass(frozen=True, slots=True)
class RemoveVtep:
    """Delete the VTEP of a node that does not exist."""

    stage: ClassVar[int] = 1
    vtep: Vtep

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"remove the VTEP of node {self.vtep.node}, which is gone, from LAN {self.vtep.lan}"


@dataclass(frozen=True, slots=True)
class DeleteNad:
    """Delete a NAD."""

    stage: ClassVar[int] = 1
    ref: LanRef

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"delete NAD {self.ref}"


@dataclass(frozen=True, slots=True)
class CreateNad:
    """Create a NAD."""

    stage: ClassVar[int] = 2
    nad: Nad

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"create NAD {self.nad.ref}"


@dataclass(frozen=True, slots=True)
class RepairNad:
    """Make a NAD that is there what it should be."""

    stage: ClassVar[int] = 2
    nad: Nad

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"repair NAD {self.nad.ref}"


@dataclass(frozen=True, slots=True)
class RemoveNodes:
    """Take nodes out of ``status.nodes``."""

    stage: ClassVar[int] = 3
    ref: LanRef
    uid: str
    nodes: tuple[str, ...]

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"take {', '.join(self.nodes)} out of the status of LAN {self.ref}"


@dataclass(frozen=True, slots=True)
class WriteNodes:
    """Write into ``status.nodes`` what agents of 0.1.0 cannot read from VTEPs."""

    stage: ClassVar[int] = 3
    ref: LanRef
    uid: str
    entries: tuple[NodeStatus, ...]

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"write {', '.join(entry.name for entry in self.entries)} into the status of LAN {self.ref}"


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write the controller's part of the status; ``counts`` says that nothing else in it changes."""

    stage: ClassVar[int] = 3
    ref: LanRef
    uid: str
    status: LanStatus
    counts: bool = False

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        ready = self.status.condition(READY)
        word = f"Ready={ready.status}, {ready.reason}" if ready else "no conditions"
        return f"write status of LAN {self.ref}: {word}, {self.status.attached} attached"


@dataclass(frozen=True, slots=True)
class Tell:
    """Write an event."""

    stage: ClassVar[int] = 3
    event: Event

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"event {self.event.reason} of {self.event.kind} {self.event.ref}: {self.event.note}"


@dataclass(frozen=True, slots=True)
class RemoveLinks:
    """Take entries out of ``spec.links`` that mean nothing any more."""

    stage: ClassVar[int] = 3
    ref: LanRef
    uid: str
    names: tuple[str, ...]

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"take what is over out of the links of LAN {self.ref}: {', '.join(self.names)}"


@dataclass(frozen=True, slots=True)
class RemoveFinalizers:
    """Take finalizers off; with the last one, a LAN that is being deleted is gone."""

    stage: ClassVar[int] = 4
    ref: LanRef
    uid: str
    finalizers: tuple[str, ...]

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"take {', '.join(self.finalizers)} off LAN {self.ref}"


Action = (
    Protect
    | MarkLost
    | MarkFound
    | RemoveVtep
    | DeleteNad
    | CreateNad
    | RepairNad
    | RemoveNodes
    | WriteNodes
    | WriteStatus
    | Tell
    | RemoveLinks
    | RemoveFinalizers
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The actions in the order of their stages, and when time alone will change the decision (None: never)."""

    actions: tuple[Action, ...] = ()
    again: datetime | None = None
