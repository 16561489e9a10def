"""Which link is meant, and what is written for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from k8slan_cli.errors import AbsentError, UsageError
from k8slan_cli.inventory import lans, linking
from k8slan_cli.inventory.lans import Found
from k8slan_cli.inventory.linking import End, Wish
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.kube.client import MissingError
from k8slan_cli.lan.links import Impairment, Link, State
from k8slan_cli.lan.model import Lan
from tests.support import scene

RED = lans.read(scene.RED)
DYNAMIC = lans.read(scene.lan("blue", dynamic=True, vni=7))
CABLE = lans.read(scene.lan("cable", spokes=["left", "right"], vni=8))
ITEMS = (RED, DYNAMIC, CABLE)
PODS = [*scene.PODS, scene.pod("web-1", "k8slan-lan-blue@net1,k8slan-veth-left@net2", phase="Pending")]
VTEPS = [*scene.VTEPS, scene.vtep("worker1", scene.port("web-1"), lan="blue")]
USERS = Users(by_lan={item.ref: scene.on(dict(item.document), VTEPS, PODS) for item in ITEMS})
SLOW, LOSSY = Impairment(delay=20_000), Impairment(loss=10_000)
SOON = "2030-01-31T12:00:00Z"


def named(text: str) -> End:
    return linking.named(USERS, ITEMS, text, "lab")


def sound(item: Found, **changes: Any) -> Lan:
    return replace(lans.sound(item), **changes)


def wish(state: State | None = None, **more: Any) -> Wish:
    return Wish(state=state, **{"properties": {}, **more})


def test_a_node_of_a_lab_is_meant_by_its_name_there() -> None:
    labels = {"lab.k8slan.io/name": "two", "lab.k8slan.io/node": "r1"}
    there = scene.pod("two-r1-7d9f-x2x4z", "k8slan-veth-e1@eth1")
    there["metadata"]["labels"] = labels
    port = scene.port("two-r1-7d9f-x2x4z", spoke="e1", interface="eth1")
    users = Users(by_lan={RED.ref: scene.on(dict(RED.document), [scene.vtep("worker1", port)], [there])})
    assert linking.named(users, ITEMS, "r1:eth1", "lab").name == "e1"
    with pytest.raises(AbsentError, match="r2:eth1 is on no LAN of namespace lab"):
        linking.named(users, ITEMS, "r2:eth1", "lab")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("router-a", "e1"),
        ("router-a:net1", "e1"),
        ("lab/router-b", "e2"),
        ("firewall", "vm1"),
        ("virt-launcher-firewall-x7k2p:net1", "vm1"),
        ("web-1:net1", "lab/web-1:net1"),
        ("web-1:net2", "left"),
        ("e1", "e1"),
        ("right", "right"),
        ("lab/left", "left"),
    ],
)
def test_a_word_means_the_link(text: str, name: str) -> None:
    assert named(text).name == name


def test_a_spoke_is_called_by_who_is_on_it() -> None:
    assert named("e1") == named("router-a:net1")
    assert named("right").who == "spoke right"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web-1", "more than once: say which of web-1:net1 .LAN blue., web-1:net2 .LAN cable."),
        ("router-c", "is on no LAN of namespace lab"),
        ("other/router-a", "is on no LAN of namespace other"),
        ("router-a:net7", "did you mean router-a:net1"),
        ("e1:net1", "is on no LAN"),
    ],
)
def test_what_means_no_link_or_several_is_told(text: str, words: str) -> None:
    with pytest.raises(AbsentError, match=words):
        named(text)


def test_links_are_added_and_taken_away_and_others_stay() -> None:
    end, other = named("router-a"), ("e2", Link(down=True))
    red = sound(RED, links=(other,))
    down = linking.wanted(red, end, USERS, wish(State.DOWN))
    assert down.links == (("e1", Link(down=True)), other)
    assert linking.wanted(down, end, USERS, wish(State.UP)).links == (other,)


def test_a_link_that_the_annotation_lists_comes_up_too() -> None:
    red = sound(RED, down=frozenset({"e1", "e2"}))
    assert linking.wanted(red, named("router-a"), USERS, wish(State.UP)).down == {"e2"}
    assert linking.wanted(red, named("router-a"), USERS, wish(properties={"delay": 1})).down == {"e1", "e2"}


def test_links_of_pods_that_are_no_more_are_forgotten_but_not_blindly() -> None:
    end, gone = named("web-1:net1"), ("lab/web-0:net1", Link(down=True))
    blue = sound(DYNAMIC, links=(gone,), down=frozenset({"lab/web-0:net1"}))
    after = linking.wanted(blue, end, USERS, wish(State.DOWN))
    assert (after.links, after.down) == (((end.name, Link(down=True)),), frozenset())
    blind = Users(by_lan=USERS.by_lan, blind=("pods of other namespaces cannot be seen",))
    assert gone in linking.wanted(blue, end, blind, wish(State.DOWN)).links


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        (Link(), wish(properties={"delay": 20_000}), Link(to_pod=SLOW, from_pod=SLOW)),
        (Link(), wish(properties={"loss": 10_000}, ways=frozenset({"to_pod"})), Link(to_pod=LOSSY)),
        (
            Link(to_pod=LOSSY),
            wish(properties={"delay": 20_000}, ways=frozenset({"from_pod"})),
            Link(to_pod=LOSSY, from_pod=SLOW),
        ),
        (Link(down=True, to_pod=SLOW, from_pod=LOSSY), wish(clear=True), Link(down=True)),
        (Link(to_pod=SLOW, from_pod=LOSSY), wish(clear=True, ways=frozenset({"to_pod"})), Link(from_pod=LOSSY)),
        (Link(to_pod=SLOW), wish(State.DOWN), Link(down=True, to_pod=SLOW)),
        (Link(), wish(State.DOWN, until=SOON), Link(down=True, until=SOON)),
        (Link(down=True, until=SOON), wish(State.UP), Link()),
        (Link(down=True, until=SOON), wish(State.DOWN), Link(down=True)),
        (
            Link(to_pod=SLOW),
            wish(properties={"loss": 10_000}, clear=True, ways=frozenset({"to_pod"}), until=SOON),
            Link(to_pod=LOSSY, until=SOON),
        ),
        (Link(to_pod=SLOW, until=SOON), wish(State.DOWN), Link(down=True, to_pod=SLOW, until=SOON)),
        (Link(down=True, to_pod=SLOW, until=SOON), wish(State.UP), Link(to_pod=SLOW, until=SOON)),
        (Link(to_pod=SLOW, until=SOON), wish(State.DOWN, clear=True), Link(down=True)),
        (
            Link(to_pod=SLOW, until=SOON),
            wish(properties={"delay": 20_000}, ways=frozenset({"to_pod"})),
            Link(to_pod=SLOW),
        ),
    ],
)
def test_a_wish_changes_what_it_names_and_leaves_the_rest(before: Link, asked: Wish, after: Link) -> None:
    assert linking.changed(before, asked) == after


def test_what_is_for_good_does_not_end_with_what_is_for_a_time() -> None:
    with pytest.raises(UsageError, match="delay 20ms to pod for good"):
        linking.changed(Link(to_pod=SLOW), wish(State.DOWN, until=SOON))


def test_a_link_whose_time_is_over_is_as_if_it_were_not_there() -> None:
    red = sound(RED, links=(("e1", Link(to_pod=SLOW, until="2020-01-31T12:00:00Z")),))
    assert linking.wanted(red, named("router-a"), USERS, wish(State.DOWN)).links == (("e1", Link(down=True)),)


def test_the_annotation_is_for_good_too() -> None:
    red = sound(RED, down=frozenset({"e1"}))
    with pytest.raises(UsageError, match="down for good by the annotation"):
        linking.wanted(red, named("router-a"), USERS, wish(State.DOWN, until=SOON))


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        (Link(), wish(State.UP, until=SOON)),
        (Link(to_pod=SLOW), wish(clear=True, until=SOON)),
        (Link(down=True, until=SOON), wish(State.UP, until=SOON)),
    ],
)
def test_nothing_is_taken_back_for_a_time(before: Link, asked: Wish) -> None:
    with pytest.raises(UsageError, match="nothing would be left"):
        linking.changed(before, asked)


def test_what_cannot_be_is_refused_before_it_is_written() -> None:
    with pytest.raises(UsageError, match="jitter is more than the delay"):
        linking.wanted(sound(RED), named("router-a"), USERS, wish(properties={"jitter": 5}))


SHAPED = ("left", Link(to_pod=SLOW, from_pod=SLOW))
FOR_A_TIME = Link(down=True, to_pod=SLOW, until=SOON)


@pytest.mark.parametrize(
    ("item", "changes", "is_now", "would_be"),
    [
        (
            CABLE,
            {},
            "is up, and so is @; k8slan does nothing to frames",
            "would be up, and so would @; k8slan would do",
        ),
        (CABLE, {"down": {"left"}}, "is down, and so is @", "would be down, and so would @"),
        (
            CABLE,
            {"down": {"right"}, "links": (SHAPED,)},
            "has delay 20ms and is up, but without a carrier: @, is down",
            "would have delay 20ms and would be up, but without a carrier: @, is down",
        ),
        (CABLE, {"down": {"left", "right"}}, "is down, and so is @", "would be down, and so would @"),
        (
            CABLE,
            {"links": (("left", FOR_A_TIME),)},
            f"has delay 20ms to pod and is down until {SOON}, and so is @",
            f"would have delay 20ms to pod and would be down until {SOON}, and so would @",
        ),
        (
            CABLE,
            {"links": (("left", replace(FOR_A_TIME, down=False)),)},
            f"has delay 20ms to pod until {SOON} and is up, and so is @",
            f"would have delay 20ms to pod until {SOON} and would be up, and so would @",
        ),
        (DYNAMIC, {}, "is up; k8slan does nothing to frames", "would be up; k8slan would do nothing to frames"),
        (DYNAMIC, {"down": {"lab/web-1:net1"}}, "is down", "would be down"),
    ],
)
def test_it_is_said_what_a_link_is_with_the_other_end_of_its_cable(
    item: Found, changes: dict[str, Any], is_now: str, would_be: str
) -> None:
    end = named("web-1:net1" if item is DYNAMIC else "web-1:net2")
    for words, would in ((is_now, False), (would_be, True)):
        said = linking.words(sound(item, **changes), end, would=would)
        expected = words.replace("@", "the other end of the cable, spoke right")
        assert said.startswith(f"{end.who} on LAN {item.ref} {expected}")


def test_who_cannot_be_seen_is_not_said_to_be_on_no_lan() -> None:
    hidden = Users(by_lan={item.ref: scene.on(dict(item.document), None) for item in ITEMS}, blind=("no",), hidden=True)
    with pytest.raises(MissingError, match="whether router-a is on a LAN of namespace lab cannot be seen: no"):
        linking.named(hidden, ITEMS, "router-a", "lab")
    assert linking.named(hidden, ITEMS, "e1", "lab").who == "spoke e1"


def test_a_patch_replaces_all_of_an_entry() -> None:
    old = {"a": {"delay": "1ms", "toPod": {"loss": "1%", "rate": "1Mbit"}}, "b": {"state": "down"}}
    new = {"a": {"toPod": {"loss": "2%"}}, "c": {"state": "down"}}
    assert linking.merge(old, new) == {
        "a": {"delay": None, "toPod": {"loss": "2%", "rate": None}},
        "b": None,
        "c": {"state": "down"},
    }
