"""What to capture, and whom to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.capture import pcapng
from k8slan_cli.capture.pcapng import Direction, Interface
from k8slan_cli.cli.lan.capture import Rotating, choose
from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.agents import Attachments
from k8slan_cli.diagnose.protocol import Plugged
from k8slan_cli.errors import AbsentError, K8slanError
from k8slan_cli.kube.apply import Selection
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import LANS, Ref
from tests.support import scene
from tests.support.scene import Object
from tests.unit.diagnose.test_recording import Agent
from tests.unit.render.command import call


class Cluster:
    """LANs that have a port on node w1, VTEPs beside these, and pods by name with their node."""

    def __init__(
        self, *lans: str, pods: dict[str, str] | None = None, vteps: Sequence[Object] = (), blind: bool = False
    ) -> None:
        self._blind = blind
        self._vteps = [*vteps, *(scene.vtep("w1", scene.port("one", "e1"), lan=name) for name in lans)]
        self._objects: dict[str, dict[str, Any]] = {
            f"/apis/lan.k8slan.io/v1beta1/namespaces/lab/lans/{name}": scene.lan(name) for name in lans
        }
        for name, node in (pods or {}).items():
            self._objects[f"/api/v1/namespaces/lab/pods/{name}"] = {"spec": {"nodeName": node}}

    def call(self, method: str, path: str, *, query: dict[str, str]) -> dict[str, Any]:
        """The VTEPs of the namespace, or of a LAN."""
        assert (method, path) == ("GET", "/apis/lan.k8slan.io/v1beta1/namespaces/lab/vteps")
        if self._blind:
            raise ApiError("you may not see them", status=403)
        key, _, wanted = query.get("labelSelector", "").partition("=")
        return {"items": [each for each in self._vteps if not key or each["metadata"]["labels"][key] == wanted]}

    @contextmanager
    def watched(self, sources: dict[str, Selection], changed: Callable[[str, dict[str, Any]], None]) -> Iterator[None]:
        """What there is, once."""
        for name, source in sources.items():
            if source.kind == LANS:
                only = source.field_selector.removeprefix("metadata.name=")
                changed(name, {key: found for key, found in self._objects.items() if key.endswith(f"/lans/{only}")})
            else:
                items = self.call("GET", source.kind.path(source.namespace), query=source.select)["items"]
                changed(name, {each["metadata"]["name"]: each for each in items})
        yield

    def get(self, ref: Ref) -> dict[str, Any] | None:
        """One of them."""
        if self._blind:
            raise ApiError("you may not see it", status=403)
        return self._objects.get(ref.path)


@dataclass
class Nodes:
    """Agents: what is attached on their nodes, and what they say to a request for a capture of LANs."""

    items: tuple[Plugged, ...] = ()
    answers: dict[str, Agent | K8slanError] = field(default_factory=dict)
    asked: list[list[str] | None] = field(default_factory=list)
    pods: dict[str, object] = field(default_factory=dict)

    def plugged(self, *, nodes: list[str] | None) -> Attachments:
        """What is attached."""
        self.asked.append(nodes)
        return Attachments(self.items)

    def forget(self) -> None:
        """Look for pods again."""
        self.pods = dict.fromkeys(self.answers)

    def each(
        self, nodes: list[str], act: Callable[[str], Agent], *, unreachable: dict[str, K8slanError]
    ) -> dict[str, Agent]:
        """Ask several."""
        found: dict[str, Agent] = {}
        for node in nodes:
            try:
                found[node] = act(node)
            except K8slanError as error:
                unreachable[node] = error
        return found

    def call(self, node: str, path: str, body: dict[str, Any]) -> Agent:
        """Ask one."""
        assert node in self.pods
        assert (path, body["lans"], body["places"], body["filter"]) == (protocol.CAPTURE, ("lab/blue",), (), "arp")
        answer = self.answers[node]
        if isinstance(answer, K8slanError):
            raise answer
        return answer


@dataclass
class Where:
    """Where the command works."""

    cluster: Cluster
    namespace: str = "lab"


def plugged(pod: str, lan: str, node: str) -> Plugged:
    return Plugged(
        node=node, lan=f"lab/{lan}", container=f"c{pod}", ifname="net1", kind="veth", port="p", mac="m", mtu=1, pod=pod
    )


ITEMS = (plugged("lab/one", "blue", "w1"), plugged("lab/two", "blue", "w2"), plugged("lab/blue", "red", "w3"))


def chosen(nodes: Nodes, cluster: Cluster, *what: str) -> tuple[dict[str, set[str]], list[str]]:
    found = choose(nodes, Where(cluster), what)  # type: ignore[arg-type]
    return {lan: set(on) for lan, on in found.lans.items()}, [item.name for item in found.places]


def test_a_lan_goes_before_a_pod_and_no_agent_is_asked_who_is_on_it() -> None:
    nodes = Nodes(ITEMS)
    for name in ("blue", "lab/blue", "lan/blue", "lan/lab/blue", "lan.lan.k8slan.io/blue"):
        assert chosen(nodes, Cluster("blue"), name) == ({"lab/blue": {"w1"}}, [])
    assert nodes.asked == []


def test_with_an_interface_it_is_a_pod() -> None:
    nodes = Nodes(ITEMS)
    assert chosen(nodes, Cluster("blue", pods={"blue": "w3"}), "blue:net1") == ({}, ["lab/blue:net1"])
    assert nodes.asked == [["w3"]]


def test_a_pod_on_a_lan_that_is_captured_anyway_is_not_captured_twice() -> None:
    found = chosen(Nodes(ITEMS), Cluster("blue", pods={"one": "w1"}), "blue", "one", "blue:net1")
    assert found == ({"lab/blue": {"w1"}}, ["lab/blue:net1"])


def test_a_lan_that_only_agents_may_be_asked_about_is_found_by_who_is_on_it() -> None:
    nodes = Nodes(ITEMS)
    for name in ("blue", "lab/blue", "lan/blue"):
        assert chosen(nodes, Cluster("blue", blind=True), name) == ({"lab/blue": {"w1", "w2"}}, [])
        assert nodes.asked.pop() is None


def test_a_vm_is_found_by_its_port_whatever_its_pod_is_called() -> None:
    """KubeVirt shortens the launcher's name where that of the VM is long."""
    port = scene.port("virt-launcher-short-x1", "vm1", vm="a-very-long-name")
    nodes = Nodes((*ITEMS, plugged("lab/virt-launcher-short-x1", "red", "w7")))
    found = chosen(nodes, Cluster(vteps=[scene.vtep("w7", port)]), "a-very-long-name")
    assert found == ({}, ["lab/virt-launcher-short-x1:net1"])
    assert nodes.asked == [["w7"]]


def test_what_is_neither_is_named() -> None:
    with pytest.raises(AbsentError, match=r"neither a LAN nor an attached pod onne \(did you mean one\?"):
        chosen(Nodes(ITEMS), Cluster("blue"), "onne")


def test_a_capture_goes_on_in_a_new_file_that_is_whole(tmp_path: Path) -> None:
    head = pcapng.section("x") + pcapng.interface(Interface(name="a"))
    frames = [pcapng.packet(0, at, bytes(200), 200, Direction.IN) for at in range(5)]
    with Rotating(tmp_path / "blue.pcapng", len(head) + 2 * len(frames[0]), float("inf"), 2) as out:
        out.write(head)
        out.keep()
        for frame in frames:
            out.write(frame[:9])
            out.write(frame[9:])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "blue-0002.pcapng": head + frames[2] + frames[3],
        "blue-0003.pcapng": head + frames[4],
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rotate", "10m"], "--rotate needs a file"),
        (["--rotate", "10", "-w", "f"], "'10' is neither a size nor a time"),
        (["--keep", "3", "-w", "f"], "--keep is of files that --rotate begins"),
        (["--print", "-w", "-"], "would both write"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], said: str) -> None:
    assert said in call("lan", "capture", "blue", *words, status=2).stderr
