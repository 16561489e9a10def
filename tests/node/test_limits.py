"""What a node or a process can run out of: the error names the limit and what to raise, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import pytest

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.agent.passes import Aim, Self, run_pass
from k8slan_cli.agent.paths import Paths
from k8slan_cli.errors import KernelError
from k8slan_cli.lan.model import LanRef
from k8slan_cli.net import netns
from k8slan_cli.net.node import Node
from tests.support.agents import Node as Machine
from tests.support.agents import pods, run, veth
from tests.support.limits import descriptors_left
from tests.support.netns import Namespace


@pytest.fixture
def node() -> Iterator[Machine]:
    with Machine.create() as node:
        yield node


def said(*command: str) -> str:
    """What a command that has to fail says on stderr."""
    done = run(*command)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr, done.stderr
    assert "internal error" not in done.stderr
    return done.stderr


def test_a_full_run_directory_says_what_to_free(tmp_path: Path) -> None:
    with Machine.create() as node:
        node.lan(spokes=["a"])
        full = f'mount -t tmpfs -o nr_inodes=1 none {tmp_path} && exec "$0" "$@" --run-dir {tmp_path}/run'
        words = said("unshare", "--mount", "sh", "-c", full, *node.command())
        assert f"cannot use the run directory {tmp_path}/run: No space left on device" in words
        assert f"make room: see df and df -i {tmp_path}/run" in words


@pytest.mark.parametrize("most", range(8, 19, 2))
def test_an_agent_without_descriptors_says_so(node: Machine, most: int) -> None:
    node.lan(spokes=["a"])
    words = said("prlimit", f"--nofile={most}:{most}", *node.command())
    assert "Too many open files: " in words
    assert f"this process may have {most} descriptors: raise the limit (ulimit -n" in words


@pytest.mark.parametrize(
    ("limit", "left", "why", "advice"),
    [
        ("max_inotify_instances", 0, "no inotify instance is left to this user", "fs.inotify.max_user_instances"),
        ("max_inotify_instances", 1, "no inotify instance is left to this user", "fs.inotify.max_user_instances"),
        ("max_inotify_watches", 0, "no inotify watch is left to this user", "fs.inotify.max_user_watches"),
        ("max_inotify_watches", 1, "no inotify watch is left to this user", "fs.inotify.max_user_watches"),
    ],
)
def test_an_agent_without_inotify_says_so(node: Machine, limit: str, left: int, why: str, advice: str) -> None:
    """The first is for the folder of LANs, the second for the spool."""
    what = node.files if left == 0 else node.run / "spool"
    script = f'echo {left} >/proc/sys/user/{limit} && exec "$0" "$@"'
    agent = (sys.executable, "-m", "k8slan_cli", "node-agent", "--lan-dir", str(node.files), "--run-dir", str(node.run))
    words = said("unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", script, *agent, "--http", "")
    assert f" {what}: {why}\n  raise sysctl {advice}\n" in words


def test_a_node_without_network_namespaces_says_so(tmp_path: Path) -> None:
    script = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$0" "$@"'
    create = f"from pathlib import Path; from k8slan_cli.net import netns; netns.create(Path('{tmp_path}/x'))"
    done = run("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, "-c", create)
    assert (
        "create the namespace x: No space left on device: unshare (raise sysctl user.max_net_namespaces)" in done.stderr
    )


@pytest.mark.parametrize("left", range(3))
def test_a_namespace_that_no_descriptor_is_left_for_says_so(tmp_path: Path, left: int) -> None:
    """Making one takes two at a time, for what is to come back to and for what is new."""
    made: list[int] = []
    here = netns.own()
    try:
        for doing, make in (
            ("create the namespace x", lambda: netns.create(tmp_path / "x")),
            ("create a namespace", lambda: made.append(netns.anonymous())),
            ("mount the namespace y", lambda: netns.mount(here, tmp_path / "y")),
        ):
            if left == 2:
                with descriptors_left(2):
                    make()
                continue
            with (
                descriptors_left(left),
                pytest.raises(KernelError, match=f"^{doing}: Too many open files: /") as caught,
            ):
                make()
            assert "descriptors: raise the limit (ulimit -n" in caught.value.hint
    finally:
        for fd in (here, *made):
            os.close(fd)
        for name in ("x", "y"):
            netns.delete(tmp_path / name)


def test_an_agent_takes_all_descriptors_that_it_may_have(node: Machine) -> None:
    with node.agent() as agent:
        before = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
        assert before[0] == before[1]


def test_threads_that_are_used_up_are_named() -> None:
    """By a user's limit, which root has none of."""
    script = (
        "import os, resource, threading\n"
        "from k8slan_cli import limits\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (8, 8))\n"
        "os.setuid(54321)\n"
        "over = threading.Event()\n"
        "try:\n"
        "    while True: threading.Thread(target=over.wait).start()\n"
        "except RuntimeError as error:\n"
        "    over.set()\n"
        "    print(limits.shortage(error))\n"
    )
    done = run(sys.executable, "-c", script, seconds=30)
    assert "raise the limit of processes and threads (ulimit -u, pids.max of its cgroup)" in done.stdout, done.stderr


def test_a_running_agent_that_runs_out_of_descriptors_lives_on(node: Machine) -> None:
    """Each LAN takes some; what there are none for fails with the reason, until there are some again."""
    for number in range(_LANS):
        node.lan(spokes=[f"s{number}"])
    with pods(_LANS) as made, node.agent() as agent:
        most = agent.descriptors() + _LANS
        before = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (most, before[1]))
        for number, pod in enumerate(made):
            outcome = node.add(pod, veth(f"s{number}"))
            if outcome.status:
                break
        assert outcome.status == 1
        words = outcome.stdout.decode()
        assert "Too many open files" in words
        assert f"this process may have {most} descriptors: raise the limit (ulimit -n" in words
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, before)
        node.delete(made[0], veth("s0")).ok()
        node.add(made[number], veth(f"s{number}")).result()
        for number, pod in enumerate(made):
            node.delete(pod, veth(f"s{number}")).ok()
        node.assert_nothing_left()


_LANS = 24


def test_a_namespace_that_cannot_be_opened_is_not_gone(tmp_path: Path) -> None:
    """A pod must not be taken for gone because the agent has no descriptor for it."""
    with Namespace.create("pod") as pod:
        with descriptors_left(1), pytest.raises(KernelError, match="Too many open files") as caught:
            netns.open_under(Path("/"), str(pod.path))
        assert str(pod.path) in caught.value.message
        fd = netns.open_under(Path("/"), str(pod.path))
        assert fd is not None
        os.close(fd)
    for name in ("nothing", "file/below", "loop", "file", "x" * 300):
        (tmp_path / "file").write_bytes(b"")
        (tmp_path / "loop").unlink(missing_ok=True)
        (tmp_path / "loop").symlink_to("loop")
        assert netns.open_under(tmp_path, name) is None


def test_passes_over_one_namespace_take_turns(tmp_path: Path) -> None:
    """One closes descriptors that the other would use, if a LAN takes over the namespace of one that goes."""
    paths = Paths(tmp_path / "run")
    paths.create()
    node = Node(paths.netns)
    aim = Aim(lan=None, netns="x", me=Self(name="n"), attachments=())
    with ThreadPoolExecutor(1) as pool:
        with node.turn("x"):
            second = pool.submit(run_pass, node, aim, {})
            assert not wait([second], 0.2).done
            assert not run_pass(node, replace(aim, netns="y"), {}).failures
        assert not second.result(10).failures
    node.close()


def test_closing_while_loops_end(tmp_path: Path) -> None:
    """A loop that finishes while the agent closes takes itself out of what is closed."""
    paths = Paths(tmp_path / "run")
    paths.create()

    async def close() -> None:
        agent = Agent(paths, Self(name="n", aliases=frozenset(), address=None))
        for name in ("a", "b", "c"):
            ref = LanRef(namespace="x", name=name)
            loop = LanLoop(ref, name, agent.node, agent.me, agent.attachments, agent._after_pass)
            agent.loops[ref, name] = loop
            loop.wake()
        await agent.close()
        assert not agent.loops

    asyncio.run(close())
