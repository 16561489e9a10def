"""Plays the scene: makes nodes and an underlay, starts agents, attaches guests by CNI, probes, takes down.

It runs as the first process of a sandbox (sandbox.py), so it cleans up nothing: what an error leaves behind is gone
with it. Everything is done as on real nodes: by the agent's command line, the CNI executable and frames on wires.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import k8slan_cli
from k8slan_cli import shipped
from k8slan_cli.demo.sandbox import RUN, Teller
from k8slan_cli.demo.scene import (
    LAN,
    NETNS,
    UNDERLAY_MTU,
    UPLINK,
    Built,
    BuiltGuest,
    BuiltNode,
    Called,
    DemoOptions,
    Doing,
    Done,
    Guest,
    Machine,
    Over,
    Probed,
    Ran,
    Remark,
    Scene,
    Unable,
    scene,
)
from k8slan_cli.errors import K8slanError, KernelError
from k8slan_cli.lan import names
from k8slan_cli.net import netlink, netns, sockets
from k8slan_cli.net.netlink import End, RawLink
from k8slan_cli.net.sockets import Netlink
from k8slan_cli.probe.endpoint import Endpoint, PacketSocket, Tap
from k8slan_cli.probe.run import Probe, cross

_NAMESPACES = RUN / "netns"  # where ip-netns(8) looks
_LANS = RUN / "lans"
_READY_SECONDS = 30.0
_CALL_SECONDS = 70.0  # above the longest that a CNI client waits
_COMMAND_SECONDS = 60.0


def play(options: DemoOptions, teller: Teller) -> None:
    """Play it once.

    Raises:
        K8slanError: something that has to work does not.

    """
    lab = _Lab(scene(options), teller)
    kind = "IPv6 link-local" if options.ipv6 else "IPv4"
    with lab.step("making nodes", f"{options.nodes} nodes on an underlay, {kind}"):
        lab.wire()
    with lab.step("starting the agents", "an agent in each node, ready"):
        lab.start_agents()
    lab.choose_client()
    for guest in lab.scene.guests:
        lab.attach(guest)
    lab.name_lans()
    teller.tell(lab.built())
    for command in options.commands:
        lab.run(command)
    lab.probe()
    if options.keep:
        teller.tell(Over())
        teller.keep()
    with lab.step("detaching", "all detached, no node has anything of the LAN any more"):
        for guest in reversed(lab.scene.guests):
            lab.call("DEL", guest)
        lab.expect_nothing_left()
    teller.tell(Over())


class _Lab:
    """The nodes, agents and guests of one run."""

    def __init__(self, scene: Scene, teller: Teller) -> None:
        self.scene = scene
        self.teller = teller
        self._fds: dict[str, int] = {}  # network namespaces of nodes and guests
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._client: list[str] = []
        self._plugged: dict[str, BuiltGuest] = {}
        self._mtu = 0

    @contextlib.contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """Tell that something begins, and that it is done."""
        self.teller.tell(Doing(doing))
        begin = time.monotonic()
        yield
        self.teller.tell(Done(done, time.monotonic() - begin))

    # ------------------------------------------------------------ nodes

    def _namespace(self, name: str) -> int:
        path = _NAMESPACES / name
        netns.create(path)
        fd = netns.open_at(path)
        if fd is None:
            raise K8slanError(f"the namespace {name} is gone again")
        with Netlink(fd) as inside:
            inside.apply([netlink.set_link("lo", up=True)], doing="set lo up")
        self._fds[name] = fd
        return fd

    def wire(self) -> None:
        """Make the underlay's switch and the nodes plugged into it."""
        switch = self._namespace("underlay")
        netns.make_quiet(switch)
        with Netlink(switch) as at_switch:
            at_switch.apply([netlink.bridge("br0", UNDERLAY_MTU, "02:18:00:00:00:00")], doing="underlay")
            bridge = _link(at_switch, "br0")
            if netlink.loud(bridge):
                at_switch.apply([netlink.silence(bridge)], doing="underlay")
            for number, machine in enumerate(self.scene.machines, 1):
                node = self._namespace(machine.name)
                with netns.inside(node):
                    _settle_addressing(ipv6=self.scene.ipv6)
                uplink = End(UPLINK, f"02:18:00:00:01:{number:02x}", UNDERLAY_MTU, node)
                cable = netlink.veth(End(machine.name, f"02:18:00:00:02:{number:02x}", UNDERLAY_MTU), uplink)
                plug = netlink.set_link(machine.name, master=bridge.index, up=True)
                at_switch.apply([cable, plug], doing=f"plug {machine.name} into the underlay")
                with Netlink(node) as at_node:
                    # The node's uplink is not k8slan's: it has no mark of it, as on any machine.
                    at_node.apply([netlink.set_link(UPLINK, up=True, group=0)], doing=f"set {UPLINK} up")
                    index = _link(at_node, UPLINK).index
                    length = 64 if self.scene.ipv6 else 24
                    at_node.apply([netlink.add_address(index, f"{machine.address}/{length}")], doing="address")

    def start_agents(self) -> None:
        """Start an agent in each node and wait until all say that they are ready."""
        _LANS.mkdir()
        # YAML is a superset of JSON, so this is a LAN document as a person would write it.
        (_LANS / "demo.yaml").write_text(json.dumps(self.scene.document(), indent=2))
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            for machine in self.scene.machines:
                (RUN / machine.name).mkdir()
                ready = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
                ready.bind(str(RUN / machine.name / "notify"))
                agent = self._agents[machine.name] = self._start_agent(machine)
                ended = os.pidfd_open(agent.pid)
                stack.callback(os.close, ended)
                selector.register(ready, selectors.EVENT_READ, machine.name)
                selector.register(ended, selectors.EVENT_READ, machine.name)
            self._wait_for_agents(selector)

    def _start_agent(self, machine: Machine) -> subprocess.Popen[bytes]:
        directory = RUN / machine.name
        argv = [sys.executable, "-m", "k8slan_cli", "node-agent"]
        argv += ["--lan-dir", str(_LANS), "--run-dir", str(directory), "--node-name", machine.name]
        argv += ["--node-ip", machine.address, "--http", "127.0.0.1:9402"]
        environment = _environment() | {"NOTIFY_SOCKET": str(directory / "notify")}
        with (directory / "agent.log").open("wb") as log, netns.inside(self._fds[machine.name]):
            return subprocess.Popen(  # noqa: S603
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/"
            )

    def _wait_for_agents(self, selector: selectors.BaseSelector) -> None:
        waiting = set(self._agents)
        until = time.monotonic() + _READY_SECONDS
        while waiting:
            events = selector.select(max(0.0, until - time.monotonic()))
            if not events:
                raise K8slanError(f"no word from the agents on {', '.join(sorted(waiting))}", hint=self._log(*waiting))
            for key, _mask in events:
                if isinstance(key.fileobj, int):
                    status = self._agents[key.data].wait()
                    raise K8slanError(f"the agent on {key.data} ended with {status}", hint=self._log(key.data))
                if isinstance(key.fileobj, socket.socket) and b"READY=1" in key.fileobj.recv(4096).split():
                    waiting.discard(key.data)

    def _log(self, *nodes: str) -> str:
        lines = [line for node in nodes for line in (RUN / node / "agent.log").read_text().splitlines()[-5:]]
        return "it said: " + "\n".join(lines) if lines else "it said nothing"

    # ------------------------------------------------------------ guests

    def choose_client(self) -> None:
        """The C forwarder: built before, or now; without a compiler, the client in Python."""
        source = shipped.folder("cni_plugins")
        built = source / "build" / "k8slan-cni"
        if not os.access(built, os.X_OK):
            built = RUN / "cni" / "k8slan-cni"
            make = shutil.which("make")
            if make and shutil.which("cc"):
                with self.step("compiling the CNI executable", "CNI executable compiled"):
                    argv = [make, "-s", "-C", str(source), f"BUILD={built.parent}"]
                    room = os.environ | {"TMPDIR": str(RUN)}  # where a compiler that is killed leaves nothing
                    subprocess.run(argv, env=room, capture_output=True, check=False)  # noqa: S603
        if os.access(built, os.X_OK):
            self._client = [str(built)]
            return
        self._client = [sys.executable, "-m", "k8slan_cli", "cni"]
        self.teller.tell(Remark("no C compiler here: CNI calls go through the client in Python, which starts slower"))

    def attach(self, guest: Guest) -> None:
        """Make a guest's namespace, plug it in, and note what came of it."""
        fd = self._namespace(guest.spoke)
        result = self.call("ADD", guest)
        with Netlink(fd) as inside:
            link = _link(inside, guest.interface)
            if guest.address:
                inside.apply([netlink.add_address(link.index, guest.address)], doing=f"address of {guest.spoke}")
        told = {(i.get("name"), bool(i.get("sandbox"))): i for i in result.get("interfaces", [])}
        mac = told.get((guest.interface, True), {}).get("mac")
        if mac != link.mac:
            raise K8slanError(f"CNI ADD says that {guest.spoke} has the MAC {mac}, and it has {link.mac}")
        self._mtu = max(self._mtu, link.mtu)
        tap = f"/dev/tap{link.index}" if guest.vm else ""
        self._plugged[guest.spoke] = BuiltGuest(guest=guest, port=names.port(guest.spoke), mac=link.mac, tap=tap)

    def call(self, verb: str, guest: Guest) -> dict[str, Any]:
        """One CNI call, as a container runtime makes it; what it answered.

        Raises:
            K8slanError: it failed.

        """
        self.teller.tell(Doing(f"CNI {verb} for {guest.spoke}"))
        environment = _environment() | {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": guest.container,
            "CNI_NETNS": str(_NAMESPACES / guest.spoke),
            "CNI_IFNAME": guest.interface,
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={LAN.namespace};K8S_POD_NAME={guest.spoke}",
            "K8SLAN_RUN_DIR": str(RUN / guest.node),
        }
        begin = time.monotonic()
        answer = subprocess.run(  # noqa: S603
            self._client, input=guest.config().encode(), env=environment, capture_output=True, timeout=_CALL_SECONDS
        )
        seconds = time.monotonic() - begin
        if answer.returncode:
            said = (answer.stdout + answer.stderr).decode(errors="replace").strip()
            raise K8slanError(f"CNI {verb} for {guest.spoke} failed: {said}", hint=self._log(guest.node))
        self.teller.tell(Called(verb=verb, guest=guest, seconds=seconds))
        return json.loads(answer.stdout) if answer.stdout.strip() else {}

    # ------------------------------------------------------------ what there is now

    def _lan(self, machine: Machine) -> Path:
        """Where the node's agent has mounted the LAN's namespace."""
        return RUN / machine.name / "netns" / NETNS

    def name_lans(self) -> None:
        """Give the nodes' LAN namespaces names for ``ip -n``."""
        for machine in self.scene.machines:
            (_NAMESPACES / f"{machine.name}-lan").symlink_to(self._lan(machine))

    def built(self) -> Built:
        """What the nodes have of the LAN, read from the kernel and not from what was wanted."""
        return Built(scene=self.scene, mtu=self._mtu, parts=tuple(map(self._part, self.scene.machines)))

    def _part(self, machine: Machine) -> BuiltNode:
        fd = netns.open_at(self._lan(machine))
        if fd is None:
            return BuiltNode(machine=machine)
        try:
            with Netlink(fd) as inside:
                links = sockets.links(inside)
        finally:
            os.close(fd)
        bridge = next((link for link in links if link.kind == "bridge"), None)
        if bridge is None:
            return BuiltNode(machine=machine)
        ports = {link.name: link.kind for link in links if link.master == bridge.index}
        return BuiltNode(
            machine=machine,
            bridge=bridge.name,
            vxlan=next((name for name, kind in ports.items() if kind == "vxlan"), ""),
            guests=tuple(p for p in self._plugged.values() if p.guest.node == machine.name and p.port in ports),
        )

    def expect_nothing_left(self) -> None:
        """Look whether the nodes are rid of the LAN.

        Raises:
            K8slanError: one is not.

        """
        for machine in self.scene.machines:
            left = sorted(entry.name for entry in self._lan(machine).parent.iterdir())
            if left:
                words = f"all is detached, and {machine.name} still has the namespace {', '.join(left)}"
                raise K8slanError(words, hint=self._log(machine.name))

    # ------------------------------------------------------------ the probe

    def run(self, command: str) -> None:
        """Run a person's command inside.

        Raises:
            K8slanError: it failed.

        """
        self.teller.tell(Doing(command))
        done = subprocess.run(  # noqa: S603 - it is the caller's own
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        output = done.stdout.decode(errors="replace")[-2000:].strip()
        if done.returncode:
            raise K8slanError(f"{command!r} ended with {done.returncode}: {output}")
        self.teller.tell(Ran(command, output))

    def probe(self) -> None:
        """Send every class of frames between all pairs; what takes no part is told once."""
        unable: set[str] = set()
        for pair in self.scene.pairs:
            if unable & {pair.src, pair.dst}:
                continue
            self.teller.tell(Doing(f"frames from {pair.src} to {pair.dst}"))
            with contextlib.ExitStack() as stack:
                ends: list[Endpoint] = []
                for name in (pair.src, pair.dst):
                    try:
                        ends.append(stack.enter_context(contextlib.closing(self._endpoint(self._plugged[name]))))
                    except KernelError as error:
                        if not self._plugged[name].tap:
                            raise
                        unable.add(name)
                        self.teller.tell(Unable(name, str(error)))
                if len(ends) == len((pair.src, pair.dst)):
                    src, dst = ends
                    results = cross(src, dst, Probe(src=src.mac, dst=dst.mac, mtu=self._mtu))
                    self.teller.tell(Probed(pair=pair, results=results))

    def _endpoint(self, plugged: BuiltGuest) -> Endpoint:
        if plugged.tap:
            return Tap(Path(plugged.tap), netlink.mac_bytes(plugged.mac))
        return PacketSocket(self._fds[plugged.guest.spoke], plugged.guest.interface)


def _environment() -> dict[str, str]:
    """The environment of what is started: no CNI call or service around the demo shows in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CNI_", "K8SLAN_", "NOTIFY_", "NODE_"))}
    path = os.pathsep.join(filter(None, (str(Path(k8slan_cli.__file__).parents[1]), kept.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path}


def _link(inside: Netlink, name: str) -> RawLink:
    found = sockets.link(inside, name)
    if found is None:
        raise K8slanError(f"the link {name} is not there")
    return found


def _settle_addressing(*, ipv6: bool) -> None:
    """In the calling thread's namespace: links get no address of their own accord, and none waits to be usable."""
    settings = {"addr_gen_mode": "1", "accept_dad": "0"} if ipv6 else {"disable_ipv6": "1"}
    for name, value in settings.items():
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            Path("/proc/sys/net/ipv6/conf/default", name).write_text(value)
