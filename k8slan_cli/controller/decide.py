"""What is to be done about one LAN: a pure function from what is known of it to actions.

Actions are values that describe themselves; the loop carries them out in the order of their ``stage``. A decision is
about how things will be when all of it has been carried out, so deciding again then gives nothing (the run-twice law).

A LAN that is being deleted is held by the controller's own finalizer until no pod uses one of its NADs and no node
has its finalizer on it. A node that does not exist, or has not been ready for ``LOST_AFTER``, holds nothing, and
neither do pods on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar

from k8slan_cli.errors import Problem
from k8slan_cli.kube import nads as kube_nads
from k8slan_cli.kube.events import Event
from k8slan_cli.kube.lans import LanObject
from k8slan_cli.kube.nads import FoundNad
from k8slan_cli.kube.nodes import NodeHealth, written
from k8slan_cli.kube.status import DEGRADED, MAX_MESSAGE, READY, Condition, LanStatus
from k8slan_cli.kube.watch import Key
from k8slan_cli.lan import names, validate
from k8slan_cli.lan.model import CONFLICT, NODE_READY, PROTECTION, LanRef, NodeStatus
from k8slan_cli.plan import objects
from k8slan_cli.plan.attached import Pod, Shared, attached, shared
from k8slan_cli.plan.objects import Nad

LOST_AFTER = timedelta(seconds=60)
"""How long a node may be not ready before a LAN that is being deleted waits for it no longer."""
_NAMED = 10
"""How many pods or nodes a message names."""


# ---------------------------------------------------------------- what is known


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that matters for one LAN.

    ``clashes``  what other LANs have of it
    ``names``    the names of the NADs that it wants; if it clashes or is about to go, of those among them that it owns
                 and that are not for another's spoke; if it breaks rules, of all that it owns
    ``nads``     the NADs of those names, whosever they are, and all that it owns; all in its namespace
    ``pods``     the pods that want or have one of them, there or not
    ``nodes``    the nodes of the cluster
    ``fresh``    whether pods and nodes are known as they are now: only then is anything let go
    ``failure``  what the API server has against what was tried last, "" if it is well
    """

    found: LanObject
    now: datetime
    clashes: tuple[Problem, ...] = ()
    names: frozenset[str] = frozenset()
    nads: Mapping[str, FoundNad] = field(default_factory=dict)
    pods: Mapping[Key, Pod] = field(default_factory=dict)
    nodes: Mapping[str, NodeHealth] = field(default_factory=dict)
    fresh: bool = True
    failure: str = ""


# ---------------------------------------------------------------- what can be done


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
class DeleteNad:
    """Delete a NAD."""

    stage: ClassVar[int] = 1
    ref: LanRef

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"delete NAD {self.ref}"


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
class RemoveNodes:
    """Take nodes that are no more out of ``status.nodes``."""

    stage: ClassVar[int] = 3
    ref: LanRef
    nodes: tuple[str, ...]

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"take {', '.join(self.nodes)} out of the status of LAN {self.ref}"


@dataclass(frozen=True, slots=True)
class Tell:
    """Write an event."""

    stage: ClassVar[int] = 3
    event: Event

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"event {self.event.reason} of {self.event.kind} {self.event.ref}: {self.event.note}"


@dataclass(frozen=True, slots=True)
class RemoveFinalizers:
    """Take finalizers off; with the last one, a LAN that is being deleted is gone."""

    stage: ClassVar[int] = 4
    ref: LanRef
    finalizers: tuple[str, ...]

    def describe(self) -> str:
        """Describe the operation as logs, dry runs and status show it."""
        return f"take {', '.join(self.finalizers)} off LAN {self.ref}"


Action = Protect | CreateNad | RepairNad | DeleteNad | WriteStatus | RemoveNodes | Tell | RemoveFinalizers


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The actions in the order of their stages, and when time alone will change the decision (None: never)."""

    actions: tuple[Action, ...] = ()
    again: datetime | None = None


# ---------------------------------------------------------------- deciding


def decide(view: View) -> Decision:
    """What is to be done about a LAN."""
    actions = _part(view) if view.found.deleting else _keep(view)
    again = _next_loss(view) if view.found.deleting else None
    return Decision(actions=tuple(sorted(actions, key=lambda action: action.stage)), again=again)


def _keep(view: View) -> Iterator[Action]:
    """A LAN that is to stay."""
    found = view.found
    foreign: list[str] = []
    if not view.failure:
        if _sound(view) and PROTECTION not in found.finalizers:
            yield Protect(found.ref, found.uid)
        yield from _nads(view, foreign)
    gone = _gone(view)
    shares = shared(attached([found.lan], view.pods.values())) if found.lan and not view.clashes else ()
    trouble = _trouble(view, gone, foreign, shares)
    ready = ("Conflict", _listed(view.clashes)) if view.clashes else trouble
    yield from _report(view, gone, ready=ready, trouble=trouble)
    yield from _tell_pods(found, shares, trouble)
    if stale := tuple(f for f in _node_finalizers(view) if f in _absent(view)):
        yield _given_up(found, stale)
        yield RemoveFinalizers(found.ref, stale)


def _part(view: View) -> Iterator[Action]:
    """A LAN that is being deleted."""
    found = view.found
    lost = {name for name, health in view.nodes.items() if _lost(health, view.now)}
    released = _absent(view) | ({names.finalizer(name) for name in lost} if view.fresh else set())
    pods = [key for key, pod in sorted(view.pods.items()) if _holds(view, pod, lost)]
    held_by = _node_finalizers(view)
    given_up = [f for f in held_by if f in released]
    waiting = [f for f in held_by if f not in released]
    if found.forced:
        given_up, pods, waiting = held_by, [], []
    drop = list(given_up)
    if PROTECTION in found.finalizers and not pods and not waiting and (view.fresh or found.forced):
        drop.append(PROTECTION)
    if given_up and not found.forced:
        yield _given_up(found, given_up)
    if len(drop) < len(found.finalizers):
        yield from _report(
            view, _gone(view), ready=("Terminating", _why_still_there(pods, waiting, view)), trouble=None
        )
    if drop:
        yield RemoveFinalizers(found.ref, tuple(drop))


def _why_still_there(pods: list[Key], waiting: list[str], view: View) -> str:
    if pods:
        named = _some([f"{namespace}/{name}" for namespace, name in pods])
        return f"is to be deleted, and in use by {len(pods)} pod{'s' * (len(pods) > 1)}: {named}"
    if waiting:
        nodes = _some([f.removeprefix(names.FINALIZER_PREFIX) for f in waiting])
        return f"is to be deleted, and not yet removed on: {nodes}"
    others = [f for f in view.found.finalizers if f != PROTECTION and not f.startswith(names.FINALIZER_PREFIX)]
    return f"is to be deleted, and held by: {_some(others)}" if others else "is to be deleted"


# ---------------------------------------------------------------- NADs


def _sound(view: View) -> bool:
    """Whether there is a LAN that may be realised."""
    return view.found.lan is not None and not view.clashes


def _nads(view: View, foreign: list[str]) -> Iterator[Action]:
    """What is to be done about NADs; those that are in the way are named in ``foreign``.

    A LAN that clashes gets none. Those that it has stay, for it may be in use, but for spokes that are another LAN's.
    """
    found = view.found
    if found.lan is None:
        return  # what it was before works on
    lan = replace(found.lan, spokes=validate.own_spokes(found.lan, view.clashes))
    wanted = {nad.name: nad for nad in objects.nads(lan)}
    for name, nad in wanted.items():
        there = view.nads.get(name)
        if view.clashes and (there is None or there.owner_uid != found.uid):
            continue
        if there is None:
            yield CreateNad(nad)
        elif not there.owner:
            foreign.append(name)
        elif there.owner_uid != found.uid:
            # Of a LAN that is gone, or that had the spoke before: it is this one's alone now, as nothing clashes.
            yield DeleteNad(nad.ref)
            yield CreateNad(nad)
        elif there != kube_nads.wanted(nad):
            yield RepairNad(nad)
    for name, there in sorted(view.nads.items()):
        if there.owner_uid == found.uid and name not in wanted:
            yield DeleteNad(LanRef(namespace=found.ref.namespace, name=name))


# ---------------------------------------------------------------- nodes and pods


def _lost(health: NodeHealth, now: datetime) -> bool:
    return health.down_since is not None and now >= health.down_since + LOST_AFTER


def _node_finalizers(view: View) -> list[str]:
    return [f for f in view.found.finalizers if f.startswith(names.FINALIZER_PREFIX)]


def _absent(view: View) -> set[str]:
    """The finalizers of nodes that do not exist."""
    held_by = _node_finalizers(view)
    if not held_by or not view.fresh:
        return set()
    return set(held_by) - {names.finalizer(name) for name in view.nodes}


def _gone(view: View) -> tuple[str, ...]:
    """Nodes in the status that do not exist."""
    return tuple(name for name in view.found.entries if name not in view.nodes) if view.fresh else ()


def _holds(view: View, pod: Pod, lost: set[str]) -> bool:
    """Whether a pod holds a LAN; what is not known for sure does."""
    return not view.fresh or (pod.node in view.nodes and pod.node not in lost)


def _next_loss(view: View) -> datetime | None:
    """When the next node that the LAN may wait for will be lost."""
    waited_for = {pod.node for pod in view.pods.values()}
    waited_for |= {name for name in view.nodes if names.finalizer(name) in view.found.finalizers}
    down = [view.nodes[name].down_since for name in waited_for if name in view.nodes]
    times = [since + LOST_AFTER for since in down if since is not None]
    return min((time for time in times if time > view.now), default=None)


def _given_up(found: LanObject, finalizers: Iterable[str]) -> Tell:
    nodes = _some([f.removeprefix(names.FINALIZER_PREFIX) for f in finalizers])
    note = f"no longer waits for what is gone or has been down for {LOST_AFTER.seconds} s: {nodes}"
    return Tell(Event(ref=found.ref, uid=found.uid, reason="NodeLost", note=note, warning=True))


# ---------------------------------------------------------------- status

Fault = tuple[str, str]
"""A reason and a message."""


def _trouble(view: View, gone: tuple[str, ...], foreign: list[str], shares: Sequence[Shared]) -> Fault | None:
    """Why a LAN is not all that it should be, None if it is."""
    if view.found.lan is None:
        return "Invalid", _listed(view.found.problems)
    if view.failure:
        return "Refused", view.failure
    if foreign:
        return "ForeignNAD", f"not made by k8slan, so left alone, but in the way: {_some(sorted(foreign))}"
    if shares:
        return _reason(shares[0]), _some([share.describe() for share in shares], "; ")
    bad = [node for node in _entries(view, gone) if node.state not in ("", NODE_READY)]
    if bad:
        return "NodesDegraded", _some([f"{node.name}: {node.message or node.state}" for node in bad], "; ")
    return None


def _entries(view: View, gone: tuple[str, ...]) -> list[NodeStatus]:
    lan = view.found.lan
    return [node for node in lan.nodes if node.name not in gone] if lan else []


def _report(view: View, gone: tuple[str, ...], *, ready: Fault | None, trouble: Fault | None) -> Iterator[Action]:
    """Bring the status up to date: ``ready`` and ``trouble`` say why a LAN is not ready, and why it is degraded."""
    found, before = view.found, view.found.status
    if gone:
        yield RemoveNodes(found.ref, gone)
    conditions = (
        (READY, ready is None, ready or ("AsWanted", "the LAN is as specified")),
        (CONFLICT, bool(view.clashes), ("Conflict", _listed(view.clashes)) if view.clashes else ("NoConflict", "")),
        (DEGRADED, trouble is not None, trouble or ("AsWanted", "")),
    )
    status = LanStatus(
        generation=found.generation,
        spokes=len(found.lan.spokes) if found.lan else before.spokes,
        attached=_attached(view),
        nodes=len(found.entries) - len(gone),
        conditions=tuple(_condition(view, kind, holds, fault) for kind, holds, fault in conditions),
    )
    if status == before:
        return
    yield WriteStatus(found.ref, found.uid, status, counts=status.conditions == before.conditions)
    yield from _tell(found, before.condition(READY), status.condition(READY))


def _attached(view: View) -> int:
    """How many interfaces pods have in the LAN."""
    namespace = view.found.ref.namespace
    networks = (network for pod in view.pods.values() for network in pod.networks if network.present)
    return sum(network.nad.namespace == namespace and network.nad.name in view.names for network in networks)


def _condition(view: View, kind: str, holds: bool, fault: Fault) -> Condition:
    before = view.found.status.condition(kind)
    kept = before is not None and before.status == holds and before.since
    return Condition(
        type=kind,
        status=holds,
        reason=fault[0],
        message=fault[1][:MAX_MESSAGE],
        generation=view.found.generation,
        since=before.since if before and kept else written(view.now),
    )


def _tell(found: LanObject, before: Condition | None, after: Condition | None) -> Iterator[Tell]:
    """An event for people when a LAN becomes, or stops to be, what it should be; not for its first good moment."""
    assert after is not None  # noqa: S101 - it is among those just made
    if (before.status, before.reason) == (after.status, after.reason) if before else after.status:
        return
    quiet = after.status or after.reason == "Terminating"
    event = Event(ref=found.ref, uid=found.uid, reason=after.reason, note=after.message, warning=not quiet)
    yield Tell(event if not after.status else replace(event, reason="Ready"))


def _tell_pods(found: LanObject, shares: Iterable[Shared], trouble: Fault | None) -> Iterator[Tell]:
    """Tell each pod once what it shares with another: when the LAN's condition comes to name it."""
    before = found.status.condition(DEGRADED)
    told = before.message if before else ""
    said = trouble[1][:MAX_MESSAGE] if trouble else ""
    for share in shares:
        for item in share.holders:
            words = (share.what, item.place)
            if all(word in said for word in words) and not all(word in told for word in words):
                pod = LanRef(namespace=item.pod.namespace, name=item.pod.name)
                note = f"on LAN {found.ref}, {share.describe()}"
                reason = _reason(share)
                yield Tell(Event(kind="Pod", ref=pod, uid=item.pod.uid, reason=reason, note=note, warning=True))


def _reason(share: Shared) -> str:
    """Return the reason that condition and events have for it."""
    return "SpokeShared" if share.spoke else "MacShared"


# ---------------------------------------------------------------- words


def _listed(problems: Iterable[Problem]) -> str:
    return _some([str(problem) for problem in problems], "; ")


def _some(items: list[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return separator.join(items[:_NAMED]) + more
