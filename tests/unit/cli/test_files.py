"""Files that commands write: whole or as they were, with the mode that is theirs, and nothing left beside them."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8slan_cli.cli import files
from k8slan_cli.errors import K8slanError
from tests.unit.render.command import call


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """As most people have it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def fail(output: files.Output, error: BaseException) -> None:
    """Write something, and fail."""
    output.write(b"half")
    raise error


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_is_as_before_until_it_is_kept(tmp_path: Path, old: str | None) -> None:
    path = tmp_path / "file"
    if old:
        path.write_text(old)
    with files.writing(path) as output:
        output.write(b"new")
        assert (path.read_text() if old else path.exists()) == (old or False)
        output.keep()
        assert path.read_text() == "new"
        output.write(b", and more")
        output.keep()
    assert path.read_text() == "new, and more"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [K8slanError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_file_as_it_was_and_nothing_beside_it(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    path, new = tmp_path / "file", tmp_path / "new"
    path.write_text("old")
    for each in (path, new):
        with pytest.raises(failure), files.writing(each) as output:
            fail(output, failure("x"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_after_it_is_kept_a_failure_leaves_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with contextlib.suppress(KeyboardInterrupt), files.writing(path) as output:
        output.write(b"new")
        output.keep()
        fail(output, KeyboardInterrupt())
    assert path.read_text() == "newhalf"


def test_a_new_file_has_the_mode_that_any_has_and_one_that_was_there_keeps_its_own(tmp_path: Path) -> None:
    files.write(tmp_path / "new", "x")
    assert mode(tmp_path / "new") == 0o644
    os.umask(0o077)
    files.write(tmp_path / "private", "x")
    assert mode(tmp_path / "private") == 0o600
    (tmp_path / "new").chmod(0o640)
    files.write(tmp_path / "new", "y")
    assert mode(tmp_path / "new") == 0o640


def test_root_leaves_a_file_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    if os.geteuid() == 0:
        os.chown(path, 1234, 5678)
    before = path.stat()
    files.write(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (before.st_uid, before.st_gid)
    assert path.stat().st_ino != before.st_ino


@pytest.mark.parametrize("old", [None, "old"])
def test_a_link_stays_one(tmp_path: Path, old: str | None) -> None:
    there = tmp_path / "there"
    there.mkdir()
    if old:
        (there / "file").write_text(old)
    (tmp_path / "link").symlink_to("there/file")
    files.write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (there / "file").read_text() == "new"
    assert list(there.iterdir()) == [there / "file"]


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.write(path, "new")
    assert path.read_text() == "new"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.append(path.read_text()))
    thread.start()
    files.write(path, "through")
    thread.join(10)
    assert read == ["through"]
    assert path.is_fifo()


def test_a_pipe_whose_reader_is_gone_is_said(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: os.close(os.open(path, os.O_RDONLY)))
    thread.start()
    with pytest.raises(K8slanError, match=f"cannot write {path}: Broken pipe"):
        files.write(path, "x" * 1_000_000)  # more than fits before the reader is gone
    thread.join(10)


def test_a_device_is_written_to_and_its_word_is_said(tmp_path: Path) -> None:
    files.write(Path(os.devnull), "x")
    assert Path(os.devnull).is_char_device()
    (tmp_path / "link").symlink_to("/dev/full")
    with pytest.raises(K8slanError, match=r"^cannot write /dev/full: No space left on device$"):
        files.write(Path("/dev/full"), "x")
    with pytest.raises(K8slanError, match="No space left on device"):
        files.write(tmp_path / "link", "x")
    assert Path("/dev/full").is_char_device()


_STDOUT = """
import sys
from pathlib import Path
from k8slan_cli.cli import files
files.write(Path(sys.argv[1]), "new")
"""


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_written_to_after_what_is_in_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out"
    with path.open("w") as out:
        out.write("before\n")
        out.flush()
        subprocess.run([sys.executable, "-c", _STDOUT, name], stdout=out, check=True)
    assert path.read_text() == "before\nnew"
    done = subprocess.run([sys.executable, "-c", _STDOUT, name], capture_output=True, text=True, check=True)
    assert done.stdout == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_standard_output_that_is_closed_is_said() -> None:
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", _STDOUT, "-"]
    done = subprocess.run(closed, capture_output=True, text=True, check=False)
    assert "cannot write to standard output: Bad file descriptor" in done.stderr


@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere/file", "No such file"), (".", "Is a directory"), ("loop", "Too many levels")]
)
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(K8slanError, match=f"cannot write {tmp_path / name}: {reason}"):
        files.write(tmp_path / name, "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "loop"]


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_file_that_is_not_to_be_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "file"
    path.write_text("old")
    path.chmod(0o444 if closed == "file" else 0o666)
    folder.chmod(0o555 if closed == "folder" else 0o777)
    monkeypatch.chdir(folder)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(K8slanError, match="cannot write file: Permission denied") as caught:
            files.write(Path("file"), "new")
    finally:
        os.seteuid(me)
    assert ("cannot be made in" in caught.value.hint) == (closed == "folder")
    assert path.read_text() == "old"
    assert list(folder.iterdir()) == [path]


def test_a_folder_of_manifests_is_replaced_in_whole_or_not_at_all(tmp_path: Path) -> None:
    call("render", "-o", str(tmp_path))
    paths = sorted(tmp_path.iterdir())
    for path in paths:
        path.write_text("old")
    paths[-1].unlink()
    paths[-1].mkdir()
    said = call("render", "-o", str(tmp_path), status=1).stderr
    assert f"cannot write {paths[-1]}: Is a directory" in said
    assert "wrote" not in said
    assert {path.read_text() for path in paths[:-1]} == {"old"}
    assert sorted(tmp_path.iterdir()) == paths
