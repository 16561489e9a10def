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

ROOT = Path(__file__).parents[2]


def test_a_cable_carries_and_everything_is_gone_afterwards() -> None:
    with Namespace.create("a") as a, Namespace.create("b") as b:
        veth(a, "eth0", b, "eth1", mtu=1400)
        a.ip("address", "add", "192.0.2.1/24", "dev", "eth0")
        b.ip("address", "add", "192.0.2.2/24", "dev", "eth1")
        assert a.links()["eth0"]["mtu"] == 1400
        with b.start("cat", "/dev/stdin", stdin=subprocess.PIPE) as running:
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


def test_names_are_new_each_time_and_fit_an_interface() -> None:
    made = [names.unique("spk") for _ in range(100)]
    assert len(set(made)) == 100
    assert all(re.fullmatch(r"k8t[a-z0-9]{3}spk[0-9]{1,4}", name) for name in made)
    with pytest.raises(ValueError, match="longer than 13"):
        names.unique("far-too-long")


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


_SUITE = """
import pytest
from tests.support.require import require

def test_helper():
    require("node", False, "no such tool")

@pytest.mark.skip(reason="any other skip")
def test_mark():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_known():
    raise AssertionError
"""


def _run_suite(directory: Path, **environment: str) -> str:
    """A run of pytest over a small tests/node of its own, with this project's hooks; what it printed."""
    suite = directory / "tests" / "node"
    suite.mkdir(parents=True)
    (directory / "tests" / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (suite / "test_skips.py").write_text(_SUITE)
    (suite / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    (directory / "pytest.ini").write_text("[pytest]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "K8SLAN"))}
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "-rs",
        "--continue-on-collection-errors",
    ]
    done = subprocess.run(
        argv,
        cwd=directory,
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_skips_say_why(tmp_path: Path) -> None:
    said = _run_suite(tmp_path)
    assert "3 skipped, 1 xfailed" in said
    assert "no such tool" in said


def test_no_skip_slips_through_where_the_suite_is_required(tmp_path: Path) -> None:
    said = _run_suite(tmp_path, K8SLAN_REQUIRE="node,cluster")
    assert re.search(r"K8SLAN_REQUIRE names 'node', .*no such tool", said)
    assert re.search(r"K8SLAN_REQUIRE names 'node', .*any other skip", said)
    assert re.search(r"K8SLAN_REQUIRE names 'node', .*no_such_module", said)
    assert "skipped" not in said.splitlines()[-1]


def test_another_suite_may_skip(tmp_path: Path) -> None:
    assert "3 skipped, 1 xfailed" in _run_suite(tmp_path, K8SLAN_REQUIRE="cluster")
