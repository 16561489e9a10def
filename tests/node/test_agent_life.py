"""The agent's own life: where it can run and where not, what it says of itself, and a look ahead without doing."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from k8slan_cli.diagnose.protocol import WARN
from tests.node.diagnostics import examined
from tests.support import names
from tests.support.agents import Node, Outcome, dynamic, eventually, macvtap, pods, run, veth
from tests.support.netns import Namespace, command
from tests.support.require import require


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.create(http="127.0.0.1:9402") as node:
        yield node


def get(node: Node, path: str, port: int = 9402) -> tuple[int, str]:
    """What the agent's HTTP server answers: status and text."""
    script = (
        "import sys, urllib.request, urllib.error\n"
        "try:\n    r = urllib.request.urlopen(sys.argv[1], timeout=10)\n"
        "except urllib.error.HTTPError as error:\n    r = error\n"
        "print(r.status); print(r.read().decode())"
    )
    said = node.namespace.run(sys.executable, "-c", script, f"http://127.0.0.1:{port}{path}")
    status, _, text = said.partition("\n")
    return int(status), text.strip()


def refused(node: Node, *arguments: str) -> str:
    """What an agent says that cannot start: one or two lines, no traceback, exit status 1."""
    with node.agent(*arguments, ready=False) as agent:
        assert agent.wait() == 1
    last = [line for line in agent.log.lines if not re.match(r"\d{4}-", line)]
    assert last[0].startswith("k8slan: ")
    assert len(last) <= 2
    return "\n".join(last)


# ---------------------------------------------------------------- health


def test_health_readiness_and_metrics(node: Node, pod: Namespace) -> None:
    lan = node.lan(dynamic=True)
    node.lan(spokes=["a"])
    node.write("bad.yaml", "a: [")
    with node.agent():
        assert get(node, "/healthz") == (200, "ok")
        assert get(node, "/readyz") == (200, "ok")
        assert get(node, "/")[0] == 404
        node.add(pod, dynamic(f"default/{lan}")).result()
        node.add(pod, veth("nowhere"), ifname="net2").error(100)
        status, text = get(node, "/metrics")
        assert status == 200
        samples = dict(re.findall(r"^(k8slan_\S+) (\S+)$", text, re.MULTILINE))
        assert samples["k8slan_lans"] == "2.0"
        assert samples["k8slan_lans_local"] == "1.0"
        assert samples["k8slan_attachments"] == "1.0"
        assert samples['k8slan_cni_requests_total{code="0",verb="ADD"}'] == "1.0"
        assert samples['k8slan_cni_requests_total{code="100",verb="ADD"}'] == "1.0"
        assert samples['k8slan_operations_total{operation="CreateVeth",result="done"}'] == "1.0"
        assert samples['k8slan_cni_request_seconds_count{verb="ADD"}'] == "2.0"
        assert samples["k8slan_lans_degraded"] == "0.0"
        node.namespace.ip("link", "delete", "eth0")
        eventually("it is told", lambda: "k8slan_lans_degraded 1.0" in get(node, "/metrics")[1])
        node.delete(pod, dynamic(f"default/{lan}")).ok()
        assert "k8slan_attachments 0.0" in get(node, "/metrics")[1]


@pytest.mark.parametrize("address", ["0.0.0.0:9402", "[::]:9402", "127.0.0.1:0"])
def test_http_listens_where_it_is_told(address: str) -> None:
    with Node.create(http=address) as node, node.agent():
        if not address.endswith(":0"):
            assert get(node, "/healthz") == (200, "ok")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "'nonsense' is not HOST:PORT"),
        ("127.0.0.1:http", "is not HOST:PORT"),
        ("127.0.0.1:99999", "is not HOST:PORT"),
        ("203.0.113.1:9402", "cannot listen on 203.0.113.1:9402: Cannot assign requested address"),
    ],
)
def test_an_http_address_that_cannot_be(node: Node, address: str, said: str) -> None:
    node.http = address
    assert said in refused(node)


@contextmanager
def listener(node: Node, port: int) -> Iterator[subprocess.Popen[str]]:
    """Another program, which has a port of the node and answers nobody."""
    script = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); time.sleep(600)"
    with node.namespace.start(sys.executable, "-c", script, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        program.stdout.readline()
        yield program


def test_ports_that_another_program_has_are_told_and_keep_no_pod_from_attaching(node: Node, pod: Namespace) -> None:
    """They are had as soon as they are free; meanwhile the agent does all else."""
    node.lan(spokes=["a"])
    with listener(node, 9402) as one, listener(node, 9403) as two, node.agent() as agent:
        for what, port, program in (("metrics", 9402, one), ("diagnostics", 9403, two)):
            agent.log.wait(
                rf"{what}: cannot listen on 127.0.0.1:{port}: Address already in use, "
                rf"by python\S* .process {program.pid}. .choose another --.* k8slan install --agent-{what}-port"
            )
        node.add(pod, veth("a")).result()
        two.kill()
        agent.log.wait("diagnostics: all is well again")
        (check,) = (check for check in examined(node) if check.what == "metrics")
        assert check.state == WARN
        assert "127.0.0.1:9402: Address already in use, by python" in check.words
        one.kill()
        agent.log.wait("metrics: all is well again")
        assert get(node, "/healthz") == (200, "ok")
        assert "metrics" not in {check.what for check in examined(node)}
        node.delete(pod, veth("a")).ok()


def test_an_agent_whose_loop_stands_still_ends_and_says_where() -> None:
    """So it needs no probe of a port that another program may have."""
    script = (
        "import asyncio, time\n"
        "from k8slan_cli.agent.run import stay_awake\n"
        "async def main():\n"
        "    awake = asyncio.create_task(stay_awake(0.1, 1.0))\n"
        "    await asyncio.sleep(1.5)\n"
        "    print('runs', flush=True)\n"
        "    time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    done = run(sys.executable, "-c", script, seconds=30)
    assert (done.returncode, done.stdout) == (1, "runs\n")
    assert "Timeout (0:00:01)!" in done.stderr
    assert "in main" in done.stderr


# ---------------------------------------------------------------- a look ahead


def dry_run(node: Node) -> str:
    """What an agent says that only looks."""
    done = run(*node.command("--dry-run"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dry_run_says_what_would_be_done_and_does_nothing(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a"], peers=["192.0.2.9"], vni=7001)
    assert dry_run(node) == "1 LAN, 0 attachments: nothing to do\n"
    assert not node.run.exists()
    with node.agent():
        node.add(pod, veth("a")).result()
        assert dry_run(node) == f"1 LAN, 1 attachment: nothing to do\n{lan}: nothing to do\n"
    inside = node.inside(lan)
    inside.run("ip", "link", "set", "br0", "mtu", "1300")
    inside.run("ip", "link", "del", "vxlan0")
    inside.run("ip", "link", "set", "ap", "nomaster")
    links = inside.links()
    files = sorted(node.run.rglob("*"))
    said = dry_run(node)
    assert said.splitlines() == [
        "1 LAN, 1 attachment",
        f"{lan}: 4 operations",
        "  set bridge br0: up, quiet, mtu 1446",
        "  create vxlan vxlan0 (vni 7001, port 4789, over eth0, local 192.0.2.1, mtu 1446)",
        "  add peer 192.0.2.9 to vxlan0",
        "  set port ap: up, in br0, mtu 1446, group_fwd_mask 0xfffd",
    ]
    assert inside.links().keys() == links.keys()
    assert inside.links()["br0"]["mtu"] == 1300
    assert sorted(node.run.rglob("*")) == files
    with node.agent() as agent:
        assert [line.partition(": ")[2] for line in agent.log.operations()] == [
            line.strip() for line in said.splitlines()[2:]
        ]
        node.delete(pod, veth("a")).ok()


def test_a_dry_run_sees_what_is_left_of_a_lan_that_is_gone(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a"])
    with node.agent():
        node.add(pod, veth("a")).result()
    (node.files / f"{lan}.yaml").unlink()
    assert dry_run(node).splitlines() == [
        "0 LANs, 1 attachment",
        f"{lan}: 2 operations",
        "  delete ap, vxlan0, br0",
        f"  delete namespace {lan}",
    ]
    assert set(node.inside(lan).links()) == {"ap", "vxlan0", "br0"}
    with node.agent() as agent:
        agent.log.wait(f"delete namespace {lan}")
        node.delete(pod, veth("a")).ok()


def test_a_dry_run_beside_a_running_agent_with_a_lan_that_cannot_be_planned(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a"])
    with node.agent():
        node.add(pod, veth("a")).result()
        node.namespace.ip("link", "delete", "eth0")
        assert "cannot be planned: the underlay device eth0 is not on this node" in dry_run(node)
        node.delete(pod, veth("a")).ok()
    assert lan


# ---------------------------------------------------------------- the run directory


def test_a_run_directory_is_for_one_agent(node: Node, pod: Namespace) -> None:
    node.lan(spokes=["a"])
    with node.agent() as agent:
        node.add(pod, veth("a")).result()
        node.http = ""
        assert f"another agent runs with {node.run}" in refused(node)
        assert agent.process.poll() is None
        node.delete(pod, veth("a")).ok()


def test_modes_of_what_lies_in_the_run_directory(node: Node, pod: Namespace) -> None:
    """Everybody may see where the namespaces are; all else is root's, even if somebody has made it before."""
    node.run.mkdir(mode=0o777)
    (node.run / "attachments").mkdir(mode=0o777)
    node.run.joinpath("attachments").chmod(0o777)
    node.lan(spokes=["a"])
    with node.agent():
        node.add(pod, veth("a")).result()
        modes = {path.name: path.stat().st_mode & 0o777 for path in node.run.iterdir()}
        own = ("agent", "attachments", "lans", "spool", "unreleased")
        assert modes == {"netns": 0o755} | dict.fromkeys(own, 0o700)
        assert (node.run / "agent" / "cni.sock").stat().st_mode & 0o777 == 0o600
        assert all(p.stat().st_mode & 0o777 == 0o600 for p in (node.run / "attachments").iterdir())
        node.delete(pod, veth("a")).ok()


def test_a_stale_socket_and_unfinished_writes_are_no_trouble(node: Node) -> None:
    with node.agent() as agent:
        agent.kill()
    assert (node.run / "agent" / "cni.sock").is_socket()
    for folder in ("attachments", "lans", "spool"):
        (node.run / folder / ".half").write_bytes(b"{")
    with node.agent():
        node.assert_nothing_left()
        assert list((node.run / "lans").glob(".*")) == []
        node.cni("STATUS", "", veth("nowhere")).error(50)


def test_a_run_directory_with_too_long_a_name(node: Node) -> None:
    deep = node.folder / ("d" * 90)
    said = refused(node, "--run-dir", str(deep))
    assert "is too long for the path of a socket" in said


def test_a_run_directory_that_is_a_file(node: Node) -> None:
    node.run.write_text("x")
    assert f"cannot use the run directory {node.run}: Not a directory" in refused(node)


@contextmanager
def small(node: Node, options: str = "size=64k") -> Iterator[None]:
    """A run directory on a small file system of its own."""
    node.run.mkdir(exist_ok=True)
    command("mount", "-t", "tmpfs", "-o", options, "none", str(node.run))
    yield
    command("umount", "--lazy", str(node.run))


def fill(node: Node) -> None:
    """Leave no room in the run directory."""
    with (node.run / "fill").open("wb", buffering=0) as file:
        while room(file.fileno()):
            pass


def room(fd: int) -> bool:
    """Whether there was room for one more page in a file."""
    try:
        return os.write(fd, bytes(4096)) > 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


def test_a_full_run_directory(node: Node, pod: Namespace) -> None:
    """ADD is refused and leaves nothing; DEL of what is there works; with room again all is well."""
    node.lan(spokes=["a", "b"])
    with small(node), node.agent(), Namespace.create("pod") as other:
        node.add(other, veth("b")).result()
        fill(node)
        said = node.add(pod, veth("a")).error(5)
        assert f"cannot write a record into {node.run}/attachments: No space left on device" in said
        assert pod.links() == {}
        assert [record["container"] for record in node.records()] == [other.name]
        node.delete(pod, veth("a")).ok()
        (node.run / "fill").unlink()
        node.add(pod, veth("a")).result()
        fill(node)
        for one, spoke in ((pod, "a"), (other, "b")):
            node.delete(one, veth(spoke)).ok()
            assert one.links() == {}
        (node.run / "fill").unlink()
        assert node.records() == []
        assert list((node.run / "netns").iterdir()) == []


def test_a_lan_that_comes_while_there_is_no_room_works_all_the_same(node: Node, pod: Namespace) -> None:
    """That it is known is written down for a restart only."""
    with small(node), node.agent() as agent:
        fill(node)
        node.lan(spokes=["a"])
        agent.log.wait("the known LANs are not all written down: .*No space left on device")
        (node.run / "fill").unlink()
        node.add(pod, veth("a")).result()
        node.delete(pod, veth("a")).ok()


def test_no_room_for_the_spool(node: Node, pod: Namespace) -> None:
    node.lan(spokes=["a"])
    with small(node):
        with node.agent():
            node.add(pod, veth("a")).result()
        fill(node)
        for which in ("c", "python"):
            said = node.delete(pod, veth("a"), which=which).error(5)
            assert "No space left on device" in said
        (node.run / "fill").unlink()
        with node.agent():
            node.delete(pod, veth("a")).ok()


def test_an_agent_starts_in_a_full_run_directory_or_says_why_not(node: Node, pod: Namespace) -> None:
    node.lan(spokes=["a"])
    with small(node):
        with node.agent():
            node.add(pod, veth("a")).result()
        fill(node)
        with node.agent() as agent:
            assert agent.log.operations() == []
            node.delete(pod, veth("a")).ok()
            assert pod.links() == {}
    with small(node, "size=64k,nr_inodes=2"):
        assert "No space left on device" in refused(node)


def test_a_read_only_run_directory(node: Node, pod: Namespace) -> None:
    """Nothing is done that cannot be written down: the runtime asks again, and later it works."""
    node.lan(spokes=["a", "b"])
    with small(node):
        with node.agent(), Namespace.create("pod") as other:
            node.add(other, veth("b")).result()
            command("mount", "-o", "remount,ro", str(node.run))
            said = node.add(pod, veth("a")).error(5)
            assert f"cannot write a record into {node.run}/attachments: Read-only file system" in said
            assert pod.links() == {}
            assert "cannot remove a record" in node.delete(other, veth("b")).error(5)
            assert set(other.links()) == {"net1"}
            command("mount", "-o", "remount,rw", str(node.run))
            node.delete(other, veth("b")).ok()
            node.add(pod, veth("a")).result()
            node.delete(pod, veth("a")).ok()
            assert node.records() == []
        command("mount", "-o", "remount,ro", str(node.run))
        assert f"cannot use the run directory {node.run}: Read-only file system" in refused(node)


# ---------------------------------------------------------------- rights and bounds


def test_without_rights(node: Node) -> None:
    require("node", shutil.which("setpriv") is not None, "needs setpriv (Debian: util-linux)")
    argv = node.command()
    node.folder.chmod(0o777)
    python = argv.index(sys.executable)
    argv = (*argv[:python], "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", *argv[python:])
    done = run(*argv)
    assert done.returncode == 1
    assert "k8slan: the agent needs CAP_SYS_ADMIN and CAP_NET_ADMIN" in done.stderr
    assert "Traceback" not in done.stderr


def test_few_descriptors(pod: Namespace) -> None:
    """An ADD that finds none left fails with words, and the agent goes on."""
    with Node.create() as node:
        lans = [node.lan(dynamic=True) for _ in range(24)]
        limit = ("prlimit", "--nofile=48:48")
        command_of = node.command
        node.command = lambda *a, **o: (*limit, *command_of(*a, **o))  # type: ignore[method-assign,arg-type]
        with node.agent() as agent:
            outcomes: list[Outcome] = []
            for number, lan in enumerate(lans):
                outcomes.append(node.add(pod, dynamic(f"default/{lan}"), ifname=f"net{number}"))
                if outcomes[-1].status:
                    break
            assert agent.process.poll() is None
            assert b'"code":102' in outcomes[-1].stdout or b'"code":5' in outcomes[-1].stdout
            assert b"Too many open files" in outcomes[-1].stdout
            assert len(node.records()) == len(outcomes) - 1 > 2
            for number, lan in enumerate(lans):  # a DEL may need to be repeated, and a LAN in trouble some time
                config, ifname = dynamic(f"default/{lan}"), f"net{number}"
                eventually("DEL", lambda c=config, i=ifname: node.delete(pod, c, ifname=i).status == 0)
            eventually("all LANs go", lambda: not list((node.run / "netns").iterdir()))
            node.assert_nothing_left()
            assert pod.links() == {}


# ---------------------------------------------------------------- many at once


@pytest.mark.parametrize("kind", ["one LAN", "a dynamic LAN"])
def test_a_hundred_adds_and_a_hundred_dels_at_once(kind: str, record_property: pytest.RecordProperty) -> None:
    count = 100
    with Node.create() as node, pods(count) as all_pods:
        spokes = [f"s{number}" for number in range(count)]
        lan = node.lan(spokes=spokes) if kind == "one LAN" else node.lan(dynamic=True)
        configs = [veth(s) if kind == "one LAN" else dynamic(f"default/{lan}") for s in spokes]
        with node.agent() as agent:
            calls = [node.start("ADD", pod, config) for pod, config in zip(all_pods, configs, strict=True)]
            added = [call() for call in calls]
            for outcome in added:
                outcome.result()
            assert len(node.inside(lan).links()) == count + 2
            macs = {pod.links()["net1"]["address"] for pod in all_pods}
            assert len(macs) == len(node.records()) == count
            calls = [node.start("DEL", pod, config) for pod, config in zip(all_pods, configs, strict=True)]
            deleted = [call() for call in calls]
            for outcome in deleted:
                outcome.ok()
            node.assert_nothing_left()
            assert all(pod.links() == {} for pod in all_pods)
            assert "cannot" not in str(agent.log)
        for name, outcomes in (("ADD", added), ("DEL", deleted)):
            record_property(f"{name} slowest of {count}, {kind}", f"{max(o.seconds for o in outcomes):.2f} s")


def test_many_lans_at_once() -> None:
    """Each with a pod of its own and a VM, all at the same time, and gone together."""
    with Node.create() as node, pods(16) as several:
        lans = []
        for _ in several:
            spokes = [names.unique("v"), names.unique("v")]
            node.lan(spokes=spokes)
            lans.append(spokes)
        with node.agent():
            calls = [
                node.start("ADD", pod, kind(spoke), ifname=f"net{number}")
                for pod, spokes in zip(several, lans, strict=True)
                for number, (kind, spoke) in enumerate(zip((veth, macvtap), spokes, strict=True))
            ]
            for call in calls:
                call().result()
            calls = [
                node.start("DEL", pod, kind(spoke), ifname=f"net{number}")
                for pod, spokes in zip(several, lans, strict=True)
                for number, (kind, spoke) in enumerate(zip((veth, macvtap), spokes, strict=True))
            ]
            for call in calls:
                call().ok()
            node.assert_nothing_left()


def test_the_node_name_and_the_host_name_choose_the_underlay(node: Node, pod: Namespace) -> None:
    """``vxlanDevMap`` may speak of a node by either."""
    lan = node.lan(spokes=["a"], defaultVxlanDev="nowhere0", vxlanDevMap={socket.gethostname().lower(): "eth0"})
    with node.agent("--node-name", "another"):
        if socket.gethostname() == socket.gethostname().lower():
            node.add(pod, veth("a")).result()
            assert "vxlan0" in node.inside(lan).links()
            node.delete(pod, veth("a")).ok()
