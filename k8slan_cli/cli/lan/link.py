"""``k8slan lan link``: takes the carrier from a pod or VM as if its cable was pulled, and gives it back.

What is wanted is written on the LAN, in the annotation ``lan.k8slan.io/links-down``; the agents see to it, also after
a restart.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here

if TYPE_CHECKING:
    from k8slan_cli.inventory.lans import Found, Pods
    from k8slan_cli.plan.attached import Attached

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
    from k8slan_cli.inventory import lans

    seen = lans.pods(here.cluster, here.namespace)
    items = lans.several(here.cluster, here.namespace)
    target = named(lans.on(items, seen), pod, here.namespace, seen)
    item = next(item for item in items if item.ref == target.socket.lan)
    for _ in range(_ATTEMPTS):
        if _write(here, item, target, seen, down=state is State.DOWN):
            break
        item = lans.one(here.cluster, here.namespace, item.ref.name)
    else:
        from k8slan_cli.errors import K8slanError

        raise K8slanError(f"LAN {item.ref} is being changed by somebody else all the time", hint="try again")
    typer.echo(words(item, target, state))


def named(attached: Iterable[Attached], text: str, space: str, seen: Pods) -> Attached:
    """The attachment that ``text`` means.

    Raises:
        AbsentError: there is none, or more than one.

    """
    from k8slan_cli.errors import AbsentError

    pod, _, interface = text.partition(":")
    place, _, name = pod.rpartition("/")
    items = list(attached)
    found = [
        item
        for item in items
        if item.pod.namespace == (place or space)
        and name in (item.pod.name, item.pod.vm)
        and interface in ("", item.network.interface)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(f"{pod}:{item.network.interface} (LAN {item.socket.lan.name})" for item in found)
        raise AbsentError(f"{text} is attached more than once: say which of {several}")
    blind = f" ({seen.blind})" if seen.blind else ""
    known = {f"{item.pod.vm or item.pod.name}:{item.network.interface}" for item in items}
    raise AbsentError(f"{text} is on no LAN of namespace {space}{blind}", name=text, known=known)


def plug(item: Attached) -> str:
    """The name of a link in ``Lan.down``."""
    return item.socket.spoke or _dynamic(item)


def _dynamic(item: Attached) -> str:
    return f"{item.pod.namespace}/{item.pod.name}:{item.network.interface}"


def wanted(item: Found, target: Attached, seen: Pods, *, down: bool) -> frozenset[str]:
    """The links that are to be down. Those of pods that are no more are left out, if all pods can be seen."""
    from k8slan_cli.inventory import lans

    lan = lans.sound(item)
    there = lan.down
    if not seen.blind:
        alive = {_dynamic(each) for each in lans.on([item], seen)}
        there = frozenset(name for name in there if name in lan.spokes or name in alive)
    return there | {plug(target)} if down else there - {plug(target)}


def _write(here: Here, item: Found, target: Attached, seen: Pods, *, down: bool) -> bool:
    """Write it on the LAN; false if the LAN has been changed meanwhile."""
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube.client import ApiError
    from k8slan_cli.lan.model import LINKS_DOWN

    names = wanted(item, target, seen, down=down)
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


def words(item: Found, target: Attached, state: State) -> str:
    """What has been done."""
    from k8slan_cli.inventory import lans

    lan = lans.sound(item)
    where = f"{target.network.interface} of {target.who} on LAN {item.ref}"
    if not target.socket.spoke or len(lan.spokes) != 2 or lan.dynamic:
        return f"{where} is {state}"
    other = next(spoke for spoke in lan.spokes if spoke != target.socket.spoke)
    if state is State.DOWN:
        return f"{where} is down, and so is the other end of the cable, spoke {other}"
    if other in lan.down:
        return f"{where} is up, but the other end of the cable, spoke {other}, is down"
    return f"{where} is up, and so is the other end of the cable, spoke {other}"
