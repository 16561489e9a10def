"""Which attachment a word on the command line means; and how long agents that do not answer are waited for."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from k8slan_cli.diagnose import agents
from k8slan_cli.diagnose.agents import Agents, Attachments, matching
from k8slan_cli.diagnose.protocol import Plugged
from k8slan_cli.errors import AbsentError, K8slanError
from k8slan_cli.kube.apply import Cluster
from k8slan_cli.kube.client import ApiError, MissingError
from k8slan_cli.kube.kubeconfig import Access


def plugged(pod: str, ifname: str = "net1", *, spoke: str = "", node: str = "w1", kind: str = "veth") -> Plugged:
    return Plugged(
        node=node,
        lan="lab/blue",
        container=f"c-{pod}",
        ifname=ifname,
        kind=kind,
        port="p",
        mac="02:00:00:00:00:01",
        mtu=1446,
        spoke=spoke,
        pod=pod,
    )


ROUTER, ROUTER2 = plugged("lab/router", spoke="e1"), plugged("lab/router", "net2", spoke="e2")
HOST = plugged("lab/host", node="w2")
VM = plugged("lab/virt-launcher-fw-a1b2c", spoke="vm", kind="macvtap")
FOREIGN = plugged("other/host")
BARE = plugged("")
ALL = (ROUTER, ROUTER2, HOST, VM, FOREIGN, BARE)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("router", [ROUTER, ROUTER2]),
        ("router:net2", [ROUTER2]),
        ("lab/router:net1", [ROUTER]),
        ("host", [HOST]),
        ("other/host", [FOREIGN]),
        ("fw", [VM]),
        ("fw:net1", [VM]),
        ("lab/fw", [VM]),
        ("virt-launcher-fw-a1b2c", [VM]),
        ("e2", [ROUTER2]),
        ("c-", [BARE]),
        ("rout", []),
        ("", []),
        ("router:net9", []),
        (".*", []),
    ],
)
def test_a_word_means(text: str, found: list[Plugged]) -> None:
    assert matching(ALL, text, "lab") == found


def test_one_is_wanted() -> None:
    seen = Attachments(ALL)
    assert seen.named("host", "lab") is HOST
    with pytest.raises(AbsentError, match="more than once: say which of lab/router:net1, lab/router:net2"):
        seen.named("router", "lab")
    with pytest.raises(AbsentError, match=r"nothing of the name hoss is attached \(did you mean host\?"):
        seen.named("hoss", "lab")


def test_what_cannot_be_seen_is_said() -> None:
    seen = Attachments((HOST,), {"w9": K8slanError("asleep")})
    with pytest.raises(AbsentError, match=r"\(but the agents of w9 do not answer\)"):
        seen.named("router", "lab")


def test_agents_that_do_not_answer_are_not_waited_for_long() -> None:
    """The API server knows their pods, but takes its time to connect to them."""
    over = threading.Event()
    nodes = [f"w{number}" for number in range(20)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/portforward" in self.path:
                over.wait(60)
                return
            items = [{"metadata": {"name": f"agent-{n}"}, "spec": {"nodeName": n}} for n in nodes]
            self._answer({"items": items})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer({"status": {"token": "t"}})

        def _answer(self, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with _serving(Handler) as cluster:
        begun = time.monotonic()
        seen = Agents(cluster).within(1.0).plugged("lab/blue", nodes)
        assert time.monotonic() - begun < 5
        assert (seen.items, set(seen.unreachable)) == ((), set(nodes))
        over.set()


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[Cluster]:
    """An API server, as far as a test needs one."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Cluster(Access(url=f"http://127.0.0.1:{server.server_port}"))
        finally:
            server.shutdown()
            thread.join()


def _pod(name: str, *, ready: bool = True, version: str = "1", **metadata: str) -> dict[str, Any]:
    status = {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return {
        "metadata": {"name": name, "resourceVersion": version, **metadata},
        "spec": {"nodeName": "w1"},
        "status": status,
    }


def _lists_and_watches(
    lists: list[tuple[int, Any]], events: list[dict[str, Any]] | int
) -> type[BaseHTTPRequestHandler]:
    """A server whose lists are these, by status, one after the other, and whose watch has these events, or a status."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if "watch=true" not in self.path:
                assert "fieldSelector=spec.nodeName%3Dw1" in self.path
                self._answer(*lists.pop(0))
            elif isinstance(events, int):
                self._answer(events, {"message": "no"})
            else:
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for event in events:
                    line = json.dumps(event).encode() + b"\n"
                    self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()
                threading.Event().wait(60)

        def _answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _listed(*pods: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(pods), "metadata": {"resourceVersion": "9"}}


def test_an_agent_that_is_back_is_seen_and_asked_under_its_new_name() -> None:
    events = [
        {"type": "MODIFIED", "object": _pod("old", ready=False, deletionTimestamp="now")},
        {"type": "MODIFIED", "object": _pod("old", deletionTimestamp="now")},
        {"type": "DELETED", "object": _pod("old", deletionTimestamp="now")},
        {"type": "ADDED", "object": _pod("new", ready=False)},
        {"type": "MODIFIED", "object": _pod("new")},
    ]
    lists = [(503, {"message": "starting"}), (200, _listed(_pod("old", ready=False)))]
    with _serving(_lists_and_watches(lists, events)) as cluster:
        agents = Agents(cluster)
        agents.pods = {}
        assert next(agents.ready("w1")) is None
        assert agents.pods["w1"].name == "new"


def test_without_the_right_to_watch_an_agent_that_is_there_is_asked_all_the_same() -> None:
    with _serving(_lists_and_watches([(200, _listed(_pod("old")))], 403)) as cluster:
        agents = Agents(cluster)
        agents.pods = {}
        coming = agents.ready("w1")
        assert next(coming) is None
        with pytest.raises(ApiError, match="no"):
            next(coming)


@pytest.mark.parametrize(
    ("user", "subject"),
    [("system:serviceaccount:lab:robot", "--serviceaccount=lab:robot"), ("bob", "--user=bob")],
)
def test_the_right_that_is_missing_can_be_given_as_it_is_said(user: str, subject: str) -> None:
    refused = MissingError(f"user {user} cannot list pods in namespace k8slan-system", status=403)
    assert agents._no_operator(refused, "k8slan-system").hint.endswith(f"--role=k8slan-operator {subject}")
