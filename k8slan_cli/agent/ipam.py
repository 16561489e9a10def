"""Runs IPAM plugins (CNI spec 1.1.0, section 4) as the runtime would: on the node's own file system."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from k8slan_cli.cni import ipam, versions, wire
from k8slan_cli.cni.result import Result
from k8slan_cli.errors import CniError

_SECONDS = 30.0
"""How long a plugin may take: a runtime gives the whole ADD a minute or two."""


class Ipam:
    """IPAM plugins of a node whose file system is seen at ``host_root``."""

    def __init__(self, host_root: Path) -> None:
        self._host_root = host_root
        self._spoken: dict[tuple[str, int, int, str], str] = {}

    async def add(self, plugin: str, environ: Mapping[str, str], config: bytes) -> Result:
        """Allocate addresses.

        Raises:
            CniError: 103, with the plugin's own words.

        """
        return ipam.read_result(plugin, await self._run(plugin, "ADD", environ, config))

    async def ask(self, plugin: str, verb: str, environ: Mapping[str, str], config: bytes) -> None:
        """DEL, CHECK, STATUS or GC.

        Raises:
            CniError: 103, with the plugin's own words.

        """
        await self._run(plugin, verb, environ, config)

    async def _run(self, plugin: str, verb: str, environ: Mapping[str, str], config: bytes) -> bytes:
        path = self._find(plugin, environ)
        version = await self._version(plugin, path, environ, versions.asked(config))
        if not ipam.knows(version, verb):
            return b""
        done, output = await self._call(plugin, path, verb, environ, ipam.config(config, version))
        if not done:
            raise ipam.read_error(plugin, verb, output)
        return output

    async def _version(self, plugin: str, path: str, environ: Mapping[str, str], asked: str) -> str:
        """What to speak with a plugin, which may be older than the runtime; it is asked once, until it changes."""
        stat = self._here(path).stat()
        key = (path, stat.st_ino, stat.st_mtime_ns, asked)
        if key not in self._spoken:
            question = b'{"cniVersion":"%s"}' % asked.encode()
            done, output = await self._call(plugin, path, "VERSION", environ, question)
            self._spoken[key] = ipam.version_for(asked, output) if done else asked
        return self._spoken[key]

    async def _call(
        self, plugin: str, path: str, verb: str, environ: Mapping[str, str], config: bytes
    ) -> tuple[bool, bytes]:
        """Run a plugin; whether it succeeded, and what it printed."""
        chroot = [] if self._host_root == Path("/") else ["chroot", str(self._host_root)]
        try:
            process = await asyncio.create_subprocess_exec(
                *chroot,
                path,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={"PATH": os.environ.get("PATH", os.defpath)} | ipam.environ(environ, verb),
            )
        except OSError as error:
            raise CniError(wire.IPAM_FAILED, f"IPAM plugin {plugin} cannot be run: {error.strerror}", path) from error
        try:
            async with asyncio.timeout(_SECONDS):
                output, _ = await process.communicate(config)
        except TimeoutError:
            raise CniError(
                wire.IPAM_FAILED, f"IPAM plugin {plugin} did not finish {verb} in {_SECONDS:.0f} s"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode == 0, output

    def _find(self, plugin: str, environ: Mapping[str, str]) -> str:
        """The plugin's path as the node sees it. ``plugin`` is a plain file name: the request was checked for that."""
        directories = ipam.directories(environ)
        for directory in directories:
            path = str(Path(directory, plugin))
            if self._here(path).is_file():
                return path
        where = ", ".join(directories) or "CNI_PATH, which is empty"
        raise CniError(wire.IPAM_FAILED, f"IPAM plugin {plugin} is not in {where}", "install it there on every node")

    def _here(self, path: str) -> Path:
        """Where the agent sees what the node knows as ``path``."""
        return self._host_root / path.lstrip("/")
