"""Device plugins: a resource for each spoke and kind, known to the kubelet and kept known over its restarts.

A kubelet that starts empties its folder of sockets and makes its own anew; inotify tells of that, and every plugin
listens and registers again. Devices are told when they change and never otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from k8slan_cli import limits
from k8slan_cli.errors import K8slanError
from k8slan_cli.kubelet import grpc, messages
from k8slan_cli.kubelet.messages import Device, DeviceNode

log = logging.getLogger(__name__)

DEFAULT_FOLDER = Path("/var/lib/kubelet/device-plugins")
_REGISTER_SECONDS = 10.0
_RETRY_SECONDS = 1.0
_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What a plugin offers: one device under a resource's name, and the device files that a container gets with it.

    ``socket`` is the plugin's file name in the kubelet's folder, free of '/'.
    """

    name: str
    socket: str
    device: Device
    nodes: tuple[DeviceNode, ...] = ()


class _Plugin(grpc.Service):
    """One resource."""

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self.resource = resource
        self._streams: set[grpc.Stream] = set()

    async def call(self, path: str, request: bytes) -> bytes:
        if path == messages.ALLOCATE:
            try:
                containers = messages.parse_allocate_request(request)
            except ValueError as error:
                raise grpc.RpcError(grpc.INVALID_ARGUMENT, f"Allocate: {error}") from error
            log.info("allocated %s", self.resource.name)
            return messages.allocate_response([self.resource.nodes for _ in containers])
        if path in (messages.OPTIONS, messages.PRE_START, messages.PREFERRED):
            return b""  # neither PreStartContainer nor GetPreferredAllocation is asked for
        return await super().call(path, request)

    def is_stream(self, path: str) -> bool:
        return path == messages.LIST_AND_WATCH

    def opened(self, stream: grpc.Stream) -> None:
        self._streams.add(stream)
        stream.send(messages.device_list((self.resource.device,)))

    def closed(self, stream: grpc.Stream) -> None:
        self._streams.discard(stream)

    def change(self, resource: Resource) -> None:
        self.resource = resource
        for stream in self._streams:
            stream.send(messages.device_list((resource.device,)))


class Plugins:
    """All device plugins of this node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plugins: dict[str, _Plugin] = {}
        self._wanted: Mapping[str, Resource] = {}
        self._changed = asyncio.Event()
        self._restarted = False

    def want(self, resources: Mapping[str, Resource]) -> None:
        """Offer these resources, by name, and no others."""
        if resources != self._wanted:
            self._wanted = dict(resources)
            self._changed.set()

    async def run(self) -> None:
        """Serve and register until cancelled."""
        from asyncinotify import Mask

        with limits.watch("the kubelet's folder", self._folder, Mask.CREATE | Mask.MOVED_TO | Mask.ONLYDIR) as inotify:
            watching = asyncio.create_task(self._watch(inotify), name="kubelet's folder")
            try:
                self._changed.set()
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    if not await self._settle():
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._changed.wait(), _RETRY_SECONDS)
                        self._changed.set()
            finally:
                watching.cancel()
                for plugin in self._plugins.values():
                    plugin.close()
                    (self._folder / plugin.resource.socket).unlink(missing_ok=True)

    async def _watch(self, inotify: object) -> None:
        async for event in inotify:  # type: ignore[attr-defined]
            if str(event.name) == "kubelet.sock":
                log.info("the kubelet has started: device plugins register again")
                self._restarted = True
                self._changed.set()

    async def _settle(self) -> bool:
        """One round: stop what is not wanted, tell what has changed, start and register what is new."""
        if self._restarted:
            self._restarted = False
            for plugin in self._plugins.values():
                plugin.close()
            self._plugins.clear()
        wanted = self._wanted
        for name in self._plugins.keys() - wanted.keys():
            plugin = self._plugins.pop(name)
            plugin.close()
            (self._folder / plugin.resource.socket).unlink(missing_ok=True)
        for name, plugin in self._plugins.items():
            if plugin.resource != wanted[name]:
                plugin.change(wanted[name])
        new = [resource for name, resource in wanted.items() if name not in self._plugins]
        if not new:
            return True
        try:
            async with asyncio.timeout(_REGISTER_SECONDS + len(new) / 10):
                await self._register(new)
        except (OSError, TimeoutError, K8slanError) as error:
            log.warning("the kubelet does not take device plugins: %s", error or "no answer")
            return not (self._folder / "kubelet.sock").exists()  # without kubelet, its start will be the next event
        log.info("registered %d device plugins with the kubelet", len(new))
        return True

    async def _register(self, new: list[Resource]) -> None:
        """Make new plugins known to the kubelet.

        All listen before the first is made known: from then on the kubelet writes into the same folder, and syncs it to
        the disk for every plugin, and whoever makes a file there meanwhile has to wait for that.
        """
        kubelet = await grpc.connect(self._folder / "kubelet.sock")
        plugins = [_Plugin(resource) for resource in new]
        try:
            for plugin in plugins:
                await plugin.listen(self._folder / plugin.resource.socket)
            turns = asyncio.Semaphore(_AT_ONCE)
            async with asyncio.TaskGroup() as group:
                for plugin in plugins:
                    group.create_task(self._register_one(kubelet, plugin, turns))
        except* grpc.RpcError as errors:
            raise errors.exceptions[0] from None
        finally:
            kubelet.close()
            for plugin in plugins:
                if self._plugins.get(plugin.resource.name) is not plugin:
                    plugin.close()

    async def _register_one(self, kubelet: grpc.Client, plugin: _Plugin, turns: asyncio.Semaphore) -> None:
        resource = plugin.resource
        async with turns:
            # Before it answers, the kubelet connects to the socket and asks for the plugin's options.
            await kubelet.call(messages.REGISTER, messages.register_request(resource.socket, resource.name))
        self._plugins[resource.name] = plugin
