"""ADD of a macvtap: the interface, the device file that a hypervisor opens, and the frames that reach it."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from k8slan_cli.errors import KernelError
from k8slan_cli.lan import names as lan_names
from k8slan_cli.net import netns
from k8slan_cli.net.netlink import mac_bytes
from k8slan_cli.net.sockets import open_packet
from k8slan_cli.probe.endpoint import PacketSocket, Tap
from k8slan_cli.probe.run import Probe, cross
from tests.support import names
from tests.support.agents import CLIENTS, Node, eventually, macvtap, pods, veth
from tests.support.netns import Namespace
from tests.support.require import require

pytestmark = pytest.mark.usefixtures("swept")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    devices = any(line.split()[1:3] == ["/dev", "devtmpfs"] for line in Path("/proc/mounts").read_text().splitlines())
    require("node", devices, "needs devtmpfs at /dev, where /dev/tapN appear")
    with Node.create() as node, node.agent():
        yield node


@pytest.fixture
def spoke() -> str:
    """A spoke that nobody else on this machine has: /dev/tapN are for all namespaces together."""
    return names.unique("v")


QEMU = 107


def index(spoke: str, lan: str = "") -> int:
    """The link index of a spoke's tap, of the LAN that has the spoke as its first one."""
    return lan_names.tap_index(f"default/{lan or f'of{spoke}'}", spoke)


def device(spoke: str, dev: Path = Path("/dev")) -> Path:
    """Where a spoke's tap is."""
    return dev / f"tap{index(spoke)}"


def owner(path: Path) -> tuple[int, int]:
    """User and group of a file."""
    status = path.lstat()
    return status.st_uid, status.st_gid


@contextmanager
def launcher(user: int = QEMU) -> Iterator[None]:
    """A block without root's rights, as KubeVirt's launchers run."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.parametrize("which", CLIENTS)
def test_an_add_makes_a_tap_and_del_removes_it(node: Node, pod: Namespace, spoke: str, which: str) -> None:
    lan = node.lan(f"of{spoke}", spokes=[spoke])
    result = node.add(pod, macvtap(spoke), which=which).result()
    interface = pod.links()["net1"]
    assert result["interfaces"][1] == {
        "name": "net1",
        "mac": interface["address"],
        "mtu": 1446,
        "sandbox": str(pod.path),
    }
    assert {"UP", "ALLMULTI"} <= set(interface["flags"])
    assert interface["linkinfo"]["info_kind"] == "macvtap"
    assert interface["linkinfo"]["info_data"]["mode"] == "passthru"
    assert interface["ifindex"] == index(spoke)
    assert interface["mtu"] == 1446
    assert device(spoke).is_char_device()

    links = node.inside(lan).links()
    assert set(links) == {"br0", "vxlan0", f"{spoke}p", f"{spoke}s"}
    assert links[f"{spoke}p"]["link"] == f"{spoke}s"
    assert links[f"{spoke}p"]["linkinfo"]["info_slave_data"]["group_fwd_mask"] == "0xfffd"
    assert links[f"{spoke}s"]["ifindex"] == interface["link_index"]
    assert "master" not in links[f"{spoke}s"]
    assert all("UP" in link["flags"] and link["mtu"] == 1446 for link in links.values())

    node.delete(pod, macvtap(spoke), which=which).ok()
    assert pod.links() == {}
    eventually("the device file goes", lambda: not device(spoke).exists())
    node.assert_nothing_left()


def test_the_mac_stays_the_same_or_is_the_one_asked_for(node: Node, pod: Namespace, spoke: str) -> None:
    node.lan(f"of{spoke}", spokes=[spoke])
    macs = []
    for config in ({}, {}, {"runtimeConfig": {"mac": "02:aa:00:00:00:07"}}):
        result = node.add(pod, macvtap(spoke, **config)).result()
        macs.append(pod.links()["net1"]["address"])
        assert result["interfaces"][1]["mac"] == macs[-1]
        node.delete(pod, macvtap(spoke)).ok()
    assert macs[0] == macs[1]
    assert macs[2] == "02:aa:00:00:00:07"


def test_every_class_of_frame_reaches_the_tap_and_comes_from_it() -> None:
    """To a VM on the same node, to one on another node, and back."""
    with Node.pair() as nodes, pods(3) as (near, vm, far):
        near_spoke, vm_spoke, far_spoke = (names.unique("v") for _ in range(3))
        lan = names.unique("lan")
        for node in nodes:
            node.lan(lan, spokes=[near_spoke, vm_spoke, far_spoke], vni=4343, peers=["192.0.2.1", "192.0.2.2"])
        with nodes[0].agent(), nodes[1].agent():
            nodes[0].add(near, veth(near_spoke)).result()
            nodes[0].add(vm, macvtap(vm_spoke)).result()
            nodes[1].add(far, veth(far_spoke)).result()
            mac = mac_bytes(vm.links()["net1"]["address"])
            for pod in (near, far):
                with launcher():
                    opened = Tap(Path(f"/dev/tap{index(vm_spoke, lan)}"), mac)
                with PacketSocket(pod.fd(), "net1") as interface, opened as tap:
                    for sender, receiver in ((interface, tap), (tap, interface)):
                        results = cross(sender, receiver, Probe(src=sender.mac, dst=receiver.mac, mtu=1446, count=1))
                        assert [(r.key, r.verdict, r.detail) for r in results if not r.ok] == []
            for node, pod, config in (
                (nodes[0], near, veth(near_spoke)),
                (nodes[0], vm, macvtap(vm_spoke)),
                (nodes[1], far, veth(far_spoke)),
            ):
                node.delete(pod, config).ok()
            for node in nodes:
                node.assert_nothing_left()


def test_an_interface_of_that_name_in_the_pod_is_in_the_way(node: Node, pod: Namespace, spoke: str) -> None:
    node.lan(f"of{spoke}", spokes=[spoke])
    pod.ip("link", "add", "net1", "type", "bridge")
    assert "the pod has an interface net1 already" in node.add(pod, macvtap(spoke)).error(102)
    assert set(pod.links()) == {"net1"}
    node.assert_nothing_left()


def test_a_vm_that_went_away_without_a_word_gives_its_spoke_up(node: Node, spoke: str) -> None:
    """Its port outlives it: a macvtap's lower device is not in the pod."""
    lan = node.lan(f"of{spoke}", spokes=[spoke])
    with Namespace.create("pod") as gone:
        node.add(gone, macvtap(spoke)).result()
        port = node.inside(lan).links()[f"{spoke}p"]["ifindex"]
        with Namespace.create("pod") as early:
            said = node.add(early, macvtap(spoke)).error(101)
            assert f"spoke {spoke} is in use by {gone.name} (net1)" in said
    assert node.inside(lan).links()[f"{spoke}p"]["ifindex"] == port
    with Namespace.create("pod") as pod:
        node.add(pod, macvtap(spoke)).result()
        assert device(spoke).is_char_device()
        assert [r["container"] for r in node.records()] == [pod.name]
        node.delete(pod, macvtap(spoke)).ok()
    node.assert_nothing_left()


def test_a_macvtap_has_no_place_on_a_dynamic_lan(node: Node, pod: Namespace) -> None:
    lan = node.lan(dynamic=True)
    config = {"cniVersion": "1.1.0", "name": "x", "type": "k8slanmacvtap", "lan": f"default/{lan}"}
    assert "k8slanmacvtap needs 'spoke', not lan" in node.add(pod, config).error(7)
    node.assert_nothing_left()


# ---------------------------------------------------------------- whose it is


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [({}, (QEMU, QEMU)), ({"owner": 1000}, (1000, QEMU)), ({"owner": 0, "group": 36}, (0, 36))],
)
def test_the_tap_is_given_to_who_opens_it(
    node: Node, pod: Namespace, spoke: str, fields: dict[str, int], wanted: tuple[int, int]
) -> None:
    node.lan(f"of{spoke}", spokes=[spoke])
    node.add(pod, macvtap(spoke, **fields)).result()
    assert owner(device(spoke)) == wanted
    assert stat.S_IMODE(device(spoke).stat().st_mode) == 0o600
    with launcher(wanted[0]), Tap(device(spoke), bytes(6)):
        pass
    with launcher(1234), pytest.raises(KernelError, match="Permission denied"):
        Tap(device(spoke), bytes(6))
    node.delete(pod, macvtap(spoke)).ok()
    node.assert_nothing_left()


def test_a_bad_owner_is_refused(node: Node, pod: Namespace, spoke: str) -> None:
    node.lan(f"of{spoke}", spokes=[spoke])
    assert "owner: must be a whole number, not a string" in node.add(pod, macvtap(spoke, owner="qemu")).error(7)
    assert "group: must be 0..4294967294, not -1" in node.add(pod, macvtap(spoke, group=-1)).error(7)
    node.assert_nothing_left()


@pytest.mark.parametrize("damage", ["link del PORT", "link set PORT nomaster"])
def test_a_repair_gives_the_tap_again(node: Node, pod: Namespace, spoke: str, damage: str) -> None:
    """Of a macvtap that had to be made anew, and of one whose device somebody has taken back."""
    lan = node.lan(f"of{spoke}", spokes=[spoke])
    result = node.add(pod, macvtap(spoke)).result()
    os.chown(device(spoke), 0, 0)
    node.inside(lan).run("ip", *damage.replace("PORT", f"{spoke}p").split())
    eventually("the tap is given again", lambda: device(spoke).exists() and owner(device(spoke)) == (QEMU, QEMU))
    node.check(pod, macvtap(spoke), result).ok()
    node.delete(pod, macvtap(spoke)).ok()


def test_a_check_gives_the_tap_again(node: Node, pod: Namespace, spoke: str) -> None:
    """Nothing tells the agent of a device file that somebody has taken."""
    node.lan(f"of{spoke}", spokes=[spoke])
    result = node.add(pod, macvtap(spoke)).result()
    os.chown(device(spoke), 0, 0)
    node.check(pod, macvtap(spoke), result).ok()
    assert owner(device(spoke)) == (QEMU, QEMU)
    node.delete(pod, macvtap(spoke)).ok()


def test_a_check_tells_of_a_tap_that_cannot_be_given_again(pod: Namespace, spoke: str) -> None:
    """As while the LAN has no underlay."""
    with Node.create() as node:
        node.lan(f"of{spoke}", spokes=[spoke])
        with node.agent() as agent:
            result = node.add(pod, macvtap(spoke)).result()
            node.namespace.ip("link", "delete", "eth0")
            agent.log.wait("stays as it is for now: the underlay device eth0 is not on this node")
            os.chown(device(spoke), 0, 0)
            said = node.check(pod, macvtap(spoke), result).error(104)
            assert f"/dev/{device(spoke).name} is gone, or not of 107:107" in said
            node.delete(pod, macvtap(spoke)).ok()
            node.assert_nothing_left()


def test_a_record_that_names_no_owner_is_one_of_kubevirt(pod: Namespace, spoke: str) -> None:
    """As version 0.1.0 has left it, with the device root's own."""
    with Node.create() as node:
        node.lan(f"of{spoke}", spokes=[spoke])
        with node.agent():
            node.add(pod, macvtap(spoke)).result()
        (record,) = (node.run / "attachments").iterdir()
        record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "tap_owner"}))
        os.chown(device(spoke), 0, 0)
        with node.agent():
            assert owner(device(spoke)) == (QEMU, QEMU)
            node.delete(pod, macvtap(spoke)).ok()


# ---------------------------------------------------------------- a /dev that the kernel does not fill


@pytest.fixture
def bare(node: Node) -> Iterator[tuple[Node, Path]]:
    """A node that is a container: its /dev is a folder, and only what the agent makes is in it."""
    with Node.create() as node, node.foreign_dev() as dev, node.agent("--host-root", str(dev.parent)):
        yield node, dev
        node.sweep()


def same_device(one: Path, other: Path) -> bool:
    try:
        return one.lstat().st_rdev == other.lstat().st_rdev
    except FileNotFoundError:
        return False


def test_where_the_kernel_makes_no_device_an_add_does(bare: tuple[Node, Path], pod: Namespace, spoke: str) -> None:
    node, dev = bare
    lan = node.lan(f"of{spoke}", spokes=[spoke])
    node.add(pod, macvtap(spoke)).result()
    made = device(spoke, dev)
    assert made.lstat().st_rdev == device(spoke).lstat().st_rdev
    assert (owner(made), stat.S_IMODE(made.lstat().st_mode)) == ((QEMU, QEMU), 0o600)
    with launcher(), Tap(made, bytes(6)):
        pass
    node.inside(lan).run("ip", "link", "del", f"{spoke}p")
    eventually("it is made anew", lambda: same_device(made, device(spoke)) and owner(made) == (QEMU, QEMU))
    node.delete(pod, macvtap(spoke)).ok()
    assert list(dev.iterdir()) == []
    node.assert_nothing_left()


def test_a_device_of_a_macvtap_that_is_gone_makes_way(bare: tuple[Node, Path], pod: Namespace, spoke: str) -> None:
    node, dev = bare
    other = names.unique("v")
    node.lan(f"of{spoke}", spokes=[spoke, other])
    with Namespace.create("pod") as gone:
        node.add(gone, macvtap(other)).result()
        taps = device(spoke, dev), dev / f"tap{index(other, f'of{spoke}')}"
        number = taps[1].lstat().st_rdev
        os.mknod(taps[0], stat.S_IFCHR | 0o600, number)
        node.add(pod, macvtap(spoke)).result()
        assert taps[0].lstat().st_rdev == device(spoke).lstat().st_rdev != number
        assert taps[1].lstat().st_rdev == number
        node.delete(gone, macvtap(other)).ok()
    node.delete(pod, macvtap(spoke)).ok()
    assert list(dev.iterdir()) == []


@pytest.mark.parametrize("what", ["a link", "a file", "another driver's device"])
def test_what_is_not_the_tap_is_never_touched(
    bare: tuple[Node, Path], pod: Namespace, spoke: str, tmp_path: Path, what: str
) -> None:
    node, dev = bare
    target, there = tmp_path / "target", device(spoke, dev)
    target.write_text("of somebody else")
    if what == "a link":
        there.symlink_to(target)
    elif what == "a file":
        there.write_text("of somebody else")
    else:
        os.mknod(there, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    before = there.lstat()
    lan = node.lan(f"of{spoke}", spokes=[spoke])
    said = node.add(pod, macvtap(spoke)).error(102)
    assert f"/dev/{there.name} is not the device of this macvtap" in said
    assert (there.lstat(), owner(target)) == (before, (0, 0))
    assert pod.links() == {}
    assert not (node.run / "netns" / lan).exists()
    node.assert_nothing_left()


def test_two_nodes_of_one_kernel_do_not_take_each_others_tap(spoke: str) -> None:
    """They share a devtmpfs, where the second device of a name does not appear: the second ADD says so."""
    with Node.pair() as nodes, pods(2) as (first, second):
        for node in nodes:
            node.lan(f"of{spoke}", spokes=[spoke], vni=4344, peers=["192.0.2.1", "192.0.2.2"])
        with nodes[0].agent(), nodes[1].agent():
            nodes[0].add(first, macvtap(spoke)).result()
            number = device(spoke).lstat().st_rdev
            assert "is not the device of this macvtap" in nodes[1].add(second, macvtap(spoke)).error(102)
            assert device(spoke).lstat().st_rdev == number
            nodes[0].delete(first, macvtap(spoke)).ok()
        for node in nodes:
            node.assert_nothing_left()


# ---------------------------------------------------------------- silence


class Wire:
    """Every frame that crosses any link of a LAN's namespace, from one MAC."""

    def __init__(self, path: Path, mac: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._socket = open_packet(fd, socket.htons(0x0003))  # ETH_P_ALL
        finally:
            os.close(fd)
        self._mac = mac_bytes(mac)
        self.frames: set[bytes] = set()

    def listen(self, seconds: float) -> set[bytes]:
        """What has been sent until now, and in the next ``seconds``."""
        until = time.monotonic() + seconds
        with self._socket.dup() as waiting:
            while (left := until - time.monotonic()) > 0:
                waiting.settimeout(left)
                try:
                    frame = waiting.recv(1 << 16)
                except TimeoutError:
                    break
                if frame[6:12] == self._mac:
                    self.frames.add(frame)
        return self.frames

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


MAC = "02:aa:00:00:00:08"
POD_ADDRESS, POD_ADDRESS_V6 = "203.0.113.9", "2001:db8:9::9"


def ask(pod: Namespace) -> None:
    """Let a pod ask the LAN for the addresses that the launcher has on the cluster's network."""
    for family, address in ((socket.AF_INET, POD_ADDRESS), (socket.AF_INET6, POD_ADDRESS_V6)):
        with netns.inside(pod.fd()), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", (address, 9))


def test_nothing_but_the_guest_speaks_with_a_vms_mac(node: Node, spoke: str) -> None:
    """Over the whole life of a launcher: before its guest runs, while it does, over a repair, until it is gone."""
    near = names.unique("v")
    lan = node.lan(f"of{spoke}", spokes=[spoke, near])
    with pods(2) as (peer, vm), Namespace.create("pod") as outside:
        node.add(peer, veth(near, runtimeConfig={"ips": ["203.0.113.1/24", "2001:db8:9::1/64"]})).result()
        # The launcher has the cluster's network as any pod, and KubeVirt makes it forward for other interfaces.
        vm.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", outside.name)
        vm.ip("address", "add", f"{POD_ADDRESS}/32", "dev", "eth0")
        vm.ip("address", "add", f"{POD_ADDRESS_V6}/128", "dev", "eth0", "nodad")
        vm.ip("link", "set", "eth0", "up")
        wire = Wire(node.inside(lan).path, MAC)
        try:
            node.add(vm, macvtap(spoke, mac=MAC)).result()
            assert wire.listen(2.5) == set()  # the kernel asks for its own address within a second, for routers after
            ask(peer)
            assert wire.listen(0.5) == set()
            vm.run(
                "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; cd /proc/sys/net/ipv6/conf/all; echo 1 >forwarding"
            )
            assert wire.listen(1.5) == set()
            vm.run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
            assert wire.listen(2.5) == set()
            ask(peer)
            assert wire.listen(0.5) == set()
            said = bytes.fromhex("ffffffffffff") + mac_bytes(MAC) + bytes.fromhex("88b5") + b"the guest".ljust(50)
            with launcher():
                tap = Tap(device(spoke), mac_bytes(MAC))
            with tap:
                tap.send(said)
                assert wire.listen(0.5) == {said}
                ask(peer)
                assert wire.listen(0.5) == {said}
            node.inside(lan).run("ip", "link", "del", f"{spoke}p")
            eventually("the tap is there again", lambda: "net1" in vm.links() and owner(device(spoke))[0] == QEMU)
            assert wire.listen(2.5) == {said}
            ask(peer)
            assert wire.listen(0.5) == {said}
            node.delete(vm, macvtap(spoke)).ok()
            assert wire.listen(0.5) == {said}
        finally:
            wire.close()
        node.delete(peer, veth(near)).ok()
    node.assert_nothing_left()
