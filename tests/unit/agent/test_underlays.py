"""Which LANs an event of the node's links wakes: those whose underlay it is about, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.agent.passes import Outcome, Self
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.underlays import Underlays
from k8slan_cli.lan import validate
from k8slan_cli.lan.model import Lan, LanRef, NodeStatus, Snapshot
from k8slan_cli.net.netlink import Heard
from k8slan_cli.plan.state import Attachment, AttachmentKind, LanState, Underlay

OWN = ip_address("192.0.2.1")
BASE = Lan(ref=LanRef(namespace="lab", name="x"), netns="x", bridge="br0", vxlan="vx0", vni=1)
AUTO, NAMED = (
    replace(BASE, ref=replace(BASE.ref, name=name), netns=name, vni=vni, underlay=device)
    for name, vni, device in (("auto", 1, None), ("named", 2, "bond0"))
)


def link(name: str, index: int) -> Heard:
    return Heard(names=frozenset({name}), indexes=frozenset({index}))


def address(text: str, index: int) -> Heard:
    return Heard(addresses=frozenset({ip_address(text)}), indexes=frozenset({index}))


def known(me: Self) -> Underlays:
    underlays = Underlays(me)
    lans = {lan.ref: lan for lan in (AUTO, NAMED)}
    underlays.update(lans, lans)
    return underlays


@pytest.mark.parametrize(
    ("heard", "by_address", "by_route"),
    [
        (link("veth1234", 77), set(), set()),
        (address("fe80::1", 77), set(), set()),
        (Heard(default_route=True), set(), {None}),
        (address("192.0.2.1", 9), {None}, set()),
        (link("eth0", 2), {None}, {None}),
        (link("bond0", 3), {"bond0"}, {"bond0"}),
        (link("renamed", 3), {"bond0"}, {"bond0"}),
        (link("bond0", 99), {"bond0"}, {"bond0"}),
        (Heard(lost=True), {None, "bond0"}, {None, "bond0"}),
    ],
)
def test_an_event_is_about_the_devices_that_carry_lans(
    heard: Heard, by_address: set[str | None], by_route: set[str | None]
) -> None:
    for me, concerned in ((Self(name="n", address=OWN), by_address), (Self(name="n"), by_route)):
        underlays = known(me)
        underlays.found(None, 2)
        underlays.found("bond0", 3)
        assert underlays.concerned(heard) == concerned


def test_a_device_that_is_not_there_is_waited_for_by_what_it_is_chosen_by() -> None:
    underlays = known(Self(name="n", address=OWN))
    underlays.found(None, 2)
    underlays.found(None, None)
    assert underlays.concerned(link("veth1", 2)) == set()
    assert underlays.concerned(address("192.0.2.1", 5)) == {None}


def test_a_device_that_no_lan_wants_any_more_is_forgotten() -> None:
    underlays = known(Self(name="n"))
    underlays.update({AUTO.ref: AUTO, NAMED.ref: replace(NAMED, underlay="eth7")}, [NAMED.ref])
    assert underlays.concerned(link("bond0", 3)) == set()
    assert underlays.concerned(link("eth7", 3)) == {"eth7"}
    underlays.update({}, [NAMED.ref, AUTO.ref])
    assert underlays.concerned(Heard(lost=True)) == set()


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[tuple[Agent, list[str]]]:
    """An agent with a thousand LANs, fifty of them in use; and the LANs that are woken."""
    paths = Paths(tmp_path)
    paths.private.mkdir(parents=True)
    paths.create()
    agent = Agent(paths, Self(name="n", address=OWN))
    woken: list[str] = []
    lans = {}
    for number in range(1000):
        lan = replace(
            BASE,
            ref=replace(BASE.ref, name=f"l{number}"),
            netns=f"l{number}",
            vni=number + 1,
            underlay="bond0" if number % 2 else None,
            spokes=(f"s{number}",),
        )
        lans[lan.ref] = (lan, str(lan.ref))
    agent.lans.update(Snapshot(lans=lans))
    agent.underlays.update(agent.lans.all(), lans)
    for lan in [agent.lans.all()[ref] for ref in list(lans)[:50]]:
        loop = agent.loop_of(lan)
        loop.wake = lambda _ports=None, name=lan.ref.name: woken.append(name)  # type: ignore[method-assign,misc,assignment]
        agent.attachments.put(_attachment(lan))
        _passed(agent, loop)
    yield agent, woken
    agent.node.close()


def _attachment(lan: Lan) -> Attachment:
    kind = AttachmentKind.VETH
    return Attachment(container=lan.netns, ifname="e", lan=lan.ref, kind=kind, port="p", mac="02:00:00:00:00:01", mtu=9)


def _passed(agent: Agent, loop: LanLoop) -> None:
    index = 3 if loop.lan and loop.lan.underlay else 2
    underlay = Underlay(name="x", index=index, mtu=1500, up=True)
    loop.outcome = Outcome(desired=LanState(netns=loop.netns), underlay=underlay)
    agent._after_pass(loop)


def test_pods_that_come_and_go_wake_no_lan(crowd: tuple[Agent, list[str]]) -> None:
    agent, woken = crowd
    for number in range(120):
        agent.host_changed(link(f"veth{number}", 100 + number))
        agent.host_changed(address("fe80::2", 100 + number))
    assert woken == []


def test_an_event_of_an_underlay_wakes_its_lans(crowd: tuple[Agent, list[str]]) -> None:
    agent, woken = crowd
    agent.host_changed(link("bond0", 3))
    assert woken == [f"l{number}" for number in range(1, 50, 2)]


def test_news_of_one_lan_of_a_thousand_are_news_of_that_one_alone(crowd: tuple[Agent, list[str]]) -> None:
    agent, woken = crowd
    told: list[object] = []
    agent.on_lans.append(told.append)
    lan = agent.lans.all()[replace(BASE.ref, name="l7")]
    changed = replace(lan, mtu=1400, spokes=("s7", "more"))
    agent.take_in(Snapshot(lans={lan.ref: (changed, "x")}, gone=frozenset()))
    assert told == [{lan.ref}]
    assert woken == ["l7"]
    agent.take_in(Snapshot(gone=frozenset({replace(BASE.ref, name="l900")})))
    assert told[1:] == [{replace(BASE.ref, name="l900")}]
    assert len(agent.lans.all()) == 999


def test_what_the_controller_writes_of_a_lan_wakes_it_for_its_peers_alone(crowd: tuple[Agent, list[str]]) -> None:
    agent, woken = crowd
    lan = agent.lans.all()[replace(BASE.ref, name="l7")]
    for changed in (
        replace(lan, attached=True),
        replace(lan, granted=validate.grant(lan)),
        replace(lan, finalizers=("x",)),
    ):
        agent.take_in(Snapshot(lans={lan.ref: (changed, "x")}, gone=frozenset()))
        assert woken == []
    changed = replace(lan, nodes=(NodeStatus(name="w2", vtep=ip_address("192.0.2.2")),))
    agent.take_in(Snapshot(lans={lan.ref: (changed, "x")}, gone=frozenset()))
    assert woken == ["l7"]
