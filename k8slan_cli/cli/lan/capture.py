"""``k8slan lan capture``: frames at attachments, from as many nodes as they are on, as one stream of pcapng."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here, split

if TYPE_CHECKING:
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.diagnose.client import Call
    from k8slan_cli.diagnose.protocol import Plugged
    from k8slan_cli.diagnose.recording import Sink
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
    show: Annotated[bool, typer.Option("--print", help="Print a line for each frame; with -w, write it too.")] = False,
    rotate: Annotated[
        str,
        typer.Option(
            metavar="SIZE|TIME", help="With -w FILE: begin a new file after so much (100MB, 10m): FILE-0001, …"
        ),
    ] = "",
    keep: Annotated[
        int, typer.Option(metavar="N", min=0, help="With --rotate: keep the last so many files; 0 is all.")
    ] = 0,
    snaplen: Annotated[
        int, typer.Option("--snaplen", "-s", metavar="BYTES", min=14, max=262144, help="Keep so much of each frame.")
    ] = 262144,
) -> None:
    """Capture frames at attachments of pods and VMs, as pcapng.

    Each attachment is an interface of its own in the file, with the direction of every frame as the pod or VM sees it.
    A LAN goes before a pod of the same name; with an interface it is always a pod.

    Press Ctrl-C to stop. A capture of pods also ends with the last of them. A capture of a LAN includes interfaces that
    attach later, on any node, and waits for the first one.

    Examples:
      # Live
      k8slan lan capture router --print

      k8slan lan capture router | wireshark -k -i -

      # The last hour of a LAN
      k8slan lan capture blue -w blue.pcapng --rotate 10m --keep 6
    """
    from k8slan_cli.cli import files
    from k8slan_cli.cli.exits import UsageError
    from k8slan_cli.diagnose import capturing, protocol
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.diagnose.recording import Recording

    turn = _rotation(rotate) if rotate else None
    if keep and not turn:
        raise UsageError("--keep is of files that --rotate begins", hint="give --rotate SIZE or TIME")
    if turn and write in ("", "-"):
        raise UsageError("--rotate needs a file", hint="give -w FILE")
    if show and write == "-":
        raise UsageError("--print and -w - would both write to standard output", hint="give -w FILE, or leave it out")
    if not write and not show and sys.stdout.isatty():
        raise UsageError(
            "frames are not for a terminal",
            hint="give -w FILE, or --print, or pipe them: … | wireshark -k -i - (or tshark -i -)",
        )
    agents = Agents(here.cluster)
    chosen = choose(agents, here, what)
    agents.token()
    wanted = protocol.Capture(filter=expression, snaplen=snaplen)
    lans: capturing.Spreading | None = None
    begun: dict[str, Call | None] = {}
    with contextlib.ExitStack() as stack:
        pods = capturing.begin_at_pods(agents, chosen.places, wanted)
        stack.callback(_close, pods)
        if chosen.lans:
            lans = capturing.Spreading(here.cluster, agents, tuple(chosen.lans), wanted, _say)
            begun = lans.begin(frozenset().union(*chosen.lans.values()), alone=not pods)
            stack.callback(_close, begun)
        # Not before, since a signal that ends the command until here would leave the temporary file behind.
        sinks: list[Sink] = [_Printing()] if show else []
        if turn:
            sinks.append(stack.enter_context(Rotating(Path(write), *turn, keep)))
        elif write or not show:
            sinks.append(stack.enter_context(files.writing(Path(write) if write else files.STDOUT)))
        counting = _count if not show else lambda _: None
        recording = Recording(_Every(sinks), _say, limit=count, seconds=seconds, count=counting)
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


# ---------------------------------------------------------------- where it goes


class _Every:
    """Several places where a capture goes."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def write(self, data: bytes) -> None:
        """Write to all of them."""
        for sink in self._sinks:
            sink.write(data)

    def keep(self) -> None:
        """Replace what was there before."""
        for sink in self._sinks:
            sink.keep()


class _Printing:
    """A line for each frame."""

    def __init__(self) -> None:
        from k8slan_cli.capture.lines import Lines

        self._lines = Lines()

    def write(self, data: bytes) -> None:
        """Print what is complete."""
        for line in self._lines.feed(data):
            typer.echo(line)
        sys.stdout.flush()

    def keep(self) -> None:
        """Nothing was there before."""


class Rotating:
    """Files one after the other, each a whole capture: ``blue-0001.pcapng``, ``blue-0002.pcapng``, ….

    Each begins with the descriptions of all interfaces so far. A new one is begun before a frame that would make one
    larger than ``size`` bytes, or comes after ``seconds``; of more than ``most`` the oldest is removed (0: none is).
    """

    def __init__(self, path: Path, size: float, seconds: float, most: int) -> None:
        from k8slan_cli.capture.pcapng import Reader

        self._path, self._size, self._seconds, self._most = path, size, seconds, most
        self._reader = Reader()
        self._head = b""
        self._written = self._began = self._number = 0.0
        self._frames = False
        self._stack = contextlib.ExitStack()
        self._kept = False
        self._files: list[Path] = []

    def __enter__(self) -> Rotating:
        self._next()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _next(self) -> None:
        from k8slan_cli.cli import files

        self._stack.close()
        self._number += 1
        path = self._path.with_name(f"{self._path.stem}-{self._number:04.0f}{self._path.suffix}")
        self._out = self._stack.enter_context(files.writing(path))
        self._files.append(path)
        while self._most and len(self._files) > self._most:
            self._files.pop(0).unlink(missing_ok=True)
        self._out.write(self._head)
        self._written, self._began, self._frames = len(self._head), time.monotonic(), False
        if self._kept:
            self._out.keep()

    def write(self, data: bytes) -> None:
        """Write what is complete, into as many files as it takes."""
        from k8slan_cli.capture.pcapng import BlockType

        for block in self._reader.feed(data):
            if block.kind in (BlockType.SECTION, BlockType.INTERFACE):
                self._head += block.data
            elif block.kind == BlockType.PACKET:
                full = self._written + len(block.data) > self._size
                if self._frames and (full or time.monotonic() - self._began >= self._seconds):
                    self._next()
                self._frames = True
            self._out.write(block.data)
            self._written += len(block.data)

    def keep(self) -> None:
        """Have the files of that name replaced from now on."""
        self._kept = True
        self._out.keep()


_UNITS = {"kB": (1e3, 0), "MB": (1e6, 0), "GB": (1e9, 0), "s": (0, 1), "m": (0, 60), "h": (0, 3600)}


def _rotation(text: str) -> tuple[float, float]:
    """How many bytes, or how many seconds, go into a file.

    Raises:
        UsageError: it says neither.

    """
    from k8slan_cli.cli.exits import UsageError

    found = re.fullmatch(r"([0-9]+)(kB|MB|GB|s|m|h)", text)
    if found is None or not int(found[1]):
        raise UsageError(f"--rotate: {text!r} is neither a size nor a time", hint="such as 100MB, 90s, 10m, 1h")
    size, seconds = (int(found[1]) * factor or float("inf") for factor in _UNITS[found[2]])
    return size, seconds


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
        space, name = split(text)
        nodes = _nodes_of(here, space or here.namespace, name)
        if nodes is None:
            others.append(text)
        else:
            lans[f"{space or here.namespace}/{name}"] = nodes
    places = _places(agents, here, others, lans) if others else {}
    return Chosen(lans, tuple(item for item in places.values() if item.lan not in lans))


def _nodes_of(here: Here, space: str, name: str) -> frozenset[str] | None:
    """The nodes that take part in the LAN of a name; None if there is none, or this user may not see it."""
    from k8slan_cli.inventory import lans, occupancy
    from k8slan_cli.kube import client, kinds
    from k8slan_cli.lan import names

    if names.subdomain_fault(name) or names.label_fault(space):  # with an interface it is none
        return None
    with contextlib.suppress(client.ApiError):
        if found := here.cluster.get(kinds.Ref(kinds.LANS, space, name)):
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
        space, name = split(text)
        lan = f"{space or here.namespace}/{name}"
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
