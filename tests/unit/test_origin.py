"""Which commit it is, and when it was built: from what the build wrote, or from git."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from k8slan_cli import __version__
from k8slan_cli.origin import Origin, checkout, origin
from tests.unit.render.command import call

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Origin(commit=COMMIT, built="2026-11-27"), "commit 0123456789ab, built 2026-11-27"),
        (Origin(commit=COMMIT, changed=True), "commit 0123456789ab with changes"),
        (Origin(built="2026-11-27"), "commit unknown, built 2026-11-27"),
        (Origin(), "commit unknown"),
    ],
)
def test_people_read(found: Origin, words: str) -> None:
    assert str(found) == words


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message=one")
    git(tmp_path, "tag", "v9")  # a tag is not asked for
    return tmp_path


def test_a_checkout_says_its_commit_and_whether_it_was_changed(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert checkout(repository) == Origin(commit=commit)
    (repository / "file").write_text("two")
    assert checkout(repository) == Origin(commit=commit, changed=True)
    assert origin(repository / "package" / "build.json") == Origin(commit=commit, changed=True)


def test_a_folder_within_somebody_elses_checkout_is_none(repository: Path) -> None:
    (repository / "site-packages").mkdir()
    assert checkout(repository / "site-packages") == Origin()


def test_without_git_nothing_is_known(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert checkout(repository) == Origin()


def test_what_the_build_has_written_goes_before_git(repository: Path) -> None:
    (repository / "package").mkdir()
    file = repository / "package" / "build.json"
    file.write_text(json.dumps({"commit": COMMIT, "changed": False, "built": "2026-11-27"}))
    assert origin(file) == Origin(commit=COMMIT, built="2026-11-27")
    for bad in ("", "[]", "{}", "\x00"):
        file.write_text(bad)
        assert origin(file).built == ""


def test_a_wheel_has_the_commit_and_the_day_that_its_build_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K8SLAN_COMMIT", COMMIT)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        found = json.loads(archive.read("k8slan_cli/build.json"))
    assert (found["commit"], found["built"]) == (COMMIT, "1970-01-02")


def test_both_commands_say_it() -> None:
    [line] = call("--version").stdout.splitlines()
    assert re.fullmatch(rf"k8slan {re.escape(__version__)} \(commit ([0-9a-f]{{12}}( with changes)?|unknown)\)", line)
    assert call("version", "--client").stdout == f"k8slan  {line.removeprefix('k8slan ')}\n"
    build = json.loads(call("version", "--client", "-o", "json").stdout)["build"]
    assert line.partition("commit ")[2][:7] == (build["commit"] or "unknown")[:7]


def test_no_other_command_asks_git() -> None:
    script = "import sys, k8slan_cli.cli.app; sys.exit('k8slan_cli.origin' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
