"""``k8slan lan capture``: frames at attachments, from as many nodes as they are on, as one stream of pcapng."""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import Here, in_cluster

if TYPE_CHECKING:
    from k8slan_cli.capture.merge import Merger
    from k8slan_cli.cli.agents import Agents
    from k8slan_cli.errors import K8slanError
    from k8slan_cli.operate.client import Call
    from k8slan_cli.operate.protocol import Plugged

_LOOK_SECONDS = 0.2
"""How soon an interruption, or the end of the time, is noticed."""
_END_SECONDS = 5.0
"""How long the last words of agents are waited for."""
_CHUNKS = 256


@in_cluster
def capture(
    here: Here,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|POD[:IFACE]…",
            help="LANs (everybody on them), pods, VMs.",
            autocompletion=completion.pods,
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
    A LAN goes before a pod of the same name; with an interface it is always a pod. Ctrl-C ends it.
    """
    from k8slan_cli.cli.agents import Agents
    from k8slan_cli.cli.exits import UsageError

    if not write and sys.stdout.isatty():
        raise UsageError(
            "frames are not for a terminal", hint="give -w FILE, or pipe them: … | wireshark -k -i - (or tshark -i -)"
        )
    agents = Agents(here.cluster)
    chosen = choose(agents, here, what)
    with _destination(write) as out:
        run = Run(out, limit=count, seconds=seconds)
        with contextlib.ExitStack() as stack:
            calls = _open(stack, agents, chosen, expression, snaplen)
            nodes = ", ".join(calls)
            _say(f"capturing at {', '.join(item.name for item in chosen)} (node {nodes}); Ctrl-C ends it")
            run.run(calls)
    for line in run.words():
        _say(line)
    if run.faults:
        raise typer.Exit(1)


def _say(words: str) -> None:
    typer.echo(words, err=True)


@contextlib.contextmanager
def _destination(write: str) -> Iterator[IO[bytes]]:
    from k8slan_cli.errors import K8slanError

    if write in ("", "-"):
        yield sys.stdout.buffer
        return
    with contextlib.ExitStack() as stack:
        try:
            out = stack.enter_context(Path(write).open("wb"))
        except OSError as error:
            raise K8slanError(f"cannot write {write}: {error.strerror}") from error
        yield out


# ---------------------------------------------------------------- what to capture


def choose(agents: Agents, here: Here, what: Sequence[str]) -> list[Plugged]:
    """The attachments that the command line means.

    Raises:
        AbsentError: one of them is not there.

    """
    from k8slan_cli.cli.agents import matching
    from k8slan_cli.cli.exits import AbsentError

    seen = agents.plugged(nodes=_nodes(here, what))
    chosen: dict[object, Plugged] = {}
    for text in what:
        on_lan = [item for item in seen.items if item.lan == f"{here.namespace}/{text}"]
        found = on_lan or matching(seen.items, text, here.namespace)
        if not found:
            known = {item.lan.removeprefix(f"{here.namespace}/") for item in seen.items}
            known |= {(item.pod or item.container).removeprefix(f"{here.namespace}/") for item in seen.items}
            words = f"neither a LAN nor a pod {text} has anything attached{seen.blind}"
            raise AbsentError(words, name=text, known=known)
        chosen |= {item.place: item for item in found}
    for node, error in seen.unreachable.items():
        _say(f"warning: what is on node {node} is not captured: {error.message}")
    return list(chosen.values())


def _nodes(here: Here, what: Sequence[str]) -> list[str] | None:
    """The nodes that need to be asked; None if that cannot be told by a look at LANs and pods."""
    from k8slan_cli.errors import Invalid
    from k8slan_cli.kube import apply
    from k8slan_cli.lan import codec, names

    nodes: set[str] = set()
    for text in what:
        pod, colon, _ = text.partition(":")
        space, _, name = pod.rpartition("/")
        if names.subdomain_fault(name):
            return None
        try:
            lan = None if colon or space else here.cluster.get(apply.Ref(apply.LAN, here.namespace, name))
            if lan is not None:
                nodes |= {node.name for node in codec.decode(lan, strict=False).nodes}
                continue
            found = here.cluster.get(apply.Ref(apply.POD, space or here.namespace, name))
        except (apply.ClusterError, Invalid):
            return None
        node = ((found or {}).get("spec") or {}).get("nodeName")
        if not node:
            return None
        nodes.add(node)
    return sorted(nodes)


def _open(
    stack: contextlib.ExitStack, agents: Agents, chosen: Sequence[Plugged], expression: str, snaplen: int
) -> dict[str, Call]:
    from k8slan_cli.operate import protocol

    agents.token()
    by_node: dict[str, list[Plugged]] = {}
    for item in chosen:
        by_node.setdefault(item.node, []).append(item)
    wanted = {
        node: protocol.Capture(places=tuple(item.place for item in items), filter=expression, snaplen=snaplen)
        for node, items in by_node.items()
    }
    calls = agents.each(wanted, lambda node: agents.call(node, protocol.CAPTURE, wanted[node].encode()))
    for call in calls.values():
        stack.callback(call.close)
    return calls


# ---------------------------------------------------------------- the stream


@dataclass
class Run:
    """Captures until it is enough, it is interrupted, nobody reads any more, or all agents have ended."""

    out: IO[bytes]
    limit: int = 0
    seconds: float = 0
    faults: list[str] = field(default_factory=list)
    merger: Merger | None = None
    _chunks: queue.Queue[tuple[int, bytes | K8slanError]] = field(default_factory=lambda: queue.Queue(_CHUNKS))
    _interrupted: bool = False
    _unread: bool = False

    def run(self, calls: Mapping[str, Call]) -> None:
        """Write what the agents send, and their last words after the end of it."""
        from k8slan_cli import __version__
        from k8slan_cli.capture.merge import Merger
        from k8slan_cli.errors import K8slanError

        merger = self.merger = Merger(len(calls), f"k8slan {__version__}", self.limit)
        running = dict(enumerate(calls))
        for number, call in enumerate(calls.values()):
            threading.Thread(target=self._read, args=(number, call), daemon=True, name=f"capture {number}").start()
        with self._interruptible():
            self._write(merger.begin())
            until = time.monotonic() + self.seconds if self.seconds else float("inf")
            while running and not (self._interrupted or self._unread or merger.enough or time.monotonic() >= until):
                self._take(merger, running, _LOOK_SECONDS)
            for number in running:
                with contextlib.suppress(K8slanError):  # one that is gone cannot be asked to end
                    list(calls.values())[number].stop()
            last = time.monotonic() + _END_SECONDS
            while running and (left := last - time.monotonic()) > 0 and not self._unread:
                self._take(merger, running, min(left, _LOOK_SECONDS))
            self.faults += [f"the agent of node {node} has not said how it ended" for node in running.values()]
            self._write(merger.end())

    def _read(self, number: int, call: Call) -> None:
        """In a thread. If writing is slow, this queue gets full, then the agent's own, which counts what it loses."""
        from k8slan_cli.errors import K8slanError

        try:
            for data in call.data():
                self._chunks.put((number, data))
            self._chunks.put((number, b""))
        except K8slanError as error:
            self._chunks.put((number, error))

    def _take(self, merger: Merger, running: dict[int, str], seconds: float) -> None:
        due = merger.wait(time.monotonic())
        try:
            number, data = self._chunks.get(timeout=seconds if due is None else min(seconds, due))
        except queue.Empty:
            self._write(merger.due(time.monotonic()))
            return
        if isinstance(data, bytes) and data:
            self._write(merger.feed(number, data, time.monotonic()))
        if not isinstance(data, bytes) or not data or merger.complete(number):
            node = running.pop(number, "")
            if node and not merger.complete(number):
                words = "" if isinstance(data, bytes) else f": {data.message}"
                self.faults.append(f"the capture on node {node} broke off{words}")

    def _write(self, data: bytes) -> None:
        from k8slan_cli.errors import K8slanError

        if not data or self._unread:
            return
        try:
            self.out.write(data)
            self.out.flush()
        except BrokenPipeError:  # the reader has seen enough
            self._unread = True
        except OSError as error:
            raise K8slanError(f"cannot write the capture: {error.strerror}") from error

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C ends the capture in good order, the second one at once."""

        def interrupt(_number: int, _frame: object) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def words(self) -> Iterator[str]:
        """What there is to say at the end."""
        if self.merger is None:
            return
        for name, counters in self.merger.counters.items():
            lost = f", {counters.dropped} lost as they came too fast for this connection" if counters.dropped else ""
            why = f" ({counters.comment})" if counters.comment else ""
            yield f"{name}: {counters.accepted} frames{lost}{why}"
        yield from self.faults
