"""Runs IPAM plugins (CNI spec 1.1.0, section 4) as the runtime would: on the node's own file system."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from k8slan_cli.cni import ipam, wire
from k8slan_cli.cni.result import Result
from k8slan_cli.errors import CniError

_SECONDS = 30.0
"""How long a plugin may take: a runtime gives the whole ADD a minute or two."""


class Ipam:
    """IPAM plugins of a node whose file system is seen at ``host_root``."""

    def __init__(self, host_root: Path) -> None:
        self._host_root = host_root

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
        chroot = [] if self._host_root == Path("/") else ["chroot", str(self._host_root)]
        process = await asyncio.create_subprocess_exec(
            *chroot,
            path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath)} | ipam.environ(environ, verb),
        )
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
        if process.returncode != 0:
            raise ipam.read_error(plugin, verb, output)
        return output

    def _find(self, plugin: str, environ: Mapping[str, str]) -> str:
        """The plugin's path as the node sees it. ``plugin`` is a plain file name: the request was checked for that."""
        directories = ipam.directories(environ)
        for directory in directories:
            path = Path(directory, plugin)
            if (self._host_root / path.relative_to("/")).is_file():
                return str(path)
        where = ", ".join(directories) or "CNI_PATH, which is empty"
        raise CniError(wire.IPAM_FAILED, f"IPAM plugin {plugin} is not in {where}", "install it there on every node")
