"""The page of ``k8slan ui`` in a real cluster: what it is told, and what it asks for."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.cluster.harness import Cluster, Kubectl, Node
from tests.cluster.harness.versions import TEST_IMAGE
from tests.support import names
from tests.unit.render.api import _merged
from tests.unit.render.command import call

SECONDS = 60


class Page:
    """Asks as the page does."""

    def __init__(self, url: str) -> None:
        self._address, self._token = urlsplit(url).netloc, urlsplit(url).fragment

    def ask(self, path: str, **body: Any) -> Iterator[bytes]:
        """The lines of an answer."""
        with closing(http.client.HTTPConnection(self._address, timeout=SECONDS)) as connection:
            connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield from answer

    def until(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The document once something of it holds."""
        document: dict[str, Any] = {}
        for line in self.ask("/api/live"):
            if line.startswith(b"data: "):
                document = _merged(document, json.loads(line.removeprefix(b"data: ")))
                if document and holds(document):
                    return document
        raise AssertionError(document)


@contextmanager
def shown(cluster: Cluster, namespace: str) -> Iterator[Page]:
    """The command, while it runs."""
    where = ("-n", namespace, "--kubeconfig", str(cluster.kubeconfig))
    argv = [sys.executable, "-m", "k8slan_cli", "ui", "--no-browser", *where]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Page(process.stdout.readline().strip())
        finally:
            process.terminate()
            assert process.wait(SECONDS) == 0


def test_a_cable_between_two_nodes_is_seen_pulled_probed_and_captured(
    k8slan: Cluster, kubectl: Kubectl, namespace: str, node1: Node, node2: Node
) -> None:
    name, spokes = names.unique("w"), [names.unique("s") for _ in range(2)]
    here = ("-n", namespace, "--kubeconfig", str(k8slan.kubeconfig))
    call("lan", "create", name, "--spoke", ",".join(spokes), "--wait", *here)
    for number, (node, spoke) in enumerate(zip((node1, node2), spokes, strict=True), 1):
        text = call("lan", "example", "pod", f"{name}/{spoke}", "--ip", f"198.51.100.{number}/24", *here).stdout
        _start(kubectl, text, f"p{number}", node)
    kubectl.wait("--for=condition=Ready", "pod/p1", "pod/p2")
    one, two = (f"{namespace}/{name} {namespace}/p{number} net1" for number in (1, 2))
    end = {"lan": f"{namespace}/{name}", "device": f"{namespace}/p1", "interface": "net1"}
    with shown(k8slan, namespace) as page:
        found = page.until(lambda d: {one, two} <= d["flows"].keys())
        assert found["missing"] == {}
        assert {found["ends"][each]["link"] for each in (one, two)} == {"up"}
        page.until(lambda d: _carriers(d, one, two) == [True, True])
        kubectl("exec", "p1", "--", "ping", "-c", "1", "-W", "5", "198.51.100.2")

        begun = time.monotonic()
        [told] = page.ask("/api/link", state="down", **end)
        assert "so is the other end of the cable" in json.loads(told)["message"]
        page.until(lambda d: d["ends"][two]["link"] == "down")
        assert time.monotonic() - begun < 9  # what does not hear of a change looks again after ten
        page.until(lambda d: _carriers(d, two) == [False])
        list(page.ask("/api/link", state="up", **end))
        page.until(lambda d: _carriers(d, one, two) == [True, True])

        *_, last = page.ask("/api/probe", lan=end["lan"])
        assert json.loads(last)["result"]["passed"] is True

        lines: list[str] = []
        for told in page.ask("/api/capture", id="x", lines=True, filter="icmp", **end):
            event = json.loads(told)
            lines += event.get("lines", ())
            if event.get("said", "").startswith("Capturing"):
                kubectl("exec", "p1", "--", "ping", "-c", "2", "-i", "0.2", "-W", "5", "198.51.100.2")
            if len(lines) == 4:
                list(page.ask("/api/stop", id="x"))
                break
        assert all("echo re" in line for line in lines)
    kubectl.delete("pods", "--all")
    call("lan", "delete", name, *here)


def _carriers(document: dict[str, Any], *ends: str) -> list[bool | None]:
    return [document["flows"].get(end, {}).get("carrier") for end in ends]


def _start(kubectl: Kubectl, text: str, name: str, node: Node) -> None:
    document = yaml.safe_load(text)
    document["metadata"]["name"] = name
    document["spec"] |= {"nodeName": node.name, "terminationGracePeriodSeconds": 0}
    document["spec"]["containers"][0]["image"] = TEST_IMAGE
    kubectl.apply(document)
