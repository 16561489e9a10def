"""Run in a namespace: one request over a good path, and another on the same connection after the path has gone.

Prints the seconds that the other took, and the error.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiohttp import web

from k8slan_cli.kube import transport
from k8slan_cli.kube.client import ApiError
from tests.support.netns import command
from tests.unit.kube.ways import on, serving


async def main(name: str, milliseconds: int) -> None:
    """Try it with the transport of this name, which lets so much time go by without the server's word."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({})

    transport._UNCONFIRMED_MILLISECONDS = milliseconds
    way = getattr(transport, name)
    async with serving(way, answer) as (client, _):
        await on(way, client.call("POST", "/x"))
        await asyncio.to_thread(command, "ip", "link", "set", "lo", "down")
        began = time.monotonic()
        try:
            await on(way, client.call("POST", "/x"))
            print("answered")
        except ApiError as error:
            print(f"{time.monotonic() - began:.1f} {error.status} {error}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
