"""The demo from end to end, as root and not: what it proves, what it reports, and that nothing of it stays."""

from __future__ import annotations

import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest
from asyncinotify import Inotify, Mask

from k8slan_cli.demo.sandbox import Failed, Kept, Sandbox, Teller, kept, remove, sandbox
from k8slan_cli.errors import K8slanError
from k8slan_cli.probe.frames import CLASSES
from tests.support.require import require

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
COMMAND = ("-m", "k8slan_cli", "demo")


# ---------------------------------------------------------------- running it


def environment(home: Path, **more: str) -> dict[str, str]:
    """What the demo sees of ours; its temporary files and its home are where we can look."""
    kept_words = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "TERM", "K8SLAN_REQUIRE")}
    utf8 = {"TMPDIR": str(home), "HOME": str(home), "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}
    return kept_words | utf8 | more


def demo(home: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, as root."""
    return subprocess.run(
        [sys.executable, *COMMAND, *options],
        cwd=ROOT,
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def running(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run it, to be read from and sent signals."""
    with subprocess.Popen(
        [sys.executable, *COMMAND, *options],
        cwd=ROOT,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def descendants(pid: int) -> list[int]:
    """Every process below one, children before their own."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def rows(output: str) -> dict[str, list[str]]:
    """The table: what is in the columns behind each class of frames."""
    titles = [c.title for c in CLASSES]
    lines = [line for line in output.splitlines() for title in titles if line.strip().startswith(f"{title}  ")]
    return {title: line.strip()[len(title) :].split() for line, title in zip(lines, titles, strict=True)}


def taps(output: str) -> list[Path]:
    """The device files that a picture names."""
    return [Path("/dev", name) for name in re.findall(r"\btap\d+", output)]


def wait_until_gone(path: Path) -> None:
    """A network namespace, and so its tap, is taken down by the kernel a moment after its last process has ended."""
    with Inotify(sync_timeout=60) as events:
        events.add_watch(path.parent, Mask.DELETE)
        while path.exists():
            assert events.sync_get(), f"{path} is still there"


def assert_nothing_left(home: Path, output: str) -> None:
    """No tap, mount, process or file of a demo that has printed ``output``."""
    for tap in taps(output):
        wait_until_gone(tap)
    assert "k8slan-demo" not in Path("/proc/self/mountinfo").read_text()
    assert kept() == []
    assert list(home.iterdir()) == []


# ---------------------------------------------------------------- as root


@pytest.mark.parametrize("options", [[], ["--ipv6"], ["--multicast"], ["--ipv6", "--multicast"], ["--nodes", "3"]])
def test_every_class_of_frames_passes_on_every_way(options: Sequence[str], tmp_path: Path) -> None:
    done = demo(tmp_path, *options)
    ways = 5 if "--nodes" in options else 4
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert all(len(cells) == ways and all(map(str.isdigit, cells)) for cells in rows(done.stdout).values())
    assert f"all 34 classes of frames passed on {ways} ways ({34 * 3 * ways} frames)" in done.stdout
    assert f"MTU {1426 if '--ipv6' in options else 1446}" in done.stdout
    assert ("group " in done.stdout) == ("--multicast" in options)
    assert done.stdout.count("CNI ADD") == done.stdout.count("CNI DEL") == (5 if "--nodes" in options else 4)
    assert_nothing_left(tmp_path, done.stdout)


def test_the_picture_shows_what_is_there(tmp_path: Path) -> None:
    done = demo(tmp_path)
    (vm,) = set(re.findall(r"\bvm[0-9a-f]{4}\b", done.stdout))
    for words in ("┌ node1 ─", "┌ node2 ─", "┌ pod1 ─", "┌ pod2 ─", "┌ pod3 ─", f"╔ {vm} ═", f"╟─ {vm}p ──┨"):
        assert done.stdout.count(words) == 1, words
    assert done.stdout.count("vxlan0 ╿") == 2
    assert "══ underlay, MTU 1500 ═" in done.stdout
    assert len(taps(done.stdout)) == 1
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_terminal_without_box_drawing_gets_ascii(tmp_path: Path) -> None:
    done = demo(tmp_path, "--exec", "ip -n pod3 link set net1 mtu 1300", PYTHONIOENCODING="ascii")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.isascii()
    assert "| + pod1 ----" in done.stdout


def test_mermaid_alone_goes_to_stdout_and_the_svg_into_its_file(tmp_path: Path) -> None:
    picture = tmp_path / "lan.svg"
    done = demo(tmp_path, "--mermaid", "--svg", str(picture))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("---\ntitle: ")
    assert done.stdout.count(" ---|") == 6
    assert "all 34 classes" in done.stderr
    shown = "".join(ElementTree.fromstring(picture.read_text()).itertext())  # noqa: S314
    assert all(word in shown for word in ("node1", "node2", "pod1", "pod2", "pod3", "vxlan0", "underlay"))


def test_a_picture_that_cannot_be_written_is_told_before_anything_is_made(tmp_path: Path) -> None:
    done = demo(tmp_path, "--svg", str(tmp_path / "nowhere" / "lan.svg"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no folder" in done.stderr


@pytest.mark.parametrize("compiler", [True, False])
def test_without_a_built_forwarder_one_is_compiled_or_the_python_client_serves(compiler: bool, tmp_path: Path) -> None:
    if compiler:
        require("node", bool(shutil.which("make") and shutil.which("cc")), "needs make and a C compiler")
    home, empty, copy = tmp_path / "home", tmp_path / "empty", tmp_path / "copy"
    home.mkdir()
    empty.mkdir()
    shutil.copytree(ROOT / "k8slan_cli", copy / "k8slan_cli", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "cni_plugins", copy / "cni_plugins", ignore=shutil.ignore_patterns("build"))
    done = subprocess.run(
        [sys.executable, *COMMAND],
        cwd=copy,
        env=environment(home, **({} if compiler else {"PATH": str(empty)})),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("CNI executable compiled" in done.stdout) == compiler
    assert ("no C compiler here" in done.stdout) != compiler
    assert "all 34 classes of frames passed on 4 ways" in done.stdout
    assert not (copy / "cni_plugins" / "build").exists()
    assert_nothing_left(home, done.stdout)


# ---------------------------------------------------------------- what is broken is told


def test_a_cut_underlay_fails_the_ways_across_nodes_and_no_other(tmp_path: Path) -> None:
    done = demo(tmp_path, "--exec", "ip -n underlay link set node2 down")
    assert done.returncode == 1, done.stdout + done.stderr
    for cells in rows(done.stdout).values():
        assert cells[0].isdigit()
        assert cells[1:] == ["dropped"] * 3
    assert "34 of 34 classes of frames did not pass" in done.stdout
    assert "LLDP, pod1 → pod3: dropped (to 01:80:c2:00:00:0e" in done.stdout
    assert_nothing_left(tmp_path, done.stdout)


def test_one_narrow_pod_fails_full_size_frames_to_it_and_no_other(tmp_path: Path) -> None:
    done = demo(tmp_path, "--exec", "ip -n pod2 link set net1 mtu 1300")
    assert done.returncode == 1, done.stdout + done.stderr
    failed = {title: cells for title, cells in rows(done.stdout).items() if not all(map(str.isdigit, cells))}
    assert [cells[0] for cells in failed.values()] == ["dropped"] * 2
    assert list(failed) == ["Full size, untagged", "Full size, 802.1Q tag"]


def test_a_command_that_fails_ends_it_with_what_it_said(tmp_path: Path) -> None:
    done = demo(tmp_path, "--exec", "ip -n nowhere link")
    assert done.returncode == 1
    assert "'ip -n nowhere link' ended with" in done.stderr
    assert "nowhere" in done.stderr
    assert_nothing_left(tmp_path, done.stdout)


# ---------------------------------------------------------------- nothing stays

MOMENTS = ["2 nodes", "an agent in each", "CNI ADD  k8slanveth     pod1", "LAN default", "CNI DEL  k8slanmacvtap"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupting_it_leaves_nothing(number: signal.Signals, moment: str, tmp_path: Path) -> None:
    interrupt(number, moment, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_interrupting_it_while_a_command_runs_inside_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    interrupt(number, "═ underlay", tmp_path, "--exec", "exec sleep 1000")


def interrupt(number: signal.Signals, moment: str, home: Path, *options: str) -> None:
    """Send a signal when a line has come, and look what is left."""
    output = ""
    with running(home, *options) as process:
        assert process.stdout
        for line in process.stdout:
            output += line
            if moment in line:
                break
        first, *others = descendants(process.pid)
        assert others or moment == MOMENTS[0]
        process.send_signal(number)
        output += process.stdout.read()
        status = process.wait(SECONDS)
    assert moment in output
    assert "Traceback" not in output
    assert status == (-number if number == signal.SIGKILL else 128 + number)
    if number == signal.SIGKILL:
        # The orphan is ours then (leaks.adopt_orphans), and ends when all below it have: by the kernel's signal, or
        # by itself should it find sooner that nobody listens any more.
        assert os.waitpid(first, 0)[1] in (signal.SIGKILL, 1 << 8)
    assert [pid for pid in (first, *others) if Path(f"/proc/{pid}").exists()] == []
    assert_nothing_left(home, output)


def test_a_reader_that_goes_away_ends_it(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(SECONDS) == 1
    assert_nothing_left(tmp_path, "")


def test_an_interrupted_terminal_gets_its_cursor_back(tmp_path: Path) -> None:
    screen, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, *COMMAND, "--exec", "exec sleep 1000"],
        cwd=ROOT,
        env=environment(tmp_path, TERM="xterm"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        shown = b""
        while b"exec sleep 1000" not in shown:
            shown += os.read(screen, 1 << 16)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # EIO: nobody has the terminal open any more
            while more := os.read(screen, 1 << 16):
                shown += more
        assert process.wait(SECONDS) == 130
    os.close(screen)
    hide, show = b"\x1b[?25l", b"\x1b[?25h"
    assert 0 <= shown.find(hide) < shown.rfind(show)
    assert shown.rfind(hide) < shown.rfind(show)
    assert_nothing_left(tmp_path, shown.decode())


# ---------------------------------------------------------------- kept


def test_a_kept_demo_can_be_looked_into_and_removed(tmp_path: Path) -> None:
    done = demo(tmp_path, "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    (pid,) = kept()
    try:
        (enter,) = re.findall(r"^  (nsenter .*)$", done.stdout, re.MULTILINE)
        assert f"-t {pid} " in enter
        look = "ip netns; bridge -n node1-lan fdb show; cat /run/node1/agent.log"
        inside = subprocess.run([*enter.split(), "sh", "-c", look], capture_output=True, text=True, check=True)
        assert {"underlay", "node1", "node2", "pod1", "pod2", "pod3", "node1-lan"} <= set(inside.stdout.split())
        assert "dev vxlan0" in inside.stdout
        assert "attached default/pod1" in inside.stdout
        assert not Path("/run/netns/node1").exists()
        assert taps(done.stdout)[0].exists()
    finally:
        inside_it = [pid, *descendants(pid)]
        down = demo(tmp_path, "--down")
        os.waitpid(pid, 0)
    assert (down.returncode, down.stdout) == (0, "removed: 1 kept demo\n")
    assert [p for p in inside_it if Path(f"/proc/{p}").exists()] == []
    assert_nothing_left(tmp_path, done.stdout)
    assert demo(tmp_path, "--down").stdout == "no demo is kept up\n"


# ---------------------------------------------------------------- as a normal user


@pytest.fixture(scope="session")
def nobody() -> list[str]:
    """A Python that the user ``nobody`` can run, with what k8slan needs; the checkout's may lie in root's home."""
    path, minor = os.pathsep.join([str(ROOT), *filter(None, sys.path)]), sys.version_info[1]
    for python in dict.fromkeys([sys.executable, "/usr/bin/python3", f"/usr/bin/python3.{minor}"]):
        needs = (
            f"import sys, typer, rich, yaml, asyncinotify, prometheus_client; sys.exit(sys.version_info[1] - {minor})"
        )
        try:
            tried = run_as_nobody([python, "-c", needs], {"PYTHONPATH": path, "PATH": os.environ["PATH"]})
        except OSError:
            continue
        if tried.returncode == 0:
            return [python, path]
    require("node", False, "needs a Python that user nobody may run, with k8slan's requirements in reach")
    raise AssertionError


def run_as_nobody(argv: Sequence[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    user = pwd.getpwnam("nobody")
    return subprocess.run(
        argv,
        cwd="/",
        env=env,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_normal_user_has_all_but_the_vm_and_is_told(nobody: list[str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    python, path = nobody
    closed = Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0"
    require("node", not closed, "user.max_user_namespaces is 0")
    done = run_as_nobody([python, *COMMAND], environment(home, PYTHONPATH=path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 34 classes of frames passed on 2 ways" in done.stdout
    assert re.search(r"^! vm[0-9a-f]{4} takes no part in the probe: cannot open /dev/tap\d+: Perm", done.stdout, re.M)
    assert "not tried: the ways to and from vm" in done.stdout
    assert_nothing_left(home, done.stdout)


def test_a_user_who_may_make_no_world_is_told_why(tmp_path: Path) -> None:
    """Root of a user namespace that allows no further one, without any capability: as a normal user elsewhere."""
    closed = 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all -- "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", closed, "sh", sys.executable, *COMMAND],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "cannot make a world of its own" in done.stderr
    assert "user.max_user_namespaces is 0" in done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- the sandbox by itself


def told(play: object) -> list[object]:
    assert callable(play)
    with sandbox(play) as world:
        return list(world.values())


def test_the_world_inside_is_its_own() -> None:
    def look(teller: Teller) -> None:
        teller.tell((os.getpid(), os.geteuid(), list(Path("/run").iterdir())))
        teller.tell([name for _, name in socket.if_nameindex()])
        teller.tell([entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()])
        Path("/run/file").write_text("x")

    assert told(look) == [(1, 0, []), ["lo"], ["1"]]
    assert not Path("/run/file").exists()


def test_errors_inside_come_out_as_words() -> None:
    def fail(_teller: Teller) -> None:
        raise K8slanError("it is broken", hint="mend it")

    def crash(_teller: Teller) -> None:
        raise ZeroDivisionError("oh")

    assert told(fail) == [Failed("it is broken", "mend it")]
    (crashed,) = told(crash)
    assert isinstance(crashed, Failed)
    assert crashed.words == "ZeroDivisionError('oh')"
    assert 'raise ZeroDivisionError("oh")' in crashed.trace


def test_leaving_the_block_ends_everything_inside() -> None:
    def stay(teller: Teller) -> None:
        child = subprocess.Popen(["sleep", "1000"])
        teller.tell("up")
        child.wait()

    with sandbox(stay) as world:
        assert next(iter(world.values())) == "up"
        pids = [world.pid, *descendants(world.pid)]
        assert len(pids) == 2
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_a_kept_world_stays_until_it_is_removed_and_no_other_process_is_taken_for_one() -> None:
    worlds: list[Sandbox] = []
    with sandbox(lambda teller: teller.keep()) as world:
        worlds.append(world)
        assert list(world.values()) == [Kept()]
    assert world.pid in kept()
    handle = os.pidfd_open(world.pid)
    assert not remove(os.getpid())
    assert remove(world.pid)
    ended = select.poll()
    ended.register(handle, select.POLLIN)
    assert ended.poll(0)
    os.close(handle)
    assert world.pid not in kept()
    assert not remove(world.pid)
    assert os.waitpid(world.pid, 0)[1] == signal.SIGKILL
    assert not remove(world.pid)


def test_a_kept_world_ends_on_sigterm() -> None:
    with sandbox(lambda teller: teller.keep()) as world:
        list(world.values())
    os.kill(world.pid, signal.SIGTERM)
    assert os.waitpid(world.pid, 0)[1] == 0
