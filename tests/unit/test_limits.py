"""What is used up is named, with what to raise, whatever the step that it fails at."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from k8slan_cli.agent import run
from k8slan_cli.agent.cni_server import to_cni_error
from k8slan_cli.agent.host import Host
from k8slan_cli.agent.ipam import Ipam, PluginRefused
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.sources import FolderSource
from k8slan_cli.errors import CniError, K8slanError
from k8slan_cli.lan.model import API_VERSION
from tests.support.limits import descriptors_left

RAISE = "descriptors: raise the limit (ulimit -n"
THREADS = "raise the limit of processes and threads (ulimit -u, pids.max of its cgroup)"


_ENOUGH = 4


@pytest.mark.parametrize("left", range(_ENOUGH + 1))
def test_a_plugin_that_cannot_be_started_for_want_of_descriptors_says_so(tmp_path: Path, left: int) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text("#!/bin/sh\n")
    plugin.chmod(0o755)

    async def play() -> None:
        ipam = Ipam(Host(Path("/")))
        with descriptors_left(left):
            await ipam.ask("plugin", "DEL", {"CNI_PATH": str(tmp_path)}, b'{"cniVersion": "1.0.0"}')

    if left == _ENOUGH:
        asyncio.run(play())
    else:
        with pytest.raises((CniError, OSError)) as caught:
            asyncio.run(play())
        said = to_cni_error(caught.value)
        assert "Too many open files: " in said.msg
        assert RAISE in said.details
        assert not isinstance(caught.value, PluginRefused)  # it has refused nothing
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_plugin_that_no_process_is_left_for_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin").write_text("")

    def refuse(*_: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("k8slan_cli.agent.ipam._start", refuse)
    asking = Ipam(Host(Path("/"))).ask("plugin", "DEL", {"CNI_PATH": str(tmp_path)}, b'{"cniVersion": "1.0.0"}')
    with pytest.raises(CniError) as caught:
        asyncio.run(_of(asking))
    assert "no more process or thread can be started" in caught.value.msg
    assert caught.value.details == THREADS


async def _of(asking: object) -> None:
    await asking  # type: ignore[misc]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EROFS])
def test_a_run_directory_that_cannot_be_used_says_what_to_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_: Paths) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Paths, "create", refuse)
    with (
        pytest.raises(K8slanError, match=f"cannot use the run directory {tmp_path}: ") as caught,
        run.locked(Paths(tmp_path)),
    ):
        pass
    assert bool(caught.value.hint) == (code != errno.EROFS)
    assert code != errno.ENOSPC or f"df -i {tmp_path}" in caught.value.hint


def test_what_an_agent_runs_out_of_later_is_not_taken_for_its_run_directory(tmp_path: Path) -> None:
    """That no process can be started has the same number as a lock that another has."""
    with pytest.raises(BlockingIOError), run.locked(Paths(tmp_path)):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.parametrize("left", range(3))
def test_a_folder_of_lans_that_cannot_be_read_for_now_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    """Its LANs are neither gone nor broken meanwhile."""
    monkeypatch.setattr("k8slan_cli.agent.sources._RETRY_SECONDS", 0.01)
    text = f"{{apiVersion: {API_VERSION}, kind: LAN, metadata: {{name: blue}}, spec: {{vni: 7, spokes: [a]}}}}"

    async def play() -> None:
        source = FolderSource(tmp_path)
        assert not (await source.next()).lans
        (tmp_path / "aside").write_text(text)
        (tmp_path / "aside").rename(tmp_path / "blue.yaml")
        with descriptors_left(left):
            following = asyncio.create_task(source.next())
            async with asyncio.timeout(10):
                while not (caplog.records or following.done()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        found = await following
        assert [lan.vni for lan, _ in found.lans.values()] == [7]
        assert not found.broken
        await source.close()

    asyncio.run(play())
    assert (RAISE in caplog.text) == (not left)
