"""What is seen, as a document, and the difference of two."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.diagnose.traffic import Flow, Rate
from k8slan_cli.inventory import lans
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.picture import layout
from k8slan_cli.ui.document import View, document, joined, key, patch, still
from tests.support import scene
from tests.unit.diagnose.test_agents import plugged
from tests.unit.render.api import _merged

RED = scene.lan(
    spokes=["e1", "e2", "vm1"], links={"e1": {"delay": "20ms"}, "vm1": {"state": "down"}}, status=scene.RED["status"]
)


def view(red: Any = RED) -> View:
    found = lans.read(red)
    topology, wanted = joined([found], Users(by_lan={found.ref: scene.on(red, scene.VTEPS, scene.PODS)}))
    return View(topology=topology, wanted=wanted, plan=layout.arrange(still(topology)))


trees = st.recursive(
    st.text(max_size=2) | st.lists(st.integers(), max_size=2), lambda inner: st.dictionaries(st.text(max_size=2), inner)
)
documents = st.dictionaries(st.sampled_from("abc"), trees)


@given(documents, documents)
def test_a_patch_makes_one_document_of_another(before: Any, after: Any) -> None:
    assert _merged(before, patch(before, after)) == after
    assert patch(after, after) == {}


def test_a_patch_is_of_what_has_changed_alone() -> None:
    before, after = document(view()), document(replace(view(), missing={"pods": "no"}))
    assert patch(before, after) == {"missing": {"pods": "no"}}
    assert json.loads(json.dumps(after)) == after


def test_ends_say_how_they_are_and_what_is_wanted_of_them() -> None:
    ends = document(view())["ends"]
    assert set(ends) == {"lab/red lab/router-a net1", "lab/red lab/router-b lan0", "lab/red lab/firewall net1"}
    slow, pulled = ends["lab/red lab/router-a net1"], ends["lab/red lab/firewall net1"]
    assert (slow["link"], slow["wanted"], slow["addresses"]) == ("up", {"delay": "20ms"}, "10.9.0.1/24")
    assert (pulled["link"], pulled["wanted"]) == ("down", {"state": "down"})
    assert "wanted" not in ends["lab/red lab/router-b lan0"]


def test_a_link_that_the_annotation_pulls_out_can_be_put_back() -> None:
    red = json.loads(json.dumps(scene.RED))
    red["metadata"]["annotations"] = {"lan.k8slan.io/links-down": "e2"}
    assert document(view(red))["ends"]["lab/red lab/router-b lan0"]["wanted"] == {"state": "down"}


def test_counters_are_those_of_the_pods_and_vms_that_are_shown() -> None:
    vm = replace(plugged("lab/virt-launcher-firewall-x7k2p"), lan="lab/red", vm="firewall", carrier=True)
    stranger = replace(plugged("lab/somebody"), lan="lab/red")
    rate = Rate(packets=10.2, bytes=125)
    flows = (Flow(item=vm, sent=rate, received=rate), Flow(item=stranger, sent=rate))
    found = document(replace(view(), flows=flows))["flows"]
    assert found == {
        "lab/red lab/firewall net1": {
            "carrier": True, "fault": "", "frames": 20, "sent": 1000, "received": 1000, "errors": 0, "dropped": 0,
        }
    }  # fmt: skip


def test_of_a_vm_that_migrates_the_busier_end_counts() -> None:
    ends = [replace(plugged(f"lab/{pod}"), lan="lab/red", vm="firewall") for pod in ("old", "new")]
    flows = (Flow(item=ends[0], sent=Rate(bytes=100)), Flow(item=ends[1], sent=Rate(bytes=1)))
    assert document(replace(view(), flows=flows))["flows"]["lab/red lab/firewall net1"]["sent"] == 800


def test_nothing_moves_in_the_picture_while_nobody_comes_or_goes() -> None:
    assert still(view().topology) == still(view(scene.RED).topology)
    wires = document(view())["picture"]["wires"]
    assert {end for wire in wires for end in wire["ends"]} == set(document(view())["ends"])
    assert all(len(wire["labels"]) == len(wire["ends"]) for wire in wires)
    assert key("lab/red", "lab/router-a", "net1") in wires[0]["ends"] + wires[1]["ends"] + wires[2]["ends"]
