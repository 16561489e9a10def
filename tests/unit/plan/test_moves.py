"""Which learned entries are stale after a MAC address has moved, and that no other entry is touched."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import Vtep, VtepPort, VtepUplink
from k8slan_cli.plan.moves import ANY_MAC, Learned, Move, handovers, moves, stale
from k8slan_cli.plan.operations import ForgetMac

OLD, NEW, THIRD = (ip_address(f"10.0.0.{n}") for n in (1, 2, 3))
M, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
VTEP = Vtep(
    lan=LanRef(namespace="lab", name="blue"),
    node="w1",
    address=OLD,
    ports=(VtepPort(name="ap", interface="net1", kind="veth", mac=M),),
)
HERE = Move(mac=M, port="ap")
THERE = Move(mac=M, address=NEW)
GONE = Move(mac=M, address=OLD, left=True)


def test_a_port_that_comes_or_goes_is_a_move_and_what_else_changes_is_none() -> None:
    second = VtepPort(name="bp", interface="net1", kind="veth", mac=OTHER)
    assert moves(None, VTEP) == (Move(mac=M, address=OLD),)
    assert moves(VTEP, None) == (GONE,)
    assert moves(VTEP, replace(VTEP, ports=(*VTEP.ports, second))) == (Move(mac=OTHER, address=OLD),)
    assert moves(VTEP, replace(VTEP, address=NEW)) == (GONE, THERE)
    assert moves(VTEP, replace(VTEP, version=2, message="x", lost=True)) == ()
    assert moves(replace(VTEP, address=None), replace(VTEP, ports=())) == ()


def test_another_active_uplink_is_a_move_of_all_that_was_behind_the_others() -> None:
    standby = replace(VTEP, uplinks=(VtepUplink(device="eth1", carrier=True),))
    active = replace(standby, uplinks=(VtepUplink(device="eth1", carrier=True, active=True),))
    old, new, third = active, replace(active, node="w2", address=NEW), replace(VTEP, node="w3", address=THIRD)
    came = [(replace(new, uplinks=standby.uplinks), new)]
    everything = (Move(mac=ANY_MAC, address=OLD, left=True),)
    assert handovers(came, [old, new, third], "w3") == everything, "also if the node before has said nothing more"
    assert handovers(came, [old, new, third], "w2") == everything
    assert handovers([(None, new)], [old, new, third], "w3") == everything
    assert handovers([(old, standby)], [standby, new, third], "w3") == ()
    assert handovers([(new, replace(new, version=9))], [old, new, third], "w3") == ()


def test_a_vm_that_migrates_has_not_moved_until_it_says_so_itself() -> None:
    coming = replace(VTEP, ports=(replace(VTEP.ports[0], migrating=True),))
    assert moves(None, coming) == ()
    assert moves(coming, None) == (GONE,)


@pytest.mark.parametrize(
    ("move", "learned", "forgotten"),
    [
        (THERE, Learned(port="vx0", peer=OLD), [("vx0", OLD)]),
        (THERE, Learned(port="vx0", peer=NEW), []),
        (THERE, Learned(port="ap", peer=None), [("ap", None)]),
        (THERE, Learned(port="ap", peer=OLD), [("vx0", OLD), ("ap", None)]),
        (THERE, Learned(), []),
        (HERE, Learned(port="vx0", peer=OLD), [("vx0", OLD), ("vx0", None)]),
        (HERE, Learned(port="ap", peer=OLD), [("vx0", OLD)]),
        (HERE, Learned(port="ap"), []),
        (HERE, Learned(port="bp"), [("bp", None)]),
        (GONE, Learned(port="vx0", peer=OLD), [("vx0", OLD), ("vx0", None)]),
        (GONE, Learned(port="vx0", peer=NEW), []),
        (GONE, Learned(port="ap", peer=OLD), [("vx0", OLD)]),
        (GONE, Learned(port="ap"), []),
        (GONE, Learned(port="vx0"), []),
    ],
)
def test_what_points_elsewhere_is_forgotten(move: Move, learned: Learned, forgotten: list[object]) -> None:
    assert list(stale(move, learned, "vx0")) == [ForgetMac(M, *place) for place in forgotten]  # type: ignore[misc]


def test_where_a_redirect_joins_the_vxlan_device_a_bridge_has_learned_at_its_port() -> None:
    learned = Learned(port="joint", peer=OLD)
    assert list(stale(GONE, learned, "vx0", "joint")) == [ForgetMac(M, "vx0", OLD), ForgetMac(M, "joint")]
    assert list(stale(THERE, replace(learned, peer=NEW), "vx0", "joint")) == []


def test_an_operation_describes_itself() -> None:
    assert ForgetMac(M, "vx0", OLD).describe() == f"forget that {M} is behind 10.0.0.1 at vx0"
    assert ForgetMac(M, "ap").describe() == f"forget that {M} is behind ap"
