"""What the page asks for: a link changed, frames captured or shown as they come, a probe of a LAN.

Each is what a command does too, by the same functions. Requests are checked, all of their problems at once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from k8slan_cli.capture.lines import Lines
from k8slan_cli.diagnose import capturing, exchange, probing, protocol
from k8slan_cli.diagnose.protocol import Fields
from k8slan_cli.diagnose.recording import Recording
from k8slan_cli.errors import AbsentError, K8slanError
from k8slan_cli.inventory import lans, linking, occupancy
from k8slan_cli.inventory.linking import BOTH_WAYS, Wish
from k8slan_cli.lan import links
from k8slan_cli.lan.links import Link, State
from k8slan_cli.lan.model import LanRef
from k8slan_cli.plan.occupancy import natural
from k8slan_cli.probe.frames import CLASSES

if TYPE_CHECKING:
    from k8slan_cli.diagnose.agents import Agents, Attachments
    from k8slan_cli.diagnose.protocol import Plugged
    from k8slan_cli.kube.apply import Cluster
    from k8slan_cli.serve.server import Begin

LINES = "application/x-ndjson"
PCAPNG = "application/x-pcapng"
_SHAPED = ("delay", "jitter", "loss", "rate")
"""What the page sets of a link; what else a link has stays as it is, or goes with what it is of."""
_OF = {"delay": ("jitter", "reorder"), "jitter": ("correlation",), "rate": ("burst",)}
"""What cannot be without another property; a limit needs a delay or a rate."""
_WAYS = {"": BOTH_WAYS, "toPod": frozenset({"to_pod"}), "fromPod": frozenset({"from_pod"})}
_COUNT = 3
"""Frames of each class, each way, in a probe."""
_ENDED = 16
"""Captures whose end is remembered until the page asks for it."""
_LINES, _LINES_SECONDS = 50, 0.25
"""As many lines are shown in so many seconds: nobody reads more, and a page that gets more is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """A LAN, and one of its ends: a device (``namespace/name``) and an interface, both "" for the whole LAN."""

    lan: LanRef
    device: str = ""
    interface: str = ""

    @property
    def plug(self) -> str:
        return f"{self.device}:{self.interface}"

    @property
    def space(self) -> str:
        return self.device.partition("/")[0]


def _end(read: Fields, *, whole: bool = False) -> _End:
    """Read which end is meant; with ``whole`` it may be a LAN."""
    lan, device, interface = (read.text(name, longest=512) for name in ("lan", "device", "interface"))
    if lan.count("/") != 1:
        read.complain("lan", "must be namespace/name")
    if (device or not whole) and device.count("/") != 1:
        read.complain("device", "must be namespace/name")
    if bool(device) != bool(interface):
        read.complain("interface", "is one of a device: give both, or none")
    return _End(lan=LanRef.parse(lan), device=device.removesuffix(" (VM)"), interface=interface)


class Actions:
    """What can be asked for, of one cluster. All of it blocks."""

    def __init__(self, cluster: Cluster, agents: Agents) -> None:
        self._cluster = cluster
        self._agents = agents
        self._running: dict[str, threading.Event] = {}
        self._ended: dict[str, dict[str, Any]] = {}

    # ------------------------------------------------------------ links

    def link(self, body: object) -> dict[str, Any]:
        """Change a link, and say what has been done.

        Raises:
            Invalid: the request is wrong, with everything that is.
            K8slanError: it cannot be done.

        """
        read = Fields(body, "the request")
        end = _end(read)
        wish = _wish(read)
        read.check()
        item = lans.one(self._cluster, end.lan.namespace, end.lan.name)
        users = occupancy.read(self._cluster, [item])
        named = linking.named(users, [item], end.plug, end.space)
        wish = _without_bereft(wish, lans.sound(item).link(named.name, ""))
        after = linking.write(self._cluster, item, named, users, wish)
        return {"message": linking.words(after, named)}

    # ------------------------------------------------------------ captures

    def capture(self, body: object) -> Callable[[Begin], None]:
        """Return what captures and tells the client, until it goes away or asks for the end by ``id``.

        With ``lines`` it is told what each frame is, or else it gets pcapng.

        Raises:
            Invalid: the request is wrong, with everything that is.

        """
        read = Fields(body, "the request")
        end = _end(read, whole=True)
        name = read.text("id", longest=64)
        wanted = protocol.Capture(filter=read.text("filter", longest=4096), snaplen=_snaplen(read))
        lines = read.part("lines") is True
        if not name or name in self._running:
            read.complain("id", "must be text that no other capture has")
        read.check()

        def work(begin: Begin) -> None:
            over = self._running[name] = threading.Event()
            try:
                self._ended[name] = self._record(begin, end, wanted, over, lines=lines)
                for old in list(self._ended)[:-_ENDED]:
                    self._ended.pop(old, None)
            finally:
                self._running.pop(name, None)

        return work

    def stop(self, body: object) -> dict[str, Any]:
        """End a capture in good order.

        Raises:
            Invalid: the request is wrong.
            AbsentError: there is no such capture.

        """
        name = _id(body)
        if name not in self._running:
            raise AbsentError("there is no such capture: it has ended")
        self._running[name].set()
        return {}

    def captured(self, body: object) -> dict[str, Any]:
        """Return what there was to say of a capture that has ended, and what of it was wrong: a file has frames alone.

        Raises:
            Invalid: the request is wrong.
            AbsentError: no such capture has ended lately.

        """
        name = _id(body)
        if name not in self._ended:
            raise AbsentError("no such capture has ended lately")
        return self._ended[name]

    def _record(
        self, begin: Begin, end: _End, wanted: protocol.Capture, over: threading.Event, *, lines: bool
    ) -> dict[str, Any]:
        said: list[str] = []
        pods: dict[str, Any] = {}
        begun: dict[str, Any] = {}
        spreading: capturing.Spreading | None = None
        with contextlib.ExitStack() as stack:
            seen, nodes = self._attached(end.lan)
            if end.device:
                place = seen.named(end.plug, end.space)
                pods = capturing.begin_at_pods(self._agents, [place], wanted)
            else:
                spreading = capturing.Spreading(self._cluster, self._agents, (str(end.lan),), wanted, said.append)
                stack.callback(spreading.close)
                begun = spreading.begin(nodes, alone=True)
            for call in filter(None, (*pods.values(), *begun.values())):
                stack.callback(call.close)
            client = begin(LINES if lines else PCAPNG)
            sink = _Shown(client) if lines else _Raw(client)
            recording = Recording(sink, sink.say, over=lambda: over.is_set() or gone(client))
            for sentence in said:
                sink.say(sentence)
            try:
                recording.run(pods, spreading, begun)
            except K8slanError as error:  # the answer has begun, and cannot be a refusal any more
                recording.faults.append(error.message)
            for sentence in recording.words():
                sink.say(sentence)
            return {"said": sink.said, "faults": recording.faults}

    def _attached(self, lan: LanRef) -> tuple[Attachments, list[str]]:
        """Return who is attached to a LAN, and the nodes that take part."""
        item = lans.one(self._cluster, lan.namespace, lan.name)
        users = occupancy.read(self._cluster, [item], waiting=False)
        on = users.of(item)
        nodes = [vtep.node for vtep in on.nodes]
        return self._agents.plugged(str(lan), nodes).with_vms(on.vteps), nodes

    # ------------------------------------------------------------ probes

    def probe(self, body: object) -> Callable[[Begin], None]:
        """Return what probes a LAN, or only pairs with one of its ends, and tells how far it is and what came of it.

        Raises:
            Invalid: the request is wrong, with everything that is.

        """
        read = Fields(body, "the request")
        end = _end(read, whole=True)
        read.check()

        def work(begin: Begin) -> None:
            seen, notes = probing.attached(self._agents, self._cluster, end.lan.namespace, end.lan.name)
            src = end.plug if end.device else ""
            pairs, more = probing.choose(seen, end.lan.namespace, src, "", everything=False)
            ends = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
            keys = [kind.key for kind in CLASSES]
            with contextlib.ExitStack() as stack:
                sites = probing.open_sites(stack, self._agents, ends)
                client = begin(LINES)

                def cross(a: Plugged, b: Plugged) -> tuple[exchange.Way, exchange.Way]:
                    return exchange.cross(sites[a.place], sites[b.place], keys, _COUNT)

                found = probing.across(
                    pairs, cross, lambda item: item.name, lambda words: _tell(client, progress=words)
                )
            result = probing.document(end.lan.name, end.lan.namespace, found.ways, found.faults, [*notes, *more])
            called = {item.name: f"{item.pod.partition('/')[0]}/{item.vm}:{item.ifname}" for item in ends if item.vm}
            for path in result["paths"]:
                path |= {side: called.get(path[side], path[side]) for side in ("from", "to")}
            names = sorted({path["from"] for path in result["paths"]}, key=natural)
            _tell(client, result=result, ends=names, titles={kind.key: kind.title for kind in CLASSES})

        return work


def _wish(read: Fields) -> Wish:
    """Read what is to become of a link; "" takes a property back, ``clear`` all of them."""
    properties: dict[str, int] = {}
    for name in _SHAPED:
        if read.part(name) is not None and (text := read.text(name, longest=32).strip()):
            found = links.read(name, text)
            if isinstance(found, str):
                read.complain(name, found)
            else:
                properties[name] = found
        elif read.part(name) is not None:
            properties[name] = 0
    state, way = read.text("state"), read.text("way")
    if state not in ("", *State):
        read.complain("state", "must be up or down")
        state = ""
    if way not in _WAYS:
        read.complain("way", "must be toPod, fromPod or nothing, for both")
    clear = read.part("clear") is True
    if not (state or properties or clear):
        read.complain("", "says nothing that is to become of the link")
    ways = _WAYS.get(way, BOTH_WAYS)
    return Wish(state=State(state) if state else None, properties=properties, ways=ways, clear=clear)


def _without_bereft(wish: Wish, link: Link) -> Wish:
    """Return a wish that takes back also what cannot be without a property that it takes back."""
    found = dict(wish.properties)
    for name, others in _OF.items():
        if found.get(name) == 0:
            found = dict.fromkeys(others, 0) | found
    after = [replace(getattr(link, way), **found) for way in wish.ways]
    held = [each.delay or each.rate for each in after if each.limit]
    if held and not any(held):
        found["limit"] = 0
    return replace(wish, properties=found)


def _id(body: object) -> str:
    read = Fields(body, "the request")
    name = read.text("id", longest=64)
    read.check()
    return name


def _snaplen(read: Fields) -> int:
    return read.number("snaplen", 14, protocol.Capture().snaplen, protocol.Capture().snaplen)


# ---------------------------------------------------------------- telling the client


def _tell(client: socket.socket, **said: object) -> None:
    client.sendall(json.dumps(said, separators=(",", ":")).encode() + b"\n")


def gone(client: socket.socket) -> bool:
    """Whether the client has hung up: it says nothing more after its request."""
    try:
        ready, _, _ = select.select([client], [], [], 0)
        return bool(ready) and not client.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


class _Raw:
    """A client that gets the capture itself."""

    def __init__(self, client: socket.socket) -> None:
        self.said: list[str] = []
        self._client = client

    def write(self, data: bytes) -> None:
        """Send it."""
        try:
            self._client.sendall(data)
        except OSError as error:  # the reader has seen enough
            raise BrokenPipeError from error

    def keep(self) -> None:
        """Nothing was there before."""

    def say(self, words: str) -> None:
        """Keep it for afterwards: there are only frames."""
        self.said.append(words)


class _Shown(_Raw):
    """A client that is told in a line what each frame is, as long as there are not too many."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__(client)
        self._lines = Lines()
        self._since = 0.0
        self._sent = self._passed = 0

    def write(self, data: bytes) -> None:
        """Tell what is complete."""
        lines = list(self._lines.feed(data))
        if time.monotonic() - self._since >= _LINES_SECONDS:
            self._since, self._sent = time.monotonic(), 0
        room = max(_LINES - self._sent, 0)
        self._sent += len(lines)
        self._passed += len(lines[room:])
        if lines[:room]:
            self._tell(lines=lines[:room], passed=self._passed)

    def say(self, words: str) -> None:
        """Tell it."""
        super().say(words)
        self._tell(said=words)

    def _tell(self, **said: object) -> None:
        try:
            _tell(self._client, **said)
        except OSError as error:
            raise BrokenPipeError from error
