"""A LAN in use goes on whatever others want: edited later, though older, at once or while the agent was away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import yaml

from k8slan_cli.probe.endpoint import PacketSocket
from tests.node.test_agent_restart import Stream
from tests.support import names
from tests.support.agents import Node, document, eventually, pods, veth
from tests.support.netns import Namespace

CLAIMS: dict[str, dict[str, Any]] = {
    "spec.vni": {"vni": 7001},
    "spec.ns": {"ns": "young"},
    "spec.spokes[1]": {"spokes": ["o1", "y2"]},
}
OLD: dict[str, Any] = {"spokes": ["o1", "o2"], "vni": 7000, "ns": "old"}


@pytest.fixture
def node() -> Iterator[Node]:
    """A node with the files of two LANs, ``old`` and ``young``, each of two spokes."""
    with Node.create() as node:
        node.write("old.yaml", text("old", "2026-01-01T00:00:00Z", **OLD))
        node.write("young.yaml", text("young", "2026-01-02T00:00:00Z", spokes=["y1", "y2"], vni=7001))
        yield node


def text(name: str, created: str, **spec: Any) -> str:
    whole = document(name, **spec)
    whole["metadata"]["creationTimestamp"] = created
    return yaml.safe_dump(whole)


def edit(node: Node, **spec: Any) -> None:
    """Change the file of the older LAN."""
    node.write("old.yaml", text("old", "2026-01-01T00:00:00Z", **{**OLD, **spec}))


@contextmanager
def flowing(one: Namespace, other: Namespace) -> Iterator[None]:
    """Show that no frame between two pods is lost while a block runs, nor just after it."""
    with PacketSocket(one.fd(), "net1") as sender, PacketSocket(other.fd(), "net1") as receiver:
        with Stream(sender, receiver) as stream:
            yield
            begun = stream.sent
            eventually("frames are sent after it too", lambda: stream.sent > begun + 50)
        assert stream.lost() == set()


@pytest.mark.parametrize("field", list(CLAIMS))
def test_an_older_lan_that_is_edited_takes_nothing_from_one_in_use(node: Node, field: str) -> None:
    """The older one is not realised, though the other is edited, nor by the next agent, until what it wants is free."""
    with pods(3) as (one, two, late):
        with node.agent() as agent:
            for pod, spoke in ((one, "y1"), (two, "y2")):
                node.add(pod, veth(spoke)).result()
            mark = agent.log.mark()
            with flowing(one, two):
                edit(node, **CLAIMS[field])
                said = agent.log.wait("LAN default/old is not realised, it clashes: ", since=mark)
                assert f"{field}: " in said
                assert "in use by LAN default/young" in said
                node.write("young.yaml", text("young", "2026-01-02T00:00:00Z", spokes=["y1", "y2", "y3"], vni=7001))
                agent.log.wait("LAN default/young has changed", since=mark)
            assert agent.log.operations(mark) == []
            assert "of LAN default/old, which clashes" in node.add(late, veth("o1")).error(100)
        with node.agent() as agent, flowing(one, two):
            agent.log.wait("LAN default/old is not realised")
            assert agent.log.operations() == []
        with node.agent() as agent:
            mark = agent.log.mark()
            for pod, spoke in ((one, "y1"), (two, "y2")):
                node.delete(pod, veth(spoke)).ok()
            (node.files / "young.yaml").unlink()
            agent.log.wait("LAN default/old is there", since=mark)
            node.add(late, veth("o1")).result()
            node.delete(late, veth("o1")).ok()
            node.assert_nothing_left()


@pytest.mark.parametrize("field", list(CLAIMS))
def test_of_two_in_use_neither_is_torn_down(node: Node, field: str) -> None:
    """The one that was edited goes on as it was, over a restart, and follows once what it wants is free."""
    with pods(4) as (one, two, three, four):
        at = ((one, "y1"), (two, "y2"), (three, "o1"), (four, "o2"))
        with node.agent() as agent:
            for pod, spoke in at:
                node.add(pod, veth(spoke)).result()
            mark = agent.log.mark()
            with flowing(one, two), flowing(three, four):
                edit(node, **CLAIMS[field])
                agent.log.wait("LAN default/old goes on as it was, it clashes: ", since=mark)
            assert agent.log.operations(mark) == []
            node.delete(four, veth("o2")).ok()
            node.add(four, veth("o2")).result()
        with node.agent() as agent:
            with flowing(one, two), flowing(three, four):
                agent.log.wait("LAN default/old goes on as it was")
            assert agent.log.operations() == []
            mark = agent.log.mark()
            for pod, spoke in at[:2]:
                node.delete(pod, veth(spoke)).ok()
            (node.files / "young.yaml").unlink()
            agent.log.wait("LAN default/old has changed", since=mark)
            netns = CLAIMS[field].get("ns", "old")
            eventually("it follows", lambda: f"/netns/{netns}" in "\n".join(node.mounts()))
            for pod, _ in at[2:]:
                eventually("its pods are plugged in", lambda p=pod: p.links().get("net1", {}).get("operstate") == "UP")
            inside = node.inside(netns)
            eventually("their ports are in the new namespace", lambda: inside.has("o1p", "o2p"))
            for pod, spoke in at[2:]:
                node.delete(pod, veth(spoke)).ok()
            node.assert_nothing_left()


@pytest.mark.parametrize("field", list(CLAIMS))
def test_an_edit_while_the_agent_is_away_takes_nothing_from_a_lan_in_use(node: Node, field: str) -> None:
    """The next agent sees both at once, and goes by the node's records."""
    with pods(2) as (one, two), ExitStack() as streams:
        with node.agent():
            for pod, spoke in ((one, "y1"), (two, "y2")):
                node.add(pod, veth(spoke)).result()
        streams.enter_context(flowing(one, two))
        edit(node, **CLAIMS[field])
        with node.agent() as agent:
            agent.log.wait("LAN default/old is not realised, it clashes: ")
            assert agent.log.operations() == []
            streams.close()
            for pod, spoke in ((one, "y1"), (two, "y2")):
                node.delete(pod, veth(spoke)).ok()
            node.assert_nothing_left()


def test_a_new_file_with_an_older_date_takes_nothing_from_a_lan_in_use(node: Node) -> None:
    with node.agent() as agent, pods(2) as (one, two):
        for pod, spoke in ((one, "y1"), (two, "y2")):
            node.add(pod, veth(spoke)).result()
        mark = agent.log.mark()
        with flowing(one, two):
            ancient = names.unique("lan")
            node.write("ancient.yaml", text(ancient, "1999-01-01T00:00:00Z", spokes=["y1"], vni=7001, ns="young"))
            agent.log.wait(f"LAN default/{ancient} is not realised, it clashes: spec.ns: .*; spec.vni", since=mark)
        assert agent.log.operations(mark) == []
        for pod, spoke in ((one, "y1"), (two, "y2")):
            node.delete(pod, veth(spoke)).ok()
