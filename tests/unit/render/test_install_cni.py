"""``k8slan install-cni`` puts entire executables in place, under both names, and touches nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.render.command import Done, call


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "k8slan-cni"
    path.write_bytes(b"\x7fELF new")
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "bin"
    path.mkdir()
    return path


def run(source: Path, target: Path, status: int = 0) -> Done:
    return call("install-cni", str(target), f"--source={source}", status=status)


def test_both_names_lead_to_the_executable(source: Path, target: Path) -> None:
    (target / "macvtap").write_bytes(b"somebody else's")
    old = os.umask(0o077)
    try:
        run(source, target)
    finally:
        os.umask(old)
    assert sorted(path.name for path in target.iterdir()) == ["k8slanmacvtap", "k8slanveth", "macvtap"]
    for name in ("k8slanveth", "k8slanmacvtap"):
        assert (target / name).read_bytes() == source.read_bytes()
        assert (target / name).stat().st_mode & 0o7777 == 0o755
    assert (target / "macvtap").read_bytes() == b"somebody else's"


def test_what_is_up_to_date_is_not_touched(source: Path, target: Path) -> None:
    run(source, target)
    before = {path.name: path.stat().st_ino for path in target.iterdir()}
    done = run(source, target)
    assert {path.name: path.stat().st_ino for path in target.iterdir()} == before
    assert done.stderr.count("is up to date") == 2


def test_a_running_old_one_keeps_its_file(source: Path, target: Path) -> None:
    run(source, target)
    with (target / "k8slanveth").open("rb") as running:
        source.write_bytes(b"\x7fELF newer")
        run(source, target)
        assert running.read() == b"\x7fELF new"
    assert (target / "k8slanveth").read_bytes() == b"\x7fELF newer"


@pytest.mark.parametrize("left", ["file", "link"])
def test_what_a_crash_left_is_replaced(left: str, source: Path, target: Path, tmp_path: Path) -> None:
    stray, elsewhere = target / ".k8slanveth.new", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"untouched")
    if left == "file":
        stray.write_bytes(b"half of i")
    else:
        stray.symlink_to(elsewhere)
    run(source, target)
    assert sorted(path.name for path in target.iterdir()) == ["k8slanmacvtap", "k8slanveth"]
    assert elsewhere.read_bytes() == b"untouched"


def test_a_link_or_a_wrong_mode_is_put_right(source: Path, target: Path) -> None:
    (target / "k8slanveth").symlink_to(source)
    (target / "k8slanmacvtap").write_bytes(source.read_bytes())
    (target / "k8slanmacvtap").chmod(0o4777)
    run(source, target)
    for name in ("k8slanveth", "k8slanmacvtap"):
        assert not (target / name).is_symlink()
        assert (target / name).stat().st_mode & 0o7777 == 0o755


def test_what_cannot_be_done_is_said(source: Path, target: Path) -> None:
    assert "cannot be read" in run(target / "none", target, status=1).stderr
    assert "cannot be written: No such file or directory" in run(source, target / "none", status=1).stderr
