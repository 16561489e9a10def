"""The client against a real API server: ways to sign in, proxies, names, and watches that break in every way."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.kube import kubeconfig, portforward, watch
from k8slan_cli.kube.apply import Cluster, Selection
from k8slan_cli.kube.client import ApiError, Client, MissingError
from k8slan_cli.kube.kinds import LANS
from k8slan_cli.kube.kubeconfig import Access, access
from k8slan_cli.kube.transport import Asynchronous
from k8slan_cli.kube.watch import Cache, Document, Informer
from tests.cluster.bare import Api, api, namespace, until
from tests.support.relay import Relay, relay
from tests.unit.kube.ways import Way, both, use
from tests.unit.render.command import call

__all__ = ["api", "namespace"]

Config = Callable[..., str]
SECONDS = 30.0
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def _who(client: Client) -> dict[str, Any]:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    found: dict[str, Any] = (await client.call("POST", _WHO, body=review))["status"]["userInfo"]
    return found


def who(way: Way, found: Access, agent: str = "k8slan") -> str:
    """Whom the API server takes us for."""
    name: str = use(way, found, _who, agent)["username"]
    return name


@pytest.fixture
def config(api: Api, tmp_path: Path) -> Config:
    """Write a kubeconfig like the administrator's: ``user`` instead of the certificate, ``cluster`` beside the rest."""

    def config(user: dict[str, Any] | None = None, **cluster: Any) -> str:
        found = json.loads(api.kubeconfig.read_text())
        found["clusters"][0]["cluster"] |= {key.replace("_", "-"): value for key, value in cluster.items()}
        if user is not None:
            found["users"][0]["user"] = user
        (tmp_path / "config").write_text(json.dumps(found))
        return str(tmp_path / "config")

    return config


@pytest.fixture
def admin(api: Api) -> dict[str, Any]:
    """The administrator's section."""
    found: dict[str, Any] = json.loads(api.kubeconfig.read_text())["users"][0]["user"]
    return found


@pytest.fixture
def token(api: Api, namespace: str) -> Callable[[str], str]:
    """A token of a service account."""

    def token(name: str) -> str:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        if api.get(f"{path}/{name}") is None:
            api.call("POST", path, {"metadata": {"name": name}})
        found: str = api.call("POST", f"{path}/{name}/token", {"spec": {}})["status"]["token"]
        return found

    return token


def _plugin(path: Path, body: str, **more: Any) -> dict[str, Any]:
    path.write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys\n{body}\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": f"./{path.name}", **more}}


# ---------------------------------------------------------------- signing in


@both
def test_by_a_certificate(way: Way, config: Config) -> None:
    assert who(way, access(config())) == "admin"


@both
def test_by_a_token_file_that_is_replaced(
    way: Way,
    config: Config,
    token: Callable[[str], str],
    tmp_path: Path,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kubeconfig, "_TOKEN_FILE_SECONDS", 0.0)
    (tmp_path / "token").write_text(token("one"))
    found = access(config({"tokenFile": "token"}))

    async def before_and_after(client: Client) -> list[str]:
        before = (await _who(client))["username"]
        (tmp_path / "token").write_text(other)
        return [before, (await _who(client))["username"]]

    other = token("two")
    assert use(way, found, before_and_after) == [f"system:serviceaccount:{namespace}:{name}" for name in ("one", "two")]


@both
def test_by_a_plugin_beside_the_kubeconfig(
    way: Way, config: Config, token: Callable[[str], str], tmp_path: Path, namespace: str, api: Api
) -> None:
    """It is told the cluster, and gives a token; it is asked for another when that is over."""
    body = (
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])['spec']['cluster']\n"
        "pathlib.Path(sys.argv[1], 'info').write_text(json.dumps(info))\n"
        "runs = pathlib.Path(sys.argv[1], 'runs')\n"
        "runs.write_text(runs.read_text() + 'x' if runs.exists() else 'x')\n"
        "token = pathlib.Path(sys.argv[1], 'token').read_text()\n"
        "print(json.dumps({'status': {'token': token, 'expirationTimestamp': '2020-01-01T00:00:00Z'}}))"
    )
    (tmp_path / "token").write_text(token("one"))
    user = _plugin(tmp_path / "login", body, args=[str(tmp_path)], provideClusterInfo=True)
    assert who(way, access(config(user))) == f"system:serviceaccount:{namespace}:one"
    assert (tmp_path / "runs").read_text() == "xx"
    info = json.loads((tmp_path / "info").read_text())
    assert info["server"] == api.url
    assert "certificate-authority-data" in info


@both
def test_by_a_plugin_that_gives_a_certificate(way: Way, config: Config, admin: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "pair").write_text(json.dumps([admin["client-certificate-data"], admin["client-key-data"]]))
    body = (
        "import base64\n"
        "pair = [base64.b64decode(x).decode() for x in json.loads(pathlib.Path(sys.argv[1]).read_text())]\n"
        "print(json.dumps({'status': dict(zip(('clientCertificateData', 'clientKeyData'), pair))}))"
    )
    user = _plugin(tmp_path / "login", body, args=[str(tmp_path / "pair")])
    assert who(way, access(config(user))) == "admin"


@both
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit('signed out')", "'.*/login' gave no credentials: exit status 1"),
        ("print('{}')", "what '.*/login' prints is not an ExecCredential"),
        ("print(json.dumps({'status': {}}))", "'.*/login' gave neither a token nor a certificate"),
    ],
)
def test_a_plugin_that_fails_is_an_error_and_nothing_is_asked_as_nobody(
    way: Way, body: str, words: str, config: Config, tmp_path: Path, api: Api
) -> None:
    agent = f"fails-{way.__name__}-{len(body)}"
    with pytest.raises(MissingError, match=words):
        who(way, access(config(_plugin(tmp_path / "login", body))), agent)
    assert not any(name.startswith(agent) for name, _, _ in api.requests())


@both
def test_a_token_that_is_none_is_said(way: Way, config: Config) -> None:
    with pytest.raises(MissingError, match="the cluster does not know this user") as caught:
        who(way, access(config({"token": "nonsense"})))
    assert caught.value.status == 401


# ---------------------------------------------------------------- being somebody else


@both
def test_as_another_user_with_groups(way: Way, config: Config, admin: dict[str, Any]) -> None:
    path = config(admin | {"as": "bob", "as-groups": ["a", "b"], "as-user-extra": {"why": ["x"]}})
    found = use(way, access(path), _who)
    assert found["username"] == "bob"
    assert {"a", "b"} <= set(found["groups"])
    assert found["extra"]["why"] == ["x"]
    assert who(way, access(path, as_user="eve")) == "eve"


def test_a_command_acts_as_another_user(config: Config, namespace: str) -> None:
    path = config()
    done = call("lan", "list", "-n", namespace, "--kubeconfig", path, "--as", "eve", status=3)
    assert f"user eve cannot list lans in namespace {namespace}" in done.stderr
    call("lan", "list", "-n", namespace, "--kubeconfig", path)


def test_a_port_forward_is_asked_for_as_another_user(config: Config, namespace: str) -> None:
    with pytest.raises(MissingError, match=r"user eve cannot .* pods/portforward") as caught:
        portforward.forward(Cluster(access(config(), as_user="eve")), namespace, "none", 1)
    assert caught.value.status == 403
    with pytest.raises(ApiError, match='pods "none" not found') as absent:
        portforward.forward(Cluster(access(config())), namespace, "none", 1)
    assert absent.value.status == 404


# ---------------------------------------------------------------- the way there


@both
def test_through_a_proxy(way: Way, config: Config, api: Api, admin: dict[str, Any]) -> None:
    with relay() as proxy:
        found = access(config(admin | {"as": "bob"}, proxy_url=proxy.url))
        assert who(way, found) == "bob"
        assert set(proxy.asked) == {f"127.0.0.1:{api.port}"}


def test_a_port_forward_through_a_proxy(
    config: Config, api: Api, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # which is for the environment's own
    with relay() as proxy:
        with pytest.raises(ApiError, match='pods "none" not found'):
            portforward.forward(Cluster(access(config(proxy_url=proxy.url))), namespace, "none", 1)
        assert proxy.asked == [f"127.0.0.1:{api.port}"]


@both
def test_the_certificate_is_for_another_name(way: Way, config: Config, api: Api) -> None:
    with relay(("127.0.0.1", api.port), "127.0.0.2") as there:
        url = f"https://127.0.0.2:{there.port}"
        with pytest.raises(MissingError, match=r"its certificate is not trusted: .*127.0.0.2"):
            who(way, access(config(server=url)))
        assert who(way, access(config(server=url, tls_server_name="localhost"))) == "admin"


def test_a_port_forward_where_the_certificate_is_for_another_name(config: Config, api: Api, namespace: str) -> None:
    with relay(("127.0.0.1", api.port), "127.0.0.2") as there:
        url = f"https://127.0.0.2:{there.port}"
        with pytest.raises(MissingError, match="its certificate is not trusted"):
            portforward.forward(Cluster(access(config(server=url))), namespace, "none", 1)
        with pytest.raises(ApiError, match='pods "none" not found'):
            portforward.forward(Cluster(access(config(server=url, tls_server_name="localhost"))), namespace, "none", 1)


@both
def test_nobody_is_there(way: Way, config: Config) -> None:
    with pytest.raises(MissingError, match=r"at https://127\.0\.0\.1:1: Connection refused"):
        who(way, access(config(server="https://127.0.0.1:1")))
    with pytest.raises(MissingError, match=r"at https://nowhere.invalid: .*(not known|resolution)"):
        who(way, access(config(server="https://nowhere.invalid")))


@both
def test_what_answers_is_no_api_server(way: Way, config: Config, api: Api) -> None:
    with pytest.raises(
        MissingError, match=r"no answer from the API server at https://.*: (TLS: |it closed|Connection reset)"
    ):
        who(way, access(config(server=f"https://127.0.0.1:{api.etcd_port}")))


# ---------------------------------------------------------------- watches


class Watched:
    """An informer of the LANs of a namespace, through a relay."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self._wake = asyncio.Event()
        self.cache: Cache[int] = Cache(lambda document: document["spec"]["vni"], lambda *_: self._wake.set())
        self.informer = Informer(client, LANS.path(namespace), self.cache)

    async def has(self, *vnis: int) -> None:
        """Wait until the LANs are those of these VNIs."""
        async with asyncio.timeout(SECONDS):
            while sorted(self.cache.values()) != sorted(vnis):
                self._wake.clear()
                await self._wake.wait()


@contextlib.asynccontextmanager
async def _watching(found: Access, namespace: str) -> AsyncIterator[Watched]:
    client = Client(Asynchronous(found), "watch")
    watched = Watched(client, namespace)
    task = asyncio.create_task(watched.informer.run())
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.wait({task})
        await client.close()


class Lab:
    """LANs in a namespace, and a relay on the way to them."""

    def __init__(self, api: Api, namespace: str, way: Relay, found: Access) -> None:
        self.api, self.namespace, self.way, self.access = api, namespace, way, found

    def watching(self) -> contextlib.AbstractAsyncContextManager[Watched]:
        """Watch them, through the relay."""
        return _watching(self.access, self.namespace)

    async def lan(self, vni: int, note: str = "") -> None:
        """Create a LAN, not through the relay."""
        body = {
            "apiVersion": LANS.api_version,
            "kind": LANS.name,
            "metadata": {"name": f"l{vni}", "annotations": {"note": note}},
            "spec": {"vni": vni, "spokes": [f"e{vni}"]},
        }
        await asyncio.to_thread(self.api.call, "POST", LANS.path(self.namespace), body)


@pytest.fixture
def lab(api: Api, namespace: str, config: Config) -> Iterator[Lab]:
    with relay(("127.0.0.1", api.port)) as way:
        yield Lab(api, namespace, way, access(config(server=f"https://127.0.0.1:{way.port}")))


def test_a_watch_that_is_cut_goes_on_where_it_was(lab: Lab) -> None:
    async def run() -> None:
        async with lab.watching() as watched:
            await watched.informer.live.wait()
            await lab.lan(1)
            await watched.has(1)
            lab.api.requests()
            for vni in (2, 3):
                lab.way.cut()
                await lab.lan(vni)
            await watched.has(1, 2, 3)
            assert not [who for who, verb, _ in lab.api.requests() if who.startswith("watch/") and verb == "list"]

    asyncio.run(run())


def test_a_watch_that_hangs_is_given_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_WATCH_SECONDS", (1, 1))
    monkeypatch.setattr(watch, "_GRACE_SECONDS", 1.0)

    async def run() -> None:
        async with lab.watching() as watched:
            await watched.informer.live.wait()
            lab.way.hold()
            await lab.lan(1)
            await asyncio.to_thread(until, lambda: "it took too long" in watched.informer.trouble, "it is given up")
            lab.way.go_on()
            await watched.has(1)

    asyncio.run(run())


def test_a_slow_watch_loses_nothing(lab: Lab) -> None:
    """Objects of a quarter of a megabyte, in pieces of three kilobytes."""
    lab.way.slow_down(3000, 0.002)

    async def run() -> None:
        async with lab.watching() as watched:
            await watched.informer.live.wait()
            for vni in range(1, 6):
                await lab.lan(vni, "x" * 250_000)
            await watched.has(1, 2, 3, 4, 5)
            assert watched.informer.trouble == ""

    asyncio.run(run())


def test_a_watch_whose_place_is_compacted_lists_again(lab: Lab) -> None:
    async def run() -> None:
        async with lab.watching() as watched:
            await watched.informer.live.wait()
            await lab.lan(1)
            await watched.has(1)
            lab.way.hold()
            await lab.lan(2)
            await asyncio.to_thread(lab.api.call, "DELETE", LANS.path(lab.namespace, "l1"))
            await asyncio.to_thread(lab.api.stop)
            await asyncio.to_thread(_compact, lab.api)
            await asyncio.to_thread(lab.api.start)
            lab.way.cut()
            lab.way.go_on()
            await watched.has(2)
            asked = lab.api.requests().items()
            lists = sum(count for (who, verb, _), count in asked if who.startswith("watch/") and verb == "list")
            assert lists >= 2, "at the beginning, and once more"
            await lab.lan(3)
            await watched.has(2, 3)

    asyncio.run(run())


def _compact(api: Api) -> None:
    """Have etcd forget all but what is now."""

    def ask(path: str, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", api.etcd_port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", f"/v3/kv/{path}", json.dumps(body))
            return json.load(connection.getresponse())

    revision = ask("range", {"key": "YQ=="})["header"]["revision"]
    ask("compaction", {"revision": revision, "physical": True})


def test_many_watches_survive_an_api_server_that_restarts(lab: Lab) -> None:
    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            several = [await stack.enter_async_context(lab.watching()) for _ in range(20)]
            await asyncio.gather(*(watched.informer.live.wait() for watched in several))
            await asyncio.to_thread(lab.api.stop)
            down = [watched.informer.live for watched in several]
            await asyncio.to_thread(until, lambda: not any(live.is_set() for live in down), "all have noticed")
            await asyncio.to_thread(lab.api.start)
            await lab.lan(1)
            await asyncio.gather(*(watched.has(1) for watched in several))

    asyncio.run(run())


def test_a_command_that_follows_survives_it_too(lab: Lab) -> None:
    """Cut, then a restart of the API server."""
    seen: list[list[str]] = []
    for state in Cluster(lab.access).follow({"lans": Selection(LANS, lab.namespace)}, SECONDS):
        seen.append(sorted(state["lans"]))
        number = len(seen)
        if number == 1:
            lab.way.cut()
        elif number == 2:
            lab.api.stop()
            lab.api.start()
        if number == 3:
            break
        asyncio.run(lab.lan(number))
    prefix = f"{lab.namespace}/l"
    assert seen == [[], [f"{prefix}1"], [f"{prefix}1", f"{prefix}2"]]


def test_a_command_may_not_follow_what_its_user_may_not_see(config: Config, namespace: str) -> None:
    cluster = Cluster(access(config(), as_user="eve"))
    with pytest.raises(MissingError, match=f"user eve cannot list lans in namespace {namespace}"):
        next(cluster.follow({"lans": Selection(LANS, namespace)}, SECONDS))


def test_documents_are_plain(api: Api, config: Config, namespace: str) -> None:
    """Applied, watched, gone: by the client that commands have."""
    cluster = Cluster(access(config()))
    document: Document = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "it", "namespace": namespace, "labels": {"a": "b"}},
    }
    (none, made), (before, after) = cluster.applied(document), cluster.applied(document)
    assert none is None
    assert made == before == after
    found = until(lambda: api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/it"), "it is there")
    assert [entry["manager"] for entry in found["metadata"]["managedFields"]] == ["k8slan"]
    assert [entry["operation"] for entry in found["metadata"]["managedFields"]] == ["Apply"]
