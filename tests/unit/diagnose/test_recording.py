"""A capture as it runs: what is written, who joins it, when it ends, and what is said."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer import Exit

from k8slan_cli.capture import pcapng
from k8slan_cli.capture.pcapng import BlockType, Counters, Direction, Interface, Reader
from k8slan_cli.cli.files import Output, writing
from k8slan_cli.diagnose.client import AgentError
from k8slan_cli.diagnose.recording import Recording
from k8slan_cli.errors import K8slanError

SECONDS = 10.0


class Agent:
    """An agent's answer as a ``Call`` gives it: what it sends at once, and then, once it is asked to stop, its end."""

    def __init__(
        self, name: str, frames: int, *, breaks: str = "", dropped: int = 0, silent: bool = False, why: str = ""
    ) -> None:
        self._name, self._frames, self._breaks, self._dropped = name, frames, breaks, dropped
        self._silent, self._why = silent, why
        self.stopped = threading.Event()
        self.asked_to_stop = 0
        self.closed = False

    def data(self) -> Iterator[bytes]:
        """What it sends."""
        yield pcapng.section("agent") + (pcapng.interface(Interface(name=self._name)) if self._name else b"")
        for at in range(self._frames):
            yield pcapng.packet(0, at, b"frame", 5, Direction.IN)
        if self._why:
            yield pcapng.statistics(0, 0, 9, Counters(accepted=self._frames, comment=self._why))
        if self._breaks:
            raise K8slanError(self._breaks)
        assert self.stopped.wait(SECONDS), "nobody has asked it to stop"
        if not self._silent and not self._why and self._name:
            yield pcapng.statistics(0, 0, 9, Counters(accepted=self._frames, dropped=self._dropped))

    def stop(self) -> None:
        """Ask for its end."""
        self.asked_to_stop += 1
        self.stopped.set()

    def close(self) -> None:
        """Give it up."""
        self.closed = True
        self.stopped.set()


@dataclass
class Spread:
    """The nodes of a LAN, and what the agents there do when they are asked, one after the other."""

    agents: dict[str, list[Agent | K8slanError]] = field(default_factory=dict)
    lans: tuple[str, ...] = ("lab/blue",)
    blind: str = ""
    opened: list[str] = field(default_factory=list)
    _changes: queue.Queue[frozenset[str]] = field(default_factory=queue.Queue)
    _returns: dict[str, queue.Queue[None]] = field(default_factory=dict)

    def comes_to(self, *nodes: str) -> None:
        """The LAN is on these nodes now."""
        self._changes.put(frozenset(nodes))

    def returns(self, node: str) -> None:
        """The agent of a node is ready (again)."""
        self._returns.setdefault(node, queue.Queue()).put(None)

    def nodes(self) -> Iterator[frozenset[str]]:
        """The nodes."""
        if self.blind:
            raise K8slanError(self.blind)
        while True:
            yield self._changes.get()

    def ready(self, node: str) -> Iterator[None]:
        """When the agent is ready."""
        while True:
            self._returns.setdefault(node, queue.Queue()).get()
            yield

    def open(self, node: str) -> Agent:
        """Ask it."""
        self.opened.append(node)
        agent = self.agents[node].pop(0)
        if isinstance(agent, K8slanError):
            raise agent
        return agent


def kinds(data: bytes) -> list[int]:
    return [block.kind for block in Reader().feed(data)]


def names(data: bytes) -> list[str]:
    return [block.name() for block in Reader().feed(data) if block.kind == BlockType.INTERFACE]


class Said(list[str]):
    """What is said, with things that happen once something is."""

    def __init__(self, *then: tuple[str, Callable[[], object]]) -> None:
        self._then = list(then)

    def __call__(self, words: str) -> None:
        """Take it down."""
        self.append(words)
        for part, act in [(part, act) for part, act in self._then if part in words]:
            self._then.remove((part, act))
            act()

    def checked(self) -> list[str]:
        """All of it, once all has happened."""
        assert not self._then, f"never said: {self._then}, but {self}"
        return list(self)


class Out(io.BytesIO):
    """A file in memory, and what was in it when it was kept first."""

    kept: bytes | None = None

    def keep(self) -> None:
        """Keep it."""
        if self.kept is None:
            self.kept = self.getvalue()


def run(agents: dict[str, Agent], say: Said | None = None, **options: float) -> tuple[Recording, bytes]:
    out = Out()
    found = Recording(out, Said() if say is None else say, **options)  # type: ignore[arg-type]
    found.run(agents)  # type: ignore[arg-type]
    assert all(agent.closed for agent in agents.values())
    return found, out.getvalue()


def follow(
    say: Said, spread: Spread, begun: dict[str, Agent | None], pods: dict[str, Agent] | None = None, **options: float
) -> tuple[Recording, bytes]:
    out = Out()
    found = Recording(out, say, **{"seconds": SECONDS} | options)  # type: ignore[arg-type]
    found.run(pods or {}, spread, begun)  # type: ignore[arg-type]
    return found, out.getvalue()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_it_ends_at_its_count_and_the_file_is_whole() -> None:
    agent = Agent("a", 100, dropped=3)
    say = Said()
    found, data = run({"w1": agent}, say, limit=7)
    assert kinds(data) == [BlockType.SECTION, BlockType.INTERFACE, *[BlockType.PACKET] * 7, BlockType.STATISTICS]
    assert agent.asked_to_stop == 1
    assert list(found.words()) == [
        "7 frames written",
        "a: 100 frames seen, 3 lost as they came too fast for this connection",
    ]
    assert found.faults == []
    assert say == ["Capturing on a (node w1). Press Ctrl-C to stop."]


def test_it_ends_at_its_time() -> None:
    say = Said()
    found, data = run({"w1": Agent("a", 2), "w2": Agent("b", 2)}, say, seconds=0.6)
    assert sorted(kinds(data)) == sorted(
        [BlockType.SECTION, *[BlockType.INTERFACE] * 2, *[BlockType.PACKET] * 4, *[BlockType.STATISTICS] * 2]
    )
    assert found.faults == []
    assert len(say) == 1
    assert "(node w1, w2)" in say[0]


def test_ctrl_c_ends_it_in_good_order() -> None:
    before = signal.getsignal(signal.SIGINT)
    found, data = run({"w1": Agent("a", 3)}, Said(("Capturing", interrupt)))
    assert kinds(data)[-1] == BlockType.STATISTICS
    assert kinds(data).count(BlockType.PACKET) == 3
    assert list(found.words()) == ["3 frames written", "a: 3 frames"]
    assert signal.getsignal(signal.SIGINT) is before


def test_it_ends_when_nothing_is_left() -> None:
    say = Said()
    found, _ = run({"w1": Agent("a", 1, why="it is detached")}, say)
    assert list(found.words()) == ["1 frame written", "a: 1 frame (it is detached)"]
    assert say[-1] == "a: it is detached"
    assert found.faults == []


def test_an_agent_that_breaks_off_is_named_and_the_others_go_on() -> None:
    say = Said()
    found, data = run({"w1": Agent("a", 1, breaks="gone"), "w2": Agent("b", 5)}, say, seconds=1)
    assert kinds(data).count(BlockType.PACKET) == 6
    assert found.faults == ["the capture on node w1 broke off: gone"]
    assert found.faults[0] in say


def test_if_all_break_off_it_ends() -> None:
    found, _ = run({"w1": Agent("a", 1, breaks="gone")})
    assert found.faults == ["the capture on node w1 broke off: gone"]


def test_an_agent_that_does_not_say_how_it_ended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8slan_cli.diagnose.recording._END_SECONDS", 0.3)
    found, data = run({"w1": Agent("a", 1, silent=True)}, seconds=0.1)
    assert kinds(data).count(BlockType.PACKET) == 1
    assert len(found.faults) == 1


def test_a_reader_that_has_seen_enough_ends_it() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    agent = Agent("a", 3)
    Recording(Output(writing, "a pipe"), Said()).run({"w1": agent})  # type: ignore[dict-item]
    os.close(writing)
    assert agent.asked_to_stop == 1


# ---------------------------------------------------------------- the file that was there


def test_it_is_kept_once_an_agent_captures() -> None:
    out = Out()
    Recording(out, Said(), limit=1).run({"w1": Agent("a", 1)})  # type: ignore[dict-item]
    assert out.kept is not None
    assert kinds(out.kept)[:2] == [BlockType.SECTION, BlockType.INTERFACE]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_file_is_left_alone_if_the_command_is_ended_before_an_agent_captures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("k8slan_cli.diagnose.recording._END_SECONDS", 0.1)
    path = tmp_path / "file"
    path.write_text("old")

    class Mute(Agent):
        def data(self) -> Iterator[bytes]:
            os.kill(os.getpid(), number)
            assert self.stopped.wait(SECONDS)
            yield from ()

    with contextlib.suppress(Exit), writing(path) as out:
        found = Recording(out, Said())
        found.run({"w1": Mute("a", 0)})  # type: ignore[dict-item]
        if found.faults:  # as the command does
            raise Exit(1)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_left_alone_if_the_first_agent_of_a_lan_refuses(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    spread = Spread({"w1": [AgentError("node w1: filter: syntax error", status=400)]})
    say = Said(("Capturing on", lambda: spread.comes_to("w1")))
    with pytest.raises(AgentError, match="syntax error"), writing(path) as out:
        Recording(out, say, seconds=SECONDS).run({}, spread, {})  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lan_that_nobody_has_come_to_is_an_empty_capture(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with writing(path) as out:
        Recording(out, Said(("Capturing on", interrupt))).run({}, Spread(), {})  # type: ignore[arg-type]
    assert kinds(path.read_bytes()) == [BlockType.SECTION]


# ---------------------------------------------------------------- LANs


def test_a_lan_with_nobody_on_it_waits_for_the_first_node() -> None:
    spread = Spread({"w1": [Agent("a", 2)]})
    say = Said(("Capturing on", lambda: spread.comes_to("w1")), ("a: captured as well", interrupt))
    found, data = follow(say, spread, {})
    assert say.checked() == [
        "Capturing on LAN lab/blue, including interfaces that attach later. Press Ctrl-C to stop.",
        "a: captured as well (node w1)",
    ]
    assert names(data) == ["a"]
    assert found.faults == []


def test_a_node_that_a_lan_comes_to_is_asked_once() -> None:
    spread = Spread({"w2": [Agent("b", 1)], "w3": [Agent("c", 1)]})

    def spreads() -> None:
        spread.comes_to("w1", "w2")
        spread.comes_to("w1")
        spread.comes_to("w2", "w1")
        spread.comes_to("w3")

    say = Said(("Capturing on", spreads), ("c: captured as well", interrupt))
    found, data = follow(say, spread, {"w1": Agent("a", 1)})
    assert (
        say.checked()[0]
        == "Capturing on a and LAN lab/blue, including interfaces that attach later (node w1). Press Ctrl-C to stop."
    )
    assert spread.opened == ["w2", "w3"]
    assert set(names(data)) <= {"a", "b", "c"}
    assert found.faults == []


def test_it_goes_on_after_the_last_attachment_and_nothing_is_left_to_wait_for_at_the_end() -> None:
    say = Said(("a: it is detached", interrupt))
    found, data = follow(say, Spread(), {"w1": Agent("a", 2, why="it is detached"), "w2": Agent("", 0)})
    say.checked()
    assert kinds(data).count(BlockType.PACKET) == 2
    assert found.faults == []
    assert list(found.words()) == ["2 frames written", "a: 2 frames (it is detached)"]


def test_an_agent_that_is_back_is_taken_in_again() -> None:
    spread = Spread({"w1": [K8slanError("not yet"), Agent("a", 2)]})
    say = Said(
        ("broke off: gone", lambda: spread.returns("w1")),
        ("not yet", lambda: spread.returns("w1")),
        ("a: captured as well", interrupt),
    )
    found, data = follow(say, spread, {"w1": Agent("a", 1, breaks="gone"), "w2": Agent("b", 1)})
    assert [words for words in say.checked() if not words.startswith("Capturing on")] == [
        "the capture on node w1 broke off: gone; it goes on there once its agent is back",
        "warning: node w1 is not captured for now: not yet",
        "a: captured as well (node w1)",
    ]
    assert len(found.faults) == 1
    assert names(data).count("a") == 2
    assert spread.opened == ["w1", "w1"]


def test_a_node_whose_agent_was_not_there_at_the_beginning_is_taken_in_later() -> None:
    spread = Spread({"w1": [Agent("a", 1)]})
    say = Said(("Capturing on", lambda: spread.returns("w1")), ("a: captured as well", interrupt))
    found, data = follow(say, spread, {"w1": None})
    say.checked()
    assert names(data) == ["a"]
    assert found.faults == []


def test_without_the_right_to_watch_what_is_there_is_captured() -> None:
    say = Said(("user u may not watch lans", interrupt))
    found, data = follow(say, Spread(blind="user u may not watch lans"), {"w1": Agent("a", 1)})
    say.checked()
    assert names(data) == ["a"]
    assert found.faults == []


def test_a_filter_that_an_agent_refuses_later_ends_it() -> None:
    spread = Spread({"w1": [AgentError("node w1: filter: syntax error", status=400)]})
    say = Said(("Capturing on", lambda: spread.comes_to("w1")))
    with pytest.raises(AgentError, match="syntax error"):
        follow(say, spread, {})


def test_pods_that_end_do_not_end_a_lan_beside_them() -> None:
    pod = Agent("p", 1, why="it is detached")
    say = Said(("p: it is detached", interrupt))
    found, data = follow(say, Spread(), {"w1": Agent("a", 1)}, {"w1": pod})
    say.checked()
    assert sorted(names(data)) == ["a", "p"]
    assert kinds(data).count(BlockType.STATISTICS) == 2
    assert found.faults == []


def test_it_leaves_nothing_open() -> None:
    broken, later, again = Agent("", 0, breaks="gone"), Agent("b", 1), Agent("c", 1)
    spread = Spread({"w2": [later], "w1": [again]})
    say = Said(
        ("broke off", lambda: spread.comes_to("w1", "w2")),
        ("b: captured as well", lambda: spread.returns("w1")),
        ("c: captured as well", interrupt),
    )
    follow(say, spread, {"w1": broken})
    say.checked()
    assert [agent.closed for agent in (broken, later, again)] == [True] * 3


def test_frames_are_counted_while_they_come_and_not_for_each() -> None:
    told: list[int] = []
    found = Recording(Out(), lambda _: None, seconds=1.0, count=told.append)
    found.run({"w1": Agent("a", 500)})
    assert len(told) <= 6
    assert told[-1] == 500


def test_many_interfaces_without_frames_are_one_line() -> None:
    found = Recording(Out(), lambda _: None)
    found.merger.counters |= {f"p{number}": Counters() for number in range(41)} | {"busy": Counters(accepted=2)}
    assert list(found.words()) == [
        "0 frames written",
        "busy: 2 frames seen",
        "no frames: p0, p1, p2, p3, p4, p5, p6, p7, p8, p9 and 31 more",
    ]
