"""What the page asks for is done as commands do it."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from k8slan_cli.capture import pcapng
from k8slan_cli.capture.pcapng import BlockType, Direction, Interface, Reader
from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.client import AgentError
from k8slan_cli.diagnose.recording import Recording
from k8slan_cli.errors import AbsentError, Invalid, K8slanError, UsageError
from k8slan_cli.kube.client import MissingError
from k8slan_cli.serve.server import Begin
from tests.unit.cli.cluster import LANS
from tests.unit.diagnose.test_recording import Agent
from tests.unit.ui.rig import Lab

CABLE = {"lan": "lab/r1-r2", "device": "lab/r1", "interface": "to-r2"}
HOST = {"lan": "lab/meadow", "device": "lab/host1", "interface": "eth0"}
SECONDS = 20.0


def links(found: Lab, lan: str) -> Any:
    return found.api.objects[f"{LANS}/{lan}"]["spec"].get("links", {})


def shape(found: Lab, link: Any) -> None:
    """Give host1 such a link."""
    document = json.loads(json.dumps(found.api.objects[f"{LANS}/meadow"]))
    document["spec"]["links"] = {"host1-eth0": link}
    found.api.put(f"{LANS}/meadow", document)


def test_a_link_is_pulled_out_and_put_back(routed: Lab) -> None:
    said = routed.actions.link(CABLE | {"state": "down"})
    assert said["message"].endswith("is down, and so is the other end of the cable, spoke r2-to-r1")
    assert links(routed, "r1-r2") == {"r1-to-r2": {"state": "down"}}
    routed.actions.link(CABLE | {"state": "up"})
    assert links(routed, "r1-r2") == {}


def test_a_vm_is_meant_by_its_name(routed: Lab) -> None:
    routed.actions.link({"lan": "lab/meadow", "device": "lab/vm-firewall", "interface": "eth0", "state": "down"})
    assert links(routed, "meadow") == {"vm-firewall-e": {"state": "down"}}


def test_a_shape_is_what_the_form_says_and_the_rest_stays(routed: Lab) -> None:
    shape(routed, {"delay": "5ms", "duplicate": "2%"})
    form = {"jitter": "", "loss": " 1% ", "rate": "10Mbit", "way": "toPod"}
    said = routed.actions.link(HOST | form | {"delay": "20ms"})
    assert "delay 20ms, loss 1%, duplicate 2%, rate 10Mbit to pod" in said["message"]
    routed.actions.link(HOST | {"delay": "", "jitter": "", "loss": "", "rate": "", "way": ""})
    assert links(routed, "meadow") == {"host1-eth0": {"duplicate": "2%"}}


def test_clear_takes_back_all_that_a_link_has(routed: Lab) -> None:
    timing = {"delay": "20ms", "jitter": "2ms", "correlation": "25%", "reorder": "5%"}
    queue = {"rate": "10Mbit", "burst": "32kB", "limit": 100}
    shape(routed, {"state": "down", "toPod": timing | queue, "fromPod": {"duplicate": "2%"}})
    routed.actions.link(HOST | {"way": "toPod", "clear": True})
    assert links(routed, "meadow") == {"host1-eth0": {"state": "down", "fromPod": {"duplicate": "2%"}}}
    routed.actions.link(HOST | {"clear": True})
    assert links(routed, "meadow") == {"host1-eth0": {"state": "down"}}


@pytest.mark.parametrize(
    ("link", "form", "left"),
    [
        ({"delay": "9ms", "jitter": "2ms", "correlation": "25%"}, {"jitter": ""}, {"delay": "9ms"}),
        (
            {"delay": "9ms", "jitter": "2ms", "correlation": "25%", "reorder": "5%", "loss": "1%"},
            {"delay": ""},
            {"loss": "1%"},
        ),
        ({"rate": "10Mbit", "burst": "32kB", "limit": 100}, {"rate": "", "loss": "1%"}, {"loss": "1%"}),
        ({"delay": "9ms", "rate": "10Mbit", "limit": 100}, {"rate": ""}, {"delay": "9ms", "limit": 100}),
        ({"toPod": {"rate": "10Mbit", "limit": 100}}, {"rate": "", "way": "toPod"}, None),
    ],
)
def test_what_is_taken_back_takes_along_what_cannot_be_without_it(
    routed: Lab, link: Any, form: dict[str, str], left: Any
) -> None:
    shape(routed, link)
    routed.actions.link(HOST | form)
    assert links(routed, "meadow").get("host1-eth0") == left


def test_what_a_form_does_not_say_stays_in_each_direction(routed: Lab) -> None:
    shape(routed, {"toPod": {"delay": "20ms"}, "fromPod": {"delay": "50ms"}})
    routed.actions.link(HOST | {"loss": "1%"})
    both = {"toPod": {"delay": "20ms", "loss": "1%"}, "fromPod": {"delay": "50ms", "loss": "1%"}}
    assert links(routed, "meadow") == {"host1-eth0": both}


def test_a_shape_that_cannot_be_is_refused(routed: Lab) -> None:
    with pytest.raises(UsageError, match="jitter is more than the delay"):
        routed.actions.link(HOST | {"jitter": "5ms"})
    with pytest.raises(Invalid, match="says nothing"):
        routed.actions.link(HOST | {"way": "toPod"})
    with pytest.raises(AbsentError, match="on no LAN"):
        routed.actions.link(HOST | {"interface": "eth7", "state": "down"})
    assert routed.api.writes == []


# ---------------------------------------------------------------- captures


@contextmanager
def client(work: Callable[[Begin], None]) -> Iterator[tuple[str, io.BufferedReader, socket.socket]]:
    """A client to whom the work is told: media type, what comes, and its end of the connection."""
    ours, theirs = socket.socketpair()
    media: list[str] = []
    begun = threading.Event()

    def begin(kind: str) -> socket.socket:
        media.append(kind)
        begun.set()
        return theirs

    def run() -> None:
        with theirs, contextlib.suppress(OSError):  # as the server does
            work(begin)

    thread = threading.Thread(target=run)
    thread.start()
    ours.settimeout(SECONDS)
    assert begun.wait(SECONDS)
    with ours, ours.makefile("rb") as stream:
        yield media[0], stream, ours
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_a_capture_of_an_end_is_a_file_that_is_whole_when_it_is_stopped(routed: Lab) -> None:
    agent = Agent("lab/host1:eth0", 3)
    routed.agents.captures = [agent]
    actions = routed.actions
    with client(actions.capture(HOST | {"id": "a", "filter": "arp"})) as (media, stream, _):
        data = stream.read1()
        while [b.kind for b in Reader().feed(data)].count(BlockType.PACKET) < 3:
            data += stream.read1()
        actions.stop({"id": "a"})
        data += stream.read()
    assert media == "application/x-pcapng"
    assert [block.kind for block in Reader().feed(data)][-1] == BlockType.STATISTICS
    ((node, path, body),) = routed.agents.asked
    assert (node, path, body["filter"]) == ("worker2", protocol.CAPTURE, "arp")
    assert [place["container"] for place in body["places"]] == ["c-host1"]
    assert agent.closed
    with pytest.raises(AbsentError, match="no such capture"):
        actions.stop({"id": "a"})
    end = actions.captured({"id": "a"})
    assert end["said"][0] == "Capturing on lab/host1:eth0 (node worker2)."
    assert (end["said"][1:], end["faults"]) == (["3 frames written", "lab/host1:eth0: 3 frames"], [])
    with pytest.raises(AbsentError, match="no such capture"):
        actions.captured({"id": "b"})


def test_a_capture_that_breaks_off_says_so_afterwards(routed: Lab) -> None:
    routed.agents.captures = [Agent("lab/host1:eth0", 1, breaks="out of memory")]
    actions = routed.actions
    with client(actions.capture(HOST | {"id": "a"})) as (_, stream, _):
        stream.read()
    assert actions.captured({"id": "a"})["faults"] == ["the capture on node worker2 broke off: out of memory"]


def test_what_agents_refuse_after_the_beginning_is_told_afterwards(
    routed: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        raise AgentError("no such filter", status=400)

    monkeypatch.setattr(Recording, "run", run)
    routed.agents.captures = [Agent("lab/host1:eth0", 1)]
    actions = routed.actions
    with client(actions.capture(HOST | {"id": "a"})) as (_, stream, _):
        stream.read()
    assert actions.captured({"id": "a"})["faults"] == ["no such filter"]


def test_frames_are_told_in_lines_until_the_page_is_closed(routed: Lab) -> None:
    agent = Agent("lab/host1:eth0", 2)
    routed.agents.captures = [agent]
    with client(routed.actions.capture(HOST | {"id": "a", "lines": True})) as (media, stream, ours):
        said, lines = "", list[str]()
        while len(lines) < 2:
            event = json.loads(stream.readline())
            said += event.get("said", "")
            lines += event.get("lines", ())
        ours.shutdown(socket.SHUT_RDWR)
    assert said.startswith("Capturing on lab/host1:eth0 (node worker2).")
    assert "Ctrl-C" not in said
    assert ["lab/host1:eth0 ←" in line for line in lines] == [True, True]
    assert (media, agent.closed) == ("application/x-ndjson", True)


def test_a_lan_is_captured_on_all_its_nodes(routed: Lab) -> None:
    routed.agents.captures = [Agent("one", 1), Agent("two", 1)]
    actions = routed.actions
    with client(actions.capture({"lan": "lab/meadow", "id": "a"})) as (_, stream, _):
        data = stream.read1()
        while [b.kind for b in Reader().feed(data)].count(BlockType.PACKET) < 2:
            data += stream.read1()
        actions.stop({"id": "a"})
        stream.read()
    assert [(node, list(body["lans"])) for node, _, body in routed.agents.asked] == [
        ("worker1", ["lab/meadow"]),
        ("worker2", ["lab/meadow"]),
    ]


def test_who_may_not_ask_agents_is_told_before_anything_begins(routed: Lab) -> None:
    routed.agents.refuse = MissingError("user eve cannot list pods", status=403)
    for work in (routed.actions.capture(HOST | {"id": "a"}), routed.actions.probe({"lan": "lab/meadow"})):
        with pytest.raises(MissingError, match="user eve cannot list pods"):
            work(lambda _: pytest.fail("it has begun"))


def test_of_very_many_frames_a_screen_is_told_and_the_rest_is_counted() -> None:
    from k8slan_cli.ui.actions import _Shown

    ours, theirs = socket.socketpair()
    with ours, theirs:
        shown = _Shown(theirs)
        frames = b"".join(pcapng.packet(0, at, bytes(60), 60, Direction.IN) for at in range(500))
        shown.write(pcapng.section("x") + pcapng.interface(Interface(name="a")) + frames)
        found = json.loads(ours.recv(1 << 20))
    assert (len(found["lines"]), found["passed"]) == (50, 450)


def test_a_client_that_is_gone_ends_a_capture() -> None:
    from k8slan_cli.ui.actions import _Shown

    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(BrokenPipeError):
        _Shown(theirs).say("something")


# ---------------------------------------------------------------- probes


def test_a_probe_from_an_end_tells_how_far_it_is_and_what_came_of_it(routed: Lab) -> None:
    with client(routed.actions.probe(HOST)) as (media, stream, _):
        *progress, last = [json.loads(line) for line in stream]
    assert media == "application/x-ndjson"
    assert [event["progress"][:6] for event in progress[:2]] == ["1 of 4", "2 of 4"]
    assert last["result"]["passed"] is True
    assert {path["from"] for path in last["result"]["paths"] if path["to"] != "lab/host1:eth0"} == {"lab/host1:eth0"}
    assert last["ends"][:2] == ["lab/host1:eth0", "lab/host2:eth0"]
    assert last["ends"][-1] == "lab/vm-firewall:eth0"
    assert last["titles"]["lldp"] == "LLDP"


def test_a_probe_of_who_is_alone_is_refused(routed: Lab) -> None:
    routed.agents.items = [item for item in routed.agents.items if item.pod == "lab/host1"]
    with pytest.raises(K8slanError, match="no attachments on the LAN but lab/host1:eth0"):
        routed.actions.probe({"lan": "lab/meadow"})(lambda _: pytest.fail("it has begun"))
