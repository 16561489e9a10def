"""What ``lan inspect`` and ``lan list`` say, word by word, in wide and narrow terminals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from k8slan_cli.cli.lan import inspect, listing
from k8slan_cli.diagnose.exchange import Reached
from k8slan_cli.diagnose.lan import Event, LanDetails, why
from k8slan_cli.diagnose.protocol import Plugged, Traffic
from k8slan_cli.inventory import lans
from tests.support import scene
from tests.support.scene import NOW, view

EVENTS = (
    Event(
        last="2026-11-24T11:30:00Z",
        warning=True,
        reason="NodesDegraded",
        source="k8slan-controller",
        message="worker2: eth1 is down",
        count=4,
    ),
)


def report(what: LanDetails, limit: int | None) -> str:
    return "\n".join(inspect.report(what, limit=limit, wide=False, now=NOW)) + "\n"


IN_80 = """\
LAN lab/red  Ready
  Ready      yes, for 3h
  VNI        10000, UDP port 4789, unicast to each node that takes part
  Spokes     e1, e2, vm1 (3 of 3 taken)
  Underlay   eth1
  MTU        1446, the largest that the underlay allows
  On a node  network namespace red-8c4b8679, bridge br0, VXLAN device vxlan0
  Age        2d

Nodes
  NODE     STATE  DEVICE  ADDRESS    MTU   PEERS
  worker1  Ready  eth1    192.0.2.1  1446  1 of 1 known
  worker2  Ready  eth1    192.0.2.2  1446  1 of 1 known

Attached
  WHO               NODE     SPOKE  INTERFACE  MAC                STATE
  pod lab/router-a  worker1  e1     net1       02:a1:00:00:00:01  attached
  pod lab/router-b  worker2  e2     lan0       02:a1:00:00:00:02  attached
  VM lab/firewall   worker2  vm1    net1       02:a1:00:00:00:03  attached

Events
  AGE       TYPE     REASON         FROM               MESSAGE
  30m (×4)  Warning  NodesDegraded  k8slan-controller  worker2: eth1 is down

Too narrow for KIND, ADDRESSES, MTU, SINCE: -o wide shows all columns.
"""

IN_160 = IN_80.partition("\nToo narrow")[0].replace(
    """\
  WHO               NODE     SPOKE  INTERFACE  MAC                STATE
  pod lab/router-a  worker1  e1     net1       02:a1:00:00:00:01  attached
  pod lab/router-b  worker2  e2     lan0       02:a1:00:00:00:02  attached
  VM lab/firewall   worker2  vm1    net1       02:a1:00:00:00:03  attached
""",
    """\
  WHO               NODE     SPOKE  KIND     INTERFACE  MAC                ADDRESSES    MTU   SINCE  STATE
  pod lab/router-a  worker1  e1     veth     net1       02:a1:00:00:00:01  10.9.0.1/24  1446  90m    attached
  pod lab/router-b  worker2  e2     veth     lan0       02:a1:00:00:00:02  -            1446  90m    attached
  VM lab/firewall   worker2  vm1    macvtap  net1       02:a1:00:00:00:03  -            1446  90m    attached
""",
)

IN_46 = """\
LAN lab/red  Ready
  Ready      yes, for 3h
  VNI        10000, UDP port 4789, unicast to
             each node that takes part
  Spokes     e1, e2, vm1 (3 of 3 taken)
  Underlay   eth1
  MTU        1446, the largest that the
             underlay allows
  On a node  network namespace red-8c4b8679,
             bridge br0, VXLAN device vxlan0
  Age        2d

Nodes
  NODE     STATE  DEVICE  ADDRESS    MTU
  worker1  Ready  eth1    192.0.2.1  1446
  worker2  Ready  eth1    192.0.2.2  1446

Attached
  WHO               SPOKE  INTERFACE  STATE
  pod lab/router-a  e1     net1       attached
  pod lab/router-b  e2     lan0       attached
  VM lab/firewall   vm1    net1       attached

Events
  AGE       REASON         MESSAGE
  30m (×4)  NodesDegraded  worker2: eth1 is
                           down

Too narrow for PEERS, NODE, KIND, MAC,
ADDRESSES, MTU, SINCE, TYPE, FROM: -o wide
shows all columns.
"""


@pytest.mark.parametrize(("limit", "wanted"), [(80, IN_80), (160, IN_160), (None, IN_160), (46, IN_46)])
def test_a_lan_in_use(limit: int | None, wanted: str) -> None:
    assert report(view(scene.RED, scene.VTEPS, scene.PODS, events=EVENTS), limit) == wanted


NO_DEVICE = "there is no device bond0 here; it may come back when somebody plugs it in again"
DEGRADED = scene.lan(
    spokes=["e1", "e2"],
    dynamic=True,
    vxlanGrp="239.1.1.1",
    mtu=1400,
    vxlanDevMap={"worker2": "bond0"},
    status=scene.status(scene.condition("Ready", False, "NodesDegraded", f"worker2: {NO_DEVICE}")),
)
IN_TROUBLE = [
    scene.vtep("worker1", scene.port("c", "e9"), scene.port("d", "e2", interface="eth1")),
    scene.vtep("worker2", state="Degraded", message=NO_DEVICE, address="", mtu=0, device="bond0"),
    scene.vtep("worker4", scene.port("e", "e2"), version=9, address="192.0.2.4"),
    scene.vtep("worker5", scene.port("f"), lost=True, address="192.0.2.5"),
]

TROUBLE = """\
LAN lab/red  not ready (NodesDegraded)
  Ready      no, for 3h
  VNI        10000, UDP port 4789, multicast to 239.1.1.1
  Spokes     e1, e2 (1 of 2 taken)
  Dynamic    any number of pods may attach, by network k8slan-lan-red
  Underlay   the device of the node's own address, bond0 on worker2
  MTU        1400 wanted
  On a node  network namespace red-8c4b8679, bridge br0, VXLAN device vxlan0
  Age        2d

Why
  - NodesDegraded: worker2: there is no device bond0 here; it may come back when
    somebody plugs it in again
  - Spoke e2 is held by pod lab/d on node worker1 (eth1), so there is no link
    for pod lab/e on node worker4 (net1): delete all but one
  - Spoke e9 was taken out of the LAN, and pod lab/c on node worker1 (net1)
    still uses it: delete the pod when it may go, or put it into the LAN again
  - Node worker5 has not been ready for a minute: its ports hold no spoke and no
    deletion

Nodes
  NODE     STATE     DEVICE  ADDRESS    MTU   MESSAGE
  worker1  Ready     eth1    192.0.2.1  1446
  worker2  Degraded  bond0                    there is no device bond0 here; it
                                              may come back when somebody plugs
                                              it in again
  worker4  Ready     eth1    192.0.2.4  1446
  worker5  Lost      eth1    192.0.2.5  1446

Attached
  WHO        NODE     SPOKE  KIND  INTERFACE  MAC  STATE
  pod lab/f  worker5  -      veth  net1       -    node lost
  pod lab/d  worker1  e2     veth  eth1       -    attached
  pod lab/e  worker4  e2     veth  net1       -    link down, spoke taken
  pod lab/c  worker1  e9     veth  net1       -    removed spoke, still in use

Waiting
  WHO        NODE     SPOKE  KIND  INTERFACE  REASON
  pod lab/b  worker3  -      veth  net1       see kubectl -n lab describe pod b
  pod lab/a  -        e1     veth  net1       it has no node yet

Events
  no recent events

Too narrow for PEERS, ADDRESSES, MTU, SINCE: -o wide shows all columns.

Note: events cannot be seen: user bob may not list events
"""


def test_a_lan_in_trouble() -> None:
    pods = [
        scene.pod("a", "k8slan-veth-e1", node="", phase="Pending"),
        scene.pod("b", "k8slan-lan-red", node="worker3", phase="Pending"),
    ]
    what = view(DEGRADED, IN_TROUBLE, pods, blind=("events cannot be seen: user bob may not list events",))
    assert report(what, 80) == TROUBLE


def test_many_events_are_cut_short() -> None:
    text = report(view(scene.RED, [], events=EVENTS * 12), 80)
    assert "  2 older ones are left out\n" in text
    assert text.count("NodesDegraded") == 10


# ---------------------------------------------------------------- why


def test_an_object_that_breaks_rules_is_shown_all_the_same() -> None:
    broken = scene.lan(spokes=["E1"], vni="seven")
    what = view(broken, [])
    assert why(what)[0].startswith("Its spec is not valid: spec.vni: must be a whole number, not text; spec.spokes[0]:")
    assert "VNI  seven" in report(what, 80)


SHARED = (
    "spoke e1 is held by pod lab/d2 on node worker2 (eth1), so there is no link for pod lab/d1 on node worker1 (eth1)"
)


def test_a_spoke_on_two_nodes_is_said_once() -> None:
    """In the controller's words, or in the same ones where the controller has not said so."""
    words = f"{SHARED}: delete all but one"
    found: Any = {**scene.RED, "status": {**scene.RED["status"]}}
    assert why(view(found, scene.TWICE)) == (f"S{words[1:]}",)
    found["status"]["conditions"] = [scene.condition("Ready", False, "SpokeShared", words)]
    assert why(view(found, scene.TWICE)) == (f"SpokeShared: {words}",)
    assert inspect.as_document(view(found, scene.TWICE))["why"] == [f"SpokeShared: {words}"]
    assert report(view(found, scene.TWICE), 80).startswith("LAN lab/red  not ready (SpokeShared)\n")
    table = listing.table([lans.read(found)], everywhere=False, wide=True, limit=None, now=NOW)
    assert "False  2d   -      SpokeShared" in list(table.lines())[1]


def test_uplinks_are_shown_each_with_its_state() -> None:
    uplinks = [
        {"node": "w1", "device": "eth1"},
        {"node": "w1", "device": "eth2", "vlan": 7},
        {"node": "w2", "device": "e"},
    ]
    lan = scene.lan("red", vni=7, spokes=["a"], uplinks=[*uplinks, {"node": "w3", "device": "e"}])
    lan["status"] = scene.status(scene.READY) | {"uplink": "eth1 of node w1"}
    told = [
        scene.vtep("w1", uplinks=[{"device": "eth1", "carrier": True, "active": True}, {"device": "eth2", "vlan": 7}]),
        scene.vtep("w2", uplinks=[{"device": "e", "carrier": True, "message": "e has the address 192.0.2.1"}]),
    ]
    what = view(lan, told)
    assert (
        "Uplinks    eth1 of node w1 (active), eth2 VLAN 7 of node w1 (no carrier), e of node w2 (blocked), "
        "e of node w3 (not seen by its node)"
    ) in report(what, None)
    assert [node["uplinks"][0]["state"] for node in inspect.as_document(what)["nodes"]] == ["active", "blocked"]
    (row,) = list(listing.table([lans.read(lan)], everywhere=False, wide=True, limit=None, now=NOW).lines())[1:]
    assert row.endswith("eth1 of node w1")


def test_a_link_that_is_down_is_shown() -> None:
    pulled = scene.lan(spokes=["e1", "e2", "vm1"], status=scene.RED["status"])
    pulled["metadata"]["annotations"] = {"lan.k8slan.io/links-down": "e1"}
    what = view(pulled, scene.VTEPS)
    assert [inspect.state(item, what.found.lan, what.on) for item in what.on.attached] == [
        "link down",
        "attached",
        "attached",
    ]


def test_what_the_runtime_lets_through_is_shown() -> None:
    limited = plugged("router-a", bandwidth="rate 10Mbit to pod")
    shown = report(replace(view(scene.RED, scene.VTEPS), plugged=limited), None)
    assert "attached, rate 10Mbit to pod by the runtime\n" in shown


def plugged(pod: str, ifname: str = "net1", **more: Any) -> dict[tuple[str, str], Plugged]:
    """What an agent says of an attachment."""
    common = {"container": "c", "kind": "veth", "port": "p", "mac": "", "mtu": 1446, "node": "worker1"}
    item = Plugged(lan="lab/red", pod=f"lab/{pod}", ifname=ifname, **common | more)
    return {(item.pod, item.ifname): item}


LIVE = (
    plugged(
        "router-a",
        carrier=True,
        sent=Traffic(packets=1, bytes=60),
        received=Traffic(packets=12000, bytes=18_123_456, dropped=7, errors=1),
    )
    | plugged("router-b", "lan0", sent=Traffic(dropped=2))
    | plugged("virt-launcher-firewall-x7k2p", node="worker2", fault="its bridge port vm1p is not there")
)
TRAFFIC_60 = """\
Attached
  WHO               SPOKE  INTERFACE  LINK        STATE
  pod lab/router-a  e1     net1       up          attached
  pod lab/router-b  e2     lan0       no carrier  attached
  VM lab/firewall   vm1    net1       broken      attached

"""
TRAFFIC_120 = """\
Attached
  WHO               NODE     SPOKE  INTERFACE  MAC                LINK        SENT  RECEIVED  DROPPED  ERRORS  STATE
  pod lab/router-a  worker1  e1     net1       02:a1:00:00:00:01  up          60 B  18.1 MB   7        1       attached
  pod lab/router-b  worker2  e2     lan0       02:a1:00:00:00:02  no carrier  0 B   0 B       2        0       attached
  VM lab/firewall   worker2  vm1    net1       02:a1:00:00:00:03  broken      0 B   0 B       0        0       attached

"""
TRAFFIC_40 = """\
Attached
  WHO        SPOKE  LINK        STATE
  pod …er-a  e1     up          attached
  pod …er-b  e2     no carrier  attached
  VM l…wall  vm1    broken      attached

"""
COUNTERS = """\
LINK        SENT  RECEIVED  FRAMES                  DROPPED  ERRORS  STATE
up          60 B  18.1 MB   1 sent, 12000 received  7        1       attached
no carrier  0 B   0 B       0 sent, 0 received      2        0       attached
broken      0 B   0 B       0 sent, 0 received      0        0       attached
"""


@pytest.mark.parametrize(("limit", "wanted"), [(40, TRAFFIC_40), (60, TRAFFIC_60), (120, TRAFFIC_120)])
def test_what_agents_say_is_shown_beside_who_is_attached(limit: int, wanted: str) -> None:
    shown = report(view(scene.RED, scene.VTEPS, scene.PODS, plugged=LIVE), limit)
    assert wanted in shown
    assert "Too narrow for " in shown
    assert max(map(len, shown.splitlines())) <= limit


def test_all_that_agents_say_is_shown_where_there_is_room() -> None:
    what = view(scene.RED, scene.VTEPS, scene.PODS, plugged=LIVE)
    attached = report(what, None).partition("Attached\n")[2].partition("\n\n")[0].splitlines()
    assert [line[attached[0].index("LINK") :] for line in attached] == COUNTERS.splitlines()
    assert why(what) == ("net1 of VM lab/firewall on worker2 does not work: its bridge port vm1p is not there",)
    [first, *_] = inspect.as_document(what)["attached"]
    assert first["live"]["link"] == "up"
    assert first["live"]["bandwidth"] == ""
    assert first["live"]["received"] == {"packets": 12000, "bytes": 18_123_456, "errors": 1, "dropped": 7}


REACHED = """\
  NODE     STATE  DEVICE  ADDRESS    MTU   PEERS
  worker1  Ready  eth1    192.0.2.1  1446  0 of 1 reached
  worker2  Ready  eth1    192.0.2.2  1446  1 of 1 reached
"""


def test_peers_that_were_tried_are_told_from_those_that_are_known() -> None:
    ways = (Reached("worker1", "worker2", 3, 3, 0), Reached("worker2", "worker1", 3, 3, 3))
    what = view(scene.RED, scene.VTEPS, scene.PODS, reached=ways)
    assert REACHED in report(what, 80)
    (reason,) = why(what)
    words = "Of frames between its nodes, only small frames get from worker1 to worker2, none of full size: "
    assert reason.startswith(words)
    assert inspect.as_document(what)["reached"] == [
        {"from": "worker1", "to": "worker2", "sent": 3, "small": 3, "full": 0},
        {"from": "worker2", "to": "worker1", "sent": 3, "small": 3, "full": 3},
    ]
    assert inspect.as_document(view(scene.RED, []))["reached"] is None


def test_an_attachment_whose_agent_is_silent_has_no_numbers() -> None:
    text = report(view(scene.RED, scene.VTEPS, scene.PODS, plugged=plugged("router-a", up=False)), None)
    assert "  down  0 B   0 B       0 sent, 0 received  0        0       attached" in text
    assert "  -     -     -         -                   -        -       attached" in text


def test_a_pod_that_goes_is_leaving() -> None:
    pod = scene.PODS[0] | {"metadata": scene.PODS[0]["metadata"] | {"deletionTimestamp": "2026-11-24T11:00:00Z"}}
    what = view(scene.RED, scene.VTEPS[:1], [pod])
    assert [inspect.state(item, what.found.lan, what.on) for item in what.on.attached] == ["leaving"]


def test_all_of_it_is_there_for_programs() -> None:
    document = inspect.as_document(view(scene.RED, scene.VTEPS, scene.PODS, events=EVENTS))
    assert "managedFields" not in document["lan"]["metadata"]
    assert document["attached"][2] == {
        "pod": "lab/virt-launcher-firewall-x7k2p",
        "vm": "firewall",
        "node": "worker2",
        "spoke": "vm1",
        "kind": "macvtap",
        "interface": "net1",
        "mac": "02:a1:00:00:00:03",
        "addresses": [],
        "mtu": 1446,
        "since": "2026-11-24T10:30:00Z",
        "port": "vm1p",
        "state": "attached",
        "migration": None,
        "live": None,
    }
    assert document["events"][0]["count"] == 4
    assert document["nodes"][1] == {
        "node": "worker2",
        "address": "192.0.2.2",
        "device": "eth1",
        "port": 4789,
        "mtu": 1446,
        "state": "Ready",
        "message": "",
        "lost": False,
        "ports": 2,
        "uplinks": [],
    }
    assert (document["mtu"], document["waiting"], document["shared"]) == (1446, [], [])


def test_programs_see_who_waits_and_who_shares_what() -> None:
    pods = [scene.pod("a", "k8slan-veth-e1", phase="Pending")]
    document = inspect.as_document(view(scene.RED, scene.TWICE, pods))
    (waiting,) = document["waiting"]
    assert (waiting["pod"], waiting["spoke"], waiting["reason"]) == ("lab/a", "e1", "")
    (clash,) = document["shared"]
    assert (clash["spoke"], clash["holder"]["node"], [each["node"] for each in clash["losers"]]) == (
        "e1",
        "worker2",
        ["worker1"],
    )
    assert [each["state"] for each in document["attached"]] == ["link down, spoke taken", "attached"]


def test_an_interface_with_too_large_an_mtu_is_shown() -> None:
    small = scene.vtep("worker3", scene.port("small", "e2") | {"mtu": 1300}, mtu=1300)
    what = view(scene.RED, [*scene.VTEPS[:1], small])
    assert [inspect.state(item, what.found.lan, what.on) for item in what.on.attached] == ["MTU too large", "attached"]
    (words,) = why(what)
    assert words.startswith("MTU of the LAN is 1300 bytes, as on node worker3, but pod lab/router-a on node worker1")


# ---------------------------------------------------------------- list

LIST_80 = """\
NAMESPACE  NAME     VNI    SPOKES   ATTACHED  NODES  READY     AGE
lab        red      10000  3        3         2      True      2d
lab        broken   x      0        0         0      unknown   2d
lab        leaving  12     dynamic  0         0      Deleting  2d
lab        new      13     1        0         0      unknown   2d
"""
LIST_50 = """\
NAMESPACE  NAME     VNI    ATTACHED  READY
lab        red      10000  3         True
lab        broken   x      0         unknown
lab        leaving  12     0         Deleting
lab        new      13     0         unknown
"""
LIST_WIDE = """\
NAME     VNI    SPOKES   ATTACHED  NODES  READY     AGE  LINKS  REASON   NETNS             UNDERLAY    FLOODING  MTU   UPLINK
red      10000  3        3         2      True      2d   -      Ready    red-8c4b8679      eth1        unicast   most  -
broken   x      0        0         0      unknown   2d   -      Invalid
leaving  12     dynamic  0         0      Deleting  2d   -      NotSeen  leaving-8aa9e474  node's own  unicast   most  -
new      13     1        0         0      unknown   2d   -      NotSeen  new-5d616c85      node's own  unicast   most  -
""".replace("MTU   ", "MTU      ").replace("most", "largest")  # noqa: E501 - a wide table


def _lans() -> list[lans.Found]:
    leaving = scene.lan("leaving", vni=12, dynamic=True)
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T11:00:00Z"
    documents = [scene.RED, scene.lan("broken", vni="x"), leaving, scene.lan("new", vni=13, spokes=["n1"])]
    return [lans.read(document) for document in documents]


@pytest.mark.parametrize(("limit", "wanted"), [(80, LIST_80), (160, LIST_80), (None, LIST_80), (50, LIST_50)])
def test_a_list(limit: int | None, wanted: str) -> None:
    table = listing.table(_lans(), everywhere=True, wide=False, limit=limit, now=NOW)
    assert "\n".join(table.lines()) + "\n" == wanted


def test_a_wide_list_is_whole() -> None:
    table = listing.table(_lans(), everywhere=False, wide=True, limit=80, now=NOW)
    assert "\n".join(table.lines()) + "\n" == LIST_WIDE
