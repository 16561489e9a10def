"""``k8slan lan …`` against a real API server: what is written, what is said, and how it ends.

Nothing runs here but the API server: the tests play the parts of controller, agents and multus.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli import __main__ as entry
from tests.cluster.bare import Api, api, lan_crd, namespace, until
from tests.cluster.harness import build
from tests.support import scene
from tests.unit.render.command import Done, call

__all__ = ["api", "namespace"]

LANS = "/apis/lan.k8slan.io/v1beta1"
DEADLINE = 30.0
K8SLAN = [sys.executable, "-m", "k8slan_cli"]
Lans = Callable[..., Any]


class Cli:
    """The command in a namespace."""

    def __init__(self, api: Api, namespace: str, tmp_path: Path) -> None:
        self.api, self.namespace = api, namespace
        self.kubeconfig = self._config(tmp_path / "kubeconfig")

    def _config(self, path: Path, user: dict[str, Any] | None = None, **cluster: Any) -> Path:
        """The API server's kubeconfig with the namespace as its context's, and changes."""
        found = json.loads(self.api.kubeconfig.read_text())
        found["contexts"][0]["context"]["namespace"] = self.namespace
        found["users"][0]["user"] |= user or {}
        found["clusters"][0]["cluster"] |= cluster
        path.write_text(json.dumps(found))
        return path

    def as_user(self, name: str) -> None:
        """Be somebody else from now on, who may do nothing but what a test grants."""
        self._config(self.kubeconfig, {"as": name})

    def at(self, server: str) -> None:
        """Look for the API server elsewhere."""
        self._config(self.kubeconfig, server=server)

    def __call__(self, *words: str, status: int = 0, stdin: str | None = None) -> Done:
        """Run it in this process; it has to end with ``status``."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(self.kubeconfig))
            return call(*words, stdin=stdin, status=status)

    def start(self, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Run it as a process."""
        return subprocess.Popen(
            [*K8SLAN, *words],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lan(self, name: str) -> Any:
        """The LAN as it is now, or None."""
        return self.api.get(f"{LANS}/namespaces/{self.namespace}/lans/{name}")


@pytest.fixture
def cli(api: Api, namespace: str, tmp_path: Path) -> Iterator[Cli]:
    """The command in the test's namespace; its LANs and pods are gone afterwards."""
    yield Cli(api, namespace, tmp_path)
    # A vni and a spoke are taken in all namespaces.
    for item in api.get(f"{LANS}/lans")["items"]:
        path = f"{LANS}/namespaces/{item['metadata']['namespace']}/lans/{item['metadata']['name']}"
        if item["metadata"].get("finalizers"):
            api.patch(path, {"metadata": {"finalizers": None}})
        if api.get(path):
            api.call("DELETE", path)
    for item in api.get(f"{LANS}/vteps")["items"]:
        metadata = item["metadata"]
        api.call("DELETE", f"{LANS}/namespaces/{metadata['namespace']}/vteps/{metadata['name']}")
    for item in api.get("/api/v1/pods")["items"]:
        metadata = item["metadata"]
        api.call("DELETE", f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}?gracePeriodSeconds=0")


@pytest.fixture
def put(api: Api, namespace: str) -> Callable[[dict[str, Any]], None]:
    """Put an object of the scene into the test's namespace, its status too.

    A VTEP has no subresource for its status. Its ports do not tell their pods' uids, which the API server chooses.
    """

    def put(document: dict[str, Any]) -> None:
        own = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
        metadata = {k: v for k, v in document["metadata"].items() if k not in own} | {"namespace": namespace}
        text = json.dumps(document | {"metadata": metadata}).replace('\\"lab/', f'\\"{namespace}/')
        found = json.loads(text.replace('"namespace": "lab"', f'"namespace": "{namespace}"'))
        root = "/api/v1" if found["kind"] == "Pod" else LANS
        path = f"{root}/namespaces/{namespace}/{found['kind'].lower()}s"
        whole = found["kind"] == "VTEP"
        for port in found["status"]["ports"] if whole else ():
            del port["pod"]["uid"]
        api.call("POST", path, {key: value for key, value in found.items() if whole or key != "status"})
        if "status" in found and not whole:
            api.patch(f"{path}/{found['metadata']['name']}/status", {"status": found["status"]})

    return put


@pytest.fixture
def red(put: Callable[[dict[str, Any]], None]) -> None:
    """The scene's LAN in use."""
    for document in (scene.RED, *scene.PODS, *scene.VTEPS):
        put(document)


# ---------------------------------------------------------------- create


def test_a_name_is_enough(cli: Cli) -> None:
    done = cli("lan", "create", "red")
    spec = cli.lan("red")["spec"]
    assert ("vni" in spec, spec["dynamic"], spec["spokes"]) == (False, True, [])
    assert done.stdout.splitlines()[0] == f"LAN {cli.namespace}/red is created: dynamic"
    assert "  k8s.v1.cni.cncf.io/networks: k8slan-lan-red" in done.stdout.splitlines()


def test_every_option_arrives(cli: Cli) -> None:
    words = "--vni 77 --spoke e1 --spoke e2 --dynamic --underlay eth1 --node-underlay worker2=bond0 --mtu 1400"
    words += " --allow-namespace guests --allow-namespace lab-2"
    more = "--multicast 239.1.2.3 --port 4790 --netns rednet --bridge sw0 --vxlan vx0"
    cli("lan", "create", "red", *shlex.split(f"{words} {more}"))
    assert cli.lan("red")["spec"] == {
        "ns": "rednet",
        "bridge": "sw0",
        "vxlan": "vx0",
        "vni": 77,
        "vxlanGrp": "239.1.2.3",
        "vxlanPort": 4790,
        "defaultVxlanDev": "eth1",
        "vxlanDevMap": {"worker2": "bond0"},
        "allowedNamespaces": ["guests", "lab-2"],
        "mtu": 1400,
        "spokes": ["e1", "e2"],
        "dynamic": True,
        "cable": False,
    }


def test_all_problems_are_said_at_once_and_nothing_is_written(cli: Cli) -> None:
    cli("lan", "create", "red", "--vni", "5", "--spoke", "e1")
    words = "--vni 5 --spoke e1 --spoke E9 --mtu 1 --node-underlay foo --multicast 10.0.0.1"
    done = cli("lan", "create", "blue", *words.split(), status=1)
    assert done.stderr.splitlines() == [
        f"k8slan: LAN {cli.namespace}/blue is not valid:",
        "  --node-underlay: 'foo' is not NODE=DEVICE",
        "  spec.vxlanGrp: 10.0.0.1 is not a multicast address (leave vxlanGrp out for unicast)",
        "  spec.mtu: 1 is not in 68..65461",
        "  spec.spokes[1]: 'E9' is not a DNS label: lower-case letters, digits, and '-' between them",
    ]
    clash = cli("lan", "create", "blue", "--vni", "5", "--spoke", "e1", "--netns", "x", status=1)
    assert clash.stderr.splitlines()[1:] == [
        f"  spec.vni: 5 is in use by LAN {cli.namespace}/red",
        f"  spec.spokes[0]: e1 is in use by LAN {cli.namespace}/red",
    ]
    assert cli.lan("blue") is None


def test_a_dry_run_prints_what_can_be_created(cli: Cli) -> None:
    done = cli("lan", "create", "red", "--spoke", "e1", "--dry-run")
    assert cli.lan("red") is None
    assert "nothing was created (server dry run)" in done.stderr
    again = cli("lan", "create", "-f", "-", stdin=done.stdout)
    assert again.stdout.startswith(f"LAN {cli.namespace}/red is created: spoke e1\n")


TWO = """\
apiVersion: lan.k8slan.io/v1beta1
kind: LAN
metadata: {name: red, annotations: {made: 2026-01-01}}
spec: {vni: 11, spokes: [e1]}
---
---
apiVersion: lan.k8slan.io/v1beta1
kind: LAN
metadata: {name: blue}
spec: {vni: 12, spokes: [e2]}
"""


def test_a_file_may_hold_several(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(TWO)
    cli("lan", "create", "-f", str(tmp_path / "two.yaml"))
    assert [cli.lan(name)["spec"]["vni"] for name in ("red", "blue")] == [11, 12]
    assert cli.lan("red")["metadata"]["annotations"]["made"] == "2026-01-01"


def test_the_same_file_again_changes_nothing(cli: Cli) -> None:
    cli("lan", "create", "-f", "-", stdin=TWO)
    before = cli.lan("red")["metadata"]["resourceVersion"]
    done = cli("lan", "create", "-f", "-", stdin=TWO)
    assert f"warning: LAN {cli.namespace}/red is there already" in done.stderr.splitlines()
    assert cli.lan("red")["metadata"]["resourceVersion"] == before


def test_a_file_with_one_bad_document_creates_none(cli: Cli) -> None:
    bad = TWO.replace("vni: 12, spokes: [e2]", "vni: 11, spokes: [e2], vlan: 3")
    done = cli("lan", "create", "-f", "-", status=1, stdin=bad)
    assert f"LAN {cli.namespace}/blue (document 2 of standard input)" in done.stderr
    assert "spec.vlan: is unknown" in done.stderr
    assert cli.lan("red") is None


def test_every_f_counts_and_a_folder_is_all_of_its_files(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "red.yaml").write_text(TWO.partition("---\n")[0])
    (tmp_path / "labs").mkdir()
    (tmp_path / "labs" / "green.json").write_text(json.dumps(scene.lan("green", cli.namespace, spokes=["g"], vni=13)))
    (tmp_path / "labs" / "notes.txt").write_text("no YAML: [")
    done = cli("lan", "create", "-f", str(tmp_path / "red.yaml"), "-f", str(tmp_path / "labs"))
    assert [line.partition(" is created")[0] for line in done.stdout.splitlines()[:2]] == [
        f"LAN {cli.namespace}/red",
        f"LAN {cli.namespace}/green",
    ]
    (tmp_path / "labs" / "green.json").unlink()
    cli("lan", "create", "-f", str(tmp_path / "labs"), status=1)


def test_what_is_listed_can_be_created_again(cli: Cli) -> None:
    cli("lan", "create", "-f", "-", stdin=TWO)
    listed = cli("lan", "list", "-o", "yaml").stdout
    assert "name: k8slan-veth-e2" in cli("render", "nads", "-f", "-", stdin=listed).stdout
    cli("lan", "delete", "red", "blue")
    cli("lan", "create", "-f", "-", stdin=listed)
    assert [cli.lan(name)["spec"]["vni"] for name in ("red", "blue")] == [11, 12]


def test_the_same_command_again_asks_for_the_same_and_another_is_in_the_way(cli: Cli) -> None:
    cli("lan", "create", "red", "--spoke", "a", "--spoke", "b")
    again = cli("lan", "create", "red", "--spoke", "a", "--spoke", "b")
    assert again.stderr == f"warning: LAN {cli.namespace}/red is there already\n"
    other = cli("lan", "create", "red", "--spoke", "c", status=5)
    assert f"LAN {cli.namespace}/red already exists with a different spec" in other.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "standard input holds no LAN"),
        ("[", "standard input is not YAML: line 1, column 2: "),
        ("kind: Pod", "kind: is 'Pod', not LAN"),
        ("7", "is not a mapping"),
        ("a: !!binary aGk=", "standard input holds something that no Kubernetes object can"),
    ],
)
def test_a_file_that_is_none(text: str, words: str, cli: Cli) -> None:
    assert words in cli("lan", "create", "-f", "-", status=1, stdin=text).stderr


def test_a_file_of_another_namespace_is_refused(cli: Cli) -> None:
    text = TWO.replace("{name: blue}", "{name: blue, namespace: elsewhere}")
    done = cli("lan", "create", "-f", "-", "-n", cli.namespace, status=1, stdin=text)
    assert f"metadata.namespace: is elsewhere, but -n says {cli.namespace}" in done.stderr


@pytest.mark.parametrize("words", [["red", "-f", "x"], ["-f", "x", "--spoke", "e1"], ["-f", "x", "--vni", "7"], []])
def test_a_command_line_that_makes_no_sense(words: list[str], cli: Cli) -> None:
    cli("lan", "create", *words, status=2)


def test_a_namespace_has_to_be_there(cli: Cli) -> None:
    done = cli("lan", "create", "red", "-n", "nowhere", status=6)
    assert "there is no namespace 'nowhere'" in done.stderr


def test_waiting_says_what_for(cli: Cli, api: Api) -> None:
    process = cli.start("lan", "create", "red", "--spoke", "e1", "--wait", "--timeout", str(DEADLINE))
    assert process.stderr
    assert process.stderr.readline() == f"LAN {cli.namespace}/red: waiting for the controller\n"
    path = f"{LANS}/namespaces/{cli.namespace}/lans/red/status"
    api.patch(path, {"status": scene.status(scene.condition("Ready", False, "Refused", "no quota is left"))})
    assert process.stderr.readline() == f"LAN {cli.namespace}/red: no quota is left\n"
    api.patch(path, {"status": scene.status(scene.READY)})
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (0, f"LAN {cli.namespace}/red: ready\n"), out


def test_waiting_has_an_end(cli: Cli) -> None:
    done = cli("lan", "create", "red", "--wait", "--timeout", "0.5", status=4)
    assert "not ready within 0.5 s" in done.stderr


# ---------------------------------------------------------------- list


@pytest.mark.usefixtures("red")
def test_list(cli: Cli) -> None:
    done = cli("lan", "list")
    assert re.fullmatch(
        r"NAME  VNI    SPOKES  ATTACHED  NODES  READY  AGE\n"
        r"red   10000  3       3         2      True   \d+s\n",
        done.stdout,
    )


@pytest.mark.usefixtures("red")
def test_list_in_every_form(cli: Cli) -> None:
    wide = cli("lan", "list", "-o", "wide").stdout.splitlines()
    assert wide[0].split()[-6:] == ["REASON", "NETNS", "UNDERLAY", "FLOODING", "MTU", "UPLINK"]
    assert wide[1].split()[8:11:2] == ["Ready", "eth1"]
    assert cli("lan", "list", "-o", "name").stdout == "lan.lan.k8slan.io/red\n"
    for form, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        found = load(cli("lan", "list", "-o", form).stdout)
        assert (found["kind"], found["items"][0]["spec"]["vni"]) == ("List", 10000)
        assert "managedFields" not in found["items"][0]["metadata"]


def test_list_of_nothing(cli: Cli) -> None:
    done = cli("lan", "list")
    assert done.stdout == ""
    assert done.stderr == f"There is no LAN in namespace {cli.namespace}. Make one: k8slan lan create NAME\n"
    assert json.loads(cli("lan", "list", "-o", "json").stdout)["items"] == []


def test_list_everywhere_and_by_label(cli: Cli, api: Api) -> None:
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": f"{cli.namespace}b"}})
    cli("lan", "create", "red")
    cli("lan", "create", "blue", "-n", f"{cli.namespace}b")
    api.patch(f"{LANS}/namespaces/{cli.namespace}b/lans/blue", {"metadata": {"labels": {"lab": "x"}}})
    rows = [line.split()[:3] for line in cli("lan", "list", "-A").stdout.splitlines()]
    assert rows[1:] == [[cli.namespace, "red", "-"], [f"{cli.namespace}b", "blue", "-"]]
    assert [line.split()[1] for line in cli("lan", "list", "-A", "-l", "lab=x").stdout.splitlines()[1:]] == ["blue"]


def test_watch_prints_each_change(cli: Cli, api: Api) -> None:
    cli("lan", "create", "red")
    process = cli.start("lan", "list", "--watch")
    try:
        assert process.stdout
        lines = [process.stdout.readline().split() for _ in range(2)]
        assert lines[1][:2] == ["red", "-"]
        cli("lan", "create", "blue", "--spoke", "e1")
        assert process.stdout.readline().split()[:3] == ["blue", "-", "1"]
        path = f"{LANS}/namespaces/{cli.namespace}/lans/blue"
        api.patch(f"{path}/status", {"status": scene.status(scene.READY, spokes=1)})
        assert "True" in process.stdout.readline().split()
        api.patch(path, {"metadata": {"annotations": {"in": "no column"}}})
        api.call("DELETE", path)
        assert "Deleted" in process.stdout.readline().split()
        process.send_signal(signal.SIGINT)
        assert (process.communicate(timeout=DEADLINE), process.returncode) == (("", ""), 130)
    finally:
        process.kill()
        process.communicate()


# ---------------------------------------------------------------- inspect and graph

INSPECTED = """\
LAN NS/red  Ready
  Ready      yes, for AGE
  VNI        10000, UDP port 4789, unicast to each node that takes part
  Spokes     e1, e2, vm1 (3 of 3 taken)
  Underlay   eth1
  MTU        1446, the largest that the underlay allows
  On a node  network namespace NETNS, bridge br0, VXLAN device vxlan0
  Age        AGE

Nodes
  NODE     STATE  DEVICE  ADDRESS    MTU   PEERS
  worker1  Ready  eth1    192.0.2.1  1446  1 of 1 known
  worker2  Ready  eth1    192.0.2.2  1446  1 of 1 known

Attached
  WHO              NODE     SPOKE  KIND     INTERFACE  MAC                ADDRESSES    MTU   SINCE  STATE
  pod NS/router-a  worker1  e1     veth     net1       02:a1:00:00:00:01  10.9.0.1/24  1446  SINCE  attached
  pod NS/router-b  worker2  e2     veth     lan0       02:a1:00:00:00:02  -            1446  SINCE  attached
  VM NS/firewall   worker2  vm1    macvtap  net1       02:a1:00:00:00:03  -            1446  SINCE  attached

Events
  no recent events

Note: links, traffic and peers cannot be seen: there is no agent of k8slan in namespace k8slan-system
"""


def _plain(text: str) -> str:
    text = re.sub(r"red-[0-9a-f]{8}", "NETNS", text)
    text = re.sub(r"  1446  \S+ +attached", "  1446  SINCE  attached", text)
    return re.sub(r"(for|Age  ) +\S+$", lambda found: found[0].rpartition(" ")[0] + " AGE", text, flags=re.MULTILINE)


@pytest.mark.usefixtures("red")
def test_inspect(cli: Cli) -> None:
    wanted = INSPECTED.replace("NS/", f"{cli.namespace}/")
    pad = len(cli.namespace) - 2
    wanted = wanted.replace("WHO  ", "WHO  " + " " * pad)
    assert _plain(cli("lan", "inspect", "red").stdout) == wanted
    document = json.loads(cli("lan", "inspect", "red", "-o", "json").stdout)
    assert [(item["pod"], item["vm"]) for item in document["attached"]][2] == (
        f"{cli.namespace}/virt-launcher-firewall-x7k2p",
        "firewall",
    )
    assert document["why"] == []


@pytest.mark.usefixtures("red")
def test_events_of_both_apis_are_shown(cli: Cli, api: Api) -> None:
    regarding = {"kind": "LAN", "name": "red", "namespace": cli.namespace, "apiVersion": "lan.k8slan.io/v1beta1"}
    api.call(
        "POST",
        f"/apis/events.k8s.io/v1/namespaces/{cli.namespace}/events",
        {
            "metadata": {"name": "red.1"},
            "eventTime": "2026-11-24T11:00:00.000000Z",
            "reportingController": "k8slan.io/k8slan-controller",
            "reportingInstance": "x",
            "action": "Check",
            "reason": "NodesDegraded",
            "regarding": regarding,
            "note": "worker2: eth1 is down",
            "type": "Warning",
        },
    )
    [line] = [line for line in cli("lan", "inspect", "red").stdout.splitlines() if "NodesDegraded" in line]
    assert line.split()[1:] == ["Warning", "NodesDegraded", "k8slan-controller", "worker2:", "eth1", "is", "down"]


@pytest.mark.usefixtures("red")
def test_graph(cli: Cli) -> None:
    drawn = cli("lan", "graph", "red").stdout
    assert f"LAN {cli.namespace}/red: VNI 10000, unicast" in drawn
    assert all(word in drawn for word in ("worker1", "router-a", "─ e1 ─", "╔ firewall", "eth1 192.0.2.2"))
    assert "subgraph" in cli("lan", "graph", "red", "-o", "mermaid").stdout
    assert cli("lan", "graph", "-A", "-o", "svg").stdout.startswith("<svg ")
    page = cli("lan", "graph", "-o", "html").stdout
    assert page.startswith("<!doctype html>")
    assert "virt-launcher" not in page
    assert "<td>firewall (VM)</td>" in page
    devices = json.loads(cli("lan", "graph", "red", "-o", "json").stdout)
    assert {"router-a", "firewall"} <= {device["name"] for device in devices["devices"]}
    assert [lan["name"] for lan in devices["lans"]] == ["red"]
    assert "router-a" in cli("lan", "graph", "red", "--by", "device").stdout
    assert cli("lan", "graph", "-A", "-o", "dot").stdout.startswith("graph lans {")
    assert "is not a label selector" in cli("lan", "graph", "-l", "a=b=c", status=2).stderr
    assert (
        cli("lan", "graph", "-l", "nosuch=1").stderr
        == f"No LANs match selector 'nosuch=1' in namespace {cli.namespace}.\n"
    )


@pytest.mark.parametrize("columns", [80, 160, 40])
@pytest.mark.usefixtures("red")
def test_nothing_is_wider_than_the_terminal(columns: int, cli: Cli) -> None:
    for words in (["list", "-A"], ["inspect", "red"], ["graph", "red"]):
        text = _on_terminal(cli, columns, "lan", *words)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        assert max(map(len, plain.splitlines())) <= columns, plain
        assert ("\x1b[32m" in text) == (words[0] != "graph")
    assert "\x1b" not in _on_terminal(cli, columns, "lan", "inspect", "red", env={"NO_COLOR": "1"})


def _on_terminal(cli: Cli, columns: int, *words: str, env: dict[str, str] | None = None) -> str:
    """What a command prints into a terminal of so many columns."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
        environment |= {"KUBECONFIG": str(cli.kubeconfig), "TERM": "xterm", **(env or {})}
        process = subprocess.Popen([*K8SLAN, *words], env=environment, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        slave = -1
        found = b""
        while chunk := _read(master):
            found += chunk
        assert process.wait(DEADLINE) == 0, found
        return found.decode().replace("\r\n", "\n")
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # EIO: the other end is closed
        return b""


# ---------------------------------------------------------------- spokes


@pytest.mark.usefixtures("red")
def test_spokes_come_and_go(cli: Cli) -> None:
    assert cli("lan", "add-spoke", "red", "e3", "e4").stdout == f"LAN {cli.namespace}/red: spokes e3, e4 added\n"
    assert cli("lan", "remove-spoke", "red", "e3").stdout == f"LAN {cli.namespace}/red: spoke e3 removed\n"
    assert cli.lan("red")["spec"]["spokes"] == ["e1", "e2", "vm1", "e4"]
    assert "has these spokes already" in cli("lan", "add-spoke", "red", "e4").stdout


@pytest.mark.usefixtures("red")
def test_a_spoke_in_use_stays(cli: Cli) -> None:
    done = cli("lan", "remove-spoke", "red", "e1", "vm1", status=5)
    holders = f"spoke e1 is held by pod {cli.namespace}/router-a, spoke vm1 is held by VM {cli.namespace}/firewall"
    assert done.stderr == f"k8slan: in LAN {cli.namespace}/red {holders}\n  delete what holds it first\n"
    assert cli.lan("red")["spec"]["spokes"] == ["e1", "e2", "vm1"]


@pytest.mark.usefixtures("red")
def test_spokes_that_cannot_be(cli: Cli) -> None:
    cli("lan", "create", "blue", "--spoke", "b1")
    assert "spec.spokes[3]: b1 is in use by LAN" in cli("lan", "add-spoke", "red", "b1", status=1).stderr
    assert "did you mean vm1?" in cli("lan", "remove-spoke", "red", "vm2", status=6).stderr
    assert "spec.spokes[3]: 'E' is not a DNS label" in cli("lan", "add-spoke", "red", "E", status=1).stderr
    assert "needs at least one spoke" in cli("lan", "remove-spoke", "blue", "b1", status=1).stderr
    assert cli("lan", "remove-spoke", "blue", "b1", "--dry-run", status=1)


def test_many_at_once_lose_nothing(cli: Cli) -> None:
    cli("lan", "create", "red", "--spoke", "e0")
    processes = [cli.start("lan", "add-spoke", "red", f"e{n}") for n in range(1, 4)]
    for process in processes:
        _, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, err
    assert sorted(cli.lan("red")["spec"]["spokes"]) == ["e0", "e1", "e2", "e3"]


def _editor(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.usefixtures("red")
def test_spokes_are_edited(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", _editor(tmp_path / "ed", f'cp "$1" {tmp_path}/seen; echo e9 >>"$1"'))
    cli("lan", "edit-spokes", "red")
    assert cli.lan("red")["spec"]["spokes"] == ["e1", "e2", "vm1", "e9"]
    assert f"e1  # held by pod {cli.namespace}/router-a\n" in (tmp_path / "seen").read_text()
    monkeypatch.setenv("VISUAL", _editor(tmp_path / "ed", 'sed -i /e1/d "$1"'))
    cli("lan", "edit-spokes", "red", status=5)
    monkeypatch.setenv("VISUAL", "/no/such/editor")
    assert "cannot be used" in cli("lan", "edit-spokes", "red", status=1).stderr


@pytest.mark.usefixtures("red")
def test_an_edit_does_not_undo_anothers(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = shlex.join([*K8SLAN, "lan", "add-spoke", "red", "e7", "--kubeconfig", str(cli.kubeconfig)])
    monkeypatch.setenv("VISUAL", _editor(tmp_path / "ed", f'{other} >&2; echo e8 >>"$1"'))
    assert "somebody else has changed the spokes" in cli("lan", "edit-spokes", "red", status=1).stderr
    assert cli.lan("red")["spec"]["spokes"] == ["e1", "e2", "vm1", "e7"]


# ---------------------------------------------------------------- example


def test_examples_are_accepted(cli: Cli, api: Api) -> None:
    cli("lan", "create", "red", "--spoke", "e1", "--dynamic")
    for words, kind in ((["pod", "red/e1", "--interface", "eth1"], "pods"), (["deployment", "red"], "deployments")):
        document = yaml.safe_load(cli("lan", "example", *words).stdout)
        root = "/api/v1" if kind == "pods" else "/apis/apps/v1"
        made = api.call("POST", f"{root}/namespaces/{cli.namespace}/{kind}?fieldValidation=Strict&dryRun=All", document)
        assert made["metadata"]["name"].startswith("red")
    cli("lan", "add-spoke", "red", "web-0", "web-1", "web-3")
    document = yaml.safe_load(cli("lan", "example", "statefulset", "red/web").stdout)
    path = f"/apis/apps/v1/namespaces/{cli.namespace}/statefulsets?fieldValidation=Strict&dryRun=All"
    made = api.call("POST", path, document)
    assert (made["metadata"]["name"], made["spec"]["replicas"]) == ("web", 2)
    annotations = made["spec"]["template"]["metadata"]["annotations"]
    assert annotations["k8s.v1.cni.cncf.io/networks"] == "k8slan-set-web"
    machine = yaml.safe_load(cli("lan", "example", "vm", "red/e1").stdout)
    assert machine["spec"]["template"]["spec"]["networks"][1]["multus"] == {"networkName": "k8slan-mac-e1"}


def test_examples_of_what_is_not_there(cli: Cli) -> None:
    cli("lan", "create", "red", "--spoke", "e1")
    cli("lan", "create", "blue")
    assert "has no spoke 'e2'\n  there is e1\n" in cli("lan", "example", "pod", "red/e2", status=6).stderr
    assert "is not dynamic, so it takes a spoke" in cli("lan", "example", "pod", "red", status=6).stderr
    assert "has no spoke 'e-0', as the first pod" in cli("lan", "example", "statefulset", "red/e", status=6).stderr
    assert "a VM needs a spoke" in cli("lan", "example", "vm", "blue", status=2).stderr
    assert "is not an interface name" in cli("lan", "example", "pod", "blue", "--interface", "a/b", status=2).stderr
    cli("lan", "example", "vm", "red/e1", "--interface", "eth1", status=2)
    cli("lan", "example", "cake", "red/e1", status=2)
    for words, why in {
        ("pod", "red/e1", "--ip", "192.0.2.1"): "'192.0.2.1' lacks the length of its network: 192.0.2.1/24",
        ("pod", "red/e1", "--ip", "192.0.2.256/24"): "'192.0.2.256/24' is not an address",
        ("vm", "red/e1", "--ip", "192.0.2.1/24"): "a VM's guest takes its addresses itself",
        ("deployment", "blue", "--ip", "192.0.2.1/24"): "several pods here, which cannot share an address",
    }.items():
        assert why in cli("lan", "example", *words, status=2).stderr


# ---------------------------------------------------------------- delete


def test_delete_what_nobody_holds(cli: Cli) -> None:
    cli("lan", "create", "red")
    cli("lan", "create", "blue")
    done = cli("lan", "delete", "red", "blue")
    assert done.stdout.splitlines() == [f"LAN {cli.namespace}/{name} is deleted" for name in ("red", "blue")]
    assert cli.lan("red") is None


def _hold(cli: Cli, api: Api) -> str:
    """Put the controller's finalizer on the LAN."""
    path = f"{LANS}/namespaces/{cli.namespace}/lans/red"
    api.patch(path, {"metadata": {"finalizers": ["lan.k8slan.io/protection"]}})
    return path


@pytest.mark.usefixtures("red")
def test_delete_follows_until_it_is_gone(cli: Cli, api: Api) -> None:
    path = _hold(cli, api)
    process = cli.start("lan", "delete", "red", "--timeout", str(DEADLINE))
    assert process.stderr
    first = process.stderr.readline()
    assert "it stays until these have left: " in first
    assert f"pod {cli.namespace}/router-a, pod {cli.namespace}/router-b, VM {cli.namespace}/firewall" in first
    words = f"is to be deleted, and in use by 1 pod: {cli.namespace}/router-a"
    api.patch(f"{path}/status", {"status": scene.status(scene.condition("Ready", False, "Terminating", words))})
    assert process.stderr.readline() == f"  LAN {cli.namespace}/red {words}\n"
    api.patch(path, {"metadata": {"finalizers": None}})
    out, _ = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (0, f"LAN {cli.namespace}/red is deleted\n")


@pytest.mark.usefixtures("red")
def test_who_stops_waiting_for_a_deletion_is_told_that_it_goes_on(cli: Cli, api: Api) -> None:
    path = _hold(cli, api)
    process = cli.start("lan", "delete", "red", "--timeout", str(DEADLINE))
    assert process.stderr
    assert "it stays until these have left: " in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err.splitlines()[0]) == (130, "interrupted; the deletion goes on in the cluster")
    api.patch(path, {"metadata": {"finalizers": None}})


@pytest.mark.usefixtures("red")
def test_delete_names_who_holds_it(cli: Cli, api: Api) -> None:
    path = _hold(cli, api)
    done = cli("lan", "delete", "red", "--timeout", "0.5", status=5)
    assert f"held by pod {cli.namespace}/router-a, " in done.stderr
    assert "being deleted, and stays until these are gone" in cli("lan", "inspect", "red").stdout
    assert "Deleting" in cli("lan", "list").stdout
    assert "is being deleted" in cli("lan", "add-spoke", "red", "e9", status=5).stderr
    assert "is still being deleted" in cli("lan", "create", "red", status=5).stderr
    cli("lan", "delete", "red", "--force", "--no-wait")
    assert api.get(path)["metadata"]["annotations"] == {"lan.k8slan.io/force-delete": "true"}


def test_delete_without_a_controller(cli: Cli, api: Api) -> None:
    cli("lan", "create", "red")
    _hold(cli, api)
    done = cli("lan", "delete", "red", "--timeout", "0.5", status=4)
    assert "waiting for its finalizers: lan.k8slan.io/protection" in done.stderr


@pytest.mark.usefixtures("red")
def test_delete_may_only_be_looked_at(cli: Cli) -> None:
    assert "would be deleted; it stays until" in cli("lan", "delete", "red", "--dry-run").stdout
    assert "deletionTimestamp" not in cli.lan("red")["metadata"]


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.usefixtures("red")
def test_names_that_are_not_there(cli: Cli) -> None:
    near = cli("lan", "inspect", "rad", status=6).stderr
    assert near == f"k8slan: there is no LAN 'rad' in namespace {cli.namespace}\n  did you mean red?\n"
    elsewhere = cli("lan", "inspect", "red", "-n", "default", status=6).stderr
    assert f"there is one in namespace {cli.namespace}: give -n {cli.namespace}" in elsewhere
    assert "is not a DNS label" in cli("lan", "delete", "../nodes", status=2).stderr
    assert "the namespace 'a/b' is not a DNS label" in cli("lan", "list", "-n", "a/b", status=2).stderr
    assert "did you mean kube-public?" in cli("lan", "create", "x", "-n", "kube-pubic", status=6).stderr


def test_no_cluster(cli: Cli, tmp_path: Path) -> None:
    cli.at("https://127.0.0.1:1")
    done = cli("lan", "list", status=3)
    assert done.stderr.startswith("k8slan: no answer from the API server at https://127.0.0.1:1: Connection refused\n")
    assert "there is no kubeconfig at /none" in cli("lan", "list", "--kubeconfig", "/none", status=3).stderr
    assert "has no context 'x'\n  it has test\n" in cli("lan", "list", "--context", "x", status=3).stderr
    (tmp_path / "empty").write_text("")
    assert "no usable kubeconfig" in cli("lan", "list", "--kubeconfig", str(tmp_path / "empty"), status=3).stderr


def test_no_credentials(cli: Cli) -> None:
    found = json.loads(cli.kubeconfig.read_text())
    found["users"][0]["user"] = {"token": "of yesterday"}
    cli.kubeconfig.write_text(json.dumps(found))
    done = cli("lan", "list", status=3)
    words = "the cluster does not know this user\n  the credentials are wrong or have expired"
    assert done.stderr == f"k8slan: {words}\n"


def _grant(api: Api, user: str, namespace: str, resources: str, verbs: str) -> None:
    """Let a user do something in a namespace."""
    group = "" if resources == "pods" else "lan.k8slan.io"
    name = f"{user}-{resources}"
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": [group], "resources": [resources], "verbs": verbs.split()}
    api.call("POST", f"{path}/roles", {"metadata": {"name": name}, "rules": [rule]})
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
    api.call("POST", f"{path}/rolebindings", {"metadata": {"name": name}, "subjects": [subject], "roleRef": role})


@pytest.mark.usefixtures("red")
def test_a_user_without_rights(cli: Cli, api: Api) -> None:
    cli.as_user("bob")
    done = cli("lan", "list", status=3)
    assert done.stderr.splitlines()[0] == f"k8slan: user bob cannot list lans in namespace {cli.namespace}"
    assert "cannot list lans at the cluster scope" in cli("lan", "list", "-A", status=3).stderr
    _grant(api, "bob", cli.namespace, "lans", "get list watch create patch")
    until(lambda: "red" in _quiet(cli, "lan", "list"), "bob may list")
    shown = cli("lan", "inspect", "red").stdout
    assert "Note: pods of namespace" in shown
    assert "Note: VTEPs cannot be seen: user bob cannot list vteps" in shown
    assert "Note: events cannot be seen: user bob cannot list events" in shown
    _grant(api, "bob", cli.namespace, "pods", "list")
    until(lambda: "router-a" in _quiet(cli, "lan", "inspect", "red"), "bob may list pods")
    shown = cli("lan", "inspect", "red").stdout
    assert "Note: pods of other namespaces cannot be seen" in shown
    role = "; the role k8slan-operator shows them"
    assert f"peers cannot be seen: user bob cannot list pods in namespace k8slan-system{role}" in shown
    assert "user bob cannot delete lans" in cli("lan", "delete", "red", status=3).stderr
    made = cli("lan", "create", "blue", "--spoke", "b1")
    assert "warning: LANs of other namespaces cannot be seen" in made.stderr
    assert cli.lan("blue")["spec"]["spokes"] == ["b1"]
    assert "is held by pod" in cli("lan", "remove-spoke", "red", "e1", status=5).stderr


def _quiet(cli: Cli, *words: str) -> str:
    """What a command prints if it may do what it does."""
    process = cli.start(*words)
    return process.communicate(timeout=DEADLINE)[0]


def test_a_cluster_without_k8slan(cli: Cli, api: Api) -> None:
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/lans.lan.k8slan.io"
    api.call("DELETE", crd)
    try:
        until(lambda: api.get(crd) is None, "the CRD is gone")
        for words in (["list"], ["inspect", "red"], ["create", "red"], ["delete", "red"], ["graph"]):
            done = cli("lan", *words, status=3)
            assert done.stderr == (
                "k8slan: this cluster does not know LANs: k8slan is not installed in it\n"
                "  install it with: k8slan install\n"
            )
    finally:
        until(lambda: api.get(crd) is None, "the CRD is gone")
        api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", lan_crd())
        until(lambda: api.get(f"{LANS}/lans"), "LANs are served")


def test_debug_shows_where_it_comes_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/none")
    monkeypatch.setattr(sys, "argv", ["k8slan", "lan", "list", "--debug"])
    with pytest.raises(Exception, match="there is no kubeconfig at /none"):
        entry.main()
    assert cli.namespace


# ---------------------------------------------------------------- shells


def _completed(cli: Cli, line: str) -> list[str]:
    words = line.split(" ")
    environment = {"_K8SLAN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    out, err = cli.start(env=environment).communicate(timeout=DEADLINE)
    assert err == ""
    return out.split()


@pytest.mark.usefixtures("red")
def test_completion_offers_what_is_there(cli: Cli, api: Api) -> None:
    cli("lan", "create", "blue", "--dynamic")
    assert _completed(cli, "k8slan lan inspect ") == ["blue", "red"]
    assert _completed(cli, "k8slan lan delete r") == ["red"]
    assert _completed(cli, "k8slan lan remove-spoke red ") == ["e1", "e2", "vm1"]
    assert _completed(cli, "k8slan lan example pod ") == ["blue", "red/e1", "red/e2", "red/vm1"]
    assert cli.namespace in _completed(cli, "k8slan lan list -n ")
    assert _completed(cli, "k8slan lan inspect -n default ") == []
    assert _completed(cli, "k8slan lan list --context ") == ["test"]
    if api.get("/api/v1/nodes/worker1") is None:
        api.call("POST", "/api/v1/nodes", {"metadata": {"name": "worker1"}})
    assert _completed(cli, "k8slan lan create x --node-underlay ") == ["worker1="]


def test_completion_is_silent_about_errors(cli: Cli) -> None:
    cli.at("https://127.0.0.1:1")
    assert _completed(cli, "k8slan lan inspect ") == []


@pytest.mark.usefixtures("red")
def test_it_is_a_plugin_of_kubectl(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    for name in ("kubectl-k8slan", "kubectl_complete-k8slan"):
        module, _, function = scripts[name].partition(":")
        start = (
            f"import sys; sys.argv[0] = {str(folder / name)!r}; from {module} import {function} as run; sys.exit(run())"
        )
        _editor(folder / name, f'exec {sys.executable} -c "{start}" "$@"')
    kubectl = build.everything().kubernetes / "kubectl"

    def run(*words: str) -> str:
        environment = os.environ | {"KUBECONFIG": str(cli.kubeconfig), "PATH": f"{folder}:{os.environ['PATH']}"}
        done = subprocess.run([kubectl, *words], env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    assert run("k8slan", "lan", "list", "-o", "name") == "lan.lan.k8slan.io/red\n"
    assert run("k8slan", "lan", "list", "--help").startswith("Usage: kubectl k8slan lan list")
    assert run("__complete", "k8slan", "lan", "inspect", "").splitlines()[0].split("\t") == ["red", "VNI 10000"]
    assert run("__complete", "k8slan", "lan", "insp").splitlines()[0].split("\t")[0] == "inspect"


# ---------------------------------------------------------------- how long it takes


def _costs(*commands: tuple[str, ...], env: dict[str, str]) -> list[float]:
    """The least processor time of several runs of each command, in turn, in seconds."""
    least = [60.0] * len(commands)
    for _ in range(7):
        for place, command in enumerate(commands):
            process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0
            least[place] = min(least[place], used.ru_utime + used.ru_stime)
    return least


def test_it_is_quick(cli: Cli) -> None:
    """In times of what a bare Python takes; the figures themselves are a benchmark's (tests/bench/workstation.py)."""
    cli("lan", "create", "red")
    environment = os.environ | {"KUBECONFIG": str(cli.kubeconfig)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # pip compiles what it installs
    commands = ((sys.executable, "-c", ""), (*K8SLAN, "--help"), (*K8SLAN, "lan", "list"))
    bare, start, listing = _costs(*commands, env=environment)
    assert start < 10 * bare
    assert listing < 35 * bare
