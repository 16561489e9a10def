"""``k8slan lan link``: pulls the cable of a pod or VM out and puts it back, and makes it slow, late or lossy.

What is wanted is written on the LAN, in ``spec.links``; the agents see to it, also after a restart.
"""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.dry_run import DryRun, DryRunOption
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.lan import links
from k8slan_cli.lan.links import CLEAN, Impairment, Link

if TYPE_CHECKING:
    from k8slan_cli.inventory.lans import Found
    from k8slan_cli.inventory.occupancy import Users
    from k8slan_cli.kube.apply import Cluster
    from k8slan_cli.lan.model import Lan, LanRef
    from k8slan_cli.plan.occupancy import Occupant

_ATTEMPTS = 5
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_BOTH = frozenset({"to_pod", "from_pod"})


class State(enum.StrEnum):
    """What a link can be."""

    UP = "up"
    DOWN = "down"


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
    ways: frozenset[str] = _BOTH
    clear: bool = False
    until: str = ""

    @property
    def of_state_alone(self) -> bool:
        """Whether it is about the carrier and nothing else."""
        return self.state is not None and not (self.properties or self.clear or self.until)


def _quantity(name: str, text: str) -> Any:
    quantity = links.QUANTITIES[name]
    return typer.Option(metavar=quantity.example, help=text)


@in_cluster
def link(
    here: Here,
    pod: Annotated[
        str,
        typer.Argument(
            metavar="POD[:IFACE]|SPOKE",
            help="A pod or VM and its interface, or a spoke.",
            autocompletion=completion.pods,
        ),
    ],
    state: Annotated[State | None, typer.Argument(metavar="up|down", show_default=False)] = None,
    delay: Annotated[str | None, _quantity("delay", "How late each frame is.")] = None,
    jitter: Annotated[str | None, _quantity("jitter", "How much earlier or later than that.")] = None,
    correlation: Annotated[
        str | None, _quantity("correlation", "How much jitter depends on that of the frame before.")
    ] = None,
    loss: Annotated[str | None, _quantity("loss", "How many frames are lost.")] = None,
    duplicate: Annotated[str | None, _quantity("duplicate", "How many come twice.")] = None,
    corrupt: Annotated[str | None, _quantity("corrupt", "How many have a wrong bit.")] = None,
    reorder: Annotated[str | None, _quantity("reorder", "How many are not delayed, and overtake others.")] = None,
    rate: Annotated[str | None, _quantity("rate", "Bits a second.")] = None,
    burst: Annotated[str | None, _quantity("burst", "How much may pass at once after a silence.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="FRAMES", help="How many frames may wait.")] = None,
    to_pod: Annotated[bool, typer.Option("--to-pod", help="What goes to the pod alone; default: both ways.")] = False,
    from_pod: Annotated[bool, typer.Option("--from-pod", help="What comes from the pod alone.")] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Take back what was done to frames, before anything else.")
    ] = False,
    lasting: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="30s", help="For how long, in s, m or h; then it is as without. Default: for good."
        ),
    ] = None,
    dry_run: DryRunOption = DryRun.NONE,
) -> None:
    """Pull a pod's or VM's cable out, put it back, or make it slow, late or lossy. Without a wish, say how it is.

    A pod that is pulled out sees its carrier go. On a LAN of exactly two spokes the other end loses its carrier too, on
    whatever node it is. All of it stays so until it is undone, over restarts of agents and of the pod.

    Examples:
      # Pull a cable out for half a minute
      k8slan lan link router:eth1 down --for 30s

      # Make it slow and lossy, one way
      k8slan lan link router:eth1 --delay 20ms --jitter 2ms --loss 1% --to-pod

      # Take that back
      k8slan lan link router:eth1 --clear
    """
    from k8slan_cli.inventory import lans, occupancy

    shares = {"loss": loss, "duplicate": duplicate, "corrupt": corrupt, "reorder": reorder}
    given: dict[str, str | int | None] = {"delay": delay, "jitter": jitter, "correlation": correlation, **shares}
    given |= {"rate": rate, "burst": burst, "limit": limit}
    until = _until(here.cluster, lasting) if lasting else ""
    wish = _wish(given, state, to_pod=to_pod, from_pod=from_pod, clear=clear, until=until)
    place = pod.partition(":")[0].rpartition("/")[0] or here.namespace
    items = lans.several(here.cluster, place)
    users = occupancy.read(here.cluster, items)
    end = named(users, items, pod, here.namespace)
    item = next(item for item in items if item.ref == end.lan)
    if wish is None:
        typer.echo(words(lans.sound(item), end, None))
        return
    for _ in range(_ATTEMPTS):
        lan = wanted(lans.sound(item), end, users, wish)
        if _write(here, item, lan, dry_run):
            break
        item = lans.one(here.cluster, item.ref.namespace, item.ref.name)
    else:
        from k8slan_cli.errors import K8slanError

        raise K8slanError(f"LAN {item.ref} is being changed by somebody else all the time", hint="try again")
    said = words(lan, end, wish.state if wish.of_state_alone else None, dry_run)
    typer.echo(f"{said}{dry_run.words}")


def _wish(
    given: Mapping[str, str | int | None],
    state: State | None,
    *,
    to_pod: bool,
    from_pod: bool,
    clear: bool,
    until: str,
) -> Wish | None:
    """What the options come to; None for none."""
    properties: dict[str, int] = {}
    for name, value in given.items():
        if value is not None:
            found = links.read(name, value)
            if isinstance(found, str):
                raise UsageError(f"--{name}: {found}")
            properties[name] = found
    ways = frozenset([*(["to_pod"] if to_pod else []), *(["from_pod"] if from_pod else [])]) or _BOTH
    if state is None and not properties and not clear:
        if until or ways != _BOTH:
            raise UsageError("say what is to become of the link: up, down, --delay, --loss, --rate, …, or --clear")
        return None
    if ways != _BOTH and not properties and not clear:
        raise UsageError("--to-pod and --from-pod are of --delay, --clear and the like: a link is up or down both ways")
    return Wish(state=state, properties=properties, ways=ways, clear=clear, until=until)


def _until(cluster: Cluster, lasting: str) -> str:
    """When a time is over that begins now, by the API server's clock: nodes go by theirs, not by a workstation's."""
    found = re.fullmatch(r"([0-9]{1,6})(s|m|h)", lasting)
    if not found or not int(found[1]):
        raise UsageError(f"--for: {lasting!r} is no time such as 30s, 5m or 1h")
    date = cluster.headers("/version", seconds=10).get("Date", "")
    now = int(parsedate_to_datetime(date).timestamp() if date else time.time())
    end = now + 1 + int(found[1]) * _SECONDS[found[2]]  # it is cut to whole seconds
    return datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def named(users: Users, items: Iterable[Found], text: str, space: str) -> End:
    """The link that ``text`` means: of a pod or VM on a LAN or waited for, or of a spoke.

    Raises:
        AbsentError: there is none, or more than one.

    """
    from k8slan_cli.errors import AbsentError

    pod, _, interface = text.partition(":")
    place, _, name = pod.rpartition("/")
    ports = [(item, item.port.pod) for item in (*users.attached, *users.waiting)]
    found = [
        item
        for item, its in ports
        if its
        and its.namespace == (place or space)
        and name in (its.name, item.port.vm and item.port.vm.name)
        and interface in ("", item.port.interface)
    ]
    ends = {item.port.spoke for item in found} if all(item.end for item in found) else set()
    if len(found) == 1 or len(ends) == 1:  # a VM that migrates is on one spoke at both ends
        return _end(min(found, key=lambda item: item.idle))
    if found:
        several = ", ".join(f"{pod}:{item.port.interface} (LAN {item.lan.name})" for item in found)
        raise AbsentError(f"{text} is attached more than once: say which of {several}")
    for item in items:
        if not interface and item.lan and name in item.lan.spokes:
            holders = [each for each in users.attached if each.lan == item.ref and each.port.spoke == name]
            return _end(holders[0]) if holders else End(lan=item.ref, name=name, who=f"spoke {name}")
    blind = f" ({'; '.join(users.blind)})" if users.blind else ""
    known = {f"{item.port.vm.name if item.port.vm else its.name}:{item.port.interface}" for item, its in ports if its}
    raise AbsentError(f"{text} is on no LAN of namespace {place or space}{blind}", name=text, known=known)


def _end(item: Occupant) -> End:
    return End(lan=item.lan, name=item.port.spoke or item.plug, who=f"{item.port.interface} of {item.who}")


def changed(before: Link, wish: Wish) -> Link:
    """What a link is by a wish.

    Raises:
        UsageError: something of it is for good, and would end with what is for a time; or nothing of it would.

    """
    after = before
    if wish.clear:
        after = _in_ways(after, dict.fromkeys(wish.ways, CLEAN))
    if wish.until and not before.until and after != Link():
        has = "; ".join(filter(None, ("down" if after.down else "", after.words)))
        text = f"the link is {has} for good, and with --for all of it would end"
        raise UsageError(text, hint="take that back before (--clear, up)")
    if wish.state:
        after = replace(after, down=wish.state is State.DOWN)
    after = _in_ways(after, {way: replace(getattr(after, way), **wish.properties) for way in wish.ways})
    if replace(after, until="") != Link():
        return replace(after, until=wish.until)
    if wish.until:
        raise UsageError("nothing would be left of the link that could end, so --for has no meaning")
    return Link()


def _in_ways(link: Link, found: Mapping[str, Impairment]) -> Link:
    return replace(link, to_pod=found.get("to_pod", link.to_pod), from_pod=found.get("from_pod", link.from_pod))


def wanted(lan: Lan, end: End, users: Users, wish: Wish) -> Lan:
    """The LAN as it is to be. Links of pods that are no more are left out, if all pods can be seen.

    Raises:
        UsageError: what is wanted of the link cannot be.

    """
    from k8slan_cli.lan.model import LINKS_DOWN

    alive = None if users.blind else _alive(users, end.lan)
    entries = {name: link for name, link in lan.links if _stays(name, lan, alive)}
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


def _write(here: Here, item: Found, after: Lan, dry_run: DryRun) -> bool:
    """Write the links of ``after`` on the LAN; false if the LAN has been changed meanwhile."""
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube.client import ApiError
    from k8slan_cli.lan.model import LINKS_DOWN

    before = lans.sound(item)
    if dry_run is DryRun.CLIENT or (after.links, after.down) == (before.links, before.down):
        return True
    metadata: dict[str, Any] = {"resourceVersion": item.version}
    if after.down != before.down:
        metadata["annotations"] = {LINKS_DOWN: ",".join(sorted(after.down)) or None}
    entries = {name: links.document(link) for name, link in after.links}
    body = {
        "metadata": metadata,
        "spec": {"links": _merge((item.document.get("spec") or {}).get("links") or {}, entries)},
    }
    try:
        here.cluster.call(
            "PATCH",
            lans.target(item.ref.namespace, item.ref.name).path,
            query=dry_run.query,
            body=body,
            content_type="application/merge-patch+json",
        )
    except ApiError as error:
        if error.status == 409:
            return False
        raise lans.as_error(error, f"LAN {item.ref}") from error
    return True


def _merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What makes one document of another as a merge patch (RFC 7386): null for what goes."""
    gone = {key: None for key in old if key not in new}
    return gone | {
        key: _merge(old[key], value) if isinstance(value, dict) and isinstance(old.get(key), dict) else value
        for key, value in new.items()
    }


def words(lan: Lan, end: End, state: State | None, dry_run: DryRun = DryRun.NONE) -> str:
    """What has been done: that the link is ``state`` now, or else all that it is."""
    where = f"{end.who} on LAN {lan.ref} {'is' if dry_run.changes else 'would be'}"
    if state is None:
        found = dict(lan.links).get(end.name) or Link()
        down = ["down"] if end.name in lan.pulled else []
        told = "; ".join(filter(None, [*down, found.words])) or "up, and frames pass as they come"
        return f"{where} {told}{f', until {found.until}' if found.until else ''}"
    other = lan.other_end(end.name)
    if other is None:
        return f"{where} {state}"
    if state is State.DOWN:
        return f"{where} down, and so is the other end of the cable, spoke {other}"
    if other in lan.pulled:
        return f"{where} up, but the other end of the cable, spoke {other}, is down"
    return f"{where} up, and so is the other end of the cable, spoke {other}"
