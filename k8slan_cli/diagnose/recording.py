"""What ``k8slan lan capture`` does while it runs: streams of many agents into one file, more as LANs spread.

Whatever blocks is done in threads, and all of them report to one queue, so that the file and what is said about it are
one thread's business. If writing is slow, the queue gets full, and then each agent's own, which counts what it loses.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from k8slan_cli import __version__
from k8slan_cli.capture.merge import Merger
from k8slan_cli.diagnose.client import AgentError
from k8slan_cli.errors import K8slanError
from k8slan_cli.plan.occupancy import some

if TYPE_CHECKING:
    from k8slan_cli.diagnose.client import Call

_LOOK_SECONDS = 0.2
"""How soon an interruption, or the end of the time, is noticed."""
_END_SECONDS = 5.0
"""How long the last words of agents are waited for."""
_CHUNKS = 256
_MANY = 10  # names in a sentence


class Sink(Protocol):
    """Where the capture goes. ``write`` raises K8slanError, or BrokenPipeError if the reader of a pipe is gone."""

    def write(self, data: bytes, /) -> object:
        """Write all of ``data``."""

    def keep(self) -> None:
        """Replace what was there before."""


class Following(Protocol):
    """The agents of nodes that have some LANs, or come to have them. All of it blocks, and raises K8slanError."""

    lans: tuple[str, ...]

    def nodes(self) -> Iterator[frozenset[str]]:
        """Which nodes that are: now, and again after each change."""

    def open(self, node: str) -> Call:
        """Begin to capture there."""

    def ready(self, node: str) -> Iterator[None]:
        """Each time that it may be worth while to begin there again."""


@dataclass(eq=False)
class _Stream:
    """What an agent sends: of a LAN, where it ends only if something is wrong, or of pods."""

    node: str
    call: Call
    lan: bool = False
    number: int = -1


_Event = tuple[_Stream, bytes | K8slanError | None] | K8slanError | str
"""A stream begins (None), sends, ends (no bytes) or breaks; or there is no sense in going on; or something to say."""


@dataclass
class Recording:
    """Captures until a limit, an interrupt, the end of the reader, or the end of all streams.

    ``over`` is asked now and then whether it is to end; without it, Ctrl-C and other signals end it. ``count`` is told
    now and then how many frames are in the file. The file that was there is replaced when the first agent captures, not
    before: an agent may refuse.
    """

    out: Sink
    say: Callable[[str], None]
    limit: int = 0
    seconds: float = 0
    count: Callable[[int], None] = lambda _: None
    over: Callable[[], bool] | None = None
    faults: list[str] = field(default_factory=list)
    merger: Merger = field(init=False)
    _events: queue.Queue[_Event] = field(default_factory=lambda: queue.Queue(_CHUNKS))
    _streams: list[_Stream] = field(default_factory=list)
    _nodes: list[str] = field(default_factory=list)
    _expected: set[_Stream] = field(default_factory=set)
    _lans: Following | None = None
    _announced: bool = False
    _ending: bool = False
    _interrupted: bool = False
    _unread: bool = False
    _told: float = 0.0

    def __post_init__(self) -> None:
        self.merger = Merger(f"k8slan {__version__}", self.limit)

    def run(
        self, pods: Mapping[str, Call], lans: Following | None = None, begun: Mapping[str, Call | None] | None = None
    ) -> None:
        """Write what agents send, and their last words after the end of it.

        ``pods`` are streams of single pods by node, ``begun`` those of ``lans``, None where that was not possible.

        Raises:
            K8slanError: it cannot be written, or no agent will take what is asked for.

        """
        self._lans = lans
        try:
            with contextlib.nullcontext() if self.over else self._interruptible():
                self._write(self.merger.begin())
                self._begin(pods, lans, begun or {})
                until = time.monotonic() + self.seconds if self.seconds else float("inf")
                while not (self._over or self._interrupted or time.monotonic() >= until):
                    self._take(_LOOK_SECONDS)
                    self._count()
                self._stop()
                self._write(self.merger.end())
        finally:
            self._ending = True
            for stream in self._streams:
                stream.call.close()

    @property
    def _over(self) -> bool:
        return (
            self._unread or self.merger.enough or not (self._streams or self._lans) or bool(self.over and self.over())
        )

    def _begin(self, pods: Mapping[str, Call], lans: Following | None, begun: Mapping[str, Call | None]) -> None:
        for node, call in pods.items():
            self._thread(self._read, self._add(_Stream(node, call)))
        if lans:
            for node, opened in begun.items():
                stream = self._add(_Stream(node, opened, lan=True)) if opened else None
                self._thread(self._keep, lans, node, stream)
            self._thread(self._follow, lans, frozenset(begun))
        self._expected = set(self._streams)
        self._announce()

    def _add(self, stream: _Stream) -> _Stream:
        stream.number = self.merger.add()
        self._nodes.append(stream.node)
        self._streams.append(stream)
        return stream

    def _announce(self) -> None:
        """Once everything is listened to that was there at the beginning, say so."""
        self._expected = {s for s in self._expected if s in self._streams and not self.merger.begun(s.number)}
        if self._announced or self._expected:
            return
        self._announced = True
        at = [turn.name for turn in self.merger.turns if not turn.why]
        lans = [
            f"LAN {name}, including interfaces that attach later" for name in (self._lans.lans if self._lans else ())
        ]
        how = "" if self.over else " Press Ctrl-C to stop."
        what = " and ".join([some(at, _MANY)] * bool(at) + lans)
        nodes = ", ".join(dict.fromkeys(stream.node for stream in self._streams))
        self.say(f"Capturing on {what}{f' (node {nodes})' if nodes else ''}.{how}")
        ends = [turn for turn in self.merger.turns if turn.why]
        self.merger.turns.clear()
        self.merger.turns.extend(ends)

    # ------------------------------------------------------------ in threads

    def _thread(self, act: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=act, args=arguments, daemon=True, name=f"capture {act.__name__}").start()

    def _read(self, stream: _Stream) -> None:
        try:
            for data in stream.call.data():
                self._events.put((stream, data))
            self._events.put((stream, b""))
        except K8slanError as error:
            self._events.put((stream, error))

    def _follow(self, lans: Following, known: frozenset[str]) -> None:
        """Begin at each node to which a LAN comes."""
        try:
            for nodes in lans.nodes():
                for node in sorted(nodes - known):
                    self._thread(self._join, lans, node)
                known |= nodes
        except K8slanError as error:
            self._events.put(f"warning: nodes that come to have the LAN later are not captured: {error.message}")

    def _join(self, lans: Following, node: str) -> None:
        self._keep(lans, node, self._open(lans, node))

    def _keep(self, lans: Following, node: str, stream: _Stream | None) -> None:
        """Read what comes from a node, and begin there again whenever its agent is back."""
        if stream:
            self._read(stream)
        try:
            for _ in lans.ready(node) if not self._ending else ():
                if self._ending:
                    return
                if again := self._open(lans, node):
                    self._read(again)
        except K8slanError as error:
            self._events.put(f"warning: node {node} is captured no more: {error.message}")

    def _open(self, lans: Following, node: str) -> _Stream | None:
        try:
            stream = _Stream(node, lans.open(node), lan=True)
        except K8slanError as error:
            # A request that is wrong is so everywhere.
            wrong = isinstance(error, AgentError) and error.status == 400
            self._events.put(error if wrong else f"warning: node {node} is not captured for now: {error.message}")
            return None
        self._events.put((stream, None))
        return stream

    # ------------------------------------------------------------ what they report

    def _take(self, seconds: float) -> None:
        due = self.merger.wait(time.monotonic())
        try:
            event = self._events.get(timeout=seconds if due is None else min(seconds, due))
        except queue.Empty:
            self._write(self.merger.due(time.monotonic()))
            return
        if isinstance(event, str):
            self.say(event)
        elif isinstance(event, K8slanError):
            raise event
        else:
            self._take_from(*event)

    def _take_from(self, stream: _Stream, data: bytes | K8slanError | None) -> None:
        if data is None:
            if self._ending:
                stream.call.close()
            else:
                self._add(stream)
        elif stream not in self._streams:
            pass  # it began after the end
        elif isinstance(data, bytes) and data:
            self._write(self.merger.feed(stream.number, data, time.monotonic()))
            if self.merger.begun(stream.number):
                self.out.keep()
            if self._has_ended(stream):
                self._drop(stream)
        else:
            if not self._has_ended(stream):
                self._broke_off(stream, data)
            self._drop(stream)
        self._announce()
        while self.merger.turns and self._announced:
            turn = self.merger.turns.popleft()
            self.say(f"{turn.name}: {turn.why or f'captured as well (node {self._nodes[turn.stream]})'}")

    def _has_ended(self, stream: _Stream) -> bool:
        """Whether a stream has nothing more to say."""
        if stream.lan:
            return self._ending and not self.merger.listening(stream.number)
        return self.merger.complete(stream.number)

    def _drop(self, stream: _Stream) -> None:
        self._streams.remove(stream)
        stream.call.close()

    def _broke_off(self, stream: _Stream, data: bytes | K8slanError) -> None:
        words = f"the capture on node {stream.node} broke off"
        if isinstance(data, K8slanError):
            words += f": {data.message}"
        again = "; it goes on there once its agent is back" if stream.lan and not self._ending else ""
        self._fault(words + again)

    def _fault(self, words: str) -> None:
        self.faults.append(words)
        self.say(words)

    def _count(self) -> None:
        """Tell how many frames there are, once they are captured, not for each of them."""
        if self._announced and time.monotonic() >= self._told + _LOOK_SECONDS:
            self._told = time.monotonic()
            self.count(self.merger.written)

    def _stop(self) -> None:
        """Have all streams end in good order."""
        self._ending = True
        for stream in list(self._streams):
            try:
                stream.call.stop()
            except K8slanError:  # one that is gone cannot be asked to end; its thread has more to say about it
                continue
            if self._has_ended(stream):
                self._drop(stream)
        last = time.monotonic() + _END_SECONDS
        while self._streams and (left := last - time.monotonic()) > 0 and not self._unread:
            self._take(min(left, _LOOK_SECONDS))
        for stream in self._streams if not self._unread else ():
            self._fault(f"the agent of node {stream.node} has not said how it ended")

    def _write(self, data: bytes) -> None:
        if not data or self._unread:
            return
        try:
            self.out.write(data)
        except BrokenPipeError:  # the reader has seen enough
            self._unread = True

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C ends the capture in good order, the second one at once."""

        def interrupt(_number: int, _frame: object) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup wishes it
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, interrupt) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def words(self) -> Iterator[str]:
        """What there is to say at the end: what is in the file, then what each interface had."""
        counters = self.merger.counters
        whole = sum(each.accepted for each in counters.values()) <= self.merger.written
        yield f"{_frames(self.merger.written)} written"
        for name, each in counters.items():
            if each.accepted or each.dropped or each.comment:
                lost = f", {each.dropped} lost as they came too fast for this connection" if each.dropped else ""
                why = f" ({each.comment})" if each.comment else ""
                yield f"{name}: {_frames(each.accepted)}{'' if whole else ' seen'}{lost}{why}"
        if silent := [name for name, each in counters.items() if not (each.accepted or each.dropped or each.comment)]:
            yield f"no frames: {some(silent, _MANY)}"


def _frames(number: int) -> str:
    return f"{number} frame{'' if number == 1 else 's'}"
