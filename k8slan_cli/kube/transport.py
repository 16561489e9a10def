"""The two transports: the ``kubernetes`` package's, one that waits in an event loop and one that blocks. Nothing else.

Connections, TLS, proxies and pools are the package's. Added is what it lacks: impersonation, which it ignores; TCP
keepalive, as a watch may be silent for long; and our own times, as the package gives any request five minutes. The
blocking one is for commands: its import takes half as long.
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from k8slan_cli.kube.client import Headers, MissingError, Request, reason
from k8slan_cli.kube.kubeconfig import Access, Token

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
_CONNECT_SECONDS = 10.0
"""How long a server may take to be there at all, whatever time its answer is given."""
_UNCONFIRMED_MILLISECONDS = 8000
"""How long what was sent may go without the server's kernel having confirmed it."""
_IDEMPOTENT = ("GET", "PUT", "DELETE")
"""What is sent once more if a kept connection ends without an answer; aiohttp does so by default."""
_READ_BYTES = 1 << 22
"""An event may be twice as large: etcd's objects are a megabyte and a half at the most, JSON makes more of some."""


def _lean(*packages: str) -> None:
    """Make packages known without running what they begin with, which imports all that is in them.

    Of ``kubernetes`` a transport takes a few modules; the whole costs 0.15 s more, and 20 MB.
    """
    for name in packages:
        if name not in sys.modules and (spec := importlib.util.find_spec(name)):
            sys.modules[name] = importlib.util.module_from_spec(spec)


class _Way:
    """What both have: where the server is, and who we are."""

    faults: tuple[type[Exception], ...]

    def __init__(self, access: Access, configuration: Any) -> None:
        _lean("kubernetes", "kubernetes.utils")
        from kubernetes.utils.keepalive import tcp_keepalive_socket_options

        self.url = access.url
        self._hint = "is it the right context? see: kubectl config get-contexts" if access.context else ""
        self.tls: ssl.SSLContext | None = access.configure(configuration)
        self.configuration = configuration
        self._impersonation = access.headers
        # A peer that vanished without a word is noticed in half a minute, and sooner if it was sent something (tcp(7)).
        self.socket_options = tcp_keepalive_socket_options(idle=15, interval=5, count=3)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            self.socket_options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNCONFIRMED_MILLISECONDS))

    def lost(self, error: Exception) -> MissingError:
        """Return what to say of an answer that does not come, or breaks off."""
        return MissingError(f"no answer from the API server at {self.url}: {reason(error)}", hint=self._hint)

    def _target(self, request: Request) -> str:
        return f"{self.url}{request.path}{'?' + urlencode(request.query) if request.query else ''}"

    def _headers(self, key: str | None) -> Headers:
        return (*self._impersonation, *((("Authorization", key),) if key else ()))

    def _renew(self, token: Token) -> None:
        token.renew()
        self.configuration.api_key["BearerToken"] = f"Bearer {token.value}"


# ---------------------------------------------------------------- waiting in an event loop


class Asynchronous(_Way):
    """Through ``kubernetes.aio``; for the event loop that it is first used in."""

    def __init__(self, access: Access) -> None:
        """Read what the way takes.

        Raises:
            MissingError: what the kubeconfig names cannot be used.

        """
        import asyncio

        import aiohttp
        from aiohttp.http_exceptions import LineTooLong

        _lean("kubernetes", "kubernetes.aio", "kubernetes.aio.utils")
        from kubernetes.aio.client.configuration import Configuration
        from kubernetes.aio.client.rest import RESTClientObject

        super().__init__(access, Configuration())
        self.faults = (aiohttp.ClientError, LineTooLong, OSError)
        if token := access.token:
            self.configuration.refresh_api_key_hook = lambda _: (
                asyncio.to_thread(self._renew, token) if token.due else None
            )
        self._rest = RESTClientObject(self.configuration)
        self._connector: aiohttp.TCPConnector | None = None

    async def send(self, request: Request) -> _Coming:
        """Send a request and wait for the head of its answer."""
        import aiohttp
        from multidict import CIMultiDict

        if self._connector is None:
            self._connector = aiohttp.TCPConnector(limit=0, ssl=self.tls or True, socket_factory=self._socket)
            self.configuration.client_session_kwargs = {"connector": self._connector, "read_bufsize": _READ_BYTES}
        key = await self.configuration.get_api_key_with_prefix("BearerToken")
        headers = CIMultiDict((*self._headers(key), *request.headers))
        times = aiohttp.ClientTimeout(total=request.seconds, sock_connect=_CONNECT_SECONDS, sock_read=request.silence)
        target = self._target(request)
        found = await self._rest.request(request.method, target, headers, request.body, _request_timeout=times)
        return _Coming(found.response)

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = info
        made = socket.socket(family, kind, protocol)
        for option in self.socket_options:
            made.setsockopt(*option)
        return made

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()
        if self._connector is not None:
            await self._connector.close()


class _Coming:
    """An answer that comes in through an event loop."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """Return the whole body."""
        return await self._response.read()

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Yield the body's lines as they come."""
        while line := await self._response.content.readline():
            yield line

    def close(self) -> None:
        """Give it up."""
        connection = self._response.connection  # None once all has been read
        if connection is not None and connection.transport is not None:
            connection.transport.abort()  # close() would wait half a minute for the other side's word, in TLS
        self._response.close()


# ---------------------------------------------------------------- blocking


class Blocking(_Way):
    """Through the package's blocking half. Its coroutines never wait: ``drive`` runs them, in any thread."""

    def __init__(self, access: Access) -> None:
        """Read what the way takes.

        Raises:
            MissingError: what the kubeconfig names cannot be used.

        """
        _lean("kubernetes", "kubernetes.utils")
        from kubernetes.client.configuration import Configuration
        from kubernetes.client.exceptions import ApiException
        from kubernetes.client.rest import RESTClientObject
        from urllib3 import disable_warnings
        from urllib3.exceptions import HTTPError, InsecureRequestWarning

        super().__init__(access, Configuration())
        self.faults = (HTTPError, ApiException, OSError)
        if token := access.token:
            self.configuration.refresh_api_key_hook = lambda _: self._renew(token)
        self.configuration.retries = False  # not three more, of ten seconds each, for a server that is not there
        if not self.configuration.verify_ssl:
            disable_warnings(InsecureRequestWarning)  # the kubeconfig wants it so
        self.configuration.socket_options = self.socket_options
        self.configuration.connection_pool_maxsize = 16
        self._rest = RESTClientObject(self.configuration)
        self._rest.pool_manager.connection_pool_kw["ssl_context"] = self.tls
        self._open: set[_Come] = set()

    async def send(self, request: Request) -> _Come:
        """Send a request and block until the head of its answer is there."""
        from http.client import RemoteDisconnected

        from urllib3 import HTTPHeaderDict
        from urllib3.exceptions import ProtocolError

        headers = HTTPHeaderDict((*self.headers(), *request.headers))
        seconds = request.seconds or request.silence or _CONNECT_SECONDS
        times = (min(seconds, _CONNECT_SECONDS), seconds)
        target = self._target(request)
        for last in (request.method not in _IDEMPOTENT, True):
            try:
                found = self._rest.request(request.method, target, headers, request.body, _request_timeout=times)
                break
            except ProtocolError as error:  # a server closes what is idle for long, maybe just now
                if last or not any(isinstance(cause, RemoteDisconnected) for cause in error.args):
                    raise
        return _Come(found.response, self._open)

    def headers(self) -> Headers:
        """Return what says who we are, now."""
        return self._headers(self.configuration.get_api_key_with_prefix("BearerToken"))

    def branch(self) -> Blocking:
        """Return one with the same connections, whose answers can be ended by themselves."""
        import copy

        found = copy.copy(self)
        found._open = set()
        return found

    def end(self) -> None:
        """End all answers that are still coming in, in other threads: to them the connection breaks off."""
        for answer in list(self._open):
            answer.end()

    async def close(self) -> None:
        """Close all connections."""
        self._rest.close()


class _Come:
    """An answer that is waited for."""

    def __init__(self, response: Any, known: set[_Come]) -> None:
        self._response = response
        self._known = known
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        known.add(self)

    async def read(self) -> bytes:
        """Return the whole body."""
        data: bytes = self._response.data
        return data

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Yield the body's lines as they come."""
        for line in self._response:
            yield line

    def end(self) -> None:
        """Break it off for the thread that reads it."""
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # it has just ended by itself
            self._response.shutdown()

    def close(self) -> None:
        """Give it up."""
        self._known.discard(self)
        self._response.close()


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run what never waits, as everything on a blocking transport does, without an event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    work.close()
    raise RuntimeError("a coroutine on a blocking transport waits for something else")
