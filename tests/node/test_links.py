"""Links that are slow, pulled out, or the ends of a cable: what is done in the LAN's namespace, healed, and gone again.

What it does to frames is measured elsewhere: the rate in test_link_rate.py, all else in the guest, whose kernel has it.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from k8slan_cli.lan.links import QUANTITIES
from tests.support.agents import AT_ONCE, Agent, Inside, Node, eventually, macvtap, pods, veth
from tests.support.netns import Namespace


def tc(inside: Inside, *words: str) -> str:
    """Run tc in a LAN's namespace."""
    argv = ["nsenter", f"--net={inside.path}", "tc", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout


def queues(inside: Inside) -> dict[str, str]:
    """The kind of what keeps frames back, by device."""
    found = re.findall(r"^qdisc (\S+) \S+ dev (\S+) ", tc(inside, "qdisc", "show"), re.MULTILINE)
    return {device: kind for kind, device in found if kind not in ("noqueue", "clsact")}


def rates(inside: Inside) -> dict[str, object]:
    """Bits a second by device."""
    found = re.findall(r"^qdisc tbf \S+ dev (\S+) .*? rate (\S+)", tc(inside, "qdisc", "show"), re.MULTILINE)
    return {device: QUANTITIES["rate"].read(rate) for device, rate in found}


def is_led(inside: Inside, port: str) -> bool:
    """Whether what comes in at a port is led elsewhere."""
    return f"Redirect to device {port}i" in tc(inside, "filter", "show", "dev", port, "ingress")


def has_carrier(pod: Namespace) -> bool:
    """Whether a pod's interface has a carrier."""
    return "LOWER_UP" in pod.links()["net1"]["flags"]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.create() as node:
        yield node


@pytest.fixture(scope="module")
def agent(node: Node) -> Iterator[Agent]:
    with node.agent() as agent:
        yield agent


@pytest.mark.parametrize("kind", [veth, macvtap])
def test_a_link_is_shaped_healed_changed_and_left_as_it_was(node: Node, agent: Agent, kind: Any) -> None:
    one, two = f"{kind.__name__}1", f"{kind.__name__}2"
    vni = {"vni": 5000 + len(kind.__name__)}
    shaped = {one: {"rate": "10Mbit", "fromPod": {"rate": "5Mbit"}}}
    lan = node.lan(spokes=[one, two], links=shaped, **vni)
    inside, port = node.inside(lan), f"{one}p"
    with pods(2) as (first, second):
        node.add(first, kind(one)).result()
        assert rates(inside) == {port: 10_000_000, f"{port}i": 5_000_000}
        node.add(second, veth(two)).result()
        assert is_led(inside, port)
        for damage in (
            ["tc", "qdisc", "del", "dev", port, "root"],
            [
                "tc",
                "qdisc",
                "change",
                "dev",
                f"{port}i",
                "root",
                "tbf",
                "rate",
                "1mbit",
                "burst",
                "9000",
                "limit",
                "9000",
            ],
            ["tc", "qdisc", "del", "dev", port, "clsact"],
            ["ip", "link", "delete", f"{port}i"],
            ["ip", "link", "set", f"{port}i", "down"],
            ["tc", "qdisc", "add", "dev", f"{two}p", "root", "pfifo"],
        ):
            mark = agent.log.mark()
            subprocess.run(["nsenter", f"--net={inside.path}", *damage], check=True, timeout=20)
            agent.log.wait("shape .*", since=mark, seconds=AT_ONCE)
            assert rates(inside) == {port: 10_000_000, f"{port}i": 5_000_000}, damage
            assert is_led(inside, port), damage
        mark = agent.log.mark()
        node.lan(lan, spokes=[one, two], links={one: {"toPod": {"rate": "20Mbit"}}}, **vni)
        agent.log.wait(f"shape {port}: rate 20Mbit to pod", since=mark)
        assert rates(inside) == {port: 20_000_000}
        mark = agent.log.mark()
        node.lan(lan, spokes=[one, two], **vni)
        agent.log.wait(f"shape {port}: nothing kept back", since=mark)
        assert queues(inside) == {}
        assert f"{port}i" not in inside.links()
        assert node.delete(first, kind(one)).status == 0
        assert node.delete(second, veth(two)).status == 0


@pytest.mark.usefixtures("agent")
def test_what_a_runtime_asks_for_holds_until_the_pod_is_gone(node: Node) -> None:
    lan = node.lan(spokes=["b1"], links={"b1": {"toPod": {"rate": "10Mbit"}}})
    asked = {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 4_000_000, "egressBurst": 0}
    config = veth("b1", runtimeConfig={"bandwidth": asked})
    with pods(1) as (pod,):
        node.add(pod, config).result()
        assert rates(node.inside(lan)) == {"b1p": 8_000_000, "b1pi": 4_000_000}
        assert node.delete(pod, config).status == 0
        node.add(pod, veth("b1")).result()
        assert rates(node.inside(lan)) == {"b1p": 10_000_000}
        assert node.delete(pod, veth("b1")).status == 0


@pytest.mark.usefixtures("agent")
def test_a_burst_that_is_more_than_the_kernel_takes_is_cut(node: Node) -> None:
    """Runtimes that read the rate from annotations ask for this one with any rate."""
    lan = node.lan(spokes=["c1"])
    config = veth("c1", runtimeConfig={"bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 2_147_483_647}})
    with pods(1) as (pod,):
        node.add(pod, config).result()
        assert rates(node.inside(lan)) == {"c1p": 1_000_000}
        assert node.delete(pod, config).status == 0


def test_it_ends_when_its_time_is_over(node: Node, agent: Agent) -> None:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 10))
    lan = node.lan(spokes=["u1"], links={"u1": {"rate": "1Mbit", "state": "down", "until": until}})
    with pods(1) as (pod,):
        node.add(pod, veth("u1")).result()
        assert rates(node.inside(lan)) == {"u1p": 1_000_000, "u1pi": 1_000_000}
        assert not has_carrier(pod)
        agent.log.wait("shape u1p: nothing kept back")
        eventually("the carrier is back", lambda: has_carrier(pod), AT_ONCE)
        assert queues(node.inside(lan)) == {}
        assert node.delete(pod, veth("u1")).status == 0


@pytest.mark.usefixtures("agent")
def test_a_cable_has_a_carrier_while_both_ends_are_plugged_in(node: Node) -> None:
    node.lan(spokes=["left", "right"], cable=True)
    with pods(2) as (left, right):
        node.add(left, veth("left")).result()
        assert not has_carrier(left)
        node.add(right, veth("right")).result()
        eventually("both have a carrier", lambda: has_carrier(left) and has_carrier(right), AT_ONCE)
        assert node.delete(right, veth("right")).status == 0
        eventually("the other end has none", lambda: not has_carrier(left), AT_ONCE)
        assert node.delete(left, veth("left")).status == 0


def test_a_kernel_that_lacks_a_module_keeps_no_pod_away_and_is_told_of(node: Node, agent: Agent) -> None:
    """Whether it lacks netem or not."""
    lan = node.lan(spokes=["m1"], links={"m1": {"delay": "1ms"}})
    with pods(1) as (pod,):
        mark = agent.log.mark()
        node.add(pod, veth("m1")).result()
        if queues(node.inside(lan)):
            assert queues(node.inside(lan)) == {"m1p": "netem", "m1pi": "netem"}
        else:
            assert "sch_netem" in agent.log.wait("cannot set up netem", since=mark)
        assert node.delete(pod, veth("m1")).status == 0


def test_an_agent_that_starts_anew_finds_all_as_it_should_be() -> None:
    with Node.create() as node, pods(1) as (pod,):
        lan = node.lan(spokes=["r1"], links={"r1": {"rate": "10Mbit"}})
        with node.agent():
            node.add(pod, veth("r1")).result()
        with node.agent() as agent:
            agent.log.wait("ready: ")
            assert rates(node.inside(lan)) == {"r1p": 10_000_000, "r1pi": 10_000_000}
            assert agent.log.operations() == []
            assert node.delete(pod, veth("r1")).status == 0
