"""Uplinks that are VLANs of a NIC, on a kernel that has 802.1Q devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.node.fabric import eventually, fabric, reaches
from tests.node.test_uplinks import (
    BOX,
    LAN,
    MTU,
    POD,
    Hardware,
    address,
    agents,
    api,
    is_gone,
    nic,
    pods,
    ports,
    run,
    told,
    uplinks,
    wrong,
)
from tests.support.netns import Namespace
from tests.support.require import require
from tests.unit.kube.fake_api import FakeApi

__all__ = ["api", "pods"]


@pytest.fixture(autouse=True)
def kernel() -> None:
    """Skip a test where the kernel makes no 802.1Q device."""
    with Namespace.create("try") as namespace:
        namespace.ip("link", "add", "nic", "type", "veth")
        try:
            namespace.ip("link", "add", "v", "link", "nic", "type", "vlan", "id", "9")
        except AssertionError as refused:
            require("guest", False, f"needs a kernel with 802.1Q devices: {' '.join(str(refused).split())}")


def test_a_vlan_of_a_nic_joins_alone_and_the_node_goes_on_using_the_nic(
    api: FakeApi, pods: Callable[[], Namespace]
) -> None:
    """Also of the NIC that carries VXLAN: what is tagged is the LAN's, the rest the node's."""

    async def body() -> None:
        with fabric(api, 1500, 1500) as (one, two), Hardware.wired() as hardware:
            one.namespace.ip("link", "add", "v", "link", "eth0", "type", "vlan", "id", "9")
            hardware.cable(one.namespace, "nic", "to1")
            one.namespace.ip("address", "add", "203.0.113.1/24", "dev", "nic")
            box = hardware.box
            box.ip("link", "set", "eth1", "down")
            box.ip("link", "set", "eth1", "name", "trunk")
            box.ip("link", "set", "trunk", "up")
            box.ip("link", "add", "eth1", "link", "trunk", "mtu", str(MTU), "type", "vlan", "id", "100")
            for device in ("trunk", "eth1"):
                box.ip("link", "set", device, "up")
            uplinks(api, nic(1, vlan=100), nic(1, vlan=9, device="eth0"))
            async with agents(one, two):
                await eventually("said", lambda: "the node has another device" in str(told(api)))
                one.namespace.ip("link", "del", "v")
                await eventually("active", lambda: told(api) == {"n1": ["active", "standby"]})
                assert set(one.namespace.links()) == {"eth0", "nic"}
                pod = pods()
                await two.plug(pod, "p1")
                await eventually("the peer", lambda: one.inside(LAN).peers() == {"192.0.2.2"})
                address((pod, POD), (box, BOX))
                assert await reaches(pod, box, BOX)
                assert await reaches(box, pod, POD)
                assert await asyncio.to_thread(wrong, pod, box) == {}
                assert await asyncio.to_thread(wrong, box, pod) == {}
                one.inside(LAN).run("ip", "link", "del", "nic.100u")
                await eventually("healed", lambda: ports(one, "nic.100u") == "in")
                uplinks(api)
                await eventually("nothing is left", lambda: is_gone(one) and "n1" not in told(api))
                await two.unplug(pod, "p1")

    run(body())
