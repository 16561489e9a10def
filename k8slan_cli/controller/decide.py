"""What is to be done about one LAN: a pure function from what is known of it to actions.

The loop carries the actions out in the order of their ``stage``. A decision is about how things will be when all of it
has been carried out, so deciding again then gives nothing (the run-twice law).

A LAN that is being deleted is held by the controller's own finalizer until no node has a VTEP of it. A node that does
not exist, or has not been ready for ``LOST_AFTER``, holds nothing, and neither does a VTEP that has no ports and only
reports a failure: nothing waits for a pod that can never attach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from k8slan_cli.controller import absence, faults, first, links
from k8slan_cli.controller.absence import LOST_AFTER
from k8slan_cli.controller.actions import (
    Action,
    CreateNad,
    Decision,
    DeleteNad,
    Protect,
    RemoveFinalizers,
    RemoveVtep,
    RepairNad,
    Tell,
)
from k8slan_cli.controller.report import report
from k8slan_cli.controller.view import View, node_of, some
from k8slan_cli.kube import nads as kube_nads
from k8slan_cli.kube.events import Event
from k8slan_cli.kube.lans import LanObject
from k8slan_cli.lan import names
from k8slan_cli.lan.model import PROTECTION, LanRef
from k8slan_cli.lan.vtep import READY, Vtep
from k8slan_cli.plan import objects


def decide(view: View) -> Decision:
    """Return what is to be done about a LAN, and about VTEPs that name it."""
    view, actions = absence.settle(view)
    gone = [action.vtep.node for action in actions if isinstance(action, RemoveVtep)]
    if view.found.uid:
        actions += tuple(_part(view, gone) if view.found.deleting else _keep(view, gone))
    ordered = sorted(actions, key=lambda action: action.stage)
    times = (absence.next_loss(view) if view.fresh else None, links.next_over(view))
    return Decision(actions=tuple(ordered), again=min(filter(None, times), default=None))


def _keep(view: View, gone: list[str]) -> Iterator[Action]:
    """A LAN that is to stay."""
    found = view.found
    foreign: list[str] = []
    if not view.failure:
        if found.lan and not view.clashes and PROTECTION not in found.finalizers:
            yield Protect(found.ref, found.uid)
        yield from _nads(view, foreign)
        yield from links.over(view)
    yield from first.entries(view)
    yield from report(view, faults.found(view, foreign))
    absent = [f for f in view.node_finalizers if view.is_gone(node_of(f))]
    yield from _given_up(found, [*gone, *map(node_of, absent)])
    if drop := (*absent, *first.taken_over(view)):
        yield RemoveFinalizers(found.ref, found.uid, drop)


def _part(view: View, gone: list[str]) -> Iterator[Action]:
    """A LAN that is being deleted."""
    found, forced = view.found, view.found.forced
    held_by = [vtep for vtep in view.vteps if _holds(vtep) and not forced]
    taken_over = set(first.taken_over(view))
    nodes = [f for f in view.node_finalizers if f not in taken_over]
    lost = [f for f in nodes if view.fresh and (view.is_gone(node_of(f)) or absence.is_lost(view, node_of(f)))]
    waiting = [] if forced else [node_of(f) for f in nodes if f not in lost]
    drop = [f for f in view.node_finalizers if node_of(f) not in waiting]
    if PROTECTION in found.finalizers and not held_by and not waiting and (view.fresh or forced):
        drop.append(PROTECTION)
        gone = [*gone, *(vtep.node for vtep in view.vteps if vtep.lost and vtep.ports)]
    if not forced:
        yield from _given_up(found, [*gone, *map(node_of, lost)])
    if len(drop) < len(found.finalizers):
        yield from first.entries(view)
        yield from report(view, ending=_why_still_there(held_by, waiting, view))
    if drop:
        yield RemoveFinalizers(found.ref, found.uid, tuple(drop))


def _holds(vtep: Vtep) -> bool:
    """Return whether a VTEP holds a deletion; one without ports does while its node takes the LAN down.

    One that has uplinks alone does not: they are there as long as the LAN is.
    """
    return not vtep.lost and (bool(vtep.ports) or (vtep.state in ("", READY) and not vtep.uplinks))


def _why_still_there(held_by: list[Vtep], waiting: list[str], view: View) -> str:
    users = [f"{port.who} on node {vtep.node}" for vtep in held_by for port in vtep.ports]
    if users:
        return f"is to be deleted, and in use by {some(list(dict.fromkeys(users)))}"
    if nodes := sorted({*waiting, *(vtep.node for vtep in held_by)}):
        return f"is to be deleted, and not yet removed on: {some(nodes)}"
    others = [f for f in view.found.finalizers if f != PROTECTION and not f.startswith(names.FINALIZER_PREFIX)]
    return f"is to be deleted, and held by: {some(others)}" if others else "is to be deleted"


def _given_up(found: LanObject, nodes: Iterable[str]) -> Iterator[Tell]:
    if named := sorted(set(nodes)):
        note = f"no longer waits for what is gone or has been down for {LOST_AFTER.seconds} s: {some(named)}"
        yield Tell(Event(ref=found.ref, uid=found.uid, reason="NodeLost", note=note, warning=True))


# ---------------------------------------------------------------- NADs


def _nads(view: View, foreign: list[str]) -> Iterator[Action]:
    """What is to be done about NADs; those that are in the way are named in ``foreign``.

    While agents of 0.1.0 run, configurations are as those read them; while that is not known, as they may be.

    A LAN that clashes gets none. Those that it has stay, for it may be in use, but for spokes that are another LAN's.
    """
    found = view.found
    if view.lan is None:
        return  # what it was before works on
    ways = (view.old_agents,) if view.fresh else (True, False)
    forms = [{nad.name: nad for nad in objects.nads(view.lan, nameless=nameless)} for nameless in ways]
    wanted = forms[0]
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
        elif all(there != kube_nads.wanted(form[name]) for form in forms):
            yield RepairNad(nad)
    for name, there in sorted(view.nads.items()):
        if there.owner_uid == found.uid and name not in wanted:
            yield DeleteNad(LanRef(namespace=found.ref.namespace, name=name))
