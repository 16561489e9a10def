"""A Kubernetes API server's manners, for the commands that apply manifests: objects by path, apply, delete, watch.

It stands in at the one seam where a cluster would be; a test says how its cluster behaves by ``on_apply``.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Object = dict[str, Any]


class Api:
    """Objects by path, and every event that ever was."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.events: list[tuple[int, str, str, Object]] = []
        self.writes: list[str] = []
        self.serves = {"/apis/k8s.cni.cncf.io/v1"}
        self.denied: set[tuple[str, str]] = set()
        self.refuse: dict[str, tuple[int, str]] = {}
        self.minor = "34"
        self.user_known = True
        self.break_watches = 0
        self.expire_watches = 0
        self.on_apply: Callable[[str, Object], None] = lambda path, found: None  # noqa: ARG005 - a place to fill
        self.changed = threading.Condition(threading.RLock())
        self.closed = False
        self.watching: list[tuple[str, dict[str, str]]] = []
        self._versions = itertools.count(1)

    def put(self, path: str, found: Object) -> None:
        """Store an object and tell the watchers."""
        with self.changed:
            version = next(self._versions)
            known = path in self.objects
            metadata = found["metadata"]
            metadata["resourceVersion"] = str(version)
            metadata.setdefault("generation", 1)
            if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
                self.objects.pop(path, None)
                self._tell(version, "DELETED", path, found)
            else:
                self.objects[path] = found
                self._tell(version, "MODIFIED" if known else "ADDED", path, found)

    def _tell(self, version: int, kind: str, path: str, found: Object) -> None:
        self.events.append((version, kind, path, json.loads(json.dumps(found))))
        self.changed.notify_all()

    def update(self, path: str, **parts: Any) -> None:
        """Change top-level parts of an object, as a controller of the cluster would its status."""
        with self.changed:
            self.put(path, json.loads(json.dumps(self.objects[path] | parts)))

    def delete(self, path: str) -> None:
        """Delete, or mark as being deleted what has finalizers."""
        with self.changed:
            found = json.loads(json.dumps(self.objects[path]))
            found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self.put(path, found)

    def watched(self, path: str) -> bool:
        """Whether somebody watches the object at ``path``."""
        return any(_in(path, *source) for source in self.watching)

    def close(self) -> None:
        """Let every watch end."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


def _status(code: int, message: str) -> Object:
    return {"kind": "Status", "code": code, "message": message}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def _answer(self, code: int, body: Object) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> Object:
        found: Object = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        return found

    def _request(self) -> tuple[Api, str, dict[str, str]]:
        url = urlsplit(self.path)
        return self.server.api, url.path, {key: found[0] for key, found in parse_qs(url.query).items()}

    def _refused(self, api: Api, path: str) -> bool:
        if not api.user_known:
            self._answer(401, _status(401, "Unauthorized"))
        elif path in api.refuse:
            self._answer(api.refuse[path][0], _status(*api.refuse[path]))
        else:
            return False
        return True

    def do_GET(self) -> None:
        api, path, query = self._request()
        with api.changed:
            if path == "/version":
                self._answer(200, {"major": "1", "minor": api.minor, "gitVersion": f"v1.{api.minor}.0"})
            elif self._refused(api, path):
                return
            elif "watch" in query:
                self._watch(api, path, query)
            elif path in api.objects:
                self._answer(200, api.objects[path])
            elif path in api.serves:
                self._answer(200, {"kind": "APIResourceList"})
            elif path.rpartition("/")[2].endswith("s") and not path.startswith("/apis/k8s.cni.cncf.io"):
                items = [found for at, found in api.objects.items() if _in(at, path, query)]
                version = str(max((event[0] for event in api.events), default=0))
                self._answer(200, {"items": items, "metadata": {"resourceVersion": version}})
            else:
                self._answer(404, _status(404, f"{path} not found"))

    def _watch(self, api: Api, path: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.send_header("Transfer-Encoding", "chunked")  # as the real one does: an event is read when it comes
        self.end_headers()
        self.close_connection = True
        seen = int(query["resourceVersion"])
        api.watching.append((path, query))
        api.changed.notify_all()
        if api.expire_watches:
            api.expire_watches -= 1
            api.changed.notify_all()
            self._event("ERROR", _status(410, "too old resource version"))
            return
        while not api.closed:
            for version, kind, at, found in api.events:
                if version > seen and _in(at, path, query):
                    self._event(kind, found)
            seen = max((event[0] for event in api.events), default=seen)
            if api.break_watches:
                api.break_watches -= 1
                api.changed.notify_all()
                return
            if not api.changed.wait(30):
                return

    def _event(self, kind: str, found: Object) -> None:
        text = json.dumps({"type": kind, "object": found}).encode() + b"\n"
        self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")

    def do_POST(self) -> None:
        api, path, _ = self._request()
        asked = self._body()["spec"]["resourceAttributes"]
        assert path.endswith("selfsubjectaccessreviews")
        allowed = (asked["verb"], asked["resource"]) not in api.denied
        self._answer(201, {"status": {"allowed": allowed}})

    def do_PATCH(self) -> None:
        api, path, query = self._request()
        body = self._body()
        with api.changed:
            if self._refused(api, path):
                return
            before = api.objects.get(path, {})
            if self.headers["Content-Type"] == "application/merge-patch+json":
                found = _merged(before, body)
            else:
                assert query["fieldManager"] == "k8slan"
                old = before.get("metadata", {})
                found = before | body | {"metadata": old | body["metadata"]}
            found = json.loads(json.dumps(found))
            if "dryRun" not in query:
                api.writes.append(f"PATCH {path}")
                if found != before:
                    api.put(path, found)
                    api.on_apply(path, found)
            self._answer(200 if before else 201, found)

    def do_DELETE(self) -> None:
        self._body()
        api, path, query = self._request()
        with api.changed:
            if path not in api.objects:
                self._answer(404, _status(404, f"{path} not found"))
                return
            if "dryRun" not in query:
                api.writes.append(f"DELETE {path}")
                api.delete(path)
            self._answer(200, {})


def _merged(before: Any, patch: Any) -> Any:
    """What a merge patch makes of something."""
    if not isinstance(patch, dict):
        return patch
    found = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found


def _in(at: str, collection: str, query: dict[str, str]) -> bool:
    """Whether the object at a path is of a collection, over all namespaces if it names none."""
    parent, _, name = at.rpartition("/")
    field, _, wanted = query.get("fieldSelector", "").partition("=")
    if field == "metadata.name" and name != wanted:
        return False
    if parent == collection:
        return True
    root, _, plural = collection.rpartition("/")
    return parent.startswith(f"{root}/namespaces/") and parent.rpartition("/")[2] == plural


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: Api) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api

    def handle_error(self, *_: object) -> None:
        """Nothing on stderr: a client that has seen enough of a watch goes away."""


@contextmanager
def serve(api: Api, kubeconfig: Path) -> Iterator[None]:
    """Serve ``api`` on loopback, with a kubeconfig that leads there."""
    server = _Server(api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "here",
    }
    kubeconfig.write_text(yaml.safe_dump(config))
    try:
        yield
    finally:
        api.close()
        server.shutdown()
        thread.join()
        server.server_close()
