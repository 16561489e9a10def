"""The one HTTP server: what it answers, and what slow, greedy and broken clients cost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import ssl
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from k8slan_cli.controller import certs
from k8slan_cli.errors import K8slanError
from k8slan_cli.serve import server as servers
from k8slan_cli.serve.server import Answer, Begin, Limits, Request, Server

SHORT = Limits(connections=4, streams=2, body=1000, large=100, large_bodies=1, request=0.3, answer=0.3)
HELLO = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


async def echo(request: Request) -> Answer | None:
    """Say what was asked; what is written here would take a thread to be slow in."""
    match request.path:
        case "/big":
            return Answer(body=bytes(64 << 20))
        case "/slow":
            await asyncio.Event().wait()
        case "/stream":
            return await request.hand_over(upper)
        case "/refused":
            return await request.hand_over(refuse)
    return Answer(body=f"{request.method} {request.path} ".encode() + request.body)


def upper(begin: Begin) -> None:
    """Answer in capitals until the client has had enough."""
    client = begin("text/plain")
    while (data := client.recv(100)) not in (b"", b"."):
        client.sendall(data.upper())


def refuse(_begin: Begin) -> None:
    """Do not answer."""
    raise K8slanError("no such thing")


@contextlib.asynccontextmanager
async def serving(
    limits: Limits = SHORT, address: str = "127.0.0.1:0", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(address, echo, limits=limits, tls=tls)
    server.start()
    try:
        async with asyncio.timeout(20):
            yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def client(server: Server, data: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(server: Server, data: bytes) -> bytes:
    """All that comes back; nothing if the server hangs up."""
    async with client(server, data) as (reader, _):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


async def healthy(server: Server) -> bool:
    """Whether an ordinary client gets its answer."""
    return (await ask(server, HELLO.replace(b"Host", b"Connection: close\r\nHost"))).endswith(b"GET /hello ")


def post(length: int, *headers: str, path: str = "/hello") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *headers, "", ""]
    return "\r\n".join(lines).encode()


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:9402", "127.0.0.1", 9402),
        ("[::1]:9402", "::1", 9402),
        ("[192.0.2.1]:9402", "192.0.2.1", 9402),
        (":9402", "", 9402),
        ("localhost:0", "localhost", 0),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, host: str, port: int) -> None:
    assert servers.split(address) == (host, port)
    assert servers.split(servers.join(host, port)) == (host, port)


@pytest.mark.parametrize("address", ["", "x", "x:", "x:y", "::1:9402", "fd00::1:9402", "127.0.0.1:65536", "x:²"])
def test_what_is_no_address_is_refused_with_what_to_do(address: str) -> None:
    with pytest.raises(K8slanError, match=r"is not HOST:PORT \(an IPv6 address is in brackets"):
        servers.split(address)


@pytest.mark.parametrize("host", ["", "[::]", "0.0.0.0", "127.0.0.1", "[127.0.0.1]", "localhost"])  # noqa: S104
def test_it_listens_where_it_is_told(host: str) -> None:
    async def play() -> None:
        async with serving(address=f"{host}:0") as server:
            assert await healthy(server) or host == "localhost"

    asyncio.run(play())


def test_without_a_host_it_listens_on_addresses_of_both_kinds() -> None:
    async def play() -> None:
        async with serving(address=":0") as server:
            for host in ("127.0.0.1", "::1"):
                _, writer = await asyncio.open_connection(host, server.port)
                writer.close()
                await writer.wait_closed()

    asyncio.run(play())


# ---------------------------------------------------------------- bounds


def test_a_request_and_its_answer() -> None:
    async def play() -> None:
        async with serving() as server, client(server) as (reader, writer):
            for _ in range(3):
                writer.write(post(2, "Expect: nothing") + b"ab")
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert await reader.readexactly(14) == b"POST /hello ab"

    asyncio.run(play())


@pytest.mark.parametrize(
    "data",
    [b"", b"GET", b"GET / HTTP/1.1\r\nX: y", post(10) + b"abc", post(500) + b"abc", HELLO, post(0, path="/big")],
    ids=["nothing", "half a line", "half a head", "half a body", "half a large body", "no more", "takes nothing"],
)
def test_a_slow_client_is_hung_up_on_and_others_are_served(data: bytes) -> None:
    async def play() -> None:
        async with serving() as server:
            async with client(server, data) as (reader, writer):
                assert await healthy(server)
                if path := b"/big" in data:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    await asyncio.sleep(1)
                    writer.transport.resume_reading()  # type: ignore[attr-defined]
                with contextlib.suppress(ConnectionResetError):
                    assert len(await reader.read()) < 64 << 20
                assert path or "/big" not in data.decode()
            assert await healthy(server)

    asyncio.run(play())


def test_an_answer_that_takes_too_long_is_none() -> None:
    async def play() -> None:
        async with serving() as server:
            assert await ask(server, post(0, path="/slow")) == b""
            assert await healthy(server)

    asyncio.run(play())


@pytest.mark.parametrize(
    "data",
    [
        post(2000),
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + bytes(1024) + b"\r\n0\r\n\r\n",
    ],
    ids=["told", "chunked"],
)
def test_a_body_that_is_too_large_is_refused(data: bytes) -> None:
    async def play() -> None:
        async with serving() as server:
            assert (await ask(server, data)).startswith(b"HTTP/1.1 413 ")

    asyncio.run(play())


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00 no HTTP\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(40)) + b"\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["TLS", "a long header", "many headers", "a negative length", "no chunk"],
)
def test_what_is_not_http_is_no_fault_of_the_server(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        async with serving() as server:
            assert (await ask(server, data)).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")) or b"zz" in data
            assert await healthy(server)

    asyncio.run(play())
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_when_there_are_too_many_connections_the_longest_idle_one_makes_room() -> None:
    async def play() -> None:
        async with serving(replace(SHORT, request=15)) as server, contextlib.AsyncExitStack() as stack:
            idle = [await stack.enter_async_context(client(server, HELLO)) for _ in range(4)]
            for reader, _ in idle:
                await reader.readuntil(b"/hello ")
            for number, (reader, _) in enumerate(idle):
                another = await stack.enter_async_context(client(server, HELLO))
                await another[0].readuntil(b"/hello ")
                assert await reader.read() == b"", f"{number} is still there"

    asyncio.run(play())


def test_a_crowd_that_says_nothing_keeps_nobody_out() -> None:
    async def play() -> None:
        async with serving(replace(SHORT, request=15)) as server, contextlib.AsyncExitStack() as stack:
            for _ in range(50):
                await stack.enter_async_context(client(server, b"GET / HT"))
            assert await healthy(server)

    asyncio.run(play())


def test_large_bodies_wait_for_each_other_and_small_ones_for_none() -> None:
    async def play() -> None:
        async with serving(replace(SHORT, request=5)) as server, client(server, post(500)) as (reader, writer):
            await asyncio.sleep(0.05)
            second = asyncio.create_task(ask(server, post(400, "Connection: close") + bytes(400)))
            assert await healthy(server)
            assert not second.done()
            writer.write(bytes(500))
            await reader.readuntil(b"/hello ")
            assert (await second).startswith(b"HTTP/1.1 200 ")

    asyncio.run(play())


def test_running_out_of_descriptors_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        server = Server("127.0.0.1:0", echo, limits=SHORT)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with client(server, HELLO) as (reader, _):
            highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208
            gaps = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest + 1)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(gaps) + 1, hard))
            try:
                server.start()
                while not caplog.records:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for gap in gaps:
                    os.close(gap)
            await reader.readuntil(b"/hello ")
        assert await healthy(server)
        await server.close()

    asyncio.run(asyncio.wait_for(play(), 20))
    assert "cannot accept a client on 127.0.0.1" in caplog.text
    assert "Too many open files" in caplog.text
    assert "raise the limit (ulimit -n" in caplog.text


def test_a_tls_handshake_that_does_not_go_on_is_given_up() -> None:
    async def play() -> None:
        chain = certs.renewed(None, ("localhost",), datetime.now(UTC), certs.Policy())
        async with serving(tls=_tls(chain)) as server:
            begun = asyncio.get_running_loop().time()
            assert await ask(server, b"\x16\x03\x01") == b""
            assert asyncio.get_running_loop().time() - begun < 5
            assert b"HTTP" not in await ask(server, HELLO)
            assert not server._http.clients, "nothing of them stays"
            trusting = ssl.create_default_context(cadata=chain.authority.decode())
            reader, writer = await asyncio.open_connection("localhost", server.port, ssl=trusting)
            writer.write(HELLO)
            await reader.readuntil(b"/hello ")
            writer.close()

    asyncio.run(play())


def _tls(chain: certs.Chain) -> ssl.SSLContext:
    import tempfile

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(chain.key + chain.certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context


# ---------------------------------------------------------------- answers that last


def stream(path: str = "/stream") -> bytes:
    return post(0, path=path)


def test_an_answer_that_lasts_has_the_connection_to_itself() -> None:
    async def play() -> None:
        async with serving() as server, client(server, stream()) as (reader, writer):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
            for _ in range(3):
                await asyncio.sleep(0.2)  # beyond the times of a request and an answer
                writer.write(b"abc")
                assert await reader.readexactly(3) == b"ABC"
            writer.write(b".")
            assert await reader.read() == b""
            assert await healthy(server)

    asyncio.run(play())


def test_one_that_does_not_begin_is_a_fault_for_who_asked() -> None:
    async def play() -> None:
        async with serving() as server:
            assert (await ask(server, stream("/refused"))).startswith(b"HTTP/1.1 500 ")

    asyncio.run(play())


def test_so_many_at_a_time_and_one_more_when_one_has_ended() -> None:
    async def play() -> None:
        async with serving() as server, contextlib.AsyncExitStack() as stack:
            two = [await stack.enter_async_context(client(server, stream())) for _ in range(2)]
            for reader, _ in two:
                await reader.readuntil(b"\r\n\r\n")
            assert (await ask(server, stream())).startswith(b"HTTP/1.1 503 ")
            two[0][1].write(b".")
            await two[0][0].read()
            two[0][1].close()  # its thread waits for that a while
            while (await ask(server, stream() + b".")).startswith(b"HTTP/1.1 503 "):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    asyncio.run(play())


def test_one_is_cut_when_the_server_closes() -> None:
    async def play() -> None:
        before = threading.active_count()
        async with serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(stream())
            await reader.readuntil(b"\r\n\r\n")
            begun = asyncio.get_running_loop().time()
            await server.close()
            assert await reader.read() == b""
            assert asyncio.get_running_loop().time() - begun < 2
            writer.close()
        while threading.active_count() > before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    asyncio.run(play())
