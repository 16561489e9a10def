"""Commands as a shell calls them, against a cluster that a test furnishes."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slan_cli.cli.lan import text
from k8slan_cli.diagnose import cluster as diagnose
from k8slan_cli.diagnose.protocol import WARN
from k8slan_cli.kube import apply, kinds
from tests.support import scene
from tests.unit.cli.cluster import LANS, VTEPS, Workstation
from tests.unit.render.command import call

# ---------------------------------------------------------------- links


def test_a_pulled_link_is_seen_by_every_command(k8slan: Workstation) -> None:
    assert "LINKS" not in k8slan("lan", "list").stdout
    k8slan.pull("e1", "nonsense")
    assert "  2 down\n" in k8slan("lan", "list").stdout
    shown = k8slan("lan", "inspect", "red").stdout
    assert (
        "  - The link of pod lab/router-a on node worker1 (net1) was pulled out; k8slan lan link router-a:net1 up"
        in shown
    )
    assert "names 'nonsense', which is no spoke of the LAN" in shown
    assert "╳ e1 ╳" in k8slan("lan", "graph").stdout
    _, _, checks = diagnose.lans(apply.connect(str(k8slan.kubeconfig)), "lab")
    said = [check.words for check in checks if check.state == WARN]
    assert any(words.startswith("LAN lab/red: The link of pod lab/router-a on node worker1 (net1)") for words in said)


def test_a_time_goes_by_the_clock_of_the_api_server(k8slan: Workstation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_arguments: "Wed, 31 Jan 2035 12:00:00 GMT")
    k8slan("lan", "link", "e1", "down", "--for", "30s")
    assert k8slan.api.objects[f"{LANS}/red"]["spec"]["links"]["e1"]["until"] == "2035-01-31T12:00:31Z"


def test_a_link_is_not_pulled_in_one_direction(k8slan: Workstation) -> None:
    refused = k8slan("lan", "link", "e1", "down", "--to-pod", status=2)
    assert "up or down both ways" in refused.stderr


def test_a_pod_that_asks_for_what_no_lan_offers_is_told(k8slan: Workstation) -> None:
    k8slan.put(
        scene.pod("typo", "k8slan-veth-e22"),
        scene.pod("open", "k8slan-lan-red"),
        scene.pod("web-0", "k8slan-set-web"),
        scene.pod("other", "bridge-conf"),
        scene.pod("done", "k8slan-veth-e22", phase="Succeeded"),
    )
    _, _, checks = diagnose.lans(apply.connect(str(k8slan.kubeconfig)), "lab")
    told = {check.words.split()[1]: (check.words, check.advice) for check in checks if "no LAN offers" in check.words}
    assert set(told) == {"lab/typo", "lab/open", "lab/web-0"}
    assert told["lab/typo"][0] == "pod lab/typo asks for network lab/k8slan-veth-e22, which no LAN offers"
    assert "did you mean k8slan-veth-e2" in told["lab/typo"][1]


def test_a_chain_with_a_plugin_that_cannot_work_is_told(k8slan: Workstation) -> None:
    def nad(name: str, config: object) -> Any:
        text = config if isinstance(config, str) else json.dumps(config)
        return {"metadata": {"name": name, "namespace": "lab"}, "spec": {"config": text}}

    def chain(*types: object) -> Any:
        return {"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": each} for each in types]}

    nads = [
        nad("slow", chain("k8slanveth", "tuning", "bandwidth")),
        nad("vm", chain("k8slanmacvtap", "bandwidth")),
        nad("other", chain("bridge", "bandwidth")),
        nad("fine", chain("k8slanveth", "tuning")),
        nad("alone", {"type": "k8slanveth", "plugins": None}),
        *(nad("odd", text) for text in ("{", "[]", '{"plugins": [7, {"type": []}, {}]}', '{"plugins": {}}')),
        {"metadata": {"name": "bare", "namespace": "lab"}},
    ]
    cluster = apply.connect(str(k8slan.kubeconfig))
    assert list(diagnose.chains(cluster, "lab")) == [], "there is no multus"
    k8slan.api.refuse[kinds.NADS.path()] = (403, "no")
    k8slan.api.objects[kinds.NADS.path("lab")] = {"items": nads}
    (check,) = diagnose.chains(cluster, "lab")
    assert (check.state, check.words.endswith("NetworkAttachmentDefinition lab/slow, lab/vm")) == (WARN, True)
    assert '"capabilities": {"bandwidth": true}' in check.advice
    k8slan.api.objects[kinds.NADS.path("lab")] = {"items": nads[2:]}
    assert list(diagnose.chains(cluster, "lab")) == []


def blinded(k8slan: Workstation) -> None:
    """Take the right to see who is attached away."""
    k8slan.api.refuse |= dict.fromkeys((VTEPS, "/api/v1/pods", "/api/v1/namespaces/lab/pods"), (403, "no"))


def test_what_may_not_be_seen_is_not_said_to_be_nothing(k8slan: Workstation) -> None:
    blinded(k8slan)
    shown = k8slan("lan", "inspect", "red").stdout
    assert "Attached\n  cannot be seen\n" in shown
    assert "Spokes     e1, e2, vm1\n" in shown
    assert " taken)" not in shown
    assert "no attachments" not in shown
    assert "cannot be seen: VTEPs cannot be seen: no" in k8slan("lan", "link", "router-a", "down", status=3).stderr


# ---------------------------------------------------------------- list


def test_a_selector_that_matches_nothing_and_one_that_is_none(k8slan: Workstation) -> None:
    k8slan.api.objects.clear()
    for command in ("list", "graph", "delete"):
        assert k8slan("lan", command, "-l", "a=b").stderr == "No LANs match selector 'a=b' in namespace lab.\n"
    k8slan.api.refuse[LANS] = (400, "unable to parse requirement: found ',', expected: identifier")
    assert k8slan("lan", "list", "-l", ",", status=2).stderr == (
        "k8slan: ',' is not a label selector\n  such as app=web,tier!=test\n"
    )


@pytest.mark.parametrize(
    ("spec", "cell"), [({"dynamic": True}, "dynamic"), ({"dynamic": True, "spokes": ["a"]}, "1+dynamic"), ({}, "0")]
)
def test_a_dynamic_lan_is_seen_as_one(spec: dict[str, Any], cell: str, k8slan: Workstation) -> None:
    k8slan.put(scene.lan("blue", vni=7, **spec))
    (row,) = [line for line in k8slan("lan", "list").stdout.splitlines() if line.startswith("blue")]
    assert row.split()[2] == cell


def test_rows_alone_and_only_some(k8slan: Workstation) -> None:
    k8slan.put(scene.lan("blue", vni=7, dynamic=True), scene.lan("green", vni=8, dynamic=True))
    done = k8slan("lan", "list", "green", "lab/red", "green", "--no-headers")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["green", "red"]


# ---------------------------------------------------------------- as kubectl has it


@pytest.mark.parametrize("name", ["red", "lab/red", "lan/red", "lans/lab/red", "lan.lan.k8slan.io/red"])
def test_a_lan_has_the_names_that_are_printed(name: str, k8slan: Workstation) -> None:
    for words in (["inspect"], ["describe"], ["get"], ["ls"], ["list"], ["graph"]):
        assert "red" in k8slan("lan", *words, name).stdout
    assert "would be deleted" in k8slan("lan", "delete", name, "--dry-run").stdout
    assert "has these spokes already" in k8slan("lan", "add-spoke", name, "e1").stdout
    assert "warning: LAN lab/red is there" in k8slan("lan", "create", name, *RED).stderr
    assert "k8slan-veth-e1" in k8slan("lan", "example", "pod", f"{name}/e1").stdout
    assert "on LAN lab/red would be down" in k8slan("lan", "link", f"{name}/e1", "down", "--dry-run").stdout
    assert "mtu none → 1400" in k8slan("lan", "set", name, "--mtu", "1400", "--dry-run").stdout
    assert "type vxlan id 10000" in k8slan("lan", "join-command", name, "--address", "192.0.2.9").stdout
    k8slan.put(scene.lan("dyn", vni=7, dynamic=True))
    assert "k8slan-lan-dyn" in k8slan("lan", "example", "pod", name.replace("red", "dyn")).stdout
    assert "node worker1 is not seen" in k8slan("lan", "top", name, status=3).stdout
    for command in ("macs", "probe"):
        assert "there is no agent of k8slan" in k8slan("lan", command, name, status=3).stderr


RED = ("--vni", "10000", "--spoke", "e1,e2,vm1", "--underlay", "eth1")


def test_a_spoke_is_named_with_its_lan_and_a_pod_with_its_namespace(k8slan: Workstation) -> None:
    k8slan.put(scene.lan("pair", "far", vni=7, spokes=["a", "b"]), scene.pod("e1", "k8slan-veth-e2"))
    where = ["--kubeconfig", str(k8slan.kubeconfig)]
    assert call("lan", "link", "far/pair/a", *where).stdout.startswith("spoke a on LAN far/pair is up")
    assert call("lan", "link", "far/a", *where).stdout.startswith("spoke a on LAN far/pair is up")
    assert k8slan("lan", "link", "lab/router-a").stdout.startswith("net1 of pod lab/router-a on LAN lab/red is up")
    assert "LAN far/pair has no spoke 'c'" in call("lan", "link", "far/pair/c", *where, status=6).stderr
    assert "there is no LAN 'pear' in namespace far" in call("lan", "link", "far/pear/a", *where, status=6).stderr
    assert "but -n says lab" in k8slan("lan", "link", "far/pair/a", status=2).stderr


def test_an_example_of_a_lan_that_is_not_there(k8slan: Workstation) -> None:
    k8slan.put(scene.lan("lan", vni=8, dynamic=True, spokes=["e9"]))
    assert "k8slan-veth-e9" in k8slan("lan", "example", "pod", "lan/e9").stdout
    for where in ("rad/e1", "far/dyn"):
        name = where.partition("/")[0]
        assert f"there is no LAN {name!r} in namespace lab" in k8slan("lan", "example", "pod", where, status=6).stderr


def test_a_new_lan_is_named_with_its_namespace_too(k8slan: Workstation) -> None:
    where = ["--kubeconfig", str(k8slan.kubeconfig)]
    done = call("lan", "create", "far/blue", "--dry-run=client", *where)
    assert yaml.safe_load(done.stdout)["metadata"] == {"name": "blue", "namespace": "far"}


def test_a_lan_of_another_namespace_needs_no_option_and_none_that_says_another(k8slan: Workstation) -> None:
    k8slan.put(scene.lan("blue", "far", vni=7, dynamic=True))
    where = ["--kubeconfig", str(k8slan.kubeconfig)]
    assert call("lan", "inspect", "far/blue", *where).stdout.startswith("LAN far/blue")
    done = k8slan("lan", "inspect", "far/blue", status=2)
    assert done.stderr == "k8slan: far/blue is in namespace far, but -n says lab\n"


def test_several_are_inspected_one_after_the_other(k8slan: Workstation) -> None:
    k8slan.put(scene.lan("blue", vni=7, dynamic=True))
    done = k8slan("lan", "inspect", "blue", "red", "blue")
    assert [line for line in done.stdout.splitlines() if line.startswith("LAN ")] == [
        "LAN lab/blue  unknown",
        "LAN lab/red  Ready",
    ]
    found = json.loads(k8slan("lan", "inspect", "blue", "red", "-o", "json").stdout)
    assert [item["lan"]["metadata"]["name"] for item in found["items"]] == ["blue", "red"]


def test_lans_are_deleted_by_label_by_file_or_all(k8slan: Workstation, tmp_path: Path) -> None:
    def left() -> set[str]:
        return {path.rpartition("/")[2] for path in k8slan.api.objects if path.startswith(LANS)}

    k8slan.put(*(scene.lan(name, vni=vni, dynamic=True) for vni, name in enumerate(("a", "b", "c"), 1)))
    (tmp_path / "b.yaml").write_text(json.dumps(scene.lan("b", vni=2, dynamic=True)))
    k8slan("lan", "delete", "-f", str(tmp_path / "b.yaml"), "--no-wait")
    assert left() == {"a", "c", "red"}
    assert "there is no LAN 'b'" in k8slan("lan", "delete", "b", "a", status=6).stderr
    k8slan("lan", "delete", "b", "a", "--ignore-not-found", "--no-wait")
    assert left() == {"c", "red"}
    k8slan("lan", "delete", "--all", "--no-wait")
    assert left() == set()
    assert k8slan("lan", "delete", "--all").stderr == "There is no LAN in namespace lab.\n"


# ---------------------------------------------------------------- terminals


@pytest.mark.parametrize("columns", [40, 60, 90])
def test_what_a_terminal_is_too_narrow_for_is_told(
    columns: int, k8slan: Workstation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "width", lambda: columns)
    for words in (["list"], ["inspect", "red"]):
        done = k8slan("lan", *words)
        lines = (done.stdout + done.stderr).splitlines()
        assert max(map(len, lines)) <= columns
        assert any(line.startswith("Too narrow for") for line in lines) == (columns < 60 or words != ["list"])
        wide = k8slan("lan", *words, "-o", "wide")
        assert "Too narrow" not in wide.stdout + wide.stderr


# ---------------------------------------------------------------- examples


def test_an_example_names_its_lan_as_all_commands_do_and_no_interface_that_a_pod_has(k8slan: Workstation) -> None:
    k8slan.put(scene.lan("blue", vni=7, dynamic=True))
    for where in ("red/e1", "lab/red/e1", "blue", "lab/blue/"):
        assert "kind: Pod" in k8slan("lan", "example", "pod", where).stdout
    for taken in ("eth0", "lo"):
        done = k8slan("lan", "example", "pod", "red/e1", "--interface", taken, status=2)
        assert done.stderr == f"k8slan: --interface: a pod has {taken} already\n  take another, such as net1\n"


# ---------------------------------------------------------------- dry runs


@pytest.mark.parametrize(
    ("words", "said", "tries"),
    [
        (["set", "red", "--mtu", "1400"], "LAN lab/red: mtu none → 1400 (@)\n", ["PATCH"]),
        (["add-spoke", "red", "q"], "LAN lab/red: spoke q would be added (@)\n", ["PATCH"]),
        (["remove-spoke", "blue", "b"], "LAN lab/blue: spoke b would be removed (@)\n", ["PATCH"]),
        (["link", "e1", "down"], "net1 of pod lab/router-a on LAN lab/red would be down (@)\n", ["PATCH"]),
        (
            ["link", "e1", "--delay", "5ms"],
            "net1 of pod lab/router-a on LAN lab/red would have delay 5ms and would be up (@)\n",
            ["PATCH"],
        ),
        (["delete", "blue"], "LAN lab/blue would be deleted\n", ["DELETE"]),
        (["delete", "blue", "--force"], "LAN lab/blue would be deleted\n", ["PATCH", "DELETE"]),
    ],
)
def test_a_dry_run_of_the_client_sends_nothing_and_one_of_the_server_nothing_that_is_kept(
    words: list[str], said: str, tries: list[str], k8slan: Workstation
) -> None:
    k8slan.put(scene.lan("blue", vni=7, spokes=["a", "b"]))
    before = json.dumps(k8slan.api.objects)
    assert k8slan("lan", *words, "--dry-run=client").stdout == said.replace("@", "dry run")
    assert k8slan.api.tries == []
    assert k8slan("lan", *words, "--dry-run=server").stdout == said.replace("@", "server dry run")
    assert [each.partition(" ")[0] for each in k8slan.api.tries] == tries
    assert k8slan("lan", *words, "--dry-run").stdout == said.replace("@", "server dry run")
    assert (json.dumps(k8slan.api.objects), k8slan.api.writes) == (before, [])


def test_a_lan_is_checked_without_a_cluster(tmp_path: Path) -> None:
    nowhere = ["-n", "lab", "--kubeconfig", str(tmp_path / "nothing"), "--dry-run=client"]
    done = call("lan", "create", "blue", "--spoke", "a,b", "--underlay", "eth1", *nowhere)
    document = yaml.safe_load(done.stdout)
    assert document["spec"] == {"defaultVxlanDev": "eth1", "spokes": ["a", "b"]}
    assert done.stderr == "nothing was created (dry run)\n"
    assert "spec.vni: " in call("lan", "create", "blue", "--vni", "0", *nowhere, status=1).stderr
    call("lan", "create", "blue", *nowhere[:-1], status=3)


def test_a_lan_is_checked_without_a_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f.yaml").write_text(json.dumps(scene.lan("blue", vni=7, dynamic=True)))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    for words, place in ((["blue"], "default"), (["far/blue"], "far"), (["-f", str(tmp_path / "f.yaml")], "lab")):
        done = call("lan", "create", *words, "--dry-run=client")
        assert yaml.safe_load(done.stdout)["metadata"]["namespace"] == place
    (tmp_path / "none").write_text("a: [")
    assert "is not YAML" in call("lan", "create", "blue", "--dry-run=client", status=3).stderr
    call("lan", "create", "blue", "--dry-run=client", "--kubeconfig", str(tmp_path / "gone"), status=3)


def test_a_lan_that_is_there_already_is_printed_as_well(k8slan: Workstation) -> None:
    for more in ([], ["--dry-run=server"]):
        assert k8slan("lan", "create", "red", *RED, "-o", "name", *more).stdout == "lan.lan.k8slan.io/red\n"
        found = json.loads(k8slan("lan", "create", "red", *RED, "-o", "json", *more).stdout)
        assert (found["kind"], found["metadata"]["name"]) == ("LAN", "red")
        assert "managedFields" not in found["metadata"]


def test_advice_names_the_namespace(k8slan: Workstation) -> None:
    k8slan.put(scene.lan("none", dynamic=True) | {"spec": {"dynamic": True}})
    assert "k8slan lan add-spoke lab/none x" in k8slan("lan", "example", "pod", "none/x", status=6).stderr
    assert "k8slan lan inspect lab/none" in k8slan("lan", "join-command", "none", status=1).stderr
    where = ["--kubeconfig", str(k8slan.kubeconfig)]
    assert call("lan", "list", "-n", "empty", *where).stderr.endswith("k8slan lan create NAME -n empty\n")
    assert call("lan", "list", *where).stderr.endswith("k8slan lan create NAME\n")


# ---------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("link", ["e1", "e2", "vm1", "router-a"]),
        ("remove-spoke red", ["e1", "e2", "vm1"]),
        ("remove-spoke lan/red", ["e1", "e2", "vm1"]),
        ("remove-spoke lab/red", ["e1", "e2", "vm1"]),
        ("remove-spoke far/red", []),
        ("inspect", ["red"]),
        ("probe red --class", ["lacp"]),
        ("macs red -o", ["table", "jsonpath"]),
    ],
)
def test_what_is_offered_at_tab(
    words: str, offered: list[str], k8slan: Workstation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = f"k8slan -n lab --kubeconfig {k8slan.kubeconfig} lan {words} "
    monkeypatch.setenv("_K8SLAN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", asked)
    monkeypatch.setenv("COMP_CWORD", str(len(asked.split())))
    found = call().stdout.split()
    assert set(offered) <= set(found)
    assert bool(offered) == bool(found)
    assert "name" not in found


# ---------------------------------------------------------------- cables


def test_a_cable_is_made_and_unmade(k8slan: Workstation) -> None:
    words = ["lan", "create", "trunk", "--cable", "--dry-run=client"]
    assert yaml.safe_load(k8slan(*words, "--spoke", "a,b").stdout)["spec"] == {"spokes": ["a", "b"], "cable": True}
    assert "spec.cable: a cable has two ends" in k8slan(*words, "--spoke", "a", status=1).stderr
    k8slan.put(scene.lan("trunk", vni=7, spokes=["a", "b"]))
    assert k8slan("lan", "set", "trunk", "--cable").stdout == "LAN lab/trunk: cable none → true\n"
    assert k8slan("lan", "set", "trunk", "--no-cable").stdout == "LAN lab/trunk: cable true → false\n"
    assert "spec.cable: a cable has two ends" in k8slan("lan", "set", "red", "--cable", status=1).stderr


# ---------------------------------------------------------------- set


def test_fields_are_changed_and_taken_out(k8slan: Workstation) -> None:
    def spec() -> dict[str, Any]:
        return dict(k8slan.api.objects[f"{LANS}/red"]["spec"])

    before = spec()
    done = k8slan("lan", "set", "red", "--mtu", "1400", "--dry-run")
    assert done.stdout == "LAN lab/red: mtu none → 1400 (server dry run)\n"
    assert spec() == before
    words = ["--mtu", "1400", "--dynamic", "--underlay", "", "--node-underlay", "w1=eth2", "--allow-namespace", "b"]
    done = k8slan("lan", "set", "lab/red", *words)
    assert "defaultVxlanDev eth1 → none" in done.stdout
    changed = {"mtu": 1400, "dynamic": True, "vxlanDevMap": {"w1": "eth2"}, "allowedNamespaces": ["b"]}
    assert spec() == {key: value for key, value in before.items() if key != "defaultVxlanDev"} | changed
    assert k8slan("lan", "set", "red", "--mtu", "1400").stdout == "LAN lab/red: nothing to change\n"
    k8slan("lan", "set", "red", "--mtu", "0", "--node-underlay", "w1=", "--allow-namespace", "", "--underlay", "eth1")
    assert spec() == before | {"dynamic": True}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "say what to change"),
        (["--mtu", "7"], 1, "LAN lab/red is not valid:\n  spec.mtu: "),
        (["--node-underlay", "w1"], 2, "'w1' is not NODE=DEVICE"),
        (["--port", "8472", "--multicast", "1.2.3.4"], 1, "spec.vxlanGrp: "),
    ],
)
def test_what_cannot_be_set_is_refused(words: list[str], status: int, said: str, k8slan: Workstation) -> None:
    k8slan.put(scene.lan("blue", vni=7, status=scene.status(scene.READY)))
    assert said in k8slan("lan", "set", "red", *words, status=status).stderr


def test_what_was_wanted_of_a_link_goes_with_its_spoke(k8slan: Workstation) -> None:
    links = {"a": {"state": "down"}, "c": {"loss": "1%"}}
    k8slan.put(scene.lan("green", spokes=["a", "b", "c"], vni=7, links=links, vmSpokes=["a", "b"]))
    k8slan("lan", "remove-spoke", "green", "a")
    spec = k8slan.api.objects[f"{LANS}/green"]["spec"]
    assert spec["spokes"] == ["b", "c"]
    assert spec["links"] == {"c": {"loss": "1%"}}
    assert spec["vmSpokes"] == ["b"]


def test_no_vm_is_made_for_a_spoke_that_is_not_for_vms(k8slan: Workstation) -> None:
    k8slan.put(scene.lan("green", spokes=["a", "b"], vni=7, vmSpokes=["b"]))
    done = k8slan("lan", "example", "vm", "green/a", status=2)
    assert "spoke a of LAN lab/green is not for VMs" in done.stderr
    assert "k8slan-mac-b" in k8slan("lan", "example", "vm", "green/b").stdout
