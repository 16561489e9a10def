"""Requests to an API server, as paths and documents, over a transport of the ``kubernetes`` package (transport.py).

It is written once. The agent and the controller run it in their event loop; a command of the workstation runs the same
code on a transport that blocks instead of waiting (kube/apply.py). The package's typed models are left out: they would
cost 25 MB and four tenths of a second in each process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from k8slan_cli import __version__
from k8slan_cli.errors import K8slanError, Problem
from k8slan_cli.lan import names

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
"""Server-side apply; JSON is YAML too."""
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

Headers = tuple[tuple[str, str], ...]


class ApiError(K8slanError):
    """The API server refused a request, or could not be asked.

    ``status`` is HTTP's, 0 where there was no answer; ``problems`` are the fields that are refused, where it is them.
    """

    def __init__(self, message: str, *, status: int = 0, hint: str = "", problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.problems = problems

    @property
    def passing(self) -> bool:
        """Whether the same request may well succeed later: no answer, a conflict, too many requests, a bad moment."""
        return self.status in (0, 409, 410, 429) or self.status >= 500


class MissingError(ApiError):
    """Something that has to be there first is not: a kubeconfig, an answer, a right, k8slan or multus."""


# ---------------------------------------------------------------- what a transport does


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. ``seconds`` bound it as a whole; in a stream, which lasts, ``silence`` bounds each wait instead."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: object = None
    headers: Headers = ()
    seconds: float | None = None
    silence: float | None = None


class Answer(Protocol):
    """An answer whose head has come."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """Return the whole body."""

    def lines(self) -> AsyncGenerator[bytes, None]:
        """Yield the body's lines as they come."""

    def close(self) -> None:
        """Give it up; what has been read to its end leaves the connection to the next request."""


class Transport(Protocol):
    """A way to one API server; it adds what says who we are. ``faults`` are the errors that mean: no answer."""

    faults: tuple[type[Exception], ...]

    def lost(self, error: Exception) -> MissingError:
        """Return what to say of a fault."""

    async def send(self, request: Request) -> Answer:
        """Send a request and wait for the head of its answer."""

    async def close(self) -> None:
        """Close all connections."""


# ---------------------------------------------------------------- requests


async def apply(client: Client, path: str, document: Mapping[str, Any], manager: str) -> dict[str, Any]:
    """Apply a document server-side: its fields become those of the field manager ``manager``, whoever had them.

    Returns the object as it is now.

    Raises:
        ApiError: it was refused, or there was no answer in time.

    """
    query = {"fieldManager": manager, "force": "true"}
    return await client.call("PATCH", path, query=query, body=document, content_type=APPLY)


class Client:
    """Requests to one API server over connections that are kept.

    ``counts`` has how many were sent, by method and by HTTP's status (0: no answer).
    """

    def __init__(self, transport: Transport, agent: str = "k8slan") -> None:
        """``agent`` is who asks, for the API server's audit log."""
        self.counts: Counter[tuple[str, int]] = Counter()
        self._transport = transport
        self._agent = f"{agent}/{__version__}"

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

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
        headers = () if body is None else (("Content-Type", content_type),)
        request = Request(method=method, path=path, query=query, body=body, headers=headers, seconds=seconds)
        async with self.answer(request) as answer:
            return _parsed(await answer.read())

    @contextlib.asynccontextmanager
    async def watch(
        self, path: str, query: Mapping[str, str], seconds: float
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Begin a watch, which is then an iterator of the events that come in; silence of ``seconds`` breaks it.

        Raises:
            ApiError: it was refused or broke, inside of the block too.

        """
        async with (
            self.answer(Request(method="GET", path=path, query=query, silence=seconds)) as answer,
            contextlib.aclosing(answer.lines()) as lines,
            contextlib.aclosing(_documents(lines)) as events,
        ):
            yield events

    @contextlib.asynccontextmanager
    async def answer(self, request: Request) -> AsyncIterator[Answer]:
        """Send a request and give its answer, of which only the head has come.

        Raises:
            ApiError: it was refused or broke, inside of the block too.

        """
        own = (("Accept", JSON), ("User-Agent", self._agent))
        status = 0
        try:
            answer = await self._transport.send(replace(request, headers=(*own, *request.headers)))
            try:
                status = answer.status
                if not 200 <= status <= 299:
                    raise refusal(status, await answer.read(), f"{request.method} {request.path}")
                yield answer
            finally:
                answer.close()
        except self._transport.faults as error:
            raise self._transport.lost(error) from error
        finally:
            self.counts[request.method, status] += 1


async def _documents(lines: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any], None]:
    async for line in lines:
        if not line.endswith(b"\n"):
            return  # it broke off in the middle of an event, which will come again
        yield _parsed(line)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise ApiError(f"the API server's answer is not JSON: {error}") from error
    return found


# ---------------------------------------------------------------- what errors mean

_FORBIDDEN = re.compile(
    r'.* is forbidden: User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<what>[^"]*)" in API group "[^"]*"'
    r'(?: in the namespace "(?P<namespace>[^"]*)"| at the cluster scope)?(?P<more>.*)',
    re.DOTALL,
)
"""What the API server says of a right that is missing."""
_DENIED = re.compile(
    r".* is forbidden: ValidatingAdmissionPolicy 'k8slan[^']*' with binding '[^']*' denied request: (?P<why>.*)",
    re.DOTALL,
)
"""What it says of a right that a policy of k8slan misses."""


def refusal(status: int, text: bytes, what: str) -> ApiError:
    """Return what an answer of the API server means that is not a success; ``what`` was asked."""
    try:
        answer = json.loads(text)
        message = names.one_line(str(answer.get("message") or ""))
        causes = (answer.get("details") or {}).get("causes") or ()
        problems = tuple(
            Problem(field=c.get("field") or "", message=names.one_line(c.get("message") or "")) for c in causes
        )
    except (ValueError, AttributeError):
        message, problems = names.one_line(text.decode(errors="replace").strip()), ()
    if status == 401:
        hint = "the credentials are wrong or have expired"
        return MissingError("the cluster does not know this user", hint=hint, status=status)
    if status == 403 and (found := _FORBIDDEN.fullmatch(message)):
        where = f"in namespace {found['namespace']}" if found["namespace"] else "at the cluster scope"
        namespace = f" -n {found['namespace']}" if found["namespace"] else ""
        return MissingError(
            f"user {found['user']} cannot {found['verb']} {found['what']} {where}",
            hint=f"to see the permissions: kubectl auth can-i --list{namespace}",
            status=status,
        )
    if status == 403 and (found := _DENIED.fullmatch(message)):
        return MissingError(found["why"], status=status)
    return ApiError(message or f"{what}: HTTP status {status}", status=status, problems=problems)


def reason(error: BaseException) -> str:
    """Return in a few words why there was no answer: what the system said, below what libraries made of it."""
    deepest: BaseException | None = error
    while deepest is not None:
        if isinstance(deepest, OSError):
            error = deepest
        deepest = deepest.__cause__ or deepest.__context__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        words = str(getattr(error, "reason", None) or error.strerror)
        kind, _, alert = words.partition("_ALERT_")  # as in TLSV13_ALERT_CERTIFICATE_REQUIRED
        if alert:
            return f"the server refuses it: {alert.replace('_', ' ').lower()}"
        return f"TLS: {kind.partition(' (_ssl')[0]}"
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, OSError) and error.errno and error.errno > 0:  # asyncio has words of its own beside it
        return os.strerror(error.errno)
    if isinstance(error, ConnectionError) and not str(error):
        return "it closed the connection"
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
