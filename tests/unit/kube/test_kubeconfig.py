"""kubeconfig files as people have them: several, relative, with plugins, broken; and the TLS that comes of them."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli.kube import kubeconfig
from k8slan_cli.kube.connection import Access, Connection, MissingError
from tests.cluster.harness import pki

Config = dict[str, Any]


def config(user: Config | None = None, cluster: Config | None = None, **context: Any) -> Config:
    """A kubeconfig with one of everything."""
    return {
        "clusters": [{"name": "c", "cluster": {"server": "http://192.0.2.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **context}}],
        "current-context": "here",
    }


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Access]:
    """Load a kubeconfig that is written for it."""

    def load(document: Any, context: str | None = None) -> Access:
        (tmp_path / "config").write_text(document if isinstance(document, str) else yaml.safe_dump(document))
        return kubeconfig.load(str(tmp_path / "config"), context)

    return load


def test_what_a_context_says(load: Callable[..., Access]) -> None:
    found = load(config(namespace="lab"))
    assert (found.url, found.namespace, found.context, found.tls) == ("http://192.0.2.1:6443", "lab", "here", None)
    assert load(config()).namespace == "default"


def test_the_first_of_several_files_has_the_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"current-context": "", "users": [{"name": "u", "user": {"token": "first"}}]}
    (tmp_path / "a").write_text(yaml.safe_dump(first))
    (tmp_path / "b").write_text(yaml.safe_dump(config({"token": "second"})))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/none::{tmp_path}/b")
    assert kubeconfig.load().headers == (("Authorization", "Bearer first"),)


def test_home_has_it_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingError, match=f"there is no kubeconfig at {tmp_path}/.kube/config"):
        kubeconfig.load()
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube/config").write_text(yaml.safe_dump(config()))
    assert kubeconfig.load().context == "here"


@pytest.mark.parametrize(
    ("user", "headers"),
    [
        ({}, ()),
        ({"token": "t"}, (("Authorization", "Bearer t"),)),
        ({"tokenFile": "token", "token": "other"}, (("Authorization", "Bearer from file"),)),
        ({"username": "me", "password": "pass"}, (("Authorization", "Basic bWU6cGFzcw=="),)),
        (
            {"token": "t", "as": "bob", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"why": ["x"]}},
            (
                ("Authorization", "Bearer t"),
                ("Impersonate-User", "bob"),
                ("Impersonate-Uid", "7"),
                ("Impersonate-Group", "a"),
                ("Impersonate-Group", "b"),
                ("Impersonate-Extra-why", "x"),
            ),
        ),
    ],
)
def test_who_somebody_is(user: Config, headers: Any, load: Callable[..., Access], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from file\n")
    assert load(config(user)).headers == headers


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("", "there is no context in it"),
        ("[", "is not YAML"),
        ("[]", "is not a mapping"),
        ("\0", "is not YAML"),
        ("contexts: 7", "there is no context in it"),
        (config() | {"current-context": ""}, "has no current context"),
        (config() | {"clusters": []}, "is about a cluster 'c', and there is none"),
        (config() | {"users": []}, "is about a user 'u', and there is none"),
        (config(cluster={"server": ""}), "has no server"),
        (config({"auth-provider": {"name": "oidc"}}), "signs in by auth-provider 'oidc'"),
        (config({"tokenFile": "/none"}), "/none cannot be read: No such file"),
        (config(cluster={"server": "https://x", "certificate-authority": "/none"}), "/none cannot be read"),
        (config(cluster={"server": "https://x", "certificate-authority-data": "eA=="}), "certificates cannot be used"),
        (config({"client-certificate-data": "*", "client-key-data": "*"}), "no usable kubeconfig"),
    ],
)
def test_what_cannot_be_used_is_said(document: Any, words: str, load: Callable[..., Access]) -> None:
    with pytest.raises(MissingError, match=words):
        load(document)


def test_a_context_that_is_not_there(load: Callable[..., Access]) -> None:
    with pytest.raises(MissingError) as caught:
        load(config(), "there")
    assert (caught.value.message, caught.value.hint) == ("the kubeconfig has no context 'there'", "it has here")


# ---------------------------------------------------------------- exec plugins


def plugin(script: str, **more: Any) -> Config:
    """A user who signs in by a program."""
    item = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-c", script]}
    return {"exec": item | more}


def test_a_plugin_gives_a_token_and_knows_what_for(load: Callable[..., Access]) -> None:
    script = (
        "import json, os; info = json.loads(os.environ['KUBERNETES_EXEC_INFO']);"
        "print(json.dumps({'status': {'token': os.environ['WHO'] + info['spec']['cluster']['server']}}))"
    )
    found = load(config(plugin(script, env=[{"name": "WHO", "value": "me@"}], provideClusterInfo=True)))
    assert found.headers == (("Authorization", "Bearer me@http://192.0.2.1:6443/"),)


def test_a_plugin_beside_the_file_is_found(load: Callable[..., Access], tmp_path: Path) -> None:
    (tmp_path / "login").write_text(f'#!{sys.executable}\nprint(\'{{"status": {{"token": "t"}}}}\')\n')
    (tmp_path / "login").chmod(0o755)
    assert load(config({"exec": {"command": "./login"}})).headers == (("Authorization", "Bearer t"),)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (plugin("raise SystemExit(3)"), "gave no credentials: exit status 3"),
        (plugin("print('hello')"), "is not an ExecCredential"),
        (plugin("print('{\"status\": 7}')"), "gave no credentials"),
        ({"exec": {"command": "no-such-plugin", "installHint": "get it at the shop"}}, "there is no program"),
    ],
)
def test_a_plugin_that_fails(user: Config, words: str, load: Callable[..., Access]) -> None:
    with pytest.raises(MissingError, match=words) as caught:
        load(config(user))
    assert caught.value.hint


# ---------------------------------------------------------------- TLS, and the connection


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self.server.asked.append((self.client_address, self.path, self.headers.items()))
        if self.path.endswith("/hang"):
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
        if self.path.endswith("/last"):
            self.close_connection = True

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.client_address, self.path, []))
        self.send_error(502)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    asked: list[Any]

    def handle_error(self, *_: object) -> None:
        """Nothing on stderr: a client that goes away is what some tests are about."""


@contextmanager
def serve(tls: ssl.SSLContext | None = None) -> Iterator[_Server]:
    """A server on loopback that says ok."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.asked = []
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(connection: Connection, path: str = "/x") -> bytes:
    return connection.send("GET", path, seconds=5, alone=False).read()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pki.Authority:
    return pki.Authority(tmp_path_factory.mktemp("pki"))


@contextmanager
def secure(authority: pki.Authority, *hosts: str) -> Iterator[_Server]:
    """A server that demands a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server(f"server-{'-'.join(hosts)}", [], hosts))
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with serve(context) as server:
        yield server


@pytest.mark.parametrize("inside", [True, False])
def test_certificates_are_shown_and_checked(
    inside: bool, authority: pki.Authority, load: Callable[..., Access], tmp_path: Path
) -> None:
    certificate, key = authority.client("me", "me")

    def field(name: str, path: Path) -> Config:
        return {f"{name}-data": base64.b64encode(path.read_bytes()).decode()} if inside else {name: str(path)}

    user = field("client-certificate", certificate) | field("client-key", key)
    with secure(authority, "localhost") as server:
        url = f"https://localhost:{server.server_address[1]}"
        trusted = {"server": url, **field("certificate-authority", authority.certificate)}
        assert ask(Connection(load(config(user, trusted)))) == b"ok"
        with pytest.raises(MissingError, match="no answer from the cluster"):
            ask(Connection(load(config({}, trusted))))
        other = pki.Authority(tmp_path / "other").certificate
        with pytest.raises(MissingError, match="its certificate is not trusted"):
            ask(Connection(load(config(user, {"server": url, **field("certificate-authority", other)}))))
        lax = {"server": url, "insecure-skip-tls-verify": True}
        assert ask(Connection(load(config(user, lax)))) == b"ok"


def test_the_certificate_may_be_for_another_name(authority: pki.Authority, load: Callable[..., Access]) -> None:
    certificate, key = authority.client("me", "me")
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    with secure(authority, "kubernetes") as server:
        cluster = {
            "server": f"https://127.0.0.1:{server.server_address[1]}",
            "certificate-authority": str(authority.certificate),
        }
        with pytest.raises(MissingError, match="its certificate is not trusted"):
            ask(Connection(load(config(user, cluster))))
        assert ask(Connection(load(config(user, cluster | {"tls-server-name": "kubernetes"})))) == b"ok"


def test_a_connection_is_kept_and_made_anew_when_the_server_has_closed_it() -> None:
    with serve() as server:
        connection = Connection(Access(url=f"http://127.0.0.1:{server.server_address[1]}/base", headers=(("A", "b"),)))
        for path in ("/1", "/last", "/2"):
            assert ask(connection, path) == b"ok"
        addresses = [address for address, _, _ in server.asked]
        assert addresses[0] == addresses[1] != addresses[2]
        assert [path for _, path, _ in server.asked] == ["/base/1", "/base/last", "/base/2"]
        assert all(("A", "b") in headers for _, _, headers in server.asked)


def test_an_answer_that_does_not_come_is_an_error() -> None:
    with serve() as server:
        connection = Connection(Access(url=f"http://127.0.0.1:{server.server_address[1]}"))
        with pytest.raises(MissingError, match="no answer from the cluster"):
            ask(connection, "/hang")
        assert ask(connection) == b"ok"


def test_what_tls_refuses_is_said_in_words() -> None:
    connection = Connection(Access(url="https://x"))
    alert = ssl.SSLError(1, "")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert "https://x: the server refuses it: certificate required" in connection.lost(alert).message
    assert connection.lost(ssl.SSLEOFError(8, "EOF, violating (_ssl.c:1)")).message.endswith("TLS: EOF, violating")


@pytest.mark.parametrize("kind", ["proxy-url", "HTTPS_PROXY"])
def test_a_proxy_is_asked(kind: str, load: Callable[..., Access], monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as server:
        proxy = f"http://127.0.0.1:{server.server_address[1]}"
        cluster = {"server": "https://cluster.example:6443"} | ({kind: proxy} if kind == "proxy-url" else {})
        monkeypatch.setenv("HTTPS_PROXY", proxy if kind == "HTTPS_PROXY" else "")
        with pytest.raises(MissingError, match="502"):
            ask(Connection(load(config(cluster=cluster))))
        assert [path for _, path, _ in server.asked] == ["cluster.example:6443"]


def test_json_is_yaml_too(load: Callable[..., Access]) -> None:
    assert load(json.dumps(config())).context == "here"
