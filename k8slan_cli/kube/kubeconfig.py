"""The way to an API server: a kubeconfig, or the service account of the pod that this runs in.

It fills in the ``Configuration`` that both halves of the ``kubernetes`` package take. The package reads kubeconfigs
too (``kubernetes.config``), but otherwise than kubectl: here the first of several files counts, a token file or a
plugin's token is fetched again in time, an ``exec`` plugin that fails is an error (the package logs it and sends the
request without credentials), impersonation is not ignored, and a key is in no file longer than it takes to read it.
What would be left to the package costs a command 0.1 s, for libraries of a way to sign in that Kubernetes has no more.
(Kubernetes reference: "Config (v1)", "client-go credential plugins".)
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from k8slan_cli.errors import yaml_fault
from k8slan_cli.kube.client import Headers, MissingError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HINT = "give one with --kubeconfig, or in the variable KUBECONFIG"
_FIELDS = (("clusters", "cluster"), ("users", "user"), ("contexts", "context"))
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_EXEC_SECONDS = 120
_TOKEN_FILE_SECONDS = 60.0
"""How long a token is used before its file is read again: the kubelet renews it long before it expires."""
_EARLY_SECONDS = 30.0
"""How long before its end a plugin's token is replaced."""
_HEADER_NAME = "!#$&'*+-.^_`|~"
"""What a header's name may have beside letters and digits (RFC 9110, 5.6.2), but for "%", which begins an escape."""
Section = dict[str, Any]


# ---------------------------------------------------------------- the way in


class Token:
    """A bearer token that is fetched again when it is due. ``fetch`` gives one, and for how many seconds it is good."""

    def __init__(self, first: tuple[str, float], fetch: Callable[[], tuple[str, float]]) -> None:
        self._fetch = fetch
        self._fetching = threading.Lock()
        self._take(*first)

    def _take(self, value: str, seconds: float) -> None:
        self.value, self._until = value, time.monotonic() + seconds

    @property
    def due(self) -> bool:
        """Whether it is time to fetch it again."""
        return time.monotonic() >= self._until

    def renew(self) -> None:
        """Fetch it again if it is due, which may take its time. If its file is gone the old one may still do.

        Raises:
            MissingError: a plugin gives none.

        """
        with self._fetching, contextlib.suppress(OSError):
            if self.due:
                self._take(*self._fetch())


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where an API server is, and how it knows us.

    ``url`` has no slash at its end. ``namespace`` and ``context`` are what the kubeconfig says; a pod's account has no
    context. ``headers`` go with every request. ``cluster`` and ``user`` are sections of the kubeconfig; ``token``
    replaces theirs.
    """

    url: str
    namespace: str = "default"
    context: str = ""
    headers: Headers = ()
    cluster: Mapping[str, Any] = field(default_factory=dict)
    user: Mapping[str, Any] = field(default_factory=dict)
    token: Token | None = None

    def configure(self, configuration: Any) -> ssl.SSLContext | None:
        """Fill in a ``Configuration`` of either half of the package; returns what TLS takes, None for plain HTTP.

        Raises:
            MissingError: what the kubeconfig names cannot be used.

        """
        configuration.host = self.url
        configuration.verify_ssl = not self.cluster.get("insecure-skip-tls-verify")
        configuration.tls_server_name = self.cluster.get("tls-server-name")
        if key := self._authorization():
            configuration.api_key["BearerToken"] = key
        if proxy := self.cluster.get("proxy-url"):
            configuration.proxy = proxy
            configuration.no_proxy = ""  # that is for the environment's proxies
        try:
            return self._tls() if self.url.startswith("https:") else None
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, binascii.Error a ValueError
            raise _unusable(_words(error), self.context) from error

    def _authorization(self) -> str:
        """What the header says; "" for nothing."""
        if token := self.token.value if self.token else self.user.get("token"):
            return f"Bearer {token}"
        if name := self.user.get("username"):
            pair = f"{name}:{self.user.get('password') or ''}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
        return ""

    def _tls(self) -> ssl.SSLContext:
        """Raises OSError or ValueError for what cannot be used."""
        with _files(self.cluster, "certificate-authority") as (authority,):
            context = ssl.create_default_context(cafile=authority)
        # Many a cluster's authority lacks the extensions that Python 3.13 began to demand.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        with _files(self.user, "client-certificate", "client-key") as (certificate, key):
            if certificate:
                context.load_cert_chain(certificate, key)
        return context


@contextlib.contextmanager
def _files(section: Mapping[str, Any], *keys: str) -> Iterator[list[str | None]]:
    """Files of what a section has under some keys, in a file or in itself, for the length of a block."""
    import tempfile

    with contextlib.ExitStack() as stack:
        found: list[str | None] = []
        for key in keys:
            if data := section.get(f"{key}-data"):
                file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="k8slan-"))  # for this user's eyes alone
                file.write(base64.b64decode(data))
                file.flush()
                found.append(file.name)
            else:
                found.append(section.get(key) or None)
        yield found


def access(kubeconfig: str | None = None, context: str | None = None, as_user: str | None = None) -> Access:
    """Return the way in: the kubeconfig named here or by ``KUBECONFIG``, else ~/.kube/config, else the pod's account.

    ``as_user`` is whom to impersonate, instead of what the kubeconfig says of that.

    Raises:
        MissingError: there is none, it has no such context, or it cannot be used.

    """
    named = kubeconfig or context or os.environ.get("KUBECONFIG")
    pod = not named and "KUBERNETES_SERVICE_HOST" in os.environ and not _default().exists()
    found = in_cluster() if pod else load(kubeconfig, context)
    return replace(found, headers=(("Impersonate-User", as_user),)) if as_user else found


def in_cluster(folder: Path = _ACCOUNT, environ: Mapping[str, str] = os.environ) -> Access:
    """Return the way in of a pod: its service account.

    Raises:
        MissingError: the account's files are not there.

    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        token = _token_file(folder / "token")
        (folder / "ca.crt").read_bytes()
        namespace = (folder / "namespace").read_text().strip() if (folder / "namespace").exists() else "default"
    except OSError as error:
        hint = "does the pod have automountServiceAccountToken: false?"
        raise MissingError(f"the service account in {folder} cannot be used: {error.strerror}", hint=hint) from error
    return Access(
        url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace,
        cluster={"certificate-authority": str(folder / "ca.crt")},
        token=token,
    )


def _token_file(path: Path) -> Token:
    def read() -> tuple[str, float]:
        return path.read_text().strip(), _TOKEN_FILE_SECONDS

    return Token(read(), read)


def load(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """Return the way to the cluster of a context: the one named, else the current one.

    The files are the one given, else those of ``$KUBECONFIG``, else ``~/.kube/config``.

    Raises:
        MissingError: there is none, it has no such context, or it cannot be used.

    """
    config = read(kubeconfig)
    name = context or config.current
    if not config.contexts:
        raise _unusable("there is no context in it")
    if not name:
        hint = "name one with --context, or for all commands: kubectl config use-context NAME"
        raise MissingError("the kubeconfig has no current context", hint=hint)
    if name not in config.contexts:
        hint = f"it has {', '.join(config.contexts)}"
        raise MissingError(f"the kubeconfig has no context {name!r}", hint=hint)
    chosen = config.contexts[name]
    cluster = _entry(config.clusters, "cluster", chosen, name)
    user = _entry(config.users, "user", chosen, name)
    url = str(cluster.get("server") or "").rstrip("/")
    if not url:
        raise _unusable(f"the cluster of context {name!r} has no server")
    if "://" not in url:
        url = f"https://{url}"
    try:
        for path in (section[key] for section in (cluster, user) for key in _PATHS if section.get(key)):
            Path(path).open("rb").close()
        credentials, token = _credentials(user, cluster)
    except (OSError, ValueError) as error:  # ValueError: a token that is not text
        raise _unusable(_words(error), name) from error
    return Access(
        url=url,
        namespace=str(chosen.get("namespace") or "default"),
        context=name,
        headers=_impersonation(user),
        cluster=cluster,
        user=credentials,
        token=token,
    )


def _unusable(why: str, context: str = "") -> MissingError:
    about = f" (context {context!r})" if context else ""
    return MissingError(f"no usable kubeconfig: {why}{about}", hint=_HINT)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"its certificates cannot be used: {error.reason or error}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} cannot be read: {error.strerror}"
    return str(error)


# ---------------------------------------------------------------- files


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the files say together: entries by name, and the name of the current context."""

    clusters: Mapping[str, Section]
    users: Mapping[str, Section]
    contexts: Mapping[str, Section]
    current: str


def read(kubeconfig: str | None = None) -> Config:
    """The files, put together: what comes first stays.

    Raises:
        MissingError: there is none, or one is not a kubeconfig.

    """
    places = (kubeconfig or os.environ.get("KUBECONFIG") or str(_default())).split(os.pathsep)
    found: dict[str, dict[str, Section]] = {plural: {} for plural, _ in _FIELDS}
    files = [Path(place) for place in places if place and Path(place).is_file()]
    if folder := next((place for place in places if place and Path(place).is_dir()), ""):
        raise MissingError(f"{folder} is a folder, not a kubeconfig", hint=_HINT)
    if not files:
        raise MissingError(f"there is no kubeconfig at {' or '.join(places)}", hint=_HINT)
    current = ""
    for file in files:
        document = _document(file)
        current = current or str(document.get("current-context") or "")
        for plural, singular in _FIELDS:
            for name, entry in _named(document.get(plural), singular, file).items():
                found[plural].setdefault(name, entry)
    return Config(clusters=found["clusters"], users=found["users"], contexts=found["contexts"], current=current)


def _default() -> Path:
    return Path.home() / ".kube/config"


def _document(file: Path) -> Section:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(file.read_text(), loader)  # noqa: S506 - both loaders are safe ones
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise _unusable(f"{file} is not YAML: {yaml_fault(error)}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise _unusable(f"{file} is not a mapping")
    return document


def _named(entries: object, field: str, file: Path) -> dict[str, Section]:
    """The entries of a list of ``{name: …, <field>: {…}}``, with paths that do not depend on where we are."""
    found = {}
    for item in entries if isinstance(entries, list) else ():
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            continue
        entry = dict(item[field]) if isinstance(item.get(field), dict) else {}
        for key in _PATHS:
            if entry.get(key):
                entry[key] = str(file.parent / str(entry[key]))
        plugin = entry.get("exec")
        if isinstance(plugin, dict) and "/" in str(plugin.get("command")):
            entry["exec"] = plugin | {"command": str(file.parent / str(plugin["command"]))}
        found[item["name"]] = entry
    return found


def _entry(entries: Mapping[str, Section], kind: str, context: Section, name: str) -> Section:
    wanted = str(context.get(kind) or "")
    if wanted not in entries:
        if kind == "user" and not wanted:
            return {}
        raise _unusable(f"context {name!r} is about a {kind} {wanted!r}, and there is none")
    return entries[wanted]


# ---------------------------------------------------------------- credentials


def _credentials(user: Section, cluster: Section) -> tuple[Section, Token | None]:
    """The part of a user's section that the package reads, and the token that replaces the one in it."""
    own = {key: value for key, value in user.items() if key not in ("tokenFile", "exec", "auth-provider")}
    if user.get("tokenFile"):
        return own, _token_file(Path(user["tokenFile"]))
    if user.get("username"):
        own["password"] = user.get("password") or ""
    if user.get("token") or user.get("username"):
        return own, None
    if isinstance(plugin := user.get("exec"), dict):
        status = _run(plugin, cluster)
        pair = (status.get("clientCertificateData"), status.get("clientKeyData"))
        if all(pair):
            certificate, key = (base64.b64encode(str(pem).encode()).decode() for pem in pair)
            own |= {"client-certificate-data": certificate, "client-key-data": key}
        if status.get("token"):
            return own, Token(_good_for(status), lambda: _good_for(_run(plugin, cluster)))
        if not all(pair):
            raise _unusable(f"{plugin.get('command')!r} gave neither a token nor a certificate with its key")
    elif isinstance(user.get("auth-provider"), dict):
        name = user["auth-provider"].get("name")
        raise _unusable(f"it signs in by auth-provider {name!r}, which is no more; use an exec plugin")
    return own, None


def _good_for(status: Section) -> tuple[str, float]:
    """A plugin's token, and for how many seconds it is good."""
    from datetime import UTC, datetime

    if not status.get("token"):
        raise _unusable("the plugin that gave a token before gives none now")
    if not (end := status.get("expirationTimestamp")):
        return str(status["token"]), float("inf")
    try:
        left = datetime.fromisoformat(str(end)).astimezone(UTC) - datetime.now(UTC)
    except ValueError as error:
        raise _unusable(f"the plugin's token ends at {end!r}, which is not a time") from error
    return str(status["token"]), left.total_seconds() - _EARLY_SECONDS


def _impersonation(user: Section) -> Headers:
    headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(user["as-uid"])))
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    for key, values in (user.get("as-user-extra") or {}).items():
        name = f"Impersonate-Extra-{quote(key, safe=_HEADER_NAME)}"
        headers += [(name, str(value)) for value in values]
    return tuple(headers)


# ---------------------------------------------------------------- exec plugins


def _run(plugin: Section, cluster: Section) -> Section:
    """Ask a credential plugin (client.authentication.k8s.io); what it says on stderr is for the user."""
    import subprocess

    command, version = str(plugin.get("command") or ""), str(plugin.get("apiVersion") or "")
    arguments = [str(argument) for argument in plugin.get("args") or ()]
    asked: Section = {"interactive": plugin.get("interactiveMode") != "Never" and sys.stdin.isatty()}
    if plugin.get("provideClusterInfo"):
        asked["cluster"] = {
            "server": cluster.get("server"),
            "tls-server-name": cluster.get("tls-server-name"),
            "insecure-skip-tls-verify": bool(cluster.get("insecure-skip-tls-verify")),
            "certificate-authority-data": cluster.get("certificate-authority-data"),
            "proxy-url": cluster.get("proxy-url"),
        }
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": asked}
    extra = {str(item["name"]): str(item["value"]) for item in plugin.get("env") or ()}
    try:
        done = subprocess.run(  # noqa: S603 - what the user's own kubeconfig names
            [command, *arguments],
            env={**os.environ, **extra, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=None if asked["interactive"] else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=None if asked["interactive"] else _EXEC_SECONDS,
            check=True,
        )
        status = json.loads(done.stdout)["status"]
    except FileNotFoundError:
        hint = str(plugin.get("installHint") or "").strip() or "the kubeconfig signs in with it; install it"
        raise MissingError(f"there is no program {command!r}", hint=hint) from None
    except subprocess.CalledProcessError as error:
        raise _unusable(f"{command!r} gave no credentials: exit status {error.returncode}") from error
    except subprocess.TimeoutExpired as error:
        raise _unusable(f"{command!r} gave no credentials within {_EXEC_SECONDS} s") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _unusable(f"what {command!r} prints is not an ExecCredential") from error
    if not isinstance(status, dict):
        raise _unusable(f"{command!r} gave no credentials")
    return status
