"""An API server with its etcd and nothing else, on loopback: up in seconds, and a test may break it as it likes.

Objects are just stored here: no kubelet, no scheduler, no garbage collector. A test plays their parts where it needs
them. What each client asked is in the audit log, so that a test can count requests from outside of the client.
"""

from __future__ import annotations

import contextlib
import copy
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli.kube import kinds
from k8slan_cli.render import manifests
from k8slan_cli.render.settings import Settings
from tests.cluster.harness import build, pki
from tests.support.require import require

NAD_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"},
    "spec": {
        "group": "k8s.cni.cncf.io",
        "scope": "Namespaced",
        "names": {
            "plural": "network-attachment-definitions",
            "singular": "network-attachment-definition",
            "kind": "NetworkAttachmentDefinition",
            "shortNames": ["net-attach-def"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"config": {"type": "string"}}},
                        },
                    }
                },
            }
        ],
    },
}
"""As multus installs it."""

_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
_SECONDS = 60.0
_IDLE_SECONDS = 20.0
"""A connection that nobody used for so long may have been closed by the server."""


class ApiError(Exception):
    """The API server refused a request of a test."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {body.get('message', body)}")
        self.status = status
        self.body = body


class Api:
    """The API server, and requests to it."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self._folder = folder
        self._binaries = build.everything().kubernetes
        self.etcd_port, self._peer_port, self.port = _free_ports(3)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        authority = pki.Authority(folder / "pki")
        authority.server("apiserver", ["127.0.0.1"], ["localhost"])
        authority.signing_key()
        admin = authority.client("admin", "admin", ["system:masters"])
        self.url = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = pki.kubeconfig(folder / "kubeconfig", self.url, authority.certificate, admin)
        self._tls = ssl.create_default_context(cafile=str(authority.certificate))
        self._tls.load_cert_chain(*admin)
        self._connection: http.client.HTTPSConnection | None = None
        self._used = 0.0
        (folder / "audit.json").write_text(json.dumps(_AUDIT))
        self._audit_read = 0
        try:
            self._start_etcd()
            self.start()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------ its life

    def _start_etcd(self) -> None:
        url = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{self._peer_port}"
        self._run(
            "etcd",
            "etcd",
            f"--data-dir={self._folder}/etcd",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )

    def start(self) -> None:
        """Start the API server and wait until it serves."""
        keys = self._folder / "pki"
        self._run(
            "kube-apiserver",
            str(self._binaries / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.255.0.0/24",
            f"--tls-cert-file={keys}/apiserver.crt",
            f"--tls-private-key-file={keys}/apiserver.key",
            f"--client-ca-file={keys}/ca.crt",
            f"--service-account-key-file={keys}/tokens.pub",
            f"--service-account-signing-key-file={keys}/tokens.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            "--allow-privileged=true",
            f"--audit-policy-file={self._folder}/audit.json",
            f"--audit-log-path={self._folder}/audit.log",
        )
        deadline = time.monotonic() + _SECONDS
        while (why := self._not_ready()) and time.monotonic() < deadline:
            self._check()
            time.sleep(0.05)
        if why:
            raise TimeoutError(f"the API server is not ready after {_SECONDS:.0f} s: {why}\n{self._words()}")

    def stop(self) -> None:
        """End the API server on the spot, as a crash would; etcd keeps what there is."""
        self._end("kube-apiserver")

    def close(self) -> None:
        """End everything."""
        for name in list(self._running):
            self._end(name)

    def _run(self, name: str, *argv: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as output:
            self._running[name] = subprocess.Popen(argv, stdout=output, stderr=output)

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if self._connection:
            self._connection.close()
            self._connection = None

    def _check(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} has ended with {process.returncode}\n{self._words(name)}")

    def _words(self, name: str = "kube-apiserver") -> str:
        return "\n".join((self._folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:])

    def _not_ready(self) -> str:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=self._tls)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
        return "" if answer.status == 200 else text

    # ------------------------------------------------------------ who may what

    def pod(self, namespace: str, account: str) -> tuple[list[str], dict[str, str]]:
        """The beginning of a command line, and the environment, by which a process finds itself in a pod.

        It has the rights of a service account, whose files lie where the kubelet would put them.
        """
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        token = self.call("POST", path, {"spec": {"expirationSeconds": 7200}})["status"]["token"]
        folder = self._folder / f"{namespace}-{account}"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "token").write_text(token)
        shutil.copy(self._folder / "pki" / "ca.crt", folder / "ca.crt")
        place = "/run/secrets/kubernetes.io"  # /var/run is /run
        script = f'mount -t tmpfs none /run && mkdir -p {place} && ln -s "$0" {place}/serviceaccount && exec "$@"'
        environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
        environment |= {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}
        environment["HOME"] = str(folder)  # without a kubeconfig, whatever this machine has
        return ["unshare", "--mount", "sh", "-c", script, str(folder)], environment

    # ------------------------------------------------------------ requests

    def call(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Any:
        """Send a request, return the answer's JSON.

        Raises:
            ApiError: it is refused.

        """
        if self._connection and time.monotonic() - self._used > _IDLE_SECONDS:
            self._connection.close()
            self._connection = None
        if self._connection is None:
            self._connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self._tls)
        self._used = time.monotonic()
        headers = {"Content-Type": content_type, "User-Agent": "test"}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        words = "json" not in answer.headers.get("Content-Type", "")
        found = {"message": data.decode(errors="replace")} if words else json.loads(data)
        if not 200 <= answer.status <= 299:
            raise ApiError(answer.status, found)
        return found

    @contextlib.contextmanager
    def connected(self) -> Iterator[Api]:
        """The same with a connection of its own, for another thread."""
        found = copy.copy(self)
        found._connection = None
        try:
            yield found
        finally:
            if found._connection:
                found._connection.close()

    def get(self, path: str) -> Any:
        """The object at a path, or None."""
        try:
            return self.call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def patch(self, path: str, body: object) -> Any:
        """Merge patch."""
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def apply(self, path: str, body: object) -> Any:
        """Server-side apply."""
        return self.call("PATCH", f"{path}?fieldManager=test&force=true", body, "application/apply-patch+yaml")

    def install(self, *documents: Mapping[str, Any]) -> None:
        """Create CRDs and wait until they are served."""
        for document in documents:
            self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)
        for document in documents:
            spec = document["spec"]
            path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
            until(lambda path=path: self.get(path), f"{path} is served")

    def put_all(self, text: str) -> None:
        """Create the objects of a manifest."""
        for document in manifests.documents(text):
            self.call("POST", kinds.ref(document).kind.path(document["metadata"].get("namespace", "")), document)

    def requests(self) -> Counter[tuple[str, str, str]]:
        """(user agent, verb, resource with its subresource) of every request since the last call."""
        with (self._folder / "audit.log").open("rb") as file:
            file.seek(self._audit_read)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._audit_read += len(whole)
        found: Counter[tuple[str, str, str]] = Counter()
        for line in whole.splitlines():
            event = json.loads(line)
            about = event.get("objectRef", {})
            resource = "/".join(part for part in (about.get("resource"), about.get("subresource")) if part)
            found[event.get("userAgent", ""), event["verb"], resource] += 1
        return found


def until(holds: Any, what: str, seconds: float = 20.0, every: float = 0.02) -> Any:
    """The first true answer of ``holds``, asked again and again: an API server tells a blocking client nothing else."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(every)
    raise TimeoutError(f"not {what} in {seconds:.0f} s")


def lan_crd(*, checked: bool = True) -> dict[str, Any]:
    """The CRD of LANs; without ``checked`` it lets everything pass, as an older or broken one might."""
    found: dict[str, Any] = yaml.safe_load(manifests.render(manifests.Part.CRD, Settings()))
    if not checked:
        version = found["spec"]["versions"][0]
        version["schema"] = {
            "openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "status": version["schema"]["openAPIV3Schema"]["properties"]["status"],
                },
            }
        }
    return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """An API server that knows LANs and NADs, for one module of tests."""
    require("cluster", os.geteuid() == 0, "needs root, to give a process a service account as a pod has it")
    try:
        build.everything()
    except build.BuildError as missing:
        require("cluster", False, str(missing))
    folder = Path(tempfile.mkdtemp(prefix="k8slan-api-"))
    try:
        server = Api(folder)
        try:
            server.install(lan_crd(), NAD_CRD)
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(folder)


_numbers = itertools.count(1)


@pytest.fixture
def namespace(api: Api) -> str:
    """A namespace of the test's own. Nobody removes namespaces here: it stays until the API server goes."""
    name = f"t{next(_numbers)}"
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name
