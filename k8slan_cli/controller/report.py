"""What the controller says of a LAN: its status, and events about it and its pods. Pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from k8slan_cli.controller import faults
from k8slan_cli.controller.actions import Action, Tell, WriteStatus
from k8slan_cli.controller.view import View, some
from k8slan_cli.kube.events import Event
from k8slan_cli.kube.lans import LanObject
from k8slan_cli.kube.nodes import written
from k8slan_cli.kube.status import DEGRADED, MAX_DEGRADED, MAX_MESSAGE, READY, Condition, LanStatus
from k8slan_cli.lan.faults import Fault
from k8slan_cli.lan.model import CONFLICT, LanRef
from k8slan_cli.lan.vtep import active_uplink

TERMINATING = "Terminating"


def report(view: View, wrong: tuple[Fault, ...] = (), ending: str = "") -> Iterator[Action]:
    """Bring the status up to date: ``wrong`` is what is wrong, ``ending`` why a LAN that is to be deleted is there."""
    found, before = view.found, view.found.status
    clash = Fault(reason=CONFLICT, message=faults.listed(view.clashes)) if view.clashes else None
    end = Fault(reason=TERMINATING, message=ending) if ending else None
    unready = _joined([fault for fault in wrong if not fault.ready])
    conditions = (
        _condition(view, READY, end or clash or unready, good="the LAN is as specified", holds=False),
        _condition(view, CONFLICT, clash, reason="NoConflict"),
        _condition(view, DEGRADED, _joined(wrong)),
    )
    status = LanStatus(
        vni=view.lan.vni if view.lan else before.vni,
        granted=view.granted,
        generation=found.generation,
        spokes=len(found.lan.spokes) if found.lan else before.spokes,
        attached=sum(len(vtep.ports) for vtep in view.vteps),
        nodes=sum(vtep.takes_part for vtep in view.vteps) + len(view.entries),
        uplink=active_uplink(view.vteps),
        degraded=faults.degraded(view)[:MAX_DEGRADED],
        forms=view.granted.forms if view.granted else view.lan.forms if view.lan else before.forms,
        resources=tuple(sorted(view.lan.resources)) if view.lan else before.resources,
        bare=tuple(sorted(view.lan.bare)) if view.lan else before.bare,
        conditions=conditions,
    )
    if status == before:
        return
    counts = replace(before, attached=status.attached, nodes=status.nodes, spokes=status.spokes) == status
    yield WriteStatus(found.ref, found.uid, status, counts=counts)
    yield from _tell(found, before.condition(READY), conditions[0])
    yield from _tell_pods(found, wrong, conditions[-1])


def _joined(wrong: Iterable[Fault]) -> Fault | None:
    """Return several faults as one: what is wrong most gives it its reason."""
    found = list(wrong)
    return replace(found[0], message=some([fault.message for fault in found], "; ")) if found else None


def _condition(
    view: View, kind: str, fault: Fault | None, *, reason: str = "Ready", good: str = "", holds: bool = True
) -> Condition:
    """Return a condition; ``holds`` is what it is with a fault, ``reason`` and ``good`` are its words without one."""
    before, status = view.found.status.condition(kind), holds == (fault is not None)
    kept = before is not None and before.status == status and before.since
    return Condition(
        type=kind,
        status=status,
        reason=fault.reason if fault else reason,
        message=fault.message[:MAX_MESSAGE] if fault else good,
        generation=view.found.generation,
        since=before.since if before and kept else written(view.now),
    )


def _tell(found: LanObject, before: Condition | None, after: Condition) -> Iterator[Tell]:
    """Tell people when a LAN becomes, or stops to be, what it should be; not of its first good moment."""
    if (before.status, before.reason) == (after.status, after.reason) if before else after.status:
        return
    quiet = after.status or after.reason == TERMINATING
    event = Event(ref=found.ref, uid=found.uid, reason=after.reason, note=after.message, warning=not quiet)
    yield Tell(event if not after.status else replace(event, reason="Ready"))


def _tell_pods(found: LanObject, wrong: Iterable[Fault], after: Condition) -> Iterator[Tell]:
    """Tell each pod once what is wrong with its port: when the LAN's condition comes to name it."""
    before = found.status.condition(DEGRADED)
    for fault in wrong:
        for holder in fault.holders:
            pod = holder.port.pod
            if (
                pod is None
                or not fault.names(holder, after.message)
                or (before and fault.names(holder, before.message))
            ):
                continue
            note = f"on LAN {found.ref}, {fault.message}"
            ref = LanRef(namespace=pod.namespace, name=pod.name)
            yield Tell(Event(kind="Pod", ref=ref, uid=pod.uid, reason=fault.reason, note=note, warning=True))
