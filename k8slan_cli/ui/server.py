"""Serves the page on this machine's loopback address, to who has its token and to nobody else.

What is on the page comes from the cluster, and what it asks for is done with the kubeconfig's rights. So: every request
for data carries the token in a header, which no other site can make a browser send; the token comes to the page in the
part of its address that browsers do not send; a ``Host`` that is not this machine is refused, whatever name leads here
(DNS rebinding); the page loads nothing from elsewhere, and runs no script but its own files.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from k8slan_cli.errors import Invalid, K8slanError
from k8slan_cli.kube.client import MissingError
from k8slan_cli.serve.server import Answer, Begin, Limits, Request, Server
from k8slan_cli.shipped import page
from k8slan_cli.ui import document as docs
from k8slan_cli.ui.actions import Actions, gone
from k8slan_cli.ui.watching import Board

HOST = "127.0.0.1"
_HOSTS = (HOST, "localhost")
LIVE = "/api/live"
_EVENTS = "text/event-stream"
_LIMITS = Limits(connections=64, streams=32, body=64 << 10)
_SILENCE_SECONDS = 10.0
"""How often something is sent when nothing happens, so that each side knows that the other is there."""
_LOOK_SECONDS = 1.0
"""How soon it is noticed that a page is closed."""
_TOGETHER_SECONDS = 0.1
"""Changes that come within this are sent together."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Page:
    """The page and what answers it."""

    def __init__(self, board: Board, actions: Actions, port: int = 0) -> None:
        """Listen; 0 is a port that is free.

        Raises:
            K8slanError: another program has the port.

        """
        self.token = secrets.token_urlsafe(24)
        self._board = board
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="ui")
        self._files = {
            f"/{file.name.removesuffix('index.html')}": Answer(body=file.read_bytes(), media=_TYPES[file.suffix])
            for file in sorted(page().iterdir())
        }
        self._calls: dict[str, Callable[[object], object]] = {
            "/api/link": actions.link,
            "/api/stop": actions.stop,
            "/api/captured": actions.captured,
        }
        self._streams = {"/api/capture": actions.capture, "/api/probe": actions.probe}
        self._server = Server(
            f"{HOST}:{port}",
            self._answer,
            limits=_LIMITS,
            headers=HEADERS,
            hint="give another --port, or none",
            admits=self._admits,
        )

    @property
    def url(self) -> str:
        """The page's address, with the token."""
        return f"http://{self._server.address}/#{self.token}"

    def start(self) -> None:
        """Answer from now on."""
        self._server.start()

    async def close(self) -> None:
        """Stop; streams are cut."""
        await self._server.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _admits(self, method: str, path: str) -> bool:
        return path in (self._files if method == "GET" else {*self._calls, *self._streams, LIVE})

    async def _answer(self, request: Request) -> Answer | None:
        host = request.headers.get("host", "")
        if host.rpartition(":")[0] not in _HOSTS:
            return _refusal(421, f"this page is at http://{self._server.address} and under no other name")
        if request.headers.get("origin", f"http://{host}") != f"http://{host}":
            return _refusal(403, "another site may not ask for this")
        if request.method == "GET":
            return self._files[request.path]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(token.encode(errors="replace"), self.token.encode()):
            return _refusal(401, "this page has no valid token: open the address that k8slan ui has printed")
        try:
            return await self._act(request)
        except Invalid as error:
            return _refusal(400, "; ".join(map(str, error.problems)))
        except K8slanError as error:
            return _refusal(403 if isinstance(error, MissingError) else 409, error.message, error.hint)

    async def _act(self, request: Request) -> Answer | None:
        if request.path == LIVE:
            return await request.hand_over(self._live)
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError):
            return _refusal(400, "the body is not JSON")
        if call := self._calls.get(request.path):
            loop = asyncio.get_running_loop()
            return _json(await loop.run_in_executor(self._threads, functools.partial(call, body)))
        return await request.hand_over(self._streams[request.path](body))

    def _live(self, begin: Begin) -> None:
        """Tell what makes the document of an empty one, then each change, until the client is gone; in a thread.

        An empty change says that nothing has happened.
        """
        client = begin(_EVENTS)
        shown: docs.Document = {}
        number, sent = 0, 0.0
        while not gone(client):
            number, found = self._board.wait(number, _LOOK_SECONDS)
            change = docs.patch(shown, found)
            if change or time.monotonic() - sent >= _SILENCE_SECONDS:
                client.sendall(f"data: {json.dumps(change, separators=(',', ':'))}\n\n".encode())
                shown, sent = found, time.monotonic()
                time.sleep(_TOGETHER_SECONDS)


def _json(found: object, status: int = 200) -> Answer:
    return Answer(status=status, body=json.dumps(found).encode(), media="application/json")


def _refusal(status: int, words: str, hint: str = "") -> Answer:
    return _json({"error": words, "hint": hint}, status)
