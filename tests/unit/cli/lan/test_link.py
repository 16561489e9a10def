"""Which link is meant, and what is written for it."""

from __future__ import annotations

import pytest

from k8slan_cli.cli.lan import link
from k8slan_cli.cli.lan.link import State
from k8slan_cli.errors import AbsentError
from k8slan_cli.inventory import lans
from k8slan_cli.inventory.lans import Found
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.plan.occupancy import Occupant
from tests.support import scene

DYNAMIC = lans.read(scene.lan("blue", dynamic=True, vni=7))
CABLE = lans.read(scene.lan("cable", spokes=["left", "right"], vni=8))
PODS = [*scene.PODS, scene.pod("web-1", "k8slan-lan-blue@net1,k8slan-veth-left@net2", phase="Pending")]
VTEPS = [*scene.VTEPS, scene.vtep("worker1", scene.port("web-1"), lan="blue")]
USERS = Users(
    by_lan={item.ref: scene.on(dict(item.document), VTEPS, PODS) for item in (lans.read(scene.RED), DYNAMIC, CABLE)}
)


def named(text: str) -> Occupant:
    return link.named(USERS, text, "lab")


@pytest.mark.parametrize(
    ("text", "plug"),
    [
        ("router-a", "e1"),
        ("router-a:net1", "e1"),
        ("lab/router-b", "e2"),
        ("firewall", "vm1"),
        ("virt-launcher-firewall-x7k2p:net1", "vm1"),
        ("web-1:net1", "lab/web-1:net1"),
        ("web-1:net2", "left"),
    ],
)
def test_a_word_means_the_link(text: str, plug: str) -> None:
    assert link.plug(named(text)) == plug


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web-1", "more than once: say which of web-1:net1 .LAN blue., web-1:net2 .LAN cable."),
        ("router-c", "is on no LAN of namespace lab"),
        ("other/router-a", "is on no LAN"),
        ("router-a:net7", "did you mean router-a:net1"),
    ],
)
def test_what_means_no_link_or_several_is_told(text: str, words: str) -> None:
    with pytest.raises(AbsentError, match=words):
        named(text)


def with_down(item: Found, *names: str) -> Found:
    document = {**item.document, "metadata": {**item.document["metadata"]}}
    document["metadata"]["annotations"] = {"lan.k8slan.io/links-down": ",".join(names)}
    return lans.read(document)


def test_links_are_added_and_taken_away_and_others_stay() -> None:
    target = named("router-a")
    red = with_down(lans.read(scene.RED), "e2")
    assert link.wanted(red, target, USERS, down=True) == {"e1", "e2"}
    assert link.wanted(with_down(red, "e1", "e2"), target, USERS, down=False) == {"e2"}


def test_links_of_pods_that_are_no_more_are_forgotten_but_not_blindly() -> None:
    target = named("web-1:net1")
    blue = with_down(DYNAMIC, "lab/web-0:net1")
    assert link.wanted(blue, target, USERS, down=True) == {"lab/web-1:net1"}
    blind = Users(by_lan=USERS.by_lan, blind=("pods of other namespaces cannot be seen",))
    assert link.wanted(blue, target, blind, down=True) == {"lab/web-0:net1", "lab/web-1:net1"}


@pytest.mark.parametrize(
    ("item", "text", "state", "words"),
    [
        (DYNAMIC, "web-1:net1", State.DOWN, "net1 of pod lab/web-1 on LAN lab/blue is down"),
        (CABLE, "web-1:net2", State.DOWN, "down, and so is the other end of the cable, spoke right"),
        (CABLE, "web-1:net2", State.UP, "up, and so is the other end of the cable, spoke right"),
        (with_down(CABLE, "right"), "web-1:net2", State.UP, "up, but the other end of the cable, spoke right, is down"),
    ],
)
def test_it_is_said_what_has_been_done(item: Found, text: str, state: State, words: str) -> None:
    assert link.words(item, named(text), state).endswith(words)
