"""Both transports, for tests that have to hold on either."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from aiohttp import web

from k8slan_cli.kube.client import Client
from k8slan_cli.kube.kubeconfig import Access
from k8slan_cli.kube.transport import Asynchronous, Blocking, drive

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Way = type[Asynchronous] | type[Blocking]
both = pytest.mark.parametrize("way", [Asynchronous, Blocking])


async def on(way: Way, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` as a transport of this kind wants it, from an event loop."""
    return await work if way is Asynchronous else await asyncio.to_thread(drive, work)


def use(way: Way, access: Access, work: Callable[[Client], Awaitable[T]], agent: str = "k8slan") -> T:
    """Run ``work`` with a client, which is closed then."""

    async def run() -> T:
        client = Client(way(access), agent)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run()) if way is Asynchronous else drive(run())


def ask(way: Way, access: Access, path: str = "/x", **more: Any) -> dict[str, Any]:
    """Send one request with GET."""
    return use(way, access, lambda client: client.call("GET", path, **more))


@contextlib.asynccontextmanager
async def serving(way: Way, handler: Handler, **access: Any) -> AsyncIterator[tuple[Client, web.AppRunner]]:
    """A server on loopback, for 20 s at the most, and a client of it; ``access`` is how the client knows itself."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(way(Access(url=f"http://127.0.0.1:{runner.addresses[0][1]}", **access)))
    try:
        async with asyncio.timeout(20):
            yield client, runner
    finally:
        await client.close()
        await runner.cleanup()
