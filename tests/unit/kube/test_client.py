"""Requests to a real HTTP server on loopback: answers, refusals, streams, tokens, and servers that go away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from typing import Any

import pytest
from aiohttp import web

from k8slan_cli.kube.client import APPLY, ApiError, Client, MissingError, reason, refusal
from k8slan_cli.kube.kinds import EVENTS, LANS, NODES
from tests.unit.kube.ways import Handler, Way, both, on, serving


def test_paths() -> None:
    assert LANS.path() == "/apis/lan.k8slan.io/v1beta1/lans"
    assert LANS.path("n", "a", "status") == "/apis/lan.k8slan.io/v1beta1/namespaces/n/lans/a/status"
    assert NODES.path("", "n1") == "/api/v1/nodes/n1"
    assert EVENTS.path("n") == "/apis/events.k8s.io/v1/namespaces/n/events"
    assert LANS.path("n", "a?b#c") == "/apis/lan.k8slan.io/v1beta1/namespaces/n/lans/a%3Fb%23c"


@both
def test_a_request_says_who_and_what(way: Way) -> None:
    async def run() -> None:
        seen: list[web.Request] = []

        async def answer(request: web.Request) -> web.Response:
            seen.append(request)
            return web.json_response({"got": json.loads(await request.read())})

        async with serving(way, answer, user={"token": "x"}) as (client, _):
            call = client.call("PATCH", "/a/b", query={"force": "true"}, body={"x": 1}, content_type=APPLY)
            found = await on(way, call)
            assert found == {"got": {"x": 1}}
            request = seen[0]
            assert (request.method, request.path_qs) == ("PATCH", "/a/b?force=true")
            assert request.headers["Authorization"] == "Bearer x"
            assert request.headers["Content-Type"] == APPLY
            assert request.headers["User-Agent"].startswith("k8slan/")
            assert client.counts == {("PATCH", 200): 1}

    asyncio.run(run())


@both
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
def test_a_refusal_is_an_error_with_its_status(way: Way, status: int, body: str, message: str, passing: bool) -> None:
    async def run() -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=status, text=body)

        async with serving(way, answer) as (client, _):
            with pytest.raises(ApiError) as caught:
                await on(way, client.call("GET", "/x"))
            assert (caught.value.status, caught.value.message) == (status, message)
            assert caught.value.passing is passing
            assert client.counts == {("GET", status): 1}

    asyncio.run(run())


@both
def test_an_answer_that_is_not_json_is_an_error(way: Way) -> None:
    async def run() -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(text="<html>")

        async with serving(way, answer) as (client, _):
            with pytest.raises(ApiError, match="not JSON"):
                await on(way, client.call("GET", "/x"))

    asyncio.run(run())


@both
def test_no_answer_in_time_is_an_error(way: Way) -> None:
    async def run() -> None:
        async def answer(_request: web.Request) -> web.Response:
            await asyncio.Event().wait()
            return web.Response()

        async with serving(way, answer) as (client, _):
            with pytest.raises(ApiError, match="no answer") as caught:
                await on(way, client.call("GET", "/x", seconds=0.05))
            assert caught.value.status == 0
            assert caught.value.passing

    asyncio.run(run())


@both
def test_nobody_there_is_an_error(way: Way) -> None:
    async def run() -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response()

        async with serving(way, answer) as (client, runner):
            await runner.cleanup()
            with pytest.raises(ApiError, match="no answer from the API server"):
                await on(way, client.call("GET", "/x"))

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


async def follow(client: Client, seen: list[Any], seconds: float = 5) -> None:
    async with client.watch("/w", {"watch": "true"}, seconds) as found:
        async for event in found:
            seen.append(event)  # noqa: PERF401 - what came before an error counts


@both
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_stream_is_documents_however_it_is_cut(way: Way, size: int) -> None:
    async def run() -> None:
        events = [{"type": "ADDED", "object": {"name": "x" * n}} for n in (1, 20, 0, 300)]
        data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        chunks = [data[i : i + size] for i in range(0, len(data), size)][:400]
        seen: list[Any] = []
        async with serving(way, streaming(*chunks)) as (client, _):
            await on(way, follow(client, seen))
        complete = b"".join(chunks).count(b"\n")
        assert seen == events[:complete]

    asyncio.run(run())


@both
def test_a_line_of_megabytes_is_one_document(way: Way) -> None:
    async def run() -> None:
        event = {"type": "ADDED", "object": {"text": "x" * (3 << 20)}}
        seen: list[Any] = []
        async with serving(way, streaming(json.dumps(event).encode() + b"\n")) as (client, _):
            await on(way, follow(client, seen))
        assert seen == [event]

    asyncio.run(run())


@both
def test_a_stream_that_is_silent_for_too_long_breaks(way: Way) -> None:
    async def run() -> None:
        async with serving(way, streaming(b'{"a":1}\n', end=False)) as (client, _):
            seen: list[Any] = []
            with pytest.raises(MissingError, match=r"no answer from the API server at http.*: it took too long"):
                await on(way, follow(client, seen, 0.1))
            assert seen == [{"a": 1}]

    asyncio.run(run())


@both
def test_an_event_of_more_megabytes_than_any_object_is_at_most_refused(way: Way) -> None:
    async def run() -> None:
        text = b'{"a": "' + b"x" * (9 << 20) + b'"}\n'
        seen: list[Any] = []
        async with serving(way, streaming(text)) as (client, _):
            with contextlib.suppress(ApiError):  # never an error of another kind
                await on(way, follow(client, seen))

    asyncio.run(run())


@both
@pytest.mark.parametrize(
    ("status", "message", "words", "hint"),
    [
        (401, "Unauthorized", "the cluster does not know this user", "the credentials are wrong or have expired"),
        (
            403,
            'lans.lan.k8slan.io is forbidden: User "eve" cannot list resource "lans" in API group "lan.k8slan.io" '
            'in the namespace "ux"',
            "user eve cannot list lans in namespace ux",
            "kubectl auth can-i --list -n ux",
        ),
    ],
)
def test_a_missing_right_is_said_with_what_to_do(way: Way, status: int, message: str, words: str, hint: str) -> None:
    async def run() -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.json_response({"kind": "Status", "message": message}, status=status)

        async with serving(way, answer) as (client, _):
            with pytest.raises(MissingError, match=words) as caught:
                await on(way, client.call("GET", "/x"))
            assert hint in caught.value.hint
            assert caught.value.status == status

    asyncio.run(run())


def test_refused_fields_are_problems() -> None:
    causes = [{"field": "spec.vni", "message": "is taken"}]
    found = refusal(422, json.dumps({"message": "no", "details": {"causes": causes}}).encode(), "x")
    assert [str(problem) for problem in found.problems] == ["spec.vni: is taken"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ssl.SSLEOFError(8, "EOF, violating (_ssl.c:1)"), "TLS: EOF, violating"),
        (TimeoutError(), "it took too long"),
        (ConnectionResetError(), "it closed the connection"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ValueError("odd"), "odd"),
        (KeyError(), "KeyError"),
    ],
)
def test_why_there_is_no_answer_is_said_in_words(error: Exception, words: str) -> None:
    assert reason(error) == words
    wrapped = ValueError("a library's own words at 0x7f")
    wrapped.__cause__ = error if isinstance(error, OSError) else None
    assert reason(wrapped) == (words if isinstance(error, OSError) else "a library's own words at 0x7f")


def test_what_tls_refuses_is_said_in_words() -> None:
    alert = ssl.SSLError(1, "")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert reason(alert) == "the server refuses it: certificate required"
