"""The tests' own tools on real parts: a helper that is wrong makes every test that uses it worthless."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import leaks, names
from tests.support.netns import DIRECTORY, Namespace, command, veth


def test_a_cable_carries_and_everything_is_gone_afterwards() -> None:
    with Namespace.create("a") as a, Namespace.create("b") as b:
        veth(a, "eth0", b, "eth1", mtu=1400)
        a.ip("address", "add", "192.0.2.1/24", "dev", "eth0")
        b.ip("address", "add", "192.0.2.2/24", "dev", "eth1")
        assert a.links()["eth0"]["mtu"] == 1400
        with b.start("sh", "-c", "echo ready; cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            assert running.pid in b.pids()
        reply = a.run(sys.executable, "-c", _CONNECT, "192.0.2.2")
        assert reply.strip() == "refused"  # only a machine at the other end of the cable can refuse
        made = {a.path, b.path}
        assert made <= set(DIRECTORY.iterdir())
    assert not made & set(DIRECTORY.iterdir())


_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=10)
except ConnectionRefusedError:
    print("refused")
"""


def test_a_process_left_in_a_namespace_fails_its_test_and_is_killed() -> None:
    theirs, ours = os.pipe()
    block = Namespace.create()
    namespace = block.__enter__()
    process = subprocess.Popen(["ip", "netns", "exec", namespace.name, "cat"], stdin=theirs)
    while process.pid not in namespace.pids():
        assert process.poll() is None
    with pytest.raises(AssertionError, match=f"processes were left .*{process.pid}"):
        block.__exit__(None, None, None)
    assert process.wait(timeout=10) == -signal.SIGKILL
    os.close(theirs)
    os.close(ours)


def test_a_command_that_fails_shows_what_it_said() -> None:
    with Namespace.create() as namespace, pytest.raises(AssertionError, match="nosuchlink"):
        namespace.ip("link", "show", "nosuchlink")


@pytest.mark.parametrize("everything", [True, False])
def test_the_guard_sees_each_kind_of_leak(tmp_path: Path, everything: bool) -> None:
    def look() -> leaks.Snapshot:
        return leaks.Snapshot.take(tmp_path, everything=everything)

    def kinds(before: leaks.Snapshot) -> set[str]:
        return {line.partition(":")[0] for line in look().since(before)}

    before = look()
    link, folder, mount = names.unique(), Path("/run", names.unique()), tmp_path / "mount point"
    mount.mkdir()
    with Namespace.create():
        assert "namespaces" in kinds(before)
        command("ip", "link", "add", link, "type", "bridge")
        folder.mkdir()
        command("mount", "-t", "tmpfs", "none", str(mount))
        try:
            assert {"namespaces", "links", "folders", "mounts"} <= kinds(before)
        finally:
            command("umount", str(mount))
            folder.rmdir()
            command("ip", "link", "delete", link)
    assert not kinds(before)


def test_the_guard_sees_a_process_whose_parent_has_ended(tmp_path: Path) -> None:
    before = leaks.Snapshot.take(tmp_path, everything=False)
    theirs, ours = os.pipe()
    script = "exec 3<&0; cat <&3 >/dev/null 2>&1 & echo $!"
    try:
        orphan = int(
            subprocess.run(["sh", "-c", script], stdin=theirs, stdout=subprocess.PIPE, text=True, check=True).stdout
        )
        [line] = leaks.Snapshot.take(tmp_path, everything=False).since(before)
        assert re.fullmatch(rf"processes: {orphan} \((cat|sh)\)", line)
    finally:
        os.close(theirs)
        os.close(ours)  # the end of what the orphan reads
    assert os.waitpid(orphan, 0) == (orphan, 0)  # it has become our child
    assert not leaks.Snapshot.take(tmp_path, everything=False).since(before)
