"""The connection to an API server, for what runs all the time: the agent and the controller.

Requests are paths and documents as the API has them. The ``kubernetes`` package would read them into models, at the
price of 21 MB and a fifth of a second in each process and 126 MB in the image. A pod needs no kubeconfig: a token and a
certificate lie in its service account's folder.

The first use of a ``Client`` has to be in the event loop that it is used in.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k8slan_cli import __version__
from k8slan_cli.errors import K8slanError

if TYPE_CHECKING:
    import aiohttp

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
"""Server-side apply; JSON is YAML too."""
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_SECONDS = 60.0
"""How long a token is used before its file is read again: the kubelet renews it long before it expires."""
_CONNECT_SECONDS = 10.0
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
"""A peer that vanished without a word is noticed in half a minute (tcp(7)), though a watch may be silent for longer."""


class ApiError(K8slanError):
    """The API server refused a request, or could not be asked; ``status`` is HTTP's, 0 where there was no answer."""

    def __init__(self, message: str, *, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same request may well succeed later: no answer, a conflict, too many requests, a bad moment."""
        return self.status in (0, 409, 410, 429) or self.status >= 500


# ---------------------------------------------------------------- the way in


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where an API server is and how it knows us: ``authorization`` gives the header's value, "" for none."""

    url: str
    tls: ssl.SSLContext | None
    authorization: Callable[[], Awaitable[str]]


def access(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """The way in: the kubeconfig that is named here or by ``KUBECONFIG``, else the pod's account, else ~/.kube/config.

    Raises:
        K8slanError: there is none, or it cannot be used.

    """
    named = kubeconfig or context or os.environ.get("KUBECONFIG")
    if not named and "KUBERNETES_SERVICE_HOST" in os.environ:
        return in_cluster()
    return _from_kubeconfig(kubeconfig, context)


def in_cluster(folder: Path = _ACCOUNT, environ: Mapping[str, str] = os.environ) -> Access:
    """The way in of a pod: its service account.

    Raises:
        K8slanError: the account's files are not there.

    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        account = _Account(folder / "token")
    except OSError as error:
        hint = "does the pod have automountServiceAccountToken: false?"
        raise K8slanError(f"the service account in {folder} cannot be used: {error.strerror}", hint=hint) from error
    # Many a cluster's authority lacks the extensions that Python 3.13 began to demand.
    tls.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return Access(url=f"https://{f'[{host}]' if ':' in host else host}:{port}", tls=tls, authorization=account)


class _Account:
    """The token of a service account, read again now and then, as it is replaced by fresh ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read()

    def _read(self) -> None:
        self._value = f"Bearer {self._path.read_text().strip()}"
        self._until = time.monotonic() + _TOKEN_SECONDS

    async def __call__(self) -> str:
        if time.monotonic() >= self._until:
            with contextlib.suppress(OSError):  # the old one may do, and if not, the server says so
                self._read()
        return self._value


def _from_kubeconfig(kubeconfig: str | None, context: str | None) -> Access:
    from k8slan_cli.kube import kubeconfig as files

    way = files.load(kubeconfig, context)
    header = dict(way.headers).get("Authorization", "")

    async def authorization() -> str:
        return header

    return Access(url=way.url, tls=way.tls, authorization=authorization)


# ---------------------------------------------------------------- requests


class Client:
    """Requests to one API server over connections that are kept.

    ``counts`` has how many were sent, by method and by HTTP's status (0: no answer).
    """

    def __init__(self, way: Access, agent: str = "k8slan") -> None:
        """``agent`` is who asks, for the API server's audit log."""
        self._way = way
        self._agent = f"{agent}/{__version__}"
        self._session: aiohttp.ClientSession | None = None
        self.counts: Counter[tuple[str, int]] = Counter()

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        seconds: float = 30.0,
    ) -> dict[str, Any]:
        """Send one request and return the document of its answer.

        Raises:
            ApiError: it was refused, or there was no answer in time.

        """
        async with self._send(method, path, query, body, content_type, total=seconds) as response:
            return _parsed(await response.read())

    @contextlib.asynccontextmanager
    async def watch(
        self, path: str, query: Mapping[str, str], seconds: float
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Begin a watch, which is then an iterator of the events that come in; silence of ``seconds`` breaks it.

        Raises:
            ApiError: it was refused or broke, inside of the block too.

        """
        async with (
            self._send("GET", path, query, None, JSON, idle=seconds) as response,
            contextlib.aclosing(_documents(response)) as events,
        ):
            yield events

    @contextlib.asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        content_type: str,
        *,
        total: float | None = None,
        idle: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        import aiohttp

        if self._session is None:
            self._session = _session()
        headers = {"Accept": JSON, "User-Agent": self._agent}
        if authorization := await self._way.authorization():
            headers["Authorization"] = authorization
        if body is not None:
            headers["Content-Type"] = content_type
        status = 0
        try:
            async with self._session.request(
                method,
                self._way.url + path,
                params=query,
                data=json.dumps(body) if body is not None else None,
                headers=headers,
                ssl=self._way.tls or False,
                timeout=aiohttp.ClientTimeout(total=total, sock_connect=_CONNECT_SECONDS, sock_read=idle),
            ) as response:
                status = response.status
                if not 200 <= status <= 299:
                    raise _refusal(status, await response.read(), f"{method} {path}")
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            words = (
                str(getattr(error, "os_error", error)) or type(error).__name__
            )  # aiohttp's own has an address in memory
            raise ApiError(f"no answer from the API server at {self._way.url}: {words}") from error
        finally:
            self.counts[method, status] += 1


def _session() -> aiohttp.ClientSession:
    import aiohttp

    def connection(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = info
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
        return made

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=connection), trust_env=True)


async def _documents(response: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    """The documents of a stream, one in each line, however long a line may be."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        start, end = 0, chunk.find(b"\n")
        while end >= 0:
            rest += chunk[start:end]
            yield _parsed(bytes(rest))
            rest.clear()
            start, end = end + 1, chunk.find(b"\n", end + 1)
        rest += chunk[start:]


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise ApiError(f"the API server's answer is not JSON: {error}") from error
    return found


def _refusal(status: int, data: bytes, what: str) -> ApiError:
    try:
        message = str(json.loads(data)["message"])
    except (ValueError, TypeError, KeyError):
        message = data.decode(errors="replace").strip()
    return ApiError(message or f"{what}: HTTP status {status}", status=status)
