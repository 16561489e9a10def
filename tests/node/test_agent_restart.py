"""An agent that ends, in order or not, at any moment: no frame is lost, nothing is forgotten, nothing is left over."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.cni import wire
from k8slan_cli.probe.endpoint import PacketSocket
from tests.support import names
from tests.support.agents import AT_ONCE, CLIENTS, PLUGINS, Agent, Node, dynamic, eventually, macvtap, pods, veth
from tests.support.netns import Namespace, command
from tests.support.require import require


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.create() as node:
        yield node


def with_lease(node: Node, spoke: str) -> dict[str, Any]:
    """A veth that gets its address from host-local."""
    require("node", (PLUGINS / "host-local").exists(), "needs host-local (Debian: containernetworking-plugins)")
    return veth(spoke, ipam={"type": "host-local", "subnet": "198.51.100.0/24", "dataDir": str(node.leases)})


# ---------------------------------------------------------------- the traffic


class Stream:
    """Numbered frames from one interface to another, one each millisecond, while a block runs."""

    def __init__(self, sender: PacketSocket, receiver: PacketSocket) -> None:
        self._sender, self._receiver = sender, receiver
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._came: set[int] = set()
        self.sent = 0

    def _send(self) -> None:
        head = self._receiver.mac + self._sender.mac + b"\x88\xb5"
        while not self._over.wait(0.001):
            self._sender.send(head + self.sent.to_bytes(4, "big") + bytes(46))
            self.sent += 1
            self._hear()  # the socket's buffer holds ten thousand

    def _hear(self) -> None:
        for received in self._receiver.receive():
            if received.frame[12:14] == b"\x88\xb5":
                self._came.add(int.from_bytes(received.frame[14:18], "big"))

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def lost(self) -> set[int]:
        """The numbers that have not come; asked after the block."""
        until = time.monotonic() + 5
        while (missing := set(range(self.sent)) - self._came) and time.monotonic() < until:
            self._hear()
            time.sleep(0.01)
        return missing


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_no_frame_is_lost_when_agents_end_and_start(how: str) -> None:
    """Pods on two nodes; each node's agent goes and comes back, twice, under a stream of frames."""
    with Node.pair() as nodes, pods(2) as both:
        lan = names.unique("lan")
        for node in nodes:
            node.lan(lan, spokes=["a", "b"], vni=4444, peers=["192.0.2.1", "192.0.2.2"])
        for node, pod, spoke in zip(nodes, both, "ab", strict=True):
            with node.agent():
                node.add(pod, veth(spoke)).result()
        with PacketSocket(both[0].fd(), "net1") as sender, PacketSocket(both[1].fd(), "net1") as receiver:
            stream = Stream(sender, receiver)
            with stream:
                for _ in range(2):
                    for node in nodes:
                        with node.agent() as agent:
                            eventually("frames are under way", lambda at=stream.sent: stream.sent > at + 50)
                            assert agent.log.operations() == []
                            _end(agent, how)
                        eventually("frames are under way", lambda at=stream.sent: stream.sent > at + 50)
            assert stream.sent > 400
            assert stream.lost() == set()
        for node, pod, spoke in zip(nodes, both, "ab", strict=True):
            with node.agent():
                node.delete(pod, veth(spoke)).ok()
                node.assert_nothing_left()


def essence(node: Node, lan: str) -> dict[str, object]:
    """The links of a LAN without what changes by itself, as timers do."""
    keys = ("ifindex", "mtu", "flags", "master", "address", "ifalias", "link_index")
    return {name: [link.get(key) for key in keys] for name, link in node.inside(lan).links().items()}


def _end(agent: Agent, how: str) -> None:
    if how == "SIGTERM":
        assert agent.stop() == 0
    else:
        agent.kill()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_restart_changes_and_forgets_nothing(how: str) -> None:
    """The law that running twice changes nothing, over every kind of LAN and attachment."""
    with Node.create() as node, pods(4) as (one, two, three, four):
        vm = names.unique("v")
        lans = [
            node.lan(spokes=["a", vm], peers=["192.0.2.8", "192.0.2.9"]),
            node.lan(dynamic=True, vxlanGrp="239.1.2.3", mtu=1300),
            node.lan(spokes=["six"], peers=["fe80::1", "fe80::2"], vxlanPort=4790),
        ]
        calls: list[tuple[Namespace, dict[str, Any]]] = [
            (one, with_lease(node, "a")),
            (two, macvtap(vm)),
            (three, dynamic(f"default/{lans[1]}", mtu=1200)),
            (four, veth("six", runtimeConfig={"ips": ["2001:db8::4/64"], "mac": "02:00:00:00:00:44"})),
        ]
        with node.agent() as agent:
            results = [node.add(pod, config).result() for pod, config in calls]
            before = [essence(node, lan) for lan in lans]
            records = node.records()
            _end(agent, how)
        with node.agent() as agent:
            assert agent.log.operations() == []
            assert [essence(node, lan) for lan in lans] == before
            assert node.records() == records
            for (pod, config), result in zip(calls, results, strict=True):
                node.check(pod, config, result).ok()
                assert "is attached already" in node.add(pod, config).error(101)
            for pod, config in calls:
                node.delete(pod, config).ok()
            node.assert_nothing_left()


# ---------------------------------------------------------------- killed in the middle


@pytest.mark.parametrize("kind", ["veth", "macvtap"])
@pytest.mark.parametrize("verb", ["add", "delete"])
def test_killed_at_every_step(node: Node, verb: str, kind: str) -> None:
    """The next agent leaves nothing of what was half done: no link, no namespace, no record, no lease."""
    spoke = names.unique("v")
    node.lan(spokes=[spoke])
    config = with_lease(node, spoke) if kind == "veth" else macvtap(spoke)
    complete = []
    with pods(2) as (doomed, fine):
        for step in range(1, 60):
            container = f"doomed-{step}"
            with node.agent(program=dying(verb, container, step)) as agent:
                assert doomed.links() == {}
                node.assert_nothing_left()
                node.add(fine, config).result()
                node.delete(fine, config).ok()
                outcome = node.add(doomed, config, container=container)
                if verb == "delete":
                    outcome.result()
                    node.delete(doomed, config, container=container).ok()
                if node.cni("STATUS", fine, config).status == 0:
                    break  # it has outlived all its steps
                assert agent.wait() == -9
                if verb == "add":
                    assert "it hung up before its answer was complete" in outcome.error(11)
            if verb == "add" and any(record["complete"] for record in node.records()):
                complete.append(step)
                node.delete(doomed, config, container=container).ok()  # the runtime does so after an ADD that failed
        assert step > (15 if verb == "add" else 5)
        if verb == "add":  # only at the last steps the work was done, and but the answer was missing
            assert complete == [step - 2, step - 1]
        with node.agent():
            node.delete(doomed, config, container=container).ok()
            node.assert_nothing_left()


def dying(verb: str, container: str, step: int) -> tuple[str, ...]:
    """The program that ends at a step."""
    return ("-m", "tests.support.dying_agent", f"{verb}:{container}:{step}")


@contextmanager
def half_done(node: Node, pod: Namespace, config: dict[str, Any], step: int) -> Iterator[None]:
    """After an ADD that was killed at a step."""
    with node.agent(program=dying("add", "doomed", step)) as agent:
        node.add(pod, config, container="doomed").error(11)
        assert agent.wait() == -9
    yield


def test_what_is_half_done_is_undone_even_if_its_lan_is_gone_by_then(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a"])
    with half_done(node, pod, with_lease(node, "a"), 22):
        assert node.records()
        assert node.held()
        (node.files / f"{lan}.yaml").unlink()
        with node.agent() as agent:
            agent.log.wait(f"delete namespace {lan}")
            eventually("the pod is unplugged", lambda: pod.links() == {})
            node.assert_nothing_left()


def test_the_rest_of_the_lan_is_not_touched_by_it(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a", "b"])
    with Namespace.create("pod") as other:
        with node.agent():
            node.add(other, veth("b")).result()
            before = essence(node, lan)
        with half_done(node, pod, veth("a"), 5), node.agent() as agent:
            assert pod.links() == {}
            assert essence(node, lan) == before
            assert "was cut short: it is undone" in str(agent.log)
            node.delete(other, veth("b")).ok()
            node.assert_nothing_left()


# ---------------------------------------------------------------- the agent is away


@pytest.mark.parametrize("which", CLIENTS)
def test_without_an_agent(node: Node, pod: Namespace, which: str) -> None:
    """ADD says to try again, at once; DEL is left for later, and done when an agent is back."""
    node.lan(spokes=["a"])
    config = with_lease(node, "a")
    with node.agent():
        result = node.add(pod, config).result()
    with Namespace.create("pod") as other:
        for verb, code in (("ADD", 11), ("CHECK", 11), ("STATUS", 50), ("GC", 11)):
            outcome = node.cni(verb, other, config | {"prevResult": result}, which=which)
            said = outcome.error(code)
            assert "kubectl -n k8slan-system get pods -o wide" in said
            assert str(node.run / "agent" / "cni.sock") in said
            assert outcome.seconds < 2 * AT_ONCE
    node.delete(pod, config, which=which).ok()
    node.delete(pod, config, which=which).ok()
    assert set(pod.links()) == {"net1"}
    assert len(list((node.run / "spool").iterdir())) == 2
    with node.agent() as agent:
        assert pod.links() == {}
        node.assert_nothing_left()
        assert f"detached {pod.name} (net1)" in str(agent.log)


@pytest.mark.parametrize("which", CLIENTS)
def test_a_del_before_the_first_agent_since_the_boot_is_left_for_it(node: Node, pod: Namespace, which: str) -> None:
    node.lan(spokes=["a"])
    assert not node.run.exists()
    node.delete(pod, veth("a"), which=which).ok()
    assert len(list((node.run / "spool").iterdir())) == 1
    with node.agent():
        assert list((node.run / "spool").iterdir()) == []
        node.assert_nothing_left()


def test_a_request_in_the_spool_that_is_none_is_removed(node: Node) -> None:
    with node.agent():
        pass
    spool = node.run / "spool"
    payload = wire.encode_payload({"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "x", "CNI_IFNAME": "y"}, b"{}")
    for name, data in (("del-1", b""), ("del-2", b"\xff" * 100), ("del-3", payload), ("other", b"x"), (".del-4", b"x")):
        (spool / name).write_bytes(data)
    with node.agent() as agent:
        assert list(spool.iterdir()) == []
        eventually("all are told of", lambda: str(agent.log).count("a request in the spool makes no sense") >= 3)


def test_a_del_from_the_spool_waits_for_its_ipam_plugin(node: Node, pod: Namespace) -> None:
    node.lan(spokes=["a"])
    config = with_lease(node, "a")
    with node.agent():
        node.add(pod, config).result()
    node.delete(pod, config, plugins="/nowhere").ok()
    with node.agent() as agent:
        agent.log.wait("are not released: IPAM plugin host-local is not in /nowhere")
        assert node.held()
        assert pod.links() == {}
        assert node.records() == list((node.run / "spool").iterdir()) == []
    with node.agent():
        assert node.held()
        node.delete(pod, config).ok()  # the runtime asks again by itself, too
        node.assert_nothing_left()


def test_a_del_from_the_spool_that_fails_is_tried_again_by_itself(node: Node, pod: Namespace) -> None:
    """Here for want of room for a record; until there is some, the attachment itself is the record of its address."""
    node.lan(spokes=["a"])
    config = with_lease(node, "a")
    with node.agent():
        node.add(pod, config).result()
    node.delete(pod, config, plugins="/nowhere").ok()
    unreleased = str(node.run / "unreleased")
    command("mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", unreleased)
    with node.agent() as agent:
        agent.log.wait("a DEL from the spool has to wait: cannot write a record into .*/unreleased: No space left")
        assert [record["addresses"] for record in node.records()] == [["198.51.100.2/24"]]
        command("umount", unreleased)
        eventually("the DEL is done", lambda: not list((node.run / "spool").iterdir()))
        assert pod.links() == {}
        assert node.records() == []
        assert len(list((node.run / "unreleased").iterdir())) == 1
        node.delete(pod, config).ok()
        node.assert_nothing_left()


def test_a_del_from_the_spool_whose_plugin_hangs_delays_no_start(node: Node) -> None:
    """Nor do many of them, nor an ADD that was cut short: their addresses are released once the plugin answers."""
    node.lan(spokes=["a"])
    lan, gate = node.lan(dynamic=True), node.folder / "hang"
    give = '{"cniVersion":"1.0.0","ips":[{"address":"198.51.100.3/24"}]}'
    script = f"#!/bin/sh\n[ $CNI_COMMAND = ADD ] && echo '{give}' && exit\nwhile [ -e {gate} ]; do sleep 0.1; done\n"
    plugin = node.folder / "stuck"
    plugin.write_text(script)
    plugin.chmod(0o755)
    config = dynamic(f"default/{lan}", ipam={"type": "stuck"})
    with pods(6) as (other, *several):
        with node.agent():
            for pod in several:
                node.add(pod, config, plugins=str(node.folder)).result()
        gate.touch()
        for pod in several[1:]:
            node.delete(pod, config, plugins=str(node.folder)).ok()
        cut_short(node, several[0])
        started = time.monotonic()
        with node.agent() as agent:
            assert time.monotonic() - started < 8
            for pod in several:
                assert pod.links() == {}
            node.add(other, veth("a")).result()
            assert len(list((node.run / "unreleased").iterdir())) == 5
            started = time.monotonic()
            agent.stop()
            assert time.monotonic() - started < 5
        with node.agent() as agent:
            gate.unlink()
            eventually("all are released", lambda: not list((node.run / "unreleased").iterdir()), seconds=30)
            assert "are released after all" in str(agent.log)
            node.delete(other, veth("a")).ok()
            node.assert_nothing_left()


def cut_short(node: Node, pod: Namespace) -> None:
    """Have the ADD of a pod's attachment look as if it had not ended."""
    for path in (node.run / "attachments").glob("*.json"):
        record = json.loads(path.read_text())
        if record["container"] == pod.name:
            path.write_text(json.dumps(record | {"complete": False}))


def test_a_del_that_comes_into_the_spool_of_a_running_agent_is_done_at_once(node: Node, pod: Namespace) -> None:
    """A client that waited in vain leaves it there."""
    node.lan(spokes=["a"])
    with node.agent() as agent:
        node.add(pod, veth("a")).result()
        payload = wire.encode_payload(node.environ("DEL", pod), json.dumps(veth("a")).encode())
        aside = node.run / "spool" / ".del-x"
        aside.write_bytes(payload)
        aside.rename(node.run / "spool" / "del-x")
        agent.log.wait(f"detached {pod.name} .net1.")
        eventually("the spool is empty", lambda: not list((node.run / "spool").iterdir()))
        node.assert_nothing_left()


def test_a_lan_that_is_gone_at_the_next_start_is_removed(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a"])
    with node.agent():
        node.add(pod, veth("a")).result()
    (node.files / f"{lan}.yaml").unlink()
    with node.agent() as agent:
        agent.log.wait(f"delete namespace {lan}")
        eventually("the pod is unplugged", lambda: pod.links() == {})
        node.delete(pod, veth("a")).ok()
        node.assert_nothing_left()


def test_a_namespace_that_could_not_be_removed_is_gone_after_the_next_start(node: Node, pod: Namespace) -> None:
    """Here for want of the right to unlink the file that it was mounted on."""
    node.lan(spokes=["a"])
    folder = node.run / "netns"
    folder.mkdir(parents=True)
    command("mount", "--bind", str(folder), str(folder))
    command("mount", "--make-private", str(folder))
    try:
        with node.agent() as agent:
            node.add(pod, veth("a")).result()
            command("mount", "-o", "remount,bind,ro", str(folder))
            node.delete(pod, veth("a")).ok()
            agent.log.wait("Read-only file system")
            agent.kill()
        assert list(folder.iterdir())
        command("mount", "-o", "remount,bind,rw", str(folder))
        with node.agent():
            assert list(folder.iterdir()) == node.records() == []
    finally:
        command("umount", "-R", str(folder))


def test_pods_that_went_while_the_agent_was_away(node: Node) -> None:
    """A reboot of the runtime: veth and VM are gone, no DEL has come; the spokes are free for others."""
    vm = names.unique("v")
    lan = node.lan(spokes=["a", "b", vm])
    with Namespace.create("pod") as stays:
        with pods(2) as (one, two), node.agent():
            node.add(stays, veth("b")).result()
            node.add(one, veth("a")).result()
            node.add(two, macvtap(vm)).result()
        eventually("the kernel removes the veth", lambda: "ap" not in node.inside(lan).links())
        with node.agent() as agent, pods(2) as (three, four):
            agent.log.wait(f"cannot reach the namespace of {one.name} .net1.: it is gone")
            node.add(three, veth("a")).result()
            node.add(four, macvtap(vm)).result()
            for pod, config in ((three, veth("a")), (four, macvtap(vm)), (stays, veth("b"))):
                node.delete(pod, config).ok()
            for pod in (one, two):
                node.delete(pod, veth("a")).ok()
            node.assert_nothing_left()


def test_damage_that_was_done_while_the_agent_was_away_is_repaired(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a"], peers=["192.0.2.9"])
    with node.agent():
        node.add(pod, veth("a", runtimeConfig={"ips": ["198.51.100.1/24"]})).result()
        before = set(node.inside(lan).links())
    inside = node.inside(lan)
    inside.run("sh", "-c", "ip link del ap; ip link set br0 type bridge stp_state 1; ip link del vxlan0")
    inside.run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
    with node.agent() as agent:
        assert set(inside.links()) == before
        assert inside.links()["br0"]["linkinfo"]["info_data"]["stp_state"] == 0
        assert inside.peers() == {"192.0.2.9"}
        assert inside.sysctl("net/ipv6/conf/all/disable_ipv6") == "1"
        assert pod.links()["net1"]["operstate"] == "UP"
        assert any("switch off IPv6" in line for line in agent.log.operations())
        node.delete(pod, veth("a")).ok()
        node.assert_nothing_left()


# ---------------------------------------------------------------- records by hand


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "not JSON": lambda path: path.write_bytes(b"\xff\x00{"),
    "a list": lambda path: path.write_text("[]"),
    "a number": lambda path: path.write_text("7"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "another kind": lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "tunnel"})),
    "a field too many": lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "red"})),
    "wrong types": lambda path: path.write_text(
        json.dumps(json.loads(path.read_text()) | {"mtu": "x", "addresses": 5, "container": ["x"], "lan": 7})
    ),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_record_that_cannot_be_read_is_named_and_the_others_count(node: Node, damage: str) -> None:
    lan = node.lan(spokes=["a", "b"])
    with pods(2) as (one, two):
        with node.agent():
            node.add(one, veth("a")).result()
            [path] = (node.run / "attachments").iterdir()
            node.add(two, veth("b")).result()
        DAMAGE[damage](path)
        with node.agent() as agent:
            agent.log.wait(f"the record {path} cannot be read")
            assert "bp" in node.inside(lan).links()
            node.delete(two, veth("b")).ok()
            path.rmdir() if path.is_dir() else None
            node.delete(one, veth("a")).ok()
            node.assert_nothing_left()


def test_lans_that_were_known_and_cannot_be_read_are_read_from_their_files(node: Node, pod: Namespace) -> None:
    node.lan(spokes=["a"])
    with node.agent():
        node.add(pod, veth("a")).result()
    for path in (node.run / "lans").iterdir():
        path.write_bytes(b'{"origin": 7, "lan": [')
    with node.agent() as agent:
        assert agent.log.operations() == []
        node.delete(pod, veth("a")).ok()
        node.assert_nothing_left()
