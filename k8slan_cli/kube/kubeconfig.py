"""Reads kubeconfig files: which cluster, as whom, in which namespace.

All that kubectl understands, but auth-provider, which Kubernetes has given up: several files in ``KUBECONFIG``,
certificates as files or inside, tokens, passwords, ``exec`` plugins, impersonation, proxies. (Kubernetes reference:
"Config (v1)", "client-go credential plugins".) The blocking half of the project uses it for every command, so it
imports no more than it must.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8slan_cli.kube.connection import Access, Headers, MissingError

_HINT = "give one with --kubeconfig, or in the variable KUBECONFIG"
_FIELDS = (("clusters", "cluster"), ("users", "user"), ("contexts", "context"))
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_PIPE = 60_000  # bytes that any pipe holds
_EXEC_SECONDS = 120
Section = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the files say together: entries by name, and the name of the current context."""

    clusters: Mapping[str, Section]
    users: Mapping[str, Section]
    contexts: Mapping[str, Section]
    current: str


def load(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """The way to the cluster of a context: the one named, else the current one.

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
        headers, certificate = _credentials(user, cluster)
        tls = _tls(cluster, certificate) if url.startswith("https:") else None
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise _unusable(f"{_words(error)} (context {name!r})") from error
    return Access(
        url=url,
        namespace=str(chosen.get("namespace") or "default"),
        context=name,
        tls=tls,
        server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
        headers=(*headers, *_impersonation(user)),
    )


def _unusable(why: str) -> MissingError:
    return MissingError(f"no usable kubeconfig: {why}", hint=_HINT)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"its certificates cannot be used: {error.reason or error}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} cannot be read: {error.strerror}"
    return str(error)


# ---------------------------------------------------------------- files


def read(kubeconfig: str | None = None) -> Config:
    """The files, put together: what comes first stays.

    Raises:
        MissingError: there is none, or one is not a kubeconfig.

    """
    places = (kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")).split(os.pathsep)
    found: dict[str, dict[str, Section]] = {plural: {} for plural, _ in _FIELDS}
    files = [Path(place) for place in places if place and Path(place).is_file()]
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


def _document(file: Path) -> Section:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(file.read_text(), loader)  # noqa: S506 - both loaders are safe ones
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise _unusable(f"{file} is not YAML: {' '.join(str(error).split())}") from error
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

Certificate = tuple[bytes, bytes]
"""A client's certificate and its key, as PEM."""


def _credentials(user: Section, cluster: Section) -> tuple[Headers, Certificate | None]:
    """The headers and the certificate by which a user is known."""
    certificate = _pair(user.get, "client-certificate", "client-key")
    if user.get("tokenFile"):
        return _bearer(Path(user["tokenFile"]).read_text().strip()), certificate
    if user.get("token"):
        return _bearer(str(user["token"])), certificate
    if user.get("username"):
        import base64

        both = f"{user['username']}:{user.get('password') or ''}".encode()
        return (("Authorization", f"Basic {base64.b64encode(both).decode()}"),), certificate
    if isinstance(user.get("exec"), dict):
        status = _run(user["exec"], cluster)
        given = _pair(status.get, "clientCertificateData", "clientKeyData")
        return _bearer(str(status["token"])) if status.get("token") else (), given or certificate
    if isinstance(user.get("auth-provider"), dict):
        name = user["auth-provider"].get("name")
        raise _unusable(f"it signs in by auth-provider {name!r}, which is no more; use an exec plugin")
    return (), certificate


def _bearer(token: str) -> Headers:
    return (("Authorization", f"Bearer {token}"),)


def _pair(get: Callable[[str], Any], certificate: str, key: str) -> Certificate | None:
    found = (_pem(get, certificate), _pem(get, key))
    return found if found[0] and found[1] else None


def _pem(get: Callable[[str], Any], field: str) -> bytes:
    """PEM that is there itself, as base64 of it (``…-data``), or in a file."""
    if field.endswith("Data"):
        return str(get(field) or "").encode()
    if data := get(f"{field}-data"):
        import base64

        return base64.b64decode("".join(str(data).split()), validate=True)
    return Path(file).read_bytes() if (file := get(field)) else b""


def _tls(cluster: Section, certificate: Certificate | None) -> ssl.SSLContext:
    authority = _pem(cluster.get, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    # Many a cluster's authority lacks the extensions that Python 3.13 began to demand.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        _load(context, *certificate)
    return context


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Give a context a certificate. It takes files only; a pipe is one, and leaves no key on a disk."""
    ends = []
    try:
        for text in (certificate, key):
            if len(text) > _PIPE:
                raise ValueError("a certificate or key is too large to be one")
            reading, writing = os.pipe()
            ends.append(reading)
            os.write(writing, text)
            os.close(writing)
        context.load_cert_chain(f"/dev/fd/{ends[0]}", f"/dev/fd/{ends[1]}")
    finally:
        for end in ends:
            os.close(end)


def _impersonation(user: Section) -> Headers:
    headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(user["as-uid"])))
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    for key, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{key}", str(value)) for value in values]
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
