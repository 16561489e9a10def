"""The CNI clients, C forwarder and Python, as a runtime sees them: one suite holds both to the same bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from k8slan_cli.cni import versions
from tests.support.fake_agent import FakeAgent, Script, answers, dribbles, hangs, sends
from tests.support.netns import Namespace, command

CHECKOUT = Path(__file__).parents[2]
SOURCES = CHECKOUT / "cni_plugins"
CONFIG = b'{"cniVersion":"0.4.0","name":"k8slan-veth-a","type":"k8slanveth","veth":"a"}'
RESULT = b'{"cniVersion":"0.4.0","interfaces":[{"name":"net1"}],"ips":[]}'
VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
WHEN_GONE = {"ADD": 11, "CHECK": 11, "GC": 11, "STATUS": 50}
BRIEFLY = {"K8SLAN_TIMEOUT": "0.4"}
SOON = 15.0
"""Seconds that a client bounded to a fraction of one may take on a busy machine; its own bound is 20 and more."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call ended."""

    status: int
    stdout: bytes
    stderr: bytes
    seconds: float

    def error(self) -> dict[str, Any]:
        """The error object, and that there is nothing beside it."""
        assert (self.status, self.stderr) == (1, b""), self
        document = json.loads(self.stdout)
        assert set(document) <= {"cniVersion", "code", "msg", "details"}, document
        return document


@dataclass(frozen=True, kw_only=True)
class Client:
    """One of the two executables, and the run directory of its agent."""

    argv: tuple[str, ...]
    run_dir: Path

    def environ(self, verb: str, **more: str) -> dict[str, str]:
        """What a runtime sets for a verb; a variable that is given as "" is left out."""
        environ = {"PATH": os.environ["PATH"], "K8SLAN_RUN_DIR": str(self.run_dir), "CNI_COMMAND": verb}
        environ |= {"CNI_PATH": "/opt/cni/bin", "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web"}
        if verb in ("ADD", "DEL", "CHECK"):
            environ |= {"CNI_CONTAINERID": "c0ffee", "CNI_IFNAME": "net1", "CNI_NETNS": "/proc/self/ns/net"}
        return {name: value for name, value in (environ | more).items() if value}

    def call(self, verb: str, stdin: Any = CONFIG, **more: str) -> Outcome:
        """Run it once; ``stdin`` is bytes or something with a descriptor."""
        source = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        begin = time.monotonic()
        done = subprocess.run(
            self.argv, env=self.environ(verb, **more), capture_output=True, timeout=90, check=False, **source
        )
        return Outcome(status=done.returncode, stdout=done.stdout, stderr=done.stderr, seconds=time.monotonic() - begin)

    def spooled(self) -> list[bytes]:
        """The requests left for later; nothing half-written may lie beside them."""
        files = sorted((self.run_dir / "spool").iterdir())
        assert all(re.fullmatch(r"del-[0-9a-f]{16}", file.name) for file in files), files
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
        return [file.read_bytes() for file in files]

    def assert_gone(self, verb: str, outcome: Outcome) -> None:
        """The answer to ``verb`` when there is none from the agent."""
        if verb == "DEL":
            assert (outcome.status, outcome.stdout, outcome.stderr) == (0, b"", b"")
            (payload,) = self.spooled()
            assert b"CNI_CONTAINERID=c0ffee\0" in payload
            assert payload.endswith(b"\0\0" + CONFIG)
            return
        error = outcome.error()
        assert (error["code"], error["cniVersion"]) == (WHEN_GONE[verb], "0.4.0")
        assert str(self.run_dir / "agent/cni.sock") in error["msg"]
        assert "kubectl -n k8slan-system get pods -o wide" in error["details"]
        assert self.spooled() == []


@pytest.fixture(scope="session")
def forwarder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("forwarder")
    command("make", "-s", "-C", str(SOURCES), f"BUILD={build}", seconds=120)
    return build / "k8slan-cni"


@pytest.fixture(scope="session")
def wrapper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python client as multus would call it: a shell script under the plugin's name."""
    script = tmp_path_factory.mktemp("wrapper") / "k8slanveth"
    script.write_text(f'#!/bin/sh\ncd {CHECKOUT} && exec {sys.executable} -m k8slan_cli.cli.cni "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture(params=["c", "python"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    run_dir = tmp_path / "run"
    for name in ("agent", "spool"):
        (run_dir / name).mkdir(parents=True, mode=0o700)
    executable = request.getfixturevalue("forwarder" if request.param == "c" else "wrapper")
    return Client(argv=(str(executable),), run_dir=run_dir)


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize("verb", VERBS)
def test_sends_its_variables_and_stdin_and_prints_the_answer(client: Client, verb: str) -> None:
    with FakeAgent(client.run_dir, answers(0, RESULT)) as agent:
        outcome = client.call(verb)
        received = agent.next()
    expected = {name: value for name, value in client.environ(verb).items() if name.startswith("CNI_")}
    assert (received.magic, received.variables, received.stdin) == (b"k8s1", expected, CONFIG)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, RESULT, b"")


@pytest.mark.parametrize("stdin", [b"", b"\0\0\0", b"{", bytes(range(256)) * 256, b"x" * (1 << 20)])
def test_stdin_travels_as_it_is(client: Client, stdin: bytes) -> None:
    with FakeAgent(client.run_dir, answers(0, RESULT)) as agent:
        assert client.call("ADD", stdin).status == 0
        assert agent.next().stdin == stdin


def test_a_variable_travels_as_it_is_even_if_it_is_not_utf8(client: Client) -> None:
    with FakeAgent(client.run_dir, answers(0, RESULT)) as agent:
        environ = {os.fsencode(k): os.fsencode(v) for k, v in client.environ("ADD").items()}
        environ |= {b"CNI_ARGS": b"K8S_POD_NAME=\xff\xfe=;", b"CNI_X": b""}
        done = subprocess.run(client.argv, env=environ, input=CONFIG, capture_output=True, timeout=60, check=False)
        payload = agent.next().payload
    assert done.returncode == 0
    assert b"CNI_ARGS=K8S_POD_NAME=\xff\xfe=;\0" in payload
    assert b"CNI_X=\0" in payload


def test_the_descriptor_is_the_pods_namespace(client: Client) -> None:
    with Namespace.create("cni") as pod, FakeAgent(client.run_dir, answers(0, RESULT)) as agent:
        assert client.call("ADD", CNI_NETNS=str(pod.path)).status == 0
        there = pod.path.stat()
        assert agent.next().netns == (there.st_dev, there.st_ino)


@pytest.mark.parametrize("netns", ["", "/nonexistent/netns", "relative/nothing"])
def test_without_a_namespace_the_request_goes_without_a_descriptor(client: Client, netns: str) -> None:
    with FakeAgent(client.run_dir, answers(0, b"")) as agent:
        assert client.call("DEL", CNI_NETNS=netns).status == 0
        received = agent.next()
    assert received.netns is None
    assert received.variables.get("CNI_NETNS", "") == netns


def test_a_fifo_as_namespace_does_not_hold_it_up(client: Client, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with FakeAgent(client.run_dir, answers(0, b"")):
        assert client.call("DEL", CNI_NETNS=str(tmp_path / "fifo"), K8SLAN_TIMEOUT="30").seconds < SOON


# ---------------------------------------------------------------- what is answered


def test_an_error_of_the_agent_is_printed_as_it_is(client: Client) -> None:
    body = b'{"cniVersion":"0.4.0","code":100,"msg":"no such spoke"}'
    with FakeAgent(client.run_dir, answers(1, body)):
        outcome = client.call("ADD")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (1, body, b"")


@pytest.mark.parametrize("verb", VERBS)
def test_success_without_a_result_is_for_all_but_add(client: Client, verb: str) -> None:
    with FakeAgent(client.run_dir, answers(0, b"")):
        outcome = client.call(verb)
    if verb == "ADD":
        client.assert_gone("ADD", outcome)
    else:
        assert (outcome.status, outcome.stdout, client.spooled()) == (0, b"", [])


def test_a_large_answer_is_printed_wholly(client: Client) -> None:
    body = b'{"a":"' + b"x" * ((4 << 20) - 8) + b'"}'
    with FakeAgent(client.run_dir, answers(0, body)):
        assert client.call("ADD").stdout == body


def test_an_answer_in_single_bytes_is_put_together(client: Client) -> None:
    with FakeAgent(client.run_dir, dribbles(struct.pack(">IB", 3, 0) + b"{}", pause=0.001)):
        assert client.call("ADD").stdout == b"{}"


def test_what_comes_behind_an_answer_is_not_printed(client: Client) -> None:
    with FakeAgent(client.run_dir, sends(struct.pack(">IB", 3, 0) + b"{}" + b"garbage")):
        assert client.call("ADD").stdout == b"{}"


def test_an_agent_that_answers_before_it_has_read_is_heard(client: Client) -> None:
    body = b'{"cniVersion":"1.1.0","code":6,"msg":"too large"}'
    with FakeAgent(client.run_dir, answers(1, body), reads=False):
        assert client.call("ADD", b"x" * (1 << 20)).stdout == body


# ---------------------------------------------------------------- nobody answers


@pytest.mark.parametrize("verb", VERBS)
def test_no_socket(client: Client, verb: str) -> None:
    client.assert_gone(verb, client.call(verb))


@pytest.mark.parametrize("verb", VERBS)
def test_a_socket_that_nobody_listens_on(client: Client, verb: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(client.run_dir / "agent/cni.sock"))
    outcome = client.call(verb)
    client.assert_gone(verb, outcome)
    assert verb == "DEL" or "Connection refused" in outcome.error()["msg"]


WHOLE = struct.pack(">IB", len(RESULT) + 1, 0) + RESULT


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("size", [0, 3, 4, 5, 6, len(WHOLE) - 1])
def test_the_agent_goes_away_within_its_answer(client: Client, verb: str, size: int) -> None:
    with FakeAgent(client.run_dir, sends(WHOLE[:size])):
        client.assert_gone(verb, client.call(verb))


GARBAGE = {
    "nothing announced": struct.pack(">IB", 0, 0) + RESULT,
    "no such status": struct.pack(">IB", len(RESULT) + 1, 7) + RESULT,
    "negative": b"\xff" * 64,
    "above the bound": struct.pack(">IB", (4 << 20) + 2, 0) + RESULT,
    "not json": struct.pack(">IB", 6, 0) + b"hello",
    "a list": struct.pack(">IB", 3, 0) + b"[]",
    "json, then more": struct.pack(">IB", 4, 0) + b"{}\n",
    "error without a word": struct.pack(">IB", 1, 1),
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n{}",
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_garbage_is_no_answer(client: Client, verb: str, name: str) -> None:
    with FakeAgent(client.run_dir, sends(GARBAGE[name])):
        client.assert_gone(verb, client.call(verb))


HANGING: dict[str, Script] = {
    "at once": hangs(),
    "within the length": hangs(WHOLE[:3]),
    "within the result": hangs(WHOLE[:-1]),
    "byte by byte": dribbles(WHOLE, pause=0.1),
}


@pytest.mark.parametrize("script", HANGING)
@pytest.mark.parametrize("verb", VERBS)
def test_a_hanging_agent_is_left(client: Client, verb: str, script: str) -> None:
    with FakeAgent(client.run_dir, HANGING[script]):
        outcome = client.call(verb, **BRIEFLY)
        assert 0.39 <= outcome.seconds < SOON
        client.assert_gone(verb, outcome)
    assert verb == "DEL" or "did not answer in time" in outcome.error()["msg"]


def test_an_agent_that_does_not_read_is_left(client: Client) -> None:
    with FakeAgent(client.run_dir, hangs(), reads=False):
        outcome = client.call("ADD", CONFIG + b" " * (1 << 19), **BRIEFLY)
        assert 0.39 <= outcome.seconds < SOON
        client.assert_gone("ADD", outcome)


def test_an_agent_that_does_not_accept_is_left(client: Client) -> None:
    """Once its queue is full, connecting itself would wait."""
    path = str(client.run_dir / "agent/cni.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(path)
        listener.listen(0)
        waiting.connect(path)
        outcome = client.call("ADD", **BRIEFLY)
        assert 0.39 <= outcome.seconds < SOON
        client.assert_gone("ADD", outcome)


def test_a_full_queue_is_waited_for(client: Client) -> None:
    """A burst of calls does not fail because the agent is a moment behind."""
    path = str(client.run_dir / "agent/cni.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        with subprocess.Popen(
            client.argv, env=client.environ("ADD"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(CONFIG)
            process.stdin.close()
            _until_sleeping_in(process.pid, "unix_wait_for_peer")
            listener.accept()[0].close()
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(WHOLE)
            assert process.stdout.read() == RESULT


def _until_sleeping_in(pid: int, function: str) -> None:
    """Wait until a process is blocked in a function of the kernel (proc(5), wchan)."""
    deadline = time.monotonic() + SOON
    seen = set()
    while time.monotonic() < deadline:
        where = Path(f"/proc/{pid}/wchan").read_text()
        if where == function:
            return
        seen.add(where)
        os.sched_yield()
    raise AssertionError(f"{pid} never slept in {function}, but in {seen}")


# ---------------------------------------------------------------- a DEL is kept for later


def test_each_del_is_kept_in_a_file_of_its_own(client: Client) -> None:
    for number in range(3):
        assert client.call("DEL", CNI_IFNAME=f"net{number}").status == 0
    assert {number for number in range(3) for payload in client.spooled() if b"=net%d\0" % number in payload} == {
        0,
        1,
        2,
    }


def test_nothing_of_a_request_becomes_part_of_a_path(client: Client, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    assert client.call("DEL", CNI_CONTAINERID="../../../evil", CNI_IFNAME="../evil").status == 0
    assert {path.parent for path in set(tmp_path.rglob("*")) - before} == {client.run_dir / "spool"}


@pytest.mark.parametrize("missing", ["spool", "run directory"])
def test_a_spool_that_is_not_there_yet_is_made(client: Client, missing: str) -> None:
    """After a boot the first DELs come before the agent does."""
    shutil.rmtree(client.run_dir / "spool" if missing == "spool" else client.run_dir)
    client.assert_gone("DEL", client.call("DEL"))
    assert stat.S_IMODE((client.run_dir / "spool").stat().st_mode) == 0o700
    assert stat.S_IMODE(client.run_dir.stat().st_mode) == 0o755
    assert len(client.spooled()) == 1


def _no_spool(client: Client, reason: str) -> None:
    error = client.call("DEL").error()
    assert (error["code"], error["cniVersion"]) == (5, "0.4.0")
    assert f"nor can this wait in {client.run_dir}/spool: {reason}" in error["msg"]


@pytest.mark.parametrize("place", ["spool", "run directory"])
def test_a_spool_of_another_user_is_not_used(client: Client, place: str) -> None:
    folder = client.run_dir / "spool" if place == "spool" else client.run_dir
    os.chown(folder, 65534, 65534)
    _no_spool(client, "it or its parent belongs to another user")
    os.chown(folder, os.geteuid(), os.getegid())
    folder.chmod(0o777)
    _no_spool(client, "it or its parent belongs to another user, or others may write to it: remove it")
    assert client.spooled() == []
    folder.chmod(0o1777)  # where others can take away nothing that is not theirs
    client.assert_gone("DEL", client.call("DEL"))


@pytest.mark.parametrize("place", ["spool", "run directory"])
def test_a_link_in_the_place_of_the_spool_is_not_followed(client: Client, tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = client.run_dir / "spool" if place == "spool" else client.run_dir
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    before = set(elsewhere.rglob("*"))
    _no_spool(client, "Not a directory")
    assert set(elsewhere.rglob("*")) == before


def test_a_spool_that_cannot_be_made_is_an_error(client: Client, tmp_path: Path) -> None:
    shutil.rmtree(client.run_dir)
    client.run_dir.write_bytes(b"")
    _no_spool(client, "Not a directory")
    client.run_dir.unlink()
    client.run_dir.mkdir()
    with _mounted(client.run_dir, "ro"):
        _no_spool(client, "Read-only file system")
    error = client.call("DEL", K8SLAN_RUN_DIR=str(tmp_path / "no/such")).error()
    assert "/no/such/spool: No such file or directory" in error["msg"]


@contextmanager
def _mounted(directory: Path, options: str) -> Iterator[None]:
    command("mount", "-t", "tmpfs", "-o", options, "k8slan-test", str(directory))
    try:
        yield
    finally:
        command("umount", str(directory))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("size=4k", "No space left"),
        ("nr_inodes=1", "No space left"),
        ("ro", "Read-only"),
    ],
)
def test_a_spool_without_room_is_an_error_and_nothing_is_left_in_it(client: Client, options: str, reason: str) -> None:
    with _mounted(client.run_dir / "spool", options):
        error = client.call("DEL", CONFIG + b" " * 100_000).error()
        assert (error["code"], error["cniVersion"]) == (5, "0.4.0")
        assert reason in error["msg"]
        assert client.spooled() == []


# ---------------------------------------------------------------- bad input


def _never_sent(client: Client, call: Callable[[], Outcome]) -> dict[str, Any]:
    with FakeAgent(client.run_dir, answers(0, RESULT)) as agent:
        error = call().error()
        assert agent.idle
    return error


@pytest.mark.parametrize("verb", [*VERBS, "VERSION"])
def test_ten_megabytes_on_stdin_are_refused(client: Client, verb: str, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(CONFIG + b" " * (10 << 20))
    with big.open("rb") as stdin:
        error = _never_sent(client, lambda: client.call(verb, stdin))
    assert (error["code"], error["cniVersion"]) == (6, "0.4.0")


def test_one_byte_too_many_on_stdin_is_refused(client: Client) -> None:
    stdin = CONFIG.ljust((1 << 20) + 1)
    assert _never_sent(client, lambda: client.call("ADD", stdin))["code"] == 6


def test_stdin_without_end_is_left_when_it_is_too_much(client: Client) -> None:
    with Path("/dev/zero").open("rb") as stdin:
        assert _never_sent(client, lambda: client.call("DEL", stdin))["code"] == 6


def test_stdin_that_says_nothing_and_does_not_end_is_left(client: Client) -> None:
    reader, writer = os.pipe()
    try:
        with os.fdopen(reader) as stdin:
            outcome = client.call("DEL", stdin, **BRIEFLY)
    finally:
        os.close(writer)
    assert outcome.error()["code"] == 5
    assert 0.39 <= outcome.seconds < SOON


def test_closed_stdin_is_an_error(client: Client) -> None:
    shell = ("sh", "-c", 'exec "$0" <&-', *client.argv)
    done = subprocess.run(shell, env=client.environ("ADD"), capture_output=True, timeout=60, check=False)
    assert (done.returncode, json.loads(done.stdout)["code"], done.stderr) == (1, 5, b"")


def test_a_reader_of_stdout_that_is_gone_is_a_failure_without_a_trace(client: Client) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout, FakeAgent(client.run_dir, answers(0, RESULT)):
        done = subprocess.run(
            client.argv,
            env=client.environ("ADD"),
            input=CONFIG,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert done.stderr == b""


def test_sixty_kilobytes_of_variables_travel(client: Client) -> None:
    long = "IgnoreUnknown=1;X=" + "x" * 60_000
    with FakeAgent(client.run_dir, answers(0, RESULT)) as agent:
        assert client.call("ADD", CNI_ARGS=long).status == 0
        assert agent.next().variables["CNI_ARGS"] == long


@pytest.mark.parametrize("verb", VERBS)
def test_more_variables_than_that_are_refused(client: Client, verb: str) -> None:
    error = _never_sent(client, lambda: client.call(verb, CNI_ARGS="X=" + "x" * 70_000))
    assert error["code"] == 4
    assert client.spooled() == []


@pytest.mark.parametrize("verb", ["", "add", "ADD ", "FROB", 'A"},{"\\', "\n\t\x01", "ÄDD", "\udcff", "X" * 100_000])
def test_a_command_that_there_is_not(client: Client, verb: str) -> None:
    error = _never_sent(client, lambda: client.call(verb))
    assert (error["code"], error["cniVersion"]) == (4, "1.1.0")
    assert error["msg"].startswith("CNI_COMMAND is ")
    assert len(error["msg"]) < 1000


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_directory_too_long_for_a_socket(client: Client, verb: str) -> None:
    error = client.call(verb, K8SLAN_RUN_DIR="/run/" + "x" * 200).error()
    assert error["code"] == 4
    assert "K8SLAN_RUN_DIR" in error["msg"]


def test_the_longest_run_directory_works(client: Client, tmp_path: Path) -> None:
    link = tmp_path / ("x" * (107 - len(f"{tmp_path}//agent/cni.sock")))
    link.symlink_to(client.run_dir)
    with FakeAgent(client.run_dir, answers(0, RESULT)):
        assert client.call("ADD", K8SLAN_RUN_DIR=str(link)).stdout == RESULT
        assert client.call("ADD", K8SLAN_RUN_DIR=f"{link}x").error()["code"] == 4


def test_a_strange_run_directory_still_makes_json(client: Client) -> None:
    assert client.call("ADD", K8SLAN_RUN_DIR='/run/"\\\n\x7fä').error()["code"] == 11


# ---------------------------------------------------------------- versions


@pytest.mark.parametrize("known", versions.SUPPORTED)
def test_version_is_answered_without_an_agent(client: Client, known: str) -> None:
    outcome = client.call("VERSION", b'{"cniVersion":"%s"}' % known.encode(), K8SLAN_RUN_DIR="")
    assert (outcome.status, outcome.stderr) == (0, b"")
    assert json.loads(outcome.stdout) == {
        "cniVersion": known,
        "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


@pytest.mark.parametrize("stdin", [b"", b"{}", b"garbage", b'{"cniVersion":"2.0.0"}', b'{"cniVersion":"1.0"}'])
def test_version_answers_in_the_newest_otherwise(client: Client, stdin: bytes) -> None:
    assert json.loads(client.call("VERSION", stdin).stdout)["cniVersion"] == "1.1.0"


ASKED = {
    b'{"cniVersion":"1.0.0"}': "1.0.0",
    b' {\n"name" : "x" ,\t"cniVersion"\r\n:\t"0.3.1" }': "0.3.1",
    b'{"cniVersion":"9.9.9"}': "9.9.9",
    b'{"prevResult":{"cniVersion":"0.3.1"},"cniVersion":"1.0.0","x":{"cniVersion":"0.4.0"}}': "1.0.0",
    b'{"prevResult":{"cniVersion":"0.3.1"}}': "1.1.0",
    b'{"x":[{"cniVersion":"0.3.1"}],"y":"cniVersion","z":"0.3.1"}': "1.1.0",
    b'{"x":"{\\"cniVersion\\":\\"0.3.1\\"","cniVersion":"0.4.0"}': "0.4.0",
    b'{"x":"\\\\","cniVersion":"0.4.0"}': "0.4.0",
    b'{"cniVersion":"0.3.1","cniVersion":"0.4.0"}': "0.4.0",
    b'{"cniVersion":5}': "1.1.0",
    b'{"cniVersion":""}': "1.1.0",
    b'{"cniVersion":null,"name":"0.3.1"}': "1.1.0",
    b'{"cniVersion":{"a":"0.3.1"}}': "1.1.0",
    b'{"cniVersion":"1.0.0\\",\\"code\\":\\"0"}': "1.1.0",
    b'{"cniVersion":"1.0.0\n"}': "1.1.0",
    b'{"cniVersion":"\xff"}': "1.1.0",
    b'{"cniVersion":"1\x000"}': "1.1.0",
    b'{"cniVersion":"' + b"1" * 31 + b'"}': "1" * 31,
    b'{"cniVersion":"' + b"1" * 32 + b'"}': "1.1.0",
    b'{"cniVersion":"0.4.0"': "0.4.0",
    b'{"cniVersion":"0.4.0': "1.1.0",
    b'["cniVersion","0.4.0"]': "1.1.0",
    b'"cniVersion":"0.4.0"': "1.1.0",
    b"": "1.1.0",
}


@pytest.mark.parametrize("stdin", ASKED)
def test_an_error_carries_the_version_that_was_asked_for(client: Client, stdin: bytes) -> None:
    assert client.call("ADD", stdin).error()["cniVersion"] == ASKED[stdin]
    assert versions.asked(stdin) == ASKED[stdin]


_PIECES = [b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b'"cniVersion"', b'"1.0.0"', b'"0.4.0"', b" ", b"1", b"\0"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.sampled_from(_PIECES), st.binary(max_size=3)), max_size=24).map(b"".join))
@example(b'{"cniVersion":"1.0.0\\')
def test_both_clients_find_the_same_version_in_anything(forwarder: Path, tmp_path: Path, stdin: bytes) -> None:
    """The scan in C and the one in Python are the same machine."""
    client = Client(argv=(str(forwarder),), run_dir=tmp_path)
    assert client.call("ADD", stdin).error()["cniVersion"] == versions.asked(stdin)


# ---------------------------------------------------------------- the forwarder's build


@pytest.mark.parametrize("compiler", ["gcc", "clang", "musl-gcc"])
def test_the_forwarder_builds_static_with(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    command("make", "-s", "-C", str(SOURCES), f"CC={compiler}", f"BUILD={tmp_path}", seconds=120)
    client = Client(argv=(str(tmp_path / "k8slan-cni"),), run_dir=tmp_path)
    assert client.call("VERSION").status == 0
    assert b"INTERP" not in subprocess.run(("readelf", "-lW", *client.argv), capture_output=True, check=True).stdout
