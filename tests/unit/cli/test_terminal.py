"""What somebody else wrote cannot command the terminal, whatever command shows it and wherever it comes from."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli.__main__ import main
from k8slan_cli.cli import logs
from k8slan_cli.cli.terminal import BOLD, PLAIN, Terminal, visible
from tests.support import scene
from tests.unit.render.api import Api, serve
from tests.unit.render.command import call

EVIL = "a\x1b[31mb\x1b]0;title\x07c\rd\x9b2Je\u202ef\u2066g\u200bh\x7fi\U000e0041j\x08\ufdd6"
"""Colour, title, bell, start of the line, a C1 sequence, bidi override and isolate, what has no width, tags, delete.

At last a noncharacter, as marks are that k8slan itself has for colours.
"""
LANS, VTEPS = (f"/apis/lan.k8slan.io/v1beta1/namespaces/lab/{kind}" for kind in ("lans", "vteps"))
NETWORKS, STATUS = "k8s.v1.cni.cncf.io/networks", "k8s.v1.cni.cncf.io/network-status"


def clean(text: str) -> bool:
    """Whether nothing in a text is for the terminal, or not to be seen."""
    return all(sign.isprintable() or sign in "\n\t" for sign in text)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    return tmp_path / "kubeconfig"


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[Api]:
    """A cluster with the LAN ``red``, which pods use."""
    found = Api()
    found.put(f"{LANS}/red", json.loads(json.dumps(scene.RED)))
    for pod in json.loads(json.dumps(scene.PODS)):
        found.put(f"/api/v1/namespaces/lab/pods/{pod['metadata']['name']}", pod)
    for vtep in json.loads(json.dumps(scene.VTEPS)):
        found.put(f"{VTEPS}/{vtep['metadata']['name']}", vtep)
    with serve(found, kubeconfig):
        yield found


def _condition(_: Api, lan: Any) -> None:
    lan["status"]["conditions"] = [scene.condition("Ready", False, f"Broken{EVIL}", f"because {EVIL}")]


def _node(api: Api, lan: Any) -> None:
    lan["status"]["nodes"] = [scene.entry(f"w{EVIL}", state=f"Degraded{EVIL}", message=EVIL, device=EVIL)]
    port = scene.port(EVIL, f"s{EVIL}", EVIL, interface=EVIL, vm=EVIL, addresses=[EVIL], since=EVIL)
    vtep = scene.vtep(f"v{EVIL}", port, state=f"Degraded{EVIL}", message=EVIL, device=EVIL)
    api.put(f"{VTEPS}/evil", vtep)


def _event(api: Api, _: Any) -> None:
    event = {**scene.EVENTS[0], "reason": EVIL, "message": EVIL, "reportingComponent": EVIL}
    api.put("/api/v1/namespaces/lab/events/red.1", event)


def _annotation(api: Api, _: Any) -> None:
    pod = scene.pod(
        f"p{EVIL}",
        f"k8slan-veth-e1@{EVIL}",
        got=[("k8slan-veth-e1", f"x{EVIL}", f"02{EVIL}")],
        ips=[EVIL],
        node=f"n{EVIL}",
    )
    api.put("/api/v1/namespaces/lab/pods/p", pod)


def _domain(api: Api, _: Any) -> None:
    pod = scene.pod("launcher", "k8slan-mac-vm1", got=[("k8slan-mac-vm1", "net1", "02:a1:00:00:00:03")])
    pod["metadata"]["annotations"]["kubevirt.io/domain"] = EVIL
    api.put("/api/v1/namespaces/lab/pods/launcher", pod)


def _spec(_: Api, lan: Any) -> None:
    lan["spec"] |= {"bridge": EVIL, "vni": EVIL, "spokes": [EVIL]}


def _refusal(api: Api, _: Any) -> None:
    api.refuse["/api/v1/pods"] = api.refuse["/api/v1/namespaces/lab/events"] = (403, f"no {EVIL}")


def _failure(api: Api, _: Any) -> None:
    api.refuse[LANS] = api.refuse[f"{LANS}/red"] = (500, f"no {EVIL}")


SOURCES: dict[str, Callable[[Api, Any], None]] = {
    "condition": _condition,
    "node": _node,
    "event": _event,
    "annotation": _annotation,
    "domain": _domain,
    "spec": _spec,
    "refusal": _refusal,
    "failure": _failure,
}


def said(
    words: list[str], kubeconfig: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """What a command about LANs says on stdout and stderr, however it ends."""
    monkeypatch.setattr(sys, "argv", ["k8slan", "lan", *words, "-n", "lab", "--kubeconfig", str(kubeconfig)])
    with contextlib.suppress(SystemExit):
        main()
    out, err = capsys.readouterr()
    return out, err


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_from_the_cluster_commands_the_terminal(
    api: Api, kubeconfig: Path, source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lan = json.loads(json.dumps(api.objects[f"{LANS}/red"]))
    SOURCES[source](api, lan)
    api.put(f"{LANS}/red", lan)
    replaced = 0
    for words in COMMANDS:
        out, err = said(words, kubeconfig, capsys, monkeypatch)
        assert "internal error" not in err
        assert out or err
        assert clean(out), words
        assert clean(err), words
        replaced += (out + err).count("\N{REPLACEMENT CHARACTER}")
    assert replaced


COMMANDS = (
    ["list", "-o", "wide"],
    ["inspect", "red"],
    ["graph", "red"],
    ["graph", "red", "-o", "mermaid"],
    ["graph", "red", "-o", "html"],
    ["graph", "red", "--by", "device"],
    ["graph", "red", "--by", "device", "-o", "svg"],
    ["graph", "red", "-o", "dot"],
    ["delete", "red", "--dry-run"],
    ["inspect", "red", "-o", "yaml"],
    ["list", "-o", "json"],
)


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_all_of_it_escaped(api: Api, kubeconfig: Path, form: str, load: Callable[[str], Any]) -> None:
    lan = json.loads(json.dumps(api.objects[f"{LANS}/red"]))
    lan["metadata"]["annotations"] = {"note": EVIL, "other": "tschüß …"}
    api.put(f"{LANS}/red", lan)
    done = call("lan", "list", "-n", "lab", "-o", form, "--kubeconfig", str(kubeconfig))
    assert clean(done.stdout)
    assert load(done.stdout)["items"][0]["metadata"]["annotations"] == lan["metadata"]["annotations"]


def test_a_message_of_many_lines_is_one_line(api: Api, kubeconfig: Path) -> None:
    """What a condition, a node or an event says cannot look like a line of its own."""
    forged = "a\nLAN lab/red  Ready\u2028b\tc"
    lan = json.loads(json.dumps(api.objects[f"{LANS}/red"]))
    lan["status"]["conditions"] = [scene.condition("Ready", False, "Broken", forged)]
    api.put(f"{LANS}/red", lan)
    api.put(f"{VTEPS}/red.worker1", scene.vtep("worker1", state="Degraded", message=forged))
    api.put("/api/v1/namespaces/lab/events/red.1", {**scene.EVENTS[0], "message": forged})
    done = call("lan", "inspect", "red", "-n", "lab", "--kubeconfig", str(kubeconfig))
    assert len([line for line in done.stdout.splitlines() if line.startswith("LAN lab/red")]) == 1
    assert done.stdout.count("b c") == 4


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_from_the_cluster_looks_like_a_line_of_its_own(
    api: Api, kubeconfig: Path, source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = "a\nFORGED\u2028FORGED\u2029FORGED\vFORGED\x85FORGED\n\nFORGED"
    monkeypatch.setattr(sys.modules[__name__], "EVIL", forged)
    lan = json.loads(json.dumps(api.objects[f"{LANS}/red"]))
    SOURCES[source](api, lan)
    api.put(f"{LANS}/red", lan)
    told = 0
    for words in (
        *COMMANDS[:4],
        ["graph", "red", "--by", "device"],
        ["delete", "red", "--dry-run"],
        ["example", "pod", "red/e1"],
        ["link", "red", "down"],
    ):
        out, err = said(words, kubeconfig, capsys, monkeypatch)
        assert not [line for line in (out + err).splitlines() if line.lstrip().startswith("FORGED")], words
        told += (out + err).count("FORGED")
    assert told


def test_what_is_logged_is_a_line_and_a_traceback_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    before, level, out = root.handlers[:], root.level, io.StringIO()
    try:
        monkeypatch.setattr(sys, "stderr", out)
        logs.begin("info")
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("test").exception("plugin x said %s", "a\n2026-01-01 INFO forged\u2028more")
    finally:
        root.handlers, root.level = before, level
    first, second, *_ = out.getvalue().splitlines()
    assert first.endswith("ERROR   plugin x said a 2026-01-01 INFO forged more")
    assert second == "Traceback (most recent call last):"


def test_a_terminal_has_its_colours(api: Api, kubeconfig: Path) -> None:
    """Those that k8slan gives, and none that a message brings along."""
    api.put("/api/v1/namespaces/lab/events/red.1", {**scene.EVENTS[0], "message": "\x1b[8mhidden\x1b[0m"})
    here, there = pty.openpty()
    words = [sys.executable, "-m", "k8slan_cli", "lan", "inspect", "red", "-n", "lab", "--kubeconfig", str(kubeconfig)]
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen(words, stdout=there, env=environment) as process:
        os.close(there)
        text = b""
        with contextlib.suppress(OSError):  # the other end of a pty is gone
            while part := os.read(here, 4096):
                text += part
    os.close(here)
    assert process.returncode == 0
    shown = text.decode()
    assert "\x1b[1mEvents\x1b[0m" in shown
    assert "\x1b[32mReady\x1b[0m" in shown
    assert "\ufffd[8mhidden\ufffd[0m" in shown
    assert "\x1b[8m" not in shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_encoding_is_filtered(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "k8slan_cli", "lan", f"x{EVIL}…"],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"x" in done.stderr
    assert clean(done.stderr.decode("utf-8" if encoding == "ascii" else encoding))


def test_text_that_is_harmless_stays_as_it_is() -> None:
    for text in ("", "plain\n\ttext", "äöü 日本 ┌─┐ ✓ …", "a" * 10_000):
        assert visible(text) == text
    assert visible("a\xa0b") == "a b"
    assert visible("\x1b[2J\u202e\ud800") == "\ufffd[2J\ufffd\ufffd"


def test_marks_become_sequences_where_they_are_printed() -> None:
    out = io.StringIO()
    print(f"{BOLD}x{PLAIN}", file=Terminal(out))
    assert out.getvalue() == "\x1b[1mx\x1b[0m\n"
