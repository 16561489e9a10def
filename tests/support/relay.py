"""A relay of TCP connections on loopback: it can cut them, hold them up, slow them down, or be an HTTP proxy."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any


class Relay:
    """Takes connections at ``port``. Without a ``target`` it is a proxy that is asked by CONNECT."""

    def __init__(self, target: tuple[str, int] | None, host: str = "127.0.0.1") -> None:
        self.asked: list[str] = []
        """What CONNECT was asked for."""
        self.taken = 0
        """How many connections have come."""
        self._host, self._target = host, target
        self._pace: tuple[int, float] | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._flows = self._do(_event())
        self._server = self._do(asyncio.start_server(self._serve, host, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """Where it is, as a proxy."""
        return f"http://{self._host}:{self.port}"

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def cut(self) -> None:
        """Break off all connections there are, without a word of TLS or HTTP."""

        async def cut() -> None:
            for writer in list(self._open):
                writer.transport.abort()

        self._do(cut())

    def hold(self) -> None:
        """Let nothing through any more, and close nothing."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def go_on(self) -> None:
        """Let through what is held and what comes."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def slow_down(self, size: int, seconds: float) -> None:
        """Let what is sent to clients through in pieces of ``size``, with a pause after each."""
        self._pace = (size, seconds)

    def close(self) -> None:
        """End everything."""

        async def end() -> None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        ends = [writer]
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                target = self._target or await self._asked(reader)
                there = await asyncio.open_connection(*target)
                ends.append(there[1])
                self._open.add(there[1])
                if self._target is None:
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.wait(
                    [
                        asyncio.create_task(self._pump(reader, there[1], None)),
                        asyncio.create_task(self._pump(there[0], writer, self._pace)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            for end in ends:
                end.transport.abort()
            self._open.difference_update(ends)

    async def _asked(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        """Return where a client of a proxy wants to go."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split()[1])
        host, _, port = self.asked[-1].rpartition(":")
        return host, int(port)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace: tuple[int, float] | None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(pace[0] if pace else 1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
                if pace:
                    await asyncio.sleep(pace[1])


async def _event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@contextlib.contextmanager
def relay(target: tuple[str, int] | None = None, host: str = "127.0.0.1") -> Iterator[Relay]:
    """A relay that ends with the block."""
    found = Relay(target, host)
    try:
        yield found
    finally:
        found.close()
