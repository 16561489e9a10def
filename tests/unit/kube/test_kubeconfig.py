"""kubeconfig files as people have them: several, relative, with plugins, broken; and the TLS that comes of them."""

from __future__ import annotations

import base64
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli.kube import kubeconfig
from k8slan_cli.kube.client import Client, MissingError
from k8slan_cli.kube.kubeconfig import Access, in_cluster
from tests.cluster.harness import pki
from tests.unit.kube.ways import Way, ask, both, use

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
    assert (found.url, found.namespace, found.context) == ("http://192.0.2.1:6443", "lab", "here")
    assert load(config()).namespace == "default"


def test_the_first_of_several_files_has_the_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"current-context": "", "users": [{"name": "u", "user": {"token": "first"}}]}
    (tmp_path / "a").write_text(yaml.safe_dump(first))
    (tmp_path / "b").write_text(yaml.safe_dump(config({"token": "second"})))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/none::{tmp_path}/b")
    assert kubeconfig.load().user == {"token": "first"}


def test_home_has_it_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingError, match=f"there is no kubeconfig at {tmp_path}/.kube/config"):
        kubeconfig.load()
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube/config").write_text(yaml.safe_dump(config()))
    assert kubeconfig.load().context == "here"


@both
@pytest.mark.parametrize(
    ("user", "headers"),
    [
        ({}, []),
        ({"token": "t"}, [("Authorization", "Bearer t")]),
        ({"tokenFile": "token", "token": "other"}, [("Authorization", "Bearer from file")]),
        ({"username": "me", "password": "pass"}, [("Authorization", "Basic bWU6cGFzcw==")]),
        (
            {"token": "t", "as": "bob", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"a.io/why%": ["x"]}},
            [
                ("Authorization", "Bearer t"),
                ("Impersonate-Extra-a.io%2Fwhy%25", "x"),
                ("Impersonate-Group", "a"),
                ("Impersonate-Group", "b"),
                ("Impersonate-Uid", "7"),
                ("Impersonate-User", "bob"),
            ],
        ),
    ],
)
def test_who_somebody_is(way: Way, user: Config, headers: Any, load: Callable[..., Access], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from file\n")
    with serve() as server:
        ask(way, load(config(user, {"server": server.url})))
        assert server.who == headers


def test_another_user_is_whom_one_names(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(yaml.safe_dump(config({"as": "bob", "as-groups": ["a"]})))
    found = kubeconfig.access(str(tmp_path / "config"), as_user="eve")
    assert found.headers == (("Impersonate-User", "eve"),)


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
    ],
)
def test_what_cannot_be_used_is_said(document: Any, words: str, load: Callable[..., Access]) -> None:
    with pytest.raises(MissingError, match=words):
        load(document)


@both
@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        ({}, {"certificate-authority-data": "eA=="}, "certificates cannot be used"),
        ({"client-certificate-data": "*", "client-key-data": "*"}, {}, "no usable kubeconfig"),
    ],
)
def test_certificates_that_are_none_are_said(
    way: Way, user: Config, cluster: Config, words: str, load: Callable[..., Access]
) -> None:
    with pytest.raises(MissingError, match=words):
        way(load(config(user, {"server": "https://x", **cluster})))


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
    assert found.token is not None
    assert found.token.value == "me@http://192.0.2.1:6443/"


def test_a_plugin_beside_the_file_is_found(load: Callable[..., Access], tmp_path: Path) -> None:
    (tmp_path / "login").write_text(f'#!{sys.executable}\nprint(\'{{"status": {{"token": "t"}}}}\')\n')
    (tmp_path / "login").chmod(0o755)
    found = load(config({"exec": {"command": "./login"}}))
    assert found.token is not None
    assert found.token.value == "t"


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (plugin("raise SystemExit(3)"), "gave no credentials: exit status 3"),
        (plugin("print('hello')"), "is not an ExecCredential"),
        (plugin("print('{\"status\": 7}')"), "gave no credentials"),
        (
            plugin('print(\'{"status": {"token": "t", "expirationTimestamp": "soon"}}\')'),
            "ends at 'soon', which is not a time",
        ),
        (plugin("print('{\"status\": {}}')"), "gave neither a token nor a certificate with its key"),
        (plugin('print(\'{"status": {"clientCertificateData": "x"}}\')'), "nor a certificate with its key"),
        ({"exec": {"command": "no-such-plugin", "installHint": "get it at the shop"}}, "there is no program"),
    ],
)
def test_a_plugin_that_fails(user: Config, words: str, load: Callable[..., Access]) -> None:
    with pytest.raises(MissingError, match=words) as caught:
        load(config(user))
    assert caught.value.hint


@both
def test_a_token_that_ends_is_asked_for_again(way: Way, load: Callable[..., Access], tmp_path: Path) -> None:
    """Each run of the plugin gives another; the first is over at once, the second is good for an hour."""
    script = (
        "import datetime, json, pathlib; count = pathlib.Path('" + str(tmp_path / "count") + "');"
        "n = len(count.read_text()) if count.exists() else 0; count.write_text('x' * (n + 1));"
        "end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=n);"
        "print(json.dumps({'status': {'token': f't{n}', 'expirationTimestamp': end.isoformat()}}))"
    )

    async def twice(client: Client) -> None:
        await client.call("GET", "/1")
        await client.call("GET", "/2")

    with serve() as server:
        found = load(config(plugin(script), {"server": server.url}))
        assert found.token is not None
        assert found.token.value == "t0"
        use(way, found, twice)
        assert server.who == [("Authorization", "Bearer t1")]
        assert (tmp_path / "count").read_text() == "xx"


@both
def test_a_plugin_that_fails_later_is_an_error_and_no_request_of_nobody(
    way: Way, load: Callable[..., Access], tmp_path: Path
) -> None:
    script = (
        "import json, pathlib; first = pathlib.Path('" + str(tmp_path / "first") + "');"
        "assert not first.exists(); first.touch();"
        "print(json.dumps({'status': {'token': 't', 'expirationTimestamp': '2020-01-01T00:00:00Z'}}))"
    )
    with serve() as server:
        found = load(config(plugin(script), {"server": server.url}))
        with pytest.raises(MissingError, match="gave no credentials: exit status 1"):
            ask(way, found)
        assert server.asked == []


# ---------------------------------------------------------------- a pod's account


@pytest.fixture
def account(tmp_path: Path, authority: pki.Authority) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("lab")
    (tmp_path / "ca.crt").write_bytes(authority.certificate.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("host", "url"), [("10.0.0.1", "https://10.0.0.1:6443"), ("fd00::1", "https://[fd00::1]:6443")]
)
def test_a_pod_needs_no_kubeconfig(account: Path, host: str, url: str) -> None:
    found = in_cluster(account, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "6443"})
    assert (found.url, found.namespace, found.context) == (url, "lab", "")


def test_in_a_pod_a_kubeconfig_is_taken_if_there_is_one(
    account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(kubeconfig.in_cluster, "__defaults__", (account, os.environ))
    assert kubeconfig.access().url == "https://10.0.0.1:443"
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube/config").write_text(yaml.safe_dump(config()))
    assert kubeconfig.access().context == "here"


def test_without_an_account_there_is_no_way_in(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="service account") as caught:
        in_cluster(tmp_path, {})
    assert "automountServiceAccountToken" in caught.value.hint


@both
def test_a_renewed_token_is_read_in_time(way: Way, account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def thrice(client: Client) -> None:
        await client.call("GET", "/1")
        (account / "token").write_text("second")
        await client.call("GET", "/2")
        (account / "token").unlink()
        await client.call("GET", "/3")  # the old one may still do

    for seconds, tokens in ((60.0, ["first", "first", "first"]), (0.0, ["first", "second", "second"])):
        monkeypatch.setattr(kubeconfig, "_TOKEN_FILE_SECONDS", seconds)
        (account / "token").write_text("first\n")
        with serve() as server:
            use(way, replace(in_cluster(account, {"KUBERNETES_SERVICE_HOST": "x"}), url=server.url), thrice)
            assert [dict(headers)["Authorization"] for _, _, headers in server.asked] == [f"Bearer {t}" for t in tokens]


# ---------------------------------------------------------------- TLS, and the connection


OK = {"all": "well"}


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
        self.send_header("Content-Length", str(len(json.dumps(OK))))
        self.end_headers()
        self.wfile.write(json.dumps(OK).encode())
        if self.path.endswith("/last"):
            self.close_connection = True

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.client_address, self.path, []))
        self.send_error(502)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    asked: list[Any]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def who(self) -> list[tuple[str, str]]:
        """What the last request says of who asks."""
        _, _, headers = self.asked[-1]
        return sorted((key, value) for key, value in headers if key.startswith(("Authorization", "Impersonate-")))

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


@both
@pytest.mark.parametrize("inside", [True, False])
def test_certificates_are_shown_and_checked(
    way: Way, inside: bool, authority: pki.Authority, load: Callable[..., Access], tmp_path: Path
) -> None:
    certificate, key = authority.client("me", "me")

    def field(name: str, path: Path) -> Config:
        return {f"{name}-data": base64.b64encode(path.read_bytes()).decode()} if inside else {name: str(path)}

    user = field("client-certificate", certificate) | field("client-key", key)
    with secure(authority, "localhost") as server:
        url = f"https://localhost:{server.server_address[1]}"
        trusted = {"server": url, **field("certificate-authority", authority.certificate)}
        assert ask(way, load(config(user, trusted))) == OK
        with pytest.raises(MissingError, match="no answer from the API server"):
            ask(way, load(config({}, trusted)))
        other = pki.Authority(tmp_path / "other").certificate
        with pytest.raises(MissingError, match="its certificate is not trusted"):
            ask(way, load(config(user, {"server": url, **field("certificate-authority", other)})))
        lax = {"server": url, "insecure-skip-tls-verify": True}
        assert ask(way, load(config(user, lax))) == OK


@both
def test_the_certificate_may_be_for_another_name(
    way: Way, authority: pki.Authority, load: Callable[..., Access]
) -> None:
    certificate, key = authority.client("me", "me")
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    with secure(authority, "kubernetes") as server:
        cluster = {
            "server": f"https://127.0.0.1:{server.server_address[1]}",
            "certificate-authority": str(authority.certificate),
        }
        with pytest.raises(MissingError, match="its certificate is not trusted"):
            ask(way, load(config(user, cluster)))
        assert ask(way, load(config(user, cluster | {"tls-server-name": "kubernetes"}))) == OK


@both
def test_a_connection_is_kept_and_made_anew_when_the_server_has_closed_it(way: Way) -> None:
    async def several(client: Client) -> None:
        for path in ("/1", "/last", "/2"):
            assert await client.call("GET", path) == OK

    with serve() as server:
        use(way, Access(url=f"{server.url}/base"), several)
        addresses = [address for address, _, _ in server.asked]
        assert addresses[0] == addresses[1] != addresses[2]
        assert [path for _, path, _ in server.asked] == ["/base/1", "/base/last", "/base/2"]


@both
def test_an_answer_that_does_not_come_is_an_error(way: Way) -> None:
    async def twice(client: Client) -> None:
        with pytest.raises(MissingError, match="no answer from the API server"):
            await client.call("GET", "/hang")
        assert await client.call("GET", "/x") == OK

    with serve() as server:
        use(way, Access(url=server.url), twice)


@both
@pytest.mark.parametrize("kind", ["proxy-url", "HTTPS_PROXY"])
def test_a_proxy_is_asked(way: Way, kind: str, load: Callable[..., Access], monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as server:
        proxy = server.url
        cluster = {"server": "https://cluster.example:6443"} | ({kind: proxy} if kind == "proxy-url" else {})
        monkeypatch.setenv("HTTPS_PROXY", proxy if kind == "HTTPS_PROXY" else "")
        with pytest.raises(MissingError, match="502"):
            ask(way, load(config(cluster=cluster)))
        assert [path for _, path, _ in server.asked] == ["cluster.example:6443"]


@pytest.mark.parametrize("name", ["Asynchronous", "Blocking"])
def test_a_transport_imports_no_more_of_the_package_than_it_uses(name: str) -> None:
    script = (
        "import asyncio, sys\n"
        "from k8slan_cli.kube import kubeconfig, transport\n"
        f"async def make(): transport.{name}(kubeconfig.Access(url='https://x'))\n"
        "asyncio.run(make()); print(*sys.modules)"
    )
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "kubernetes.utils.keepalive" in loaded
    assert not loaded & {"pydantic", "oauthlib", "requests", "dateutil", "kubernetes.config", "kubernetes.dynamic"}


def test_json_is_yaml_too(load: Callable[..., Access]) -> None:
    assert load(json.dumps(config())).context == "here"
