"""One way to an API server, blocking: HTTP over a connection that is kept, for commands that run once.

It is http.client and nothing else, because a command's start is what a user waits for: the ``kubernetes`` package
costs a fifth of a second before the first request. What is sent and what the answers mean is not known here.
"""

from __future__ import annotations

import http.client
import os
import ssl
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from k8slan_cli.errors import K8slanError, Problem

Headers = tuple[tuple[str, str], ...]
_CONNECT_SECONDS = 10.0
"""How long a server may take to be there at all, whatever time its answer is given."""


class ClusterError(K8slanError):
    """The API server refused something, or could not be asked.

    ``status`` is HTTP's, 0 where there was no answer; ``problems`` are the fields that are refused, where it is them.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = 0, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.problems = problems


class MissingError(ClusterError):
    """Something that has to be there first is not: a cluster, a right, multus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where an API server is, and how it knows us.

    ``url`` has no slash at its end. ``tls`` is None for plain HTTP; ``server_name`` is the name in the server's
    certificate, "" for the url's own. ``proxy`` is an HTTP proxy's url, "" for none. ``namespace`` and ``context``
    are what the kubeconfig says.
    """

    url: str
    namespace: str = "default"
    context: str = ""
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    proxy: str = ""
    headers: Headers = ()


class Connection:
    """Requests to the API server of an ``Access``. Each thread has a connection of its own."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._kept = threading.local()

    def send(
        self, method: str, path: str, headers: Headers = (), body: bytes | None = None, *, seconds: float, alone: bool
    ) -> http.client.HTTPResponse:
        """Send a request; the answer still has to be read, and to the end before the next one is sent.

        ``seconds`` bounds every single wait. ``alone`` gives the request a connection of its own, which ends with it:
        for an answer that does not end soon.

        Raises:
            MissingError: nobody answers.

        """
        kept: http.client.HTTPConnection | None = None if alone else getattr(self._kept, "connection", None)
        try:
            if kept is not None:
                try:
                    return self._request(kept, method, path, headers, body, seconds)
                except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                    kept.close()  # the server closes what is idle for long; nothing has been read of an answer
            made = self.open(seconds)
            if not alone:
                self._kept.connection = made
            return self._request(made, method, path, headers, body, seconds)
        except (OSError, http.client.HTTPException) as error:
            self._kept.connection = None
            raise self.lost(error) from error

    def lost(self, error: Exception) -> MissingError:
        """What to say of an answer that does not come, or breaks off."""
        return MissingError(
            f"no answer from the cluster at {self.access.url}: {_reason(error)}",
            hint="is it the right context? see: kubectl config get-contexts",
        )

    def _request(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Headers,
        body: bytes | None,
        seconds: float,
    ) -> http.client.HTTPResponse:
        if connection.sock is None:
            connection.timeout = min(seconds, _CONNECT_SECONDS)
            connection.connect()
        connection.sock.settimeout(seconds)
        connection.putrequest(method, urlsplit(self.access.url).path + path)
        once = () if connection is getattr(self._kept, "connection", None) else (("Connection", "close"),)
        for name, value in (*self.access.headers, *headers, *once):
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return connection.getresponse()

    def open(self, seconds: float) -> http.client.HTTPConnection:
        """A connection of the caller's own, not connected yet; ``access.headers`` have to go with every request."""
        access = self.access
        server = urlsplit(access.url)
        host, port = server.hostname or "", server.port or (443 if access.tls else 80)
        proxy = urlsplit(access.proxy or _environment_proxy(server.scheme, host))
        made: http.client.HTTPConnection
        where = (proxy.hostname or "", proxy.port or 3128) if proxy.hostname else (host, port)
        if access.tls:
            made = _Secure(*where, access.tls, access.server_name, seconds)
        else:
            made = _Plain(*where, timeout=seconds)
        if proxy.hostname:
            made.set_tunnel(host, port)
        return made


class _Plain(http.client.HTTPConnection):
    """HTTP."""

    def __del__(self) -> None:
        self.close()


class _Secure(http.client.HTTPSConnection):
    """HTTPS whose certificate may be for another name than the one that is connected to."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, name: str, seconds: float) -> None:
        super().__init__(host, port, timeout=seconds, context=tls)
        self._tls = tls
        self._name = name

    def __del__(self) -> None:
        self.close()

    def connect(self) -> None:
        if not self._name:
            super().connect()
            return
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _environment_proxy(scheme: str, host: str) -> str:
    """The proxy that ``HTTPS_PROXY`` and its kin name for a host, if any."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib import request  # costly, and hardly ever needed

    if request.proxy_bypass(host):
        return ""
    return request.getproxies().get(scheme, "")


def _reason(error: Exception) -> str:
    """Why, in a few words."""
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
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return f"what answers does not speak HTTP ({type(error).__name__})"
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
