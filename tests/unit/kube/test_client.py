"""Requests to a real HTTP server on loopback: answers, refusals, streams, tokens, and servers that go away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from k8slan_cli.errors import K8slanError
from k8slan_cli.kube import client as client_module
from k8slan_cli.kube.client import APPLY, Access, ApiError, Client, in_cluster
from k8slan_cli.kube.kinds import EVENTS, LANS, NODES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def nobody() -> str:
    return ""


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, authorization: Callable[[], Awaitable[str]] = nobody
) -> AsyncIterator[tuple[Client, web.AppRunner]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(Access(url=f"http://127.0.0.1:{runner.addresses[0][1]}", tls=None, authorization=authorization))
    try:
        async with asyncio.timeout(20):
            yield client, runner
    finally:
        await client.close()
        await runner.cleanup()


def test_paths() -> None:
    assert LANS.path() == "/apis/lan.k8slan.io/v1beta1/lans"
    assert LANS.path("n", "a", "status") == "/apis/lan.k8slan.io/v1beta1/namespaces/n/lans/a/status"
    assert NODES.path("", "n1") == "/api/v1/nodes/n1"
    assert EVENTS.path("n") == "/apis/events.k8s.io/v1/namespaces/n/events"
    assert LANS.path("n", "a?b#c") == "/apis/lan.k8slan.io/v1beta1/namespaces/n/lans/a%3Fb%23c"


def test_a_request_says_who_and_what() -> None:
    async def run() -> None:
        seen: list[web.Request] = []

        async def answer(request: web.Request) -> web.Response:
            seen.append(request)
            return web.json_response({"got": json.loads(await request.read())})

        async def authorization() -> str:
            return "Bearer x"

        async with serving(answer, authorization) as (client, _):
            found = await client.call("PATCH", "/a/b", query={"force": "true"}, body={"x": 1}, content_type=APPLY)
            assert found == {"got": {"x": 1}}
            request = seen[0]
            assert (request.method, request.path_qs) == ("PATCH", "/a/b?force=true")
            assert request.headers["Authorization"] == "Bearer x"
            assert request.headers["Content-Type"] == APPLY
            assert request.headers["User-Agent"].startswith("k8slan/")
            assert client.counts == {("PATCH", 200): 1}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "body", "message", "passing"),
    [
        (409, '{"kind": "Status", "message": "has been modified"}', "has been modified", True),
        (403, '{"message": "no rights"}', "no rights", False),
        (500, "plain words", "plain words", True),
        (502, "", "GET /x: HTTP status 502", True),
        (422, "[]", "[]", False),
    ],
)
def test_a_refusal_is_an_error_with_its_status(status: int, body: str, message: str, passing: bool) -> None:
    async def run() -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=status, text=body)

        async with serving(answer) as (client, _):
            with pytest.raises(ApiError) as caught:
                await client.call("GET", "/x")
            assert (caught.value.status, caught.value.message) == (status, message)
            assert caught.value.passing is passing
            assert client.counts == {("GET", status): 1}

    asyncio.run(run())


def test_an_answer_that_is_not_json_is_an_error() -> None:
    async def run() -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(text="<html>")

        async with serving(answer) as (client, _):
            with pytest.raises(ApiError, match="not JSON"):
                await client.call("GET", "/x")

    asyncio.run(run())


def test_no_answer_in_time_is_an_error() -> None:
    async def run() -> None:
        async def answer(_request: web.Request) -> web.Response:
            await asyncio.Event().wait()
            return web.Response()

        async with serving(answer) as (client, _):
            with pytest.raises(ApiError, match="no answer") as caught:
                await client.call("GET", "/x", seconds=0.05)
            assert caught.value.status == 0
            assert caught.value.passing

    asyncio.run(run())


def test_nobody_there_is_an_error() -> None:
    async def run() -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response()

        async with serving(answer) as (client, runner):
            await runner.cleanup()
            with pytest.raises(ApiError, match="no answer from the API server"):
                await client.call("GET", "/x")

    asyncio.run(run())


def streaming(*chunks: bytes, end: bool = True) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0)
        if not end:
            await asyncio.Event().wait()
        return response

    return answer


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_stream_is_documents_however_it_is_cut(size: int) -> None:
    async def run() -> None:
        events = [{"type": "ADDED", "object": {"name": "x" * n}} for n in (1, 20, 0, 300)]
        data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        chunks = [data[i : i + size] for i in range(0, len(data), size)][:400]
        async with serving(streaming(*chunks)) as (client, _), client.watch("/w", {"watch": "true"}, 5) as found:
            seen = [event async for event in found]
        complete = b"".join(chunks).count(b"\n")
        assert seen == events[:complete]

    asyncio.run(run())


def test_a_line_of_megabytes_is_one_document() -> None:
    async def run() -> None:
        event = {"type": "ADDED", "object": {"text": "x" * (3 << 20)}}
        handler = streaming(json.dumps(event).encode() + b"\n")
        async with serving(handler) as (client, _), client.watch("/w", {}, 5) as found:
            assert [e async for e in found] == [event]

    asyncio.run(run())


def test_a_stream_that_is_silent_for_too_long_breaks() -> None:
    async def run() -> None:
        async with serving(streaming(b'{"a":1}\n', end=False)) as (client, _):
            seen = []

            async def follow() -> None:
                async with client.watch("/w", {}, 0.1) as found:
                    async for event in found:
                        seen.append(event)  # noqa: PERF401 - what came before the error counts

            with pytest.raises(ApiError, match="no answer"):
                await follow()
            assert seen == [{"a": 1}]

    asyncio.run(run())


# ---------------------------------------------------------------- the way in


@pytest.fixture
def account(tmp_path: Path, authority: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_bytes(authority.read_bytes())
    return tmp_path


@pytest.fixture
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from datetime import UTC, datetime

    from k8slan_cli.controller import certs

    chain = certs.renewed(None, ("localhost",), datetime.now(UTC), certs.Policy())
    path = tmp_path_factory.mktemp("ca") / "ca.crt"
    path.write_bytes(chain.authority)
    return path


@pytest.mark.parametrize(
    ("host", "url"), [("10.0.0.1", "https://10.0.0.1:6443"), ("fd00::1", "https://[fd00::1]:6443")]
)
def test_a_pod_needs_no_kubeconfig(account: Path, host: str, url: str) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "6443"}
    found = in_cluster(account, environ)
    assert found.url == url
    assert asyncio.run(_text(found)) == "Bearer first"


async def _text(way: Access) -> str:
    return await way.authorization()


def test_a_renewed_token_is_read_in_time(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = in_cluster(account, {"KUBERNETES_SERVICE_HOST": "x"})
    (account / "token").write_text("second")
    assert asyncio.run(_text(found)) == "Bearer first"
    monkeypatch.setattr(client_module, "_TOKEN_SECONDS", 0.0)
    found = in_cluster(account, {"KUBERNETES_SERVICE_HOST": "x"})
    (account / "token").write_text("third")
    assert asyncio.run(_text(found)) == "Bearer third"
    (account / "token").unlink()
    assert asyncio.run(_text(found)) == "Bearer third", "the old one may still do"


def test_without_an_account_there_is_no_way_in(tmp_path: Path) -> None:
    with pytest.raises(K8slanError, match="service account"):
        in_cluster(tmp_path, {})


def test_a_kubeconfig_is_understood(tmp_path: Path, authority: Path) -> None:
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://h:1", "certificate-authority": str(authority)}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(config))

    async def run() -> None:
        found = client_module.access(str(path))
        assert found.url == "https://h:1"
        assert await found.authorization() == "Bearer t"
        with pytest.raises(K8slanError, match="no context 'other'"):
            client_module.access(str(path), "other")
        with pytest.raises(K8slanError, match="kubeconfig"):
            client_module.access(str(tmp_path / "none"))

    asyncio.run(run())
