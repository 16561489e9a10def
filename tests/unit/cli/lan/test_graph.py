"""What ``lan graph`` prints of LANs and pods."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from k8slan_cli.cli.lan import graph
from k8slan_cli.cli.lan.graph import Picture, View
from k8slan_cli.diagnose import drawing
from k8slan_cli.inventory import lans, occupancy
from k8slan_cli.lan.names import LAB_LABEL, LAB_NODE_LABEL
from k8slan_cli.picture import Topology
from k8slan_cli.picture.topology import Seen
from tests.support import scene
from tests.unit.cli.cluster import workstation
from tests.unit.picture.cluster import BLUE, RED, topology
from tests.unit.render.command import call


def test_a_lan_without_anybody() -> None:
    drawn = graph.draw([topology(scene.lan(spokes=["e1"]))], Picture.TERMINAL)
    assert drawn == "LAN lab/red: VNI 10000, unicast\n\n  no attachments\n"


def test_why_a_lan_is_not_ready_is_in_its_title_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_columns", lambda: 40)
    why = scene.condition("Ready", False, "NoVni", "no VNI is free\nin 1-5: widen the range")
    drawn = graph.draw([topology(scene.lan(spokes=["e1"], status=scene.status(why)))], Picture.TERMINAL)
    title = " ".join(drawn.partition("\n\n")[0].split())
    assert title == "LAN lab/red: VNI 10000, unicast, not ready: no VNI is free in 1-5: widen the range"


@pytest.mark.parametrize("by", View)
@pytest.mark.parametrize("output", [Picture.TERMINAL, Picture.SVG, Picture.MERMAID, Picture.HTML, Picture.JSON])
def test_who_is_hidden_is_not_said_to_be_nobody(output: Picture, by: View) -> None:
    item = lans.read(scene.lan(spokes=["e1"]))
    users = occupancy.Users(by_lan={item.ref: scene.on(item.document, None)}, hidden=True)
    drawn = graph.drawing([drawing.seen(item, users)], output, by=by)
    assert "no attachments" not in drawn
    if output is Picture.JSON and by is View.DEVICE:
        assert json.loads(drawn)["lans"][0]["hidden"] is True
    else:
        assert "who is attached cannot be seen" in drawn


@pytest.mark.parametrize("output", [each for each in Picture if each is not Picture.DOT])
@pytest.mark.parametrize("beside", [(), (BLUE,)], ids=["alone", "beside another"])
def test_a_spoke_on_two_nodes_is_seen_in_every_picture(output: Picture, beside: tuple[Topology, ...]) -> None:
    drawn = graph.draw([topology(scene.RED, *scene.TWICE), *beside], output)
    assert drawn.count("spoke in use twice") == (4 if output is Picture.HTML else 2), "a page has a table, too"
    assert "in use" not in graph.draw([RED, *beside], output)


def test_several_in_a_terminal_are_below_each_other() -> None:
    drawn = graph.draw([RED, BLUE], Picture.TERMINAL)
    assert drawn.index("LAN lab/red") < drawn.index("╔ firewall") < drawn.index("LAN lab/blue")


def seen(lan: scene.Object, *vteps: scene.Object) -> Seen:
    item = lans.read(lan)
    return drawing.seen(item, occupancy.Users(by_lan={item.ref: scene.on(lan, vteps)}))


def crowd() -> Seen:
    """A LAN with five pods of a Deployment, and a router."""
    pods = [f"meadow-7d9f8b6c5-{end}" for end in ("bcdfg", "hjklm", "npqrs", "tvwxz", "24567")]
    ports = [scene.port(pod, mac=f"02:00:00:00:00:0{number}") for number, pod in enumerate(pods)]
    return seen(scene.lan("blue", dynamic=True), scene.vtep("w1", scene.port("r1"), *ports, lan="blue"))


CABLE = seen(
    scene.lan("cable", spokes=["a", "b"], status=scene.status(scene.condition("Ready", False, "NodesDegraded", "w1"))),
    scene.vtep("w1", scene.port("r1", "a", interface="eth1"), lan="cable"),
    scene.vtep("w2", scene.port("r2", "b", interface="eth1"), lan="cable"),
)


@pytest.mark.parametrize("output", Picture)
def test_several_are_one_graph_of_devices(output: Picture) -> None:
    drawn = graph.drawing([crowd(), CABLE], output, made="now")
    assert drawn.endswith("\n")
    assert "NodesDegraded" in drawn
    if output in (Picture.JSON, Picture.YAML):
        assert "meadow-7d9f8b6c5-bcdfg" in drawn, "programs want each pod"
    else:
        assert "meadow ×5" in drawn
        assert "meadow-7" not in drawn
        assert "namespace lab: 7 devices, 2 LANs" in drawn
        assert "meadow-7d9f8b6c5-bcdfg" in graph.drawing([crowd(), CABLE], output, unfold=True)


def test_one_is_drawn_over_its_nodes_unless_something_else_is_wanted() -> None:
    by_node = graph.drawing([CABLE], Picture.TERMINAL)
    assert "underlay" in by_node
    by_device = graph.drawing([CABLE], Picture.TERMINAL, by=View.DEVICE)
    assert "r1 ─ eth1 ── cable NodesDegraded ── eth1 r2" in by_device
    assert graph.drawing([crowd(), CABLE], Picture.TERMINAL, by=View.NODE).count("underlay") == 2


def test_json_is_the_same_of_one_and_of_several() -> None:
    for found in ([], [CABLE], [CABLE, crowd()]):
        document = json.loads(graph.drawing(found, Picture.JSON))
        assert [lan["name"] for lan in document["lans"]] == sorted(each.lan.ref.name for each in found)
        assert set(document) == {"devices", "lans"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["blue", "-A"], "names cannot be combined with -A or -l"),
        (["blue", "-l", "a=b"], "names cannot be combined with -A or -l"),
        (["-w", "-o", "svg"], "-w is for pictures in a terminal"),
        (["--by", "node", "-o", "dot"], "-o dot is of devices"),
        (["--by", "colour"], "colour"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], complaint: str) -> None:
    assert complaint in call("lan", "graph", *words, status=2).stderr


def test_colours_are_for_who_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = graph.drawing([crowd(), CABLE], Picture.TERMINAL)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = graph.drawing([crowd(), CABLE], Picture.TERMINAL)
    assert coloured != plain
    assert re.sub("[\ufdd0-\ufdd5]", "", coloured) == plain
    (ill,) = (line for line in coloured.splitlines() if "NodesDegraded" in line)
    assert (ill[0], ill[-1]) == ("\ufdd2", "\ufdd0"), "red, and plain again"


def test_colours_over_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = graph.draw([topology(scene.RED, *scene.TWICE), BLUE], Picture.TERMINAL)
    assert "\ufdd2link down\ufdd0" in coloured
    assert re.search("\ufdd2╳.*╳\ufdd0┨", coloured)
    assert re.search("\ufdd5┄.*┄\ufdd0┃", coloured)
    monkeypatch.delenv("FORCE_COLOR")
    assert not re.search("[\ufdd0-\ufdd5]", graph.draw([BLUE], Picture.TERMINAL)), "a pipe has none"


def test_a_lab_in_a_cluster(tmp_path: Path) -> None:
    """Two LANs, of which one has a pod that waits: one graph, with its own names, and why the pod waits."""
    waiting = scene.pod("clos-leaf2", "k8slan-veth-b@eth1", phase="Pending")
    leaf = scene.pod("clos-leaf1-x", "k8slan-veth-a@eth1", got=[("k8slan-veth-a", "eth1", "02:00:00:00:00:01")])
    for pod, name in ((waiting, "leaf2"), (leaf, "leaf1")):
        pod["metadata"]["labels"] = {LAB_LABEL: "clos", LAB_NODE_LABEL: name}
    event = {
        "metadata": {"name": "why", "creationTimestamp": "2026-11-24T11:45:00Z"},
        "involvedObject": {"kind": "Pod", "name": "clos-leaf2", "uid": "uid-clos-leaf2"},
        "reason": "FailedCreatePodSandBox",
        "message": 'failed to setup network: error adding pod to CNI network "x": plugin type="k8slanveth" failed'
        " (add):"
        " there is no device bond0 here",
    }
    with workstation(tmp_path) as k8slan:
        k8slan.put(scene.lan("link", spokes=["a", "b"]), waiting, leaf)
        k8slan.put(scene.vtep("worker1", scene.port("clos-leaf1-x", "a", interface="eth1"), lan="link"))
        k8slan.api.put("/api/v1/namespaces/lab/events/why", event)
        drawn = k8slan("lan", "graph").stdout
        assert drawn.startswith("namespace lab: 5 devices, 2 LANs\n")
        (line,) = (line for line in drawn.splitlines() if "leaf1" in line)
        assert re.match(r"leaf1 ─ eth1 ┄┄ link, .*there is no device bond0 here ┄+ eth1 leaf2 \(waiting\)$", line)
        document = json.loads(k8slan("lan", "graph", "link", "-o", "json").stdout)
        assert [(each["key"], each["name"], each["lab"], each["state"]) for each in document["devices"]] == [
            ("lab/clos-leaf1-x", "leaf1", "clos", "attached"),
            ("lab/clos-leaf2", "leaf2", "clos", "waiting"),
        ]
        assert "underlay" in k8slan("lan", "graph", "link").stdout
        assert "<td>lab/link</td>" in k8slan("lan", "graph", "-o", "html").stdout
