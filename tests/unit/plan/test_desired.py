"""What a node should have: the choice of an address, the MTU, the plan, and what is kept without an underlay."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.errors import Invalid
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.plan import desired
from k8slan_cli.plan.desired import Elsewhere
from k8slan_cli.plan.state import Attachment, AttachmentKind, Stub, Underlay, absent
from tests.unit.plan import strategies

LAN = Lan(ref=LanRef(namespace="lab", name="blue"), netns="blue", bridge="br0", vxlan="vx0", vni=7, spokes=("a", "b"))


def underlay(*addresses: str, **fields: Any) -> Underlay:
    base = Underlay(name="eth0", index=2, mtu=1500, up=True, addresses=tuple(map(ip_address, addresses)))
    return replace(base, **fields)


def attachment(spoke: str = "a", **fields: Any) -> Attachment:
    base = Attachment(
        container="c1",
        ifname="net1",
        lan=LAN.ref,
        kind=AttachmentKind.VETH,
        port=names.port(spoke),
        mac="02:00:00:00:00:01",
        mtu=1400,
        spoke=spoke,
        pod="lab/web",
    )
    return replace(base, **fields)


# ---------------------------------------------------------------- the node's address


@pytest.mark.parametrize(
    ("group", "addresses", "peers", "chosen"),
    [
        # alone: routable before link-local, IPv4 before IPv6, then the kernel's order
        (None, ["10.0.0.1"], [], "10.0.0.1"),
        (None, ["fe80::1", "fd00::1", "10.0.0.1"], [], "10.0.0.1"),
        (None, ["fe80::1", "fd00::1"], [], "fd00::1"),
        (None, ["fe80::1"], [], "fe80::1"),
        (None, ["10.0.0.2", "10.0.0.1"], [], "10.0.0.2"),
        (None, ["127.0.0.1", "::1", "fe80::1"], [], "fe80::1"),
        (None, ["127.0.0.1", "::1"], [], None),
        (None, [], [], None),
        (None, [], ["10.0.0.2"], None),
        # with peers: what reaches most of them
        (None, ["10.0.0.1", "fd00::1"], ["fd00::2"], "fd00::1"),
        (None, ["10.0.0.1", "fd00::1"], ["fd00::2", "10.0.0.2"], "10.0.0.1"),
        (None, ["10.0.0.1", "fd00::1"], ["fd00::2", "fd00::3", "10.0.0.2"], "fd00::1"),
        (None, ["fd00::1", "fe80::1"], ["fe80::2"], "fe80::1"),
        (None, ["fd00::1", "fe80::1"], ["fd00::2"], "fd00::1"),
        (None, ["fe80::1"], ["10.0.0.2"], "fe80::1"),
        # with a group: of its family, whatever the peers
        ("239.0.0.1", ["fd00::1", "10.0.0.1"], ["fd00::2"], "10.0.0.1"),
        ("ff02::14", ["10.0.0.1", "fe80::1"], ["10.0.0.2"], "fe80::1"),
        ("239.0.0.1", ["fd00::1"], [], None),
        ("ff02::14", ["10.0.0.1"], [], None),
    ],
)
def test_choice_of_the_nodes_address(
    group: str | None, addresses: list[str], peers: list[str], chosen: str | None
) -> None:
    lan = replace(LAN, group=ip_address(group) if group else None)
    found = desired.choose_local(lan, underlay(*addresses), map(ip_address, peers))
    assert found == (ip_address(chosen) if chosen else None)


@given(
    st.permutations([ip_address("10.0.0.1"), ip_address("fd00::1"), ip_address("fe80::1")]),
    st.lists(st.sampled_from(strategies.ADDRESSES), max_size=4),
)
def test_the_choice_does_not_depend_on_the_order_of_unlike_addresses(addresses: list[Any], peers: list[Any]) -> None:
    one = desired.choose_local(LAN, underlay(addresses=tuple(addresses)), peers)
    assert one == desired.choose_local(LAN, underlay(addresses=tuple(sorted(addresses, key=str))), reversed(peers))


# ---------------------------------------------------------------- MTU


@pytest.mark.parametrize(
    ("mtu", "device", "version", "inside"),
    [
        (None, 1500, 4, 1446),
        (None, 1500, 6, 1426),
        (None, 9000, 4, 8946),
        (1300, 1500, 4, 1300),
        (1446, 1500, 4, 1446),
        (1426, 1500, 6, 1426),
        (None, 122, 4, 68),
        (None, 142, 6, 68),
    ],
)
def test_mtu_is_what_is_wanted_or_what_is_left(mtu: int | None, device: int, version: int, inside: int) -> None:
    assert desired.lan_mtu(replace(LAN, mtu=mtu), underlay(mtu=device), version) == inside


@pytest.mark.parametrize(
    ("mtu", "device", "version", "field"),
    [
        (1447, 1500, 4, "spec.mtu"),
        (1427, 1500, 6, "spec.mtu"),
        (None, 121, 4, "spec.defaultVxlanDev"),
        (None, 141, 6, "spec.defaultVxlanDev"),
        (1400, 60, 4, "spec.defaultVxlanDev"),
    ],
)
def test_an_mtu_that_cannot_be_had_is_refused(mtu: int | None, device: int, version: int, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        desired.lan_mtu(replace(LAN, mtu=mtu), underlay(mtu=device), version)
    assert [problem.field for problem in caught.value.problems] == [field]


# ---------------------------------------------------------------- the plan


def around(lan: Lan, node: str) -> Elsewhere:
    return desired.elsewhere(lan, node, ())


def test_a_plan_accounts_for_every_attachment_and_for_nothing_else() -> None:
    pod, vm = attachment("a"), attachment("b", container="c2", kind=AttachmentKind.MACVTAP, tap=9)
    state = desired.plan(LAN, underlay("10.0.0.1"), [pod, vm], around(LAN, "w1"))
    assert state.ports.keys() == state.attachments.keys() == {"ap", "bp"}
    assert state.stubs == {"bs": Stub(name="bs", mtu=1400)}
    assert {port.owner for port in state.ports.values()} == {"c1 net1 lab/web", "c2 net1 lab/web"}
    assert {port.mtu for port in state.ports.values()} == {1446}


def test_a_plan_for_some_of_the_attachments_is_no_plan_to_remove() -> None:
    assert desired.plan(LAN, underlay("10.0.0.1"), [], around(LAN, "w1")) == absent("blue")
    some = desired.plan(LAN, underlay("10.0.0.1"), [], around(LAN, "w1"), others=True)
    assert some.exists
    assert some.bridge is not None
    assert some.ports == {}


@given(strategies.lans(), strategies.underlays(), strategies.attachments())
def test_a_plan_is_the_same_whatever_the_order_of_attachments(
    lan: Lan, device: Underlay, members: list[Attachment]
) -> None:
    others = around(lan, "n0")
    assert desired.plan(lan, device, members, others) == desired.plan(lan, device, reversed(members), others)


@given(strategies.lans(), strategies.underlays(), strategies.attachments())
def test_no_node_is_its_own_peer(lan: Lan, device: Underlay, members: list[Attachment]) -> None:
    state = desired.plan(lan, device, members, around(lan, "n0"))
    if state.vxlan:
        assert not state.vxlan.peers & set(device.addresses)
        assert state.vxlan.tunnel.local is None or not state.vxlan.tunnel.group
        outer = state.vxlan.tunnel.group or state.vxlan.tunnel.local
        assert all(outer is not None and peer.version == outer.version for peer in state.vxlan.peers)


@pytest.mark.parametrize(("group", "sent_to"), [(None, {"10.0.0.2", "10.0.0.8"}), ("239.0.0.1", {"10.0.0.8"})])
def test_frames_go_to_remotes_as_to_nodes(group: str | None, sent_to: set[str]) -> None:
    remotes = tuple(map(ip_address, ("10.0.0.8", "10.0.0.1", "fd00::8")))
    lan = replace(LAN, group=ip_address(group) if group else None, remotes=remotes)
    others = Elsewhere(peers=frozenset([ip_address("10.0.0.2")]))
    state = desired.plan(lan, underlay("10.0.0.1"), [attachment("a")], others)
    assert state.vxlan
    assert set(map(str, state.vxlan.peers)) == sent_to


# ---------------------------------------------------------------- without an underlay


@given(strategies.pairs(), strategies.attachments())
def test_without_an_underlay_nothing_is_wanted_that_is_not_there(
    pair: strategies.Pair, members: list[Attachment]
) -> None:
    kept = desired.without_underlay(pair.observed, members)
    owners = {member.port: member.owner for member in members}
    assert kept.exists == (pair.observed.exists and bool(members))
    if members:
        mine = {name: port for name, port in pair.observed.ports.items() if port.owner == owners.get(name)}
        assert kept.ports == mine
        assert (kept.bridge, kept.vxlan) == (pair.observed.bridge, pair.observed.vxlan)


# ---------------------------------------------------------------- attachments


def test_an_attachment_is_known_by_container_and_interface() -> None:
    assert attachment().key == ("c1", "net1")
    assert attachment().who == "lab/web (net1)"
    assert attachment(pod="").who == "c1 (net1)"


@pytest.mark.parametrize(
    ("fields", "owner"),
    [
        ({}, "c1 net1 lab/web"),
        ({"pod": ""}, "c1 net1"),
        ({"pod": "lab/wéb"}, "c1 net1 lab/w?b"),
        ({"pod": "lab/\ud800\n\0"}, "c1 net1 lab/???"),
    ],
)
def test_the_owner_of_a_port_is_text_that_the_kernel_gives_back_as_it_is(fields: dict[str, Any], owner: str) -> None:
    assert attachment(**fields).owner == owner


@given(st.text(st.characters()))
def test_an_owner_fits_into_an_alias_whatever_the_pod_is_called(pod: str) -> None:
    owner = attachment(container="c" * 64, pod=pod * 50).owner
    assert owner.startswith(f"{'c' * 64} net1")
    assert owner.isascii()
    assert owner.isprintable()
    assert len(owner.encode()) <= 255


def test_only_a_vm_has_a_stub() -> None:
    assert desired.stub_of(attachment()) is None
    assert desired.stub_of(attachment(kind=AttachmentKind.MACVTAP)) == Stub(name="as", mtu=1400)
