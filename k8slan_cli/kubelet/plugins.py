"""Device plugins: a resource for each spoke and kind, known to the kubelet and kept known over its restarts.

A kubelet that starts empties its folder of sockets and makes its own anew; inotify tells of that, and every plugin
listens and registers again. Devices are told when they change and never otherwise.

gRPC is grpclib's: it is asyncio like everything here and has no threads of its own. With grpcio, 400 plugins took 20 MB
and eight threads more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.server import Server, Stream

from k8slan_cli import limits
from k8slan_cli.kubelet import deviceplugin_pb2 as api
from k8slan_cli.kubelet.deviceplugin_grpc import DevicePluginBase, RegistrationStub

log = logging.getLogger(__name__)

_API_VERSION = "v1beta1"
_REGISTER_SECONDS = 10.0
_RETRY_SECONDS = 1.0
_CLOSE_SECONDS = 1.0
_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What a plugin offers: devices under a resource's name.

    ``socket`` is the plugin's file name in the kubelet's folder, free of '/'. ``files`` are the device files that a
    container gets with it, for reading and writing, under the same paths as on the node.
    """

    name: str
    socket: str
    devices: tuple[str, ...]
    healthy: bool
    files: tuple[str, ...] = ()


class _Plugin(DevicePluginBase):
    """One resource."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self._server = Server([self])
        self._changed = asyncio.Event()
        self._watched: set[asyncio.Task[None]] = set()

    async def listen(self, folder: Path) -> None:
        """Serve on the resource's socket, in place of one that is there."""
        await self._server.start(path=str(folder / self.resource.socket))

    def close(self) -> set[asyncio.Task[None]]:
        """Stop serving; return the streams that end now."""
        with contextlib.suppress(RuntimeError):  # it did not get as far as to listen
            self._server.close()
        return self._watched

    def change(self, resource: Resource) -> None:
        """Offer something else under the same name."""
        self.resource = resource
        news, self._changed = self._changed, asyncio.Event()
        news.set()

    async def ListAndWatch(self, stream: Stream[api.Empty, api.ListAndWatchResponse]) -> None:
        """Tell the device, and again whenever it changes, until the kubelet or ``close`` ends the stream."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - grpclib runs each call in a task
        self._watched.add(task)
        task.add_done_callback(self._watched.discard)
        await stream.recv_message()
        # close() cancels this. Returning ends the stream properly, by which the kubelet knows that the plugin is gone.
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                health = "Healthy" if self.resource.healthy else "Unhealthy"
                changed = self._changed
                devices = [api.Device(ID=device, health=health) for device in self.resource.devices]
                await stream.send_message(api.ListAndWatchResponse(devices=devices))
                await changed.wait()

    async def Allocate(self, stream: Stream[api.AllocateRequest, api.AllocateResponse]) -> None:
        """Tell which device files each container gets."""
        try:
            request = await stream.recv_message()
        except DecodeError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, f"Allocate: {error}") from error
        log.info("allocated %s", self.resource.name)
        given = api.ContainerAllocateResponse(
            devices=[
                api.DeviceSpec(container_path=path, host_path=path, permissions="rw") for path in self.resource.files
            ]
        )
        number = len(request.container_requests) if request else 0
        await stream.send_message(api.AllocateResponse(container_responses=[given] * number))

    async def GetDevicePluginOptions(self, stream: Stream[api.Empty, api.DevicePluginOptions]) -> None:
        """Tell that neither of the two calls below is needed."""
        await stream.recv_message()
        await stream.send_message(api.DevicePluginOptions())

    async def PreStartContainer(
        self, stream: Stream[api.PreStartContainerRequest, api.PreStartContainerResponse]
    ) -> None:
        """Do nothing: a device is ready as it is."""
        await stream.recv_message()
        await stream.send_message(api.PreStartContainerResponse())

    async def GetPreferredAllocation(
        self, stream: Stream[api.PreferredAllocationRequest, api.PreferredAllocationResponse]
    ) -> None:
        """Prefer nothing: no device is better than another."""
        await stream.recv_message()
        await stream.send_message(api.PreferredAllocationResponse())


class Plugins:
    """All device plugins of this node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plugins: dict[str, _Plugin] = {}
        self._wanted: dict[str, Resource] = {}
        self._news: set[str] = set()
        """Resources that are to be looked at: they have changed, come or gone."""
        self._changed = asyncio.Event()
        self._restarted = False

    def change(self, resources: Mapping[str, Resource | None]) -> None:
        """Offer these resources, by name, or no more where it is None; all others stay as they are."""
        for name, resource in resources.items():
            if self._wanted.get(name) == resource:
                continue
            self._news.add(name)
            if resource:
                self._wanted[name] = resource
            else:
                del self._wanted[name]
        if self._news:
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
                ending: set[asyncio.Task[None]] = set()
                for plugin in self._plugins.values():
                    ending |= plugin.close()
                    (self._folder / plugin.resource.socket).unlink(missing_ok=True)
                if ending:
                    await asyncio.wait(ending, timeout=_CLOSE_SECONDS)

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
            self._news |= self._wanted.keys()
        new: list[Resource] = []
        news, self._news = self._news, set()
        for name in news:
            wanted, known = self._wanted.get(name), self._plugins.get(name)
            if wanted and known is None:
                new.append(wanted)
                self._news.add(name)  # until it is registered
            elif wanted and known and known.resource != wanted:
                known.change(wanted)
            elif known and wanted is None:
                del self._plugins[name]
                known.close()
                (self._folder / known.resource.socket).unlink(missing_ok=True)
        if not new:
            return True
        try:
            async with asyncio.timeout(_REGISTER_SECONDS + len(new) / 10):
                await self._register(new)
        except* (OSError, TimeoutError, GRPCError, StreamTerminatedError) as errors:
            log.warning("%s", _words(errors))
        else:
            log.info("registered %d device plugins with the kubelet", len(new))
            return True
        return not (self._folder / "kubelet.sock").exists()  # without kubelet, its start will be the next event

    async def _register(self, new: list[Resource]) -> None:
        """Make new plugins known to the kubelet.

        All listen before the first is made known: from then on the kubelet writes into the same folder, and syncs it to
        the disk for every plugin, and every other writer waits for that meanwhile.
        """
        path = str(self._folder / "kubelet.sock")
        _, knock = await asyncio.open_unix_connection(path)  # while no kubelet listens, nothing else does either
        knock.close()
        plugins = [_Plugin(resource) for resource in new]
        try:
            async with Channel(path=path) as channel:
                kubelet = RegistrationStub(channel)
                for plugin in plugins:
                    await plugin.listen(self._folder)
                turns = asyncio.Semaphore(_AT_ONCE)
                async with asyncio.TaskGroup() as group:
                    for plugin in plugins:
                        group.create_task(self._register_one(kubelet, plugin, turns))
        finally:
            for plugin in plugins:
                if self._plugins.get(plugin.resource.name) is not plugin:
                    plugin.close()

    async def _register_one(self, kubelet: RegistrationStub, plugin: _Plugin, turns: asyncio.Semaphore) -> None:
        resource = plugin.resource
        request = api.RegisterRequest(version=_API_VERSION, endpoint=resource.socket, resource_name=resource.name)
        async with turns:
            # Before it answers, the kubelet connects to the socket and asks for the plugin's options.
            await kubelet.Register(request)
        self._plugins[resource.name] = plugin
        if self._wanted.get(resource.name) == resource:
            self._news.discard(resource.name)


def _words(errors: BaseExceptionGroup) -> str:
    """What keeps plugins from being known to the kubelet, by the first of several errors."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if shortage := limits.shortage(error):
        return f"device plugins cannot be offered: {shortage}"
    said = f"{error.message} ({error.status.name})" if isinstance(error, GRPCError) else str(error)
    return f"the kubelet does not take device plugins: {said or 'no answer'}"
