"""What is wanted of a link, written on its LAN: the cable pulled out or put back, and what is done to frames.

It is written in ``spec.links``; the agents see to it, also after a restart. Commands and the page of ``k8slan ui``
both write it here.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from k8slan_cli.errors import AbsentError, K8slanError, UsageError
from k8slan_cli.inventory import lans
from k8slan_cli.inventory.lans import Found
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.kube.client import MERGE, ApiError, MissingError
from k8slan_cli.lan import links
from k8slan_cli.lan.links import CLEAN, Impairment, Link, State
from k8slan_cli.lan.model import LINKS_DOWN, Lan, LanRef
from k8slan_cli.plan.occupancy import Occupant

if TYPE_CHECKING:
    from k8slan_cli.kube.apply import Cluster

_ATTEMPTS = 5
BOTH_WAYS = frozenset({"to_pod", "from_pod"})


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a link: its LAN, its name there, a spoke or ``namespace/pod:interface``, and who it is for people."""

    lan: LanRef
    name: str
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to become of a link; ``properties`` are those of ``Impairment``, in the directions ``ways``."""

    state: State | None = None
    properties: Mapping[str, int]
    ways: frozenset[str] = BOTH_WAYS
    clear: bool = False
    until: str = ""


def named(users: Users, items: Iterable[Found], text: str, space: str) -> End:
    """The link that ``text`` means: of a pod or VM on a LAN or waited for, also by its name in a lab, or of a spoke.

    Raises:
        AbsentError: there is none, or more than one.
        MissingError: this user may not see whether there is one.

    """
    pod, _, interface = text.partition(":")
    place, _, name = pod.rpartition("/")
    ports = [(item, item.port.pod) for item in (*users.attached, *users.waiting)]
    found = [
        item
        for item, its in ports
        if its
        and its.namespace == (place or space)
        and name in (its.name, item.port.vm and item.port.vm.name, item.lab_node)
        and interface in ("", item.port.interface)
    ]
    ends = {item.port.spoke for item in found} if all(item.end for item in found) else set()
    if len(found) == 1 or len(ends) == 1:  # a VM that migrates is on one spoke at both ends
        return _end(min(found, key=lambda item: item.idle))
    if found:
        several = ", ".join(f"{_called(item)}:{item.port.interface} (LAN {item.lan.name})" for item in found)
        raise AbsentError(f"{text} is attached more than once: say which of {several}")
    for item in items:
        if not interface and item.lan and name in item.lan.spokes:
            holders = [each for each in users.attached if each.lan == item.ref and each.port.spoke == name]
            return _end(holders[0]) if holders else End(lan=item.ref, name=name, who=f"spoke {name}")
    unseen = "; ".join(users.blind)
    if users.hidden:
        words = f"whether {text} is on a LAN of namespace {place or space} cannot be seen: {unseen}"
        raise MissingError(words, status=403)
    blind = f" ({unseen})" if unseen else ""
    known = {f"{_called(item)}:{item.port.interface}" for item, its in ports if its}
    raise AbsentError(f"{text} is on no LAN of namespace {place or space}{blind}", name=text, known=known)


def _called(item: Occupant) -> str:
    """What a VM or a pod is called in its namespace."""
    return item.port.vm.name if item.port.vm else item.port.pod.name if item.port.pod else ""


def _end(item: Occupant) -> End:
    return End(lan=item.lan, name=item.port.spoke or item.plug, who=f"{item.port.interface} of {item.who}")


def changed(before: Link, wish: Wish) -> Link:
    """What a link is by a wish: what is for a time stays so, but for a wish of all that there is.

    Raises:
        UsageError: something of it is for good, and would end with what is for a time; or nothing of it would.

    """
    after = _cleared(before, wish)
    if wish.until and not before.until and after != Link():
        has = _shown(after, down=after.down)
        text = f"the link is {has} for good, and with --for all of it would end"
        raise UsageError(text, hint="take that back before (--clear, up)")
    after = _told(after, wish)
    if replace(after, until="") == Link():
        if wish.until:
            raise UsageError("nothing would be left of the link that could end, so --for has no meaning")
        return Link()
    alone = replace(after, until="") == _told(Link(), wish)
    return replace(after, until=wish.until or ("" if alone else before.until))


def _cleared(link: Link, wish: Wish) -> Link:
    return _in_ways(link, dict.fromkeys(wish.ways, CLEAN)) if wish.clear else link


def _told(link: Link, wish: Wish) -> Link:
    link = replace(link, down=wish.state is State.DOWN) if wish.state else link
    return _in_ways(link, {way: replace(getattr(link, way), **wish.properties) for way in wish.ways})


def _in_ways(link: Link, found: Mapping[str, Impairment]) -> Link:
    return replace(link, to_pod=found.get("to_pod", link.to_pod), from_pod=found.get("from_pod", link.from_pod))


def wanted(lan: Lan, end: End, users: Users, wish: Wish) -> Lan:
    """The LAN as it is to be. Links whose time is over, and those of pods that are no more, if all can be seen, go.

    Raises:
        UsageError: what is wanted of the link cannot be.

    """
    alive = None if users.blind else _alive(users, end.lan)
    entries = {name: link for name, link in links.due(lan.links, time.time()) if _stays(name, lan, alive)}
    entries[end.name] = changed(entries.get(end.name, Link()), wish)
    down = frozenset(name for name in lan.down if _stays(name, lan, alive))
    if wish.state:
        if wish.until and end.name in down:
            text = f"the link is down for good by the annotation {LINKS_DOWN}, and with --for that would end"
            raise UsageError(text, hint="take that back before (up)")
        down -= {end.name}
    after = replace(lan, links=tuple(sorted((n, link) for n, link in entries.items() if link != Link())), down=down)
    if faults := links.faults(end.name, entries[end.name]):
        raise UsageError("; ".join(f"{fault.field.rpartition('.')[2]} {fault.message}" for fault in faults))
    return after


def _alive(users: Users, lan: LanRef) -> frozenset[str]:
    on = users.by_lan[lan]
    return frozenset(each.plug for each in (*on.attached, *on.waiting))


def _stays(name: str, lan: Lan, alive: Collection[str] | None) -> bool:
    return alive is None or name in lan.spokes or name in alive


def write(
    cluster: Cluster, item: Found, end: End, users: Users, wish: Wish, query: Mapping[str, str] | None = None
) -> Lan:
    """Write it on the LAN; return the LAN as it is then. ``query`` goes with the request: that it is a dry run.

    Raises:
        UsageError: what is wanted of the link cannot be.
        K8slanError: somebody else changes the LAN all the time, or it may not be written.

    """
    for _ in range(_ATTEMPTS):
        after = wanted(lans.sound(item), end, users, wish)
        if _written(cluster, item, after, query):
            return after
        item = lans.one(cluster, item.ref.namespace, item.ref.name)
    raise K8slanError(f"LAN {item.ref} is being changed by somebody else all the time", hint="try again")


def _written(cluster: Cluster, item: Found, after: Lan, query: Mapping[str, str] | None) -> bool:
    """Write the links of ``after``; false if the LAN has been changed meanwhile."""
    before = lans.sound(item)
    if (after.links, after.down) == (before.links, before.down):
        return True
    metadata: dict[str, Any] = {"resourceVersion": item.version}
    if after.down != before.down:
        metadata["annotations"] = {LINKS_DOWN: ",".join(sorted(after.down)) or None}
    entries = {name: links.document(link) for name, link in after.links}
    body = {
        "metadata": metadata,
        "spec": {"links": merge((item.document.get("spec") or {}).get("links") or {}, entries)},
    }
    try:
        cluster.call(
            "PATCH",
            lans.target(item.ref.namespace, item.ref.name).path,
            query=query,
            body=body,
            content_type=MERGE,
        )
    except ApiError as error:
        if error.status == 409:
            return False
        raise lans.as_error(error, f"LAN {item.ref}") from error
    return True


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What makes one document of another as a merge patch (RFC 7386): null for what goes."""
    gone = {key: None for key in old if key not in new}
    return gone | {
        key: merge(old[key], value) if isinstance(value, dict) and isinstance(old.get(key), dict) else value
        for key, value in new.items()
    }


def told(lan: Lan, name: str) -> str:
    """What is wanted of a link: ``down; rate 1Mbit``, "" for nothing."""
    return _shown(lan.link(name, ""), down=name in lan.pulled)


def _shown(link: Link, *, down: bool) -> str:
    return "; ".join(filter(None, ("down" if down else "", link.words)))


def words(lan: Lan, end: End, *, would: bool = False) -> str:
    """What a link is, or ``would`` be: what is done to its frames, its carrier, and that of the cable's other end."""
    link, other, down = lan.link(end.name, ""), lan.other_end(end.name), end.name in lan.pulled
    until = f" until {link.until}" if link.until else ""
    has, state, so, does = ("would have", "would be", "would", "would do") if would else ("has", "is", "is", "does")
    shape = f"{has} {link.words}{'' if down else until} and " if link.words else ""
    state += f" down{until}" if down else " up"
    cable = clean = ""
    if other and other in lan.pulled and not down:
        cable = f", but without a carrier: the other end of the cable, spoke {other}, is down"
    elif other:
        cable = f", and so {so} the other end of the cable, spoke {other}"
    if not (down or shape):
        clean = f"; k8slan {does} nothing to frames"
    return f"{end.who} on LAN {lan.ref} {shape}{state}{cable}{clean}"
