"""Who is answered by the page's server, and who is not."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from k8slan_cli.ui.server import HEADERS, Page
from k8slan_cli.ui.watching import Board
from tests.unit.ui.rig import Lab, served


@pytest.fixture
def page(routed: Lab) -> Iterator[Page]:
    board = Board()
    board.put({"lans": {"lab/blue": {"state": "Ready"}}, "events": []})
    with served(board, routed.actions) as found:
        found.board = board  # type: ignore[attr-defined]
        yield found


Answer = tuple[int, dict[str, str], bytes]


def ask(page: Page, method: str, path: str, body: Any = None, **headers: str | None) -> Answer:
    """An answer: status, headers, body. A header of None is left out."""
    address = page.url.removeprefix("http://").partition("/")[0]
    given = {"Authorization": f"Bearer {page.token}", "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items() if value is not None}  # type: ignore[misc]
    for name in [name for name, value in headers.items() if value is None]:
        given.pop(name)
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data if method == "POST" else None, given)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def error(answer: Answer) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["error"]


@pytest.mark.parametrize("token", [None, "Bearer ", "Bearer x", "Basic x", "Bearer \u00e9"])
@pytest.mark.parametrize("path", ["/api/live", "/api/link", "/api/capture", "/api/probe", "/api/stop", "/api/captured"])
def test_without_the_token_nothing_is_told_and_nothing_is_done(page: Page, path: str, token: str | None) -> None:
    status, words = error(ask(page, "POST", path, {}, Authorization=token))
    assert status == 401
    assert "open the address" in words


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:1", "192.0.2.1:1", "[::1]:1"]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/api/live"), ("GET", "/page.js")])
def test_no_other_name_leads_here(page: Page, host: str, method: str, path: str) -> None:
    assert error(ask(page, method, path, {}, Host=host))[0] == 421


def test_a_tunnel_may_lead_here(page: Page) -> None:
    assert ask(page, "GET", "/", Host="localhost:8080")[0] == 200


def test_another_site_may_not_ask(page: Page) -> None:
    address = page.url.partition("/#")[0]
    body = {"id": "x"}
    assert error(ask(page, "POST", "/api/stop", body, Origin="http://evil.example"))[0] == 403
    assert error(ask(page, "POST", "/api/stop", body, Origin="http://127.0.0.1:1"))[0] == 403
    assert error(ask(page, "POST", "/api/stop", body, Origin=address))[0] == 409


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/nothing", 404),
        ("POST", "/api/link", 400),
        ("PUT", "/api/link", 400),
        ("POST", "/", 404),
    ],
)
def test_every_answer_forbids_what_the_page_does_not_need(page: Page, method: str, path: str, status: int) -> None:
    found, headers, _ = ask(page, method, path, [])
    assert found == status
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_the_page_is_its_own_files_and_has_no_script_or_style_within(page: Page) -> None:
    status, headers, body = ask(page, "GET", "/", Authorization=None)
    text = body.decode()
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "//" not in text
    assert "style=" not in text
    assert "<style" not in text
    for name, media in (("page.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")):
        status, headers, body = ask(page, "GET", f"/{name}", Authorization=None)
        assert (status, headers["Content-Type"]) == (200, media)
        assert page.token.encode() not in body


@pytest.mark.parametrize(
    "path", ["/../server.py", "/static/page.js", "/page.js/", "/index.html", "//page.js", "/__init__.py"]
)
def test_no_other_file_is_served(page: Page, path: str) -> None:
    assert ask(page, "GET", path)[0] == 404


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5000])
def test_what_is_not_json_is_refused(page: Page, body: bytes) -> None:
    assert error(ask(page, "POST", "/api/link", body)) == (400, "the body is not JSON")


def test_what_is_too_large_is_refused(page: Page) -> None:
    assert ask(page, "POST", "/api/link", b" " * (1 << 20))[0] == 413


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/link", 1, ["must be an object", "lan: must be", "device: must be", "says nothing"]),
        (
            "/api/link",
            {"lan": "red", "device": "x", "interface": "e", "delay": "fast", "way": "up", "state": "off", "loss": 3},
            [
                "lan: must be",
                "device: must be",
                "delay: 'fast' is not",
                "way: must be",
                "state: must be",
                "loss: must be",
            ],
        ),
        ("/api/link", {"lan": "lab/red", "device": "lab/x", "state": "up"}, ["interface: is one of a device"]),
        (
            "/api/capture",
            {"lan": "lab/red", "snaplen": 1, "filter": 7},
            ["id: must be", "snaplen: must be", "filter: must be"],
        ),
        ("/api/probe", {}, ["lan: must be namespace/name"]),
    ],
)
def test_all_that_is_wrong_with_a_request_is_told_at_once(page: Page, path: str, body: Any, words: list[str]) -> None:
    status, said = error(ask(page, "POST", path, body))
    assert status == 400
    assert [each for each in words if each not in said] == []


def test_what_is_not_there_or_not_allowed_is_told(page: Page, routed: Lab) -> None:
    link = {"device": "lab/r1", "interface": "to-r2", "state": "up"}
    status, words = error(ask(page, "POST", "/api/link", link | {"lan": "lab/r1-r9"}))
    assert (status, words) == (409, "there is no LAN 'r1-r9' in namespace lab")
    path = "/apis/lan.k8slan.io/v1beta1/namespaces/lab/lans/r1-r2"
    message = (
        'x is forbidden: User "eve" cannot get resource "lans" in API group "lan.k8slan.io" in the namespace "lab"'
    )
    routed.api.refuse[path] = (403, message)
    status, words = error(ask(page, "POST", "/api/link", link | {"lan": "lab/r1-r2"}))
    assert (status, words) == (403, "user eve cannot get lans in namespace lab")


def test_the_document_is_told_and_then_its_changes(page: Page) -> None:
    address = page.url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", "/api/live", b"{}", {"Authorization": f"Bearer {page.token}"})
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert answer.getheader("Content-Security-Policy") == HEADERS["Content-Security-Policy"]

    def event() -> Any:
        data, end = (answer.readline().decode().rstrip("\n") for _ in range(2))
        assert end == ""
        return json.loads(data.removeprefix("data: "))

    assert event() == {"lans": {"lab/blue": {"state": "Ready"}}, "events": []}
    page.board.put({"lans": {"lab/blue": {"state": "Degraded"}}, "events": []})  # type: ignore[attr-defined]
    assert event() == {"lans": {"lab/blue": {"state": "Degraded"}}}
    page.board.put({"lans": {}, "events": [1]})  # type: ignore[attr-defined]
    assert event() == {"lans": {"lab/blue": None}, "events": [1]}
    answer.close()
    connection.close()


def test_who_closes_a_page_makes_room_for_another(page: Page) -> None:
    """Streams are bounded, and a page that is gone is noticed without a change."""
    address = page.url.removeprefix("http://").partition("/")[0]
    for _ in range(2):
        open_ones = []
        for _ in range(32):
            connection = http.client.HTTPConnection(address, timeout=30)
            connection.request("POST", "/api/live", b"{}", {"Authorization": f"Bearer {page.token}"})
            answer = connection.getresponse()
            while answer.status == 503:  # those of before are noticed within a second or so
                connection.close()
                threading.Event().wait(0.1)
                connection = http.client.HTTPConnection(address, timeout=30)
                connection.request("POST", "/api/live", b"{}", {"Authorization": f"Bearer {page.token}"})
                answer = connection.getresponse()
            assert answer.status == 200
            open_ones.append((connection, answer))
        assert ask(page, "POST", "/api/live", {})[0] == 503
        for connection, answer in open_ones:
            answer.close()
            connection.close()
