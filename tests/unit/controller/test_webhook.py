"""The webhook over real TLS: reviews in, verdicts out, rubbish refused, certificates exchanged while it serves."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from k8slan_cli.controller import certs
from k8slan_cli.controller.certs import Chain, Policy
from k8slan_cli.controller.webhook import Webhook
from k8slan_cli.errors import K8slanError, Problem
from k8slan_cli.lan.model import Lan

NAMES = ("localhost",)


def chain(previous: Chain | None = None) -> Chain:
    return certs.renewed(previous, NAMES, datetime.now(UTC), Policy())


def taken(lan: Lan) -> tuple[Problem, ...]:
    return (Problem(field="spec.vni", message="5 is in use by LAN d/a"),) if lan.vni == 5 else ()


def review(spec: Any, uid: str = "u-1") -> dict[str, Any]:
    lan = {
        "apiVersion": "lan.k8slan.io/v1beta1",
        "kind": "LAN",
        "metadata": {"name": "x", "namespace": "d"},
        "spec": spec,
    }
    request = {"uid": uid, "operation": "CREATE", "namespace": "d", "name": "x", "object": lan, "oldObject": None}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@contextlib.asynccontextmanager
async def serving(first: Chain) -> AsyncIterator[tuple[Webhook, str]]:
    webhook = Webhook("localhost:0", taken)
    await webhook.use(first)
    try:
        async with asyncio.timeout(60):
            yield webhook, f"https://localhost:{webhook.port}{certs.path(first)}"
    finally:
        await webhook.close()


async def post(url: str, trusted: Chain, body: bytes) -> tuple[int, Any]:
    tls = ssl.create_default_context(cadata=trusted.authority.decode())
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session,
        session.post(url, data=io.BytesIO(body), headers={"Content-Type": "application/json"}) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text) if response.status == 200 else text


def test_a_good_lan_is_allowed_and_a_bad_one_refused_with_all_problems() -> None:
    async def run() -> None:
        used = chain()
        async with serving(used) as (webhook, url):
            status, answer = await post(url, used, json.dumps(review({"vni": 7, "spokes": ["e1"]})).encode())
            assert status == 200
            assert answer["response"] == {"uid": "u-1", "allowed": True}
            assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
            _, answer = await post(
                url, used, json.dumps(review({"vni": 0, "mtu": 1, "spokes": ["e1"]}, "u-2")).encode()
            )
            response = answer["response"]
            assert (response["uid"], response["allowed"]) == ("u-2", False)
            message = "spec.vni: 0 is not in 1..16777215; spec.mtu: 1 is not in 68..65461"
            assert response["status"]["message"] == message
            assert [cause["field"] for cause in response["status"]["details"]["causes"]] == ["spec.vni", "spec.mtu"]
            _, answer = await post(url, used, json.dumps(review({"vni": 5, "spokes": ["e1"]})).encode())
            assert answer["response"]["status"]["message"] == "spec.vni: 5 is in use by LAN d/a"
            assert webhook.verdicts == {"allowed": 1, "refused": 2}

    asyncio.run(run())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"request": null}',
        b'{"request": {}}',
        b'{"request": 5}',
        b"\xff\xfe",
        b"[" * 9000,
    ],
)
def test_rubbish_is_refused_and_the_next_one_answered(body: bytes) -> None:
    async def run() -> None:
        used = chain()
        async with serving(used) as (webhook, url):
            status, _ = await post(url, used, body)
            assert status == 400
            status, answer = await post(url, used, json.dumps(review({"vni": 7, "dynamic": True})).encode())
            assert answer["response"]["allowed"]
            assert webhook.verdicts == {"malformed": 1, "allowed": 1}

    asyncio.run(run())


@pytest.mark.parametrize("lan", [None, 5, [], {}, {"metadata": None}, {"metadata": {}, "spec": []}])
def test_strange_objects_get_an_answer(lan: Any) -> None:
    async def run() -> None:
        used = chain()
        strange = review({})
        strange["request"]["object"] = lan
        async with serving(used) as (_, url):
            status, answer = await post(url, used, json.dumps(strange).encode())
            assert status == 200
            assert answer["response"]["uid"] == "u-1"

    asyncio.run(run())


def test_more_than_two_objects_can_have_is_refused() -> None:
    async def run() -> None:
        used = chain()
        async with serving(used) as (_, url):
            status, _ = await post(url, used, b" " * (5 << 20))
            assert status == 413

    asyncio.run(run())


def test_who_sends_much_that_is_wrong_does_not_hold_the_loop_up_and_is_told_of_a_part() -> None:
    """The controller's lease is renewed in the same loop, and has seconds for it."""

    async def run() -> None:
        used = chain()
        longest = 0.0

        async def turn() -> None:
            nonlocal longest
            while True:
                began = time.thread_time()  # what the loop does itself, whatever else the machine does
                await asyncio.sleep(0.01)
                longest = max(longest, time.thread_time() - began)

        async with serving(used) as (_, url):
            wrong = json.dumps(review({"vni": 7, "spokes": ["!"] * 4_000})).encode()
            turning = asyncio.create_task(turn())
            status, answer = await post(url, used, wrong)
            assert status == 200
            assert answer["response"]["status"]["message"].endswith("more")
            assert len(json.dumps(answer)) < 50_000
            unknown = {f"k{number}": 1 for number in range(4_000)}
            wrong = json.dumps(review({"vni": 7, "links": {f"s{number}": unknown for number in range(80)}})).encode()
            assert len(wrong) > 3 << 20
            long = json.dumps(review({"vni": 7, "spokes": ["!"] * 800_000})).encode()
            floods = [asyncio.create_task(post(url, used, body)) for body in (wrong, long) * 6]
            good = json.dumps(review({"vni": 7, "dynamic": True})).encode()
            for _ in range(10):
                status, answer = await post(url, used, good)
                assert answer["response"]["allowed"]
            turning.cancel()
            await asyncio.gather(*floods, return_exceptions=True)
        assert longest < 1, f"the loop was held up for {longest:.1f} s"

    asyncio.run(run())


def test_only_who_knows_the_path_is_answered_and_of_others_no_body_is_read() -> None:
    async def run() -> None:
        used = chain()
        async with serving(used) as (webhook, url):
            body = json.dumps(review({"vni": 7, "dynamic": True})).encode()
            base = url.removesuffix(certs.path(used))
            for path in ("/validate", f"/validate/{'0' * 64}", f"{certs.path(used)}/", "/", certs.path(chain())):
                assert (await post(base + path, used, body))[0] == 404
            reader, writer = await asyncio.open_connection(
                "localhost", webhook.port, ssl=ssl.create_default_context(cadata=used.authority.decode())
            )
            writer.write(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 404"), "before the first byte of the body"
            writer.close()
            assert (await post(url, used, body))[0] == 200
            assert webhook.verdicts == {"allowed": 1}

    asyncio.run(run())


def test_a_new_certificate_is_served_at_once_and_open_connections_go_on() -> None:
    async def run() -> None:
        old = chain()
        async with serving(old) as (webhook, url):
            body = json.dumps(review({"vni": 7, "dynamic": True})).encode()
            tls = ssl.create_default_context(cadata=old.authority.decode())
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
                async with session.post(url, data=body) as response:
                    assert response.status == 200
                new = chain()
                await webhook.use(new)
                url = url.replace(certs.path(old), certs.path(new))
                async with session.post(url, data=body) as response:
                    assert response.status == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await post(url, old, body)
            assert (await post(url, new, body))[0] == 200

    asyncio.run(run())


def test_a_certificate_that_is_none_is_an_error_and_the_old_one_goes_on() -> None:
    async def run() -> None:
        used = chain()
        async with serving(used) as (webhook, url):
            with pytest.raises(K8slanError, match="cannot be used"):
                await webhook.use(Chain(authority=b"", authority_key=b"", certificate=b"x", key=b"y"))
            assert (await post(url, used, json.dumps(review({"vni": 7, "dynamic": True})).encode()))[0] == 200

    asyncio.run(run())


def test_a_taken_address_is_an_error() -> None:
    async def run() -> None:
        used = chain()
        async with serving(used) as (webhook, _):
            second = Webhook(f"localhost:{webhook.port}", taken)
            with pytest.raises(K8slanError, match="cannot listen"):
                await second.use(used)
            assert not second.serving

    asyncio.run(run())


@pytest.mark.parametrize("address", ["localhost", "localhost:x", ":"])
def test_an_address_that_is_none_is_an_error(address: str) -> None:
    with pytest.raises(K8slanError, match="is not HOST:PORT"):
        Webhook(address, taken)
