"""The stream of a capture: what is written, when it ends, and what is said then."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from k8slan_cli.capture import pcapng
from k8slan_cli.capture.pcapng import Counters, Direction, Interface, Kind, Reader
from k8slan_cli.cli.lan.capture import Run
from k8slan_cli.errors import K8slanError

SECONDS = 10.0


class Agent:
    """An agent's answer as a ``Call`` gives it: what it sends at once, and then, once it is asked to stop, its end."""

    def __init__(self, name: str, frames: int, *, breaks: str = "", dropped: int = 0, silent: bool = False) -> None:
        self._name, self._frames, self._breaks, self._dropped = name, frames, breaks, dropped
        self._silent = silent
        self.stopped = threading.Event()
        self.asked_to_stop = 0

    def data(self) -> Iterator[bytes]:
        """What it sends."""
        yield pcapng.section("agent") + pcapng.interface(Interface(name=self._name))
        for at in range(self._frames):
            yield pcapng.packet(0, at, b"frame", 5, Direction.IN)
        if self._breaks:
            raise K8slanError(self._breaks)
        assert self.stopped.wait(SECONDS), "nobody has asked it to stop"
        if not self._silent:
            yield pcapng.statistics(0, 0, 9, Counters(accepted=self._frames, dropped=self._dropped))

    def stop(self) -> None:
        """Ask for its end."""
        self.asked_to_stop += 1
        self.stopped.set()

    def close(self) -> None:
        """Give it up."""
        self.stopped.set()


def kinds(data: bytes) -> list[int]:
    return [block.kind for block in Reader().feed(data)]


def run(agents: dict[str, Agent], **options: float) -> tuple[Run, bytes]:
    out = io.BytesIO()
    found = Run(out, **options)  # type: ignore[arg-type]
    found.run(agents)  # type: ignore[arg-type]
    for agent in agents.values():
        agent.close()
    return found, out.getvalue()


def test_it_ends_at_its_count_and_the_file_is_whole() -> None:
    agent = Agent("a", 100, dropped=3)
    found, data = run({"w1": agent}, limit=7)
    assert kinds(data) == [Kind.SECTION, Kind.INTERFACE, *[Kind.PACKET] * 7, Kind.STATISTICS]
    assert agent.asked_to_stop == 1
    assert list(found.words()) == ["a: 100 frames, 3 lost as they came too fast for this connection"]
    assert found.faults == []


def test_it_ends_at_its_time() -> None:
    found, data = run({"w1": Agent("a", 2), "w2": Agent("b", 2)}, seconds=0.6)
    assert sorted(kinds(data)) == sorted(
        [Kind.SECTION, *[Kind.INTERFACE] * 2, *[Kind.PACKET] * 4, *[Kind.STATISTICS] * 2]
    )
    assert found.faults == []


def test_ctrl_c_ends_it_in_good_order() -> None:
    before = signal.getsignal(signal.SIGINT)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    found, data = run({"w1": Agent("a", 3)})
    assert kinds(data)[-1] == Kind.STATISTICS
    assert kinds(data).count(Kind.PACKET) == 3
    assert list(found.words()) == ["a: 3 frames"]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_agent_that_breaks_off_is_named_and_the_others_go_on() -> None:
    found, data = run({"w1": Agent("a", 1, breaks="gone"), "w2": Agent("b", 5)}, seconds=1)
    assert kinds(data).count(Kind.PACKET) == 6
    assert found.faults == ["the capture on node w1 broke off: gone"]


def test_if_all_break_off_it_ends() -> None:
    found, _ = run({"w1": Agent("a", 1, breaks="gone")})
    assert found.faults == ["the capture on node w1 broke off: gone"]


def test_an_agent_that_does_not_say_how_it_ended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8slan_cli.cli.lan.capture._END_SECONDS", 0.3)
    found, data = run({"w1": Agent("a", 1, silent=True)}, seconds=0.1)
    assert kinds(data).count(Kind.PACKET) == 1
    assert len(found.faults) == 1


def test_a_reader_that_has_seen_enough_ends_it() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as out:  # noqa: PTH123 - a descriptor
        found = Run(out)
        agent = Agent("a", 3)
        found.run({"w1": agent})  # type: ignore[dict-item]
    assert agent.asked_to_stop == 1
