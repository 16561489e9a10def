"""What travels between workstation and agent: what is written is read, and what is wrong is named."""

from __future__ import annotations

import contextlib
import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.protocol import (
    Capture,
    Check,
    NodeFacts,
    Place,
    Plugged,
    Reach,
    Traffic,
    UnderlayFacts,
)
from k8slan_cli.errors import Invalid
from k8slan_cli.probe.run import Arrival, Probe, Sent

PLACE = Place(container="c1", ifname="net1")
PLUGGED = Plugged(
    node="n1",
    lan="lab/blue",
    container="c1",
    ifname="net1",
    kind="veth",
    port="ap",
    mac="02:00:00:00:00:01",
    mtu=1446,
    addresses=("10.0.0.1/24",),
    sent=Traffic(packets=3, bytes=180),
)
FACTS = NodeFacts(
    node="n1",
    version="1",
    time=5,
    checks=(Check(what="kernel", state="ok", words="fine"),),
    underlays={
        "": UnderlayFacts(device="eth0", mtu=1500, up=True, vtep=ip_address("fe80::1")),
        "x": UnderlayFacts(device="x"),
    },
)
REACH = Reach(vni=5, port=4789, device="eth0", group=ip_address("239.0.0.1"), peers=(ip_address("10.0.0.1"),))
PROBE = Probe(src=bytes(6), dst=b"\xff" * 6, mtu=1446, count=2, keys=("icmp", "lldp"))


def wire(document: Any) -> Any:
    return json.loads(json.dumps(document))


def test_everything_survives_the_wire() -> None:
    assert Plugged.decode(wire(PLUGGED.encode())) == PLUGGED
    assert NodeFacts.decode(wire(FACTS.encode())) == FACTS
    assert Reach.decode(wire(REACH.encode())) == REACH
    capture = Capture(places=(PLACE,), filter="arp", snaplen=64)
    assert Capture.decode(wire(capture.encode())) == capture
    assert Capture.decode(wire(Capture(lans=("lab/blue", "lab/red")).encode())).lans == ("lab/blue", "lab/red")
    assert protocol.decode_probe(wire(protocol.encode_probe(PROBE))) == PROBE
    sent, arrival = Sent("icmp", 1, 5, "no"), Arrival("icmp", 1, 6, "changed")
    assert protocol.decode_sent(wire(protocol.encode_sent(sent))) == sent
    assert protocol.decode_arrival(wire(protocol.encode_arrival(arrival))) == arrival


def test_fields_of_a_newer_agent_are_passed_over() -> None:
    assert Plugged.decode({**wire(PLUGGED.encode()), "colour": "red"}) == PLUGGED
    assert Check.decode({"what": "a", "state": "ok", "words": "b", "since": 7}).advice == ""


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "src"),
        ({"src": "zz"}, "src"),
        ({"mtu": 10}, "mtu"),
        ({"mtu": True}, "mtu"),
        ({"count": 10**9}, "count"),
        ({"keys": ["bogus"]}, "keys"),
        ({"keys": "icmp"}, "keys"),
        ({"id": "00"}, "id"),
        ([], ""),
    ],
)
def test_a_probe_that_cannot_be_sent_is_refused(document: Any, field: str) -> None:
    whole = {**wire(protocol.encode_probe(PROBE)), **document} if isinstance(document, dict) and document else document
    with pytest.raises(Invalid) as caught:
        protocol.decode_probe(whole)
    assert field in [problem.field for problem in caught.value.problems]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["place", "places", "container", "vni", "port", "peers", "keys", "src"]), _json))
def test_whatever_comes_is_a_value_or_named_problems(document: dict[str, Any]) -> None:
    for decode in (Place.decode, Reach.decode, Capture.decode, protocol.decode_probe):
        with contextlib.suppress(Invalid):  # and nothing else
            decode(document)
