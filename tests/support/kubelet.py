"""A kubelet's side of the device plugin API, spoken by grpcio: what k8slan's own few lines of gRPC are held against."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

_ANY: Any = None  # bytes in, bytes out: no serializer


class Kubelet(grpc.GenericRpcHandler):
    """Takes registrations, connects to each plugin as the real one does, and keeps what it is told of devices."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.registered: list[tuple[str, str, str]] = []
        self.devices: dict[str, list[bytes]] = {}
        self.refuse: str | None = None
        self.news = asyncio.Condition()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def service(self, details: Any) -> Any:
        """What grpcio asks for each call: who handles it."""
        if details.method == "/v1beta1.Registration/Register":
            return grpc.unary_unary_rpc_method_handler(self._register)
        return None

    async def _register(self, request: bytes, context: Any) -> bytes:
        version, endpoint, resource = (text.decode() for _, text in fields(request))
        if self.refuse:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.refuse)
        channel = grpc.aio.insecure_channel(f"unix:{self._folder / endpoint}")
        self._channels[resource] = channel
        assert await channel.unary_unary("/v1beta1.DevicePlugin/GetDevicePluginOptions")(b"") == b""
        task = asyncio.create_task(self._listen(resource, channel))
        self._tasks.add(task)
        async with self.news:
            self.registered.append((version, endpoint, resource))
            self.news.notify_all()
        return b""

    async def _listen(self, resource: str, channel: grpc.aio.Channel) -> None:
        try:
            async for message in channel.unary_stream("/v1beta1.DevicePlugin/ListAndWatch")(b""):
                async with self.news:
                    self.devices.setdefault(resource, []).append(message)
                    self.news.notify_all()
        except grpc.aio.AioRpcError:
            pass
        async with self.news:
            self.devices.pop(resource, None)
            self.news.notify_all()

    async def allocate(self, resource: str, request: bytes) -> bytes:
        """Ask a plugin for its device."""
        answer: bytes = await self._channels[resource].unary_unary("/v1beta1.DevicePlugin/Allocate")(request)
        return answer

    async def until(self, condition: Any, seconds: float = 10) -> None:
        """Wait for something to be so."""
        async with asyncio.timeout(seconds), self.news:
            await self.news.wait_for(condition)

    async def close(self) -> None:
        """Hang up on every plugin."""
        for channel in self._channels.values():
            await channel.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # a channel's end cancels what reads from it


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        left.unlink()


@asynccontextmanager
async def kubelet(folder: Path) -> AsyncIterator[Kubelet]:
    """A running one; as the real one does, it empties its folder first and makes its socket then."""
    _empty(folder)
    self = Kubelet(folder)
    server = grpc.aio.server(handlers=[self])
    server.add_insecure_port(f"unix:{folder / 'kubelet.sock'}")
    await server.start()
    try:
        yield self
    finally:
        await self.close()
        await server.stop(None)


def fields(data: bytes) -> list[tuple[int, bytes]]:
    """The length-delimited fields of a protocol buffer of short fields."""
    found, at = [], 0
    while at < len(data):
        key, length = data[at], data[at + 1]
        assert key & 7 == 2
        assert length < 0x80
        found.append((key >> 3, data[at + 2 : at + 2 + length]))
        at += 2 + length
    return found
