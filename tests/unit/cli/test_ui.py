"""``k8slan ui`` from its start to Ctrl-C."""

from __future__ import annotations

import http.client
import re
import signal
import stat
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from k8slan_cli.cli.ui import _opened
from tests.unit.cli.cluster import LANS, Workstation
from tests.unit.render.command import call

SECONDS = 30


@contextmanager
def running(k8slan: Workstation, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address that it prints."""
    where = ("-n", "lab", "--kubeconfig", str(k8slan.kubeconfig))
    argv = [sys.executable, "-m", "k8slan_cli", "ui", "--no-browser", *words, *where]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().strip()
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_ended_with_a_page_open(k8slan: Workstation, number: int) -> None:
    with running(k8slan, "red") as (process, url):
        found = re.fullmatch(r"http://(127\.0\.0\.1:[0-9]+)/#([\w-]{32,})", url)
        assert found, url
        connection = http.client.HTTPConnection(found[1], timeout=SECONDS)
        connection.request("POST", "/api/live", b"{}", {"Authorization": f"Bearer {found[2]}"})
        answer = connection.getresponse()
        data = b""
        while b"lab/router-a" not in data:
            data += answer.read1()
        process.send_signal(number)
        _, errors = process.communicate(timeout=SECONDS)
        connection.close()
    assert (process.returncode, errors) == (0, "")


def test_what_cannot_be_is_told(k8slan: Workstation) -> None:
    assert "give no name beside it" in k8slan("ui", "red", "-A", status=2).stderr
    assert "there is no LAN 'rde'" in k8slan("ui", "rde", "--no-browser", status=6).stderr
    with running(k8slan) as (_, url):
        port = str(urlsplit(url).port)
        assert "Address already in use" in k8slan("ui", "--no-browser", "--port", port, status=1).stderr


def test_where_k8slan_is_not_installed_that_is_told(k8slan: Workstation) -> None:
    k8slan.api.refuse[LANS] = (404, "not found")
    assert "does not know LANs" in k8slan("ui", "--no-browser", status=3).stderr


def test_without_the_right_to_see_lans_the_page_says_so(k8slan: Workstation) -> None:
    k8slan.api.refuse[LANS] = (403, "no")
    with running(k8slan) as (_, url):
        assert url.startswith("http://127.0.0.1:")


def test_without_a_cluster_it_does_not_begin(tmp_path: Path) -> None:
    said = call("ui", "--no-browser", "--kubeconfig", str(tmp_path / "none"), status=3).stderr
    assert "no kubeconfig" in said


def test_the_browser_is_not_told_the_token_where_others_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command line can be read by everybody on the machine: it is given a file that only this user can read."""
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with _opened("http://127.0.0.1:1/#secret"):
        (url,) = opened
        assert "secret" not in url
        path = Path(unquote(urlsplit(url).path))
        assert "url=http://127.0.0.1:1/#secret" in path.read_text()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()


def test_without_a_desktop_no_browser_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(webbrowser, "open", lambda _: pytest.fail("it is started"))
    with _opened("http://127.0.0.1:1/#secret"):
        pass
