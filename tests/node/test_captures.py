"""Captures of LANs: who is attached later is in them, and who is detached ends in them and nothing else does."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.capture import SNAPLEN, pcapng
from k8slan_cli.capture.pcapng import BlockType
from k8slan_cli.cli.lan.capture import capture
from k8slan_cli.diagnose import filters, sniff
from k8slan_cli.diagnose.client import AgentError
from k8slan_cli.diagnose.protocol import PORT, Place
from k8slan_cli.diagnose.sniff import CapturePort, Key
from k8slan_cli.errors import AbsentError, K8slanError, KernelError
from k8slan_cli.kube import kinds, portforward
from k8slan_cli.kube.client import ApiError, MissingError
from k8slan_cli.net import netns
from k8slan_cli.net.node import Node as NetNode
from k8slan_cli.probe.endpoint import PacketSocket
from tests.node.diagnostics import Recording, SocketWire, connect, recording, token, tshark
from tests.support import names, scene
from tests.support.agents import SECONDS, Agent, Node, dynamic, eventually, macvtap, pods
from tests.support.netns import Namespace, command
from tests.support.netns import veth as wire


@dataclass(frozen=True)
class Lab:
    """A node with a LAN that anybody may join and that has a spoke for a VM; nobody is on it."""

    node: Node
    agent: Agent
    lan: str
    vm: str

    @property
    def ref(self) -> str:
        """The LAN, as requests have it."""
        return f"default/{self.lan}"

    def plug(self, pod: Namespace, name: str) -> None:
        """Attach a pod."""
        self.node.add(pod, dynamic(self.ref), args=f"K8S_POD_NAMESPACE=lab;K8S_POD_NAME={name}").result()

    def unplug(self, pod: Namespace) -> None:
        """Detach it."""
        self.node.delete(pod, dynamic(self.ref)).ok()


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Node, Agent]]:
    with Node.create() as node, node.agent() as agent:
        yield node, agent
        assert "Traceback" not in str(agent.log), agent.log
        assert "fault of the agent" not in str(agent.log), agent.log
        node.sweep()
        node.assert_nothing_left()


@pytest.fixture
def lab(node: tuple[Node, Agent]) -> Iterator[Lab]:
    vm = names.unique("v")
    lan = node[0].lan(dynamic=True, spokes=[vm])
    yield Lab(*node, lan, vm)
    node[0].sweep()
    (node[0].files / f"{lan}.yaml").unlink(missing_ok=True)


def say(pod: Namespace, text: str) -> None:
    """Send a frame to everybody."""
    with PacketSocket(pod.fd(), "net1") as endpoint:
        endpoint.send(b"\xff" * 6 + endpoint.mac + b"\x88\xb5" + text.encode().ljust(50, b"\0"))


def heard(found: Recording, text: str) -> set[str]:
    """At which interfaces the frame of ``say`` has been captured so far."""
    packets = [block for block in found.of(BlockType.PACKET) if text.encode() in block.data]
    return {found.names()[block.number] for block in packets}


def test_who_comes_later_is_captured_and_who_goes_ends_nothing(lab: Lab, tmp_path: Path) -> None:
    with pods(3) as (one, two, vm), recording(lab.node, lans=(lab.ref,)) as found:
        assert found.names() == []
        lab.plug(one, "one")
        found.interfaces(1)
        say(one, "alone")
        eventually("the first is heard", lambda: heard(found, "alone") == {"lab/one:net1"})

        lab.plug(two, "two")
        lab.node.add(vm, macvtap(lab.vm)).result()
        found.interfaces(3)
        say(two, "together")
        everybody = {"lab/one:net1", "lab/two:net1", f"{vm.name}:net1"}
        eventually("all hear the second", lambda: heard(found, "together") == everybody)

        lab.unplug(one)
        assert found.ends(1) == [(0, "it is detached")]
        say(two, "after")
        eventually("the others go on", lambda: heard(found, "after") == everybody - {"lab/one:net1"})

        lab.unplug(two)
        lab.node.delete(vm, macvtap(lab.vm)).ok()
        assert {number for number, _ in found.ends(3)} == {0, 1, 2}
        lab.plug(one, "one")  # it has to have let go of the namespace: VNIs are there once only
        found.interfaces(4)
        say(one, "again")
        eventually("it has waited", lambda: heard(found, "again") == {"lab/one:net1"})
        data = found.stop()
    assert found.names() == ["lab/one:net1", "lab/two:net1", f"{vm.name}:net1", "lab/one:net1"]
    rows = tshark(data, tmp_path, "frame.interface_id", "frame.interface_description", "frame.packet_flags_direction")
    assert {row[0] for row in rows} == {"0", "1", "2", "3"}
    assert {row[1].partition(" on ")[0] for row in rows if row[0] == "2"} == {"VM"}
    assert {row[2] for row in rows} == {"0x00000001", "0x00000002"}
    assert "is not there" not in str(lab.agent.log)
    accepted = {block.number: block.counters().accepted for block in found.of(BlockType.STATISTICS)}
    assert accepted == {number: sum(row[0] == str(number) for row in rows) for number in range(4)}


def test_what_still_waits_when_a_pod_goes_is_in_it(lab: Lab) -> None:
    with pods(1) as (pod,), recording(lab.node, lans=(lab.ref,)) as found:
        lab.plug(pod, "one")
        found.interfaces(1)
        frame = b"\xff" * 6 + bytes(6) + b"\x88\xb5" + bytes(200)
        with PacketSocket(pod.fd(), "net1") as endpoint:
            for _ in range(3000):
                endpoint.send(frame)
        lab.unplug(pod)
        found.ends(1)
        counters = found.of(BlockType.STATISTICS)[0].counters()
        assert counters.dropped == 0
        assert counters.accepted == len(found.of(BlockType.PACKET)) >= 3000
        found.stop()


def test_many_that_come_at_once_are_all_captured(lab: Lab) -> None:
    number = 24
    with pods(number) as many, recording(lab.node, lans=(lab.ref,), filter="ether proto 0x88b5") as found:
        waiting = [
            lab.node.start("ADD", pod, dynamic(lab.ref), args=f"K8S_POD_NAMESPACE=lab;K8S_POD_NAME=p{index}")
            for index, pod in enumerate(many)
        ]
        for outcome in waiting:
            outcome().result()
        found.interfaces(number)
        assert sorted(found.names()) == sorted(f"lab/p{index}:net1" for index in range(number))
        say(many[0], "to all")
        found.packets(number)
        assert len(heard(found, "to all")) == number
        for pod in many:
            lab.unplug(pod)
        assert {why for _, why in found.ends(number)} == {"it is detached"}
        found.stop()


def test_a_lan_that_is_deleted_and_made_anew_elsewhere_is_still_captured(lab: Lab) -> None:
    with pods(1) as (pod,), recording(lab.node, lans=(lab.ref,)) as found:
        lab.plug(pod, "one")
        found.interfaces(1)
        with lab.node.told(rf"LAN {lab.ref} is gone"):
            (lab.node.files / f"{lab.lan}.yaml").unlink()
        assert found.ends(1) == [(0, "the LAN is gone from this node")]
        lab.unplug(pod)
        eventually("its namespace is gone", lambda: not lab.node.inside(lab.lan).path.exists())
        lab.node.lan(lab.lan, ns=names.unique("ns"), dynamic=True)
        lab.plug(pod, "one")
        found.interfaces(2)
        say(pod, "anew")
        found.packets(1)
        lab.unplug(pod)
        found.stop()


def test_a_port_that_is_made_anew_is_listened_at_again(lab: Lab) -> None:
    with pods(1) as (pod,), recording(lab.node, lans=(lab.ref,)) as found:
        lab.plug(pod, "one")
        found.interfaces(1)
        pod.ip("link", "delete", "net1")  # the agent makes both ends again
        assert found.ends(1) == [(0, "its port has been made anew")]
        found.interfaces(2)
        say(pod, "anew")
        eventually("it is heard", lambda: heard(found, "anew") == {"lab/one:net1"})
        lab.unplug(pod)
        found.stop()


def test_one_pod_whose_port_is_made_anew_is_captured_on(lab: Lab) -> None:
    with pods(1) as (pod,):
        lab.plug(pod, "one")
        with recording(lab.node, Place(container=pod.name, ifname="net1")) as found:
            pod.ip("link", "delete", "net1")
            found.interfaces(2)
            say(pod, "anew")
            found.packets(1)
            lab.unplug(pod)
            found.ended()
            assert [why for _, why in found.ends(2)] == ["its port has been made anew", "it is detached"]


def test_a_namespace_that_is_unmounted_and_mounted_again_is_the_same_one(lab: Lab) -> None:
    with pods(1) as (pod,), recording(lab.node, lans=(lab.ref,)) as found:
        lab.plug(pod, "one")
        found.interfaces(1)
        command("umount", "--lazy", str(lab.node.inside(lab.lan).path))
        eventually("it is back", lambda: os.path.ismount(lab.node.inside(lab.lan).path))
        say(pod, "after")
        eventually("it is heard", lambda: "lab/one:net1" in heard(found, "after"))
        lab.unplug(pod)
        found.stop()


def test_a_namespace_is_itself_while_it_is_not_mounted(tmp_path: Path) -> None:
    """A capture that looks in this moment goes on."""
    node = NetNode(tmp_path)
    try:
        assert node.identity("lan") == ""
        netns.create(node.path("lan"))
        known = node.identity("lan")
        assert node.lan("lan") is not None
        command("umount", "--lazy", str(node.path("lan")))
        assert node.identity("lan") == known != ""
        node.forget("lan")
        assert node.identity("lan") == ""  # a file that is no namespace
    finally:
        node.close()
        subprocess.run(["umount", "--lazy", str(node.path("lan"))], stderr=subprocess.DEVNULL, check=False)


def test_a_filter_that_is_none_is_refused_with_nobody_there(lab: Lab) -> None:
    with (
        pytest.raises(AgentError, match=r"filter: 'ip and and': .*syntax error") as caught,
        recording(lab.node, lans=(lab.ref,), filter="ip and and"),
    ):
        pass
    assert caught.value.status == 400


def test_captures_leave_no_descriptors_and_no_threads_at_work(lab: Lab) -> None:
    """Twice as many as an agent serves at a time: one that does not end is in the way of the last."""
    with pods(1) as (pod,):
        lab.plug(pod, "one")
        with recording(lab.node, lans=(lab.ref,)) as found:  # what is opened once and kept
            found.stop()
        before = lab.agent.descriptors()
        for turn in range(128):
            with recording(lab.node, lans=(lab.ref, "default/none")) as found:
                if turn % 2:
                    found.stop()
        eventually("all captures are over", lambda: lab.agent.descriptors() <= before)
        lab.unplug(pod)


def test_a_capture_of_nobody_sleeps_and_ends_with_its_client(lab: Lab) -> None:
    before = lab.agent.descriptors()
    with recording(lab.node, lans=(lab.ref,)) as found:
        assert lab.agent.descriptors() > before
        assert found.names() == []
    eventually("it is over", lambda: lab.agent.descriptors() <= before)


def test_so_many_captures_at_a_time_and_one_more_when_one_has_ended(lab: Lab) -> None:
    with contextlib.ExitStack() as stack:
        eight = [stack.enter_context(recording(lab.node, lans=(lab.ref,))) for _ in range(8)]
        with pytest.raises(AgentError, match="8 captures run on node") as caught, recording(lab.node, lans=(lab.ref,)):
            pass
        assert caught.value.hint == "end one of them"
        eight[0].stop()
        eventually("another has its turn", lambda: _captures(lab))


def _captures(lab: Lab) -> bool:
    try:
        with recording(lab.node, lans=(lab.ref,)):
            return True
    except AgentError:
        return False


def test_an_agent_that_ends_ends_its_captures() -> None:
    with Node.create() as other, other.agent() as agent:
        eventually("it listens", lambda: f":{PORT}" in other.namespace.run("ss", "-Htln"))
        with recording(other, lans=("default/none",)) as found:
            assert agent.stop() == 0
            found._wait(lambda: found._ended)
        assert "Traceback" not in str(agent.log)


# ---------------------------------------------------------------- the command's file


@dataclass(frozen=True)
class Workstation:
    """Where the command works: a cluster with one node, whose agent is reached without its API server."""

    lab: Lab
    namespace: str = "default"

    @property
    def cluster(self) -> Workstation:
        """The cluster."""
        return self

    def get(self, ref: kinds.Ref) -> dict[str, Any] | None:
        """The LAN; nothing else."""
        return scene.lan(self.lab.lan, self.namespace) if ref.name == self.lab.lan else None

    def call(self, method: str, path: str, **_: object) -> dict[str, Any]:
        """The VTEP of the LAN's part on this node, the agent's pod, or a token."""
        if method == "POST":
            return {"status": {"token": token(self.lab.node)}}
        if path.endswith("/vteps"):
            vtep = scene.vtep(self.lab.node.name, scene.port("pod"), lan=self.lab.lan)
            return {"items": [vtep | {"metadata": vtep["metadata"] | {"namespace": self.namespace}}]}
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        return {"items": [{"metadata": {"name": path}, "spec": {"nodeName": self.lab.node.name}, "status": ready}]}

    @contextlib.contextmanager
    def watched(self, sources: Mapping[str, object], changed: Callable[[str, ApiError], object]) -> Iterator[None]:
        """Nothing changes."""
        for name in sources:
            changed(name, ApiError("there is nothing to watch", status=403))
        yield

    def capture(self, *what: str, to: Path, expression: str = "", count: int = 0) -> None:
        """Run it."""
        command = inspect.unwrap(capture)
        command(self, list(what), write=str(to), expression=expression, count=count, seconds=0, snaplen=SNAPLEN)


@pytest.fixture
def workstation(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Workstation:
    monkeypatch.setattr(portforward, "forward", lambda *_: SocketWire(connect(lab.node)))
    return Workstation(lab)


@contextlib.contextmanager
def talking(pod: Namespace, text: str) -> Iterator[None]:
    """A pod that goes on sending for the length of a block."""
    over = threading.Event()

    def talk() -> None:
        while not over.wait(0.001):
            say(pod, text)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS)


def test_a_file_is_left_alone_by_a_capture_that_does_not_begin(
    workstation: Workstation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lab = tmp_path / "old.pcapng", workstation.lab
    path.write_bytes(b"the capture of yesterday")
    with pods(1) as (pod,):
        lab.plug(pod, "one")
        for what in (lab.lan, "lab/one"):
            for to in (path, tmp_path / "new.pcapng"):
                with pytest.raises(AgentError, match="filter: 'garbage !!'"):
                    workstation.capture(what, to=to, expression="garbage !!")
        with pytest.raises(AbsentError, match="neither a LAN nor an attached pod two"):
            workstation.capture("two", to=path)

        def unreachable(*_: object) -> None:
            raise ApiError("there is no way to it")

        monkeypatch.setattr(portforward, "forward", unreachable)
        with pytest.raises(MissingError, match="cannot be reached"):
            workstation.capture(lab.lan, to=path)
        lab.unplug(pod)
    assert path.read_bytes() == b"the capture of yesterday"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_by_a_capture(workstation: Workstation, tmp_path: Path) -> None:
    path, lab = tmp_path / "there.pcapng", workstation.lab
    path.write_bytes(b"the capture of yesterday" * 10_000)
    (tmp_path / "link").symlink_to(path.name)
    with pods(1) as (pod,):
        lab.plug(pod, "one")
        with talking(pod, "today"):
            workstation.capture("lab/one", to=tmp_path / "link", expression="ether proto 0x88b5", count=3)
        lab.unplug(pod)
    assert len(tshark(path.read_bytes(), tmp_path, "frame.number")) == 3
    assert (tmp_path / "link").is_symlink()


def test_what_was_captured_before_the_disk_was_full_can_be_read(workstation: Workstation, tmp_path: Path) -> None:
    disk, lab = tmp_path / "disk", workstation.lab
    disk.mkdir()
    command("mount", "-t", "tmpfs", "-o", "size=16k", "k8slan-test", str(disk))
    try:
        with pods(1) as (pod,):
            lab.plug(pod, "one")
            with talking(pod, "x" * 1000), pytest.raises(K8slanError, match="No space left on device") as caught:
                workstation.capture(lab.lan, to=disk / "capture.pcapng", expression="ether proto 0x88b5")
            lab.unplug(pod)
        assert caught.value.message.startswith(f"cannot write {disk}/capture.pcapng: ")
        assert caught.value.hint == "what was written before is in it"
        assert len(tshark((disk / "capture.pcapng").read_bytes(), tmp_path, "frame.number")) > 5
        # A disk that is full before there is anything: what is there stays.
        before = (disk / "capture.pcapng").read_bytes()
        (disk / "filler").write_bytes(bytes(4096 * (4 - -(-len(before) // 4096))))
        with pods(1) as (pod,):
            lab.plug(pod, "one")
            with pytest.raises(K8slanError, match="No space left on device"):
                workstation.capture(lab.lan, to=disk / "capture.pcapng")
            lab.unplug(pod)
        assert (disk / "capture.pcapng").read_bytes() == before
        assert sorted(path.name for path in disk.iterdir()) == ["capture.pcapng", "filler"]
    finally:
        command("umount", str(disk))


# ---------------------------------------------------------------- the limit


EVERYTHING = filters.accept_all(SNAPLEN)


@dataclass
class Wires:
    """Ports in a namespace, as an agent would have them."""

    namespace: Namespace
    present: dict[Key, CapturePort] = field(default_factory=dict)
    lasting: bool = True

    def put(self, name: str) -> None:
        """A port is there."""
        described = pcapng.Interface(name=name)
        self.present = self.present | {(name,): CapturePort(path=self.namespace.path, name=name, interface=described)}

    def drop(self, name: str) -> None:
        """It is not."""
        self.present = {key: port for key, port in self.present.items() if key != (name,)}

    def ports(self) -> Mapping[Key, CapturePort]:
        """Those that are there."""
        return self.present

    def why(self, key: Key) -> str:
        """Why one is not."""
        return f"{key[0]} is out"


@contextlib.contextmanager
def served(wires: Wires) -> Iterator[tuple[Stream, int]]:
    """A capture of them without an agent: what comes of it, and the eventfd of its news."""
    here, there = socket.socketpair()
    news = os.eventfd(0, os.EFD_NONBLOCK)
    faults: list[BaseException] = []

    def run() -> None:
        try:
            sniff.serve(lambda _media: there, wires, news, EVERYTHING, "test")
        except BaseException as error:  # noqa: BLE001 - it is shown by the test
            faults.append(error)
        there.close()

    thread = threading.Thread(target=run)
    thread.start()
    here.settimeout(SECONDS)
    try:
        yield Stream(here), news
        here.sendall(b"x")
        thread.join(SECONDS)
        assert not thread.is_alive()
        assert faults == []
    finally:
        here.close()
        thread.join(SECONDS)
        os.close(news)


class Stream:
    """What a capture sends, read as far as a test wants."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = pcapng.Reader()
        self._blocks: list[pcapng.Block] = []

    def next(self, kind: BlockType, text: bytes = b"") -> pcapng.Block:
        """The next block but for frames of the kernel's own; it has to be of ``kind``, and have ``text`` in it."""
        while True:
            while not self._blocks:
                self._blocks += self._reader.feed(self._socket.recv(1 << 16))
            block = self._blocks.pop(0)
            if block.kind != BlockType.PACKET or (text and text in block.data):
                assert block.kind == kind
                return block


def test_more_than_a_capture_takes_are_named_and_one_gets_its_turn_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sniff, "MOST", 2)
    with Namespace.create("s") as space, Namespace.create("t") as other:
        wires = Wires(space)
        for name in ("p0", "p1", "p2", "p3"):
            wire(space, name, other, name)
            wires.put(name)
        with served(wires) as (stream, news):
            stream.next(BlockType.SECTION)
            assert [stream.next(BlockType.INTERFACE).name() for _ in range(3)] == ["p0", "p1", "p2"]
            left = stream.next(BlockType.STATISTICS)
            assert (left.number, left.counters().comment) == (
                2,
                "not captured: a capture takes 2 attachments of a node at a time",
            )
            assert stream.next(BlockType.INTERFACE).name() == "p3"
            stream.next(BlockType.STATISTICS)
            wires.drop("p0")
            os.eventfd_write(news, 1)
            ended = stream.next(BlockType.STATISTICS)
            assert (ended.number, ended.counters().comment) == (0, "p0 is out")
            assert stream.next(BlockType.INTERFACE).name() == "p2"
            with PacketSocket(other.fd(), "p2") as endpoint:
                endpoint.send(bytes(14) + b"a frame of this test".ljust(46))
            assert stream.next(BlockType.PACKET, b"a frame of this test").number == 4


def test_the_ports_of_a_capture_share_what_it_may_take_of_the_kernels_memory() -> None:
    with Namespace.create("s") as space, Namespace.create("t") as other:
        wires = Wires(space)
        for name in ("p0", "p1", "p2", "p3"):
            wire(space, name, other, name)
        wires.put("p0")
        with served(wires) as (stream, news):
            stream.next(BlockType.SECTION)
            assert _queues(space) == [sniff.ROOM // 2]
            for name in ("p1", "p2", "p3"):
                wires.put(name)
            os.eventfd_write(news, 1)
            assert [stream.next(BlockType.INTERFACE).name() for _ in range(4)] == ["p0", "p1", "p2", "p3"]
            assert _queues(space) == [sniff.ROOM // 4] * 4


def _queues(space: Namespace) -> list[int]:
    """How many bytes may wait at each packet socket of a namespace."""
    return [int(found) for found in re.findall(r"skmem:\(r\d+,rb(\d+),", space.run("ss", "-0", "-H", "-m"))]


def test_a_port_that_is_not_there_yet_is_waited_for_but_not_where_it_was_named() -> None:
    with Namespace.create("s") as space, Namespace.create("t") as other:
        wires = Wires(space)
        wires.put("p0")
        with served(wires) as (stream, news):
            stream.next(BlockType.SECTION)
            wire(space, "p0", other, "p0")
            os.eventfd_write(news, 1)
            assert stream.next(BlockType.INTERFACE).name() == "p0"
        wires.lasting = False
        wires.put("p1")
        here, there = socket.socketpair()
        with here, there, pytest.raises(KernelError, match="the port p1 of p1 is not there"):
            sniff.serve(lambda _media: there, wires, news, EVERYTHING, "test")
