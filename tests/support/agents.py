"""Nodes for tests: a network namespace as the machine, the real agent in it, pods, and CNI calls as runtimes make them.

::

    with Node.create() as node, Namespace.create("pod") as pod:
        lan = node.lan(spokes=[spoke])
        with node.agent() as agent:
            result = node.add(pod, veth(spoke)).result()
            assert node.inside(lan).links()
            agent.log.wait("create bridge")

Everything a node makes lies under one folder of its own in /tmp, which is removed at the end of the block with whatever
is mounted there.
"""

from __future__ import annotations

import functools
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from k8slan_cli.cni import wire
from tests.support import names
from tests.support.netns import Namespace, command

CHECKOUT = Path(__file__).parents[2]
PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins are."""
SECONDS = 20.0
"""Deadline of what should take milliseconds, on a machine that does much else."""
_NO_DAD = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"
"""An underlay's IPv6 address is to be usable at once, without the second that duplicate detection takes."""
AT_ONCE = 10.0
"""Seconds in which what was broken by hand has to be back. It takes milliseconds where the machine does nothing else;
no agent looks at what is in order now and then, so that what has not been heard is never back."""


def run(*argv: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """What a command, which may be of this checkout's package, said, and how it ended; whatever that was."""
    return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=seconds, check=False)


# ---------------------------------------------------------------- waiting


def eventually(what: str, condition: Callable[[], object], seconds: float = SECONDS) -> Any:
    """Look until a condition is truthy and return it; for what the kernel does behind the scenes and tells nobody."""
    until = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.005)


class Log:
    """The lines that a process writes, each an event to wait for."""

    def __init__(self, stream: Any) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._stream = stream
        self._thread = threading.Thread(target=self._read, name="log")
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def mark(self) -> int:
        """Where the log is now, for ``since``."""
        return len(self.lines)

    def wait(self, pattern: str, *, since: int = 0, seconds: float = SECONDS) -> str:
        """The first line from ``since`` on that the regular expression is found in."""
        until = time.monotonic() + seconds
        position = since
        with self._news:
            while True:
                for line in self.lines[position:]:
                    if re.search(pattern, line):
                        return line
                position = len(self.lines)
                left = until - time.monotonic()
                said = "\n".join(self.lines[since:])
                assert left > 0, f"no {pattern!r} within {seconds} s in:\n{said}"
                assert not self._ended, f"the agent has ended without {pattern!r} in:\n{said}"
                self._news.wait(left)

    def join(self) -> None:
        """Wait for the last line of a process that has ended."""
        self._thread.join(SECONDS)

    def operations(self, since: int = 0) -> list[str]:
        """What was done to the node, one text for each operation: ``lan: create bridge br0 …``."""
        verbs = "create|delete|set|mount|switch|add|remove|bring"
        found = (re.search(rf" (?:INFO|WARNING) +(\S+: (?:cannot )?(?:{verbs}) .*)", x) for x in self.lines[since:])
        return [match[1] for match in found if match]


# ---------------------------------------------------------------- CNI calls


@functools.cache
def forwarder() -> Path:
    """The C client, built once for the test run."""
    folder = tempfile.TemporaryDirectory(prefix="forwarder-")
    _kept.append(folder)
    command("make", "-s", "-C", str(CHECKOUT / "cni_plugins"), f"BUILD={folder.name}", seconds=120)
    return Path(folder.name) / "k8slan-cni"


_kept: list[object] = []
CLIENTS = ("c", "python")


def client(which: str) -> tuple[str, ...]:
    """The command of a CNI client."""
    return (str(forwarder()),) if which == "c" else (sys.executable, "-m", "k8slan_cli", "cni")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a CNI call ended."""

    status: int
    stdout: bytes
    seconds: float

    def result(self) -> dict[str, Any]:
        """The result of a call that has to have succeeded."""
        assert self.status == 0, self.stdout.decode()
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    def ok(self) -> None:
        """Assert that the call has succeeded and said nothing."""
        assert (self.status, self.stdout) == (0, b""), self.stdout.decode()

    def error(self, code: int) -> str:
        """The words of an error object, which has to be of this code and have nothing beside it."""
        assert self.status == 1, f"success: {self.stdout.decode()}"
        document = json.loads(self.stdout)
        assert set(document) <= {"cniVersion", "code", "msg", "details"}, document
        assert document["code"] == code, document
        return f"{document['msg']} ({document.get('details', '')})"


def veth(spoke: str, version: str = "1.1.0", **more: Any) -> dict[str, Any]:
    """The configuration of a veth on a spoke."""
    return {"cniVersion": version, "name": f"k8slan-veth-{spoke}", "type": "k8slanveth", "veth": spoke} | more


def macvtap(spoke: str, version: str = "1.1.0", **more: Any) -> dict[str, Any]:
    """The configuration of a macvtap on a spoke."""
    return {"cniVersion": version, "name": f"k8slan-mac-{spoke}", "type": "k8slanmacvtap", "spoke": spoke} | more


def dynamic(lan: str, version: str = "1.1.0", **more: Any) -> dict[str, Any]:
    """The configuration of a dynamic LAN, ``namespace/name``."""
    name = f"k8slan-lan-{lan.partition('/')[2]}"
    return {"cniVersion": version, "name": name, "type": "k8slanveth", "lan": lan} | more


# ---------------------------------------------------------------- looking into namespaces


class Inside:
    """A namespace known by the path it is mounted at, seen with iproute2."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *argv: str) -> str:
        """Run a command inside; returns what it printed."""
        return command("nsenter", f"--net={self.path}", *argv)

    def ip(self, *arguments: str) -> Any:
        """What ``ip -json -details`` says inside."""
        text = self.run("ip", "-j", "-d", *arguments)
        return json.loads(text) if text.strip() else []

    def bridge(self, *arguments: str) -> Any:
        """What ``bridge -json -details`` says inside."""
        text = self.run("bridge", "-j", "-d", *arguments)
        return json.loads(text) if text.strip() else []

    def links(self) -> dict[str, dict[str, Any]]:
        """Every link inside, by name, but for ``lo``."""
        return {link["ifname"]: link for link in self.ip("link", "show") if link["ifname"] != "lo"}

    def has(self, *names: str) -> bool:
        """Whether these links are inside; they are not while there is no namespace, as it is being made anew."""
        try:
            return set(names) <= set(self.links())
        except AssertionError:
            return False

    def peers(self, vxlan: str = "vxlan0") -> set[str]:
        """Where a VXLAN device sends what has no known place."""
        entries = self.bridge("fdb", "show", "dev", vxlan)
        return {e["dst"] for e in entries if e["mac"] == "00:00:00:00:00:00"}

    def sysctl(self, name: str) -> str:
        """A setting under /proc/sys, "" where the kernel lacks it."""
        return self.run("sh", "-c", f"cat /proc/sys/{name} 2>/dev/null || true").strip()


# ---------------------------------------------------------------- the agent


class Agent:
    """A running agent. It ends with its block; ``stop`` and ``kill`` end it before."""

    def __init__(self, process: subprocess.Popen[str], log: Log) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def stop(self) -> int:
        """End it as a service manager does; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.wait()

    def wait(self, seconds: float = SECONDS) -> int:
        """Wait until it has ended; returns its exit status."""
        status = self.process.wait(seconds)
        self.log.join()
        return status

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def switches(self) -> tuple[int, float]:
        """How often its threads have gone to sleep by themselves, and the processor seconds they have used."""
        woken, ticks = 0, 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            status = (task / "status").read_text()
            woken += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[1])  # type: ignore[index]
            numbers = (task / "stat").read_text().rpartition(")")[2].split()
            ticks += int(numbers[11]) + int(numbers[12])
        return woken, ticks / os.sysconf("SC_CLK_TCK")


@dataclass(kw_only=True)
class Node:
    """A machine: a namespace with an underlay ``eth0``, a run directory and a folder of LAN files."""

    name: str
    namespace: Namespace
    folder: Path
    default: str = "c"
    """The CNI client that is used when a call does not say which."""
    http: str = ""
    current: Agent | None = None
    """The agent that runs here now."""

    @classmethod
    @contextmanager
    def create(cls, *, address: str = "192.0.2.1/24", mtu: int = 1500, http: str = "") -> Iterator[Self]:
        """A node that stands alone; its underlay leads nowhere. An ``address`` of "" leaves only IPv6 link-local."""
        with Namespace.create("n") as namespace:
            namespace.ip(
                "link", "add", "eth0", "mtu", str(mtu), "type", "veth", "peer", "name", "wire", "mtu", str(mtu)
            )
            for name in ("wire", "eth0"):
                namespace.ip("link", "set", name, "up")
            if address:
                namespace.ip("address", "add", address, "dev", "eth0")
            with cls.of(namespace, http=http) as self:
                yield self

    @classmethod
    @contextmanager
    def pair(cls, *, mtu: int = 1500) -> Iterator[tuple[Self, Self]]:
        """Two nodes with a cable between them, 192.0.2.1 and 192.0.2.2, and IPv6 link-local addresses ready to use."""
        with Namespace.create("n") as a, Namespace.create("n") as b:
            wide = ("mtu", str(mtu))
            for namespace in (a, b):
                namespace.run("sh", "-c", _NO_DAD)
            a.ip("link", "add", "eth0", *wide, "type", "veth", "peer", "name", "eth0", *wide, "netns", b.name)
            for number, namespace in enumerate((a, b), 1):
                namespace.ip("link", "set", "eth0", "up")
                namespace.ip("address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            with cls.of(a) as first, cls.of(b) as second:
                yield first, second

    @classmethod
    @contextmanager
    def of(cls, namespace: Namespace, *, http: str = "") -> Iterator[Self]:
        """A node of a namespace that is there."""
        folder = Path(tempfile.mkdtemp(prefix=f"{names.unique()}-", dir="/tmp"))
        self = cls(name=namespace.name, namespace=namespace, folder=folder, http=http)
        self.files.mkdir()
        self.leases.mkdir()
        try:
            yield self
        finally:
            for path in reversed(self.mounts()):
                command("umount", "--lazy", path)
            assert not self.mounts(), "something is still mounted here: what lies behind it must not be removed"
            shutil.rmtree(folder)

    @property
    def run(self) -> Path:
        """The agent's run directory."""
        return self.folder / "run"

    @property
    def files(self) -> Path:
        """The folder of LAN files."""
        return self.folder / "lans"

    @property
    def leases(self) -> Path:
        """Where host-local keeps its leases."""
        return self.folder / "leases"

    def mounts(self) -> list[str]:
        """What is mounted below this node's folder."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [path for line in lines if (path := line.split()[4]).startswith(f"{self.folder}/")]

    # ------------------------------------------------------------ LANs

    def lan(
        self, name: str = "", *, file: str = "", namespace: str = "default", peers: Iterable[str] = (), **spec: Any
    ) -> str:
        """Write a LAN file, and wait until the agent has taken it in; returns the LAN's name, its namespace's too.

        Its VNI is new, its underlay ``eth0``, its bridge and VXLAN device have their defaults, unless said otherwise.
        """
        name = name or names.unique("lan")
        text = yaml.safe_dump(document(name, namespace=namespace, peers=peers, **spec))
        with self.told(rf"LAN {namespace}/{name} (is there|has changed)|(add|remove) peer"):
            self.write(file or f"{name}.yaml", text)
        return name

    @contextmanager
    def told(self, pattern: str) -> Iterator[None]:
        """Wait at the end of the block for a line that the agent, if one runs, logs after its beginning."""
        mark = self.current.log.mark() if self.current else 0
        yield
        if self.current:
            self.current.log.wait(pattern, since=mark)

    def write(self, file: str, text: str | bytes) -> None:
        """Write a file into the folder of LANs in one step."""
        aside = self.folder / f"aside-{file}"
        aside.write_bytes(text if isinstance(text, bytes) else text.encode())
        aside.replace(self.files / file)

    def inside(self, lan: str) -> Inside:
        """A LAN's namespace on this node."""
        return Inside(self.run / "netns" / lan)

    # ------------------------------------------------------------ the agent

    def command(
        self, *arguments: str, program: Sequence[str] = ("-m", "k8slan_cli"), alone: bool = False
    ) -> tuple[str, ...]:
        """The command line of an agent here; one that is ``alone`` does not hear of the machine's other mounts."""
        unshare = ("unshare", "--mount", "--propagation", "private") if alone else ()
        options = ("--lan-dir", str(self.files), "--run-dir", str(self.run), "--node-name", self.name)
        return (
            *(*unshare, "nsenter", f"--net={self.namespace.path}", sys.executable, *program, "node-agent"),
            *(*options, "--http", self.http, "--handover", "0", *arguments),
        )

    @contextmanager
    def agent(
        self,
        *arguments: str,
        ready: bool = True,
        alone: bool = False,
        program: Sequence[str] = ("-m", "k8slan_cli"),
        **environment: str,
    ) -> Iterator[Agent]:
        """An agent for the length of a block, ready when the block begins."""
        with ExitStack() as stack:
            notify = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            address = self.folder / "notify"
            address.unlink(missing_ok=True)
            notify.bind(str(address))
            process = subprocess.Popen(
                self.command(*arguments, program=program, alone=alone),
                cwd=CHECKOUT,
                env=os.environ | {"NOTIFY_SOCKET": str(address)} | environment,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="backslashreplace",
            )
            agent = Agent(process, Log(process.stderr))
            try:
                if ready:
                    _await_ready(notify, agent)
                    self.current = agent
                yield agent
            finally:
                self.current = None
                if process.poll() is None:
                    try:
                        agent.stop()
                    except subprocess.TimeoutExpired:
                        agent.kill()
                        raise
                agent.log.join()
            assert "Traceback" not in str(agent.log), str(agent.log)

    # ------------------------------------------------------------ CNI

    def environ(
        self,
        verb: str,
        pod: Namespace | str,
        *,
        ifname: str = "net1",
        container: str = "",
        args: str = "",
        plugins: str = str(PLUGINS),
    ) -> dict[str, str]:
        """What a runtime sets; a ``pod`` that is text is the path of its namespace."""
        path = pod if isinstance(pod, str) else str(pod.path)
        found = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container or (pod if isinstance(pod, str) else pod.name).rpartition("/")[2],
            "CNI_NETNS": path,
            "CNI_IFNAME": ifname,
            "CNI_ARGS": args,
            "CNI_PATH": plugins,
            "K8SLAN_RUN_DIR": str(self.run),
        }
        return {name: value for name, value in found.items() if value}

    def start(
        self, verb: str, pod: Namespace | str, config: Mapping[str, Any] | bytes, *, which: str = "", **environ: str
    ) -> Callable[[], Outcome]:
        """Begin a CNI call; what is returned waits for its end."""
        began = time.monotonic()
        with tempfile.TemporaryFile() as stdin:
            stdin.write(config if isinstance(config, bytes) else json.dumps(config).encode())
            stdin.seek(0)
            process = subprocess.Popen(
                client(which or self.default),
                cwd=CHECKOUT,
                env={"PATH": os.environ["PATH"]} | self.environ(verb, pod, **environ),
                stdin=stdin,
                stdout=subprocess.PIPE,
            )

        def wait() -> Outcome:
            with process:
                try:
                    stdout, _ = process.communicate(timeout=90)
                finally:
                    if process.poll() is None:
                        process.kill()
            return Outcome(status=process.returncode, stdout=stdout, seconds=time.monotonic() - began)

        return wait

    def cni(self, verb: str, pod: Namespace | str, config: Mapping[str, Any] | bytes, **options: str) -> Outcome:
        """Make a CNI call."""
        return self.start(verb, pod, config, **options)()

    def add(self, pod: Namespace | str, config: Mapping[str, Any], **options: str) -> Outcome:
        """ADD."""
        return self.cni("ADD", pod, config, **options)

    def delete(self, pod: Namespace | str, config: Mapping[str, Any], **options: str) -> Outcome:
        """DEL."""
        return self.cni("DEL", pod, config, **options)

    def check(
        self, pod: Namespace | str, config: Mapping[str, Any], result: Mapping[str, Any], **options: str
    ) -> Outcome:
        """CHECK with the result of ADD."""
        return self.cni("CHECK", pod, {**config, "prevResult": result}, **options)

    def burst(self, verb: str, pod: Namespace, config: Mapping[str, Any], ifnames: Iterable[str]) -> list[int]:
        """Make CNI calls for many interfaces of a pod at once, straight at the agent's socket; their exit statuses."""
        stdin = json.dumps(config).encode()
        with ExitStack() as stack:
            clients = []
            for ifname in ifnames:
                payload = wire.encode_payload(self.environ(verb, pod, ifname=ifname), stdin)
                client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                client.connect(str(self.run / "agent" / "cni.sock"))
                client.settimeout(90)
                socket.send_fds(client, [wire.encode_request(payload)], [pod.fd()])
                clients.append(client)
            return [_status(client) for client in clients]

    # ------------------------------------------------------------ what is left

    def records(self) -> list[dict[str, Any]]:
        """The recorded attachments."""
        return [json.loads(path.read_bytes()) for path in sorted((self.run / "attachments").iterdir())]

    def held(self) -> set[str]:
        """The addresses that host-local has given and not got back."""
        return {path.name for path in self.leases.glob("*/[0-9]*")}

    @contextmanager
    def foreign_dev(self) -> Iterator[Path]:
        """A root for ``--host-root`` whose /dev no kernel fills, as a node has it that is a container; yields /dev."""
        root = self.folder / "host"
        self.folder.chmod(0o711)  # a VM's user comes by
        for folder in ("dev", "run/netns"):
            (root / folder).mkdir(parents=True)
        command("mount", "--rbind", "/run/netns", str(root / "run/netns"))
        try:
            yield root / "dev"
        finally:
            command("umount", "--lazy", str(root / "run/netns"))

    def assert_nothing_left(self) -> None:
        """No attachment, no namespace, no mount, no lease, and nothing left to do."""
        folders = (self.run / name for name in ("attachments", "netns", "spool", "unreleased"))
        mounts = [path for path in self.mounts() if path.startswith(f"{self.run}/")]
        left = [*(path for folder in folders for path in folder.iterdir()), *mounts, *self.held()]
        assert not left, f"left behind: {', '.join(map(str, left))}"

    def sweep(self) -> None:
        """Remove what a test that failed has left attached, so that it does not trouble the next."""
        for record in self.records():
            self.cni("DEL", "", {}, container=record["container"], ifname=record["ifname"])


def _status(client: socket.socket) -> int:
    decoder = wire.AnswerDecoder(mute=True)
    while (answer := decoder.feed(client.recv(1 << 16))) is None:
        pass
    return answer[0]


_vnis = iter(range(0x200000 + os.getpid() % 4096 * 256, 1 << 24))


def document(name: str, *, namespace: str = "default", peers: Iterable[str] = (), **spec: Any) -> dict[str, Any]:
    """A LAN as a file has it; its namespace on nodes has its name."""
    found = {"ns": name, "vni": next(_vnis), "defaultVxlanDev": "eth0"} | spec
    whole = {
        "apiVersion": "lan.k8slan.io/v1beta1",
        "kind": "LAN",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in found.items() if value is not None},
    }
    return whole | ({"peers": list(peers)} if peers else {})


@contextmanager
def pods(number: int) -> Iterator[list[Namespace]]:
    """So many pods."""
    with ExitStack() as stack:
        yield [stack.enter_context(Namespace.create("pod")) for _ in range(number)]


def _await_ready(notify: socket.socket, agent: Agent) -> None:
    fd = os.pidfd_open(agent.pid)
    try:
        waiting = select.poll()
        for readable in (notify.fileno(), fd):
            waiting.register(readable, select.POLLIN)
        found = dict(waiting.poll(SECONDS * 1000))
    finally:
        os.close(fd)
    if notify.fileno() not in found:
        agent.process.poll()
        agent.log.join()
        raise AssertionError(f"the agent did not get ready (exit status {agent.process.returncode}):\n{agent.log}")
    assert notify.recv(100) == b"READY=1"
