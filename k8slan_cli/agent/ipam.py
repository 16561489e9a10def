"""Runs IPAM plugins (CNI spec 1.1.0, section 4) as the runtime would: on the node's own file system."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from k8slan_cli import limits
from k8slan_cli.agent.host import Host
from k8slan_cli.cni import ipam, versions, wire
from k8slan_cli.cni.result import Result
from k8slan_cli.errors import CniError

_ADD_SECONDS, _SECONDS = 30.0, 10.0
"""How long a plugin may take: a CNI client waits 60 s for an ADD, which may have to be undone, and 20 s for a DEL."""

_EXHAUSTED = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What keeps a program from starting for now: no process, descriptor or memory left."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a plugin finds programs: on the node, whatever the agent's image has."""


class PluginRefused(CniError):
    """A plugin ended with an error, or is not there: what it was asked for is not done, and an ADD holds no address."""


class Ipam:
    """IPAM plugins of a node."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._spoken: dict[tuple[str, int, int, str], str] = {}

    async def add(self, plugin: str, environ: Mapping[str, str], config: bytes) -> Result:
        """Allocate addresses.

        Raises:
            PluginRefused: with the plugin's own words.
            CniError: it did not finish, or its answer is of no use.

        """
        return ipam.read_result(plugin, await self._run(plugin, "ADD", environ, config))

    async def ask(
        self, plugin: str, verb: str, environ: Mapping[str, str], config: bytes, until: float = math.inf
    ) -> None:
        """DEL, CHECK, STATUS or GC; ``until``, on the event loop's clock, is when it has to be done at the latest.

        Raises:
            PluginRefused: with the plugin's own words.
            CniError: it did not finish.

        """
        await self._run(plugin, verb, environ, config, until)

    async def _run(
        self, plugin: str, verb: str, environ: Mapping[str, str], config: bytes, until: float = math.inf
    ) -> bytes:
        path, found = self._host.call(_find, plugin, ipam.directories(environ))
        version = await self._version(plugin, path, found, environ, versions.asked(config), until)
        if not ipam.knows(version, verb):
            return b""
        done, output = await self._call(plugin, path, verb, environ, ipam.config(config, version), until)
        if not done:
            error = ipam.read_error(plugin, verb, output)
            raise PluginRefused(error.code, error.msg, error.details)
        return output

    async def _version(
        self, plugin: str, path: str, found: os.stat_result, environ: Mapping[str, str], asked: str, until: float
    ) -> str:
        """What to speak with a plugin, which may be older than the runtime; it is asked once, until it changes."""
        key = (path, found.st_ino, found.st_mtime_ns, asked)
        if key not in self._spoken:
            question = b'{"cniVersion":"%s"}' % asked.encode()
            done, output = await self._call(plugin, path, "VERSION", environ, question, until)
            self._spoken[key] = ipam.version_for(asked, output) if done else asked
        return self._spoken[key]

    async def _call(
        self, plugin: str, path: str, verb: str, environ: Mapping[str, str], config: bytes, until: float
    ) -> tuple[bool, bytes]:
        """Run a plugin; whether it succeeded, and what it printed."""
        left = until - asyncio.get_running_loop().time()
        seconds = min(left, _ADD_SECONDS if verb == "ADD" else _SECONDS)
        if seconds <= 0:
            raise CniError(wire.IPAM_FAILED, f"IPAM plugin {plugin} has still to be asked")
        with _memory(config) as stdin, _memory() as stdout:
            try:
                process = self._host.call(_start, path, {"PATH": _PATH} | ipam.environ(environ, verb), stdin, stdout)
            except OSError as error:
                text = f"IPAM plugin {plugin} cannot be run: {limits.describe(error)}"
                kind = CniError if error.errno in _EXHAUSTED else PluginRefused
                raise kind(wire.IPAM_FAILED, text, limits.advice(error) or path) from error
            try:
                async with asyncio.timeout(seconds):
                    await _end(process)
            except TimeoutError:
                text = f"IPAM plugin {plugin} did not finish {verb} in {max(seconds, 1):.0f} s"
                advice = "it was ended: see what it waits for, such as a daemon or a server"
                raise CniError(wire.IPAM_FAILED, text, advice) from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # what it has started goes with it
                    with contextlib.suppress(OSError):  # no descriptor left to wait with
                        await _end(process)
                    process.wait()
            return process.returncode == 0, os.pread(stdout.fileno(), wire.MAX_ANSWER, 0)


def _find(plugin: str, directories: Sequence[str]) -> tuple[str, os.stat_result]:
    """The plugin's path. ``plugin`` is a plain file name: the request was checked for that."""
    for directory in directories:
        path = f"{directory}/{plugin}"
        try:
            found = Path(path).stat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            return path, found
    where = ", ".join(directories) or "CNI_PATH, which is empty"
    text = f"IPAM plugin {plugin} is not in {where}"
    raise PluginRefused(wire.IPAM_FAILED, text, "install it there on every node, or correct ipam.type of the network")


def _memory(data: bytes = b"") -> BinaryIO:
    """A file in memory: unlike a pipe it never keeps a plugin, or what a plugin leaves running, from ending."""
    file = os.fdopen(os.memfd_create("ipam", os.MFD_CLOEXEC), "w+b")
    file.write(data)
    file.seek(0)
    return file


def _start(path: str, environ: Mapping[str, str], stdin: BinaryIO, stdout: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - what the network's configuration names, in the runtime's plugin folders
        [path], stdin=stdin, stdout=stdout, env=environ, start_new_session=True
    )


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process to end."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    fd = os.pidfd_open(process.pid)
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
