"""A kubelet's side of the device plugin API, its messages written out byte by byte, not by the product's definition.

The gRPC is the product's own library's; another one speaks with it in tests/cluster, where there is a real kubelet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.server import Server, Stream

_PLUGIN = "/v1beta1.DevicePlugin"


class Bytes(CodecBase):
    """Messages as the bytes that they are."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, _message_type: Any) -> bytes:
        """Pass it on."""
        found: bytes = message
        return found

    def decode(self, data: bytes, _message_type: Any) -> bytes:
        """Pass it on."""
        return data


class Kubelet:
    """Takes registrations, connects to each plugin as the real one does, and keeps what it is told of devices."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.registered: list[tuple[str, str, str]] = []
        self.devices: dict[str, list[bytes]] = {}
        self.refuse: str | None = None
        self.news = asyncio.Condition()
        self._channels: dict[str, Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib asks of a service."""
        register = Handler(self._register, Cardinality.UNARY_UNARY, bytes, bytes)
        return {"/v1beta1.Registration/Register": register}

    async def _register(self, stream: Stream[bytes, bytes]) -> None:
        request = await stream.recv_message()
        version, endpoint, resource = (text.decode() for _, text in fields(request or b""))
        if self.refuse:
            raise GRPCError(Status.INVALID_ARGUMENT, self.refuse)
        self._channels[resource] = channel = Channel(path=str(self._folder / endpoint), codec=Bytes())
        assert await self.call(resource, "GetDevicePluginOptions") == b""
        self._tasks.add(asyncio.create_task(self._listen(resource, channel)))
        async with self.news:
            self.registered.append((version, endpoint, resource))
            self.news.notify_all()
        await stream.send_message(b"")

    async def _listen(self, resource: str, channel: Channel) -> None:
        method = UnaryStreamMethod(channel, f"{_PLUGIN}/ListAndWatch", bytes, bytes)
        try:
            async with method.open() as stream:
                await stream.send_message(b"", end=True)
                async for message in stream:
                    async with self.news:
                        self.devices.setdefault(resource, []).append(message)
                        self.news.notify_all()
        except StreamTerminatedError:
            pass
        async with self.news:
            self.devices.pop(resource, None)
            self.news.notify_all()

    async def call(self, resource: str, method: str, request: bytes = b"") -> bytes:
        """Ask a plugin."""
        return await UnaryUnaryMethod(self._channels[resource], f"{_PLUGIN}/{method}", bytes, bytes)(request)

    async def until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        """Wait for something to be so."""
        async with asyncio.timeout(seconds), self.news:
            await self.news.wait_for(condition)

    async def close(self) -> None:
        """Hang up on every plugin."""
        for channel in self._channels.values():
            channel.close()
        await asyncio.gather(*self._tasks)
        async with asyncio.timeout(10):
            while self._connected():  # noqa: ASYNC110 - the kernel has no event for it
                await asyncio.sleep(0.01)

    def _connected(self) -> bool:
        """Whether somebody has not seen yet that the kubelet has hung up (proc(5), /proc/net/unix)."""
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        return any(line[5] == "03" and line[-1].startswith(f"{self._folder}/") for line in lines)


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        left.unlink()


@asynccontextmanager
async def kubelet(folder: Path) -> AsyncIterator[Kubelet]:
    """A running one; as the real one does, it empties its folder first and makes its socket then."""
    _empty(folder)
    self = Kubelet(folder)
    server = Server([self], codec=Bytes())
    await server.start(path=str(folder / "kubelet.sock"))
    try:
        yield self
    finally:
        server.close()
        await self.close()


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
