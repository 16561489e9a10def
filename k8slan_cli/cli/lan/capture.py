"""``k8slan lan capture``: frames at attachments, from as many nodes as they are on, as one stream of pcapng."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here

if TYPE_CHECKING:
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.diagnose.client import Call
    from k8slan_cli.diagnose.protocol import Capture, Plugged
    from k8slan_cli.errors import K8slanError
    from k8slan_cli.lan.vtep import Vtep, VtepPort


@in_cluster
def capture(
    here: Here,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|POD[:IFACE]…",
            help="LANs (everybody on them, also who comes later), pods, VMs.",
            autocompletion=completion.lans_and_pods,
            show_default=False,
        ),
    ],
    write: Annotated[
        str, typer.Option("--write", "-w", metavar="FILE", help="Where to write; - is standard output, as is a pipe.")
    ] = "",
    expression: Annotated[
        str, typer.Option("--filter", "-f", metavar="EXPR", help="Which frames, as tcpdump says it: 'arp or vlan 7'.")
    ] = "",
    count: Annotated[int, typer.Option("--count", "-c", metavar="N", min=0, help="End after so many frames.")] = 0,
    seconds: Annotated[float, typer.Option(metavar="N", min=0, help="End after so many seconds.")] = 0,
    snaplen: Annotated[
        int, typer.Option("--snaplen", "-s", metavar="BYTES", min=14, max=262144, help="Keep so much of each frame.")
    ] = 262144,
) -> None:
    """Capture frames at attachments of pods and VMs, as pcapng.

    To see them live: k8slan lan capture router | wireshark -k -i -

    Each attachment is an interface of its own in the file, with the direction of every frame as the pod or VM sees it.
    A LAN goes before a pod of the same name; with an interface it is always a pod.

    Press Ctrl-C to stop. A capture of pods also ends with the last of them. A capture of a LAN includes interfaces that
    attach later, on any node, and waits for the first one.
    """
    from k8slan_cli.cli import files
    from k8slan_cli.cli.exits import UsageError
    from k8slan_cli.diagnose import protocol
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.diagnose.recording import Recording

    if not write and sys.stdout.isatty():
        raise UsageError(
            "frames are not for a terminal", hint="give -w FILE, or pipe them: … | wireshark -k -i - (or tshark -i -)"
        )
    agents = Agents(here.cluster)
    chosen = choose(agents, here, what)
    agents.token()
    wanted = protocol.Capture(filter=expression, snaplen=snaplen)
    lans: Spreading | None = None
    begun: dict[str, Call | None] = {}
    with contextlib.ExitStack() as stack:
        pods = _begin_at_pods(agents, chosen.places, wanted)
        stack.callback(_close, pods)
        if chosen.lans:
            lans = Spreading(here, agents, tuple(chosen.lans), wanted)
            begun = lans.begin(frozenset().union(*chosen.lans.values()), alone=not pods)
            stack.callback(_close, begun)
        # Not before, since a signal that ends the command until here would leave the temporary file behind.
        out = stack.enter_context(files.writing(Path(write) if write else files.STDOUT))
        recording = Recording(out, _say, limit=count, seconds=seconds, count=_count)
        recording.run(pods, lans, begun)
        for line in recording.words():
            _say(line)
        if recording.faults:
            raise typer.Exit(1)


def _say(words: str) -> None:
    from k8slan_cli.cli.lan.text import progress

    progress("")
    typer.echo(words, err=True)


def _count(frames: int) -> None:
    from k8slan_cli.cli.lan.text import plural, progress

    progress(plural(frames, "frame"))


def _close(calls: Mapping[str, Call | None]) -> None:
    for call in calls.values():
        if call:
            call.close()


# ---------------------------------------------------------------- what to capture


@dataclass(frozen=True)
class Chosen:
    """LANs (``namespace/name``), each with the nodes that have it now, and attachments that are on none of them."""

    lans: dict[str, frozenset[str]] = field(default_factory=dict)
    places: tuple[Plugged, ...] = ()


def choose(agents: Agents, here: Here, what: Sequence[str]) -> Chosen:
    """What the command line means.

    Raises:
        AbsentError: one of it is not there.

    """
    lans: dict[str, frozenset[str]] = {}
    others: list[str] = []
    for text in what:
        nodes = _nodes_of(here, text)
        if nodes is None:
            others.append(text)
        else:
            lans[f"{here.namespace}/{text}"] = nodes
    places = _places(agents, here, others, lans) if others else {}
    return Chosen(lans, tuple(item for item in places.values() if item.lan not in lans))


def _nodes_of(here: Here, text: str) -> frozenset[str] | None:
    """The nodes that take part in the LAN of a name; None if there is none, or this user may not see it."""
    from k8slan_cli.inventory import lans, occupancy
    from k8slan_cli.kube import client, kinds
    from k8slan_cli.lan import names

    if names.subdomain_fault(text):  # with a namespace or an interface it is none
        return None
    with contextlib.suppress(client.ApiError):
        if found := here.cluster.get(kinds.Ref(kinds.LANS, here.namespace, text)):
            lan = lans.read(found)
            users = occupancy.read(here.cluster, [lan], waiting=False)
            nodes = frozenset(vtep.node for vtep in users.of(lan).nodes)
            return None if users.blind and not nodes else nodes
    return None


def _places(
    agents: Agents, here: Here, what: Sequence[str], lans: dict[str, frozenset[str]]
) -> Mapping[object, Plugged]:
    """The attachments of pods; LANs that this user may not see, but the agents do, go into ``lans``."""
    from k8slan_cli.diagnose.agents import matching
    from k8slan_cli.errors import AbsentError
    from k8slan_cli.inventory import occupancy

    vteps = occupancy.vteps(here.cluster, here.namespace).vteps or ()
    seen = agents.plugged(nodes=_nodes(here, what, vteps)).with_vms(vteps)
    chosen: dict[object, Plugged] = {}
    for text in what:
        lan = f"{here.namespace}/{text}"
        if nodes := frozenset(item.node for item in seen.items if item.lan == lan):
            lans[lan] = nodes
            continue
        found = matching(seen.items, text, here.namespace)
        if not found:
            known = {item.lan.removeprefix(f"{here.namespace}/") for item in seen.items}
            known |= {(item.pod or item.container).removeprefix(f"{here.namespace}/") for item in seen.items}
            words = f"there is neither a LAN nor an attached pod {text}{seen.blind}"
            raise AbsentError(words, name=text, known=known)
        chosen |= {item.place: item for item in found}
    for node, error in seen.unreachable.items():
        _say(f"warning: what is on node {node} is not captured: {error.message}")
    return chosen


def _nodes(here: Here, what: Sequence[str], vteps: Sequence[Vtep]) -> list[str] | None:
    """The nodes that need to be asked for pods, VMs and spokes; None if that cannot be told by a look at them."""
    from k8slan_cli.kube import client, kinds
    from k8slan_cli.lan import names

    nodes: set[str] = set()
    for text in what:
        space, _, name = text.partition(":")[0].rpartition("/")
        if names.subdomain_fault(name):
            return None
        if there := {vtep.node for vtep in vteps for port in vtep.ports if _means(port, space or here.namespace, name)}:
            nodes |= there
            continue
        try:
            found = here.cluster.get(kinds.Ref(kinds.PODS, space or here.namespace, name))
        except client.ApiError:
            return None
        node = ((found or {}).get("spec") or {}).get("nodeName")
        if not node:
            return None
        nodes.add(node)
    return sorted(nodes)


def _means(port: VtepPort, space: str, name: str) -> bool:
    """Whether a name may mean a port: by its pod, its VM or its spoke."""
    if port.pod is None or port.pod.namespace != space:
        return port.spoke == name
    return name in (port.pod.name, port.spoke, port.vm and port.vm.name)


# ---------------------------------------------------------------- whom to ask


def _begin_at_pods(agents: Agents, places: Iterable[Plugged], wanted: Capture) -> dict[str, Call]:
    from dataclasses import replace

    from k8slan_cli.diagnose import protocol

    by_node: dict[str, list[Plugged]] = {}
    for item in places:
        by_node.setdefault(item.node, []).append(item)

    def begin(node: str) -> Call:
        here = replace(wanted, places=tuple(item.place for item in by_node[node]))
        return agents.call(node, protocol.CAPTURE, here.encode())

    return agents.each(by_node, begin)


class Spreading:
    """The agents of nodes that have some LANs, as VTEPs say it (``recording.Following``)."""

    def __init__(self, here: Here, agents: Agents, lans: tuple[str, ...], wanted: Capture) -> None:
        from dataclasses import replace

        self.lans = lans
        self._here = here
        self._agents = agents
        self._body = replace(wanted, lans=lans).encode()

    def begin(self, nodes: Iterable[str], *, alone: bool) -> dict[str, Call | None]:
        """Begin at these nodes; None at those that do not answer, which is said.

        Raises:
            K8slanError: an agent refuses it, or none answers and ``alone`` nothing else is captured.

        """
        from k8slan_cli.diagnose.client import AgentError

        unreachable: dict[str, K8slanError] = {}
        calls = self._agents.each(sorted(nodes), self.open, unreachable=unreachable)
        for node, error in unreachable.items():
            if isinstance(error, AgentError) or (alone and not calls):
                raise error
            _say(f"warning: node {node} is not captured for now: {error.message}")
        return calls | dict.fromkeys(unreachable)

    def nodes(self) -> Iterator[frozenset[str]]:
        """Which nodes that are: now, and again after each change."""
        from k8slan_cli.inventory import lans, occupancy
        from k8slan_cli.kube import apply, kinds
        from k8slan_cli.lan import vtep_codec
        from k8slan_cli.lan.model import LanRef

        sources: dict[str, apply.Selection] = {}
        for lan in self.lans:
            ref = LanRef.parse(lan)
            sources[f"LAN {lan}"] = apply.Selection(kinds.LANS, ref.namespace, f"metadata.name={ref.name}")
            sources[lan] = apply.Selection(kinds.VTEPS, ref.namespace, label_selector=vtep_codec.selector(ref))
        for state in self._here.cluster.follow(sources):
            pairs = [(found, state[lan].values()) for lan in self.lans for found in state[f"LAN {lan}"].values()]
            yield frozenset().union(
                *(occupancy.taking_part(lans.read(found), occupancy.decoded(vteps)) for found, vteps in pairs)
            )

    def open(self, node: str) -> Call:
        """Begin at a node.

        Raises:
            MissingError: this user may not, or there is no agent that answers, or one too old.
            AgentError: it refuses.

        """
        from k8slan_cli.diagnose import protocol
        from k8slan_cli.diagnose.client import AgentError
        from k8slan_cli.kube.client import MissingError

        if node not in self._agents.pods:  # it may be a new one
            self._agents.forget()
        try:
            return self._agents.call(node, protocol.CAPTURE, self._body)
        except AgentError as error:
            if error.status == 400 and error.message.endswith("places: are none"):
                words = f"the agent of node {node} is too old to capture a whole LAN"
                raise MissingError(words, hint="update k8slan, or name the pods") from error
            raise

    def ready(self, node: str) -> Iterator[None]:
        """Each time that it may be worth while to begin there again."""
        return self._agents.ready(node)
