"""The probe on real links: what passes a wire, what a bridge with opinions keeps, and what a tap sees of it."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from k8slan_cli.errors import KernelError
from k8slan_cli.lan import names as lan_names
from k8slan_cli.probe.endpoint import PacketSocket, Tap
from k8slan_cli.probe.frames import CLASSES
from k8slan_cli.probe.run import Arrival, ClassResult, Collector, Probe, Verdict, cross, judge, sending
from tests.support import names
from tests.support.netns import Namespace, veth

LINK_LOCAL = {"provider-stp", "lacp", "eapol", "mvrp", "lldp", "ptp-peer"}
"""What goes to 01:80:c2:00:00:0X, which Linux' bridge keeps unless told otherwise; but STP where it takes no part."""


@dataclass(frozen=True)
class Bridged:
    """Two pods with a bridge between them."""

    a: Namespace
    b: Namespace
    switch: Namespace

    def ports(self, *options: str) -> None:
        """Set options of both bridge ports."""
        for port in ("pa", "pb"):
            self.switch.ip("link", "set", port, "type", "bridge_slave", *options)

    def cross(self, **options: int) -> dict[str, ClassResult]:
        """Send every class from a to b."""
        with PacketSocket(self.a.fd(), "eth0") as sender, PacketSocket(self.b.fd(), "eth0") as receiver:
            probe = Probe(src=sender.mac, dst=receiver.mac, **{"mtu": sender.mtu} | options)
            return {r.key: r for r in cross(sender, receiver, probe, seconds=0.3)}


@pytest.fixture
def bridged() -> Iterator[Bridged]:
    """A bridge as k8slan makes them, by hand: no snooping, every group address passed."""
    with Namespace.create("a") as a, Namespace.create("b") as b, Namespace.create("s") as switch:
        quiet(switch)
        switch.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        switch.ip("link", "set", "br0", "up")
        veth(a, "eth0", switch, "pa")
        veth(b, "eth0", switch, "pb")
        for port in ("pa", "pb"):
            switch.ip("link", "set", port, "master", "br0")
        found = Bridged(a, b, switch)
        found.ports("group_fwd_mask", "0xfffd")
        yield found


def quiet(namespace: Namespace) -> None:
    """Keep netfilter from bridged frames: where it is on, it cuts the padding off short IPv4 frames."""
    settings = "/proc/sys/net/bridge/bridge-nf-call-*tables"
    namespace.run("sh", "-c", f"for setting in {settings}; do [ ! -e $setting ] || echo 0 >$setting; done")


def wrong(results: dict[str, ClassResult]) -> dict[str, str]:
    """The classes that did not pass, and why."""
    return {key: f"{r.verdict}: {r.detail}" for key, r in results.items() if not r.ok}


def test_a_cable_passes_every_class() -> None:
    with Namespace.create("a") as a, Namespace.create("b") as b:
        veth(a, "eth0", b, "eth0", mtu=1400)
        results = Bridged(a, b, a).cross()
        assert list(results) == [c.key for c in CLASSES]
        assert wrong(results) == {}
        assert all(r.sent == r.arrived == 3 and r.latency and 0 < r.latency < 100_000 for r in results.values())


def test_a_quiet_bridge_passes_every_class(bridged: Bridged) -> None:
    assert wrong(bridged.cross()) == {}


def test_a_bridge_without_forwarding_mask_is_caught(bridged: Bridged) -> None:
    bridged.ports("group_fwd_mask", "0")
    results = bridged.cross()
    assert {key for key, r in results.items() if r.verdict is Verdict.DROPPED} == LINK_LOCAL
    assert {r.verdict for key, r in results.items() if key not in LINK_LOCAL} == {Verdict.PASSED}
    assert results["lldp"].arrived == 0


def test_a_path_that_is_too_narrow_is_caught(bridged: Bridged) -> None:
    bridged.switch.ip("link", "set", "pb", "mtu", "1300")
    assert set(wrong(bridged.cross())) == {"full-size", "full-size-vlan"}


def test_what_the_sender_cannot_send_is_told_from_what_is_dropped(bridged: Bridged) -> None:
    results = bridged.cross(mtu=1600)
    assert wrong(results) == dict.fromkeys(("full-size", "full-size-vlan"), "unsent: not sent: Message too long")
    assert results["full-size"].sent == 0


def test_a_frame_that_comes_twice_is_not_a_pass(bridged: Bridged) -> None:
    """A second cable between the same two bridges, as a loop would make it, delivers all that is flooded twice."""
    with Namespace.create("t") as switch:
        quiet(switch)
        switch.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        switch.ip("link", "set", "br0", "up")
        bridged.switch.ip("link", "set", "pb", "down")
        with Namespace.create("c") as far:
            veth(far, "eth0", switch, "pf")
            for number in ("1", "2"):
                veth(bridged.switch, f"x{number}", switch, f"y{number}")
                # One way only, or the copies would go round for ever.
                switch.ip("link", "set", f"y{number}", "master", "br0")
                bridged.switch.ip("link", "set", f"x{number}", "master", "br0")
                switch.ip("link", "set", f"y{number}", "type", "bridge_slave", "isolated", "on")
                bridged.switch.ip("link", "set", f"x{number}", "type", "bridge_slave", "isolated", "on")
            switch.ip("link", "set", "pf", "master", "br0")
            results = Bridged(bridged.a, far, switch).cross(count=1)
    assert results["arp"].verdict is Verdict.DUPLICATED
    assert (results["arp"].arrived, results["arp"].extra) == (1, 1)


def test_a_vm_behind_a_macvtap_receives_and_sends_every_class(bridged: Bridged) -> None:
    with tap(bridged.b, "eth0", allmulti=True) as vm, PacketSocket(bridged.a.fd(), "eth0") as pod:
        there = cross(pod, vm, Probe(src=pod.mac, dst=vm.mac, mtu=pod.mtu))
        back = cross(vm, pod, Probe(src=vm.mac, dst=pod.mac, mtu=pod.mtu))
    assert wrong({r.key: r for r in there}) == {}
    assert wrong({r.key: r for r in back}) == {}


def test_a_macvtap_that_filters_multicast_is_caught(bridged: Bridged) -> None:
    with tap(bridged.b, "eth0", allmulti=False) as vm, PacketSocket(bridged.a.fd(), "eth0") as pod:
        results = {r.key: r for r in cross(pod, vm, Probe(src=pod.mac, dst=vm.mac, mtu=pod.mtu), seconds=0.3)}
    assert {"lldp", "lacp", "stp", "ospf", "isis-l1", "ipv6-nd"} <= set(wrong(results))
    assert results["icmp"].ok
    assert results["arp"].ok


def tap(namespace: Namespace, lower: str, *, allmulti: bool) -> Tap:
    """A macvtap over a link, opened."""
    index = lan_names.tap_index("default/probe", names.unique("tap"))
    mac = "02:00:5e:00:53:01"
    named = ("link", lower, "name", "vm", "index", str(index), "address", mac)
    namespace.ip("link", "add", *named, "type", "macvtap", "mode", "passthru")
    namespace.ip("link", "set", "vm", "up", "allmulticast", "on" if allmulti else "off")
    return Tap(Path(f"/dev/tap{index}"), bytes.fromhex(mac.replace(":", "")))


def test_sender_and_receiver_need_only_the_probe_in_common(bridged: Bridged) -> None:
    """As on two nodes: the receiver is another process, which is given the probe's fields and tells arrivals."""
    ready, done = os.pipe(), os.pipe()
    with PacketSocket(bridged.a.fd(), "eth0") as sender, PacketSocket(bridged.b.fd(), "eth0") as receiver:
        probe = Probe(src=sender.mac, dst=receiver.mac, mtu=1500, count=1)
        child = os.fork()
        if child == 0:
            same = Probe(src=probe.src, dst=probe.dst, mtu=probe.mtu, count=probe.count, id=probe.id)
            collector = Collector(same)
            os.write(ready[1], b"r")
            collector.wait(receiver, 10)
            os.write(done[1], json.dumps([(a.key, a.number, a.at, a.difference) for a in collector.arrivals]).encode())
            os._exit(0)
        assert os.read(ready[0], 1) == b"r"
        sent = list(sending(sender, probe))
        os.close(done[1])
        told = b"".join(iter(lambda: os.read(done[0], 1 << 16), b""))
        assert os.waitpid(child, 0)[1] == 0
    for fd in (*ready, done[0]):
        os.close(fd)
    results = judge(probe, sent, [Arrival(*a) for a in json.loads(told)])
    assert {r.key: r.verdict for r in results} == dict.fromkeys((c.key for c in CLASSES), Verdict.PASSED)
    assert {r.latency for r in results} == {None}


def test_frames_of_another_probe_and_own_frames_are_not_counted(bridged: Bridged) -> None:
    with PacketSocket(bridged.a.fd(), "eth0") as sender, PacketSocket(bridged.b.fd(), "eth0") as receiver:
        ours, other = (Probe(src=sender.mac, dst=receiver.mac, mtu=1500, count=1, keys=("icmp",)) for _ in "ab")
        list(sending(sender, other))
        list(sending(sender, ours))
        collector = Collector(ours)
        collector.wait(receiver, 10)
        assert [a.key for a in collector.arrivals] == ["icmp"]
        itself = Collector(ours)
        itself.take(sender)
        assert itself.arrivals == []


def test_an_interface_that_is_not_there_or_down_is_refused_in_words(bridged: Bridged) -> None:
    with pytest.raises(KernelError, match="there is no interface eth9"):
        PacketSocket(bridged.a.fd(), "eth9")
    bridged.a.ip("link", "set", "eth0", "down")
    with pytest.raises(KernelError, match="the interface eth0 is down"):
        PacketSocket(bridged.a.fd(), "eth0")


def test_an_interface_that_goes_away_ends_the_waiting(bridged: Bridged) -> None:
    with PacketSocket(bridged.a.fd(), "eth0") as sender, PacketSocket(bridged.b.fd(), "eth0") as receiver:
        probe = Probe(src=sender.mac, dst=receiver.mac, mtu=1500)
        collector = Collector(probe)
        first = next(sending(sender, probe))
        bridged.b.ip("link", "delete", "eth0")
        with pytest.raises(KernelError, match="eth0 has gone down"):
            collector.wait(receiver, 60)
    assert [a.key for a in collector.arrivals] == [first.key]


def test_what_is_no_tap_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"cannot open .*: No such file"):
        Tap(tmp_path / "tap1", bytes(6))
    (tmp_path / "file").touch()
    with pytest.raises(KernelError, match="is not a tap"):
        Tap(tmp_path / "file", bytes(6))


def test_nothing_to_receive_is_told_by_the_descriptor(bridged: Bridged) -> None:
    with PacketSocket(bridged.a.fd(), "eth0") as sender, PacketSocket(bridged.b.fd(), "eth0") as receiver:
        list(receiver.receive())
        waiting = select.poll()
        waiting.register(receiver.fileno(), select.POLLIN)
        probe = Probe(src=sender.mac, dst=receiver.mac, mtu=1500, count=1, keys=("lldp",))
        list(sending(sender, probe))
        assert waiting.poll(10_000)
        collector = Collector(probe)
        collector.take(receiver)
        assert collector.complete
