"""``k8slan lan link``: takes the carrier from a pod or VM as if its cable was pulled, and gives it back.

What is wanted is written on the LAN, in the annotation ``lan.k8slan.io/links-down``; the agents see to it, also after
a restart.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here

if TYPE_CHECKING:
    from k8slan_cli.inventory.lans import Found
    from k8slan_cli.inventory.occupancy import Users
    from k8slan_cli.plan.occupancy import Occupant

_ATTEMPTS = 5


class State(enum.StrEnum):
    """What a link can be."""

    UP = "up"
    DOWN = "down"


@in_cluster
def link(
    here: Here,
    pod: Annotated[
        str,
        typer.Argument(metavar="POD[:IFACE]", help="A pod or a VM, and its interface.", autocompletion=completion.pods),
    ],
    state: Annotated[State, typer.Argument(metavar="up|down", show_default=False)],
) -> None:
    """Pull a pod's or VM's cable out, or put it back.

    It sees its carrier go, and what it sends gets nowhere. On a LAN of exactly two spokes the other end loses its
    carrier too, on whatever node it is. It stays so until it is undone, over restarts of agents and of the pod.
    """
    from k8slan_cli.inventory import lans, occupancy

    items = lans.several(here.cluster, here.namespace)
    users = occupancy.read(here.cluster, items)
    target = named(users, pod, here.namespace)
    item = next(item for item in items if item.ref == target.lan)
    for _ in range(_ATTEMPTS):
        if _write(here, item, target, users, down=state is State.DOWN):
            break
        item = lans.one(here.cluster, here.namespace, item.ref.name)
    else:
        from k8slan_cli.errors import K8slanError

        raise K8slanError(f"LAN {item.ref} is being changed by somebody else all the time", hint="try again")
    typer.echo(words(item, target, state))


def named(users: Users, text: str, space: str) -> Occupant:
    """The interface that ``text`` means, on a LAN or waited for.

    Raises:
        AbsentError: there is none, or more than one.

    """
    from k8slan_cli.errors import AbsentError

    pod, _, interface = text.partition(":")
    place, _, name = pod.rpartition("/")
    items = [(item, item.port.pod) for item in (*users.attached, *users.waiting)]
    found = [
        item
        for item, its in items
        if its
        and its.namespace == (place or space)
        and name in (its.name, item.port.vm and item.port.vm.name)
        and interface in ("", item.port.interface)
    ]
    ends = {item.port.spoke for item in found} if all(item.end for item in found) else set()
    if len(found) == 1 or len(ends) == 1:  # a VM that migrates is on one spoke at both ends
        return min(found, key=lambda item: item.idle)
    if found:
        several = ", ".join(f"{pod}:{item.port.interface} (LAN {item.lan.name})" for item in found)
        raise AbsentError(f"{text} is attached more than once: say which of {several}")
    blind = f" ({'; '.join(users.blind)})" if users.blind else ""
    known = {f"{item.port.vm.name if item.port.vm else its.name}:{item.port.interface}" for item, its in items if its}
    raise AbsentError(f"{text} is on no LAN of namespace {space}{blind}", name=text, known=known)


def plug(item: Occupant) -> str:
    """The name of a link in ``Lan.down``."""
    return item.port.spoke or item.plug


def wanted(item: Found, target: Occupant, users: Users, *, down: bool) -> frozenset[str]:
    """The links that are to be down. Those of pods that are no more are left out, if all pods can be seen."""
    from k8slan_cli.inventory import lans

    lan, on = lans.sound(item), users.of(item)
    there = lan.down
    if not users.blind:
        alive = {each.plug for each in (*on.attached, *on.waiting)}
        there = frozenset(name for name in there if name in lan.spokes or name in alive)
    return there | {plug(target)} if down else there - {plug(target)}


def _write(here: Here, item: Found, target: Occupant, users: Users, *, down: bool) -> bool:
    """Write it on the LAN; false if the LAN has been changed meanwhile."""
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube.client import ApiError
    from k8slan_cli.lan.model import LINKS_DOWN

    names = wanted(item, target, users, down=down)
    if names == lans.sound(item).down:
        return True
    metadata = {
        "resourceVersion": item.version,
        "annotations": {LINKS_DOWN: ",".join(sorted(names)) if names else None},
    }
    try:
        here.cluster.call(
            "PATCH",
            lans.target(item.ref.namespace, item.ref.name).path,
            body={"metadata": metadata},
            content_type="application/merge-patch+json",
        )
    except ApiError as error:
        if error.status == 409:
            return False
        raise lans.as_error(error, f"LAN {item.ref}") from error
    return True


def words(item: Found, target: Occupant, state: State) -> str:
    """What has been done."""
    from k8slan_cli.inventory import lans

    lan = lans.sound(item)
    where = f"{target.port.interface} of {target.who} on LAN {item.ref}"
    if not target.port.spoke or len(lan.spokes) != 2 or lan.dynamic:
        return f"{where} is {state}"
    other = next(spoke for spoke in lan.spokes if spoke != target.port.spoke)
    if state is State.DOWN:
        return f"{where} is down, and so is the other end of the cable, spoke {other}"
    if other in lan.down:
        return f"{where} is up, but the other end of the cable, spoke {other}, is down"
    return f"{where} is up, and so is the other end of the cable, spoke {other}"
