"""Health, readiness and metrics over HTTP, in a thread of its own: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from k8slan_cli.errors import K8slanError

_ALIVE_SECONDS = 5.0

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class HttpServer:
    """Serves one address, ``HOST:PORT``; ``ready`` says what is missing, "" when nothing is."""

    def __init__(self, address: str, registry: CollectorRegistry, ready: Callable[[], str]) -> None:
        """Start serving.

        Raises:
            K8slanError: the address is malformed or taken.

        """
        host, _, port = address.rpartition(":")
        if not port.isdecimal() or int(port) > 65535:
            raise K8slanError(f"{address!r} is not HOST:PORT")
        self._loop = asyncio.get_running_loop()
        self._ready = ready
        self._metrics = make_wsgi_app(registry)
        try:
            self._server = make_server(
                host.strip("[]"), int(port), self._answer, _Server6 if "[" in host else _Server, _Quiet
            )
        except OSError as error:
            raise K8slanError(f"cannot listen on {address}: {error.strerror}", hint="choose another --http") from error
        self.address = f"{host}:{self._server.server_port}"
        # Its thread sleeps until somebody comes: close() wakes it.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(86400.0,), name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start)
            return answer
        if path not in ("/healthz", "/readyz"):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there are /healthz, /readyz and /metrics\n"]
        fault = self._alive() or (self._ready() if path == "/readyz" else "")
        start("503 Service Unavailable" if fault else "200 OK", [("Content-Type", "text/plain")])
        return [(fault or "ok").encode() + b"\n"]

    def _alive(self) -> str:
        """Whether the event loop still turns."""
        turn: concurrent.futures.Future[None] = concurrent.futures.Future()
        try:
            self._loop.call_soon_threadsafe(turn.set_result, None)
            turn.result(_ALIVE_SECONDS)
        except (TimeoutError, RuntimeError):
            return f"the event loop has not turned for {_ALIVE_SECONDS:.0f} s"
        return ""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True

    def server_bind(self) -> None:
        """Bind without looking the address up in DNS, which may take its time and is of no use here."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: a probe every few seconds is not news."""
