"""``k8slan lan link``: pulls the cable of a pod or VM out and puts it back, and makes it slow, late or lossy.

What is wanted is written on the LAN, in ``spec.links``; the agents see to it, also after a restart.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.dry_run import DryRun, DryRunOption
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.errors import AbsentError, K8slanError
from k8slan_cli.lan import links
from k8slan_cli.lan.links import State

if TYPE_CHECKING:
    from k8slan_cli.inventory.lans import Found
    from k8slan_cli.inventory.linking import End, Wish
    from k8slan_cli.kube.apply import Cluster

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _quantity(name: str, text: str) -> Any:
    quantity = links.QUANTITIES[name]
    return typer.Option(metavar=quantity.example, help=text)


@in_cluster
def link(
    here: Here,
    pod: Annotated[
        str,
        typer.Argument(
            metavar="POD[:IFACE]|[LAN/]SPOKE",
            help="A pod, VM or node of a lab and its interface, or a spoke.",
            autocompletion=completion.links,
        ),
    ],
    state: Annotated[
        State | None, typer.Argument(metavar="up|down", help="Put it back, or pull it out.", show_default=False)
    ] = None,
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
    from k8slan_cli.inventory import lans, linking, occupancy

    shares = {"loss": loss, "duplicate": duplicate, "corrupt": corrupt, "reorder": reorder}
    given: dict[str, str | int | None] = {"delay": delay, "jitter": jitter, "correlation": correlation, **shares}
    given |= {"rate": rate, "burst": burst, "limit": limit}
    until = _until(here.cluster, lasting) if lasting else ""
    wish = _wish(given, state, to_pod=to_pod, from_pod=from_pod, clear=clear, until=until)
    if found := _spoke(here, pod):
        (item, end), users = found, occupancy.read(here.cluster, [found[0]])
    else:
        place = pod.partition(":")[0].rpartition("/")[0] or here.namespace
        items = lans.several(here.cluster, place)
        users = occupancy.read(here.cluster, items)
        end = linking.named(users, items, pod, here.namespace)
        item = next(item for item in items if item.ref == end.lan)
    if wish is None:
        typer.echo(linking.words(lans.sound(item), end))
        return
    if dry_run is DryRun.CLIENT:
        after = linking.wanted(lans.sound(item), end, users, wish)
    else:
        after = linking.write(here.cluster, item, end, users, wish, dry_run.query)
    typer.echo(f"{linking.words(after, end, would=not dry_run.changes)}{dry_run.words}")


def _spoke(here: Here, text: str) -> tuple[Found, End] | None:
    """The LAN and the spoke of ``[NAMESPACE/]LAN/SPOKE``, None if two words are not that, but ``NAMESPACE/POD``.

    Raises:
        AbsentError: three words name a LAN or a spoke that is not there.

    """
    from k8slan_cli.inventory import lans
    from k8slan_cli.inventory.linking import End

    name, slash, spoke = text.rpartition("/")
    if not slash:
        return None
    try:
        there, lan = here.lan(name)
        item = lans.one(there.cluster, there.namespace, lan)
        if spoke not in lans.sound(item).spokes:
            raise AbsentError(f"LAN {item.ref} has no spoke {spoke!r}", name=spoke, known=lans.sound(item).spokes)
    except K8slanError:
        if "/" in name:
            raise
        return None
    return item, End(lan=item.ref, name=spoke, who=f"spoke {spoke}")


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
    from k8slan_cli.inventory.linking import BOTH_WAYS, Wish

    properties: dict[str, int] = {}
    for name, value in given.items():
        if value is not None:
            found = links.read(name, value)
            if isinstance(found, str):
                raise UsageError(f"--{name}: {found}")
            properties[name] = found
    ways = frozenset([*(["to_pod"] if to_pod else []), *(["from_pod"] if from_pod else [])]) or BOTH_WAYS
    if state is None and not properties and not clear:
        if until or ways != BOTH_WAYS:
            raise UsageError("say what is to become of the link: up, down, --delay, --loss, --rate, …, or --clear")
        return None
    if ways != BOTH_WAYS and not properties and not clear:
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
